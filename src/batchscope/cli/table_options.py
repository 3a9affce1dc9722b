"""The options of analyze: how the runs of a study, or of a table, are read."""

from pathlib import Path
from typing import Annotated

import typer

ReadAtOption = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="AMOUNT",
        help='Read the same runs at a smaller budget: 10ep, 500steps, "25ep until plateau".',
    ),
]
MapOption = Annotated[
    str | None,
    typer.Option(
        "--map", metavar="ROLE=COLUMN,...", help="Of a table: batch_size=bs,metric=val/acc."
    ),
]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="COLUMN=VALUE,...", help="Of a table: the rows meant."),
]
GroupOption = Annotated[
    str | None,
    typer.Option("--group", metavar="COLUMN", help="Of a table: analyze each value by itself."),
]
EpochExamplesOption = Annotated[
    float | None,
    typer.Option(
        "--examples-per-epoch",
        metavar="N",
        help="Of a table: the size of the training set, to turn epochs into steps.",
    ),
]
MarginOption = Annotated[
    float | None,
    typer.Option(
        "--margin",
        help="What counts as no difference. Default: 0.01 for shares, else 2% of the best.",
    ),
]
UnitOption = Annotated[
    str, typer.Option("--unit", help="Of a table: what one of the batch size is.")
]
PageOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write the page that shows it there as well."),
]
HistoryOption = Annotated[
    str | None,
    typer.Option("--runs", metavar="FILE", help="W&B's runs, where STORE is a chart of them."),
]
IgnoreOption = Annotated[
    str | None,
    typer.Option("--ignore", metavar="COLUMN,...", help="Of a table: what does not matter."),
]
ExampleOption = Annotated[
    bool, typer.Option("--example", help="Print a table that can be analyzed, and end.")
]
