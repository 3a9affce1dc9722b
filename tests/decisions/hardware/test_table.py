from pathlib import Path

import pytest

from batchscope.decisions.hardware.table import read_devices
from batchscope.errors import InvalidInput

MINE = """
[MINE]
memory_gb = 12
bandwidth_gb_s = 100
float32_tflops = 2
device_hour = 0
"""


def write(folder: Path, text: str) -> str:
    path = folder / "devices.toml"
    path.write_text(text)
    return str(path)


def test_a_users_device_joins_the_built_in_ones_or_takes_the_place_of_one(tmp_path: Path) -> None:
    devices = {d.name: d for d in read_devices(write(tmp_path, MINE + MINE.replace("MINE", "T4")))}

    assert devices["MINE"].memory == 12e9
    assert devices["MINE"].arithmetic == {"float32": 2e12}
    assert devices["MINE"].device_hour == 0
    assert devices["T4"].bandwidth == 100e9
    assert devices["A100-80GB"].device_hour is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINE.replace("memory_gb = 12", "memory = 12"), "did you mean memory_gb"),
        (MINE.replace("memory_gb = 12", ""), "memory_gb is missing"),
        (MINE.replace("float32_tflops = 2", ""), "float32_tflops"),
        (MINE.replace("12", '"12GB"'), "memory_gb is '12GB'"),
        (MINE.replace("12", "-1"), "memory_gb is -1"),
        (MINE.replace("12", "1" + 400 * "0"), "and below 1e+15"),
        (MINE.replace("12", "1e308"), "memory_gb is 1e+308"),
        (MINE.replace("float32_tflops", "tf32_tflops"), "float32_tflops"),
        (MINE.replace("[MINE]", "[MINE"), "no TOML"),
        ("mine = 3", "no section"),
    ],
)
def test_what_no_device_has_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_devices(write(tmp_path, text))
    assert said in " ".join(map(str, caught.value.args))


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_devices(str(tmp_path / "none.toml"))
    assert "cannot be read" in " ".join(map(str, caught.value.args))


def test_a_price_of_a_device_that_is_not_known_names_the_nearest() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_devices(prices={"A100-80G": 1.8})
    assert "did you mean A100" in " ".join(map(str, caught.value.args))
