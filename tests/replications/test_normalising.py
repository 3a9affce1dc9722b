from pathlib import Path

import pytest
from torch import nn

from batchscope.replications.normalising import compare_gaps, make_task

from .labs import make_lab


def test_no_batch_is_short_at_16_or_512() -> None:
    assert make_task(is_normed=True).train_size % 512 == 0


def test_the_nets_differ_in_batch_norm_alone() -> None:
    normed, plain = (list(make_task(is_normed=one).model().children()) for one in (True, False))

    rest = [type(layer) for layer in normed if not isinstance(layer, nn.BatchNorm1d)]
    assert rest == [type(layer) for layer in plain]
    assert len(normed) == len(plain) + 2


@pytest.mark.slow
def test_gaps_are_read_where_the_training_loss_is_the_same(tmp_path: Path) -> None:
    over_sizes, over_ghosts, said = compare_gaps(make_lab(tmp_path))

    # Every arm got there: nothing is known from both ends only.
    assert all(seen.low == seen.high for seen in (*over_sizes, *over_ghosts))
    assert "without batch norm" in said
