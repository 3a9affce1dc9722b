"""One row: ours and theirs, in turn, as ratios."""

import json
import platform
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch

from batchscope.training.devices import count_cores, describe_device


@dataclass(frozen=True, kw_only=True)
class Row:
    """A measured comparison.

    Attributes:
        ours, theirs: medians, in `unit`.
        ratio, low, high: theirs over ours, pair by pair: median, lowest and highest.
        load_average: of the last minute before it began, the highest where it was taken up again.
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
    kept: Path | None = None,
) -> Row:
    """Measure in turn, ours first in every other pair, so that a drift favours neither.

    Args:
        kept: where pairs of minutes are kept as they are measured, so that what was interrupted
            goes on; deleted, it begins anew.
    """
    load = psutil.getloadavg()[0]
    measured: list[tuple[float, float]] = []
    loads = [load]
    if kept is not None and kept.exists():
        done = json.loads(kept.read_text())
        measured = [(pair["ours"], pair["theirs"]) for pair in done]
        loads = [pair["load_average"] for pair in done] or loads
    while len(measured) < pairs:
        if len(measured) % 2:
            second = theirs()
            measured.append((ours(), second))
        else:
            first = ours()
            measured.append((first, theirs()))
        if kept is not None:
            loads = [*loads, load][-len(measured) :]
            done = [
                {"ours": ours, "theirs": theirs, "load_average": before}
                for (ours, theirs), before in zip(measured, loads, strict=True)
            ]
            kept.write_text(json.dumps(done, indent=1) + "\n")
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
        load_average=max(loads),
        command=f"make bench ROW={module}",
    )
