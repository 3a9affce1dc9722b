"""What a study has in the store, and what it asks for next."""

from collections.abc import Mapping, Sequence

from batchscope.records import Configuration, Run
from batchscope.studies.design import StudyDesign
from batchscope.studies.store import Store


class StudyRuns:
    """The finished runs of a study in the store, as they grow."""

    def __init__(self, store: Store, study: str, design: StudyDesign) -> None:
        self._store = store
        self._study = study
        self._design = design
        self._runs: dict[str, Run] = {}

    @property
    def finished(self) -> list[Run]:
        """All of them, in a fixed order."""
        return sorted(
            self._runs.values(),
            key=lambda run: (
                run.configuration.batch_size,
                run.configuration.learning_rate,
                run.configuration.seed,
            ),
        )

    def next_runs(self) -> list[Configuration]:
        """What to train next; runs that the store has already are taken, not trained."""
        while True:
            wanted = self._design.next_configurations(self.finished)
            found = self._fetch(wanted)
            if not found:
                return wanted
            self._runs |= found
            self._store.add_to_study(self._study, found)

    def _fetch(self, wanted: Sequence[Configuration]) -> Mapping[str, Run]:
        keys = {key: c for c in wanted for key in self._design.keys_of(c)}
        if not keys:
            return {}
        found = {run.key: run for run in self._store.read_runs(keys)}
        # Of a run and its twin from before an edit, the run itself counts.
        chosen = (
            next((key for key in self._design.keys_of(c) if key in found), None) for c in wanted
        )
        return {key: found[key] for key in chosen if key is not None}
