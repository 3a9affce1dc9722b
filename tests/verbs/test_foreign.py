from pathlib import Path

import optuna
import polars as pl
import pytest

import batchscope as bs

SIZES = (16, 64, 256)


def loss_of(size: int, seed: int, step: int) -> float:
    """Steps count less the larger the batch; seeds differ by a few percent."""
    return 2.0 / (1 + step * (1 + 0.03 * seed) / (1 + 100 / size) / 50)


def settings_of(size: int, seed: int) -> dict[str, float]:
    return {"batch_size": size, "lr": 0.1, "seed": seed}


def check(found: bs.Analysis) -> None:
    assert [size.batch_size for size in found.sizes] == list(SIZES)
    assert all(size.seeds == 3 for size in found.sizes)
    assert found.critical is not None
    assert isinstance(found.critical.b_2x, bs.Interval)
    assert found.critical.b_2x.low < 100 < found.critical.b_2x.high


STEPS = tuple(range(0, 641, 20))


def test_an_optuna_study_is_read_with_its_intermediate_values(tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    place = tmp_path / "study.db"
    study = optuna.create_study(storage=f"sqlite:///{place}", study_name="sizes")
    for size in SIZES:
        for seed in range(3):
            study.enqueue_trial(settings_of(size, seed))
    for _ in range(9):
        trial = study.ask(
            {
                "batch_size": optuna.distributions.CategoricalDistribution(SIZES),
                "lr": optuna.distributions.FloatDistribution(0.01, 1),
                "seed": optuna.distributions.IntDistribution(0, 9),
            }
        )
        for step in STEPS:
            trial.report(loss_of(trial.params["batch_size"], trial.params["seed"], step), step)
        study.tell(trial, loss_of(trial.params["batch_size"], trial.params["seed"], STEPS[-1]))

    check(bs.analyze(str(place), target="metric_loss<=1"))


def test_tensorboard_event_files_are_read_with_the_settings_in_their_folders(
    tmp_path: Path,
) -> None:
    pytest.importorskip("tensorboard", reason='pip install "batchscope[tensorboard]"')
    from torch.utils.tensorboard import SummaryWriter

    for size in SIZES:
        for seed in range(3):
            writer = SummaryWriter(str(tmp_path / f"bs{size}_lr0.1_seed{seed}"))  # type: ignore[no-untyped-call]
            for step in STEPS:
                writer.add_scalar("val_loss", loss_of(size, seed, step), step)  # type: ignore[no-untyped-call]
            writer.close()  # type: ignore[no-untyped-call]

    check(bs.analyze(str(tmp_path), target="val_loss<=1"))


def test_a_chart_and_the_runs_as_wandb_exports_them_are_joined(tmp_path: Path) -> None:
    runs = [
        {"Name": f"run-{size}-{seed}", "State": "finished", **settings_of(size, seed)}
        for size in SIZES
        for seed in range(3)
    ]
    chart = {"Step": list(STEPS)}
    for run in runs:
        values = [loss_of(int(run["batch_size"]), int(run["seed"]), s) for s in STEPS]  # type: ignore[call-overload]
        for suffix in ("", "__MIN", "__MAX"):
            chart[f"{run['Name']} - val_loss{suffix}"] = values  # type: ignore[assignment]
    pl.DataFrame(runs).write_csv(tmp_path / "runs.csv")
    pl.DataFrame(chart).write_csv(tmp_path / "chart.csv")

    found = bs.analyze(
        str(tmp_path / "chart.csv"), runs=str(tmp_path / "runs.csv"), target="val_loss<=1"
    )

    check(found)


def test_an_mlflow_store_is_read_with_its_parameters(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is absent: pip install mlflow")
    place = tmp_path / "mlflow.db"
    mlflow.set_tracking_uri(f"sqlite:///{place}")
    for size in SIZES:
        for seed in range(3):
            with mlflow.start_run():
                mlflow.log_params(settings_of(size, seed))
                for step in STEPS:
                    mlflow.log_metric("val_loss", loss_of(size, seed, step), step=step)

    check(bs.analyze(str(place), target="val_loss<=1"))


def test_several_jobs_of_one_table_are_told_apart(tmp_path: Path) -> None:
    rows = [
        {"job": job, **settings_of(size, seed), "step": step, "val_loss": loss_of(size, seed, step)}
        for job in ("a", "b")
        for size in SIZES
        for seed in range(3)
        for step in STEPS
    ]
    path = tmp_path / "runs.csv"
    pl.DataFrame(rows).write_csv(path)

    found = bs.analyze_groups(str(path), "job", target="eval_loss<=1").jobs

    assert list(found) == ["a", "b"]
    for analysis in found.values():
        assert isinstance(analysis, bs.Analysis)
        check(analysis)
    with pytest.raises(bs.InvalidInput, match="several jobs"):
        bs.analyze(str(path))


def test_a_folder_without_event_files_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(bs.StoreError):
        bs.analyze(str(tmp_path))
