"""The command that repeats published studies: reproduce."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchscope.cli.app import app
from batchscope.cli.options import DebugOption, JsonOption, StoreOption
from batchscope.cli.output import make_console, print_json, reporting, watching
from batchscope.errors import InvalidInput

if TYPE_CHECKING:
    from batchscope.replications.reproducing import Replication


@app.command()
def reproduce(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A study of --list.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All studies, with an index.")] = False,
    list_them: Annotated[
        bool, typer.Option("--list", help="Name the studies with source, time and data.")
    ] = False,
    scale: Annotated[
        str, typer.Option("--scale", help="quick (minutes on two cores), standard or paper.")
    ] = "quick",
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Paired seeds; below five nothing is told.")
    ] = None,
    first_seed: Annotated[int, typer.Option("--first-seed", help="Of them.")] = 0,
    control: Annotated[bool, typer.Option("--control", help="With the mechanism removed.")] = False,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="FOLDER", help="At the scale of the paper: the original data."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", help="Read so much of them, such as N images a part."),
    ] = None,
    store: StoreOption = "replications.db",
    output: Annotated[
        Path, typer.Option("--output", help="The folder of the pages.", file_okay=False)
    ] = Path(),
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Repeat a published study: does each of its claims hold here?

    Example: batchscope reproduce blobs
    """
    with reporting(debug, store):
        from batchscope.replications.reproducing import NAMES
        from batchscope.replications.reproducing import reproduce as repeat

        if list_them:
            _show_list(name, json)
            return
        if (name is None) != every:
            raise InvalidInput(
                "both a study and --all" if every else "no study is named",
                where="reproduce",
                expected=f"one of {', '.join(NAMES)}, or --all",
                do="see: batchscope reproduce --list",
            )
        if every and scale == "paper":
            raise InvalidInput(
                "--all at the scale of the paper",
                where="--all, --scale",
                expected="one study with --scale paper: each has data of its own",
                do="name a study",
            )
        from batchscope.reports.replication_page import report_index, report_replication
        from batchscope.reports.terminal import show_replication

        names = NAMES if name is None else (name,)
        suffix = "-control" if control else ""
        found: list[Replication] = []
        pages: dict[str, str] = {}
        index = None
        for each in names:
            with watching() as watcher:
                one = repeat(
                    each,
                    scale=scale,
                    seeds=seeds,
                    first_seed=first_seed,
                    control=control,
                    data=data,
                    limit=limit,
                    store=store,
                    watcher=watcher,
                )
            found.append(one)
            output.mkdir(parents=True, exist_ok=True)
            pages[each] = report_replication(one, str(output / f"{each}{suffix}.html"))
            if every:
                index = report_index(found, pages, str(output / f"replications{suffix}.html"))
            if not json:
                show_replication(make_console(), one)
                print(pages[each])
        if json:
            documents = [one.to_dict() | {"page": pages[one.study.name]} for one in found]
            print_json({"studies": documents, "index": index} if every else documents[0])
        elif index is not None:
            print(index)


def _show_list(name: str | None, json: bool) -> None:
    """All studies, or the one that is named."""
    from batchscope.replications.reproducing import find_study, list_studies

    studies = list_studies() if name is None else [find_study(name)]
    if json:
        print_json(
            {
                "studies": [
                    {
                        "name": study.name,
                        "title": study.title,
                        "source": study.source,
                        "data": study.data,
                        "paper": study.paper,
                        "minutes": dict(study.minutes),
                        "claims": [f"{claim.id}: {claim.name}" for claim in study.claims],
                    }
                    for study in studies
                ]
            }
        )
        return
    console = make_console()
    for study in studies:
        scales = [f"{scale} {value:g} min" for scale, value in study.minutes.items()]
        minutes = ", ".join([*scales, *(["paper"] if study.paper else [])])
        console.print(f"{study.name}: {study.title} ({minutes})", highlight=False)
        console.print(f"  {study.source}", highlight=False)
        console.print(f"  {study.data}", highlight=False)
        if study.paper is not None:
            console.print(f"  With --scale paper: {study.paper}", highlight=False)
