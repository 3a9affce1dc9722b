"""On what terms a recommendation was asked for: kept with its study, and written as options."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchscope.decisions.memory import MemoryNeed
from batchscope.decisions.terms import Terms
from batchscope.records import count_devices
from batchscope.verbs.opening import open_study
from batchscope.verbs.settings import add_settings
from batchscope.verbs.studying import Study


def keep_asked(study: Study, terms: Terms, memory: MemoryNeed | None) -> None:
    """Keep the terms with the study, for its page, and add them to the file that repeats it."""
    asked = {
        "terms": terms.to_dict(),
        "limits": {"deadline": terms.deadline, "max_cost": terms.max_cost},
        "memory": None if memory is None else memory.to_dict(),
    }
    with open_study(study) as store:
        store.note(study.id, asked=asked)
    add_settings(Path(study.settings), write_options(terms, memory))


def read_asked(plan: Mapping[str, Any]) -> tuple[Terms, MemoryNeed | None]:
    """The terms that a study was last asked on, or those that it was searched on."""
    devices = count_devices(plan["device_kind"])
    asked = plan.get("asked")
    if asked is None:
        searched = plan.get("terms") or {"objective": plan["objective"]}
        return Terms.from_dict(searched, devices=devices), None
    terms = Terms.from_dict(asked["terms"], devices=devices)
    memory = asked["memory"]
    # Studies that were asked earlier say nothing of devices.
    need = None if memory is None else replace(MemoryNeed(**memory), devices=devices)
    return replace(terms, **asked["limits"]), need


def write_options(terms: Terms, memory: MemoryNeed | None) -> dict[str, float | int | str]:
    """Terms as options of the command line say them; what is as usual is left out."""
    given: dict[str, float | int | str | None] = {
        "objective": terms.objective if terms.ranked_by == "time" != terms.objective else None,
        "deadline": None if terms.deadline is None else f"{write_exactly(terms.deadline)}s",
        "max-cost": terms.max_cost,
        "device-hour": terms.prices.device_hour,
        "kilowatt-hour": terms.prices.kilowatt_hour,
        "watts": None if terms.watts is None else _write_watts(terms.watts),
        "carbon": terms.prices.grams_per_kilowatt_hour,
        "waiting-hour": terms.prices.waiting_hour,
        "memory": None if memory is None else str(memory.limit_bytes),
    }
    return {name: value for name, value in given.items() if value}


def _write_watts(watts: float | Mapping[int, float]) -> str:
    if isinstance(watts, Mapping) and len(watts) > 1:
        return ",".join(f"{size}={write_exactly(each)}" for size, each in watts.items())
    # Those of one batch size alone count for all.
    each = next(iter(watts.values())) if isinstance(watts, Mapping) else watts
    return write_exactly(each)


def write_exactly(number: float) -> str:
    """A number of an option, so that it is read as the same one."""
    return f"{number:.15g}"
