"""What the curves say together, in words: critical batch sizes, verdicts, axis, rates, epochs."""

import math
from collections.abc import Sequence
from dataclasses import replace

from batchscope.estimate import Estimate, Interval, NotIdentified, write_number
from batchscope.findings.collapse import Collapse
from batchscope.findings.critical import CriticalBatchSize
from batchscope.findings.epochs import EpochFindings
from batchscope.findings.finding import Experiment, Finding, tell
from batchscope.findings.power import count_seeds
from batchscope.findings.rate_exponent import RateExponent
from batchscope.findings.verdicts import Verdict

_IN_WORDS = {
    "fewer_updates": "worse for its fewer updates",
    "learning_rate": "worse for want of a tuned learning rate",
    "generalization": "generalises worse",
    "batch_norm_noise": "worse for what batch norm sees",
    "not_enough_seeds": "too few seeds to tell",
    "no_difference": "no different",
    "cannot_tell": "cannot tell",
}
_FEW_SEEDS = 5


def explain_critical(critical: CriticalBatchSize | None, unit: str) -> list[Finding]:
    """Where steps stop falling and where examples rise."""
    if critical is None:
        return []
    # Where epochs stand for examples, a batch is still counted in examples.
    counted = "examples" if unit == "epochs" else unit
    hyperbola = replace(critical.b_2x_hyperbola, unit=counted)
    other = f"; the two-parameter hyperbola gives {hyperbola}"
    said = [
        tell(
            "critical",
            f"To {critical.target} the critical batch size B_2x, where steps are twice the least "
            "there can be, is",
            replace(critical.b_2x, unit=counted),
            other if isinstance(hyperbola, Interval) else "",
        ),
        tell(
            "critical",
            f"B_20, where {unit} are 1.2 times those of batch size {critical.smallest}, the "
            "smallest measured, is",
            replace(critical.b_20, unit=counted),
        ),
    ]
    if critical.falling:
        sizes = ", ".join(map(str, critical.falling))
        said.append(
            Finding(
                about="critical",
                sentence=f"Batch size {sizes} needs fewer {unit} than a smaller one, which is no "
                "property of the batch but of the smaller one's learning rate, or of batch norm.",
                experiment=Experiment(what="further rates at the next smaller size", runs=2),
            )
        )
    said += _describe_regimes(critical)
    return said + [Finding(about="critical", sentence=warning) for warning in critical.warnings]


def _describe_regimes(critical: CriticalBatchSize) -> list[Finding]:
    """Which sizes still halve the steps, and which no longer do."""
    by_name: dict[str, list[str]] = {}
    for size, regime in critical.regimes.items():
        by_name.setdefault(regime, []).append(str(size))
    if not by_name:
        return []
    parts = [f"{name} at {', '.join(sizes)}" for name, sizes in by_name.items()]
    return [Finding(about="critical", sentence=f"Regimes: {'; '.join(parts)}.")]


def explain_ladder(rungs: Sequence[CriticalBatchSize]) -> list[Finding]:
    """How the critical batch size moves with the target."""
    known = [(r.target, r.b_2x) for r in rungs if isinstance(r.b_2x, Interval)]
    if len(known) < 2:
        return []
    (first, low), (last, high) = known[0], known[-1]
    apart = low.high < high.low or high.high < low.low
    moves = "rises" if high.value > low.value else "falls"
    if not apart:
        moves = "does not clearly move"
    return [
        Finding(
            about="critical",
            sentence=f"B_2x {moves} from {first} ({write_number(low.value)}) to {last} "
            f"({write_number(high.value)}).",
            confidence=low.confidence if apart else None,
        )
    ]


def explain_verdicts(verdicts: Sequence[Verdict]) -> list[Finding]:
    """Why larger batches are worse, where they are; of sizes with one verdict, the largest's."""
    groups: dict[tuple[int, str], list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault((verdict.small, verdict.verdict), []).append(verdict)
    said: list[Finding] = []
    for (small, name), group in groups.items():
        last = group[-1]
        sizes = ", ".join(str(v.large) for v in group)
        sure = f" ({_write_p(1 - last.confidence)})" if last.confidence else ""
        at = f" Of {last.large}: " if len(group) > 1 else " "
        said.append(
            Finding(
                about="why",
                sentence=f"Batch size {sizes} beside {small}: {_IN_WORDS[name]}{sure}.{at}"
                f"{'; '.join(last.evidence)}.",
                confidence=last.confidence or None,
                experiment=_settle(last),
            )
        )
    return said


def _settle(verdict: Verdict) -> Experiment | None:
    """What would turn a verdict that says nothing into one that does."""
    compared = verdict.quality
    if verdict.verdict == "not_enough_seeds":
        is_known = 0 < compared.deviation < math.inf
        needed = count_seeds(compared.margin, compared.deviation) if is_known else _FEW_SEEDS
        if needed is None:
            return None
        needed = max(needed, compared.seeds + 1)
        return Experiment(what=f"--seeds {needed}", runs=2 * (needed - compared.seeds))
    if verdict.verdict == "cannot_tell" and not compared.is_better:
        return Experiment(what=f"--seeds {2 * compared.seeds}", runs=2 * compared.seeds)
    if verdict.verdict == "learning_rate":
        return Experiment(what=f"further rates at batch size {verdict.large}", runs=1)
    return None


def _write_p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def explain_collapse(collapse: Collapse | None) -> list[Finding]:
    """Which axis brings the curves together."""
    if collapse is None:
        return []
    gamma = collapse.gamma
    if isinstance(gamma, NotIdentified):
        said = [tell("axis", "What counts, from steps (0) to examples (1), is", gamma)]
    else:
        means = {
            "steps": "examples are not what counts; steps may be",
            "examples": "steps are not what counts; examples may be",
            "between": "what counts lies between steps (0) and examples (1)",
            "neither": "neither steps (0) nor examples (1) count alone",
            "cannot tell": "both steps (0) and examples (1) may count",
        }[collapse.axis]
        said = [
            tell(
                "axis", "The curves lie closest on steps x B^gamma with gamma", gamma, f": {means}"
            )
        ]
    if collapse.off_curve:
        first = ", ".join(collapse.off_curve[:3])
        count = len(collapse.off_curve)
        lie = (
            f"{count} runs lie off that curve, such as" if count > 1 else "Off that curve lies run"
        )
        said.append(
            Finding(
                about="axis",
                sentence=f"{lie} {first}.",
            )
        )
    return said


def explain_rates(found: RateExponent) -> list[Finding]:
    """How the best learning rate moves."""
    if isinstance(found.exponent, NotIdentified):
        return [
            tell(
                "learning_rate",
                "How the best learning rate moves with the batch size is",
                found.exponent,
            )
        ]
    rules = ", ".join(found.agrees_with)
    agrees = f"; it agrees with the rules {rules}" if rules else "; it agrees with no usual rule"
    said = [
        tell(
            "learning_rate",
            "The best learning rate moves as B to the power",
            found.exponent,
            agrees,
        )
    ]
    if found.saturates_at is not None:
        said.append(
            Finding(
                about="learning_rate",
                sentence=f"From batch size {found.saturates_at} on it rises no more.",
            )
        )
    return said


def explain_epochs(found: Sequence[EpochFindings]) -> list[Finding]:
    """What further epochs brought, at each batch size."""
    said: list[Finding] = []
    unfinished = [str(size.batch_size) for size in found if size.is_unfinished]
    if unfinished:
        said.append(
            Finding(
                about="epochs",
                sentence="Validation still improves at the end at batch size "
                f"{', '.join(unfinished)}.",
                experiment=Experiment(what="a larger --budget there", runs=len(unfinished)),
            )
        )
    for size in found:
        if size.is_unfinished:
            continue
        turn = ""
        if size.turns_at is not None:
            turn = (
                f", and gets worse from {write_number(size.turns_at)} on while training loss falls"
            )
        saves = ""
        if isinstance(size.stopping_saves, Interval) and size.stopping_saves.value > 0:
            lost = size.stopping_loses
            saves = (
                f" Ending at a plateau would have saved {size.stopping_saves.value:.0%} of the "
                f"budget and lost {lost if isinstance(lost, Interval) else f'what is {lost}'}."
            )
        said.append(
            Finding(
                about="epochs",
                sentence=f"At batch size {size.batch_size} validation is not shown to improve "
                f"after {write_number(size.improves_until)} {size.unit}{turn}; what came after "
                f"{_write_change(size.bought)}.{saves}",
                confidence=size.bought.confidence,
            )
        )
    return said


def _write_change(bought: Estimate) -> str:
    if not isinstance(bought, Interval):
        return f"changed it by an amount that is {bought}"
    if bought.low <= 0 <= bought.high:
        return f"changed it by {bought}, which may be nothing"
    return f"made it {'worse' if bought.value > 0 else 'better'} by {_without_sign(bought)}"


def _without_sign(change: Interval) -> Interval:
    if change.value > 0:
        return change
    return replace(change, value=-change.value, low=-change.high, high=-change.low)


def explain_noise(noise: Estimate | None, critical: CriticalBatchSize | None) -> list[Finding]:
    """Whether the noise scale that was measured agrees with the critical batch size found."""
    if noise is None or critical is None or not isinstance(noise, Interval):
        return []
    found = critical.b_2x
    if not isinstance(found, Interval):
        return [
            Finding(
                about="noise",
                sentence=f"The noise scale is {noise}; the runs do not say B_2x to hold it "
                "against.",
                confidence=noise.confidence,
            )
        ]
    agrees = noise.low <= found.high and found.low <= noise.high
    verb = "agrees" if agrees else "does not agree"
    return [
        Finding(
            about="noise",
            sentence=f"The noise scale measured, {noise}, {verb} with the B_2x found: that is "
            f"{write_number(found.value / noise.value)} times it.",
            confidence=noise.confidence,
        )
    ]
