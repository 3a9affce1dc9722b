"""Ready-made tasks on data that every machine has, a file each."""

from collections.abc import Mapping

BUILT_IN: Mapping[str, str] = {
    "digits-cnn": "8x8 images of digits, a small convolutional net (SGD)",
    "digits-mlp": "the same images, a two-layer perceptron (Adam)",
    "blobs-mlp": "the textbook's three clouds of points, a perceptron (SGD)",
    "breast-cancer-mlp": "30 measurements of 569 tumours, a perceptron (AdamW)",
    "stdlib-lm": "Python's own source files, a byte transformer (AdamW)",
}


def module_of(name: str) -> str:
    """The module in which a built-in task is defined."""
    return f"{__name__}.{name.replace('-', '_')}"
