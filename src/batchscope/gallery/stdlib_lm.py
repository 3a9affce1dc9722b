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
    total = sum(_COUNTS.values())
    windows = cut_windows(read_source(), total, _WINDOW + 1)
    held_out = torch.arange(total) % 9 == 0
    return {
        "train": (windows[~held_out],),
        "val": (windows[held_out][0::2],),
        "test": (windows[held_out][1::2],),
    }


def read_source() -> bytes:
    """The modules at the top of the library, in the order of their names."""
    folder = Path(sysconfig.get_path("stdlib"))
    return b"\n".join(path.read_bytes() for path in sorted(folder.glob("*.py")))


def cut_windows(text: bytes, count: int, length: int) -> torch.Tensor:
    """Windows of shape (count, length), evenly spread over a text and apart from one another.

    Raises:
        InvalidTask: the text is too short for so many.
    """
    if len(text) < count * length:
        raise InvalidTask(
            f"{len(text):,} bytes of text, of Python's library where nothing else is said",
            where="a byte-level language model",
            expected=f"{count * length:,} bytes",
            do="use a Python that was installed with its library's source, or a longer text",
        )
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    starts = torch.arange(count) * ((len(data) - length) // count)
    return data[starts[:, None] + torch.arange(length)].long()


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
