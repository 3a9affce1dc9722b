"""Batchscope: which batch size to use, and what follows from it.

Names are resolved on first use, so that `import batchscope` loads no torch.
"""

import lazy_loader

from batchscope.reports.notebook import show_results_richly

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # pyright: ignore[reportUnknownVariableType]

show_results_richly()
