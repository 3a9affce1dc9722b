"""Batch sizes at which memory ran out."""

import math
from collections.abc import Sequence

from batchscope.records import Run


def smallest_too_large(runs: Sequence[Run]) -> float:
    """The smallest batch size at which memory ran out; infinite where it never did."""
    sizes = [run.configuration.batch_size for run in runs if run.status == "out_of_memory"]
    return min(sizes, default=math.inf)
