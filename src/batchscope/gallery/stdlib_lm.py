"""A byte-level transformer on the source files of Python's own standard library."""

import sysconfig
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from batchscope.budget import epochs
from batchscope.errors import InvalidTask
from batchscope.gallery.splits import Splits
from batchscope.optimizers import AdamW
from batchscope.task import Task

_WINDOW = 64
_COUNTS = {"train": 2048, "val": 128, "test": 128}
_WIDTH = 64


def load_split() -> Splits:
    """Windows of 65 bytes, shape (n, 65), evenly spread over the files in the order of their names.

    Every ninth window is held out, in turn for validation and for the test.

    Raises:
        InvalidTask: this Python came without the source of its library.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    text = b"\n".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    total = sum(_COUNTS.values())
    if len(text) < total * (_WINDOW + 1):
        raise InvalidTask(
            f"{folder} holds too little Python source",
            where="stdlib-lm",
            expected=f"{total * (_WINDOW + 1):,} bytes",
            do="use a Python that was installed with its library's source",
        )
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    starts = torch.arange(total) * ((len(data) - _WINDOW - 1) // total)
    windows = data[starts[:, None] + torch.arange(_WINDOW + 1)].long()
    held_out = torch.arange(total) % 9 == 0
    return {
        "train": (windows[~held_out],),
        "val": (windows[held_out][0::2],),
        "test": (windows[held_out][1::2],),
    }


class ByteTransformer(nn.Module):
    """Two causal layers with four heads each; bytes in, logits of the next byte out.

    Args:
        width: of the layers, a multiple of 4.
        window: bytes that it looks at, at most.
    """

    mask: torch.Tensor

    def __init__(self, width: int = _WIDTH, window: int = _WINDOW) -> None:
        super().__init__()
        self.bytes = nn.Embedding(256, width)
        self.places = nn.Embedding(window, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 256)
        self.register_buffer(
            "mask", nn.Transformer.generate_square_subsequent_mask(window), persistent=False
        )

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        """Logits of shape (n, bytes, 256) from bytes of shape (n, bytes), the window's at most."""
        length = text.shape[1]
        hidden = self.bytes(text) + self.places.weight[:length]
        for layer in self.layers:
            hidden = layer(hidden, src_mask=self.mask[:length, :length], is_causal=True)
        return self.head(self.norm(hidden))


def mean_loss(model: nn.Module, batch: tuple[torch.Tensor]) -> torch.Tensor:
    """Nats per byte."""
    (windows,) = batch
    return F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())


task = Task(
    name="stdlib-lm",
    model=ByteTransformer,
    loss=mean_loss,
    **load_split(),
    optimizer=AdamW(lr=3e-3),
    unit="sequences of 64 bytes",
    budget=epochs(4),
)
