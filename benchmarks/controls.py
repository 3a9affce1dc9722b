"""The control of every study: once with 20 fresh seeds and four times with five.

    make controls

No claim that a control is meant to kill may hold in it. And over three fresh sets of seeds no claim
of a study may both hold and not hold. Runs are kept, so that what was interrupted goes on.
"""

import json
import sys
from pathlib import Path

from batchscope.replications.reproducing import NAMES, Replication, reproduce

RESULTS = Path(__file__).parent / "results" / "studies" / "controls.json"
CONTROLS = [(1000, 20), *((2000 + 100 * number, 5) for number in range(4))]
FRESH = [3000, 3100, 3200]


def _row(found: Replication, first_seed: int) -> dict[str, object]:
    return {
        "study": found.study.name,
        "control": found.is_control,
        "first_seed": first_seed,
        "seeds": found.seeds,
        "verdicts": {one.claim.id: one.verdict for one in found.judged},
    }


def main(names: tuple[str, ...], store: str) -> None:
    rows: list[dict[str, object]] = []
    wrong: list[str] = []
    for name in names:
        for first, count in CONTROLS:
            found = reproduce(name, control=True, seeds=count, first_seed=first, store=store)
            rows.append(_row(found, first))
            print(json.dumps(rows[-1]), flush=True)
            held = {one.claim.id for one in found.judged if one.verdict == "holds"}
            wrong += [f"{name} {kill} at {first}" for kill in found.study.kills if kill in held]
        said: dict[str, set[str]] = {}
        for first in FRESH:
            found = reproduce(name, first_seed=first, store=store)
            rows.append(_row(found, first))
            print(json.dumps(rows[-1]), flush=True)
            for one in found.judged:
                said.setdefault(one.claim.id, set()).add(one.verdict)
        wrong += [f"{name} {c}" for c, seen in said.items() if {"holds", "does not hold"} <= seen]
    RESULTS.write_text(json.dumps({"wrong": wrong, "runs": rows}, indent=1) + "\n")
    print(f"wrong: {wrong or 'none'}")


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or NAMES, "controls.db")
