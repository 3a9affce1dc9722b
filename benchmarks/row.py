"""One row: ours and theirs, in turn, as ratios."""

import platform
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass

import psutil
import torch

from batchscope.training.devices import count_cores, describe_device


@dataclass(frozen=True, kw_only=True)
class Row:
    """A measured comparison.

    Attributes:
        ours, theirs: medians, in `unit`.
        ratio, low, high: theirs over ours, pair by pair: median, lowest and highest.
        load_average: of the last minute before it began.
    """

    name: str
    what: str
    against: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    pairs: int
    machine: str
    load_average: float
    command: str

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def compare(
    name: str,
    *,
    module: str,
    what: str,
    against: str,
    unit: str,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    pairs: int,
) -> Row:
    """Measure in turn, ours first in every other pair, so that a drift favours neither."""
    load = psutil.getloadavg()[0]
    measured: list[tuple[float, float]] = []
    for pair in range(pairs):
        if pair % 2:
            second = theirs()
            measured.append((ours(), second))
        else:
            first = ours()
            measured.append((first, theirs()))
    ratios = [b / a for a, b in measured]
    return Row(
        name=name,
        what=what,
        against=against,
        unit=unit,
        ours=statistics.median(a for a, _ in measured),
        theirs=statistics.median(b for _, b in measured),
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        pairs=pairs,
        machine=f"{describe_device(torch.device('cpu'))}, {count_cores()} usable, "
        f"Python {platform.python_version()}, torch {torch.__version__}",
        load_average=load,
        command=f"make bench ROW={module}",
    )
