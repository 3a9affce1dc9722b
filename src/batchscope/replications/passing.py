"""The weights where training passes a level of the training loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from batchscope.budget import parse_budget
from batchscope.instruments.checkpoint import configure_alone
from batchscope.records import Configuration
from batchscope.studies.grouping import LEAST_GAIN
from batchscope.task import Task
from batchscope.training.ensemble import train_together
from batchscope.training.hooks import Hook, RunState
from batchscope.training.loop import train
from batchscope.training.together import measure_together

_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Place:
    """Weights at an evaluation, and the error there."""

    weights: Mapping[str, torch.Tensor]
    error: float


@dataclass(frozen=True, slots=True)
class Passage:
    """The last evaluation above a level, and the first at or below it."""

    above: Place
    below: Place


def find_passages(
    task: Task, size: int, rate: float, seeds: Sequence[int], *, level: float, epochs: int
) -> list[Passage | None]:
    """Train every seed until its training loss is at a level, together where that is sooner.

    Args:
        task: with a metric "error".
        epochs: after which a run is given up.

    Returns:
        A passage for each seed; None where training began below the level, diverged or never got
        there.
    """
    budget = parse_budget(f"{epochs}ep until train_loss<={level}")
    configurations = [
        configure_alone(
            task,
            batch_size=size,
            learning_rate=rate,
            seed=seed,
            budget=budget,
            precision="float32",
            device=_CPU,
        )
        for seed in seeds
    ]
    lookouts = [_Lookout(level) for _ in seeds]
    if len(seeds) > 1 and _gains(task, configurations):
        train_together(
            task,
            configurations,
            device=_CPU,
            show=lambda place, model, row: lookouts[place].look(model, row),
        )
    else:
        for configuration, lookout in zip(configurations, lookouts, strict=True):
            train(task, configuration, device=_CPU, hooks=[lookout])
    return [lookout.passage for lookout in lookouts]


def _gains(task: Task, configurations: Sequence[Configuration]) -> bool:
    tried = measure_together(task, configurations, device=_CPU, least_gain=LEAST_GAIN)
    return tried.gain >= LEAST_GAIN


class _Lookout(Hook):
    """Keeps one run's evaluations around the level."""

    def __init__(self, level: float) -> None:
        self._level = level
        self._above: Place | None = None
        self._below: Place | None = None

    @property
    def passage(self) -> Passage | None:
        if self._above is None or self._below is None:
            return None
        return Passage(self._above, self._below)

    def on_evaluation(self, state: RunState, row: Mapping[str, float]) -> None:
        self.look(state.model, row)

    def look(self, model: nn.Module, row: Mapping[str, float]) -> None:
        if row["step"] == 0:
            # Runs together may begin anew.
            self._above = self._below = None
        if self._below is not None:
            return
        weights = {name: x.clone() for name, x in model.state_dict().items()}
        place = Place(weights, row["error"])
        if row["train_loss"] <= self._level:
            self._below = place
        else:
            self._above = place
