# Everything runs in .venv, made from the pinned constraints on first use.
VENV := .venv
PYTHON := $(VENV)/bin/python
# Two at a time, each with one thread: more would wait for one another.
PYTEST := OMP_NUM_THREADS=1 $(PYTHON) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder
STAMP := $(VENV)/.made
# What tests compare our Hessian with. Its own requirements name a torchvision that cannot load.
ORACLES := curvlinops-for-pytorch backpack-for-pytorch einops einconv unfoldNd linear_operator opt_einsum

.PHONY: env demo test test-all lint docs controls bench picture clean

env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Batchscope needs Python 3.11 or newer")'
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	$(PYTHON) -m pip install --quiet --constraint constraints.txt --no-deps $(ORACLES)
	touch $(STAMP)

demo: env
	$(VENV)/bin/batchscope recommend digits-cnn

test: env lint
	$(PYTEST)

test-all: env lint
	$(PYTEST) -m ''

lint: env
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/pyright

docs: env
	$(VENV)/bin/mkdocs build --strict

controls: env
	$(PYTHON) -m benchmarks.controls

bench: env
	$(PYTHON) -m benchmarks $(ROW)

picture: env
	$(PYTHON) -m tests.browser batchscope-report.html docs/report.png

clean:
	rm -rf $(VENV) site .pytest_cache .ruff_cache
