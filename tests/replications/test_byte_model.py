from pathlib import Path

import pytest

from batchscope.replications import byte_model
from batchscope.replications.byte_model import pretrain


def test_what_was_pretrained_once_is_read_from_beside_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_model, "_STEPS", 2)
    store = str(tmp_path / "store.db")

    first = pretrain(store)
    monkeypatch.setattr(byte_model, "reach_checkpoint", None)
    second = pretrain(store)

    assert [path.suffix for path in tmp_path.iterdir()] == [".pt"]
    assert all(first[name].equal(second[name]) for name in first)
