"""How long the published studies take, one after another in one store, and what they say.

    python -m benchmarks.replications [--scale standard] [NAME ...]

Asked for on two idle cores: at quick all of them within 20 minutes and none above 4, at standard
none above 20. What was measured before stays for the studies that are not named.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import psutil

from batchscope.replications.reproducing import NAMES, reproduce

RESULTS = Path(__file__).parent / "results" / "studies"
# What else runs would be measured with it.
HIGHEST_LOAD = 0.5


def main(names: list[str], scale: str) -> None:
    load = psutil.getloadavg()[0]
    if load > HIGHEST_LOAD:
        sys.exit(f"load average {load:.2f}: wait until it is below {HIGHEST_LOAD}")
    results = RESULTS / f"replications{'' if scale == 'quick' else f'-{scale}'}.json"
    known = json.loads(results.read_text())["studies"] if results.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            began = time.perf_counter()
            found = reproduce(name, scale=scale, store=f"{folder}/runs.db")
            known[name] = {
                "seconds": round(time.perf_counter() - began, 1),
                "load_average": load,
                "verdicts": {one.claim.id: one.verdict for one in found.judged},
            }
            print(name, json.dumps(known[name]), flush=True)
            studies = {name: known[name] for name in NAMES if name in known}
            document = {
                "minutes": round(sum(one["seconds"] for one in studies.values()) / 60, 1),
                "command": f"python -m benchmarks.replications --scale {scale}",
                "studies": studies,
            }
            results.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--scale", choices=["quick", "standard"], default="quick")
    asked = parser.parse_args()
    main(asked.names or list(NAMES), asked.scale)
