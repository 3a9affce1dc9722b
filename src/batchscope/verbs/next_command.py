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
        "tune": [],
    }
    words = ["batchscope", _verb_of(plan, terms), row["task"]]
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
    words += _write_terms(terms)
    if memory is not None:
        words += ["--memory", str(memory.limit_bytes)]
    if store.place != DEFAULT_STORE:
        words += ["--store", store.place]
    return shlex.join(words)


def _write_terms(terms: Terms) -> list[str]:
    given = {
        "objective": terms.objective if terms.ranked_by == "time" != terms.objective else None,
        "deadline": None if terms.deadline is None else f"{terms.deadline:g}s",
        "max-cost": terms.max_cost,
        "device-hour": terms.prices.device_hour,
        "kilowatt-hour": terms.prices.kilowatt_hour,
        "watts": None if terms.watts is None else _write_watts(terms.watts),
        "carbon": terms.prices.grams_per_kilowatt_hour,
    }
    return [
        word
        for name, value in given.items()
        if value
        for word in (f"--{name}", value if isinstance(value, str) else f"{value:g}")
    ]


def _write_watts(watts: float | Mapping[int, float]) -> str:
    if isinstance(watts, Mapping):
        return ",".join(f"{size}={each:g}" for size, each in watts.items())
    return f"{watts:g}"


def _verb_of(plan: Mapping[str, Any], terms: Terms) -> str:
    """What made a plan: recommend asks for a race wherever there may be one."""
    is_race = plan.get("race") or plan["objective"] == "quality" or plan["effort"] == "frugal"
    return "recommend" if is_race or _write_terms(terms) else "study"


def _write_option(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, cast(list[float], value)))
    return str(Target(**cast(dict[str, Any], value))) if isinstance(value, dict) else str(value)
