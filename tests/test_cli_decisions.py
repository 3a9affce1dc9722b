import json
from pathlib import Path

import pytest

from batchscope.cli.terms_options import read_watts
from batchscope.errors import InvalidInput

from .command import run_command


def test_the_advisor_goes_through_the_shell(tmp_path: Path) -> None:
    def advise(*arguments: str) -> str:
        done = run_command("advise", *arguments, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = advise("ask", "--batch-sizes", "32..128", "--default", "64", "--max-epochs", "50")
    assert first.startswith("trial 1: batch size 64\n")
    advise("timed", "--batch-size", "128", "--cost-per-epoch", "2")
    advise("tell", "1", "--cost", "40", "--epochs", "10", "--reached", "--progress", "0.5:3")
    advise("record", "--batch-size", "32", "--cost", "90", "--epochs", "9", "--reached")
    assert json.loads(advise("ask", "--json"))["batch_size"] in {64, 128}
    # A limit holds until another is said.
    assert json.loads(advise("ask", "--max-cost", "50", "--json"))["stop_cost"] <= 50
    assert json.loads(advise("ask", "--json"))["stop_cost"] <= 50

    again = run_command(
        *("advise", "tell", "1", "--cost", "1", "--epochs", "1", "--not-reached"), folder=tmp_path
    )
    assert again.returncode == 1
    assert "told of before" in again.stderr


def test_a_first_question_without_settings_says_what_is_missing(tmp_path: Path) -> None:
    done = run_command("advise", "ask", folder=tmp_path)

    assert done.returncode == 1
    assert "--batch-sizes is not said" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_laws_fit_80_columns_and_say_that_they_extrapolate(tmp_path: Path) -> None:
    done = run_command("laws", "--parameters", "1e9", "--tokens", "2e11", folder=tmp_path)

    assert done.returncode == 0
    assert "An extrapolation" in done.stdout
    assert "doublings" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_measurement_that_is_none_is_refused(tmp_path: Path) -> None:
    done = run_command(
        *("laws", "--parameters", "1e9", "--tokens", "2e10", "--measured", "1e8"), folder=tmp_path
    )

    assert done.returncode == 1
    assert "'1e8' is no measurement" in done.stderr


@pytest.mark.parametrize("wrong", ["much", "8=", "8=a", "a=8", "8=100,8=200", "8=100,16", "="])
def test_a_power_that_is_none_is_refused_by_its_own_words(wrong: str) -> None:
    with pytest.raises(InvalidInput, match="32=180,512=290") as caught:
        read_watts(wrong)

    assert repr(wrong) in caught.value.args[0]
    assert read_watts("32=180,512=290") == {32: 180.0, 512: 290.0}


def test_devices_are_compared_in_80_columns_and_guesses_say_so(tmp_path: Path) -> None:
    words = ("devices", "digits-mlp", "--price", "L4=0.7,A100-80GB=1.8", "--deadline", "2h")
    words += ("--carbon", "400")
    done, document = (run_command(*words, *more, folder=tmp_path) for more in ((), ("--json",)))

    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "is the cheapest" in done.stdout
    assert "guesses" in done.stdout
    assert "g CO2" in done.stdout
    found = json.loads(document.stdout)
    assert found["goal"] == "through one epoch"
    assert {"A100-80GB", "H100", "T4"} <= {one["device"] for one in found["devices"]}
    keys = {"fits", "micro_batch", "accumulation", "step_seconds", "seconds", "usage", "source"}
    assert keys <= set(found["devices"][0])


def test_the_table_of_devices_that_is_printed_can_be_given_back(tmp_path: Path) -> None:
    table = run_command("devices", "--example", folder=tmp_path)
    (tmp_path / "mine.toml").write_text(table.stdout.replace("[L4]", "[MINE]"))

    done = run_command(
        *("devices", "digits-mlp", "--table", "mine.toml", "--price", "MINE=1", "--json"),
        folder=tmp_path,
    )

    assert json.loads(done.stdout)["cheapest"] == "MINE"


def test_prices_and_timings_that_are_none_are_refused(tmp_path: Path) -> None:
    for words, said in (
        (("--price", "L4"), "'L4' is no price"),
        (("--price", "L40=3"), "did you mean L40S"),
        (("--measured", "L4:64"), "'L4:64' is no timing"),
    ):
        done = run_command("devices", "digits-mlp", *words, folder=tmp_path)
        assert done.returncode == 1
        assert said in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("reproduce", "blobs", "--seeds", "0"), "0 seeds"),
        (("reproduce", "blobs", "--first-seed", "-1"), "seeds from -1 on"),
        (("cost", "--runs", "0"), "runs of 0"),
    ],
)
def test_a_number_that_makes_no_sense_is_a_value_not_an_option_that_there_is_not(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = run_command(*words, folder=tmp_path)

    assert done.returncode == 1
    assert said in done.stderr


def test_all_studies_at_once_have_no_original_data(tmp_path: Path) -> None:
    done = run_command("reproduce", "--all", "--scale", "paper", "--data", ".", folder=tmp_path)

    assert done.returncode == 1
    assert "each has data of its own" in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []
