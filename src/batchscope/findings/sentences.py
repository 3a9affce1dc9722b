"""What each batch size came to, in words: time, quality, and what was missed."""

from collections.abc import Mapping, Sequence

from batchscope.budget import Target
from batchscope.estimate import Interval, write_number
from batchscope.findings.curves import test_column
from batchscope.findings.finding import About, Experiment, Finding
from batchscope.findings.fixed_rate import FixedRate
from batchscope.findings.plateau import Plateau
from batchscope.findings.power import MOST_SEEDS, count_seeds
from batchscope.findings.sizes import SizeFindings

TIME_MARGIN = 0.2
_SHOWN = 0.95


def explain_sizes(
    sizes: Sequence[SizeFindings],
    quality: str,
    target: Target | None,
    plateau: Plateau | None,
    fastest: Plateau | None,
    fixed: FixedRate | None,
    *,
    to_target_only: bool = False,
) -> list[Finding]:
    """Which batch size is first, which is best, and what may still change that.

    Args:
        to_target_only: the runs ended at the target, and say nothing of final quality.
    """
    said: list[Finding] = []
    by_size = {size.batch_size: size for size in sizes}
    best = None if fastest is None else by_size[fastest.best]
    if fastest is not None and best is not None and isinstance(best.seconds, Interval):
        first = f"Batch size {best.batch_size} reaches {target} first: {best.seconds} of training."
        alike = _equivalent(fastest.batch_sizes, f"within {TIME_MARGIN:.0%} of that time")
        said.append(Finding(about="time", sentence=f"{first} {alike}", confidence=_SHOWN))
        said += _leave_open(fastest, by_size, f"{TIME_MARGIN:.0%} of the time", "time")
    if plateau is not None:
        margin = write_number(plateau.margin)
        alike = _equivalent(plateau.batch_sizes, f"within {margin} of it")
        sentence = f"The best final {quality} is at batch size {plateau.best}. {alike}"
        said.append(Finding(about="quality", sentence=sentence, confidence=_SHOWN))
        said += _leave_open(plateau, by_size, f"{margin} of {quality}", "quality")
    if not to_target_only and len(sizes) > 1:
        said += _from_small_to_large(sizes, quality, fixed)
    for size in sizes:
        said += _find_wanting(size, target)
    return said


def _leave_open(
    plateau: Plateau,
    sizes: Mapping[int, SizeFindings],
    margin: str,
    about: About,
) -> list[Finding]:
    """Sizes that are shown neither to be worse than the best nor to be its equals."""
    if not plateau.undecided:
        return []
    trained = min(sizes[size].seeds for size in (plateau.best, *plateau.undecided))
    names = ", ".join(map(str, plateau.undecided))
    subject = f"sizes {names} are" if len(plateau.undecided) > 1 else f"size {names} is"
    sentence = (
        f"Whether batch {subject} worse than {plateau.best} by {margin} is open with "
        f"{trained} seeds"
    )
    needed = count_seeds(plateau.margin, plateau.deviation)
    if needed is None:
        sentence += f", and more than {MOST_SEEDS:,} would be needed to tell."
        return [Finding(about=about, sentence=sentence)]
    more = max(needed, trained + 1) - trained
    settling = Experiment(
        what=f"--seeds {trained + more}", runs=more * (1 + len(plateau.undecided))
    )
    return [Finding(about=about, sentence=f"{sentence}.", experiment=settling)]


def _find_wanting(size: SizeFindings, target: Target | None) -> list[Finding]:
    said: list[Finding] = []
    if size.at_edge:
        said.append(
            Finding(
                about="learning_rate",
                sentence=f"The best rate of batch size {size.batch_size}, {size.learning_rate:g}, "
                "lies at the edge of those tried: it may do better yet.",
                experiment=Experiment(what="--learning-rates that go beyond it", runs=1),
            )
        )
    if target is not None and size.reached < size.seeds:
        said.append(
            Finding(
                about="target",
                sentence=f"Batch size {size.batch_size} reached {target} with {size.reached} of "
                f"{size.seeds} seeds.",
                experiment=Experiment(what="an easier --target", runs=0),
            )
        )
    return said


def _from_small_to_large(
    sizes: Sequence[SizeFindings], quality: str, fixed: FixedRate | None
) -> list[Finding]:
    first, last = sizes[0], sizes[-1]
    name, ends = quality, (first.quality, last.quality)
    if first.test_quality is not None and last.test_quality is not None:
        name, ends = test_column(quality), (first.test_quality, last.test_quality)
    name = name.replace("_", " ")
    said: list[Finding] = []
    if fixed is not None:
        said.append(
            Finding(
                about="quality",
                sentence=f"At one learning rate, {fixed.learning_rate:g}: {fixed.describe(name)}.",
            )
        )
    said.append(
        Finding(
            about="quality",
            sentence=f"Each at its best rate: {name} {ends[0]} at batch size {first.batch_size} "
            f"and {ends[1]} at {last.batch_size}; training loss {first.train_loss} and "
            f"{last.train_loss}.",
        )
    )
    return said


def _equivalent(sizes: Sequence[int], how: str) -> str:
    if len(sizes) == 1:
        return f"No other size was shown to be {how}."
    return f"Batch sizes {', '.join(map(str, sizes))} are shown to be {how}."
