from pathlib import Path

import pytest
import torch

from batchscope.errors import InvalidInput
from batchscope.estimate import Interval, NotIdentified
from batchscope.instruments.energy import (
    RaplCounter,
    StatedPower,
    find_counter,
    measure_energy,
)

from ..conftest import make_task


def write_zone(folder: Path, name: str, joules: float) -> Path:
    zone = folder / name
    zone.mkdir(exist_ok=True)
    (zone / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
    (zone / "max_energy_range_uj").write_text("1000000000\n")
    return zone


def test_rapl_adds_packages_and_follows_a_counter_that_wraps(tmp_path: Path) -> None:
    write_zone(tmp_path, "intel-rapl:0", 990)
    write_zone(tmp_path, "intel-rapl:1", 10)
    write_zone(tmp_path, "intel-rapl:0:0", 500)  # a part of the first, counted there already
    counter = RaplCounter(tmp_path)

    write_zone(tmp_path, "intel-rapl:0", 995)
    write_zone(tmp_path, "intel-rapl:1", 12)
    first = counter.read()
    write_zone(tmp_path, "intel-rapl:0", 5)

    assert first == pytest.approx(7)
    assert counter.read() == pytest.approx(7 + 10)
    assert "2 packages" in counter.words


def test_without_zones_there_is_no_rapl(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no RAPL zone"):
        RaplCounter(tmp_path)


def test_a_stated_power_gives_an_estimate_that_says_so() -> None:
    found = measure_energy(make_task(), 16, "float32", "cpu", 65.0)

    assert isinstance(found.watts, Interval)
    assert found.watts.value > 0
    assert isinstance(found.joules_per_step, Interval)
    assert isinstance(found.joules_per_example, Interval)
    assert found.joules_per_example.value == pytest.approx(found.joules_per_step.value / 16)
    if not found.is_measured:
        assert "65 W" in found.source
        assert "an estimate" in repr(found)


def test_where_nothing_counts_the_answer_is_that_and_never_zero() -> None:
    if find_counter(torch.device("cpu"), None) is not None:
        pytest.skip("this machine counts energy")

    found = measure_energy(make_task(), 16, "float32", "cpu", None)

    assert isinstance(found.joules_per_step, NotIdentified)
    assert "--watts" in found.joules_per_step.remedy


def test_a_power_of_zero_is_refused() -> None:
    with pytest.raises(InvalidInput, match="a power of 0"):
        StatedPower(0.0)
