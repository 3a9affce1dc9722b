import math

import numpy as np
import pytest

from batchscope.replications.studies.gradient_noise import draw_within, escape, read_classes

SIZES = np.array([1, 4, 16, 64, 256])


def test_drawn_without_replacement_the_deviation_ends_with_the_set() -> None:
    gradients = np.random.default_rng(0).standard_normal((512, 20)).astype(np.float32)

    measured, law = draw_within(gradients, 0)

    # 20 unit deviations; a thousand draws of 20 squares tell each to 1 / sqrt(40,000), twice over.
    assert law.values[0] == pytest.approx(math.sqrt(20), rel=0.02)
    assert list(measured.values) == pytest.approx(list(law.values), rel=0.03)
    assert list(law.values) == pytest.approx(
        list(law.values[0] * np.sqrt((512 / SIZES - 1) / 511)), rel=1e-6
    )


def test_between_classes_nothing_is_averaged_where_a_batch_is_of_one() -> None:
    classes = np.repeat(np.arange(4), 128)
    own = np.eye(4, dtype=np.float32)[classes]

    found = read_classes(own, classes, 0)

    # Each class has one gradient, all as far from their mean: at every batch size the same.
    assert found == pytest.approx([math.sqrt(3) / 2] * len(SIZES), rel=1e-5)


def test_without_noise_no_run_leaves_the_well() -> None:
    assert escape(0, math.inf) == 0
    assert escape(0, 1) > 0.5
