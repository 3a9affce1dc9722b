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
        Exception: whatever the modules raise that the message needs.
    """
    return open_message(read_sealed(source))


def read_sealed(source: IO[bytes]) -> bytes:
    """Read one message whole, for `open_message`.

    Raises:
        EOFError: the other side is gone.
    """
    (length,) = _LENGTH.unpack(_read_exactly(source, _LENGTH.size))
    return _read_exactly(source, length)


def open_message(sealed: bytes) -> object:
    """What the other side has written.

    Raises:
        Exception: whatever the modules raise that the message needs.
    """
    return cloudpickle.loads(sealed)


def _read_exactly(source: IO[bytes], count: int) -> bytes:
    data = source.read(count)
    if len(data) < count:
        raise EOFError
    return data
