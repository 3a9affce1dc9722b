from batchscope.estimate import Interval, NotIdentified
from batchscope.reports.endings import write_ending, write_median

from ..findings.curves import make_curve

NOTHING = NotIdentified(reason="one seed has no spread", remedy="--seeds 3")


def test_where_seeds_give_no_interval_the_median_is_shown_as_such() -> None:
    curves = [make_curve(seed=seed, loss=[1.0, end]) for seed, end in enumerate((0.2, 0.4, 0.3))]

    assert write_ending(NOTHING, curves, "val_loss") == "0.3 (no interval)"
    assert write_ending(NOTHING, curves[:1], "val_loss") == "0.2 (no interval)"
    found = Interval(value=0.3, low=0.2, high=0.4, unit="")
    assert write_ending(found, curves, "val_loss") == str(found)


def test_what_a_table_does_not_have_is_unknown() -> None:
    assert write_median([make_curve(loss=[1.0, float("nan")])], "val_loss") == "unknown"
