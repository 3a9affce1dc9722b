"""What is installed only where it is wanted."""

import importlib
from types import ModuleType

from batchscope.errors import InvalidInput


def import_extra(module: str, *, extra: str) -> ModuleType:
    """A module that one of the package's extras brings.

    Raises:
        InvalidInput: it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InvalidInput(
            f"{module} cannot be imported: {error}",
            where="--executor",
            expected="the extra that brings it",
            do=f'pip install "batchscope[{extra}]"',
        ) from error
