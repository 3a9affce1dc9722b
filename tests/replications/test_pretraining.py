import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from batchscope.errors import InvalidInput
from batchscope.findings.to_target import StepsToTarget
from batchscope.gallery.stdlib_lm import cut_windows
from batchscope.replications import pretraining
from batchscope.replications.pretraining import choose_setting, make_task, measure_growth

from .labs import make_lab

SIZES = (8, 16, 32, 64, 128, 256)


def steps_of(least: float, critical: float) -> list[StepsToTarget]:
    return [
        StepsToTarget(batch_size=size, seed=0, steps=least * (1 + critical / size))
        for size in SIZES
    ]


def test_windows_are_spread_over_the_text_and_do_not_overlap() -> None:
    windows = cut_windows(bytes(range(100)), 10, 7)

    assert windows.shape == (10, 7)
    assert windows[0].tolist() == list(range(7))
    assert windows[:, 0].diff().min() >= 7
    assert windows.max() >= 80


@pytest.mark.parametrize("ratio", [1.0, 2.0, 4.0])
def test_the_growth_with_data_is_found_where_it_is_planted(ratio: float) -> None:
    little, much = steps_of(100.0, 20.0), steps_of(400.0, 20.0 * ratio)
    # Examples at the smallest batch.
    data = np.log(much[0].steps / little[0].steps)

    slope = pretraining._slope(pretraining._fit(little), pretraining._fit(much), along=None)

    # The grid of the fit is a few percent wide in B_2x.
    assert slope.low == slope.high
    assert slope.low == pytest.approx(np.log(ratio) / data, abs=0.03)


def test_a_size_that_never_got_there_does_not_move_the_curve_of_the_others() -> None:
    steps = steps_of(100.0, 20.0)
    missed = [*steps[:-1], replace(steps[-1], is_censored=True, steps=50.0)]

    whole, censored = pretraining._fit(steps), pretraining._fit(missed)

    assert whole is not None
    assert censored is not None
    # The others lie on the curve without noise; only draws of what it would have taken differ.
    assert censored.critical == pytest.approx(whole.critical, abs=0.01)
    assert pretraining._fit([replace(steps[0], is_censored=True), *steps[1:]]) is None
    assert pretraining._slope(None, whole, along=1.0) == pretraining.ANYTHING


def test_the_control_keeps_the_bytes_and_nothing_of_their_order(tmp_path: Path) -> None:
    setting = replace(choose_setting(make_lab(tmp_path))[0], train=64, judged=8)
    plain, shuffled = (make_task(setting, 8, is_shuffled=is_so) for is_so in (False, True))

    one, other = (
        torch.cat([task.datasets[part][:][0] for part in ("train", "val", "test")])
        for task in (plain, shuffled)
    )
    assert one.shape == other.shape == (80, 33)
    assert not one.equal(other)
    assert one.flatten().sort().values.equal(other.flatten().sort().values)


def test_texts_of_the_paper_are_cut_into_windows_or_refused(tmp_path: Path) -> None:
    lab = replace(make_lab(tmp_path, is_quick=False), data=tmp_path)
    lines = [json.dumps({"text": f"A text, number {number}. " * 40}) for number in range(700)]
    (tmp_path / "c4-train.00000-of-01024.json").write_text("\n".join(lines))

    setting, left_out = choose_setting(lab)

    assert left_out == ()
    task = make_task(setting, setting.widths[0])
    assert (setting.window, len(task.datasets["val"])) == (128, setting.judged)
    with pytest.raises(InvalidInput) as caught:
        choose_setting(replace(lab, limit=3))
    assert "bytes of text" in caught.value.args[0]


@pytest.mark.slow
def test_two_widths_go_through_ordinary_studies(tmp_path: Path) -> None:
    lab = make_lab(tmp_path, is_quick=False, count=1)
    setting = replace(
        choose_setting(lab)[0], widths=(4, 8), batch_sizes=(8, 16, 32), train=256, judged=32
    )

    grown = measure_growth(lab, setting)

    assert len(grown.by_data) == len(grown.by_size) == 1
    assert "width 8" in grown.note
    assert {line.name for line in grown.figure.lines} == {"width 4", "width 8"}
