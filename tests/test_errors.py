import pickle

from hypothesis import given
from hypothesis import strategies as st

from batchscope.errors import InvalidInput, suggest


def test_an_error_survives_the_way_between_processes() -> None:
    error = InvalidInput("what", "where", "expected", "do")

    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_what_begins_alike_is_suggested_before_what_is_spelt_alike() -> None:
    known = ["A10", "A100-40GB", "A100-80GB", "H100"]

    assert suggest("A100", known) == "did you mean A100-40GB or A100-80GB?"
    assert suggest("H10", known) == "did you mean H100?"
    assert suggest("TPU", known, "name another") == "name another"


@given(*(st.text(min_size=1, max_size=2000) for _ in range(4)))
def test_a_message_is_at_most_12_lines_of_80_columns(
    what: str, where: str, expected: str, do: str
) -> None:
    lines = str(InvalidInput(what, where, expected, do)).splitlines()

    assert len(lines) <= 12
    assert max(map(len, lines)) <= 80
