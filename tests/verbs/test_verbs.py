import threading
from contextlib import closing
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import polars as pl
import pytest
import torch

import batchscope as bs
from batchscope.studies.cost import count_examples
from batchscope.studies.progress import Unwatched
from batchscope.studies.store import Store
from batchscope.verbs.recommending import read_recommendation

from ..conftest import make_staying_task, make_task


class Listener(Unwatched):
    """Keeps what a study says."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.trained: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def end(self, label: str, *, runs: int = 0) -> None:
        if label.startswith("batch"):
            self.trained.append(label)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("verbs") / "runs.db")


@pytest.fixture(scope="module")
def study(place: str) -> bs.Study:
    return bs.study(make_task(), batch_sizes=[8, 16], store=place, jobs=1)


def test_a_study_re_tunes_the_rate_and_repeats_the_best_with_paired_seeds(
    study: bs.Study,
) -> None:
    for size in (8, 16):
        runs = [r.configuration for r in study.runs if r.configuration.batch_size == size]
        assert len({run.learning_rate for run in runs}) >= 4
        seeds = [
            {r.seed for r in runs if r.learning_rate == lr}
            for lr in {r.learning_rate for r in runs}
        ]
        assert {0, 1, 2} in seeds
        assert all(found in ({0}, {0, 1, 2}) for found in seeds)


def test_a_study_again_trains_nothing(study: bs.Study, place: str) -> None:
    listener = Listener()

    again = bs.study(make_task(), batch_sizes=[8, 16], store=place, jobs=1, watcher=listener)

    assert again.trained == 0
    assert again.id == study.id
    assert listener.trained == []


def test_every_result_is_frozen_has_a_table_a_figure_and_json(study: bs.Study, place: str) -> None:
    results = [
        bs.profile(make_task(), batch_sizes=[8, 16], store=place),
        study,
        bs.analyze(study),
        read_recommendation(study),
    ]

    for result in results:
        with pytest.raises(FrozenInstanceError):
            result.task = "other"  # type: ignore[misc]
        assert isinstance(bs.table(result), pl.DataFrame)
        assert len(bs.table(result)) >= 2
        assert isinstance(bs.figure(result), go.Figure)
        assert result.to_dict()["task"] == "task"
        assert len(repr(result)) < 2000


def test_before_training_one_line_says_how_many_how_long_and_how_to_cap_it(
    tmp_path: Path,
) -> None:
    listener = Listener()

    bs.study(
        make_staying_task(),
        batch_sizes=[8],
        effort="quick",
        store=f"{tmp_path}/r.db",
        watcher=listener,
    )

    (line,) = [line for line in listener.lines if line.startswith("About")]
    assert "runs of task at 1 batch size, about" in line
    # It is quick already.
    assert "To cap it: a smaller --budget, or fewer --batch-sizes" in line


def test_a_task_that_cannot_travel_is_trained_in_this_process(tmp_path: Path) -> None:
    lock = threading.Lock()
    listener = Listener()
    task = make_task(loss=lambda model, batch: _locked(lock, model, batch))

    found = bs.study(
        task, batch_sizes=[8], effort="quick", store=f"{tmp_path}/r.db", watcher=listener
    )

    assert "task.loss -> lock is a lock" in listener.lines[0]
    assert found.trained >= 4


def _locked(lock, model, batch):

    with lock:
        return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])


def test_an_earlier_version_counts_only_where_it_is_asked_for(tmp_path: Path) -> None:
    place = f"{tmp_path}/runs.db"
    options = {"batch_sizes": [8], "effort": "quick", "store": place, "jobs": 1}
    first = bs.study(make_staying_task(), **options)
    changed = make_staying_task(
        metrics={"error": lambda model, batch: bs.metrics.error_rate(model, batch)}
    )

    reused = bs.study(changed, reuse_changed=True, **options)
    plain = bs.study(changed, **options)

    assert reused.trained == 0
    assert {run.key for run in reused.runs} == {run.key for run in first.runs}
    assert plain.trained == len(first.runs)
    assert not {run.key for run in plain.runs} & {run.key for run in first.runs}
    assert bs.analyze(plain).sizes[0].seeds == 2


def test_what_was_spent_counts_every_example_trained_timed_or_tried_together(
    study: bs.Study, place: str
) -> None:
    found = read_recommendation(study)

    store = Store(place, create=False)
    timed = sum(m.examples for m in store.read_measurements(store.list_studies()[0]["fingerprint"]))
    plan = store.read_plan(study.id)
    store.close()
    assert plan is not None
    trained = sum(run.trajectory.last("examples") for run in study.runs)
    assert found.spent.examples == timed + trained + plan["trial_examples"]
    assert found.spent.examples == study.examples
    assert found.spent.runs == len(study.runs)
    # Apart: at each look all of its data, of which there are few.
    a_look = sum(map(len, make_task().datasets.values()))
    assert found.spent.evaluated == a_look * sum(len(run.trajectory) for run in study.runs)


def test_the_choice_is_timed_at_two_times_and_never_again(tmp_path: Path) -> None:
    place = f"{tmp_path}/runs.db"
    options: dict[str, Any] = {"batch_sizes": [8, 16], "effort": "quick", "store": place, "jobs": 1}
    task = make_staying_task(budget=bs.epochs(10))

    first = bs.recommend(task, target="train_loss<=0.6", **options)
    again = bs.recommend(task, target="train_loss<=0.6", **options)

    with closing(Store(place, create=False)) as store:
        row = store.find_study(None)
        measured = store.read_measurements(row["fingerprint"])
        runs = store.read_study(row["id"])
    noted = row["plan"]["timed_again"]
    assert [[step.batch_size for step in one.steps] for one in measured] == [[8, 16]]
    assert noted["batch_size"] in (8, 16)
    assert len(noted["seconds"]) >= 2
    assert (again.predicted, again.spent) == (first.predicted, first.spent)
    # All that was trained or timed is paid for.
    trained = sum(map(count_examples, runs)) + row["plan"].get("trial_examples", 0)
    assert first.spent.examples == trained + measured[0].examples + noted["examples"]


def test_a_target_on_training_loss_is_read_on_training_data(tmp_path: Path) -> None:
    found = bs.recommend(
        make_staying_task(budget=bs.epochs(10)),
        target="train_loss<=0.6",
        batch_sizes=[8, 16],
        effort="quick",
        store=f"{tmp_path}/runs.db",
        jobs=1,
    )

    assert found.target == "train_loss<=0.6"
    assert isinstance(found.predicted.steps, bs.Interval)


def test_a_study_in_postgresql_answers_as_one_in_a_file(study: bs.Study, postgresql: str) -> None:
    shared = bs.study(make_task(), batch_sizes=[8, 16], store=postgresql, jobs=2)

    assert [run.key for run in shared.runs] == [run.key for run in study.runs]
    assert [run.trajectory.last("val_loss") for run in shared.runs] == [
        run.trajectory.last("val_loss") for run in study.runs
    ]
    assert bs.analyze(postgresql).study == shared.id


def test_a_budget_of_seconds_goes_through(tmp_path: Path) -> None:
    found = bs.study(
        make_staying_task(),
        batch_sizes=[8],
        budget=bs.seconds(0.1),
        effort="quick",
        store=f"{tmp_path}/r.db",
        jobs=1,
    )

    assert all(run.steps > 0 for run in found.runs)
    assert bs.analyze(found).sizes[0].batch_size == 8


def test_what_the_store_has_already_is_said_before_training_goes_on(tmp_path: Path) -> None:
    options = {"batch_sizes": [8], "effort": "quick", "store": f"{tmp_path}/r.db", "jobs": 1}
    first = bs.study(make_staying_task(), seeds=1, **options)
    listener = Listener()

    bs.study(make_staying_task(), seeds=2, watcher=listener, **options)

    (line,) = [line for line in listener.lines if line.startswith("About 1 run of")]
    assert f"{len(first.runs)} are in the store" in line


def test_seeds_follow_from_the_difference_that_is_to_be_seen(tmp_path: Path) -> None:
    listener = Listener()

    found = bs.study(
        make_staying_task(),
        batch_sizes=[8, 16],
        effort="quick",
        detect=0.05,
        objective="quality",
        store=f"{tmp_path}/r.db",
        jobs=1,
        watcher=listener,
    )

    (line,) = [line for line in listener.lines if line.startswith("Seeds deviate by")]
    wanted = int(line.split(": ")[1].split()[0])
    sizes = bs.analyze(found).sizes
    assert [size.seeds for size in sizes] == [max(2, wanted)] * 2
    assert "a difference of 0.05 between batch sizes with a power of 80%" in line


def test_options_of_a_table_are_refused_on_a_store(study: bs.Study) -> None:
    with pytest.raises(bs.InvalidInput, match=r"(?s)not\s+a\s+table.*--map, --unit"):
        bs.analyze(study, mapping={"batch_size": "bs"}, unit="tokens")


def test_one_worker_leaves_the_cores_of_other_programs_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchscope.verbs.preparing.count_cores", lambda: 4)
    monkeypatch.setattr("batchscope.verbs.preparing.count_free_cores", lambda: 3)

    found = bs.study(
        make_task(), batch_sizes=[8], learning_rates=[0.1], store=str(tmp_path / "runs.db"), jobs=1
    )

    assert {run.provenance.threads for run in found.runs} == {3}
