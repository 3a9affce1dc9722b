"""What Kerley et al. 2023 claim of autoencoders, of whatever they are trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from batchscope.findings.claims import Claim, Seen
from batchscope.replications.lab import Ends, Lab, Trained
from batchscope.replications.published import Figure, Line, Measured
from batchscope.task import Task

SOURCE = (
    "Kerley, Cai, Tang, Beason-Held, Resnick, Cutting, Landman, SPIE 2023, doi "
    "10.1117/12.2653643 (title unverified)"
)
_ONE, _SMALL, _LARGE = 1, 5, 100
_QUICK = (_ONE, _SMALL, _LARGE)
_ALL = (1, 2, 5, 10, 20, 50, 100)
_RATIO = 1.05
# What is misread takes as long to tell as an epoch; a cause needs the losses on the way.
_EVALUATE_EVERY = "2ep"
# The share that is misread, or of the variance that is not told.
_SHARES = (0.0, 1.0)


def declare_claims(misread: str, margin: float) -> tuple[Claim, ...]:
    """The claims and objections.

    Args:
        misread: what is worse in the latents of a larger batch: "sex is misread".
        margin: by how much, as a share.
    """

    def claim(
        id_: str, name: str, *, by: float, is_ratio: bool = False, objection: bool = False
    ) -> Claim:
        return Claim(
            id=id_,
            name=name,
            kind="objection" if objection else "claim",
            direction="below" if objection else "above",
            margin=by,
            is_ratio=is_ratio,
        )

    equal = "at equal updates"
    return (
        claim(
            "C1", f"the loss at 100 is more than {_RATIO} times that at 5", by=_RATIO, is_ratio=True
        ),
        claim("C2", f"{misread} from the latents of 100 more than of 5, by {margin}", by=margin),
        claim(
            "C3a", f"the loss at 5 is more than {_RATIO} times that at 1", by=_RATIO, is_ratio=True
        ),
        claim("C3b", f"{misread} from the latents of 5 more than of 1, by {margin}", by=margin),
        claim(
            "O1",
            f"{equal} the loss at 100 is under {_RATIO} times that at 5",
            by=_RATIO,
            is_ratio=True,
            objection=True,
        ),
        claim(
            "O2",
            f"{equal} {misread} from the latents of 100 more than of 5 by less than {margin}",
            by=margin,
            objection=True,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoencoding:
    """How an autoencoder is trained and read.

    Attributes:
        column: of what is misread; empty where nothing is read.
        losses: that a validation loss can have at least and at most.
    """

    task: Task
    rate: float
    epochs: int
    column: str = ""
    losses: tuple[float, float]


def _train(
    lab: Lab, trained: Autoencoding, sizes: Sequence[int], budget: str, *, every: str
) -> Trained:
    return lab.train(trained.task, sizes, rates=[trained.rate], budget=budget, evaluate_every=every)


def compare_losses(lab: Lab, trained: Autoencoding) -> list[Seen]:
    """Per seed the log of the loss at 100 over that at 5, at equal epochs."""
    sizes, rate = (_LARGE, _SMALL), trained.rate
    budget = f"{trained.epochs}ep"
    runs = _train(lab, trained, sizes[::-1], budget, every=budget)
    ends = [
        [runs.last((size, rate, s), "val_loss", censored=trained.losses) for size in sizes]
        for s in lab.seeds
    ]
    return [large.over(small) for large, small in ends]


def compare_sizes(lab: Lab, trained: Autoencoding, *, notes: Sequence[str]) -> Measured:
    """Equal epochs, then equal updates."""
    task, rate = trained.task, trained.rate
    sizes = _QUICK if lab.is_quick else _ALL
    # At 100 as many updates are twenty times as many epochs: at quick, half of them.
    epochs = trained.epochs // 2 if lab.is_quick else trained.epochs
    updates = epochs * -(-task.train_size // _SMALL)
    by_epochs = _train(lab, trained, sizes, f"{trained.epochs}ep", every=_EVALUATE_EVERY)
    by_updates = _train(lab, trained, [_LARGE], f"{updates}steps", every=f"{updates * _LARGE}ex")

    def loss(runs: Trained, size: int, seed: int, after: int | None) -> Ends:
        return runs.last((size, rate, seed), "val_loss", censored=trained.losses, after=after)

    def misread(runs: Trained, size: int, seed: int, after: int | None) -> Ends:
        return runs.last((size, rate, seed), trained.column, censored=_SHARES, after=after)

    def ratios(runs: Trained, large: int, small: int, after: int | None = None) -> list[Seen]:
        pairs = [(loss(runs, large, s, after), loss(by_epochs, small, s, after)) for s in lab.seeds]
        return [one.over(other) for one, other in pairs]

    def gaps(runs: Trained, large: int, small: int, after: int | None = None) -> list[Seen]:
        pairs = [
            (misread(runs, large, s, after), misread(by_epochs, small, s, after)) for s in lab.seeds
        ]
        return [one.minus(other) for one, other in pairs]

    means = [float(np.mean([loss(by_epochs, b, s, None).high for s in lab.seeds])) for b in sizes]
    return Measured(
        seen={
            "C1": ratios(by_epochs, _LARGE, _SMALL),
            "C2": gaps(by_epochs, _LARGE, _SMALL),
            "C3a": ratios(by_epochs, _SMALL, _ONE),
            "C3b": gaps(by_epochs, _SMALL, _ONE),
            "O1": ratios(by_updates, _LARGE, _SMALL, updates),
            "O2": gaps(by_updates, _LARGE, _SMALL, updates),
        },
        figures=(
            Figure(
                title=f"Validation loss after {trained.epochs} epochs, mean over seeds",
                x="batch size",
                y="mean squared error",
                lines=(Line(name="validation", places=list(sizes), values=means),),
            ),
        ),
        causes={"C1": by_epochs.explain(_SMALL, _LARGE)},
        notes=(
            *notes,
            f"Equal updates are the {updates:,} of {_SMALL} in {epochs} epochs.",
        ),
    )
