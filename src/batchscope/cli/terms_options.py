"""The options of what a training may take and what it is paid for."""

from typing import Annotated

import typer

from batchscope.decisions.cost import Prices
from batchscope.decisions.terms import OBJECTIVES, parse_deadline
from batchscope.errors import InvalidInput

GoalOption = Annotated[
    str,
    typer.Option(
        "--objective",
        metavar="NAME",
        help=f"{', '.join(OBJECTIVES[:-1])} or {OBJECTIVES[-1]}; or weights, such as "
        "time=2,energy=1.",
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
    str | None,
    typer.Option(
        "--watts",
        metavar="W",
        help="Of each device while it trains: 300, or by batch size 32=180,512=290. Default: what "
        "energy has kept in the store.",
    ),
]
CarbonOption = Annotated[float, typer.Option("--carbon", help="Grams of CO2 per kilowatt-hour.")]
WaitingHourOption = Annotated[
    float,
    typer.Option("--waiting-hour", help="What an hour until it is done is worth to you."),
]


def read_prices(
    *, device_hour: float, kilowatt_hour: float, carbon: float, waiting_hour: float = 0.0
) -> Prices:
    """What usage is paid with.

    Raises:
        InvalidInput: a price is below 0.
    """
    return Prices(
        device_hour=device_hour,
        kilowatt_hour=kilowatt_hour,
        grams_per_kilowatt_hour=carbon,
        waiting_hour=waiting_hour,
    )


def read_watts(text: str | None) -> float | dict[int, float] | None:
    """Watts of 300, or by batch size of 32=180,512=290.

    Raises:
        InvalidInput: it is neither.
    """
    if text is None:
        return None
    try:
        if "=" not in text:
            return float(text)
        pairs = [part.split("=") for part in text.split(",")]
        found = {int(size): float(watts) for size, watts in pairs}
    except ValueError:
        found = None
    if not found or len(found) < text.count("="):
        raise InvalidInput(
            f"{text!r} is no power" if not found else f"{text!r} names a batch size twice",
            where="--watts",
            expected="watts, or batch sizes with the watts at each",
            do="write for example 300, or 32=180,512=290",
        )
    return found


def read_deadline(text: str | None) -> float | None:
    """Seconds of 90s, 20min or 2h.

    Raises:
        InvalidInput: it is no time, or leaves none.
    """
    return None if text is None else parse_deadline(text)
