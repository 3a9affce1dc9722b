"""Everything random in a run, from one seed."""

import random
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch: initial weights and dropout follow from it."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def keep_randomness() -> Generator[None]:
    """Leave the caller's random numbers, in Python, NumPy and torch, as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def draw_order(size: int, *, seed: int, epoch: int) -> torch.Tensor:
    """The order of examples in one epoch, shape (size,).

    It depends on the seed and the epoch only, so that runs of one seed see the same order at
    every batch size.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(size, generator=generator)
