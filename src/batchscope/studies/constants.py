"""Momentum, weight decay and beta2 searched beside the learning rate, equally at every size."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import qmc

from batchscope.errors import InvalidInput
from batchscope.records import HyperParameters
from batchscope.studies.learning_rate import STEP, round_rate

TUNABLE = ("momentum", "weight_decay", "beta2")
# Of the first seed, for each constant at each batch size, beyond the search of the rate.
TRIALS = {"quick": 4, "standard": 8, "thorough": 16}
_SPACES: Mapping[str, tuple[float, float]] = {
    # 1 - momentum, from none to 0.99.
    "momentum": (0.01, 1.0),
    "weight_decay": (1e-6, 1e-1),
    # 1 - beta2, from a half-life of seven steps to one of 7,000.
    "beta2": (1e-4, 1e-1),
}


def check_tuned(tune: Sequence[str], constants: HyperParameters, effort: str) -> tuple[str, ...]:
    """The constants to tune, in a fixed order.

    Args:
        constants: of the task's optimizer.

    Raises:
        InvalidInput: the optimizer has no such constant, or the effort leaves no trials for it.
    """
    known = [name for name in TUNABLE if name in constants]
    for name in tune:
        if name not in known:
            raise InvalidInput(
                f"the optimizer has no {name!r} to tune",
                where="--tune",
                expected=f"some of {', '.join(known)}" if known else "nothing, for this optimizer",
                do="leave it out, or tune the learning rate alone",
            )
    if tune and effort not in TRIALS:
        raise InvalidInput(
            f"the effort {effort} searches the learning rate alone",
            where="--tune, --effort",
            expected=f"one of {', '.join(TRIALS)}",
            do="take --effort quick, or leave --tune out",
        )
    return tuple(name for name in known if name in tune)


def draw_settings(
    own: Mapping[str, float], best_rate: float, *, count: int, seed: int
) -> list[dict[str, float]]:
    """Settings to try at one batch size: quasi-random, so that every size has the same ones.

    They lie within half a decade of the best rate and in the usual range of each constant, evenly
    in their logarithms (a Sobol sequence, as in Shallue et al. 2019). Momentum m multiplies what a
    step moves by 1 / (1 - m): the rate is moved against it, so that the two are searched apart.

    Args:
        own: the task's constants that are tuned.
        best_rate: at these constants.

    Returns:
        "lr" and the constants, to two significant digits.
    """
    sequence = qmc.Sobol(len(own) + 1, rng=np.random.default_rng(seed))
    settings: list[dict[str, float]] = []
    for point in sequence.random_base2(math.ceil(math.log2(count)))[:count]:
        drawn = {
            name: _value(name, round_rate(_between(_span(name, own[name]), share)))
            for name, share in zip(own, point[1:], strict=True)
        }
        rate = best_rate * _between((1 / STEP, STEP), point[0])
        if "momentum" in own:
            rate *= (1 - drawn["momentum"]) / (1 - own["momentum"])
        settings.append({"lr": round_rate(rate), **drawn})
    return settings


def _between(span: tuple[float, float], share: float) -> float:
    low, high = span
    return low * (high / low) ** float(share)


def _span(name: str, own: float) -> tuple[float, float]:
    """The usual range, widened where the task's own constant lies outside."""
    low, high = _SPACES[name]
    # No weight decay at all is as good as the least.
    at = max(own, low) if name == "weight_decay" else 1 - own
    return min(low, at), max(high, at)


def _value(name: str, coordinate: float) -> float:
    return coordinate if name == "weight_decay" else round(1 - coordinate, 12)
