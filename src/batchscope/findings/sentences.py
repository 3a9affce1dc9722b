"""Findings in words, each with its numbers."""

from collections.abc import Sequence

from batchscope.budget import Target
from batchscope.estimate import Interval, write_number
from batchscope.findings.curves import test_column
from batchscope.findings.fixed_rate import FixedRate
from batchscope.findings.plateau import Plateau
from batchscope.findings.sizes import SizeFindings

TIME_MARGIN = 0.2


def write_sentences(
    sizes: Sequence[SizeFindings],
    quality: str,
    target: Target | None,
    plateau: Plateau | None,
    fastest: Plateau | None,
    fixed: FixedRate | None,
) -> list[str]:
    """The findings of a study, the answer first."""
    said: list[str] = []
    best = next((s for s in sizes if fastest is not None and s.batch_size == fastest.best), None)
    if fastest is not None and best is not None and isinstance(best.seconds, Interval):
        said.append(
            f"Batch size {best.batch_size} reaches {target} first: {best.seconds} of training."
        )
        said.append(_equivalent(fastest.batch_sizes, f"within {TIME_MARGIN:.0%} of that time"))
    if plateau is not None:
        margin = write_number(plateau.margin)
        said.append(
            f"The best final {quality} is at batch size {plateau.best}. "
            + _equivalent(plateau.batch_sizes, f"within {margin} of it")
        )
    if len(sizes) > 1:
        said += _from_small_to_large(sizes, quality, fixed)
    for size in sizes:
        if size.at_edge:
            said.append(
                f"The best rate of batch size {size.batch_size}, {size.learning_rate:g}, lies at "
                "the edge of those tried: it may do better yet."
            )
        if target is not None and size.reached < size.seeds:
            said.append(
                f"Batch size {size.batch_size} reached {target} with {size.reached} of "
                f"{size.seeds} seeds."
            )
    return said


def _from_small_to_large(
    sizes: Sequence[SizeFindings], quality: str, fixed: FixedRate | None
) -> list[str]:
    first, last = sizes[0], sizes[-1]
    name, ends = quality, (first.quality, last.quality)
    if first.test_quality is not None and last.test_quality is not None:
        name, ends = test_column(quality), (first.test_quality, last.test_quality)
    name = name.replace("_", " ")
    said: list[str] = []
    if fixed is not None:
        said.append(f"At one learning rate, {fixed.learning_rate:g}: {fixed.describe(name)}.")
    said.append(
        f"Each at its best rate: {name} {ends[0]} at batch size {first.batch_size} and "
        f"{ends[1]} at {last.batch_size}; training loss {first.train_loss} and {last.train_loss}."
    )
    return said


def _equivalent(sizes: Sequence[int], how: str) -> str:
    if len(sizes) == 1:
        return f"No other size was shown to be {how}."
    return f"Batch sizes {', '.join(map(str, sizes))} are shown to be {how}."
