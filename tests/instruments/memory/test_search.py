from collections.abc import Callable

import numpy as np
import pytest

from batchscope.instruments.memory.search import Probe, next_size, search_largest


def hidden(limit: int) -> Callable[[int], Probe]:
    """Nothing can be read but whether it fits."""
    return lambda size: Probe(batch_size=size, fits=size <= limit)


def readable(
    rng: np.random.Generator, limit: int, *, noise: float = 0.01
) -> tuple[Callable[[int], Probe], int]:
    """Memory a + b B under a cap of 1, read to within 1%; a jump in a fifth of the cases.

    Returns:
        The probe, and the largest size that fits.
    """
    fixed = rng.uniform(0.05, 0.6)
    each = (1 - fixed) / (limit + 0.5)
    jump_at, jump = 10**9, 0.0
    if rng.random() < 0.2:
        jump_at = max(2, int(limit * rng.uniform(0.3, 1)))
        jump = rng.uniform(0.05, 0.35) * (1 - fixed)

    def peak(size: int) -> float:
        return fixed + each * size + (jump if size >= jump_at else 0.0)

    def probe(size: int) -> Probe:
        if peak(size) > 1:
            return Probe(batch_size=size, fits=False)
        read = peak(size) * (1 + rng.uniform(-noise, noise))
        return Probe(batch_size=size, fits=True, peak=read)

    after_jump = int((1 - fixed - jump) / each)
    largest = limit if jump == 0 else after_jump if after_jump >= jump_at else jump_at - 1
    return probe, largest


def answer(probes: tuple[Probe, ...]) -> int:
    return max((p.batch_size for p in probes if p.fits), default=0)


def test_with_readable_memory_the_answer_is_exact_within_seven_probes_and_two_failures() -> None:
    rng = np.random.default_rng(0)
    counts, failures = [], []
    for _ in range(200):
        probe, largest = readable(rng, int(np.exp(rng.uniform(0, np.log(4_096)))))
        probes = search_largest(probe, largest=100_000, cap=1.0)
        assert answer(probes) == largest
        assert {largest, largest + 1} <= {p.batch_size for p in probes} | {0}
        counts.append(len(probes))
        failures.append(sum(not p.fits for p in probes))

    assert np.mean(counts) <= 7
    assert np.mean(failures) <= 2


def test_with_nothing_readable_the_answer_is_exact_within_sixteen_probes() -> None:
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(200):
        limit = int(np.exp(rng.uniform(0, np.log(100_000))))
        probes = search_largest(hidden(limit), largest=100_000)
        assert answer(probes) == limit
        run = {p.batch_size for p in probes}
        assert limit in run
        assert limit == 100_000 or limit + 1 in run
        counts.append(len(probes))

    assert np.mean(counts) <= 16


@pytest.mark.parametrize("largest", [2_000, 100_000, 1_000_000])
def test_a_hidden_limit_of_777_takes_at_most_18_probes(largest: int) -> None:
    probes = search_largest(hidden(777), largest=largest)

    assert answer(probes) == 777
    assert len(probes) <= 18


def test_a_readable_limit_of_777_takes_at_most_8_probes() -> None:
    def probe(size: int) -> Probe:
        peak = 0.2 + 0.8 * size / 777.5
        return Probe(batch_size=size, fits=peak <= 1, peak=peak if peak <= 1 else None)

    probes = search_largest(probe, largest=100_000, cap=1.0)

    assert answer(probes) == 777
    assert len(probes) <= 8


@pytest.mark.parametrize("limit", [1, 5_000, 50_000])
@pytest.mark.parametrize("cap", [None, 1.0])
def test_limits_of_any_size_are_found(limit: int, cap: float | None) -> None:
    def probe(size: int) -> Probe:
        return Probe(batch_size=size, fits=size <= limit, peak=0.5 + 0.5 * size / (limit + 0.5))

    assert answer(search_largest(probe, largest=60_000, cap=cap)) == limit


def test_where_nothing_fits_one_probe_says_so() -> None:
    probes = search_largest(hidden(0), largest=500, cap=1.0)

    assert [(p.batch_size, p.fits) for p in probes] == [(1, False)]


def test_data_that_fit_whole_end_the_search() -> None:
    def probe(size: int) -> Probe:
        return Probe(batch_size=size, fits=True, peak=0.3 + 1e-4 * size)

    probes = search_largest(probe, largest=500, cap=1.0)

    assert answer(probes) == 500
    assert max(p.batch_size for p in probes) == 500
    assert len(probes) <= 4


def test_no_size_is_run_twice_nor_outside_of_the_bounds() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        limit = int(np.exp(rng.uniform(0, np.log(3_000))))
        sizes = [p.batch_size for p in search_largest(hidden(limit), smallest=2, largest=2_500)]
        assert len(sizes) == len(set(sizes))
        assert all(2 <= size <= 2_500 for size in sizes)


def test_the_next_size_follows_from_the_probes_alone() -> None:
    probes = [Probe(batch_size=1, fits=True, peak=0.2), Probe(batch_size=40, fits=True, peak=0.3)]

    sizes = {next_size(probes, smallest=1, largest=10_000, cap=1.0) for _ in range(3)}

    assert len(sizes) == 1
