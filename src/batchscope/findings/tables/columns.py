"""Which column of somebody's table is what."""

import re
from collections.abc import Mapping, Sequence

from batchscope.errors import InvalidInput, suggest

# Names as people write them, letters and digits only; the first that a table has counts.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "run": ("run", "runid", "runname", "trial", "trialid", "number", "name", "id"),
    "batch_size": (
        "batchsize",
        "globalbatchsize",
        "trainbatchsize",
        "totalbatchsize",
        "bs",
        "batch",
        "perdevicetrainbatchsize",
    ),
    "learning_rate": ("learningrate", "lr", "baselr", "initlr", "maxlr", "eta"),
    "seed": ("seed", "randomseed", "repetition", "repeat", "rep"),
    "step": ("step", "steps", "globalstep", "iteration", "iterations", "iter", "update", "updates"),
    "examples": ("examples", "samples", "images", "tokens", "sequences", "examplesseen"),
    "epoch": ("epoch", "epochs", "statepoch"),
    "seconds": ("seconds", "runtime", "walltime", "times", "elapsed", "time"),
    "train_loss": ("trainloss", "trainingloss", "losstrain", "loss"),
    "val_loss": ("valloss", "validloss", "validationloss", "evalloss", "lossval", "devloss"),
    "status": ("status", "state"),
    "noise_scale": ("noisescale", "noisescalesamples", "gns", "gradientnoisescale"),
    "ghost_batch": ("ghostbatch", "ghostbatchsize", "bnbatch"),
}
ROLES = tuple(_NAMES)
_TEXT = ("run", "status")
_MEASURES = ("step", "examples", "epoch")


def recognise_columns(columns: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Role -> column: by what the user says, then by name.

    Args:
        given: role, or "metric" -> column.

    Raises:
        InvalidInput: a column that there is not, or none that says the batch size, or how far a
            run was.
    """
    for role, column in given.items():
        if role not in (*ROLES, "metric"):
            raise InvalidInput(
                f"there is nothing called {role!r} to map",
                where="--map",
                expected=f"one of {', '.join((*ROLES, 'metric'))}",
                do=suggest(role, (*ROLES, "metric"), "write for example --map batch_size=bs"),
            )
        check_column(column, columns, where="--map")
    by_name = {_plain(column): column for column in reversed(columns)}
    # A metric may be one of the losses as well.
    taken = {column for role, column in given.items() if role != "metric"}
    found = dict(given)
    for role, names in _NAMES.items():
        if role in found:
            continue
        column = next((by_name[name] for name in names if name in by_name), None)
        if column is not None and column not in taken:
            found[role] = column
            taken.add(column)
    _check(found, columns)
    return found


def check_column(column: str, columns: Sequence[str], *, where: str) -> None:
    """See that a table has a column.

    Raises:
        InvalidInput: it does not.
    """
    if column in columns:
        return
    raise InvalidInput(
        f"the table has no column {column!r}",
        where=where,
        expected=f"one of {', '.join(columns)}",
        do=suggest(column, columns),
    )


def find_named(metric: str, known: Sequence[str]) -> str:
    """The metric that is meant by a name, however it is spelled: eval_loss is val_loss.

    Raises:
        InvalidInput: there is none.
    """
    if metric in known:
        return metric
    by_name = {_plain(name): name for name in reversed(known)}
    roles = (role for role, names in _NAMES.items() if _plain(metric) in names)
    found = by_name.get(_plain(metric)) or next((role for role in roles if role in known), None)
    if found is None:
        raise InvalidInput(
            f"the table has no metric {metric!r}",
            where="--target",
            expected=f"one of {', '.join(known)}",
            do=suggest(metric, known),
        )
    return found


def parse_pairs(text: str | None, *, option: str) -> dict[str, str]:
    """Read batch_size=bs,metric=val/acc.

    Raises:
        InvalidInput: a part has no equals sign.
    """
    pairs: dict[str, str] = {}
    for part in (text or "").split(","):
        name, equals, value = part.partition("=")
        if part and not (equals and name.strip() and value.strip()):
            raise InvalidInput(
                f"{part!r} says nothing of a column",
                where=option,
                expected="name=value, with commas between several",
                do=f"write for example {option} batch_size=bs,metric=val/acc",
            )
        if part:
            pairs[name.strip()] = value.strip()
    return pairs


def is_text(role: str) -> bool:
    """Whether a role is no number."""
    return role in _TEXT


def _check(found: Mapping[str, str], columns: Sequence[str]) -> None:
    if "batch_size" not in found:
        raise InvalidInput(
            "no column of the table is the batch size",
            where="table",
            expected="a column such as batch_size or bs",
            do=f"say which: --map batch_size=COLUMN (it has {', '.join(columns)})",
        )
    if not any(role in found for role in _MEASURES):
        raise InvalidInput(
            "no column of the table says how far a run was",
            where="table",
            expected="a column such as step, examples or epoch",
            do=f"say which: --map step=COLUMN (it has {', '.join(columns)})",
        )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
