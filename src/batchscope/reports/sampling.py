"""Fewer of many: what a page can hold, chosen once and said."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

SEED = 0
CURVES_PER_SIZE = 20
RUNS = 4000


def sample(items: Sequence[T], most: int) -> list[T]:
    """At most so many of them, in their order, the same ones each time."""
    if len(items) <= most:
        return list(items)
    places = sorted(random.Random(SEED).sample(range(len(items)), most))
    return [items[place] for place in places]


def describe_sample(total: int, most: int, what: str) -> str:
    """What is left out, in a sentence; empty where nothing is."""
    if total <= most:
        return ""
    return f" Shown are {most:,} of {total:,} {what}, drawn with seed {SEED}."
