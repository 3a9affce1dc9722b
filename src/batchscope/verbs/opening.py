"""Find a study in its store, and what it was measured on."""

from collections.abc import Mapping
from contextlib import closing

import sqlalchemy as sa

from batchscope.studies.store import Store
from batchscope.verbs.studying import Study
from batchscope.verbs.timings import read_measurement


def open_study(study: Study | str) -> closing[Store]:
    """The store that a study is in."""
    place = study.store if isinstance(study, Study) else study
    return closing(Store(place, create=False))


def find_row(store: Store, study: Study | str, which: str | None) -> sa.RowMapping:
    """The study that is meant.

    Raises:
        StoreError: there is none.
    """
    return store.find_study(study.id if isinstance(study, Study) else which)


def read_origin(study: Study | str, *, which: str | None = None) -> Mapping[str, object]:
    """What a study was measured on: the plan and the latest run's provenance."""
    with open_study(study) as store:
        row = find_row(store, study, which)
        runs = store.read_study(row["id"])
        measured = read_measurement(store, row)
        return {
            "study": row["id"],
            "plan": row["plan"],
            "fingerprint": row["fingerprint"],
            "runs": max(runs, key=lambda run: run.provenance.started).provenance,
            "speed": None if measured is None else measured.provenance,
        }
