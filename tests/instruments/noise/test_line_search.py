import numpy as np
import pytest

from batchscope.errors import InvalidInput
from batchscope.estimate import Interval
from batchscope.instruments.noise.line_search import fit_best_steps, search_lines
from batchscope.instruments.noise.moments import estimate_ratio

from ...conftest import make_task
from ..problems import CPU, SETTINGS, at_start, gaussian_regression


@pytest.mark.parametrize("setting", SETTINGS)
def test_gaussian_regression_has_the_b_noise_that_follows_from_its_curvature(setting: str) -> None:
    offset, _, noise = SETTINGS[setting]
    task = gaussian_regression(offset)

    found = search_lines(task, at_start(task), precision="float32", device=CPU, draws=48)

    assert isinstance(found.noise_scale, Interval)
    assert found.noise_scale.low <= noise <= found.noise_scale.high
    # 48 draws at six sizes leave about a quarter either way.
    assert found.noise_scale.value == pytest.approx(noise, rel=0.35)


def test_the_largest_step_of_gaussian_regression_is_known() -> None:
    task = gaussian_regression(SETTINGS["even"][0])

    found = search_lines(task, at_start(task), precision="float32", device=CPU, draws=48)

    # abs(G)^2 / G'HG = 1.35567; the loss is looked at on 2,048 examples, which move it by some 5%.
    assert isinstance(found.largest_step, Interval)
    assert found.largest_step.value == pytest.approx(1.35567, rel=0.1)


def test_the_interval_of_the_fitted_noise_scale_covers(rng: np.random.Generator) -> None:
    sizes = np.array([4.0, 16.0, 64.0, 256.0, 1024.0])
    truth, covered = 50.0, 0
    for _ in range(500):
        slopes = 1 + 0.5 * rng.standard_normal((5, 16)) / np.sqrt(sizes)[:, None]
        noise = 1 + 0.2 * rng.standard_normal((5, 16))
        curvatures = (1 + truth / sizes[:, None]) * noise
        answer = estimate_ratio(fit_best_steps(sizes, slopes, curvatures), unit="", remedy="")
        covered += (answer.low or 0) <= truth <= (answer.high or np.inf)

    # The nominal 95% and three of its standard errors over 500 sets.
    assert 0.92 <= covered / 500 <= 0.99


def test_too_little_data_for_three_batch_sizes_are_refused() -> None:
    task = make_task(train=(make_task().train[:8][0], make_task().train[:8][1]))

    with pytest.raises(InvalidInput, match="give no line"):
        search_lines(task, at_start(task), precision="float32", device=CPU)
