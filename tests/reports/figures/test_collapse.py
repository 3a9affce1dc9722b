import numpy as np
import pytest

from batchscope.reports.figures.collapse import draw_collapse, tabulate_collapse

from .analyses import analyze_examples_that_count


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_curves_that_depend_on_steps_times_a_power_of_the_size_lie_on_each_other(
    gamma: float,
) -> None:
    analysis = analyze_examples_that_count(gamma)

    frame = tabulate_collapse(analysis, metric="val_loss", gamma=gamma)

    # The loss is exp(-place / 100), whatever the size, but for rounding.
    np.testing.assert_allclose(frame["value"], np.exp(-frame["place"] / 100), rtol=1e-9)
    assert frame["batch_size"].n_unique() == 4


def test_the_levels_that_the_axis_was_read_at_are_drawn() -> None:
    analysis = analyze_examples_that_count(1.0)
    assert analysis.collapse is not None
    levels = analysis.collapse.levels

    frame = tabulate_collapse(analysis, metric="val_loss", gamma=1.0)
    figure = draw_collapse(frame, metric="val_loss", gamma=1.0, levels=levels)

    assert [shape.y0 for shape in figure.layout.shapes] == list(levels)
    assert figure.layout.xaxis.title.text == "steps x (batch size)^1.00"
