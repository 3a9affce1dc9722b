import copy

import pytest
import torch
from torch import nn

import batchscope as bs
from batchscope.errors import InvalidTask
from batchscope.ghost import WithGhostBatches

from .conftest import make_task


def with_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(8), (256, 8)),
        (nn.BatchNorm1d(8, affine=False), (256, 8, 5)),
        (nn.BatchNorm2d(8, momentum=0.3), (256, 8, 4, 4)),
        (nn.BatchNorm2d(8, momentum=None), (256, 8, 4, 4)),
        (nn.BatchNorm3d(8, track_running_stats=False), (256, 8, 2, 3, 2)),
        (nn.BatchNorm1d(8, affine=False, track_running_stats=False), (256, 8)),
        # Few parts, large ones, and what is left over joins the others.
        (nn.BatchNorm2d(8), (256, 8, 12, 12)),
        (nn.BatchNorm2d(8), (64, 8, 4, 4)),
        (nn.BatchNorm2d(8), (260, 8, 4, 4)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_a_large_batch_is_normalised_as_its_parts_would_be_alone(
    norm: nn.Module, shape: tuple[int, ...], kind: torch.dtype
) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(copy.deepcopy(norm))
    if kind == torch.float64:
        plain.double()
    ghost = WithGhostBatches(lambda: copy.deepcopy(plain), 16)()
    weights = torch.randn(shape)
    x = torch.randn(shape).to(kind)
    parts = [part.clone().requires_grad_() for part in x.tensor_split(len(x) // 16)]
    whole = x.clone().requires_grad_()

    expected, found = torch.cat([plain(part) for part in parts]), ghost(whole)
    for each in (expected, found):
        (each * weights).sum().backward()

    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(whole.grad, torch.cat([part.grad for part in parts]))
    torch.testing.assert_close(dict(ghost.named_buffers()), dict(plain.named_buffers()))
    for ours, theirs in zip(ghost.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert copy.deepcopy(ghost)(x).dtype == kind


def test_an_input_of_the_wrong_shape_is_refused_as_by_the_plain_norm() -> None:
    ghost = WithGhostBatches(lambda: nn.Sequential(nn.BatchNorm2d(8)), 16)()

    with pytest.raises(ValueError, match="expected 4D input"):
        ghost(torch.randn(256, 8))


def test_a_part_is_never_left_with_one_example() -> None:
    ghost = WithGhostBatches(with_norm, 16)()

    assert torch.isfinite(ghost(torch.randn(33, 4))).all()


def test_evaluation_is_what_it_was() -> None:
    torch.manual_seed(0)
    plain = with_norm().eval()
    ghost = WithGhostBatches(lambda: copy.deepcopy(plain), 16)().eval()
    x = torch.randn(64, 4)

    torch.testing.assert_close(ghost(x), plain(x))


def test_a_task_with_ghost_batches_is_another_run_and_trains(tmp_path: object) -> None:
    def normed() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))

    options = {"batch_sizes": [32], "learning_rates": [0.1], "seeds": 1, "jobs": 1}
    plain, ghost = (
        bs.study(
            make_task(model=normed, ghost_batch=size),
            store=f"{tmp_path}/r.db",
            **options,
        )
        for size in (None, 8)
    )

    assert plain.runs[0].key != ghost.runs[0].key
    assert ghost.runs[0].configuration.hyper_parameters["ghost_batch"] == 8
    losses = [done.runs[0].trajectory.last("train_loss") for done in (plain, ghost)]
    assert losses[0] != losses[1]


def test_one_example_has_no_variance() -> None:
    with pytest.raises(InvalidTask, match="ghost_batch=1"):
        make_task(ghost_batch=1)
