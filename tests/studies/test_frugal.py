import math
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import batchscope as bs
from batchscope.findings.curves import Curve
from batchscope.findings.tuning import Ranking
from batchscope.studies.frugal import SHARES, FrugalSearch, Wanted
from batchscope.studies.rate_trend import RateTrend
from batchscope.verbs.recommending import read_recommendation

from ..conftest import make_staying_task

SIZES = tuple(2**power for power in range(3, 12))
RANKING = Ranking(quality="error", higher=False)
GRID_RUNS = 5 * 3


def search(**changes: object) -> FrugalSearch:
    given = {
        "batch_sizes": SIZES,
        "start": 0.01,
        "trend": RateTrend(optimizer="SGD"),
        "rates": 3,
        "extensions": 4,
        "seeds": 3,
        "confirmed": 2,
        "seed": 0,
        "same_examples": False,
    }
    return FrugalSearch(**(given | changes))  # type: ignore[arg-type]


def train(wanted: Wanted, *, best_at_64: float, exponent: float, noise: float) -> Curve:
    """A loss that falls with the budget spent, least at a rate that moves with the batch."""
    best = best_at_64 * (wanted.batch_size / 64) ** exponent
    off = math.log10(wanted.learning_rate / best)
    draw = random.Random(repr(wanted))
    status = "diverged" if off > 1.2 else "finished"
    loss = (1 + off**2) * wanted.share**-0.5 * math.exp(draw.gauss(0, noise))
    value = np.array([loss])
    return Curve(
        run=repr(wanted),
        batch_size=wanted.batch_size,
        learning_rate=wanted.learning_rate,
        seed=wanted.extra_seed,
        status=status,
        columns={
            "step": np.array([1.0]),
            "examples": np.array([wanted.share]),
            "val_loss": value,
            "error": value,
        },
    )


def search_all(
    searching: FrugalSearch,
    *,
    best_at_64: float,
    exponent: float,
    noise: float = 0.02,
    then: Callable[[Wanted, Curve], Curve] = lambda _, curve: curve,
) -> tuple[dict[float, list[Curve]], float]:
    """All runs by their share of the budget, and the budgets that they spent."""
    runs: dict[float, list[Curve]] = {share: [] for share in (*SHARES, 1.0)}
    for _ in range(100):
        short = {share: runs[share] for share in SHARES}
        wanted = searching.next_runs(short, runs[1.0], RANKING)
        if not wanted:
            spent = sum(share * len(curves) for share, curves in runs.items())
            return runs, spent
        assert len(set(wanted)) == len(wanted)
        for one in wanted:
            trained = train(one, best_at_64=best_at_64, exponent=exponent, noise=noise)
            runs[one.share].append(then(one, trained))
    raise AssertionError("the search does not end")


@pytest.mark.parametrize("best_at_64", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_the_best_rate_of_each_size_is_found_within_half_a_step_of_the_ladder(
    best_at_64: float, exponent: float
) -> None:
    runs, _ = search_all(search(), best_at_64=best_at_64, exponent=exponent, noise=0.0)

    for size in SIZES:
        (rate,) = {c.learning_rate for c in runs[1.0] if c.batch_size == size}
        best = best_at_64 * (size / 64) ** exponent
        # Rates are half a decade apart: the nearest is at most a quarter away, 0.02 for rounding.
        assert abs(math.log10(rate / best)) < 0.27


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_it_spends_little_of_what_the_exhaustive_grid_would(exponent: float) -> None:
    _, spent = search_all(search(), best_at_64=0.03, exponent=exponent)

    # The timing of steps comes on top: together they stay below 15%.
    assert spent < 0.14 * GRID_RUNS * len(SIZES)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_known_noise_scale_spares_short_runs_where_the_usual_exponent_is_wrong(
    optimizer: str,
) -> None:
    # Far above the noise scale the best rate no longer rises with the batch.
    few = (8, 128, 2048)
    trends = [RateTrend(optimizer=optimizer, noise_scale=n) for n in (1.0, None)]
    known, unknown = (
        search_all(search(batch_sizes=few, trend=trend), best_at_64=0.01, exponent=0.0)[0]
        for trend in trends
    )

    assert len(known[SHARES[0]]) == len(few) * 3 < len(unknown[SHARES[0]])


def test_every_size_has_one_run_to_its_end_and_the_best_two_all_seeds() -> None:
    runs, _ = search_all(search(), best_at_64=0.01, exponent=0.8)

    seeds = sorted(sum(c.batch_size == size for c in runs[1.0]) for size in SIZES)
    assert seeds == [1] * 7 + [3] * 2


def with_loss(curve: Curve, loss: float) -> Curve:
    value = np.array([loss])
    return replace(curve, columns=dict(curve.columns) | {"val_loss": value, "error": value})


def test_a_rate_that_ends_worse_than_it_was_early_is_followed_by_the_next_lower() -> None:
    def collapse(wanted: Wanted, curve: Curve) -> Curve:
        is_high = (wanted.batch_size, wanted.share) == (64, 1.0) and wanted.learning_rate > 0.02
        return with_loss(curve, 9.0) if is_high else curve

    runs, _ = search_all(search(), best_at_64=0.032, exponent=0.0, noise=0.0, then=collapse)

    tried = {c.learning_rate for c in runs[1.0] if c.batch_size == 64}
    assert tried == {0.032, 0.01}
    assert {c.learning_rate for c in runs[1.0] if c.batch_size != 64} == {0.032}


def test_judged_after_the_same_examples_a_size_far_behind_is_not_trained_to_its_end() -> None:
    def slower(wanted: Wanted, curve: Curve) -> Curve:
        # From 512 on three times the loss, which nine times the examples would mend.
        return with_loss(
            curve, curve.columns["val_loss"][0] * (3 if wanted.batch_size > 256 else 1)
        )

    whole, _ = search_all(search(), best_at_64=0.01, exponent=0.8, then=slower)
    kept, _ = search_all(search(same_examples=True), best_at_64=0.01, exponent=0.8, then=slower)

    assert {c.batch_size for c in whole[1.0]} == set(SIZES)
    assert {c.batch_size for c in kept[1.0]} == {size for size in SIZES if size <= 256}


def test_three_sizes_are_trained_to_their_end_however_far_behind() -> None:
    def alone(wanted: Wanted, curve: Curve) -> Curve:
        return with_loss(curve, curve.columns["val_loss"][0] * (1 if wanted.batch_size == 8 else 9))

    runs, _ = search_all(
        search(same_examples=True), best_at_64=0.01, exponent=0.8, noise=0.0, then=alone
    )

    assert len({c.batch_size for c in runs[1.0]}) == 3


def test_it_depends_on_what_is_finished_and_not_on_the_order() -> None:
    runs, _ = search_all(search(), best_at_64=0.01, exponent=0.8)
    part = {share: curves[: len(curves) // 2] for share, curves in runs.items()}
    turned = {share: curves[::-1] for share, curves in part.items()}

    one, other = (
        search().next_runs({s: found[s] for s in SHARES}, found[1.0], RANKING)
        for found in (part, turned)
    )

    assert one == other


def test_where_every_rate_diverges_it_ends() -> None:
    runs, _ = search_all(search(), best_at_64=1e-9, exponent=0.0)

    assert runs[1.0] == []


def test_a_single_batch_size_is_searched_as_well() -> None:
    runs, _ = search_all(search(batch_sizes=(64,)), best_at_64=0.03, exponent=0.0)

    assert {c.learning_rate for c in runs[1.0]} == {0.032}
    assert len(runs[1.0]) == 3


def test_a_frugal_study_is_analyzed_by_the_runs_that_went_to_their_end(tmp_path: object) -> None:
    done = bs.study(
        make_staying_task(budget=bs.epochs(16)),
        batch_sizes=[4, 8, 16],
        effort="frugal",
        objective="quality",
        jobs=1,
        store=f"{tmp_path}/r.db",
    )
    chosen = read_recommendation(done)

    sizes = chosen.analysis.sizes
    whole = [run for run in done.runs if run.configuration.budget == bs.epochs(16)]
    assert max(size.seeds for size in sizes) == 3
    assert {c.status for t in chosen.analysis.tuned for c in t.curves} == {"finished"}
    stopped = sum(c.status == "stopped" for c in chosen.analysis.curves)
    assert stopped == len(done.runs) - len(whole) > 0
    assert set(chosen.plateau) <= {size.batch_size for size in sizes if size.seeds == 3}
    again = bs.study(
        make_staying_task(budget=bs.epochs(16)),
        batch_sizes=[4, 8, 16],
        effort="frugal",
        objective="quality",
        jobs=1,
        store=f"{tmp_path}/r.db",
    )
    assert again.trained == 0
