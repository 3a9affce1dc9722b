"""What each batch size of a study costs."""

from collections.abc import Mapping, Sequence
from typing import Any

from batchscope.budget import Target
from batchscope.decisions.choosing import check_target
from batchscope.decisions.comparing_costs import Costs, compare_costs
from batchscope.decisions.cost import Prices, Use
from batchscope.decisions.levels import weigh_quality
from batchscope.decisions.power import power_of
from batchscope.decisions.reasons import join_sizes
from batchscope.errors import CannotTell, InvalidInput
from batchscope.estimate import Interval
from batchscope.findings.seeds import LEAST_REPEATS, estimate_median
from batchscope.findings.sizes import SizeFindings
from batchscope.records import count_devices, name_kind
from batchscope.studies.speed import find_measurement
from batchscope.verbs.analyzing import analyze
from batchscope.verbs.importing import is_table
from batchscope.verbs.opening import find_row, open_study
from batchscope.verbs.powering import check_powerless, find_study_watts
from batchscope.verbs.studying import Study


def cost(
    study: Study | str,
    *,
    which: str | None = None,
    prices: Prices | None = None,
    watts: float | Mapping[int, float] | None = None,
    devices: int | Sequence[int] | None = None,
    present: int | None = None,
    target: Target | str | None = None,
) -> Costs:
    """What each batch size of a study costs to the target, and how surely it is the best.

    Of the batch sizes whose every seed got there; the others are named.

    Args:
        study: what `study` returned, or what `analyze` reads.
        which: a study's id or its task's name; None for the latest.
        prices: None for time alone.
        watts: of each device while it trains, at every batch size or by batch size; None for what
            `energy` has kept in the store.
        devices: that share each step, one count or several to choose from, of which `profile` has
            timed the steps; None for as many as the runs had, of a table one.
        present: the largest batch size that the hardware at hand fits; larger ones need what
            `prices` has as hardware and engineering. None for all.
        target: None for the study's own, or one derived from the runs.

    Raises:
        InvalidInput: a number makes no sense, steps on so many devices were not timed, or
            electricity has a price and the watts are not known.
        CannotTell: no batch size reached the target with every seed, or most runs had it untrained.
    """
    prices = prices or Prices()
    _check_upgrade(present, prices)
    power = power_of(watts if watts is not None else find_study_watts(study, which))
    if power is None:
        check_powerless(prices)
    own = _count_own_devices(study, which)
    devices = (own or 1) if devices is None else devices
    counts = [devices] if isinstance(devices, int) else sorted(set(devices))
    if not counts or min(counts) < 1:
        raise InvalidInput(
            f"{counts} devices", where="devices", expected="counts from 1 on", do="mend the counts"
        )
    analysis = analyze(study, which=which, target=target)
    check_target(analysis, where="cost")
    # What the runs had needs no timing of its own; of a table nobody knows what they had.
    is_own = counts == [own or counts[0]]
    timed = _read_timings(study, which, counts, is_own=is_own)

    def uses_of(sizes: Sequence[SizeFindings]) -> list[Use]:
        return [
            Use(
                batch_size=size.batch_size,
                devices=count,
                steps=size.steps,
                step_seconds=step,
                watts=None if power is None else power.at(size.batch_size),
                is_present=present is None or size.batch_size <= present,
            )
            for count in counts
            for size in sizes
            if (step := _step_seconds(size, timed.get((size.batch_size, count)), is_own=is_own))
            is not None
        ]

    uses = uses_of(analysis.sizes)
    if not uses:
        raise CannotTell(
            f"no batch size of study {analysis.study} got to {analysis.target or 'a target'} with "
            "every one of at least two seeds, and was timed",
            where="cost",
            expected="runs that reach a target, with times",
            do="name an easier target, or give the runs a larger budget",
        )
    return compare_costs(analysis, uses, prices, weigh_quality(analysis, uses_of, prices))


def _count_own_devices(study: Study | str, which: str | None) -> int | None:
    """That the runs of a study had; None of a table."""
    if isinstance(study, str) and is_table(study):
        return None
    with open_study(study) as store:
        return count_devices(find_row(store, study, which)["plan"]["device_kind"])


def _check_upgrade(present: int | None, prices: Prices) -> None:
    if present is None:
        if prices.hardware + prices.engineering > 0:
            raise InvalidInput(
                "an upgrade has a price, and what needs it is not known",
                where="--hardware, --engineering",
                expected="--present beside them",
                do="add --present, the largest batch size that the hardware at hand fits",
            )
        return
    if present < 1:
        raise InvalidInput(
            f"hardware that fits a batch of {present}",
            where="--present",
            expected="the largest batch size that it fits, from 1 on",
            do="leave it out where all fit",
        )
    if prices.hardware + prices.engineering > 0 and not prices.has_usage:
        raise InvalidInput(
            "an upgrade has a price, and what it saves has none",
            where="--hardware, --engineering",
            expected="a price of device-hours, electricity or waiting beside them",
            do="add --device-hour, or --kilowatt-hour with --watts",
        )


def _read_timings(
    study: Study | str, which: str | None, counts: Sequence[int], *, is_own: bool
) -> dict[tuple[int, int], Interval]:
    """Seconds per step by batch size and devices, of a study's store; of a table there are none.

    Raises:
        InvalidInput: a count that the runs did not have was not timed.
    """
    if isinstance(study, str) and is_table(study):
        if len(counts) > 1:
            raise InvalidInput(
                f"a table of runs has no timing on {join_sizes(counts)} devices",
                where=f"cost of {study}, devices",
                expected="a study's store, or one number of devices",
                do="name the number that the runs had",
            )
        return {}
    found: dict[tuple[int, int], Interval] = {}
    with open_study(study) as store:
        row = find_row(store, study, which)
        plan = row["plan"]
        kind = plan["device_kind"].partition(" ")[0]
        for count in counts:
            measured = find_measurement(
                store,
                row["fingerprint"],
                precision=plan["precision"],
                device_kind=name_kind(kind, count),
                batch_sizes=plan["batch_sizes"],
                # On other devices each size must have an interval.
                least_steps=1 if is_own else LEAST_REPEATS,
            )
            if measured is None and not is_own:
                raise _not_timed(count, row["task"], plan)
            for step in measured.steps if measured else ():
                estimate = estimate_median(step.seconds, unit="s/step")
                if isinstance(estimate, Interval):
                    found[step.batch_size, count] = estimate
    return found


def _not_timed(count: int, task: str, plan: Mapping[str, Any]) -> InvalidInput:
    sizes = ",".join(map(str, plan["batch_sizes"]))
    return InvalidInput(
        f"steps on {count} device{'s' if count > 1 else ''} were not timed, or too few of them",
        where=f"cost of {task}, devices",
        expected=f"{LEAST_REPEATS} timed steps of every batch size on each number of devices",
        do=f"batchscope profile {task} --devices {count} --batch-sizes {sizes} --precision "
        f"{plan['precision']}, into the same store",
    )


def _step_seconds(size: SizeFindings, timed: Interval | None, *, is_own: bool) -> Interval | None:
    """Seconds per step as they were timed, or as the runs of a table say, without a width.

    None also where a seed did not get there: what the others took is no cost of getting there.
    """
    if not isinstance(size.steps, Interval) or size.reached < size.seeds:
        return None
    if timed is not None or not is_own:
        return timed
    if not isinstance(size.seconds, Interval):
        return None
    step = size.seconds.value / size.steps.value
    return Interval(value=step, low=step, high=step, unit="s/step")
