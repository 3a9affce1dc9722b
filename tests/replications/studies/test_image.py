from collections.abc import Sequence
from typing import Any, cast

from batchscope.findings.claims import Seen
from batchscope.replications.lab import Lab, Trained
from batchscope.replications.studies import image
from batchscope.replications.studies.image import choose_rival

from ...conftest import make_task
from .trained import make_trained

ERRORS = {
    8: {0: 0.05, 1: 0.30, 2: 0.30},
    32: {0: 0.01, 1: 0.01, 2: 0.01},
    128: {0: 0.20, 1: 0.20, 2: 0.20},
    512: {0: 0.40, 1: 0.10, 2: 0.25},
}


def test_the_rival_of_32_is_chosen_by_the_seeds_that_it_is_not_judged_on() -> None:
    # Over all three seeds 128 would be the best. Of seeds 1 and 2 it is 512, by 0.175 to 0.2; of
    # 0 and 2 it is 8; of 0 and 1 it is 8, by 0.175 to 0.2.
    assert [choose_rival(ERRORS, seed) for seed in (0, 1, 2)] == [512, 8, 8]


def test_of_one_seed_the_rival_is_the_best_of_it() -> None:
    alone = {size: {0: errors[0]} for size, errors in ERRORS.items()}

    assert choose_rival(alone, 0) == 8


def match(losses: list[float], *, diverged: bool = False) -> Seen:
    """Of 2,048, whose error falls with its loss; 32 goes further on the same way."""
    arms = [(size, image._RATE, 0) for size in (2048, 32)]
    columns = {
        arm: {"train_loss": own, "test_error": [0.3 * loss for loss in own], "step": [0, 1, 2]}
        for arm, own in zip(arms, (losses, [2.3, 1.0, 0.1]), strict=True)
    }
    runs = make_trained(columns, diverged=arms[:1] if diverged else ())
    return image._matched(runs, 2048, 0)


def test_nothing_is_told_at_a_matched_loss_where_one_side_learned_little() -> None:
    assert match([2.3, 2.29, 2.28]) == Seen(-1.0, 1.0)
    assert match([2.3, 0.7, 0.5], diverged=True) == Seen(-1.0, 1.0)


class LabOfTwoMinds:
    """Runs of which seeds of the pilot are best at 0.04, and those that are judged at 0.08."""

    seeds, short_pilot = range(2), range(10, 12)

    def train(
        self, task: object, sizes: list[int], *, rates: Sequence[float], budget: str,
        seeds: range = range(2),
    ) -> Trained:  # fmt: skip
        best = 0.04 if seeds == self.short_pilot else 0.08
        return make_trained(
            {
                (size, rate, seed): {"error": [abs(rate - best)]}
                for size in sizes
                for rate in rates
                for seed in seeds
            }
        )


def test_the_rate_of_the_largest_size_is_chosen_on_seeds_that_are_not_judged() -> None:
    runs, rate = image._tune_largest(cast(Lab, cast(Any, LabOfTwoMinds())), make_task())

    assert rate == 0.04
    assert set(runs.runs) == {(2048, 0.04, 0), (2048, 0.04, 1)}
