from pathlib import Path

import pytest

from batchscope.replications.studies import distance

from ..labs import make_lab


def test_what_is_read_of_the_layers_is_of_both_batch_sizes_in_the_same_bins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(distance, "_EPOCHS", 1)
    task = distance.make_task(distance.read_material(make_lab(tmp_path)))

    found = distance._read_layers(task, 0, report=print)

    assert found is not None
    assert found["apart"]["batch size 32"] > found["apart"]["batch size 1024"]
    assert set(found["densities"]) == {"initial", "batch size 32", "batch size 1024"}
    width = found["middles"][1] - found["middles"][0]
    for heights in found["densities"].values():
        assert sum(heights) * width == pytest.approx(1)


def test_of_a_run_that_diverged_no_layers_are_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(distance, "_RATE", 1e6)
    task = distance.make_task(distance.read_material(make_lab(tmp_path)))

    assert distance._read_layers(task, 0, report=print) is None
