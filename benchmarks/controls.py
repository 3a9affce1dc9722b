"""The control of every study: once with 20 fresh seeds and four times with five of these.

    make controls
    python -m benchmarks.controls NAME ...

No claim that a control is meant to kill may hold in it. And over three fresh sets of seeds no claim
of a study may both hold and not hold. Runs are kept, so that what was interrupted goes on, and so
are the rows of studies that are not named.
"""

import json
import sys
from pathlib import Path
from typing import Any

from batchscope.replications.reproducing import (
    NAMES,
    Replication,
    find_study,
    list_studies,
    reproduce,
)

RESULTS = Path(__file__).parent / "results" / "studies" / "controls.json"
CONTROLS = [(1000, 20), *((1000 + 5 * number, 5) for number in range(4))]
FRESH = [3000, 3100, 3200]


def _row(found: Replication, first_seed: int) -> dict[str, Any]:
    return {
        "study": found.study.name,
        "control": found.is_control,
        "first_seed": first_seed,
        "seeds": found.seeds,
        "verdicts": {one.claim.id: one.verdict for one in found.judged},
    }


def main(names: tuple[str, ...], store: str) -> None:
    known = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    rows = [row for row in known if row["study"] not in names]
    for name in names:
        for is_control, first, count in [(True, *one) for one in CONTROLS] + [
            (False, first, None) for first in FRESH
        ]:
            found = reproduce(name, control=is_control, seeds=count, first_seed=first, store=store)
            rows.append(_row(found, first))
            print(json.dumps(rows[-1]), flush=True)
        document = {"wrong": _find_wrong(rows), "missing": _find_missing(rows), "runs": rows}
        RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    print(f"wrong: {_find_wrong(rows) or 'none'}; missing: {_find_missing(rows) or 'none'}")


def _find_missing(rows: list[dict[str, Any]]) -> list[str]:
    """Studies without rows, and those whose rows lack a claim of today."""
    missing: list[str] = []
    for study in list_studies():
        known = [row for row in rows if row["study"] == study.name]
        told = {id_ for row in known for id_ in row["verdicts"]}
        lacking = [claim.id for claim in study.claims_at("quick") if claim.id not in told]
        missing += [" ".join([study.name, *lacking])] if lacking else []
    return missing


def _find_wrong(rows: list[dict[str, Any]]) -> list[str]:
    """Killed claims that held, and claims that both held and did not."""
    wrong: list[str] = []
    for name in dict.fromkeys(row["study"] for row in rows):
        said: dict[str, set[str]] = {}
        for row in (row for row in rows if row["study"] == name):
            if row["control"]:
                held = {id_ for id_, verdict in row["verdicts"].items() if verdict == "holds"}
                kills = find_study(name).kills
                wrong += [f"{name} {kill} at {row['first_seed']}" for kill in kills if kill in held]
                continue
            for id_, verdict in row["verdicts"].items():
                said.setdefault(id_, set()).add(verdict)
        wrong += [
            f"{name} {id_}" for id_, seen in said.items() if {"holds", "does not hold"} <= seen
        ]
    return wrong


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or NAMES, "controls.db")
