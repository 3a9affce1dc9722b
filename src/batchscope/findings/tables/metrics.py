"""Which column of a table is the metric, and which way is better."""

import re
from collections.abc import Mapping, Sequence

import polars as pl

from batchscope.errors import InvalidInput

_LOWER = {"loss", "error", "err", "wer", "cer", "perplexity", "ppl", "bpb", "rmse", "mse", "mae"}
_HIGHER = {"acc", "accuracy", "auc", "auroc", "f", "bleu", "score", "precision", "recall", "iou"}
_TRAINING = {"train", "training"}


def find_metric(table: pl.DataFrame, columns: Sequence[str], roles: Mapping[str, str]) -> str:
    """The column to judge by: on validation data before training data, a metric before a loss."""
    free = [c for c in columns if c not in roles.values()]
    named = [c for c in free if set(_words(c)) & (_HIGHER | _LOWER | {"metric"})]
    on_training = [c for c in named if set(_words(c)) & _TRAINING]
    on_test = [c for c in named if "test" in _words(c)]
    ordered = [
        *(c for c in named if c not in (*on_training, *on_test)),
        *(roles[r] for r in ("val_loss",) if r in roles),
        *on_training,
        *(roles[r] for r in ("train_loss",) if r in roles),
        *on_test,
    ]
    if ordered:
        return ordered[0]
    numeric = [c for c in free if table[c].dtype.is_numeric()]
    if len(numeric) == 1:
        return numeric[0]
    raise InvalidInput(
        "no column of the table is known to be a metric",
        where="table",
        expected="a column such as val_loss, error or accuracy",
        do=f"say which: --map metric=COLUMN (it has {', '.join(columns)})",
    )


def _words(name: str) -> list[str]:
    """The words of a column's name: val/Acc_top1 has val, acc, top and 1."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
    return [part.lower() for part in parts]


def is_higher_better(table: pl.DataFrame, judged: str, roles: Mapping[str, str]) -> bool:
    """By its name; else by where it goes in most runs."""
    words = set(_words(judged))
    if words & _HIGHER:
        return True
    if words & _LOWER:
        return False
    place = next(roles[r] for r in ("step", "examples", "epoch") if r in roles)
    ends = (
        table.filter(pl.col(place).is_not_null() & pl.col(place).is_not_nan())
        .sort(place, maintain_order=True)
        .group_by("_run", maintain_order=True)
        .agg((pl.col(judged).last() - pl.col(judged).first()).alias("gain"))
    )
    rises = (ends["gain"].fill_null(0).fill_nan(0) > 0).sum()
    return rises > len(ends) / 2
