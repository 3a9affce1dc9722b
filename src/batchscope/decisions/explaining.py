"""The two curves that decide a batch size, their product, and where the evidence is thin."""

from collections.abc import Mapping

from batchscope.decisions.reasons import join_sizes
from batchscope.estimate import Interval, scale, write_number
from batchscope.findings.analysis import Analysis
from batchscope.findings.sizes import SizeFindings

_FEW_SEEDS = 3


def explain_curves(
    analysis: Analysis, second_counts: Mapping[int, float], slowdowns: Mapping[int, float]
) -> list[str]:
    """A line per batch size: steps to the target times seconds per step, and their product.

    Args:
        second_counts: batch size -> what a second counts there; empty where all count alike.
        slowdowns: batch size -> by what accumulating makes a step longer, of those that are split.
    """
    return [
        _explain_size(size, second_counts.get(size.batch_size), slowdowns.get(size.batch_size, 1.0))
        for size in analysis.sizes
    ]


def find_thin(analysis: Analysis) -> list[str]:
    """Sentences on what the choice rests on that a further run could change."""
    edges = [size.batch_size for size in analysis.sizes if size.at_edge]
    thin: list[str] = []
    if edges:
        thin.append(f"At {join_sizes(edges)} the best rate is the highest or the lowest tried.")
    for count in range(1, _FEW_SEEDS):
        few = [size.batch_size for size in analysis.sizes if size.seeds == count]
        if few:
            seeds = "is one seed" if count == 1 else f"are {count} seeds"
            thin.append(f"At {join_sizes(few)} there {seeds} at the best rate.")
    for size in analysis.sizes if analysis.target is not None else ():
        if size.reached < size.seeds:
            runs = "run" if size.seeds == 1 else "runs"
            thin.append(
                f"At {size.batch_size}, {size.reached} of {size.seeds} {runs} reached the target."
            )
    critical = analysis.critical
    if critical is not None and not isinstance(critical.b_2x, Interval):
        thin.append(f"The critical batch size is not identified: {critical.b_2x.reason}.")
    return thin


def _explain_size(size: SizeFindings, second_counts: float | None, slowdown: float) -> str:
    steps, seconds = size.steps, scale(size.seconds, slowdown, unit=size.seconds.unit)
    if not isinstance(steps, Interval):
        return f"{size.batch_size:,}: {steps}"
    if not isinstance(seconds, Interval):
        return f"{size.batch_size:,}: {steps}; seconds {seconds}"
    each = write_number(1000 * seconds.value / steps.value)
    split = "" if slowdown == 1 else " accumulated"
    line = f"{size.batch_size:,}: {steps} x {each} ms per{split} step = {seconds}"
    if second_counts is None:
        return line
    counted = write_number(second_counts * seconds.value)
    return f"{line}, each counting {write_number(second_counts)}: {counted}"
