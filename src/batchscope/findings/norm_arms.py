"""Runs that differ in how many examples batch norm sees at once."""

import math
from collections.abc import Sequence

import numpy as np

from batchscope.findings.curves import Curve


def split_norm_arms(curves: Sequence[Curve]) -> tuple[list[Curve], list[Curve]]:
    """The runs in which batch norm sees the whole batch, and those in which it sees fewer.

    Where it never sees the whole batch nothing is set apart.
    """
    arms = [c for c in curves if (ghost_of(c) or math.inf) < c.batch_size]
    plain = [c for c in curves if not (ghost_of(c) or math.inf) < c.batch_size]
    sizes = {c.batch_size for c in plain}
    if any(c.batch_size not in sizes for c in arms):
        return list(curves), []
    return plain, arms


def ghost_of(curve: Curve) -> float | None:
    """Examples that batch norm sees at once, where the table says so."""
    values = curve.columns.get("ghost_batch")
    return None if values is None or not np.isfinite(values[0]) else float(values[0])
