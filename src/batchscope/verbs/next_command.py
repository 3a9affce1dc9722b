"""The command that would narrow an answer most cheaply."""

import shlex
from collections.abc import Mapping
from typing import Any, cast

import sqlalchemy as sa

from batchscope.budget import Target
from batchscope.decisions.memory import MemoryNeed
from batchscope.decisions.terms import Terms
from batchscope.studies.plan import default_batch_sizes
from batchscope.studies.store import DEFAULT_STORE, Store
from batchscope.verbs.asking import write_exactly, write_options

_MORE = {"quick": "standard", "standard": "thorough"}


def write_next_command(
    store: Store, row: sa.RowMapping, terms: Terms, memory: MemoryNeed | None
) -> str:
    """The question as it was asked, a race with more effort and a study with twice the seeds."""
    plan = row["plan"]
    facts = store.read_task(row["fingerprint"])["facts"]
    if not facts["has_name"]:
        return f"bs.recommend(task, seeds={2 * plan['seeds']}, ...)"
    usual: dict[str, object] = {
        "batch-sizes": default_batch_sizes(facts["train_size"]),
        "budget": facts["budget"],
        "target": facts["target"],
        "objective": "time",
        "effort": "standard",
        "seed": 0,
        "precision": facts["precision"],
        "learning-rates": [],
        "exhaustive": False,
        "schedule": "constant",
        "rule": None,
        "base": 32,
        "noise-scale": None,
        "detect": None,
        "also-read": [],
        "evaluate-every": None,
        "tune": [],
    }
    words = ["batchscope", _verb_of(plan, terms, memory), row["task"]]
    more = _MORE.get(plan["effort"]) if plan.get("race") else None
    words += ["--effort", more] if more else ["--seeds", str(2 * plan["seeds"])]
    for name, value in usual.items():
        if name == "effort" and more:
            continue
        # A study of an older version said nothing of what it did not know.
        given = plan.get(name.replace("-", "_"), value)
        if given is True:
            words.append(f"--{name}")
        elif given != value:
            words += [f"--{name}", _write_option(given)]
    for name, given in write_options(terms, memory).items():
        words += [f"--{name}", given if isinstance(given, str) else write_exactly(given)]
    if store.place != DEFAULT_STORE:
        words += ["--store", store.place]
    return shlex.join(words)


def _verb_of(plan: Mapping[str, Any], terms: Terms, memory: MemoryNeed | None) -> str:
    """What made a plan: recommend asks for a race wherever there may be one."""
    if plan.get("evaluate_every"):
        return "study"
    is_race = plan.get("race") or plan["objective"] == "quality" or plan["effort"] == "frugal"
    return "recommend" if is_race or write_options(terms, memory) else "study"


def _write_option(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, cast(list[float], value)))
    return str(Target(**cast(dict[str, Any], value))) if isinstance(value, dict) else str(value)
