"""What runs would have been under a smaller budget, read from what they were."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from batchscope.budget import Budget
from batchscope.errors import InvalidInput
from batchscope.findings.curves import Curve


def read_curves_at(curves: Sequence[Curve], budget: Budget, *, train_size: int) -> list[Curve]:
    """Runs of a constant rate as they were when a smaller budget was spent.

    Such a run does not know how long it will be, so its beginning is the shorter run itself. A run
    that diverged or was stopped later than that counts as finished.

    Args:
        budget: not in seconds; its target, where it has one, with its direction.
        train_size: examples in an epoch.

    Raises:
        InvalidInput: the budget is larger than the runs', or a run was not evaluated at its end.
    """
    return [_read_at(curve, budget, train_size) for curve in curves]


def _read_at(curve: Curve, budget: Budget, train_size: int) -> Curve:
    steps = budget.steps(train_size, curve.batch_size)
    if steps is None:
        raise InvalidInput(
            "what a run has seen after some seconds is not the same twice",
            where="--budget",
            expected="a budget in epochs, steps or examples",
            do="study each budget in seconds by itself",
        )
    taken = curve.columns["step"]
    last = int(np.searchsorted(taken, steps, side="right")) - 1
    columns = {name: values.tolist() for name, values in curve.columns.items()}
    end = budget.first_end(columns, train_size, within=last + 1)
    if end is not None:
        return _cut(curve, end)
    if last >= 0 and taken[last] == steps:
        return _cut(curve, last)
    if not curve.finished:
        return curve
    if last == len(taken) - 1:
        raise InvalidInput(
            f"the run at batch size {curve.batch_size} ends after {taken[-1]:g} steps, before "
            f"{budget}",
            where="--budget",
            expected="a budget that is not larger than the study's",
            do=f'batchscope study --budget "{budget}" trains it',
        )
    raise InvalidInput(
        f"at batch size {curve.batch_size} no evaluation stands at {budget} (step {steps}): the "
        f"nearest are at steps {taken[last]:g} and {taken[last + 1]:g}",
        where="--budget",
        expected="a budget at whose end every run was evaluated",
        do=f"batchscope study --also-read {budget} evaluates there",
    )


def _cut(curve: Curve, end: int) -> Curve:
    columns = {name: values[: end + 1] for name, values in curve.columns.items()}
    return replace(curve, status="finished", columns=columns)
