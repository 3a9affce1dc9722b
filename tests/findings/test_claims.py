import math

import numpy as np
import pytest
from scipy import stats

from batchscope.estimate import Interval
from batchscope.findings.claims import Claim, Seen, exactly, judge_claims, see_trend

SIGMA = 0.3
CLAIMS = [
    Claim(id="C1", name="above", kind="claim", direction="above", margin=1.0),
    Claim(id="C2", name="below", kind="claim", direction="below", margin=-0.5),
    Claim(
        id="C3", name="a ratio above", kind="claim", direction="above", margin=1.5, is_ratio=True
    ),
    Claim(id="C4", name="a trend", kind="claim", direction="above", margin=0.0),
    Claim(id="O1", name="within", kind="objection", direction="within", margin=1.0),
    Claim(
        id="O2",
        name="a ratio within",
        kind="objection",
        direction="within",
        margin=1.3,
        is_ratio=True,
    ),
]


def trend(rng: np.random.Generator, ends: float, seeds: int) -> list[Seen]:
    """Five sizes whose ends differ by a contrast of deviation sigma."""
    each = SIGMA / math.sqrt(2)
    line = np.linspace(0, ends, 5)
    return [see_trend(list(line + each * rng.standard_normal(5))) for _ in range(seeds)]


def draw(claim: Claim, away: float, rng: np.random.Generator, seeds: int = 5) -> list[Seen]:
    """Seeds whose mean lies `away` deviations on the claim's side of its margin."""
    if claim.id == "C4":
        return trend(rng, away * SIGMA, seeds)
    sign = -1 if claim.direction in {"below", "within"} else 1
    sigma = SIGMA if claim.direction != "within" else min(SIGMA, claim.bound / 7)
    mean = claim.bound + sign * away * sigma
    return exactly(list(mean + sigma * rng.standard_normal(seeds)))


@pytest.mark.parametrize(
    ("away", "right"),
    [(6.0, "holds"), (-6.0, "does not hold"), (1 / 3, "cannot tell")],
    ids=["beyond the margin", "short of it", "underpowered"],
)
def test_planted_effects_are_judged_right(away: float, right: str) -> None:
    rng = np.random.default_rng(0)
    said = [
        judged.verdict
        for _ in range(1000)
        for judged in judge_claims(CLAIMS, {c.id: draw(c, away, rng) for c in CLAIMS})
    ]

    assert np.mean([verdict == right for verdict in said]) >= 0.98


def share_of_false_studies(times: int) -> float:
    """Studies with all claims at their margins of which at least one holds."""
    rng = np.random.default_rng(1)
    false = 0
    for number in range(times):
        seen = {c.id: draw(c, 0.0, rng) for c in CLAIMS}
        if number % 4 == 0:
            # A diverged run: it may be anything between two deviations and eight.
            seen["C1"][0] = Seen(seen["C1"][0].low - 2 * SIGMA, seen["C1"][0].low + 8 * SIGMA)
        false += any(judged.verdict == "holds" for judged in judge_claims(CLAIMS, seen))

    return false / times


def test_claims_at_their_margins_seldom_hold() -> None:
    # 2.5% of 400 are 10; more than 24 come once in 10,000.
    assert share_of_false_studies(400) <= 0.06


@pytest.mark.slow
def test_of_four_thousand_studies_at_their_margins_few_hold() -> None:
    assert share_of_false_studies(4000) <= 0.05


def test_one_claim_is_a_t_test() -> None:
    values = [1.2, 1.5, 1.1, 1.4, 1.6]
    (judged,) = judge_claims([CLAIMS[0]], {"C1": exactly(values)})

    expected = stats.ttest_1samp(values, 1.0, alternative="greater").pvalue
    assert judged.p_holds == pytest.approx(expected)
    assert judged.p_does_not_hold == pytest.approx(1 - expected)
    interval = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert isinstance(judged.estimate, Interval)
    assert (judged.estimate.low, judged.estimate.high) == pytest.approx(interval)


def test_holm_is_that_of_the_textbook() -> None:
    values = {
        "C1": exactly([1.0 + 0.1 * x for x in (1, 2, 3, 4, 5)]),
        "C2": exactly([-0.5 - 0.1 * x for x in (-1, 1, 2, 3, 4)]),
    }
    found = {j.claim.id: j.p_holds for j in judge_claims(CLAIMS[:2], values)}
    raw = {
        "C1": stats.ttest_1samp([s.low for s in values["C1"]], 1.0, alternative="greater").pvalue,
        "C2": stats.ttest_1samp([s.low for s in values["C2"]], -0.5, alternative="less").pvalue,
    }
    assert raw["C1"] < raw["C2"]
    assert found["C1"] == pytest.approx(2 * raw["C1"])
    assert found["C2"] == pytest.approx(max(2 * raw["C1"], raw["C2"]))


def test_four_seeds_tell_nothing_and_say_how_many_would() -> None:
    (judged,) = judge_claims([CLAIMS[0]], {"C1": exactly([2.0, 2.1, 1.9, 2.0])})

    assert judged.verdict == "cannot tell"
    assert judged.seeds_needed == 5


@pytest.mark.parametrize("count", [1, 11])
def test_with_the_seeds_that_would_tell_it_is_told_four_times_in_five(count: int) -> None:
    claims = [
        Claim(id=f"C{n}", name="above", kind="claim", direction="above", margin=1.0)
        for n in range(count)
    ]
    deviates = np.array([-1.5, -0.5, 0.0, 0.5, 1.5]) / math.sqrt(1.25)
    nothing: dict[str, list[Seen]] = {c.id: exactly([1.0, 0.0, 2.0, 1.5, 0.5]) for c in claims}
    first = judge_claims(claims, nothing | {"C0": exactly(list(2.0 + 1.6 * deviates))})
    needed = first[0].seeds_needed
    assert needed is not None
    rng = np.random.default_rng(0)

    told = [
        judge_claims(claims, nothing | {"C0": exactly(list(rng.normal(2.0, 1.6, needed)))})[0]
        for _ in range(1000)
    ]

    assert needed > 5
    # The binomial's own deviation is 0.013, and one seed less would have up to 0.04 less.
    assert np.mean([one.verdict == "holds" for one in told]) == pytest.approx(0.82, abs=0.06)


def test_what_is_not_told_takes_more_seeds_than_there_are_or_nobody_knows() -> None:
    fallen = [Seen(0.5, 0.5, signs=(-2.0, -2.0), sizes=5)] * 5
    wide = [Seen(0.0, 3.0)] * 3 + exactly([1.2, 1.3, 1.4])
    near = exactly([1.9, 2.0, 0.6, 1.0, 1.8])

    (trend_up,) = judge_claims([CLAIMS[3]], {"C4": fallen})
    (censored,) = judge_claims([CLAIMS[0]], {"C1": wide})
    (close,) = judge_claims([CLAIMS[0]], {"C1": near})

    assert {j.verdict for j in (trend_up, censored, close)} == {"cannot tell"}
    assert trend_up.seeds_needed is None
    assert censored.seeds_needed is None
    assert close.seeds_needed is not None
    assert close.seeds_needed > 5


def test_a_run_of_a_trend_that_diverged_counts_at_both_ends() -> None:
    seen = see_trend([0.1, 0.2, 0.0], [0.1, 0.2, 0.9])

    assert (seen.low, seen.high) == pytest.approx((-0.1, 0.8))
    assert seen.signs == (-1.0, 3.0)


def test_a_diverged_run_counts_at_both_ends() -> None:
    clear = exactly([3.0, 3.1, 2.9, 3.0, 3.05])
    spoiled = [*clear[:-1], Seen(-10.0, 5.0)]

    assert judge_claims([CLAIMS[0]], {"C1": clear})[0].verdict == "holds"
    assert judge_claims([CLAIMS[0]], {"C1": spoiled})[0].verdict == "cannot tell"


def test_a_seed_of_which_nothing_is_known_counts_against_either_side() -> None:
    nothing = Seen(-math.inf, math.inf)
    twelve = [nothing, *exactly([3.0 + 0.01 * x for x in range(11)])]

    (told,) = judge_claims([CLAIMS[0]], {"C1": twelve})
    (untold,) = judge_claims([CLAIMS[0]], {"C1": twelve[:6]})

    # A sign test, in which eleven of twelve lie above the margin.
    assert told.p_holds == pytest.approx(stats.binom.sf(10, 12, 0.5))
    assert told.verdict == "holds"
    assert untold.verdict == "cannot tell"
    assert untold.p_does_not_hold == 1.0


@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_ends_on_either_side_of_a_band_tell_nothing_and_on_one_side_that_it_is_left(
    spread: float,
) -> None:
    claim = next(one for one in CLAIMS if one.direction == "within" and not one.is_ratio)
    off = spread * np.random.default_rng(0).standard_normal(6)

    def judge(low: float, high: float) -> str:
        seen = [Seen(low + x, high + x) for x in off]
        (found,) = judge_claims([claim], {claim.id: seen})
        return found.verdict

    assert judge(-5.0, 5.0) == "cannot tell"
    assert judge(0.0, 5.0) == "cannot tell"
    assert judge(3.0, 5.0) == judge(-5.0, -3.0) == "does not hold"
    assert judge(-0.4, 0.4) == "holds"


def test_a_trend_of_which_a_size_gave_nothing_is_not_told() -> None:
    seen = [see_trend([0.0, 1.0, 2.0]) for _ in range(11)] + [see_trend([0.0, 1.0, math.nan])]

    (judged,) = judge_claims([CLAIMS[3]], {"C4": seen})

    assert judged.verdict == "cannot tell"


def test_what_is_the_same_at_every_seed_is_told_as_it_is() -> None:
    (above,) = judge_claims([CLAIMS[0]], {"C1": exactly([1.2] * 5)})
    (short,) = judge_claims([CLAIMS[0]], {"C1": exactly([0.8] * 5)})

    assert (above.verdict, short.verdict) == ("holds", "does not hold")
    assert isinstance(above.estimate, Interval)
    assert above.estimate.low == above.estimate.high == pytest.approx(1.2)


def test_a_claim_without_runs_is_not_told() -> None:
    (judged,) = judge_claims([CLAIMS[0]], {})

    assert judged.verdict == "cannot tell"
    assert judged.to_dict()["estimate"] is not None
