"""The three parts of a built-in task's data."""

from typing import TypedDict

from batchscope.task import Data


class Splits(TypedDict):
    """Data to train on, to choose by, and to report."""

    train: Data
    val: Data
    test: Data
