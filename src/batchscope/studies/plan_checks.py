"""What cannot be asked of a study, said before anything is trained."""

import math
import numbers
from collections.abc import Mapping, Sequence

from batchscope.budget import Budget
from batchscope.errors import InvalidInput, check_above_zero
from batchscope.studies.rules import FITTED
from batchscope.training.evaluation import horizon_examples
from batchscope.training.schedules import Schedule


def check_warmup(examples: float) -> float:
    """A warmup in examples, above 0.

    Raises:
        InvalidInput: it is not.
    """
    check_above_zero(
        examples,
        f"a warmup over {examples:g} examples",
        where="--warmup",
        expected="a number of examples above 0",
        do="leave it out for none",
    )
    return float(examples)


def check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """Batch sizes, each once, in increasing order.

    Raises:
        InvalidInput: there are none, or one is no whole number from 1 on.
    """
    if not len(sizes) or not all(isinstance(b, numbers.Integral) and b >= 1 for b in sizes):
        raise InvalidInput(
            f"batch sizes of {', '.join(map(str, sizes)) or 'none'}",
            where="--batch-sizes",
            expected="whole numbers from 1 on",
            do="mend them, or leave them out for powers of two",
        )
    return tuple(sorted({int(size) for size in sizes}))


def check_also_read(
    also: Sequence[Budget], whole: Budget, schedule: Schedule, train_size: int
) -> None:
    """See that these are shorter runs, and the beginnings of a longer one.

    Raises:
        InvalidInput: they are not.
    """
    if not also:
        return
    if "seconds" in (whole.kind, *(budget.kind for budget in also)):
        raise InvalidInput(
            "what a run has seen after some seconds is not the same twice",
            where="--also-read",
            expected="budgets in epochs, steps or examples",
            do="study each budget in seconds by itself",
        )
    if schedule.needs_horizon:
        raise InvalidInput(
            f"under the schedule {schedule.kind} a shorter run is another run",
            where="--also-read",
            expected="the schedule constant or averaged",
            do="take --schedule averaged, or study each budget by itself",
        )
    for budget in also:
        # How many examples steps are depends on the batch size.
        is_comparable = budget.kind == whole.kind or "steps" not in (budget.kind, whole.kind)
        ends = [horizon_examples(one, train_size, 1) for one in (budget, whole)]
        if is_comparable and ends[0] > ends[1]:
            raise InvalidInput(
                f"a budget of {budget}, and runs that end after {whole}",
                where="--also-read",
                expected=f"budgets up to {whole}",
                do="leave it out, or give the runs a larger --budget",
            )


def check_evaluate_every(every: Budget | None, train_size: int) -> None:
    """See that runs of every batch size are evaluated after the same examples.

    Raises:
        InvalidInput: they would not be.
    """
    if every is None:
        return
    count = {"epochs": every.amount * train_size, "examples": every.amount}.get(every.kind, 0.0)
    if every.until is None and count >= 1:
        return
    raise InvalidInput(
        f"an evaluation every {every}: batch sizes are compared after the same examples",
        where="--evaluate-every",
        expected="epochs such as 1ep or 0.5ep, or examples such as 5000ex, of at least one example",
        do="leave it out to look often at first and less often later",
    )


def check_noise_scale(noise_scale: float, *, leads_rates: bool) -> None:
    """See that a noise scale is above 0, and of use to a search.

    Raises:
        InvalidInput: it is not.
    """
    check_above_zero(
        noise_scale,
        f"a noise scale of {noise_scale:g}",
        where="--noise-scale",
        expected="examples, above 0",
        do="take what batchscope noise --method training says of your task, or leave it out",
    )
    if not leads_rates:
        raise InvalidInput(
            f"a noise scale of {noise_scale:g}, and rates that are not led from one batch size to "
            "the next",
            where="--noise-scale",
            expected="batchscope recommend, or a study with --effort frugal",
            do=f"leave it out, or move the rates by it with --rule adascale:{noise_scale:g}",
        )


def check_base(base: int, rule: str | None) -> None:
    """See that a rule begins at a base that was named.

    Raises:
        InvalidInput: there is no rule, or it finds its own.
    """
    if rule in (None, FITTED):
        raise InvalidInput(
            f"a base of {base}, and " + ("no rule" if rule is None else f"the rule {rule}"),
            where="--base",
            expected="a rule that moves the rates from there",
            do="add for example --rule linear, or leave --base out",
        )


def check_rates(rates: Sequence[float] | None, *, exhaustive: bool, rule: str | None) -> None:
    """See that rates are above 0, and come from one place.

    Raises:
        InvalidInput: they are not, or do not.
    """
    if rule is not None and exhaustive:
        raise InvalidInput(
            "both a rule and the exhaustive grid",
            where="--rule, --exhaustive",
            expected="one of them",
            do="name the rates at the base batch size with --learning-rates",
        )
    if rule == FITTED and rates is not None:
        raise InvalidInput(
            "both rates by hand and a fitted rule, which searches them",
            where="--rule fitted, --learning-rates",
            expected="one of them",
            do="leave --learning-rates out, or take --rule power:0.7",
        )
    if rates is not None:
        _check_above_zero(rates)
    if rates is not None and exhaustive:
        raise InvalidInput(
            "both a grid by hand and the exhaustive one",
            where="--learning-rates, --exhaustive",
            expected="one of them",
            do="leave --exhaustive out: a grid by hand is trained whole as well",
        )


def check_own_rates(
    rates: Mapping[int, Sequence[float]],
    *,
    batch_sizes: Sequence[int] | None,
    exhaustive: bool,
    rule: str | None,
) -> tuple[tuple[int, tuple[float, ...]], ...]:
    """The rates of each batch size, in increasing order of both.

    Args:
        rates: by batch size, which may be text as the keys of a TOML file are.
        batch_sizes: None for those that rates are given for.

    Raises:
        InvalidInput: a batch size has none, one is not above 0, or they come from elsewhere too.
    """
    if exhaustive or rule is not None:
        raise InvalidInput(
            "rates of each batch size by hand, and "
            + ("the exhaustive grid" if exhaustive else f"the rule {rule}"),
            where="--learning-rates",
            expected="one of them",
            do="leave the other out",
        )
    try:
        own = {int(size): tuple(sorted(set(map(float, each)))) for size, each in rates.items()}
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"learning rates of batch sizes that cannot be read: {error}",
            where="--learning-rates",
            expected="rates above 0 for each batch size",
            do="write for example --learning-rates 32=0.1,128=0.2,128=0.4, or in Python "
            "{32: [0.1], 128: [0.2, 0.4]}",
        ) from error
    sizes = check_sizes(list(own) if batch_sizes is None else batch_sizes)
    lacking = sorted(set(sizes) ^ set(own))
    if lacking:
        raise InvalidInput(
            f"batch size {lacking[0]} has no learning rates"
            if lacking[0] in sizes
            else f"learning rates for {lacking[0]}, which is not one of the batch sizes",
            where="--learning-rates, --batch-sizes",
            expected="the same batch sizes in both",
            do="leave --batch-sizes out",
        )
    for each in own.values():
        _check_above_zero(each)
    return tuple((size, own[size]) for size in sizes)


def _check_above_zero(rates: Sequence[float]) -> None:
    if rates and all(0 < rate < math.inf for rate in rates):
        return
    raise InvalidInput(
        f"learning rates {', '.join(map(str, rates)) or 'of none'}",
        where="--learning-rates",
        expected="rates above 0",
        do="write for example --learning-rates 0.01,0.03,0.1, or leave it out for a search",
    )
