"""Messages between a driver and its workers: a length, then a pickle."""

import struct
from typing import IO

import cloudpickle

_LENGTH = struct.Struct(">Q")


def write_message(sink: IO[bytes], message: object) -> None:
    """Write one message whole."""
    payload = cloudpickle.dumps(message)
    sink.write(_LENGTH.pack(len(payload)) + payload)
    sink.flush()


def read_message(source: IO[bytes]) -> object:
    """Read one message whole.

    Raises:
        EOFError: the other side is gone.
    """
    (length,) = _LENGTH.unpack(_read_exactly(source, _LENGTH.size))
    return cloudpickle.loads(_read_exactly(source, length))


def _read_exactly(source: IO[bytes], count: int) -> bytes:
    data = source.read(count)
    if len(data) < count:
        raise EOFError
    return data
