import pytest

import batchscope as bs
from batchscope.errors import InvalidInput

from ..conftest import make_task


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda task: bs.noise(task, method="guess"), "is not known"),
        (lambda task: bs.noise(task, budget=bs.examples(10)), "allows too few gradients"),
        (lambda task: bs.noise(task, budget="10ex"), "allows too few gradients"),
        (lambda task: bs.noise(task, batch_size=0), "a training at batch size 0"),
        (lambda task: bs.fit(task, headroom=2.0), "a headroom of 2"),
        (lambda task: bs.fit(task, largest=0), "at most a batch of 0"),
        (lambda task: bs.energy(task, watts=0.0), "a power of 0"),
        (lambda task: bs.energy(task, batch_size=999), "cannot be made"),
        (lambda task: bs.curvature(task, learning_rate=-1.0), "learning rate -1"),
        (lambda task: bs.branch(task, length=bs.steps(5)), "unequal examples"),
        (lambda task: bs.branch(task, length="5steps"), "unequal examples"),
        (lambda task: bs.branch(task, seeds=1), "show no spread"),
    ],
)
def test_what_cannot_be_measured_is_refused(call: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call(make_task())  # type: ignore[operator]


def test_the_initial_weights_can_be_looked_at() -> None:
    assert bs.noise(make_task(), after="0").where == "the initial weights"
