import math
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import batchscope as bs
from batchscope.errors import CannotTell, InvalidTask, WorkerDied
from batchscope.estimate import Interval
from batchscope.instruments.memory.largest import Fit, order_by_size
from batchscope.instruments.memory.limits import MemoryLimit
from batchscope.instruments.memory.probing import probe_memory, read_start
from batchscope.instruments.memory.search import Probe, search_largest
from batchscope.workers.calls import TaskFunction
from batchscope.workers.pool import ProcessPool
from batchscope.workers.travel import FileTask

from ...conftest import make_task


def hidden_task(limit: int, *, size: int = 60, bug: bool = False) -> bs.Task:
    """A task that runs out of memory above a limit that nothing shows beforehand."""

    def loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        if len(batch[0]) > limit:
            if bug:
                raise RuntimeError("CUDA error: device-side assert triggered, not out of memory")
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return F.cross_entropy(model(batch[0]), batch[1])

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, 4, generator=generator)
    y = (x.sum(1) > 0).long()
    return make_task(loss=loss, metrics={}, train=(x, y), val=(x[:6], y[:6]), test=None)


def fit(task: bs.Task, **changes: object) -> Fit:
    return bs.fit(task, **({"memory": "3GiB", "device": "cpu"} | changes))  # type: ignore[arg-type]


def test_a_hidden_limit_is_found_exactly_and_nothing_of_the_caller_changes() -> None:
    task = hidden_task(9, size=12)
    torch.manual_seed(3)
    np.random.seed(3)
    state, numbers = torch.get_rng_state(), np.random.get_state()[1]
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()

    found = fit(task)

    assert found.max_batch_size == 9
    assert found.max_multiple_of_8 == 8
    assert found.bounded_by == "memory"
    assert found.eval_batch_size == 6
    tried = {r.batch_size: r.outcome for r in found.tried if r.mode == "training"}
    assert tried[9] == "fits"
    assert tried[8] == "fits"
    assert tried[10] == "out of memory"
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numbers).all()
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, grad)
    assert set(found.to_dict()) >= {
        "max_batch_size",
        "max_multiple_of_8",
        "eval_batch_size",
        "tried",
        "memory",
    }


def test_a_failure_that_is_not_memory_stops_the_search_and_is_shown() -> None:
    with pytest.raises(InvalidTask, match="device-side assert"):
        fit(hidden_task(9, bug=True))


@pytest.mark.slow
def test_a_crash_tells_of_memory_only_where_smaller_batches_ran() -> None:
    def loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        if len(batch[0]) > most:
            os.kill(os.getpid(), signal.SIGSEGV)
        return F.cross_entropy(model(batch[0]), batch[1])

    most = 6
    task = replace(hidden_task(8, size=8), loss=loss)
    found = fit(task)
    assert found.max_batch_size == 6
    assert {r.outcome for r in found.tried if r.batch_size > 6} == {"crashed"}

    most = 0
    with pytest.raises(WorkerDied, match="-11"):
        fit(task)


def test_where_nothing_fits_the_answer_is_a_sentence() -> None:
    huge = make_task(
        model=lambda: nn.Sequential(
            nn.Linear(4, 4_000), nn.Linear(4_000, 4_000), nn.Linear(4_000, 2)
        )
    )

    with pytest.raises(CannotTell, match="nothing fits"):
        fit(huge, memory="400MiB")


@pytest.mark.slow
def test_data_of_500_that_fit_whole_are_the_answer_and_a_batch_norm_starts_at_two() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 4, generator=generator)
    y = (x.sum(1) > 0).long()
    normed = make_task(
        model=lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)),
        train=(x, y),
        optimizer=bs.Adam(lr=1e-3),
    )

    found = fit(normed)

    assert (found.max_batch_size, found.bounded_by) == (500, "data")
    assert [r.outcome for r in found.tried][:1] == ["refused"]
    assert found.anatomy is not None
    weights = 4 * (4 * 8 + 8 + 8 + 8 + 8 * 2 + 2)
    assert found.anatomy.weights == found.anatomy.gradients == weights
    # Two averages of each weight, and a step count per parameter.
    assert 2 * weights <= found.anatomy.optimizer_state <= 2 * weights + 64
    assert found.anatomy.activations > 0


class Sentences(torch.utils.data.Dataset[torch.Tensor]):
    """Sentences of log-normal length."""

    def __init__(self, count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.lengths = np.exp(rng.normal(3, 0.6, count)).astype(int) + 1

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.zeros(self.lengths[index], dtype=torch.long)


def test_no_batch_of_the_size_found_runs_out_where_lengths_are_log_normal() -> None:
    # Memory is rows times the longest sentence of the batch, which may take 2,000 tokens.
    room, ours, random = 2_000, [], []
    for seed in range(200):
        data = Sentences(300, seed)
        order = order_by_size(make_task(), data)
        rng = np.random.default_rng(seed)
        assert order is not None

        def runs_out(batch: object, lengths: np.ndarray = data.lengths) -> bool:
            return len(batch) * lengths[batch].max() > room  # type: ignore[arg-type]

        def share_that_runs_out(
            choose: Callable[[int], object],
            runs_out: Callable[[object], bool] = runs_out,
            rng: np.random.Generator = rng,
        ) -> float:
            probes = search_largest(
                lambda size: Probe(batch_size=size, fits=not runs_out(choose(size))), largest=300
            )
            found = max(p.batch_size for p in probes if p.fits)
            return float(np.mean([runs_out(rng.permutation(300)[:found]) for _ in range(50)]))

        ours.append(share_that_runs_out(lambda size, order=order: order[:size]))
        random.append(share_that_runs_out(lambda size, rng=rng: rng.permutation(300)[:size]))

    assert max(ours) == 0
    # What a search by random batches finds fails later: one batch in five, give or take.
    assert np.mean(random) > 0.15


@pytest.mark.slow
def test_an_evaluation_that_exhausts_memory_has_its_own_smaller_size() -> None:
    def loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        if not model.training and len(batch[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return F.cross_entropy(model(batch[0]), batch[1])

    task = replace(hidden_task(6, size=6), loss=loss)

    for most in (2, 0):
        found = fit(task)
        assert (found.max_batch_size, found.eval_batch_size) == (6, most)


def test_a_loader_that_returns_none_is_a_sentence_and_no_lack_of_memory() -> None:
    task = replace(hidden_task(6, size=6), collate=lambda _: None)

    with pytest.raises(InvalidTask, match="None"):
        fit(task)


def test_a_task_that_cannot_travel_is_refused() -> None:
    lock = threading.Lock()
    stuck = make_task(model=lambda: (lock.locked(), nn.Linear(4, 2))[1])

    with pytest.raises(InvalidTask, match="cannot be sent"):
        fit(stuck)


PIXELS = """
import torch
from torch import nn
import batchscope as bs

generator = torch.Generator().manual_seed(0)
x = torch.randn(1200, 3, 64, 64, generator=generator)
y = torch.randint(0, 10, (1200,), generator=generator)
task = bs.Task(
    model=lambda: nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    ),
    loss=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
    train=(x, y), val=(x[:8], y[:8]), optimizer=bs.SGD(lr=0.01),
)
"""
FRESH = """
import resource, sys, torch
sys.path.insert(0, ".")
import pixels
from batchscope.instruments.memory.limits import read_status
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
model = pixels.task.model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
try:
    for _ in range(2):
        x, y = (t[torch.arange(int(sys.argv[1]))] for t in (pixels.x, pixels.y))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
except (RuntimeError, MemoryError):
    sys.exit(3)
"""


@pytest.mark.slow
def test_a_forked_process_reads_what_one_of_its_own_does(tmp_path: Path) -> None:
    source = FileTask(path=str(tmp_path / "pixels.py"), text=PIXELS, name="task")
    limit = MemoryLimit(amount=3 * 2**30, kind="resident", words="as given")

    def ask(function: TaskFunction, *arguments: object, once: bool) -> Any:
        with ProcessPool(source, count=1, threads=1, once=once) as pool:
            return pool.ask("probe", function, *arguments)

    # Above 128 images all that is kept is mapped for itself, which no process does differently.
    arguments = (200, "training", limit, "float32", "cpu", None)
    own = ask(probe_memory, *arguments, None, once=True)
    forked = ask(probe_memory, *arguments, ask(read_start, once=True), once=False)

    # A library's code counts twice where it is used before the reading and after it; and readings
    # of one size differ by half a percent.
    assert 0.98 * own.peak <= forked.peak <= 1.04 * own.peak


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_under_a_real_address_space_limit_it_is_what_fits_in_a_fresh_process(
    tmp_path: Path,
) -> None:
    (tmp_path / "pixels.py").write_text(PIXELS)
    look = (
        "import sys; sys.path.insert(0, '.'); import pixels\n"
        "from batchscope.instruments.memory.limits import read_status\n"
        "print(read_status()['VmPeak'])"
    )
    base = subprocess.run(
        [sys.executable, "-c", look], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    limit = int(base.stdout) + 800 * 2**20

    # As a training of one's own runs: with as many threads as there are cores.
    all_cores = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def fits(size: int) -> bool:
        command = [sys.executable, "-c", FRESH, str(size), str(limit)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, env=all_cores)
        return done.returncode == 0

    code = "import batchscope as bs; print(bs.fit('pixels.py:task', device='cpu').max_batch_size)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, preexec_fn=bound
    )
    assert done.returncode == 0, done.stderr

    # It is what a plain script can take, to two in a hundred.
    ours = int(done.stdout)
    assert fits(math.ceil(ours / 1.02))
    assert not fits(math.floor(ours / 0.98) + 1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("limit", [1, 2, 7, 33, 150, 777])
def test_hidden_limits_are_found_through_real_processes(limit: int) -> None:
    found = fit(hidden_task(limit, size=1_000))

    assert found.max_batch_size == limit
    assert len([r for r in found.tried if r.mode == "training"]) <= 26


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("megabytes", [450, 500, 560, 640, 720, 900])
def test_real_memory_limits_are_found_through_real_processes(
    tmp_path: Path, megabytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pixels.py").write_text(PIXELS)

    found = bs.fit("pixels.py:task", memory=f"{megabytes}MiB", device="cpu")

    tried = {r.batch_size: r.outcome for r in found.tried if r.mode == "training"}
    assert tried[found.max_batch_size] == "fits"
    assert found.bounded_by == "data" or tried[found.max_batch_size + 1] == "out of memory"
    assert isinstance(found.bytes_per_example, Interval)
