"""The frontier of time, cost and quality."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from batchscope.budget import Target
from batchscope.decisions.cost import Prices, Use
from batchscope.decisions.levels import Level, find_hardest, weigh_quality
from batchscope.estimate import Interval
from batchscope.findings.curves import Curve
from batchscope.findings.sizes import SizeFindings
from batchscope.findings.tuning import Ranking, tune_sizes

from ..findings.curves import analyze_losses, make_curve

# After every ten steps: soon at 0.4 and no further, or late and as far as 0.1.
SOON, LATE = [2.0, 0.4, 0.4, 0.4, 0.4, 0.4], [2.0, 1.5, 1.0, 0.5, 0.2, 0.1]


def run_twice(size: int, losses: Sequence[float], **named: float) -> list[Curve]:
    """A run with these losses, and one that is a little below them."""
    other = [losses[0], *(0.99 * loss for loss in losses[1:])]
    return [
        make_curve(size, seed=seed, loss=run, **named) for seed, run in enumerate((losses, other))
    ]


def weigh(curves: Sequence[Curve], devices: Sequence[int] = (1,)) -> tuple[Level, ...]:
    """With steps of a second, which each doubling of the devices makes a fifth shorter."""

    def uses_of(sizes: Sequence[SizeFindings]) -> list[Use]:
        return [
            Use(
                batch_size=size.batch_size,
                devices=count,
                steps=size.steps,
                step_seconds=Interval(value=step, low=step, high=step, unit="s/step"),
            )
            for count in devices
            for size in sizes
            if isinstance(size.steps, Interval)
            for step in [1.0 if count == 1 else 0.8]
        ]

    return weigh_quality(analyze_losses(curves, 0.5), uses_of, Prices())


def test_what_gets_to_an_easy_level_soonest_need_not_get_to_a_hard_one() -> None:
    levels = weigh([*run_twice(8, SOON), *run_twice(32, LATE)])

    chosen = {level.target: [one.cost.use.batch_size for one in level.choices] for level in levels}
    assert chosen["val_loss<=0.5"] == [8]
    assert chosen["val_loss<=0.1"] == [32]
    assert list(chosen) == sorted(chosen, key=lambda said: -float(said.partition("<=")[2]))


def test_at_every_level_the_rate_is_the_one_that_gets_there_soonest() -> None:
    levels = weigh([*run_twice(8, SOON, lr=0.5), *run_twice(8, LATE, lr=0.1)])

    steps = {level.target: level.choices[0].cost.use.steps for level in levels}
    # 8.6 of 10 steps by the log of the loss, and somewhat less; of the slower rate 50.
    assert isinstance(easy := steps["val_loss<=0.5"], Interval)
    assert isinstance(hard := steps["val_loss<=0.1"], Interval)
    assert easy.value == pytest.approx(8.6, abs=0.03)
    assert hard.value == pytest.approx(50, abs=0.1)
    rates = {level.target: level.choices[0].learning_rate for level in levels}
    assert (rates["val_loss<=0.5"], rates["val_loss<=0.1"]) == (0.5, 0.1)


def test_more_devices_are_faster_and_dearer_so_both_stay() -> None:
    levels = weigh(run_twice(32, LATE), devices=[1, 2])

    assert all([one.cost.use.devices for one in level.choices] == [2, 1] for level in levels)


def test_the_hardest_level_is_one_that_every_seed_of_a_size_got_to() -> None:
    curves = [
        make_curve(8, seed=0, loss=[2.0, 0.1234]),
        make_curve(8, seed=1, loss=[2.0, 0.3]),
        *run_twice(32, [2.0, 0.2]),
        make_curve(64, loss=[2.0, 0.01]),
        make_curve(128, seed=0, loss=[2.0, 0.01]),
        make_curve(128, seed=1, loss=[math.nan], status="diverged"),
    ]
    sizes = tune_sizes(curves, Ranking(quality="val_loss", higher=False))

    assert find_hardest(sizes, Target("val_loss", 0.5, "<=")) == Target("val_loss", 0.2, "<=")
    assert find_hardest(sizes, Target("val_loss", 0.05, "<=")) == Target("val_loss", 0.05, "<=")


def test_where_more_is_better_the_hardest_level_is_the_highest() -> None:
    curves = [
        make_curve(8, seed=seed, share=[0.0, 0.5, best])
        for seed, best in enumerate((0.98765, 0.99))
    ]
    sizes = tune_sizes(curves, Ranking(quality="share", higher=True))

    assert find_hardest(sizes, Target("share", 0.9, ">=")) == Target("share", 0.987, ">=")


def test_runs_that_end_at_the_target_tell_of_no_other_level() -> None:
    analysis = replace(analyze_losses(run_twice(8, SOON), 0.5), to_target_only=True)

    assert weigh_quality(analysis, lambda _: [], Prices()) == ()
