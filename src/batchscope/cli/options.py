"""The options of the command line: one that several commands take reads the same on each."""

from pathlib import Path
from typing import Annotated, overload

import typer

from batchscope.budget import Budget, parse_budget
from batchscope.errors import InvalidInput

REPORT = Path("batchscope-report.html")
STORE = "batchscope.db"

TaskName = Annotated[
    str,
    typer.Argument(metavar="TASK", help="A built-in task, file.py:name or package.module:name."),
]
StorePlace = Annotated[
    str, typer.Argument(metavar="STORE", help="The path or database URL of a store.")
]
StoreOption = Annotated[
    str, typer.Option("--store", help="A path or a database URL; made where there is none.")
]
BatchSizes = Annotated[
    str | None,
    typer.Option(
        "--batch-sizes",
        metavar="LIST",
        help="For example 32,128,512 or 8..2048 (powers of two). Default: 8 to 2048, at least two "
        "batches to an epoch.",
    ),
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="AMOUNT",
        help='What one run may spend: 25ep, 2000steps, 1e6ex, 90s, or "100ep until plateau", '
        '"100ep until error<=0.05". Default: the task\'s.',
    ),
]
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="TEXT",
        help='What to reach on validation data, for example "error<=0.05". Default: the task\'s, '
        "or one derived from the runs.",
    ),
]
ObjectiveOption = Annotated[
    str, typer.Option("--objective", metavar="NAME", help="time, examples or quality.")
]
EffortOption = Annotated[
    str,
    typer.Option(
        "--effort",
        metavar="NAME",
        help="How much to spend: frugal (most runs are stopped early), quick, standard, thorough.",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="The first seed.")]
SeedsOption = Annotated[
    int | None,
    typer.Option(
        "--seeds",
        help="Seeds at each size's best rate; 2, 3 or 5 by effort. In a race at each setting that "
        "is repeated; 3, 5 or 7.",
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="cuda, mps or cpu. Default: the best there is.")
]
RatesOption = Annotated[
    str | None,
    typer.Option(
        "--learning-rates",
        metavar="LIST",
        help="Train every batch size at these, such as 0.01,0.03,0.1, with all seeds, instead of a "
        "search; or each at its own, such as 32=0.1,128=0.2.",
    ),
]
ExhaustiveOption = Annotated[
    bool,
    typer.Option(
        "--exhaustive", help="The same with five rates around the task's own, half a decade apart."
    ),
]
ScheduleOption = Annotated[
    str,
    typer.Option(
        "--schedule",
        metavar="NAME",
        help="constant, cosine, step, wsd, or averaged (constant, judged by averaged weights).",
    ),
]
WarmupOption = Annotated[
    float,
    typer.Option(
        "--warmup",
        metavar="EXAMPLES",
        help="Let the rate rise over so many examples, the same at every batch size.",
    ),
]
RuleOption = Annotated[
    str | None,
    typer.Option(
        "--rule",
        metavar="NAME",
        help="Move the rate from --base instead of searching: constant, linear, sqrt, power:0.7, "
        "adascale (its noise scale is measured first) or adascale:NOISE_SCALE, sde for Adam, or "
        "fitted (exponent from a search at three sizes).",
    ),
]
BaseOption = Annotated[
    int, typer.Option("--base", metavar="SIZE", help="The batch size that a --rule begins at.")
]
NoiseScaleOption = Annotated[
    float | None,
    typer.Option(
        "--noise-scale",
        metavar="EXAMPLES",
        help="As batchscope noise --method training measures it: a search moves the best rate by "
        "its gain to the next batch size, until three sizes are known.",
    ),
]
DetectOption = Annotated[
    float | None,
    typer.Option(
        "--detect",
        metavar="DIFFERENCE",
        help="Train as many seeds as show such a difference in quality with a power of 80%.",
    ),
]
AlsoReadOption = Annotated[
    str | None,
    typer.Option(
        "--also-read",
        metavar="LIST",
        help="Smaller budgets, such as 10ep,500steps, at which analyze --budget is to read the "
        "same runs.",
    ),
]
EvaluateEveryOption = Annotated[
    str | None,
    typer.Option(
        "--evaluate-every",
        metavar="BUDGET",
        help="Evaluate runs at these intervals, such as 1ep or 5000ex, rather than often at first "
        "and less often later.",
    ),
]
DevicesOption = Annotated[
    int,
    typer.Option(
        "--devices", metavar="N", help="Let so many of this machine's devices share each step."
    ),
]
TuneOption = Annotated[
    str | None,
    typer.Option(
        "--tune",
        metavar="LIST",
        help="Search these beside the rate, equally at every batch size: momentum, weight_decay, "
        "beta2.",
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option("--precision", help="float32, bf16 or fp16. Default: the task's."),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs", help="Worker processes. Default: one per core; one with a GPU; 64 jobs of SLURM."
    ),
]
ExecutorOption = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="WHERE",
        help="local, ray (the cluster of this machine), ray://host:port or slurm.",
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the runs, their time and memory, and start nothing."),
]
ReuseOption = Annotated[
    bool,
    typer.Option("--reuse-changed", help="Let runs from before the task's last edit count."),
]
StudyOption = Annotated[
    str | None,
    typer.Option("--study", metavar="ID|TASK", help="Which study. Default: the latest."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document, all else on standard error.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="Where the page is written.", dir_okay=False)
]


def read_budget(text: str | None, *, where: str = "--budget") -> Budget | None:
    """Read 25ep, 2000steps, 1e6ex or 90s."""
    return None if text is None else parse_budget(text, where=where)


def read_budgets(text: str | None) -> list[Budget]:
    """Read 10ep,500steps."""
    parts = [] if text is None else text.split(",")
    return [parse_budget(part, where="--also-read") for part in parts]


def read_names(text: str | None) -> list[str]:
    """Read momentum,weight_decay."""
    return [] if text is None else [part.strip() for part in text.split(",")]


def read_rates(text: str | None) -> list[float] | dict[int, list[float]] | None:
    """Read 0.01,0.03,0.1, or by batch size 32=0.1,128=0.2,128=0.4."""
    if text is None:
        return None
    try:
        if "=" not in text:
            return [float(part) for part in text.split(",")]
        found: dict[int, list[float]] = {}
        for size, rate in (part.split("=") for part in text.split(",")):
            found.setdefault(int(size), []).append(float(rate))
        return found
    except ValueError:
        raise InvalidInput(
            f"{text!r} names no learning rates",
            where="--learning-rates",
            expected="numbers above 0 with commas between them, or with a batch size before each",
            do="write for example 0.01,0.03,0.1, or 32=0.1,128=0.2,128=0.4",
        ) from None


@overload
def read_sizes(text: str, *, where: str = ...) -> list[int]: ...


@overload
def read_sizes(text: None, *, where: str = ...) -> None: ...


def read_sizes(text: str | None, *, where: str = "--batch-sizes") -> list[int] | None:
    """Read 32,128,512 or 8..2048.

    Args:
        where: the option that it was given with.

    Raises:
        InvalidInput: it names no batch sizes.
    """
    if text is None:
        return None
    try:
        if ".." in text:
            low, high = (int(part) for part in text.split(".."))
            sizes = [2**power for power in range(32) if low <= 2**power <= high]
        else:
            sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes:
        raise InvalidInput(
            f"{text!r} names no batch sizes",
            where=where,
            expected="whole numbers, or a range that holds a power of two",
            do="write for example 32,128,512 or 8..2048",
        )
    return sizes


def read_counts(text: str) -> list[int]:
    """Read 1,2,4: how many devices."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidInput(
            f"{text!r} names no numbers of devices",
            where="--devices",
            expected="whole numbers with commas between",
            do="write for example 1,2,4",
        ) from error
