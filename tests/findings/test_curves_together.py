"""What the curves of several batch sizes say together: the axis, the rates, the epochs."""

import numpy as np
import pytest

from batchscope.budget import Target
from batchscope.estimate import Interval, NotIdentified
from batchscope.findings.collapse import find_collapse
from batchscope.findings.critical import find_critical
from batchscope.findings.curves import Curve
from batchscope.findings.epochs import find_epochs
from batchscope.findings.rate_exponent import find_rate_exponent
from batchscope.findings.tuning import TunedSize

from .curves import make_curve

SIZES = (16, 64, 256, 1024)
LEVELS = [Target("val_loss", level, "<=") for level in (1.5, 1.0, 0.7, 0.5)]


def make_size(
    size: int, *, gamma: float, seeds: int = 4, rng: np.random.Generator, off: float = 1.0
) -> TunedSize:
    """Curves that coincide on steps x B^gamma, up to 3% between seeds."""
    curves: list[Curve] = []
    for seed in range(seeds):
        step = np.unique(np.round(np.geomspace(1, 2e6 / size**gamma, 60)))
        luck = off * np.exp(0.03 * rng.standard_normal())
        loss = 2.3 / (1 + luck * step * size**gamma / 20_000)
        curves.append(
            Curve(
                run=f"{size}-{seed}",
                batch_size=size,
                learning_rate=0.1,
                seed=seed,
                status="finished",
                columns={
                    "step": step,
                    "examples": step * size,
                    "seconds": step * np.nan,
                    "train_loss": loss,
                    "val_loss": loss,
                },
            )
        )
    return TunedSize(batch_size=size, learning_rate=0.1, curves=tuple(curves), at_edge=False)


@pytest.mark.parametrize(("gamma", "axis"), [(0.0, "steps"), (1.0, "examples"), (0.5, "between")])
def test_the_axis_on_which_the_curves_coincide_is_found(gamma: float, axis: str) -> None:
    rng = np.random.default_rng(0)
    sizes = [make_size(size, gamma=gamma, rng=rng) for size in SIZES]

    found = find_collapse(sizes, LEVELS)

    assert found is not None
    assert isinstance(found.gamma, Interval)
    assert found.gamma.low <= gamma <= found.gamma.high
    # 3% between four seeds over a factor of 64 in B: some 0.01.
    assert found.gamma.value == pytest.approx(gamma, abs=0.03)
    assert found.axis == axis


def test_gamma_is_covered() -> None:
    covered = 0
    rng = np.random.default_rng(1)
    for _ in range(200):
        found = find_collapse([make_size(s, gamma=0.7, rng=rng) for s in SIZES], LEVELS)
        assert found is not None
        assert isinstance(found.gamma, Interval)
        covered += found.gamma.low <= 0.7 <= found.gamma.high

    # Conservative, as the wider of two intervals is taken: 91% is passed by chance at 95%.
    assert covered >= 182


def test_a_run_off_the_curve_is_named() -> None:
    rng = np.random.default_rng(2)
    sizes = [make_size(size, gamma=1.0, rng=rng) for size in SIZES]
    odd = make_size(64, gamma=1.0, rng=rng, seeds=1, off=0.3).curves[0]
    spoilt = TunedSize(
        batch_size=64, learning_rate=0.1, curves=(*sizes[1].curves[1:], odd), at_edge=False
    )

    found = find_collapse([sizes[0], spoilt, *sizes[2:]], LEVELS)

    assert found is not None
    assert found.off_curve == ("64-0",)


def test_examples_that_fall_with_the_batch_are_flagged() -> None:
    rng = np.random.default_rng(3)
    slow = make_size(16, gamma=1.0, rng=rng, off=0.5)
    rest = [make_size(size, gamma=1.0, rng=rng) for size in SIZES[1:]]

    found = find_critical([slow, *rest], LEVELS[-1])

    assert found is not None
    assert found.falling == (64,)


def rates_of(exponent: float, *, at_edge: bool = False) -> tuple[list[TunedSize], list[Curve]]:
    """The best of a grid of half decades about 0.01 B^exponent."""
    grid = 10 ** np.arange(-4, 2.01, 0.25)
    tuned: list[TunedSize] = []
    curves: list[Curve] = []
    for size in (8, 32, 128, 512, 2048):
        best = float(min(grid, key=lambda rate: abs(np.log(rate / (0.01 * size**exponent)))))
        curves += [_bare(size, float(rate)) for rate in grid]
        tuned.append(
            TunedSize(
                batch_size=size,
                learning_rate=best,
                curves=(_bare(size, best),),
                at_edge=at_edge,
            )
        )
    return tuned, curves


def _bare(size: int, rate: float) -> Curve:
    return Curve(
        run=f"{size}-{rate}",
        batch_size=size,
        learning_rate=rate,
        seed=0,
        status="finished",
        columns={},
    )


@pytest.mark.parametrize(
    ("exponent", "rule"), [(0.5, "square root"), (1.0, "linear"), (0.0, "constant")]
)
def test_the_exponent_of_the_rate_is_found_and_its_rule_named(exponent: float, rule: str) -> None:
    found = find_rate_exponent(*rates_of(exponent))

    assert isinstance(found.exponent, Interval)
    assert found.exponent.low <= exponent <= found.exponent.high
    assert found.agrees_with == (rule,)


def test_a_best_rate_at_the_edge_says_nothing_of_the_exponent() -> None:
    found = find_rate_exponent(*rates_of(0.5, at_edge=True))

    assert isinstance(found.exponent, NotIdentified)


def turning_size(rng: np.random.Generator) -> TunedSize:
    """Validation is best in epoch 10 and worse afterwards, training loss falls to the end."""
    epochs = np.arange(0, 41, 2.0)
    curves: list[Curve] = []
    for seed in range(6):
        luck = 0.01 * rng.standard_normal()
        noise = 0.004 * rng.standard_normal(len(epochs))
        value = 0.3 + luck + noise + 0.02 * np.abs(epochs - 10) ** 1.2 / 10
        curves.append(
            Curve(
                run=str(seed),
                batch_size=32,
                learning_rate=0.1,
                seed=seed,
                status="finished",
                columns={
                    "step": epochs * 10,
                    "examples": epochs * 320,
                    "seconds": epochs,
                    "train_loss": np.exp(-epochs / 10),
                    "val_loss": value,
                },
            )
        )
    return TunedSize(batch_size=32, learning_rate=0.1, curves=tuple(curves), at_edge=False)


def test_where_validation_turns_is_found_and_what_stopping_would_have_saved() -> None:
    found = find_epochs(
        turning_size(np.random.default_rng(0)),
        "val_loss",
        higher=False,
        epoch_examples=320,
        margin=0.01,
    )

    assert found is not None
    assert found.unit == "epochs"
    assert 6 <= found.improves_until <= 10
    assert found.turns_at == pytest.approx(10, abs=2)
    assert isinstance(found.bought, Interval)
    assert found.bought.low > 0
    assert isinstance(found.stopping_saves, Interval)
    # It ends once as many examples have passed since the best: at about epoch 20 of 40.
    assert found.stopping_saves.value == pytest.approx(0.5, abs=0.1)


def test_a_run_that_improves_to_the_end_is_said_to_be_unfinished() -> None:
    rng = np.random.default_rng(4)

    found = find_epochs(
        make_size(64, gamma=1.0, rng=rng),
        "val_loss",
        higher=False,
        epoch_examples=None,
        margin=0.01,
    )

    assert found is not None
    assert found.is_unfinished
    assert isinstance(found.stopping_saves, NotIdentified)


def made_of(values: np.ndarray) -> TunedSize:
    """A size whose seeds have these validation losses, a row each, an epoch apart."""
    curves = tuple(make_curve(32, seed=seed, loss=row.tolist()) for seed, row in enumerate(values))
    return TunedSize(batch_size=32, learning_rate=0.1, curves=curves, at_edge=False)


def improves_until(values: np.ndarray) -> float:
    found = find_epochs(made_of(values), "val_loss", higher=False, epoch_examples=320, margin=0.01)
    assert found is not None
    return found.improves_until


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_what_never_improves_is_said_to_in_at_most_one_of_twenty(
    rng: np.random.Generator, seeds: int
) -> None:
    wrong = 0
    for _ in range(400):
        level = 5 + rng.standard_normal((seeds, 1))
        wrong += improves_until(level + 0.3 * rng.standard_normal((seeds, 15))) > 0

    # 5% of 400, with two standard errors.
    assert wrong <= 20 + 9


def test_three_seeds_show_what_exceeds_their_noise_a_few_times(rng: np.random.Generator) -> None:
    # What is left falls below three deviations of the noise after six epochs, below one after 11.
    means = 20 + 10 * np.exp(-np.arange(30) / 5)
    found = [
        improves_until(means + 3 * rng.standard_normal((3, 1)) + rng.standard_normal((3, 30)))
        for _ in range(50)
    ]

    assert 6 <= np.median(found) <= 12
