"""The digits of scikit-learn: 1,797 real images of 8x8 pixels, split for good."""

from typing import Any, cast

import numpy as np
import torch
from sklearn import datasets, model_selection

from batchscope.gallery.splits import Splits

Images = tuple[torch.Tensor, torch.Tensor]
_SHIFTS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def load_split() -> Splits:
    """Images of shape (n, 1, 8, 8) in [0, 1] with their classes, shape (n,).

    1,077 to train on and with their one-pixel shifts 5,385; 360 to validate; 360 to test.
    """
    rest, test, rest_classes, test_classes = _split(*_load())
    train, val, train_classes, val_classes = _split(rest, rest_classes)
    inputs, labels = _as_tensors(train, train_classes)
    shifted = [torch.roll(inputs, shift, dims=(2, 3)) for shift in _SHIFTS]
    return {
        "train": (torch.cat([inputs, *shifted]), labels.repeat(1 + len(_SHIFTS))),
        "val": _as_tensors(val, val_classes),
        "test": _as_tensors(test, test_classes),
    }


def load_train_and_test() -> tuple[Images, Images]:
    """The same without a validation part and without shifts: 1,437 images, and the 360 to test."""
    train, test, train_classes, test_classes = _split(*_load())
    return _as_tensors(train, train_classes), _as_tensors(test, test_classes)


def _load() -> tuple[np.ndarray, np.ndarray]:
    return cast(Any, datasets).load_digits(return_X_y=True)


def _split(images: np.ndarray, classes: np.ndarray) -> list[np.ndarray]:
    return cast(Any, model_selection).train_test_split(
        images, classes, test_size=360, stratify=classes, random_state=0
    )


def _as_tensors(images: np.ndarray, classes: np.ndarray) -> Images:
    inputs = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    return inputs, torch.tensor(classes, dtype=torch.int64)
