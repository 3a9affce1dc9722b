"""The noise scale along a whole run, measured while it trains."""

from dataclasses import dataclass

import torch

from batchscope.budget import Budget
from batchscope.errors import CannotTell
from batchscope.instruments.checkpoint import configure_alone
from batchscope.instruments.noise.hook import NoiseHook
from batchscope.instruments.noise.reading import NoiseReading
from batchscope.optimizers import starting_rate
from batchscope.records import Precision
from batchscope.task import Task
from batchscope.training.loop import train


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseAlong:
    """The noise scale of a task along one run.

    Attributes:
        where: the run, in words.
    """

    task: str
    where: str
    reading: NoiseReading
    examples: int

    def to_dict(self) -> dict[str, object]:
        """The measurement as JSON."""
        return {
            "task": self.task,
            "where": self.where,
            **self.reading.to_dict(),
            "examples": self.examples,
        }

    def __repr__(self) -> str:
        return f"{self.task} {self.where}: {self.reading!r}"


def measure_along(
    task: Task,
    *,
    budget: Budget,
    batch_size: int,
    learning_rate: float | None,
    precision: Precision,
    device: torch.device,
    every: int | None = None,
    seed: int = 0,
    allow_coupled: bool = False,
) -> NoiseAlong:
    """Train one run with a meter on it, which changes nothing about the run.

    Args:
        every: steps between measurements; None for as many as a small share of its time allows.

    Raises:
        CannotTell: the run diverged, or an example's loss depends on the others in its batch.
    """
    rate = learning_rate or starting_rate(task.optimizer_spec, task.model().parameters())
    size = min(batch_size, task.train_size)
    configuration = configure_alone(
        task,
        batch_size=size,
        learning_rate=rate,
        seed=seed,
        budget=budget,
        precision=precision,
        device=device,
    )
    meter = NoiseHook(
        task,
        precision=precision,
        device=device,
        every=every,
        seed=seed,
        allow_coupled=allow_coupled,
    )
    outcome = train(task, configuration, device=device, hooks=[meter])
    where = f"over {budget} at batch size {size} and learning rate {rate:g}"
    if outcome.status != "finished":
        raise CannotTell(
            f"the run ended as {outcome.status.replace('_', ' ')} at step {outcome.steps}",
            where=where,
            expected="a training that goes on to its end",
            do="give a lower --learning-rate",
        )
    return NoiseAlong(
        task=task.name,
        where=where,
        reading=meter.read(),
        examples=round(outcome.trajectory.last("examples")) + meter.examples,
    )
