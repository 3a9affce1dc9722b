"""Run rows and write RESULTS.md: python -m benchmarks [NAME]."""

import importlib
import json
import sys
from pathlib import Path

from benchmarks.row import Row

ROWS = ("study", "loop", "noise", "largest", "claims", "analysis", "advisor", "programs", "ghost")
HERE = Path(__file__).parent


def main(names: tuple[str, ...]) -> None:
    unknown = set(names) - set(ROWS)
    if unknown:
        sys.exit(f"no row {', '.join(sorted(unknown))}: there are {', '.join(ROWS)}")
    for name in names or ROWS:
        for row in importlib.import_module(f"benchmarks.{name}").measure():
            path = HERE / "results" / f"{row.name}.json"
            path.write_text(json.dumps(row.to_dict(), indent=2) + "\n")
            print(f"{row.name}: {row.ratio:.2f} ({row.low:.2f} to {row.high:.2f})", flush=True)
    write_table()


def write_table() -> None:
    files = sorted((HERE / "results").glob("*.json"))
    rows = [Row(**json.loads(path.read_text())) for path in files]
    lines = [
        "# Results",
        "",
        "Ratios are theirs over ours, measured in turn in one run: the median of the pairs, lowest "
        "to highest; it need not be the quotient of the two medians beside it.",
        "",
        "| what | against | ours | theirs | ratio | pairs | load | command |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours, theirs = (f"{seconds:.4g} {row.unit}" for seconds in (row.ours, row.theirs))
        lines.append(
            f"| {row.what} | {row.against} | {ours} | {theirs} | {row.ratio:.2f} ({row.low:.2f} to "
            f"{row.high:.2f}) | {row.pairs} | {row.load_average:.2f} | `{row.command}` |"
        )
    machines = sorted({row.machine for row in rows})
    lines += ["", *(f"Measured on {machine}." for machine in machines), ""]
    (HERE / "RESULTS.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
