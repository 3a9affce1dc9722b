"""The command line: parse, call, show."""

import json as json_format
import os
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from batchscope.budget import Budget, parse_budget
from batchscope.errors import BatchscopeError, InvalidInput
from batchscope.gallery import BUILT_IN

if TYPE_CHECKING:
    from batchscope.reports.progress import TerminalProgress

_INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which batch size to use for this model, this data and this hardware.\n\n"
    "Begin with: batchscope recommend digits-cnn",
)

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
        help="What one run may spend: 25ep, 2000steps, 1e6ex or 90s. Default: the task's.",
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
    typer.Option("--effort", metavar="NAME", help="How much to spend: quick, standard, thorough."),
]
SeedOption = Annotated[int, typer.Option("--seed", help="The first seed.")]
SeedsOption = Annotated[
    int | None,
    typer.Option("--seeds", help="Seeds at each size's best rate. Default: 2, 3 or 5 by effort."),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="cuda, mps or cpu. Default: the best there is.")
]
PrecisionOption = Annotated[
    str | None,
    typer.Option("--precision", help="float32, bf16 or fp16. Default: the task's."),
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", help="Worker processes. Default: one per core.")
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
_REPORT = Path("batchscope-report.html")
_STORE = "batchscope.db"


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="For example mytask.py.")],
    debug: DebugOption = False,
) -> None:
    """Write a commented task that runs as it is.

    Example: batchscope init mytask.py
    """
    with _reporting(debug):
        from importlib.resources import files

        if file.exists():
            raise InvalidInput(
                f"{file} is already there",
                where=str(file.absolute()),
                expected="a new file",
                do="name another, or remove that one first",
            )
        text = files("batchscope.gallery").joinpath("starter.py").read_text(encoding="utf-8")
        try:
            file.write_text(text.replace("{file}", f"{file}:task"), encoding="utf-8")
        except OSError as error:
            raise InvalidInput(
                f"cannot write {file}: {error.strerror}",
                where=str(file.absolute()),
                expected="a folder that exists and can be written",
                do="name another place",
            ) from error
        _console().print(f"Wrote {file}. Next: batchscope recommend {file}:task", highlight=False)


@app.command()
def tasks(json: JsonOption = False) -> None:
    """List the built-in tasks, a line each.

    Example: batchscope tasks
    """
    if json:
        _print_json({"tasks": [{"name": n, "description": d} for n, d in BUILT_IN.items()]})
        return
    for name, description in BUILT_IN.items():
        _console().print(f"{name:<18} {description}", highlight=False)


@app.command()
def profile(
    task: TaskName,
    batch_sizes: BatchSizes = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    store: StoreOption = _STORE,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure seconds per step at each batch size.

    Example: batchscope profile digits-cnn --batch-sizes 32,128,512
    """
    with _reporting(debug), _watching() as watcher:
        from batchscope.verbs.profiling import profile as profile_task

        result = profile_task(
            task,
            batch_sizes=_read_sizes(batch_sizes),
            device=device,
            precision=precision,
            store=store,
            watcher=watcher,
        )
        watcher.close()
        if json:
            _print_json(result.to_dict())
        else:
            from batchscope.reports.terminal import show_profile

            show_profile(_console(), result)


@app.command()
def study(
    task: TaskName,
    batch_sizes: BatchSizes = None,
    budget: BudgetOption = None,
    target: TargetOption = None,
    objective: ObjectiveOption = "time",
    effort: EffortOption = "standard",
    seed: SeedOption = 0,
    seeds: SeedsOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    jobs: JobsOption = None,
    store: StoreOption = _STORE,
    reuse_changed: ReuseOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train at each batch size, the learning rate re-tuned at each.

    An interrupted study goes on with the same command.

    Example: batchscope study mytask.py:task --batch-sizes 16..256 --budget 10ep
    """
    with _reporting(debug, store), _watching() as watcher:
        from batchscope.verbs.studying import study as study_task

        result = study_task(
            task,
            batch_sizes=_read_sizes(batch_sizes),
            budget=_read_budget(budget),
            target=target,
            objective=objective,
            effort=effort,
            seed=seed,
            seeds=seeds,
            device=device,
            precision=precision,
            jobs=jobs,
            store=store,
            reuse_changed=reuse_changed,
            watcher=watcher,
        )
        watcher.close()
        if json:
            _print_json(result.to_dict())
        else:
            from batchscope.reports.terminal import show_study

            show_study(_console(), result)


@app.command()
def recommend(
    task: TaskName,
    batch_sizes: BatchSizes = None,
    budget: BudgetOption = None,
    target: TargetOption = None,
    objective: ObjectiveOption = "time",
    effort: EffortOption = "standard",
    seed: SeedOption = 0,
    seeds: SeedsOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    jobs: JobsOption = None,
    store: StoreOption = _STORE,
    reuse_changed: ReuseOption = False,
    output: OutputOption = _REPORT,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say which batch size to use, and why.

    The last line is the path of the page that shows it. An interrupted search goes on with the
    same command.

    Example: batchscope recommend mytask.py:task --target "error<=0.05" --effort quick
    """
    with _reporting(debug, store), _watching() as watcher:
        from batchscope.reports.page import check_page_path
        from batchscope.reports.page import report as write_report
        from batchscope.verbs.deciding import read_recommendation
        from batchscope.verbs.studying import study as study_task

        check_page_path(str(output))
        done = study_task(
            task,
            batch_sizes=_read_sizes(batch_sizes),
            budget=_read_budget(budget),
            target=target,
            objective=objective,
            effort=effort,
            seed=seed,
            seeds=seeds,
            device=device,
            precision=precision,
            jobs=jobs,
            store=store,
            reuse_changed=reuse_changed,
            watcher=watcher,
        )
        watcher.close()
        page = write_report(done, str(output))
        result = read_recommendation(done).with_report(page)
        if json:
            _print_json(result.to_dict())
        else:
            from batchscope.reports.terminal import show_recommendation

            show_recommendation(_console(), result)
            print(page)


@app.command()
def analyze(
    store: StorePlace = _STORE,
    study: StudyOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what the runs of a study show.

    Example: batchscope analyze batchscope.db --study digits-cnn
    """
    with _reporting(debug):
        from batchscope.verbs.deciding import analyze as analyze_study

        result = analyze_study(store, which=study)
        if json:
            _print_json(result.to_dict())
        else:
            from batchscope.reports.terminal import show_analysis

            _name_study(result.study, result.task)
            show_analysis(_console(), result)


@app.command()
def report(
    store: StorePlace = _STORE,
    study: StudyOption = None,
    output: OutputOption = _REPORT,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the page of a study, and print its path.

    Example: batchscope report batchscope.db --output page.html
    """
    with _reporting(debug):
        from batchscope.reports.page import report as write_report
        from batchscope.verbs.deciding import analyze as analyze_study

        found = analyze_study(store, which=study)
        page = write_report(store, str(output), which=found.study)
        if json:
            _print_json({"study": found.study, "task": found.task, "report": page})
        else:
            _name_study(found.study, found.task)
            print(page)


@app.command()
def runs(
    store: StorePlace = _STORE,
    study: StudyOption = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print a row per run and evaluation, as CSV.")
    ] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the runs of a study.

    Example: batchscope runs batchscope.db --csv > runs.csv
    """
    with _reporting(debug):
        from batchscope.verbs.listing import list_runs

        result = list_runs(store, which=study)
        if json:
            _print_json(result.to_dict())
        elif csv:
            print(result.frame.write_csv(), end="")
        else:
            from batchscope.reports.terminal import show_runs

            _name_study(result.study, result.task)
            show_runs(_console(), result.runs)


def main() -> None:
    """Run the command."""
    app()


@contextmanager
def _watching() -> "Generator[TerminalProgress]":
    from batchscope.reports.progress import TerminalProgress

    with TerminalProgress(_console(error=True)) as watcher:
        yield watcher


@contextmanager
def _reporting(debug: bool, store: str | None = None) -> Generator[None]:
    """The one place where an error becomes a sentence and an exit code."""
    try:
        yield
    except BatchscopeError as error:
        if debug:
            traceback.print_exc()
        print(f"{error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        kept = f"; finished runs are kept in {store}, and the same command goes on" if store else ""
        print(f"Interrupted{kept}.", file=sys.stderr)
        # Threads that wait for workers must not hold up the exit.
        sys.stderr.flush()
        os._exit(_INTERRUPTED)
    except BrokenPipeError:
        # The reader of standard output, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _console(*, error: bool = False) -> Console:
    console = Console(stderr=error, soft_wrap=False)
    if not console.is_terminal:
        console.width = 80
    return console


def _print_json(document: dict[str, Any]) -> None:
    print(json_format.dumps(document, allow_nan=False, indent=2))


def _name_study(study: str, task: str) -> None:
    _console().print(f"Study {study} of {task}", highlight=False, markup=False)


def _read_budget(text: str | None) -> Budget | None:
    return None if text is None else parse_budget(text)


def _read_sizes(text: str | None) -> list[int] | None:
    """Read 32,128,512 or 8..2048."""
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
            where="--batch-sizes",
            expected="whole numbers, or a range that holds a power of two",
            do="write for example 32,128,512 or 8..2048",
        )
    return sizes
