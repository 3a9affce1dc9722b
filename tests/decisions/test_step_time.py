import math

import numpy as np
import polars as pl
import pytest

from batchscope.decisions.step_time import Placement, StepTimes
from batchscope.estimate import Interval, NotIdentified

from ..shared_data import measured

Timings = list[tuple[Placement, float]]


def law(batch: float, nodes: int, devices: int) -> float:
    exchange = 0.0 if devices == 1 else (0.01 if nodes == 1 else 0.05) + 0.002 * (devices - 2)
    return math.hypot(0.02 + 0.0005 * batch, exchange)


def placed(batch: float, nodes: int, devices: int) -> Placement:
    each = devices / nodes
    return Placement(local_batch=batch, nodes=nodes, devices=devices, most=each, fewest=each)


ALL = [
    (batch, nodes, nodes * each)
    for batch in (16, 32, 64, 128, 256, 512)
    for nodes in (1, 2, 4, 8)
    for each in (1, 2, 4)
]


def test_a_law_fitted_to_a_third_predicts_the_rest_and_covers_nine_in_ten() -> None:
    inside = total = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(ALL))
        timings: Timings = [
            (placed(*one), law(*one) * math.exp(0.03 * rng.standard_normal())) for one in ALL
        ]
        fitted = StepTimes([timings[i] for i in order[:24]])
        rest = [timings[i] for i in order[24:]]
        for found, (_, seconds) in zip(fitted.predict([p for p, _ in rest]), rest, strict=True):
            assert isinstance(found, Interval)
            inside += found.low <= seconds <= found.high
            total += 1

    # 960 timings, correlated within a fit: four standard errors of 20 fits.
    assert 0.82 <= inside / total <= 0.97


def test_what_no_timing_shows_is_not_identified() -> None:
    one_node = [(placed(*one), law(*one)) for one in ALL if one[1] == 1]
    one_device = [(placed(*one), law(*one)) for one in ALL if one[2] == 1] * 2

    (across,) = StepTimes(one_node).predict([placed(64, 2, 4)])
    (beside,) = StepTimes(one_device).predict([placed(64, 1, 2)])
    assert isinstance(across, NotIdentified)
    assert "crosses nodes" in across.reason
    assert isinstance(beside, NotIdentified)
    assert isinstance(StepTimes(one_node[:3]).predict([placed(64, 1, 1)])[0], NotIdentified)


def read(workload: str) -> Timings:
    table = pl.read_csv(
        measured("pollux/step_times.csv"),
        infer_schema_length=10_000,
        schema_overrides={"placement": pl.String},
    ).filter(pl.col("workload") == workload)
    timings: Timings = []
    for row in table.iter_rows(named=True):
        nodes, devices = row["num_nodes"], row["num_replicas"]
        each = [int(c) for c in row["placement"]] if row["placement"] else [devices / nodes]
        place = Placement(
            local_batch=row["local_batch"],
            nodes=nodes,
            devices=devices,
            most=max(each),
            fewest=min(each),
        )
        timings.append((place, row["step_time_s"]))
    return timings


@pytest.mark.slow
@pytest.mark.parametrize("workload", ["cifar10", "bert"])
def test_a_tenth_of_the_recorded_placements_predicts_the_rest(workload: str) -> None:
    timings = read(workload)
    places = sorted({p for p, _ in timings}, key=repr)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        chosen = {places[i] for i in rng.choice(len(places), len(places) // 10, replace=False)}
        fitted = StepTimes([(p, seconds) for p, seconds in timings if p in chosen])
        rest = [(p, seconds) for p, seconds in timings if p not in chosen]
        found = fitted.predict([p for p, _ in rest])
        errors = [
            abs(f.value / seconds - 1)
            for f, (_, seconds) in zip(found, rest, strict=True)
            if isinstance(f, Interval)
        ]
        assert len(errors) == len(rest)
        assert np.median(errors) <= 0.06


@pytest.mark.parametrize("workload", ["cifar10", "bert"])
def test_one_node_of_the_recorded_placements_says_nothing_of_more(workload: str) -> None:
    timings = read(workload)
    fitted = StepTimes([(p, seconds) for p, seconds in timings if p.nodes == 1])

    found = fitted.predict([p for p, _ in timings if 2 <= p.nodes <= 4])
    assert all(isinstance(f, NotIdentified) for f in found)
