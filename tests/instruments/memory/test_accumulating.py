import logging
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import batchscope as bs
from batchscope.errors import InvalidInput
from batchscope.training.devices import is_out_of_memory

from ...conftest import run_module


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def make_batch(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, 5, generator=generator), torch.randint(
        0, 3, (rows,), generator=generator
    )


def gradients(model: nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


class Limited:
    """A loss that runs out of memory above so many rows, at the so-manieth call."""

    def __init__(self, model: nn.Module, limit: int, *, from_call: int = 1) -> None:
        self.model, self.limit, self.from_call, self.calls = model, limit, from_call, 0

    def __call__(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        self.calls += 1
        if len(batch[0]) > self.limit and self.calls >= self.from_call:
            raise torch.OutOfMemoryError("out of memory")
        return F.cross_entropy(self.model(batch[0]), batch[1])


@pytest.mark.parametrize(("rows", "limit"), [(64, 64), (64, 16), (50, 16), (13, 1)])
def test_the_gradient_is_that_of_the_full_batch(rows: int, limit: int) -> None:
    batch, model = make_batch(rows), make_model()
    full = F.cross_entropy(model(batch[0]), batch[1])
    full.backward()
    expected = gradients(model)
    model.zero_grad()

    step = bs.fit_batch(Limited(model, limit), effective=rows)
    loss = step(batch)

    assert float(loss) == pytest.approx(float(full.detach()), rel=1e-6)
    assert step.micro_batch <= limit
    for ours, theirs in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_losses_weighted_by_tokens_are_too() -> None:
    generator = torch.Generator().manual_seed(2)
    text = torch.randint(0, 9, (12, 20), generator=generator)
    text[torch.rand(12, 20, generator=generator) < 0.4] = 0
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 9))

    def loss(part: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(part).flatten(0, 1), part.flatten(), ignore_index=0)

    loss(text).backward()
    expected = gradients(model)
    model.zero_grad()
    step = bs.fit_batch(
        loss, effective=12, micro_batch=5, weigh=lambda part: float((part != 0).sum())
    )

    step(text)

    for ours, theirs in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_memory_that_runs_out_late_goes_on_from_the_same_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def train(limit: int, from_call: int) -> tuple[list[torch.Tensor], list[int]]:
        model = make_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        step = bs.fit_batch(Limited(model, limit, from_call=from_call), effective=32)
        sizes = []
        for _ in range(6):
            optimizer.zero_grad()
            step(make_batch(32))
            optimizer.step()
            sizes.append(step.micro_batch)
        return [p.detach().clone() for p in model.parameters()], sizes

    plain, _ = train(limit=32, from_call=1)
    with caplog.at_level(logging.INFO, logger="batchscope"):
        late, sizes = train(limit=8, from_call=4)

    assert sizes == [32, 32, 32, 8, 8, 8]
    assert "4 micro-batches of 8 from here on" in caplog.text
    for ours, theirs in zip(late, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_gradients_that_were_there_before_stay_and_random_numbers_begin_again() -> None:
    model = make_model()
    drop = nn.Dropout(0.5)
    limited = Limited(nn.Sequential(model, drop), 8)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    batch = make_batch(8)
    torch.manual_seed(9)
    step = bs.fit_batch(limited, effective=8)
    step(batch)
    expected = gradients(model)

    for p in model.parameters():
        p.grad = torch.ones_like(p)
    failing = Limited(nn.Sequential(model, drop), 8)
    torch.manual_seed(9)
    wide = bs.fit_batch(failing, effective=8, micro_batch=16)
    wide(batch)

    for ours, theirs in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_buffers_of_a_failed_pass_are_taken_back() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))

    class AfterForward(Limited):
        def __call__(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            output = self.model(batch[0])
            if len(batch[0]) > self.limit:
                raise MemoryError
            return F.cross_entropy(output, batch[1])

    step = bs.fit_batch(AfterForward(model, 16), effective=32, model=model)
    step(make_batch(32))

    assert int(model[1].num_batches_tracked) == 2  # the two halves, not the failed whole


def test_an_error_that_is_not_memory_is_itself() -> None:
    def broken(batch: object) -> torch.Tensor:
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side assert"):
        bs.fit_batch(broken, effective=8)(make_batch(8))


def test_where_one_row_does_not_fit_the_error_is_that_of_memory() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        bs.fit_batch(Limited(make_model(), 0), effective=4)(make_batch(4))


def test_a_checkpoint_keeps_the_size_that_was_found() -> None:
    model = make_model()
    step = bs.fit_batch(Limited(model, 8), effective=32)
    step(make_batch(32))

    again = bs.fit_batch(Limited(model, 8), effective=32)
    again.load_state_dict(step.state_dict())

    assert (again.micro_batch, again.accumulation) == (8, 4)
    with pytest.raises(InvalidInput, match="effective batch"):
        bs.fit_batch(Limited(model, 8), effective=64).load_state_dict(step.state_dict())


@pytest.mark.parametrize("wrong", [{"effective": 0}, {"effective": 8, "micro_batch": 0}])
def test_sizes_below_one_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        bs.fit_batch(lambda batch: batch, **wrong)


def test_ranks_agree_on_the_size_and_share_the_gradient(tmp_path: Path) -> None:
    script = Path(__file__).parent / "two_ranks.py"

    done = run_module(
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
        folder=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "answers.txt").read_text() == "4 True 4 True"


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB",
        "HIP out of memory",
        "MPS backend out of memory (MPS allocated: 17.96 GB)",
        "XPU out of memory. Tried to allocate 2 GiB",
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a "
        "non-contiguous input",
        "std::bad_alloc",
    ],
)
def test_what_libraries_say_when_memory_runs_out_is_known(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    assert is_out_of_memory(MemoryError())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered; also out of memory"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x5 and 6x7)"),
        ValueError("out of memory"),
    ],
)
def test_a_bug_is_no_want_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)
