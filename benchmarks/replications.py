"""How long the published studies take at the quick scale, one after another, and what they say.

    python -m benchmarks.replications [NAME ...]

Asked for on two idle cores: all of them within 20 minutes, none above 4. What was measured before
stays for the studies that are not named.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import psutil

from batchscope.replications.reproducing import NAMES, reproduce

RESULTS = Path(__file__).parent / "results" / "studies" / "replications.json"
# What else runs would be measured with it.
HIGHEST_LOAD = 0.5


def main(names: tuple[str, ...]) -> None:
    load = psutil.getloadavg()[0]
    if load > HIGHEST_LOAD:
        sys.exit(f"load average {load:.2f}: wait until it is below {HIGHEST_LOAD}")
    known = json.loads(RESULTS.read_text())["studies"] if RESULTS.exists() else {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            found = reproduce(name, store=f"{folder}/runs.db")
            known[name] = {
                "seconds": round(time.perf_counter() - began, 1),
                "load_average": load,
                "verdicts": {one.claim.id: one.verdict for one in found.judged},
            }
        print(name, json.dumps(known[name]), flush=True)
        document = {
            "minutes": round(sum(one["seconds"] for one in known.values()) / 60, 1),
            "command": "python -m benchmarks.replications",
            "studies": known,
        }
        RESULTS.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or NAMES)
