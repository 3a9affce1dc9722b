"""The advisor for shell scripts: advise ask, tell, timed, record."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchscope.cli.app import app
from batchscope.cli.options import DebugOption, JsonOption, read_sizes
from batchscope.cli.output import make_console, print_json, reporting
from batchscope.errors import InvalidInput

if TYPE_CHECKING:
    from batchscope.verbs.advising import Advisor, Trial

advise = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The batch size of the next run of a job that runs again and again.\n\n"
    "Begin with: batchscope advise ask --batch-sizes 32..1024 --default 128 --max-epochs 50",
)
app.add_typer(advise, name="advise")

StateOption = Annotated[
    str, typer.Option("--state", help="A path or a database URL, shared by all runs of the job.")
]
SizeOption = Annotated[int, typer.Option("--batch-size", metavar="B", help="Examples per step.")]
PowerOption = Annotated[
    float | None, typer.Option("--power-limit", metavar="W", help="Watts, where they are chosen.")
]
CostOption = Annotated[
    float, typer.Option("--cost", help="Of the whole run, in the unit of all others.")
]
ReachedOption = Annotated[
    bool, typer.Option("--reached/--not-reached", help="Whether the run reached the target.")
]
EpochsOption = Annotated[float, typer.Option("--epochs", help="Epochs trained.")]
ProgressOption = Annotated[
    str | None,
    typer.Option(
        "--progress",
        metavar="LIST",
        help="Levels of the metric and the epochs in which they were passed: 0.5:3,0.6:7.",
    ),
]
_STATE = "advisor.db"


@advise.command()
def ask(
    state: StateOption = _STATE,
    batch_sizes: Annotated[
        str | None,
        typer.Option("--batch-sizes", metavar="LIST", help="On offer; said the first time."),
    ] = None,
    default: Annotated[
        int | None,
        typer.Option("--default", metavar="B", help="Used so far; said the first time."),
    ] = None,
    max_epochs: Annotated[
        float | None,
        typer.Option("--max-epochs", help="After which a run has failed; said the first time."),
    ] = None,
    power_limits: Annotated[
        str | None, typer.Option("--power-limits", metavar="LIST", help="Watts on offer.")
    ] = None,
    target: Annotated[
        float | None, typer.Option("--target", help="The level that a run must reach.")
    ] = None,
    direction: Annotated[
        str | None, typer.Option("--direction", help="Of the metric: max (default) or min.")
    ] = None,
    recurrences: Annotated[
        int | None,
        typer.Option("--recurrences", help="How often the job is to reach its target in all."),
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", help="What one run may cost at most.")
    ] = None,
    lease: Annotated[
        float | None,
        typer.Option("--lease", help="Seconds until a silent run is taken for lost; a day."),
    ] = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what the next run should be.

    What was said of recurrences, cost and lease holds until something else is.

    Example: batchscope advise ask --batch-sizes 32..1024 --default 128 --max-epochs 50
    """
    with reporting(debug):
        from batchscope.verbs.advising import Advisor

        said: dict[str, Any] = {
            "batch_sizes": None if batch_sizes is None else read_sizes(batch_sizes),
            "default": default,
            "power_limits": None
            if power_limits is None
            else _numbers(power_limits, "--power-limits"),
            "max_epochs": max_epochs,
            "target": target,
            "direction": direction,
            "recurrences": recurrences,
            "max_cost": max_cost,
            "lease_seconds": lease,
        }
        trial = Advisor(**_complete(said, state), state=state).ask()
        if json:
            print_json(trial.to_dict())
        else:
            _show(trial)


@advise.command()
def tell(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="The id that ask gave.")],
    cost: CostOption,
    epochs: EpochsOption,
    reached: ReachedOption,
    progress: ProgressOption = None,
    state: StateOption = _STATE,
    debug: DebugOption = False,
) -> None:
    """Say what a run came to.

    Example: batchscope advise tell 1 --cost 120.5 --epochs 12 --reached
    """
    with reporting(debug):
        advisor = _open(state)
        advisor.tell(trial, cost=cost, reached=reached, epochs=epochs, progress=_levels(progress))


@advise.command()
def timed(
    batch_size: SizeOption,
    cost: Annotated[float, typer.Option("--cost-per-epoch", help="As a few steps have it.")],
    power_limit: PowerOption = None,
    state: StateOption = _STATE,
    debug: DebugOption = False,
) -> None:
    """Say what an epoch costs at a batch size.

    Example: batchscope advise timed --batch-size 256 --cost-per-epoch 9.5
    """
    with reporting(debug):
        _open(state).timed(batch_size, cost, power_limit)


@advise.command()
def record(
    batch_size: SizeOption,
    cost: CostOption,
    epochs: EpochsOption,
    reached: ReachedOption,
    power_limit: PowerOption = None,
    progress: ProgressOption = None,
    state: StateOption = _STATE,
    debug: DebugOption = False,
) -> None:
    """Say what a run came to that nobody asked for.

    Example: batchscope advise record --batch-size 128 --cost 120.5 --epochs 12 --reached
    """
    with reporting(debug):
        _open(state).record(
            batch_size,
            cost=cost,
            reached=reached,
            epochs=epochs,
            power_limit=power_limit,
            progress=_levels(progress),
        )


def _complete(said: dict[str, Any], state: str) -> dict[str, Any]:
    """What is said now, and of the rest what was said of the state before."""
    from batchscope.verbs.advising import read_settings

    known = read_settings(state) or {}
    settings = known | {name: value for name, value in said.items() if value is not None}
    missing = [n for n in ("batch_sizes", "default", "max_epochs") if n not in settings]
    if missing:
        option = f"--{missing[0].replace('_', '-')}"
        raise InvalidInput(
            f"there is no advisor in {state} yet, and {option} is not said",
            where="advise ask",
            expected="--batch-sizes, --default and --max-epochs the first time",
            do="say them, for example --batch-sizes 32..1024 --default 128 --max-epochs 50",
        )
    return settings


def _show(trial: "Trial") -> None:
    console = make_console()
    console.print(f"trial {trial.id}: batch size {trial.batch_size}", highlight=False)
    if trial.power_limit is not None:
        console.print(f"power limit {trial.power_limit:g} W", highlight=False)
    if trial.stop_cost is not None:
        console.print(
            f"give up before the epoch that would pass a cost of {trial.stop_cost:.6g}",
            highlight=False,
        )
    console.print(trial.reason, highlight=False)


def _open(state: str) -> "Advisor":
    from batchscope.verbs.advising import Advisor, read_settings

    settings = read_settings(state)
    if settings is None:
        raise InvalidInput(
            f"there is no advisor in {state}",
            where="--state",
            expected="a state that advise ask has begun",
            do="run first: batchscope advise ask --batch-sizes LIST --default B --max-epochs N",
        )
    return Advisor(**settings, state=state)


def _levels(text: str | None) -> list[tuple[float, float]]:
    if text is None:
        return []
    pairs = [part.split(":") for part in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise InvalidInput(
            f"progress {text!r}",
            where="--progress",
            expected="levels and epochs, such as 0.5:3,0.6:7",
            do="write a colon between each level and its epoch",
        )
    return [
        (_numbers(level, "--progress")[0], _numbers(epoch, "--progress")[0])
        for level, epoch in pairs
    ]


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidInput(
            f"{text!r} holds something that is no number",
            where=option,
            expected="numbers with commas between",
            do="mend the list",
        ) from error
