import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscope.decisions.memory import MemoryNeed
from batchscope.errors import CannotTell


def make_need(at_most: int, *, can_split: bool = True) -> MemoryNeed:
    return MemoryNeed(
        limit_bytes=2**30,
        fixed_bytes=2**20,
        bytes_per_example=2**14,
        at_most=at_most,
        can_split=can_split,
    )


@given(batch_size=st.integers(1, 10_000), at_most=st.integers(1, 10_000))
def test_the_parts_of_a_batch_fit_hold_it_all_and_are_the_fewest(
    batch_size: int, at_most: int
) -> None:
    size, parts = make_need(at_most).split(batch_size)

    assert size <= at_most
    assert size * parts >= batch_size
    assert (parts - 1) * at_most < batch_size
    assert size * parts - batch_size < parts


def test_what_cannot_be_split_is_left_out_and_where_nothing_is_left_the_largest_is_named() -> None:
    need = make_need(50, can_split=False)

    assert need.leave_out([8, 32, 128], task="t") == [8, 32]
    assert make_need(50).leave_out([8, 32, 128], task="t") == [8, 32, 128]
    with pytest.raises(CannotTell, match=r"(?s)50 examples at a time\s+fit in 1,020 MiB"):
        need.leave_out([64, 128], task="t")


def test_it_says_what_a_part_takes() -> None:
    assert "at once" in make_need(50).explain(50)
    # 1 MiB and 32 examples of 16 KiB each.
    said = make_need(50).explain(64)
    assert "over 2 parts of at most 32" in said
    assert "1.50 MiB of 1,020 MiB" in said
