"""Where a study stands, seen from another terminal."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from batchscope.budget import Budget, parse_budget
from batchscope.records import Run
from batchscope.studies.claims import Claim, read_claims
from batchscope.studies.store import DEFAULT_STORE, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a study is.

    Attributes:
        done: how its finished runs ended, and how many did so.
        running: what living processes train now in this store.
        expected: runs in all, as far as the study knows; None from an older version.
        seconds: of training that its finished runs took.
        spared: the share of the examples of whole runs that were not seen, for the runs were ended
            early; 0 under a budget of seconds.
    """

    study: str
    task: str
    done: tuple[tuple[str, int], ...]
    running: tuple[Claim, ...]
    expected: int | None
    seconds: float
    spared: float = 0.0

    @property
    def left(self) -> int | None:
        """Runs that nobody has begun, about."""
        if self.expected is None:
            return None
        return max(0, self.expected - sum(n for _, n in self.done) - len(self.running))

    def to_dict(self) -> dict[str, object]:
        """The standing as JSON."""
        return {
            "study": self.study,
            "task": self.task,
            "done": dict(self.done),
            "running": [
                {
                    "run": claim.label,
                    "by": claim.owner,
                    "share": claim.progress.share,
                    "train_loss": claim.progress.loss,
                }
                for claim in self.running
            ],
            "left": self.left,
            "seconds": self.seconds,
            "spared": self.spared,
        }

    def __repr__(self) -> str:
        done = sum(number for _, number in self.done)
        return f"Study {self.study} of {self.task}: {done} done, {len(self.running)} running"


def status(store: str = DEFAULT_STORE, *, which: str | None = None) -> Standing:
    """Where a study stands: done, running with its current loss, left.

    Args:
        store: a path or a database URL; nothing in it is changed.
        which: a study's id or its task's name; None for the latest.

    Raises:
        StoreError: there is no such store or study.
    """
    with closing(Store(store, create=False)) as opened:
        row = opened.find_study(which)
        runs = opened.read_study(row["id"])
        train_size = opened.read_task(row["fingerprint"])["facts"]["train_size"]
        running = read_claims(opened)
    return Standing(
        study=row["id"],
        task=row["task"],
        done=tuple(sorted(Counter(run.status for run in runs).items())),
        running=tuple(sorted(running, key=lambda claim: claim.label)),
        expected=row["plan"].get("expected_runs"),
        seconds=sum(run.provenance.seconds for run in runs),
        spared=_share_spared(runs, parse_budget(row["plan"]["budget"]), train_size),
    )


def _share_spared(runs: Sequence[Run], budget: Budget, train_size: int) -> float:
    """Of the examples of whole runs, by those that finished."""
    whole = taken = 0.0
    for run in runs:
        steps = budget.steps(train_size, run.configuration.batch_size)
        if run.status == "finished" and steps is not None:
            whole += steps * run.configuration.batch_size
            taken += run.steps * run.configuration.batch_size
    return 1 - taken / whole if whole else 0.0
