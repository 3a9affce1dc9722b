import json
from pathlib import Path

import pytest

from batchscope.errors import InvalidInput
from batchscope.replications.reproducing import NAMES, find_study, list_studies, reproduce
from batchscope.reports.replication_page import report_index, report_replication

from ..command import run_command

KINDS = {"claim", "objection", "control"}


def test_every_study_is_whole() -> None:
    for study in list_studies():
        ids = [claim.id for claim in study.claims]
        assert len(set(ids)) == len(ids)
        assert set(study.kills) <= set(ids)
        assert set(study.only_at) <= set(ids)
        assert all(study.claims_at(scale) for scale in study.seeds)
        assert {claim.kind for claim in study.claims} <= KINDS
        assert min(study.seeds.values()) >= 5
        assert study.source
        assert study.data


def test_an_unknown_study_names_its_neighbour() -> None:
    with pytest.raises(InvalidInput, match="did you mean blobs"):
        find_study("blob")


@pytest.mark.slow
def test_the_critical_batch_size_grows_with_data_and_its_control_breaks_it(tmp_path: Path) -> None:
    store = str(tmp_path / "store.db")
    found = reproduce("critical-batch", store=store)
    control = reproduce("critical-batch", control=True, seeds=6, store=store)

    verdicts = {one.claim.id: one.verdict for one in found.judged}
    # With one half-life that other draws chose, twelve draws do not tell C3.
    assert verdicts == {"C1": "holds", "C2": "holds", "C3": "cannot tell"}
    assert {one.claim.id: one.verdict for one in control.judged}["C2"] != "holds"


def test_a_replication_twice_is_the_same(tmp_path: Path) -> None:
    store = str(tmp_path / "store.db")
    first, second = (reproduce("critical-batch", seeds=2, store=store) for _ in range(2))

    assert {**first.to_dict(), "seconds": 0} == {**second.to_dict(), "seconds": 0}


# A whole study, beside other tests.
@pytest.mark.timeout(900)
def test_the_noise_of_a_gradient_falls_as_the_root_of_the_batch(tmp_path: Path) -> None:
    found = reproduce("gradient-noise", store=str(tmp_path / "store.db"))

    verdicts = {one.claim.id: one.verdict for one in found.judged}
    assert {verdicts[name] for name in ("C1a", "C1b", "C1c")} == {"holds"}
    page = Path(report_replication(found, str(tmp_path / "page.html")))
    text = page.read_text()
    assert text.index(found.study.data) < text.index("<h1>")
    assert found.command in text
    index = Path(report_index([found], {"gradient-noise": str(page)}, str(tmp_path / "all.html")))
    assert 'href="page.html"' in index.read_text()


def test_two_seeds_tell_nothing_through_the_command(tmp_path: Path) -> None:
    done = run_command(*("reproduce", "critical-batch", "--seeds", "2", "--json"), folder=tmp_path)

    document = json.loads(done.stdout)
    assert {claim["verdict"] for claim in document["claims"]} == {"cannot tell"}
    keys = {"id", "name", "kind", "verdict", "estimate", "margin", "p_holds", "p_does_not_hold"}
    for claim in document["claims"]:
        assert keys | {"source", "unverified", "seeds", "cause"} <= set(claim)
        assert claim["estimate"] is not None
    assert Path(document["page"]).exists()


def test_the_list_names_every_study(tmp_path: Path) -> None:
    done = run_command("reproduce", "--list", folder=tmp_path)

    assert all(f"{name}: " in done.stdout for name in NAMES)
    assert run_command("reproduce", folder=tmp_path).returncode == 1
    one = run_command("reproduce", "blobs", "--list", folder=tmp_path)
    assert one.stdout.startswith("blobs: ")
    assert "image: " not in one.stdout
    assert run_command("reproduce", "blob", "--list", folder=tmp_path).returncode == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_distance_holds_at_equal_epochs_and_not_at_equal_updates(tmp_path: Path) -> None:
    store = str(tmp_path / "store.db")
    verdicts = {one.claim.id: one.verdict for one in reproduce("distance", store=store).judged}
    control = reproduce("distance", control=True, store=store)

    assert verdicts["C1"] == "holds"
    assert verdicts["O1"] == "holds"
    assert {one.claim.id: one.verdict for one in control.judged}["C1"] != "holds"
