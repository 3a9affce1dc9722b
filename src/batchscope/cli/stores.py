"""The commands that read a store: analyze, report, runs, status."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchscope.cli.app import app
from batchscope.cli.options import (
    REPORT,
    STORE,
    DebugOption,
    JsonOption,
    OutputOption,
    StorePlace,
    StudyOption,
    TargetOption,
    read_names,
)
from batchscope.cli.output import make_console, name_study, print_json, reporting
from batchscope.cli.table_options import (
    EpochExamplesOption,
    ExampleOption,
    GroupOption,
    HistoryOption,
    IgnoreOption,
    MapOption,
    MarginOption,
    PageOption,
    ReadAtOption,
    UnitOption,
    WhereOption,
)
from batchscope.findings.tables.columns import parse_pairs

if TYPE_CHECKING:
    from batchscope.verbs.importing import Groups


@app.command()
def analyze(
    store: StorePlace = STORE,
    study: StudyOption = None,
    budget: ReadAtOption = None,
    target: TargetOption = None,
    mapping: MapOption = None,
    where: WhereOption = None,
    group: GroupOption = None,
    examples_per_epoch: EpochExamplesOption = None,
    margin: MarginOption = None,
    unit: UnitOption = "examples",
    output: PageOption = None,
    runs: HistoryOption = None,
    ignore: IgnoreOption = None,
    example: ExampleOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what the runs of a study show, or those of a table measured elsewhere.

    Example: batchscope analyze runs.csv --target "val_loss<=0.5" --map batch_size=bs
    """
    with reporting(debug):
        from batchscope.verbs.analyzing import analyze as analyze_study

        if example:
            from batchscope.verbs.example_runs import write_example

            print(write_example(), end="")
            return
        if group is not None:
            from batchscope.verbs.analyzing import check_table_alone
            from batchscope.verbs.importing import analyze_groups

            check_table_alone(store, budget=budget, which=study)
            groups = analyze_groups(
                store,
                group,
                target=target,
                mapping=parse_pairs(mapping, option="--map"),
                where=parse_pairs(where, option="--where"),
                examples_per_epoch=examples_per_epoch,
                margin=margin,
                unit=unit,
                runs=runs,
                ignore=read_names(ignore),
            )
            _show_groups(groups, output=output, json=json)
            return
        result = analyze_study(
            store,
            which=study,
            budget=budget,
            target=target,
            mapping=parse_pairs(mapping, option="--map"),
            where=parse_pairs(where, option="--where"),
            examples_per_epoch=examples_per_epoch,
            margin=margin,
            unit=unit,
            runs=runs,
            ignore=read_names(ignore),
        )
        page = None
        if output is not None:
            from batchscope.reports.page import report as write_report

            page = write_report(result, str(output))
        if json:
            print_json(result.to_dict() | {"report": page})
        else:
            from batchscope.reports.terminal import show_analysis

            name_study(result.study, result.task)
            show_analysis(make_console(), result)
            if page is not None:
                print(page)


def _show_groups(groups: "Groups", *, output: Path | None, json: bool) -> None:
    from batchscope.findings.analysis import Analysis
    from batchscope.reports.groups_page import report_groups
    from batchscope.reports.terminal import show_analysis

    page = None
    if output is not None:
        page = report_groups(groups.jobs, str(output), column=groups.column, growth=groups.growth)
    if json:
        print_json(groups.to_dict() | {"report": page})
        return
    for name, result in groups.jobs.items():
        print(f"== {groups.column} {name}")
        if isinstance(result, Analysis):
            show_analysis(make_console(), result)
        else:
            print(result)
    if groups.growth is not None:
        print(f"{groups.growth}")
    if page is not None:
        print(page)


@app.command()
def report(
    store: StorePlace = STORE,
    study: StudyOption = None,
    output: OutputOption = REPORT,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the page of a study, and print its path.

    Example: batchscope report batchscope.db --output page.html
    """
    with reporting(debug):
        from batchscope.reports.page import report as write_report
        from batchscope.verbs.analyzing import analyze as analyze_study

        found = analyze_study(store, which=study)
        page = write_report(store, str(output), which=found.study)
        if json:
            print_json({"study": found.study, "task": found.task, "report": page})
        else:
            name_study(found.study, found.task)
            print(page)


@app.command()
def runs(
    store: StorePlace = STORE,
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
    with reporting(debug):
        from batchscope.verbs.listing import list_runs

        result = list_runs(store, which=study)
        if json:
            print_json(result.to_dict())
        elif csv:
            print(result.frame.write_csv(), end="")
        else:
            from batchscope.reports.terminal import show_runs

            name_study(result.study, result.task)
            show_runs(make_console(), result)


@app.command()
def status(
    store: StorePlace = STORE,
    study: StudyOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say where a study stands: done, running with its current loss, left.

    Example: batchscope status batchscope.db
    """
    with reporting(debug):
        from batchscope.verbs.standing import status as read_status

        result = read_status(store, which=study)
        if json:
            print_json(result.to_dict())
        else:
            from batchscope.reports.terminal import show_standing

            name_study(result.study, result.task)
            show_standing(make_console(), result)
