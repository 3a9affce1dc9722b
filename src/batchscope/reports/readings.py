"""What an instrument measured, as rows of estimates and sentences."""

from dataclasses import dataclass
from typing import get_args

from batchscope.estimate import Estimate, Interval, NotIdentified, write_number
from batchscope.instruments.branching import Branching
from batchscope.instruments.curvature import Curvature
from batchscope.instruments.energy import Energy, EnergyBySize
from batchscope.instruments.memory.largest import Fit
from batchscope.instruments.memory.predicting import FitPrediction
from batchscope.instruments.noise.along import NoiseAlong
from batchscope.instruments.noise.line_search import LineSearch
from batchscope.instruments.noise.probe import NoiseScale
from batchscope.instruments.noise.reading import NoiseReading
from batchscope.instruments.noise.spread import GradientSpread
from batchscope.instruments.noise.surge import SignSurge
from batchscope.instruments.speed.bottleneck import Bottleneck

Reading = (
    NoiseScale
    | LineSearch
    | SignSurge
    | GradientSpread
    | NoiseAlong
    | NoiseReading
    | Branching
    | Curvature
    | Energy
    | EnergyBySize
    | Bottleneck
    | Fit
    | FitPrediction
)
READINGS = get_args(Reading)
# By what bounds a fit.
_FIT_ENDS = {
    "memory": "one more runs out of memory",
    "data": "all of the data fit",
    "largest": "no larger one was to be tried",
}
_PREDICTED_ENDS = {
    "memory": "as far as tensors tell",
    "data": "all of the data",
    "largest": "no larger one was asked for",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A reading in words.

    Attributes:
        title: what was measured, and where.
        rows: what it came to, by name.
        sentences: what follows, and what does not.
        by_size: the rows are batch sizes, whose name is a number.
        quantity: what the rows are, for an axis.
    """

    title: str
    rows: tuple[tuple[str, Estimate], ...]
    sentences: tuple[str, ...]
    by_size: bool = False
    quantity: str = ""


def describe(reading: Reading) -> Description:
    """The rows and sentences of any reading."""
    match reading:
        case NoiseScale():
            return _describe_probe(reading)
        case LineSearch():
            return _describe_line(reading)
        case SignSurge():
            return _describe_surge(reading)
        case GradientSpread():
            return _describe_spread(reading)
        case NoiseAlong():
            return _describe_meter(reading.reading, f"{reading.task} {reading.where}")
        case NoiseReading():
            return _describe_meter(reading, f"{reading.steps:,} steps")
        case Branching():
            return _describe_branches(reading)
        case Curvature():
            return _describe_curvature(reading)
        case Energy():
            return _describe_energy(reading)
        case EnergyBySize():
            return _describe_energies(reading)
        case Bottleneck():
            return _describe_bottleneck(reading)
        case Fit():
            return _describe_fit(reading)
        case FitPrediction():
            return _describe_prediction(reading)


def _describe_probe(reading: NoiseScale) -> Description:
    rows = [
        ("noise scale", reading.noise_scale),
        *reading.preconditioned.items(),
        *((f"layer {name}", estimate) for name, estimate in reading.layers.items()),
    ]
    sentences = [
        f"{reading.micro_batches:,} gradients of {reading.micro_batch} {reading.unit} each, drawn "
        "with replacement at these weights.",
        f"abs(G)^2 is {reading.gradient_squared}, tr(Sigma) {reading.noise_trace}.",
    ]
    if reading.spread is not None:
        low, high = (write_number(value) for value in reading.spread)
        sentences.append(
            f"As the optimizer may see it, it lies between {low} and {high}: that spread is the "
            "model's own uncertainty."
        )
    if isinstance(reading.noise_scale, NotIdentified):
        sentences.append(f"To know more: {reading.noise_scale.remedy}.")
    if reading.coupled:
        sentences.append("Examples are coupled: this holds for micro-batches of this size only.")
    sentences.append(
        "It is a statistic of this place, not a batch size to use: batchscope recommend trains "
        "and compares."
    )
    return Description(
        title=f"Gradient noise scale of {reading.task}, {reading.where}",
        rows=tuple(rows),
        sentences=tuple(sentences),
        quantity=f"noise scale, {reading.unit}",
    )


def _describe_line(reading: LineSearch) -> Description:
    return Description(
        title=f"Noise scale of {reading.task} by line search, {reading.where}",
        rows=(("B_noise", reading.noise_scale),),
        sentences=(
            "The best step along the gradient, averaged over "
            f"{reading.draws} gradients: "
            + ", ".join(f"{s.step} at {s.batch_size}" for s in reading.steps)
            + f"; {reading.largest_step} in the limit of large batches.",
        ),
        quantity=f"noise scale, {reading.unit}",
    )


def _describe_surge(reading: SignSurge) -> Description:
    return Description(
        title=f"Best steps by signs of {reading.task}, {reading.where}",
        rows=tuple((str(best.batch_size), best.step) for best in reading.steps),
        sentences=(
            "The best step, the same for every weight, is largest at a batch size of "
            f"{reading.peak}."
            if isinstance(reading.peak, Interval)
            else f"At which batch size the best step is largest is {reading.peak}. It takes: "
            f"{reading.peak.remedy}.",
            "Below it an Adam-type optimizer wants a rate that grows as the square root of the "
            "batch; above it a lower one.",
            f"{reading.draws} gradients at each batch size, drawn with replacement.",
        ),
        by_size=True,
        quantity="best step by signs",
    )


def _describe_spread(reading: GradientSpread) -> Description:
    left = (
        "No batch size leaves that law."
        if reading.leaves_at is None
        else f"From {reading.leaves_at} {reading.unit} on it leaves that law."
    )
    return Description(
        title=f"Standard deviation of the gradient of {reading.task}, {reading.where}",
        rows=tuple((str(size), estimate) for size, estimate in reading.deviations.items()),
        sentences=(
            f"It goes as the batch size to the power {reading.exponent}; independent examples "
            "give -0.5.",
            left,
            f"{reading.draws} batches of each size, each drawn without replacement.",
        ),
        by_size=True,
        quantity="standard deviation of the gradient",
    )


def _describe_meter(reading: NoiseReading, where: str) -> Description:
    often = (
        "No step was measured: a longer --budget has some."
        if not reading.measured
        else f"One step in {reading.every:.0f} was measured ({reading.source}), in "
        f"{reading.blocks} blocks; that took {100 * reading.share_of_time:.1f}% of the time."
    )
    return Description(
        title=f"Gradient noise scale along {where}",
        rows=(
            ("noise scale", reading.noise_scale),
            ("abs(G)^2", reading.gradient_squared),
            ("tr(Sigma)", reading.noise_trace),
        ),
        sentences=(often, *_lead_search(reading.noise_scale)),
        quantity="estimate",
    )


def _lead_search(noise_scale: Estimate) -> tuple[str, ...]:
    if not isinstance(noise_scale, Interval):
        return ()
    return (
        "It may lead the learning rates of a search: batchscope recommend --noise-scale "
        f"{noise_scale.value:.3g}.",
    )


def _describe_branches(reading: Branching) -> Description:
    verdicts = "; ".join(
        f"{branch.batch_size} at rate {branch.learning_rate:g}: {branch.verdict}"
        for branch in reading.branches
    )
    return Description(
        title=f"Branches of {reading.task}, {reading.where}",
        rows=tuple((str(branch.batch_size), branch.loss) for branch in reading.branches),
        sentences=(
            f"Critical batch size: {reading.critical_batch_size}.",
            f"{verdicts}.",
            f"As good means: a loss at most {write_number(reading.margin)} higher than at every "
            "smaller batch size, twice the deviation between seeds, at 95%.",
            f"Each branch trained on {reading.examples:,.0f} {reading.unit}.",
        ),
        by_size=True,
        quantity="validation loss after the branch",
    )


def _describe_curvature(reading: Curvature) -> Description:
    return Description(
        title=f"Curvature of {reading.task}, {reading.where}",
        rows=tuple(
            (name.replace("_", " "), estimate) for name, estimate in reading.estimates.items()
        ),
        sentences=(
            f"The training loss is {write_number(reading.train_loss)} on these "
            f"{reading.examples:,} examples: compare with another place of like training loss "
            "only.",
            "Both kinds of sharpness were found by ascent, so they are lower bounds.",
        ),
        quantity="estimate",
    )


def _describe_energy(reading: Energy) -> Description:
    kind = "measured" if reading.is_measured else "an estimate"
    return Description(
        title=f"Energy of {reading.task} at batch size {reading.batch_size}",
        rows=(
            ("energy per step", reading.joules_per_step),
            ("energy per example", reading.joules_per_example),
            ("power", reading.watts),
        ),
        sentences=(
            f"By {reading.source}: {kind}."
            if isinstance(reading.watts, Interval)
            else f"To know it: {reading.watts.remedy}.",
        ),
        quantity="estimate",
    )


def _describe_energies(reading: EnergyBySize) -> Description:
    first = reading.sizes[0]
    rows = [
        (f"{one.batch_size:,}", estimate)
        for one in reading.sizes
        for estimate in (one.joules_per_example, one.watts)
    ]
    watts = ",".join(f"{size}={watts:.4g}" for size, watts in reading.watts.items())
    use = f"recommend, cost and forecast take it as --watts {watts}; --store keeps it for them."
    said = _describe_energy(first).sentences
    return Description(
        title=f"Energy of {first.task} at {len(reading.sizes)} batch sizes",
        rows=tuple(rows),
        sentences=(*said, use) if reading.watts else said,
        quantity="estimate",
    )


def _describe_bottleneck(reading: Bottleneck) -> Description:
    rows = [
        ("batches at hand", reading.at_hand),
        *(
            (f"loader, {count} worker{'' if count == 1 else 's'}", estimate)
            for count, estimate in reading.loaded.items()
        ),
        *((f"phase: {phase}", estimate) for phase, estimate in reading.phases.items()),
        ("all-reduce", reading.all_reduce),
    ]
    return Description(
        title=f"Seconds of a step of {reading.task} at batch size {reading.batch_size}",
        rows=tuple(rows),
        sentences=(f"{reading.verdict[0].upper()}{reading.verdict[1:]}.",),
        quantity="seconds per step",
    )


def _describe_fit(reading: Fit) -> Description:
    limit = f"{write_number(reading.limit.amount / 2**20)} MiB, {reading.limit.words}"
    end = _FIT_ENDS[reading.bounded_by]
    sentences = [
        f"The largest batch to train on is {reading.max_batch_size} {reading.unit} ({end}); the "
        f"largest multiple of 8 is {reading.max_multiple_of_8}. To evaluate: "
        f"{reading.eval_batch_size}.",
        f"The limit is {limit}. Every size was run, {len(reading.tried)} in all.",
    ]
    parts = reading.anatomy
    if parts is not None:
        kept = parts.activations / reading.anatomy_at
        sentences.append(
            f"Weights take {_size(parts.weights)}, gradients {_size(parts.gradients)}, the "
            f"optimizer {_size(parts.optimizer_state)}; what is kept for the backward pass takes "
            f"{_size(kept)} per example."
        )
    if reading.with_checkpointing is not None:
        sentences.append(
            "Recomputing half of that (activation checkpointing) is predicted to let "
            f"{reading.with_checkpointing:,.0f} fit; this was not run."
        )
    return Description(
        title=f"The largest batch of {reading.task} that fits on {reading.device}",
        rows=(("growth of the peak", reading.bytes_per_example),),
        sentences=tuple(sentences),
        quantity="bytes",
    )


def _describe_prediction(reading: FitPrediction) -> Description:
    end = _PREDICTED_ENDS[reading.bounded_by]
    return Description(
        title=f"A prediction for {reading.task} on {reading.device}: nothing was run",
        rows=reading.estimates,
        sentences=(
            f"At most {reading.at_most} {reading.unit} to train on ({end}), at most "
            f"{reading.eval_at_most} to evaluate, in "
            f"{write_number(reading.limit.amount / 2**20)} MiB {reading.limit.words}.",
            f"A training step holds {_size(reading.fixed_bytes)} and "
            f"{_size(reading.bytes_per_example)} per example. Allocators and libraries take more.",
            f"To know: run batchscope fit where there is a {reading.device} device.",
        ),
        quantity=reading.unit,
    )


def _size(amount: float) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if amount >= size:
            return f"{write_number(amount / size)} {unit}"
    return f"{amount:.0f} bytes"
