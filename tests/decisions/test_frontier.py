import math

from hypothesis import given
from hypothesis import strategies as st

from batchscope.decisions.frontier import pareto

numbers = st.one_of(st.integers(0, 5).map(float), st.just(math.nan), st.just(math.inf))


@given(st.lists(st.tuples(numbers, numbers, numbers), max_size=12))
def test_the_frontier_is_that_of_brute_force(points: list[tuple[float, float, float]]) -> None:
    def worst(point: tuple[float, ...]) -> list[float]:
        return [math.inf if math.isnan(x) else x for x in point]

    def beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        pairs = list(zip(worst(a), worst(b), strict=True))
        return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    expected = [
        at for at, point in enumerate(points) if not any(beats(other, point) for other in points)
    ]
    assert pareto(points) == expected
