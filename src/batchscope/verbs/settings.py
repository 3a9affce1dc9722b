"""All that was said for a study, in a file that repeats it."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa
import tomli_w

from batchscope.studies.connection import path_of
from batchscope.studies.plan import Plan
from batchscope.verbs.preparing import Prepared
from batchscope.workers.travel import PickledTask


def write_settings(
    prepared: Prepared, *, study: str, store: str, executor: str, jobs: int | None
) -> Path:
    """Write what repeats a study, beside its store or in this folder where that is a database.

    `batchscope study --config FILE` and `bs.study(**tomllib.load(file))` take it. A task that was
    built in Python has no name to write.

    Returns:
        Where it was written.
    """
    path = path_of(store)
    place = Path(f"batchscope-{study}.toml")
    if path is not None:
        place = path.with_name(f"{path.stem}-{study}.toml")
    said: dict[str, object] = {}
    if not isinstance(prepared.source, PickledTask | None):
        said["task"] = prepared.task.name
    said |= _describe(prepared.plan)
    if prepared.device_name is not None:
        said["device"] = prepared.device_name
    said |= {"executor": executor, "store": _without_password(store)}
    if jobs is not None:
        said["jobs"] = jobs
    _write(place, said)
    return place


def add_settings(place: Path, options: Mapping[str, float | int | str]) -> None:
    """Add options of the command line to a file that `write_settings` wrote."""
    said = tomllib.loads(place.read_text(encoding="utf-8"))
    said |= {name.replace("-", "_"): value for name, value in options.items()}
    _write(place, said)


def _write(place: Path, said: Mapping[str, object]) -> None:
    """Whole or not at all: another process on the same store may read it meanwhile."""
    part = place.with_name(f"{place.name}.{os.getpid()}")
    part.write_text(tomli_w.dumps(said), encoding="utf-8")
    part.replace(place)


def _describe(plan: Plan) -> dict[str, object]:
    said: dict[str, object] = {
        "batch_sizes": list(plan.batch_sizes),
        "budget": str(plan.budget),
        "objective": plan.objective,
        "effort": plan.effort,
        "seed": plan.seed,
        "seeds": plan.seeds,
        "precision": plan.precision,
    }
    if plan.target is not None:
        said["target"] = str(plan.target)
    if plan.learning_rates:
        said["learning_rates"] = list(plan.learning_rates)
    if plan.own_rates:
        said["learning_rates"] = {str(size): list(rates) for size, rates in plan.own_rates}
    if plan.exhaustive:
        said["exhaustive"] = True
    if plan.schedule != "constant":
        said["schedule"] = plan.schedule
    if plan.rule is not None:
        said |= {"rule": plan.rule, "base": plan.base}
    if plan.noise_scale is not None:
        said["noise_scale"] = plan.noise_scale
    if plan.also_read:
        said["also_read"] = [str(budget) for budget in plan.also_read]
    if plan.evaluate_every is not None:
        said["evaluate_every"] = str(plan.evaluate_every)
    if plan.devices > 1:
        said["devices"] = plan.devices
    if plan.tune:
        said["tune"] = list(plan.tune)
    if plan.detect is not None:
        said["detect"] = plan.detect
    return said


def _without_password(store: str) -> str:
    """A password belongs in ~/.pgpass, not in a file that is passed on."""
    if path_of(store) is not None:
        return store
    return sa.make_url(store).set(password=None).render_as_string()
