from pathlib import Path

import numpy as np
import pytest

import batchscope as bs

from ..conftest import make_staying_task

SIZES = [8, 16]
RATES = [0.01, 0.03]


def study(place: Path, budget: bs.Budget | str, **options: object) -> bs.Study:
    return bs.study(
        make_staying_task(),
        batch_sizes=SIZES,
        learning_rates=RATES,
        seeds=2,
        budget=budget,
        store=str(place),
        jobs=1,
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> bs.Study:
    place = tmp_path_factory.mktemp("long") / "runs.db"
    return study(place, bs.epochs(6), also_read=["2ep", "10steps"])


@pytest.mark.parametrize("smaller", ["2ep", "10steps", "6ep until plateau", "6ep until error<=0.3"])
def test_a_smaller_budget_is_read_from_the_same_runs_to_the_bit(
    long: bs.Study, tmp_path: Path, smaller: str
) -> None:
    short = study(tmp_path / "short.db", smaller)

    read = bs.analyze(long, budget=smaller)
    trained = bs.analyze(short)

    assert read.metric == trained.metric
    for mine, theirs in zip(read.curves, trained.curves, strict=True):
        assert mine.status == theirs.status
        assert mine.columns["step"][-1] == theirs.columns["step"][-1]
        for name in ("train_loss", "val_loss", "error"):
            # Only the last row: a run that is read elsewhere as well was evaluated more often.
            np.testing.assert_array_equal(mine.columns[name][-1], theirs.columns[name][-1])


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("acc>=1", "the runs have no metric 'acc'"),
        ("val_los<=1", "did you mean val_loss"),
        ("error>=0.05", "asks for a worse error"),
        ("step<=3", "the runs have no metric 'step'"),
    ],
)
def test_a_target_that_no_run_can_be_read_at_is_refused(
    long: bs.Study, target: str, said: str
) -> None:
    with pytest.raises(bs.InvalidInput, match=said):
        bs.analyze(long, target=target)
    with pytest.raises(bs.InvalidInput, match=said):
        bs.analyze(long, budget=f"6ep until {target}")
    with pytest.raises(bs.InvalidInput, match=said):
        bs.forecast(long, [4], target=target)


def test_a_margin_below_0_is_refused_by_its_name(long: bs.Study) -> None:
    with pytest.raises(bs.InvalidInput, match="--margin"):
        bs.analyze(long, margin=-1.0)


@pytest.mark.parametrize(
    ("also", "budget"), [("7ep", "6ep"), ("600ex", "6ep"), ("9steps", "8steps")]
)
def test_budgets_beyond_the_end_of_the_runs_are_refused(
    tmp_path: Path, also: str, budget: str
) -> None:
    with pytest.raises(bs.InvalidInput, match="--also-read"):
        study(tmp_path / "runs.db", budget, also_read=[also])


def test_a_budget_without_an_evaluation_at_its_end_is_refused(long: bs.Study) -> None:
    assert bs.analyze(long, budget="2ep").curves[0].columns["examples"][-1] == 128

    with pytest.raises(bs.InvalidInput, match="--also-read 11steps"):
        bs.analyze(long, budget="11steps")


def test_runs_are_evaluated_at_the_intervals_that_are_asked_for(
    long: bs.Study, tmp_path: Path
) -> None:
    seldom = study(tmp_path / "runs.db", bs.epochs(6), evaluate_every="1.5ep")

    size = make_staying_task().train_size
    for often, run in zip(long.runs, seldom.runs, strict=True):
        columns = run.trajectory.columns
        assert columns["examples"] == tuple(1.5 * size * count for count in range(5))
        # How often it is looked at changes nothing about a run.
        assert columns["val_loss"][-1] == often.trajectory.columns["val_loss"][-1]
        assert run.key != often.key


@pytest.mark.parametrize("every", ["10steps", "3s", "2ep until plateau", "1e-9ep", "1epp"])
def test_intervals_that_batch_sizes_do_not_share_are_refused(tmp_path: Path, every: str) -> None:
    with pytest.raises(bs.InvalidInput, match="--evaluate-every"):
        study(tmp_path / "runs.db", bs.epochs(6), evaluate_every=every)


def test_a_moving_rate_is_not_read_at_a_smaller_budget(tmp_path: Path) -> None:
    done = study(tmp_path / "runs.db", bs.epochs(4), schedule="cosine")

    with pytest.raises(bs.InvalidInput, match="a shorter run is another run"):
        bs.analyze(done, budget="2ep")


def test_a_fitted_rule_searches_three_sizes_and_moves_the_others_between_them(
    tmp_path: Path,
) -> None:
    sizes = [4, 8, 16, 32, 64]

    done = bs.study(
        make_staying_task(),
        batch_sizes=sizes,
        rule="fitted",
        effort="quick",
        budget="3ep",
        store=str(tmp_path / "runs.db"),
        jobs=1,
    )

    rates = {
        size: {
            r.configuration.learning_rate for r in done.runs if r.configuration.batch_size == size
        }
        for size in sizes
    }
    assert all(len(rates[size]) >= 3 for size in (4, 16, 64))
    best = {s.batch_size: s.learning_rate for s in bs.analyze(done).tuned}
    exponent, intercept = np.polyfit(np.log([4, 16, 64]), np.log([best[4], best[16], best[64]]), 1)
    for size in (8, 32):
        assert len(rates[size]) == 1
        # Two significant digits: at most 5% off.
        assert best[size] == pytest.approx(np.exp(intercept) * size**exponent, rel=0.05)
