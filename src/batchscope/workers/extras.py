"""What is installed only where it is wanted."""

import importlib
from types import ModuleType

from batchscope.errors import InvalidInput


def import_extra(module: str, *, extra: str, where: str = "--executor") -> ModuleType:
    """A module that one of the package's extras brings.

    Raises:
        InvalidInput: it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InvalidInput(
            f"{module} cannot be imported: {error}",
            where=where,
            expected="the extra that brings it",
            do=f'pip install "batchscope[{extra}]"',
        ) from error
