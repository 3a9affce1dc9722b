"""The options of what a training may take and what it is paid for."""

import re
from typing import Annotated

import typer

from batchscope.budget import parse_budget
from batchscope.decisions.terms import OBJECTIVES, check_deadline
from batchscope.errors import InvalidInput

GoalOption = Annotated[
    str,
    typer.Option(
        "--objective", metavar="NAME", help=f"{', '.join(OBJECTIVES[:-1])} or {OBJECTIVES[-1]}."
    ),
]
DeadlineOption = Annotated[
    str | None,
    typer.Option(
        "--deadline",
        metavar="TIME",
        help="What one training may take, such as 90s, 20min or 2h: the choice keeps to it.",
    ),
]
MaxCostOption = Annotated[
    float | None,
    typer.Option(
        "--max-cost",
        metavar="MONEY",
        help="What one training may cost, in the currency of the prices: the choice keeps to it.",
    ),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="AMOUNT",
        help="What a training step may take, such as 8GiB: larger batches are split.",
    ),
]
DeviceHourOption = Annotated[
    float, typer.Option("--device-hour", help="Price of one device for an hour.")
]
KilowattHourOption = Annotated[float, typer.Option("--kilowatt-hour", help="Price of electricity.")]
WattsOption = Annotated[
    float | None, typer.Option("--watts", help="Of each device while it trains.")
]
CarbonOption = Annotated[float, typer.Option("--carbon", help="Grams of CO2 per kilowatt-hour.")]


def read_deadline(text: str | None) -> float | None:
    """Seconds of 90s, 20min or 2h.

    Raises:
        InvalidInput: it is no time, or leaves none.
    """
    if text is None:
        return None
    amount = re.match(r"\s*-?[0-9.]+", text)
    check_deadline(float(amount[0]) if amount else 1.0)
    budget = parse_budget(text)
    if budget.kind != "seconds" or budget.until is not None:
        raise InvalidInput(
            f"{text!r} is no time",
            where="--deadline",
            expected="a number and s, min or h",
            do="write for example 90s, 20min or 2h",
        )
    return budget.amount
