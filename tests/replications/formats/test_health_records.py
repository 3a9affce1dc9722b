from pathlib import Path

import pytest

from batchscope.errors import InvalidInput
from batchscope.replications.formats.health_records import read_health_records

EVENTS = """id,ICD_CODE,ICD_TYPE,AgeAtICD
a,250.00,ICD9CM,50
a,250.00,ICD9CM,51
b,250.0,9,40
b,401.9,9,41
c,E11,10,30
c,999.99,9,30
d,401.9,9,20
"""
MAP = """ICD,Flag,PheCode
250.00,9,250.2
250.0,9,250
401.9,9,401.1
E11,10,250.2
"""
PEOPLE = "id,sex\na,F\nb,M\nc,female\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "events.csv").write_text("\ufeff" + EVENTS, encoding="utf-8")
    (tmp_path / "phecodes.csv").write_text(MAP)
    (tmp_path / "people.csv").write_text(PEOPLE)
    return tmp_path


def test_codes_are_text_and_said_twice_count_once(folder: Path) -> None:
    table, sex, skips = read_health_records(folder)

    # The PheCodes are 250, 250.2 and 401.1; 250.00 and 250.0 are two codes, E11 is of ICD-10.
    assert table.tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert sex.tolist() == [0, 1, 0]
    said = " ".join(skips.notes)
    assert "without a PheCode, such as events.csv:7 (999.99)" in said
    assert "people without a sex, such as events.csv:8" in said


def test_a_line_without_an_end_is_left_out_and_not_held(folder: Path) -> None:
    with (folder / "events.csv").open("a") as file:
        file.write("a," + "9" * 50_000_000 + ",9,50\nb,401.9,9,42\n")

    _, _, skips = read_health_records(folder)

    assert any("a line of over 10,000 bytes" in note for note in skips.notes)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("people.csv", "id,sex\na,F\nb,F\n", "everybody has one sex"),
        ("people.csv", "id,age\na,5\n", "no column 'sex'"),
        ("events.csv", "", "no column 'id'"),
        ("phecodes.csv", "ICD,Flag\n250,9\n", "no column 'phecode'"),
        ("phecodes.csv", "ICD,Flag,PheCode\n250,9,\n", "0 PheCodes"),
        ("events.csv", EVENTS + 'a,"250.00,9,50\n', "line"),
        ("events.csv", "id,ICD_CODE,ICD_TYPE\na,1.0,9\nb,2.0,9\n", "no event of these people"),
    ],
)
def test_a_file_that_lacks_what_is_needed_is_refused(
    folder: Path, name: str, content: str, said: str
) -> None:
    (folder / name).write_text(content)

    with pytest.raises(InvalidInput) as caught:
        read_health_records(folder)
    assert said in " ".join(map(str, caught.value.args))


def test_somebody_of_two_sexes_is_left_out(folder: Path) -> None:
    (folder / "people.csv").write_text(PEOPLE + "a,M\nd,unknown\n")

    table, _, skips = read_health_records(folder)

    assert len(table) == 2
    assert "Left out 2: people whose sex is not one" in skips.notes[0]


def test_a_code_may_have_several_phecodes_or_none(folder: Path) -> None:
    (folder / "phecodes.csv").write_text(MAP + "401.9,9,401\n999.99,9,\n")

    table, _, skips = read_health_records(folder)

    # 250, 250.2, 401 and 401.1: the person with 401.9 has both of its.
    assert table[1].tolist() == [1, 0, 1, 1]
    assert any("mapped to nothing" in note for note in skips.notes)


def test_a_version_that_a_spreadsheet_made_a_fraction_of_is_the_same(folder: Path) -> None:
    whole, _, _ = read_health_records(folder)
    (folder / "events.csv").write_text(EVENTS.replace(",9,", ",9.0,"))

    table, _, _ = read_health_records(folder)

    assert table.tolist() == whole.tolist()


def test_what_is_left_out_is_shown_where_it_stands_cut_and_without_commands_to_a_terminal(
    folder: Path,
) -> None:
    long = "a," + "9" * 20_000 + ",9,50\n"
    (folder / "events.csv").write_text(EVENTS + long + "a,\x1b[31m" + "x" * 5_000 + ",9,1\n")

    _, _, skips = read_health_records(folder)

    (said,) = (note for note in skips.notes if "without a PheCode" in note)
    assert "events.csv:10 (\N{REPLACEMENT CHARACTER}[31mxxx" in said
    assert len(said) < 200
