"""Problems whose answer is known, through the whole analysis of a table."""

import numpy as np
import polars as pl
import pytest

from batchscope.budget import Target
from batchscope.estimate import Interval
from batchscope.findings.analysis import Analysis, analyze_curves
from batchscope.findings.curves import read_curves
from batchscope.findings.tables.normalise import normalise_table

Rows = list[dict[str, object]]


def analyze(
    rows: Rows, *, target: Target | None = None, metric: str | None = None, **options: float
) -> Analysis:
    runs = normalise_table(
        pl.DataFrame(rows), mapping={} if metric is None else {"metric": metric}, where={}
    )
    return analyze_curves(
        read_curves(runs.frame),
        study="table",
        task="table",
        quality=runs.metric,
        higher=runs.higher,
        target=target,
        unit=runs.unit,
        **options,  # type: ignore[arg-type]
    )


def noisy_quadratic(sizes: list[int], target: float) -> Rows:
    """Expected losses of SGD on 1,000 dimensions with h = c = 1 / i, at a grid of rates."""
    h = 1 / np.arange(1, 1001)
    rows: Rows = []
    for size in sizes:
        # The grid lies about the best rate, which is linear in B and saturates below 2.
        best = {0.1: 0.0387, 0.01: 0.0044}[target] * size
        best = best / (1 + best / 1.97)
        for rate in best * np.array([0.5, 0.7, 0.85, 1.0, 1.2, 1.5]):
            if rate * h[0] >= 2:
                continue
            steady = rate * h / (size * h * (2 - rate * h))
            shrink = (1 - rate * h) ** 2
            step = 0.0
            while step < 2_000_000:
                s = steady + shrink**step * (1 - steady)
                loss = 0.5 * float(h @ s)
                rows.append(
                    {
                        "run": f"{size}-{rate:.4g}",
                        "batch_size": size,
                        "learning_rate": float(f"{rate:.4g}"),
                        "step": step,
                        "val_loss": loss,
                    }
                )
                if loss < target:
                    break
                step = max(step + 1, round(step * 1.05))
    return rows


@pytest.mark.parametrize(
    ("level", "low", "high", "b_20"), [(0.1, 70, 101, 26), (0.01, 540, 845, 271)]
)
def test_the_noisy_quadratic_has_the_critical_batch_sizes_of_whole_runs(
    level: float, low: float, high: float, b_20: float
) -> None:
    sizes = [4**power for power in range(10)]

    found = analyze(noisy_quadratic(sizes, level), target=Target("val_loss", level, "<="))

    assert found.critical is not None
    critical = found.critical
    # Nowhere near the noise scale at the initial weights, 4.6.
    assert isinstance(critical.b_2x, Interval)
    assert low < critical.b_2x.value < high
    assert isinstance(critical.b_20, Interval)
    assert critical.b_20.value == pytest.approx(b_20, rel=0.15)
    assert any("what the curve leaves is the noise" in text for text in critical.warnings)


def least_squares(seeds: int) -> Rows:
    """400 examples in 40 dimensions of spectrum 1 / i, rate 0.2, ten epochs."""
    rows: Rows = []
    h = 1 / np.arange(1, 41)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        truth = rng.standard_normal(40)
        x = rng.standard_normal((400, 40)) * np.sqrt(h)
        fresh = rng.standard_normal((4000, 40)) * np.sqrt(h)
        y, wanted = (d @ truth + 0.5 * rng.standard_normal(len(d)) for d in (x, fresh))
        for size in (4, 20, 100, 400):
            w = np.zeros(40)
            for epoch in range(11):
                if epoch:
                    order = rng.permutation(400)
                    for start in range(0, 400, size):
                        pick = order[start : start + size]
                        w -= 0.2 * x[pick].T @ (x[pick] @ w - y[pick]) / len(pick)
                rows.append(
                    {
                        "run": f"{size}-{seed}",
                        "batch_size": size,
                        "learning_rate": 0.2,
                        "seed": seed,
                        "epoch": epoch,
                        "examples": 400 * epoch,
                        "train_loss": 0.5 * float(np.mean((x @ w - y) ** 2)),
                        "val_loss": 0.5 * float(np.mean((fresh @ w - wanted) ** 2)),
                    }
                )
    return rows


def test_a_convex_problem_at_equal_epochs_has_fewer_updates() -> None:
    found = analyze(least_squares(8), metric="val_loss")

    verdict = next(v for v in found.verdicts if (v.small, v.large) == (4, 400))
    assert verdict.verdict == "fewer_updates"
    assert verdict.confidence > 0.95


def diagonal_network(seeds: int, *, steps: int = 40_000) -> Rows:
    """w = u u - v v on 40 examples of a sparse teacher, with label noise for most of the way."""
    rows: Rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        truth = np.zeros(60)
        truth[:3] = 1.0
        x = rng.standard_normal((40, 60))
        y = x @ truth
        for size in (1, 40):
            u, v = np.ones(60), np.ones(60)
            for step in range(steps + 1):
                if step % (steps // 40) == 0:
                    w = u * u - v * v
                    rows.append(
                        {
                            "run": f"{size}-{seed}",
                            "batch_size": size,
                            "learning_rate": 0.004,
                            "seed": seed,
                            "step": step,
                            "train_loss": float(np.mean((x @ w - y) ** 2)) + 1e-12,
                            "val_error": float(np.sum((w - truth) ** 2)),
                        }
                    )
                pick = rng.integers(0, 40, size) if size < 40 else np.arange(40)
                noise = 2 * rng.choice([-1.0, 1.0], size) if step < 0.8 * steps else 0.0
                rest = x[pick] @ (u * u - v * v) - y[pick] - noise
                slope = x[pick].T @ rest / len(pick)
                u, v = u - 0.004 * 2 * slope * u, v + 0.004 * 2 * slope * v
    return rows


@pytest.mark.slow
def test_a_network_that_gains_from_label_noise_generalises_better_with_small_batches() -> None:
    found = analyze(diagonal_network(5), metric="val_error", margin=0.05)

    verdict = next(v for v in found.verdicts if (v.small, v.large) == (1, 40))
    assert verdict.verdict == "generalization"
