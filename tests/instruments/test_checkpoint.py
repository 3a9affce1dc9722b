"""The training to a place that is then looked at."""

import pytest
import torch

import batchscope as bs
from batchscope.budget import Budget, parse_budget
from batchscope.instruments.checkpoint import reach_checkpoint
from batchscope.instruments.curvature import DistanceHook
from batchscope.training.hooks import Hook

from ..conftest import make_task


@pytest.mark.parametrize(
    ("after", "hooks", "once"),
    [
        (bs.epochs(3), [], True),
        (parse_budget("3ep until val_loss<=0.01"), [], False),
        (bs.epochs(3), [DistanceHook()], False),
    ],
    ids=["for so long", "until a target", "with who looks"],
)
def test_on_the_way_the_model_is_only_evaluated_where_something_depends_on_it(
    after: Budget, hooks: list[Hook], once: bool
) -> None:
    evaluations: list[int] = []

    def count(model: torch.nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        evaluations.append(len(batch[0]))
        return torch.tensor(0.0)

    reach_checkpoint(
        make_task(metrics={"count": count}),
        after=after,
        device=torch.device("cpu"),
        precision="float32",
        hooks=hooks,
    )

    # Of the training, the validation and the test part.
    assert len(evaluations) >= 3
    assert (len(evaluations) == 3) is once
