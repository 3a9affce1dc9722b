import numpy as np
import polars as pl

from batchscope.estimate import Interval
from batchscope.reports.figures.to_target import (
    draw_to_target,
    tabulate_fit,
    tabulate_to_target,
)

from .analyses import analyze_hyperbola


def test_the_fitted_curve_is_the_one_that_the_runs_follow(rng: np.random.Generator) -> None:
    fit = tabulate_fit(analyze_hyperbola(rng, critical=100)).filter(pl.col("axis") == "steps")

    # Four seeds with 3% of scatter: the curve is known to a few percent inside the data.
    truth = 40 * (1 + 100 / fit["batch_size"])
    np.testing.assert_allclose(fit["value"], truth, rtol=0.06)
    assert (fit["low"] < fit["value"]).all()


def test_the_critical_sizes_are_shaded_as_far_as_the_axis_goes(rng: np.random.Generator) -> None:
    analysis = analyze_hyperbola(rng, critical=100)
    critical = analysis.critical
    assert critical is not None
    assert isinstance(critical.b_2x, Interval)

    figure = draw_to_target(tabulate_to_target(analysis), tabulate_fit(analysis), critical)

    first = figure.layout.shapes[0]
    assert (first.x0, first.x1) == (critical.b_2x.low, critical.b_2x.high)
    assert {shape.xref for shape in figure.layout.shapes} == {"x", "x2"}


def test_two_sizes_have_no_fit_and_their_points_are_joined(rng: np.random.Generator) -> None:
    analysis = analyze_hyperbola(rng, critical=100, sizes=(8, 32))

    fit = tabulate_fit(analysis)
    figure = draw_to_target(tabulate_to_target(analysis), fit, analysis.critical)

    assert fit.is_empty()
    assert figure.data[0].mode == "lines+markers"
