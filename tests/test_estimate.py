import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchscope.errors import InvalidInput
from batchscope.estimate import Interval, NotIdentified, multiply, scale, write_number


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (1243.0, 1051.0, 1463.0, "1,240 (1,050 to 1,460) s"),
        (0.0123, 0.0101, 0.0144, "0.0123 (0.0101 to 0.0144) s"),
        (3.0, 1.0, math.inf, "3.0 (1.0 to unbounded) s"),
        (0.26, 0.019, 7.8, "0.26 (0.02 to 7.80) s"),
        (0.38, 1e-5, 1479.1, "0.380 (0.0000100 to 1,480) s"),
        (23.0, 0.0, 1e6, "23.0 (0.00 to 1,000,000) s"),
        (0.0, 0.0, 0.0, "0.0 (0.0 to 0.0) s"),
    ],
)
def test_an_interval_is_rounded_to_two_digits_of_its_half_width(
    value: float, low: float, high: float, text: str
) -> None:
    assert str(Interval(value=value, low=low, high=high, unit="s")) == text


def test_an_open_end_is_null_in_json() -> None:
    document = Interval(value=1.0, low=0.5, high=math.inf, unit="s").to_dict()

    assert document == {"value": 1.0, "low": 0.5, "high": None, "unit": "s", "confidence": 0.95}


def test_what_cannot_be_told_keeps_its_bound_and_says_why() -> None:
    estimate = NotIdentified(reason="0 of 3 seeds", remedy="--budget 50ep", unit="s", low=2.0)

    assert str(estimate) == "more than 2.00 s (0 of 3 seeds)"
    assert estimate.to_dict()["value"] is None
    assert estimate.to_dict()["remedy"] == "--budget 50ep"


@pytest.mark.parametrize("value", [math.nan, math.inf, 3.0])
def test_bounds_that_do_not_hold_the_value_are_refused(value: float) -> None:
    with pytest.raises(InvalidInput, match="not an interval"):
        Interval(value=value, low=0.0, high=2.0, unit="s")


@given(st.floats(-1e9, 1e9), st.floats(0, 1e6), st.floats(0, 1e6))
def test_any_interval_can_be_written(value: float, below: float, above: float) -> None:
    text = str(Interval(value=value, low=value - below, high=value + above, unit=""))

    assert " to " in text
    assert "nan" not in text


@given(st.floats(1e-6, 1e12))
@example(3.3352565875571273e-06)
def test_three_digits_are_within_half_a_percent(value: float) -> None:
    written = float(write_number(value).replace(",", ""))

    assert written == pytest.approx(value, rel=0.0051)


def test_the_interval_of_a_product_covers() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(1000):
        logs = rng.standard_normal(2) * [0.1, 0.3]
        parts = [
            Interval(
                value=math.exp(log),
                low=math.exp(log - 1.96 * sd),
                high=math.exp(log + 1.96 * sd),
                unit="",
            )
            for log, sd in zip(logs, (0.1, 0.3), strict=True)
        ]
        product = multiply(parts, unit="")
        assert isinstance(product, Interval)
        inside += product.low <= 1 <= product.high

    # 95% of 1,000, four standard errors.
    assert 922 <= inside <= 978


def test_a_bound_is_kept_in_another_unit() -> None:
    steps = NotIdentified(reason="0 of 3 seeds", remedy="--budget 50ep", unit="steps", low=150)

    examples = scale(steps, 32, unit="examples")

    assert isinstance(examples, NotIdentified)
    assert (examples.low, examples.high, examples.unit) == (4800, None, "examples")
    assert examples.remedy == "--budget 50ep"
