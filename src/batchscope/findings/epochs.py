"""How many epochs: where validation stops improving, where it turns, and what stopping saves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from batchscope.budget import Budget
from batchscope.estimate import Estimate, NotIdentified
from batchscope.findings.comparison import compare_settings
from batchscope.findings.curves import Curve
from batchscope.findings.seeds import estimate_over_seeds
from batchscope.findings.tuning import TunedSize

_STOPPING = Budget(1.0, "epochs", "plateau")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochFindings:
    """What further epochs brought at one batch size.

    Attributes:
        batch_size: at its best rate.
        unit: "epochs", or "examples" where nobody knows how many an epoch has.
        improves_until: the evaluation after which none is shown to be better.
        ends_at: the last evaluation.
        is_unfinished: it improved until the last one.
        turns_at: from where the metric is shown to get worse while training loss falls; None
            where it does not.
        bought: the change of the metric from `improves_until` to the end, above 0 where worse.
        stopping_saves: the share of the budget that ending at a plateau of validation would save,
            and what it would lose in the metric.
    """

    batch_size: int
    unit: str
    improves_until: float
    ends_at: float
    is_unfinished: bool
    turns_at: float | None
    bought: Estimate
    stopping_saves: Estimate
    stopping_loses: Estimate

    def to_dict(self) -> dict[str, object]:
        """The findings as JSON."""
        return {
            "batch_size": self.batch_size,
            "unit": self.unit,
            "improves_until": self.improves_until,
            "ends_at": self.ends_at,
            "is_unfinished": self.is_unfinished,
            "turns_at": self.turns_at,
            "bought": self.bought.to_dict(),
            "stopping_saves": self.stopping_saves.to_dict(),
            "stopping_loses": self.stopping_loses.to_dict(),
        }


def find_epochs(
    size: TunedSize, metric: str, *, higher: bool, epoch_examples: float | None, margin: float
) -> EpochFindings | None:
    """Compare evaluations of the same runs with each other, over seeds.

    Returns:
        None where fewer than two runs finished with the same evaluations.
    """
    curves = [curve for curve in size.curves if curve.finished]
    if len(curves) < 2 or len({tuple(c.columns["examples"]) for c in curves}) > 1:
        return None
    sign = -1.0 if higher else 1.0
    values = np.array([sign * curve.columns[metric] for curve in curves])
    if values.shape[1] < 3 or not np.isfinite(values).all():
        return None
    places = curves[0].columns["examples"] / (epoch_examples or 1.0)
    last = _improves_until(values)
    return EpochFindings(
        batch_size=size.batch_size,
        unit="epochs" if epoch_examples else "examples",
        improves_until=float(places[last]),
        ends_at=float(places[-1]),
        is_unfinished=last == values.shape[1] - 1,
        turns_at=_turns_at(values, curves, places, margin),
        bought=compare_settings(
            dict(enumerate(values[:, last])), dict(enumerate(values[:, -1])), margin=margin
        ).difference,
        **_stopping(size, values, places, epoch_examples),
    )


def _improves_until(values: np.ndarray) -> int:
    """The first evaluation that no later one is shown to better.

    Seeds are blocks: what is left of this evaluation and those after it, less each seed's and each
    evaluation's mean, is the noise of all of them. Each later mean is tested against this one, at
    5% over all of them (Bonferroni).
    """
    seeds, count = values.shape
    for at in range(count - 1):
        rest = values[:, at:]
        means = rest.mean(0)
        noise = rest - means - rest.mean(1, keepdims=True) + means.mean()
        later = count - 1 - at
        freedom = (seeds - 1) * later
        error = math.sqrt(2 / seeds * float((noise**2).sum()) / freedom)
        if means[0] - means[1:].min() <= float(stats.t.ppf(1 - 0.05 / later, freedom)) * error:
            return at
    return count - 1


def _turns_at(
    values: np.ndarray, curves: Sequence[Curve], places: np.ndarray, margin: float
) -> float | None:
    best = int(np.argmin(values.mean(0)))
    if best == values.shape[1] - 1:
        return None
    rise = compare_settings(
        dict(enumerate(values[:, best])), dict(enumerate(values[:, -1])), margin=margin
    )
    losses = np.array([curve.columns["train_loss"] for curve in curves])
    falls = bool((losses[:, -1] < losses[:, best]).all())
    return float(places[best]) if rise.is_worse and falls else None


def _stopping(
    size: TunedSize, values: np.ndarray, places: np.ndarray, epoch_examples: float | None
) -> dict[str, Estimate]:
    nothing = NotIdentified(
        reason="nobody knows how many examples an epoch has", remedy="--examples-per-epoch N"
    )
    if epoch_examples is None:
        return {"stopping_saves": nothing, "stopping_loses": nothing}
    saved: list[float] = []
    lost: list[float] = []
    for curve, row in zip([c for c in size.curves if c.finished], values, strict=True):
        losses = curve.columns["val_loss"]
        series = row if np.isnan(losses).any() else losses
        columns = {"val_loss": series.tolist(), "examples": curve.columns["examples"].tolist()}
        end = _STOPPING.first_end(columns, round(epoch_examples), within=len(series))
        end = len(series) - 1 if end is None else end
        saved.append(float(1 - places[end] / places[-1]))
        lost.append(float(row[end] - row[-1]))
    return {
        "stopping_saves": estimate_over_seeds(saved, unit="", bounds=(0.0, 1.0)),
        "stopping_loses": estimate_over_seeds(lost, unit=""),
    }
