from collections.abc import Sequence
from typing import Any, cast

import pytest

from batchscope.budget import parse_budget
from batchscope.replications.autoencoding import Autoencoding, compare_sizes
from batchscope.replications.lab import Lab, Trained
from batchscope.studies.plan_checks import check_evaluate_every

from ..conftest import make_task
from .studies.trained import make_trained

RATE, EPOCHS = 0.1, 8


class StraightLab:
    """Runs of which all that is measured falls with the examples seen, along a line."""

    seeds = range(2)

    def __init__(self, *, is_quick: bool) -> None:
        self.is_quick = is_quick
        self.budgets: dict[tuple[int, ...], str] = {}
        self.looks: dict[tuple[int, ...], str] = {}

    def train(
        self,
        task: object,
        sizes: Sequence[int],
        *,
        budget: str,
        evaluate_every: str,
        **_: object,
    ) -> Trained:
        self.budgets[tuple(sizes)] = budget
        self.looks[tuple(sizes)] = evaluate_every
        check_evaluate_every(parse_budget(evaluate_every), 64)
        columns: dict[tuple[int, float, int], dict[str, list[float]]] = {}
        for size in sizes:
            per_epoch = -(-64 // size)
            last = int(budget[: -len("steps")]) if "steps" in budget else EPOCHS * per_epoch
            values = [1.0, fall(size, last)]
            for seed in self.seeds:
                columns[size, RATE, seed] = {
                    "step": [0.0, float(last)], "val_loss": values, "misread": values,
                }  # fmt: skip
        return make_trained(columns)


def fall(size: int, steps: int) -> float:
    return 1 - 1e-5 * size * steps


@pytest.mark.parametrize(("is_quick", "epochs"), [(True, EPOCHS // 2), (False, EPOCHS)])
def test_at_equal_updates_both_sizes_are_read_after_as_many_steps(
    is_quick: bool, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = StraightLab(is_quick=is_quick)
    monkeypatch.setattr(Trained, "explain", lambda *_: "")
    trained = Autoencoding(
        task=make_task(), rate=RATE, epochs=EPOCHS, column="misread", losses=(1e-4, 2.0)
    )

    found = compare_sizes(cast(Lab, cast(Any, lab)), trained, notes=())

    updates = epochs * -(-64 // 5)
    assert lab.budgets[(100,)] == f"{updates}steps"
    # The smaller one is looked at where these end at quick, the other no earlier than at its end.
    assert [every for sizes, every in lab.looks.items() if 5 in sizes] == ["2ep"]
    assert (EPOCHS // 2) % 2 == 0
    assert int(lab.looks[(100,)].removesuffix("ex")) >= updates * 64
    assert [one.low for one in found.seen["O2"]] == pytest.approx(
        [fall(100, updates) - fall(5, updates)] * 2
    )
    assert f"the {updates} of 5 in {epochs} epochs" in found.notes[-1]
