from dataclasses import replace

import batchscope as bs
from batchscope.records import Configuration


def make_configuration() -> Configuration:
    return Configuration(
        fingerprint="0" * 16,
        batch_size=32,
        micro_batch=32,
        optimizer="SGD",
        hyper_parameters={"lr": 0.1, "momentum": 0.9},
        seed=0,
        budget=bs.epochs(2),
        precision="float32",
        device_kind="cpu",
        torch_version="2.13.0",
    )


def test_everything_that_decides_a_trajectory_changes_its_key() -> None:
    first = make_configuration()
    changes: dict[str, object] = {
        "fingerprint": "1" * 16,
        "batch_size": 64,
        "micro_batch": 16,
        "optimizer": "Adam",
        "hyper_parameters": {"lr": 0.2, "momentum": 0.9},
        "seed": 1,
        "budget": bs.epochs(3),
        "precision": "bf16",
        "device_kind": "cuda",
        "torch_version": "2.14.0",
        "schedule": "cosine",
        "also_read": ("1ep",),
        "evaluate_every": "1ep",
    }

    keys = {replace(first, **{name: value}).key for name, value in changes.items()}

    assert set(changes) == set(Configuration.__dataclass_fields__)
    assert len(keys | {first.key}) == len(changes) + 1


def test_the_order_of_hyper_parameters_does_not_matter() -> None:
    first = make_configuration()

    again = replace(first, hyper_parameters={"momentum": 0.9, "lr": 0.1})

    assert again.key == first.key
