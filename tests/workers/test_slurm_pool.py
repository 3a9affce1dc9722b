"""Jobs as submitit carries them out on one machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import batchscope as bs
from batchscope.errors import InvalidInput, InvalidTask, WorkerDied
from batchscope.workers.pool import Answer
from batchscope.workers.slurm_pool import SlurmPool
from batchscope.workers.travel import pack_task

from ..conftest import make_task
from .functions import die_once, fail, tell_process


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[SlurmPool]:
    source = pack_task(make_task())
    with SlurmPool(
        source, cluster="local", folder=tmp_path / "jobs", threads=1, gpus=0, jobs=2
    ) as opened:
        yield opened


def wait_for(pool: SlurmPool) -> Answer:
    answer = pool.wait(60.0)
    assert answer is not None
    return answer


def test_a_job_answers_from_a_process_of_its_own(pool: SlurmPool) -> None:
    pool.submit("a", tell_process)
    assert pool.free == 1

    answer = wait_for(pool)

    assert (answer.label, answer.kind) == ("a", "result")
    assert isinstance(answer.value, int)
    assert pool.free == 2


def test_an_error_of_the_task_is_shown_as_anywhere(pool: SlurmPool) -> None:
    pool.submit("a", fail)

    error = wait_for(pool).value

    assert isinstance(error, InvalidTask)
    assert "ValueError: as it should" in str(error)


@pytest.mark.slow
def test_a_killed_job_is_said_to_be_one(pool: SlurmPool, tmp_path: Path) -> None:
    pool.submit("a", die_once, str(tmp_path))

    assert isinstance(wait_for(pool).value, WorkerDied)


def test_without_a_scheduler_the_executor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="jobs cannot be submitted"):
        SlurmPool(
            pack_task(make_task()), cluster="slurm", folder=tmp_path, threads=1, gpus=0, jobs=None
        )


def test_a_study_by_jobs_is_the_one_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"batch_sizes": [16], "learning_rates": [0.1], "seeds": 1, "jobs": 1}
    here = bs.study(make_task(), store="here.db", **options)

    there = bs.study(make_task(), store="there.db", executor="slurm:local", **options)

    assert there.trained == len(here.runs)
    assert {run.key for run in there.runs} == {run.key for run in here.runs}
