"""The frontier of time, cost and quality."""

from collections.abc import Sequence

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

    chosen = {level.target: [cost.use.batch_size for cost in level.costs] for level in levels}
    assert chosen["val_loss<=0.5"] == [8]
    assert chosen["val_loss<=0.1"] == [32]
    assert list(chosen) == sorted(chosen, key=lambda said: -float(said.partition("<=")[2]))


def test_at_every_level_the_rate_is_the_one_that_gets_there_soonest() -> None:
    levels = weigh([*run_twice(8, SOON, lr=0.5), *run_twice(8, LATE, lr=0.1)])

    steps = {level.target: level.costs[0].use.steps for level in levels}
    # 8.6 of 10 steps by the log of the loss, and somewhat less; of the slower rate 50.
    assert isinstance(easy := steps["val_loss<=0.5"], Interval)
    assert isinstance(hard := steps["val_loss<=0.1"], Interval)
    assert easy.value == pytest.approx(8.6, abs=0.03)
    assert hard.value == pytest.approx(50, abs=0.1)


def test_more_devices_are_faster_and_dearer_so_both_stay() -> None:
    levels = weigh(run_twice(32, LATE), devices=[1, 2])

    assert all([cost.use.devices for cost in level.costs] == [2, 1] for level in levels)


def test_the_hardest_level_is_one_that_every_seed_of_a_size_got_to() -> None:
    curves = [
        make_curve(8, seed=0, loss=[2.0, 0.1234]),
        make_curve(8, seed=1, loss=[2.0, 0.3]),
        *run_twice(32, [2.0, 0.2]),
        make_curve(64, loss=[2.0, 0.01]),
    ]
    sizes = tune_sizes(curves, Ranking(quality="val_loss", higher=False))

    assert find_hardest(sizes, Target("val_loss", 0.5, "<=")) == Target("val_loss", 0.2, "<=")
    assert find_hardest(sizes, Target("val_loss", 0.05, "<=")) == Target("val_loss", 0.05, "<=")
