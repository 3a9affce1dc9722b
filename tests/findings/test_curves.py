import math

import polars as pl
import pytest

from batchscope.findings.curves import read_curves


def test_the_seconds_of_a_step_are_those_of_the_timed_runs_of_its_batch_size() -> None:
    runs = {
        "a": (8, [0.0, 10.0], [0.0, 1.0]),
        "took no step": (8, [0.0], [0.0]),
        "c": (8, [0.0, 10.0], [0.0, 3.0]),
        "steps unknown": (8, [math.nan, math.nan], [0.0, 9.0]),
        "not timed": (16, [0.0, 5.0], [math.nan, math.nan]),
    }
    rows = [
        {
            "run": run,
            "batch_size": size,
            "learning_rate": 0.1,
            "seed": 0,
            "step": step,
            "examples": step * size,
            "seconds": second,
            "val_loss": 1.0,
        }
        for run, (size, steps, seconds) in runs.items()
        for step, second in zip(steps, seconds, strict=True)
    ]

    found = {curve.run: curve.step_seconds for curve in read_curves(pl.DataFrame(rows))}

    assert math.isnan(found.pop("not timed"))
    assert found == dict.fromkeys(found, pytest.approx(0.2))
    assert len(found) == 4
