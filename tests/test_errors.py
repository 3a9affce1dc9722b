import pickle

from hypothesis import given
from hypothesis import strategies as st

from batchscope.errors import InvalidInput


def test_an_error_survives_the_way_between_processes() -> None:
    error = InvalidInput("what", "where", "expected", "do")

    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@given(*(st.text(min_size=1, max_size=2000) for _ in range(4)))
def test_a_message_is_at_most_12_lines_of_80_columns(
    what: str, where: str, expected: str, do: str
) -> None:
    lines = str(InvalidInput(what, where, expected, do)).splitlines()

    assert len(lines) <= 12
    assert max(map(len, lines)) <= 80
