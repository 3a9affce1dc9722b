"""How many examples a noise scale takes: drawn in rounds until the interval is narrow enough."""

from collections.abc import Callable, Mapping
from typing import Protocol

from batchscope.estimate import Estimate, Interval
from batchscope.instruments.noise.moments import (
    GroupedGradients,
    estimate_ratio,
    jackknife_moments,
)

# Pseudo-values of fewer groups make the t quantile wide; more of them need more memory.
GROUPS = 32
WHOLE = "all"
_FIRST_ROUND = 2


class GradientSource(Protocol):
    """Micro-batch gradients at fixed weights, in groups that all grow alike."""

    def extend(self, per_group: int) -> None:
        """Draw so many more micro-batches for every group."""
        ...

    def read(self) -> Mapping[str, GroupedGradients]:
        """What was drawn so far, by part of the model; `WHOLE` is among them."""
        ...


def draw_until(
    source: GradientSource,
    *,
    width: float,
    most: int,
    is_spent: Callable[[], bool] = lambda: False,
    report: Callable[[int], None] = lambda _: None,
) -> Mapping[str, GroupedGradients]:
    """Double the micro-batches until the noise scale is known well enough, or the budget is spent.

    Args:
        width: of the interval over its value that is wide no more, above 0.
        most: micro-batches per group that may be drawn, at least 2.
        is_spent: asked between rounds.
        report: told how many micro-batches each group has.
    """
    drawn, wanted = 0, _FIRST_ROUND
    while True:
        source.extend(wanted - drawn)
        drawn = wanted
        report(drawn)
        groups = source.read()
        if drawn >= most or is_spent() or is_narrow(estimate_noise_scale(groups[WHOLE]), width):
            return groups
        wanted = min(2 * drawn, most)


def estimate_noise_scale(groups: GroupedGradients, *, unit: str = "examples") -> Estimate:
    """B_simple = tr(Sigma) / abs(G)^2 at fixed weights, with its 95% interval."""
    return estimate_ratio(
        jackknife_moments(groups), unit=unit, remedy="draw more examples: a larger --budget"
    )


def is_narrow(estimate: Estimate, width: float) -> bool:
    """Whether an interval is no wider than this share of its value."""
    return isinstance(estimate, Interval) and (estimate.high - estimate.low) <= (
        width * estimate.value
    )
