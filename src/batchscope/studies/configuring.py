"""The runs of a study as configurations, and the keys under which they may be stored."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from batchscope.budget import Budget
from batchscope.records import Configuration
from batchscope.studies.plan import Plan, configure
from batchscope.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMaker:
    """Makes the runs of a plan on a task.

    Attributes:
        fingerprint: of the task as it is now.
        earlier: the fingerprint whose runs count as this task's; None for none.
    """

    task: Task
    plan: Plan
    fingerprint: str
    earlier: str | None
    # Of a study of thousands of runs each is asked for again and again, and has its key to find.
    _made: dict[tuple[object, ...], Configuration] = field(
        default_factory=dict[tuple[object, ...], Configuration],
        init=False,
        repr=False,
        compare=False,
    )

    @property
    def seeds(self) -> range:
        """Those that are trained in any case."""
        return range(self.plan.seed, self.plan.seed + self.plan.seeds)

    def configure(
        self,
        batch_size: int,
        lr: float,
        seed: int,
        *,
        share: float = 1.0,
        tuned: Mapping[str, float] | None = None,
    ) -> Configuration:
        """One run, of a share of the budget; `tuned` constants replace the task's own."""
        asked = (batch_size, lr, seed, share, *sorted((tuned or {}).items()))
        if asked not in self._made:
            whole = configure(
                self.task,
                self.plan,
                self.fingerprint,
                batch_size=batch_size,
                lr=lr,
                seed=seed,
                tuned=tuned,
            )
            self._made[asked] = replace(whole, budget=self.budget_of(share))
        return self._made[asked]

    def budget_of(self, share: float) -> Budget:
        """A share of the budget."""
        whole = self.plan.budget
        return whole if share == 1 else replace(whole, amount=whole.amount * share)

    def keys_of(self, configuration: Configuration) -> Iterator[str]:
        """The keys under which a run of this study may be stored."""
        yield configuration.key
        if self.earlier is not None:
            yield replace(configuration, fingerprint=self.earlier).key

    def is_known(self, configuration: Configuration, done: Collection[str]) -> bool:
        """Whether a run is finished, by this task or by the earlier one that counts as it."""
        return any(key in done for key in self.keys_of(configuration))
