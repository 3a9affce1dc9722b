import math

import numpy as np
import pytest

from batchscope.replications.studies.gradient_noise import draw_within, escape, read_classes

SIZES = np.array([1, 4, 16, 64, 256])


def test_drawn_without_replacement_the_deviation_ends_with_the_set() -> None:
    gradients = np.random.default_rng(0).standard_normal((512, 20)).astype(np.float32)

    measured, law = draw_within(gradients, 0).values()

    # 20 unit deviations; a thousand draws of 20 squares tell each to 1 / sqrt(40,000), twice over.
    assert law[0] == pytest.approx(math.sqrt(20), rel=0.02)
    assert measured == pytest.approx(law, rel=0.03)
    assert law == pytest.approx(list(law[0] * np.sqrt((512 / SIZES - 1) / 511)), rel=1e-6)


def test_between_classes_nothing_is_averaged_where_a_batch_is_of_one() -> None:
    classes = np.repeat(np.arange(4), 128)
    own = np.eye(4, dtype=np.float32)[classes]

    found = read_classes(own, classes, 0)

    # Each class has one gradient, all as far from their mean: at every batch size the same.
    assert found == pytest.approx([math.sqrt(3) / 2] * len(SIZES), rel=1e-5)


def test_without_noise_no_run_leaves_the_well() -> None:
    assert escape(0, math.inf, stream=0) == 0
    assert escape(0, 1, stream=1) > 0.5


def test_copies_of_one_example_are_as_good_in_one_stream_as_in_another_but_not_the_same() -> None:
    one, other = (escape(0, 1, stream=stream) for stream in (1, 16))

    # Shares of 400 runs: one deviates by 0.025 at most.
    assert one != other
    assert one == pytest.approx(other, abs=0.1)
