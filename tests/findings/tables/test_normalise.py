import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import batchscope as bs
from batchscope.errors import BatchscopeError, InvalidInput
from batchscope.findings.tables.columns import find_named
from batchscope.findings.tables.normalise import normalise_table
from batchscope.verbs.example_runs import write_example

DATA = Path(__file__).parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(
    not DATA.exists(), reason="the public measurements are not beside the project"
)


def small_table() -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "name": f"r{bs_}-{seed}",
                "bs": bs_,
                "lr": 0.1,
                "seed": seed,
                "iteration": step,
                "val/acc": acc,
            }
            for bs_ in (16, 64)
            for seed in range(3)
            for step, acc in ((0, 0.1), (10, 0.5 + 0.01 * seed), (20, 0.8 + 0.01 * seed))
        ]
    )


def test_columns_are_recognised_as_people_name_them() -> None:
    runs = normalise_table(small_table(), mapping={}, where={})

    assert runs.metric == "val/acc"
    assert runs.higher
    assert set(runs.frame["batch_size"]) == {16, 64}
    first = runs.frame.filter(pl.col("batch_size") == 16)
    assert first["examples"].to_list()[:3] == [0, 160, 320]
    assert "bs is read as batch_size" in runs.notes


def test_a_mapping_goes_before_the_names() -> None:
    table = small_table().rename({"bs": "nonsense"})

    runs = normalise_table(table, mapping={"batch_size": "nonsense"}, where={})

    assert set(runs.frame["batch_size"]) == {16, 64}


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        (lambda t: t.drop("bs"), {}, "no column of the table is the batch size"),
        (lambda t: t.drop("iteration"), {}, "how far a run was"),
        (lambda t: t.clear(), {}, "no rows"),
        (lambda t: t, {"mapping": {"batch_size": "bz"}}, "no column 'bz'"),
        (lambda t: t, {"mapping": {"bach_size": "bs"}}, "nothing called 'bach_size'"),
        (lambda t: t, {"where": {"model": "a"}}, "no column 'model'"),
        (lambda t: t, {"where": {"lr": "7"}}, "no row has lr = 7"),
        (
            lambda t: t.with_columns(pl.Series("job", ["a", "b"] * 9).sort()),
            {},
            "several jobs",
        ),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(change, options, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(bs.InvalidInput, match=says):
        normalise_table(change(small_table()), **{"mapping": {}, "where": {}, **options})


def test_a_cell_that_is_no_number_is_named_by_row_and_column(tmp_path: Path) -> None:
    lines = small_table().write_csv().splitlines()
    lines[4] = lines[4].replace(",16,", ",sixteen,", 1)
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines))

    with pytest.raises(bs.InvalidInput) as caught:
        bs.analyze(str(path))

    assert "row 5" in str(caught.value)
    assert "'bs'" in str(caught.value)
    assert "'sixteen'" in str(caught.value)


def test_a_level_that_was_never_reached_is_censored() -> None:
    table = pl.DataFrame(
        {
            "batch_size": [16] * 4 + [64] * 4,
            "run": [1, 1, 2, 2] * 2,
            "target_metric": [0.5, 0.6] * 4,
            "target_epoch": [1.0, 2.0, 1.0, None, 2.0, 4.0, 2.0, 5.0],
        }
    )

    runs = normalise_table(
        table,
        mapping={"metric": "target_metric", "epoch": "target_epoch"},
        where={},
        epoch_examples=1000,
    )
    found = runs.frame.filter((pl.col("batch_size") == 16) & (pl.col("seed") == 2))

    # It begins before every level.
    assert found["target_metric"].to_list() == [-math.inf, 0.5]
    assert found["examples"].to_list() == [0, 1000]
    assert runs.higher


def test_the_example_can_be_analyzed_and_has_the_planted_critical_batch_size(
    tmp_path: Path,
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(write_example())

    found = bs.analyze(str(path), target="val_loss<=0.3")

    assert found.critical is not None
    assert isinstance(found.critical.b_2x, bs.Interval)
    assert found.critical.b_2x.low < 128 < found.critical.b_2x.high
    document = found.to_dict()
    json.dumps(document, allow_nan=False)
    assert {
        "batch_sizes",
        "critical_batch_size",
        "plateau",
        "verdicts",
        "collapse",
        "learning_rate_exponent",
        "epochs",
        "findings",
    } <= set(document)


def test_parquet_reads_as_the_same_table_does(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(write_example())
    pl.read_csv(tmp_path / "runs.csv").write_parquet(tmp_path / "runs.parquet")

    texts = [
        bs.analyze(str(tmp_path / f"runs.{kind}"), target="val_loss<=0.3").sentences
        for kind in ("csv", "parquet")
    ]

    assert texts[0] == texts[1]


cells = st.one_of(
    st.none(),
    st.floats(allow_nan=True, allow_infinity=True, width=32),
    st.integers(-3, 4000),
    st.sampled_from([0.1, 0.5, 16.0, 64.0]),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([8, 16, 64, None, -1]), cells, st.integers(0, 2), cells, cells, cells
        ),
        min_size=1,
        max_size=40,
    )
)
def test_any_table_gets_an_answer_or_a_sentence(rows: list[tuple[object, ...]]) -> None:
    from batchscope.verbs.importing import TableOptions, _analyze  # pyright: ignore

    names = ("batch_size", "learning_rate", "seed", "step", "train_loss", "val_loss")
    table = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64), orient="row", strict=False)

    try:
        found = _analyze(table, "table", TableOptions())
    except BatchscopeError:
        return
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert "NaN" not in text
    for size in found.sizes:
        if isinstance(size.quality, bs.Interval) and size.seeds < 2:
            pytest.fail("an interval from a single run")


def test_a_million_rows_of_one_run_are_an_answer() -> None:
    steps = np.arange(1_000_000)
    table = pl.DataFrame(
        {"batch_size": 32, "step": steps, "val_loss": 1 / (1 + steps / 1000), "run": "a"}
    )

    runs = normalise_table(table, mapping={}, where={})

    assert len(runs.frame) == 1_000_000


@needs_data
def test_levels_of_a_public_trace_go_through_as_they_are() -> None:
    place = str(DATA / "zeus" / "summary_train.csv")
    options = {
        "mapping": {"metric": "target_metric", "epoch": "target_epoch"},
        "where": {"dataset": "cifar100"},
    }

    with_steps = bs.analyze(place, examples_per_epoch=50_000, **options)  # type: ignore[arg-type]
    without = bs.analyze(place, **options)  # type: ignore[arg-type]

    assert with_steps.critical is not None
    assert isinstance(with_steps.critical.b_20, bs.Interval)
    assert without.unit == "epochs"
    assert all(isinstance(size.steps, bs.NotIdentified) for size in without.sizes)
    # By hand: at batch size 1024 the ten runs passed 0.5 in these epochs.
    table = pl.read_csv(place, infer_schema_length=10_000).filter(
        (pl.col("dataset") == "cifar100")
        & (pl.col("batch_size") == 1024)
        & (pl.col("target_metric") == 0.5)
    )
    mean = float(np.exp(np.log(table["target_epoch"].cast(pl.Float64).to_numpy()).mean()))
    found = bs.analyze(place, target="target_metric>=0.5", examples_per_epoch=50_000, **options)  # type: ignore[arg-type]
    size = next(s for s in found.sizes if s.batch_size == 1024)
    assert isinstance(size.examples, bs.Interval)
    assert size.examples.value == pytest.approx(mean * 50_000)


@needs_data
def test_one_run_per_size_of_a_public_trace_says_that_its_residuals_are_the_noise() -> None:
    found = bs.analyze(
        str(DATA / "pollux" / "training_curves.csv"),
        where={"workload": "cifar10"},
        target="metric>=0.93",
    )

    assert found.critical is not None
    assert any("the noise" in text for text in found.critical.warnings)
    assert all(v.verdict in ("not_enough_seeds", "cannot_tell") for v in found.verdicts)


def test_a_loss_that_is_no_number_means_that_the_run_diverged() -> None:
    table = small_table().with_columns(
        pl.when((pl.col("name") == "r64-1") & (pl.col("iteration") == 20))
        .then(math.nan)
        .otherwise(pl.col("val/acc"))
        .alias("val/acc")
    )

    runs = normalise_table(table, mapping={}, where={})

    said = dict(runs.frame.select("run", "status").unique().iter_rows())
    assert list(said.values()).count("diverged") == 1


def rows(*lines: str) -> pl.DataFrame:
    return pl.read_csv("\n".join(lines).encode())


def test_a_table_without_a_rate_puts_its_seeds_together(tmp_path: Path) -> None:
    table = small_table().drop("lr")
    table.write_csv(tmp_path / "runs.csv")

    found = bs.analyze(str(tmp_path / "runs.csv"))

    assert [size.seeds for size in found.sizes] == [3, 3]
    assert not any(size.at_edge for size in found.sizes)


def test_a_run_that_diverged_at_once_is_counted(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(
        "batch_size,lr,seed,step,val_loss\n"
        "16,.1,0,100,.5\n16,.1,1,100,.52\n64,.1,0,100,.4\n64,.1,1,100,NaN\n64,.1,2,100,NaN\n"
    )

    found = bs.analyze(str(tmp_path / "runs.csv"))

    assert found.diverged == 2
    assert [size.seeds for size in found.sizes] == [2, 3]


@pytest.mark.parametrize(
    ("columns", "judged", "higher"),
    [
        ("cancer_auc", "cancer_auc", True),
        ("grad_accum_steps,val_loss", "val_loss", False),
        ("train_acc,val_loss", "val_loss", False),
        ("val_loss,val_acc", "val_acc", True),
        ("power_score", "power_score", True),
        ("WER", "WER", False),
    ],
)
def test_the_metric_and_its_direction_go_by_whole_words(
    columns: str, judged: str, higher: bool
) -> None:
    values = ",".join("0.5" for _ in columns.split(","))
    table = rows(f"batch_size,step,{columns}", f"16,10,{values}", f"64,10,{values}")

    runs = normalise_table(table, mapping={}, where={})

    assert (runs.metric, runs.higher) == (judged, higher)


def test_weight_decays_of_one_setting_are_several_jobs_and_hosts_are_not() -> None:
    several = rows(
        "batch_size,lr,seed,weight_decay,step,val_loss",
        *(f"{b},.1,{s},{w},10,.5" for b in (16, 64) for s in (0, 1) for w in (0, 0.1)),
    )
    hosts = rows(
        "batch_size,lr,seed,hostname,step,val_loss",
        *(f"{b},.1,{s},{'ab'[s]},10,.5" for b in (16, 64) for s in (0, 1)),
    )

    with pytest.raises(bs.InvalidInput, match="several jobs"):
        normalise_table(several, mapping={}, where={})
    assert normalise_table(several, mapping={}, where={"weight_decay": "0.1"}).metric == "val_loss"
    assert normalise_table(hosts, mapping={}, where={}).metric == "val_loss"


def test_final_values_alone_say_nothing_of_a_critical_batch_size(tmp_path: Path) -> None:
    lines = [
        f"{b},.1,{s},10,{acc + b / 1e5}"
        for b in (16, 64, 256)
        for s, acc in enumerate((0.8997, 0.9057, 0.9117))
    ]
    (tmp_path / "runs.csv").write_text("\n".join(["batch_size,lr,seed,epoch,val_acc", *lines]))

    found = bs.analyze(str(tmp_path / "runs.csv"), examples_per_epoch=50_000)

    assert found.critical is None
    assert found.collapse is None


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("batch_size,seed,step,val_loss\n64,0,1,.5\n64,1,1,.5,9\n", {}, "cannot read"),
        ("batch_size,step,val_loss\n64,1,.5\n", {"target": "batch_size<=1"}, "no metric"),
        ("batch_size,step,val_loss\n64,1,.5\n", {"margin": math.inf}, "margin of inf"),
        ("batch_size,step,val_loss\n64,1,.5\n", {"budget": "1ep"}, "--where chooses rows"),
    ],
)
def test_odd_tables_and_options_get_one_sentence(
    tmp_path: Path, text: str, options: dict[str, object], says: str
) -> None:
    (tmp_path / "runs.csv").write_text(text)

    with pytest.raises(bs.InvalidInput, match=says):
        bs.analyze(str(tmp_path / "runs.csv"), **options)  # type: ignore[arg-type]


def test_rows_that_each_have_a_rate_of_their_own_are_said_to_be_read_as_runs() -> None:
    rows = [
        {"bs": size, "seed": 0, "lr": 0.1 - step / 1000, "step": step, "val_loss": 1 / (1 + step)}
        for size in (8, 16)
        for step in range(0, 50, 10)
    ]
    table = pl.DataFrame(rows)

    asked = normalise_table(table, mapping={}, where={})
    told = normalise_table(table, mapping={}, where={}, ignore=["lr"])

    assert any("name the runs" in note for note in asked.notes)
    assert asked.frame["run"].n_unique() == 10
    assert told.frame["run"].n_unique() == 2


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [("eval_loss", "val_loss"), ("Val/Loss", "val_loss"), ("accuracy", "Accuracy")],
)
def test_a_metric_is_found_however_it_is_spelled(spelled: str, meant: str) -> None:
    assert find_named(spelled, ["train_loss", "val_loss", "Accuracy"]) == meant


def test_a_metric_that_there_is_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidInput, match=r"did you mean accuracy"):
        find_named("acuracy", ["val_loss", "accuracy"])
