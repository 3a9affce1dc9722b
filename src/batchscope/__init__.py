"""Batchscope: which batch size to use, and what follows from it.

Names are resolved on first use, so that `import batchscope` loads no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
