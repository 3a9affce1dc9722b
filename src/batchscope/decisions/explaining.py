"""The two curves that decide a batch size, their product, and where the evidence is thin."""

from batchscope.estimate import Interval, write_number
from batchscope.findings.analysis import Analysis
from batchscope.findings.sizes import SizeFindings

_FEW_SEEDS = 3


def explain_curves(analysis: Analysis) -> list[str]:
    """A line per batch size: steps to the target times seconds per step, and their product."""
    return [_explain_size(size) for size in analysis.sizes]


def find_thin(analysis: Analysis) -> list[str]:
    """Sentences on what the choice rests on that a further run could change."""
    thin: list[str] = []
    for size in analysis.sizes:
        if size.at_edge:
            thin.append(
                f"At {size.batch_size:,} the best rate, {size.learning_rate:g}, is the highest or "
                "the lowest tried."
            )
        if size.seeds < _FEW_SEEDS:
            seeds = "one seed" if size.seeds == 1 else f"{size.seeds} seeds"
            thin.append(f"At {size.batch_size:,} there is {seeds} at the best rate.")
        if analysis.target is not None and size.reached < size.seeds:
            thin.append(
                f"At {size.batch_size:,} {size.reached} of {size.seeds} runs reached the target."
            )
    critical = analysis.critical
    if critical is not None and not isinstance(critical.b_2x, Interval):
        thin.append(f"The critical batch size is not identified: {critical.b_2x.reason}.")
    return thin


def _explain_size(size: SizeFindings) -> str:
    steps, seconds = size.steps, size.seconds
    if not isinstance(steps, Interval):
        return f"{size.batch_size:,}: {steps}"
    if not isinstance(seconds, Interval):
        return f"{size.batch_size:,}: {steps}; seconds {seconds}"
    each = write_number(1000 * seconds.value / steps.value)
    return f"{size.batch_size:,}: {steps} x {each} ms per step = {seconds}"
