import importlib

import pytest
import torch

import batchscope as bs
from batchscope.gallery import BUILT_IN, module_of
from batchscope.training.check import check_task


def load(name: str) -> bs.Task:
    return importlib.import_module(module_of(name)).task


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_task_carries_its_name_and_can_be_trained(name: str) -> None:
    task = load(name)

    assert task.name == name
    assert task.test is not None
    check_task(task, precision="float32", device=torch.device("cpu"))


def test_digits_are_split_as_documented() -> None:
    task = load("digits-cnn")

    assert task.train_size == 5 * 1077
    assert len(task.val) == len(task.test) == 360
    assert sum(p.numel() for p in task.model().parameters()) < 20_000


@pytest.mark.parametrize("name", ["digits-cnn", "blobs-mlp", "breast-cancer-mlp", "stdlib-lm"])
def test_no_example_is_in_two_parts(name: str) -> None:
    parts = [
        {row.numpy().tobytes() for row in data.tensors[0]} for data in load(name).datasets.values()
    ]

    shared = [parts[i] & parts[j] for i in range(3) for j in range(i)]
    # Python's files repeat a few windows of 65 bytes, such as lines of a table.
    assert sum(map(len, shared)) <= (10 if name == "stdlib-lm" else 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(BUILT_IN) - {"digits-cnn"}))
def test_every_built_in_task_gets_a_recommendation_with_a_prediction(
    name: str, tmp_path: object
) -> None:
    budget = bs.epochs(2) if name == "stdlib-lm" else None
    sizes = [16, 64, 256] if name == "stdlib-lm" else None
    found = bs.recommend(name, budget=budget, batch_sizes=sizes, store=f"{tmp_path}/runs.db")

    assert isinstance(found.predicted.seconds, bs.Interval)
    assert found.batch_size in found.plateau
