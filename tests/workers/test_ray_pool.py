"""A real cluster of two nodes on loopback."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import batchscope as bs
from batchscope.errors import InvalidInput, InvalidTask, WorkerDied
from batchscope.studies.progress import Unwatched
from batchscope.workers.pool import Answer
from batchscope.workers.ray_pool import RayPool
from batchscope.workers.travel import pack_task

from ..conftest import make_task
from .functions import die_once, fail, tell_process, wait_for_file

_MEMORY = 200 * 2**20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": _MEMORY}
    )
    made.add_node(num_cpus=1, object_store_memory=_MEMORY)
    yield made
    made.shutdown()


@pytest.fixture
def pool(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayPool]:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    source = pack_task(make_task())
    with RayPool(source, address="auto", threads=1, gpus=0, jobs=None) as opened:
        yield opened


def wait_for(pool: RayPool, *kinds: str) -> Answer:
    while True:
        answer = pool.wait(1.0)
        if answer is not None:
            assert answer.kind in (*kinds, "progress"), answer
            if answer.kind in kinds:
                return answer


def test_calls_are_carried_out_on_all_nodes_and_progress_comes_home(pool: RayPool) -> None:
    assert pool.free == 2
    pool.submit("a", tell_process)

    assert wait_for(pool, "progress") == Answer("a", "progress", "here")
    assert isinstance(wait_for(pool, "result").value, int)


def test_an_error_of_the_task_is_shown_as_anywhere(pool: RayPool) -> None:
    pool.submit("a", fail)

    error = wait_for(pool, "error").value
    assert isinstance(error, InvalidTask)
    assert "ValueError: as it should" in str(error)


def test_a_killed_process_is_said_to_be_one(pool: RayPool, tmp_path: Path) -> None:
    pool.submit("a", die_once, str(tmp_path))

    assert isinstance(wait_for(pool, "error").value, WorkerDied)


def test_a_call_whose_node_is_lost_begins_again_elsewhere(
    pool: RayPool, cluster: Any, tmp_path: Path
) -> None:
    lost = cluster.add_node(num_cpus=1, object_store_memory=_MEMORY, resources={"lost": 1})
    cluster.wait_for_nodes()
    flag = tmp_path / "go"
    for label in ("a", "b", "c"):
        pool.submit(label, wait_for_file, str(flag))
    begun = {wait_for(pool, "progress").label for _ in range(3)}
    assert begun == {"a", "b", "c"}

    cluster.remove_node(lost, allow_graceful=False)
    flag.touch()

    answers = [wait_for(pool, "result", "error") for _ in range(3)]
    assert {answer.label: answer.value for answer in answers} == dict.fromkeys("abc", "done")


def test_an_address_where_nothing_answers_is_refused_at_once() -> None:
    with pytest.raises(InvalidInput, match="no Ray cluster answers at ray://127.0.0.1:1"):
        RayPool(pack_task(make_task()), address="ray://127.0.0.1:1", threads=1, gpus=0, jobs=None)


def test_a_study_on_the_cluster_is_the_one_on_this_machine(pool: RayPool, tmp_path: Path) -> None:
    options = {"batch_sizes": [8, 16], "learning_rates": [0.1, 0.3], "seeds": 1}
    here = bs.study(make_task(), store=f"{tmp_path}/here.db", jobs=1, **options)

    there = bs.study(make_task(), store=f"{tmp_path}/there.db", executor="ray", **options)

    assert there.trained == len(here.runs)
    assert {run.key for run in there.runs} == {run.key for run in here.runs}
    for one, other in zip(here.runs, there.runs, strict=True):
        assert one.trajectory.last("train_loss") == pytest.approx(
            other.trajectory.last("train_loss"), rel=1e-4
        )


class LoseNodes(Unwatched):
    """Takes a node away while its run goes on, and brings another."""

    def __init__(self, cluster: Any, times: int) -> None:
        self._cluster = cluster
        self._left = times
        self._node = self._add()

    def advance(self, label: str, amount: float, *, loss: float | None = None) -> None:
        if self._left and label.startswith("batch"):
            self._left -= 1
            self._cluster.remove_node(self._node, allow_graceful=False)
            self._node = self._add()

    def remove(self) -> None:
        self._cluster.remove_node(self._node, allow_graceful=False)
        assert self._left == 0

    def _add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, object_store_memory=_MEMORY)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_whose_nodes_are_killed_is_the_undisturbed_one(
    pool: RayPool, cluster: Any, tmp_path: Path
) -> None:
    times = 20
    options = {"batch_sizes": [2, 4], "learning_rates": [0.1, 0.2], "seeds": 1 + times // 4}
    task = make_task(budget=bs.epochs(40))
    here = bs.study(task, store=f"{tmp_path}/here.db", jobs=1, **options)
    watcher = LoseNodes(cluster, times)

    there = bs.study(task, store=f"{tmp_path}/there.db", executor="ray", watcher=watcher, **options)

    watcher.remove()
    assert [run.key for run in there.runs] == [run.key for run in here.runs]
    assert there.trained == len(here.runs)
    for one, other in zip(here.runs, there.runs, strict=True):
        assert one.trajectory.last("train_loss") == pytest.approx(
            other.trajectory.last("train_loss"), rel=1e-3
        )
