"""Seconds per step on placements that were never run: a law of gradients and their exchange."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from scipy import optimize, stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.scaling_posterior import Array

# Timings below which the law's seven parameters are guesses.
_LEAST_TIMINGS = 10
# How weakly the parameters are held to their first values, in logs.
_HELD = 0.02
_STEP = 1e-5
# Of the logs of times: what a law of this kind leaves, before anything is fitted.
_LEFT, _NOISE = 0.05, 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a step runs.

    Attributes:
        local_batch: examples per device.
        nodes, devices: in all.
        most, fewest: devices on the fullest and on the emptiest node.
    """

    local_batch: float
    nodes: int
    devices: int
    most: float
    fewest: float


class StepTimes:
    """Seconds per step fitted to timings, with what the law leaves as a Gaussian process.

    Args:
        timings: placements and seconds, each above 0.
    """

    def __init__(self, timings: Sequence[tuple[Placement, float]]) -> None:
        self._placements = [placement for placement, _ in timings]
        self._logs: Array = np.log([seconds for _, seconds in timings])
        self._fitted = len(timings) >= _LEAST_TIMINGS
        if not self._fitted:
            return
        features = _features(self._placements)
        start = _start(features, self._logs)

        def rest(parameters: Array) -> Array:
            held = _HELD * (parameters - start)
            return np.concatenate([_law(parameters, features) - self._logs, held])

        found = cast(Any, optimize.least_squares(rest, start))
        self._parameters: Array = found.x
        left = self._logs - _law(self._parameters, features)
        self._freedom = max(len(timings) - len(start), 1)
        variance = float(left @ left) / self._freedom
        self._covariance: Array = variance * np.linalg.inv(found.jac.T @ found.jac)
        spots = _spots(self._placements)
        self._mean, self._scale = spots.mean(axis=0), spots.std(axis=0) + 1e-9
        lengths = cast(Any, np.ones(spots.shape[1]))
        smooth = Matern(lengths, length_scale_bounds=(0.1, 100), nu=2.5)
        kernel = ConstantKernel(_LEFT) * smooth + WhiteKernel(_NOISE)
        with warnings.catch_warnings():
            # A length scale at its bound is a feature that does not matter.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._process = GaussianProcessRegressor(kernel).fit(self._scaled(spots), left)

    def predict(
        self, placements: Sequence[Placement], *, confidence: float = 0.9
    ) -> list[Estimate]:
        """Seconds of one step at each placement, with the interval of one such timing.

        Not identified where the timings have no exchange of the kind: between devices, between
        nodes.
        """
        if not self._fitted:
            return [
                NotIdentified(
                    reason=f"{len(self._logs)} timings",
                    remedy=f"{_LEAST_TIMINGS} timings at several batch sizes and placements",
                    unit="s/step",
                )
                for _ in placements
            ]
        features = _features(placements)
        mean, deviation = cast(
            tuple[Array, Array],
            self._process.predict(self._scaled(_spots(placements)), return_std=True),
        )
        logs: Array = _law(self._parameters, features) + mean
        slopes = self._slopes(features)
        law: Array = np.sum(slopes @ self._covariance * slopes, axis=1)
        quantile = float(stats.t.isf((1 - confidence) / 2, self._freedom))
        half: Array = quantile * np.sqrt(np.square(deviation) + law)
        return [
            self._refuse(placement)
            or Interval(
                value=math.exp(log),
                low=math.exp(log - wide),
                high=math.exp(log + wide),
                unit="s/step",
                confidence=confidence,
            )
            for placement, log, wide in zip(placements, logs, half, strict=True)
        ]

    def _slopes(self, features: Array) -> Array:
        """Of the law's logs in each parameter, by central differences."""
        columns = [
            (_law(self._parameters + move, features) - _law(self._parameters - move, features))
            / (2 * _STEP)
            for move in _STEP * np.eye(len(self._parameters))
        ]
        return np.stack(columns, axis=1)

    def _refuse(self, placement: Placement) -> NotIdentified | None:
        if placement.nodes > 1 and all(p.nodes == 1 for p in self._placements):
            return NotIdentified(
                reason="no timing crosses nodes",
                remedy="a few steps on two nodes",
                unit="s/step",
            )
        if placement.devices > 1 and all(p.devices == 1 for p in self._placements):
            return NotIdentified(
                reason="every timing is of one device",
                remedy="a few steps on two devices",
                unit="s/step",
            )
        return None

    def _scaled(self, spots: Array) -> Array:
        return (spots - self._mean) / self._scale


def _features(placements: Sequence[Placement]) -> Array:
    return np.array([[p.local_batch, p.nodes, p.devices] for p in placements], dtype=float)


def _spots(placements: Sequence[Placement]) -> Array:
    return np.array(
        [
            [math.log(p.local_batch), math.log(p.nodes), math.log(p.devices), p.most, p.fewest]
            for p in placements
        ]
    )


def _start(features: Array, logs: Array) -> Array:
    """First values: half of the least time for the step, and exchange from a tenth of it on."""
    least = math.exp(float(logs.min()))
    each = least / (4 * float(features[:, 0].min()))
    return np.log([least / 2, each, least / 5, least / 50, least, least / 10, 1.0])


def _law(parameters: Array, features: Array) -> Array:
    """Logs of T = (T_grad^g + T_sync^g)^(1/g) of Qiao et al. 2021 (Pollux).

    T_grad = a + b m for m examples per device; T_sync = c + d max(n - 2, 0) over n devices, with
    another c and d where there is more than one node, and 0 on one device.
    """
    fixed, each, inside, inside_more, across, across_more, power = map(float, np.exp(parameters))
    batch, nodes, devices = features[:, 0], features[:, 1], features[:, 2]
    gradient = fixed + each * batch
    more = np.maximum(devices - 2, 0)
    crosses, shares = nodes > 1, devices > 1
    apart = crosses * (across + across_more * more) + ~crosses * (inside + inside_more * more)
    exchange = shares * apart
    power = 1 + power
    return np.log(gradient**power + exchange**power) / power
