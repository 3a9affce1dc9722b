import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscope.decisions.memory import MemoryNeed
from batchscope.errors import CannotTell
from batchscope.estimate import Interval, NotIdentified


def make_need(at_most: int, *, can_split: bool = True, devices: int = 1) -> MemoryNeed:
    return MemoryNeed(
        limit_bytes=2**30,
        fixed_bytes=2**20,
        bytes_per_example=2**14,
        at_most=at_most,
        can_split=can_split,
        devices=devices,
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
    assert "at once" in make_need(50).explain(50, None)
    # 1 MiB and 32 examples of 16 KiB each.
    said = make_need(50).explain(64, Interval(value=1.2, low=1.1, high=1.3, unit=""))
    assert "over 2 parts of at most 32" in said
    assert "1.50 MiB of 1,020 MiB" in said
    assert "takes 1.200 (1.100 to 1.300) times" in said
    assert "Shared by 2 devices it fits without that." in said
    unknown = NotIdentified(reason="few sizes", remedy="more of them", unit="", low=1.0, high=2.0)
    said = make_need(50).explain(64, unknown)
    assert "at most 2 times as long, and how long is not known: few sizes; it takes more" in said


def test_devices_share_a_batch_before_it_is_split() -> None:
    need = make_need(50, devices=2)

    assert need.split(64) == (32, 1)
    assert need.split(256) == (43, 3)
    assert "at once on each of 2 devices" in need.explain(64, None)
    assert make_need(50, can_split=False, devices=2).leave_out([64, 128], task="t") == [64]
