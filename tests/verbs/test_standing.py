import json
from contextlib import closing
from pathlib import Path

import batchscope as bs
from batchscope.records import Progress
from batchscope.studies.claims import claim, renew
from batchscope.studies.store import Store

from ..command import run_command
from ..conftest import make_task


def test_a_study_is_seen_from_another_terminal(tmp_path: Path) -> None:
    place = f"{tmp_path}/batchscope.db"
    options = {"batch_sizes": [8], "learning_rates": [0.1], "jobs": 1, "store": place}
    done = bs.study(make_task(), seeds=2, **options)
    with closing(Store(place, create=False)) as store:
        assert claim(store, "some-run", label="batch 16, rate 0.1, seed 0")
        renew(store, {"some-run": Progress(share=0.25, loss=0.5)})

    standing = bs.status(place)
    shown = run_command("status", folder=tmp_path).stdout

    assert standing.study == done.id
    assert dict(standing.done) == {"finished": 2}
    assert [claim.label for claim in standing.running] == ["batch 16, rate 0.1, seed 0"]
    assert bs.table(standing)["state"].to_list() == ["done", "running", "left"]
    assert list(bs.figure(standing).data[0].x) == [0.25]
    assert "Done: 2 finished" in shown
    assert "25%" in shown
    assert "0.5" in shown
    assert (
        json.loads(run_command("status", "--json", folder=tmp_path).stdout)["running"][0]["share"]
        == 0.25
    )
    assert max(map(len, shown.splitlines())) <= 80


def test_a_store_that_is_not_there_is_not_made_by_asking(tmp_path: Path) -> None:
    done = run_command("status", "none.db", folder=tmp_path)

    assert done.returncode == 1
    assert not (tmp_path / "none.db").exists()
