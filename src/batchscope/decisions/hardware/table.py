"""The devices that are known, and those that a user adds."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import cast

from batchscope.errors import InvalidInput, suggest

_GIGA, _TERA = 1e9, 1e12
# Of a number that is written: beyond it no device is.
_MOST = 1e15
_PRECISIONS = ("float32", "tf32", "bf16", "fp16")
_PRICE = "device_hour"
_NEEDED = ("memory_gb", "bandwidth_gb_s")
_NUMBERS = (*_NEEDED, *(f"{name}_tflops" for name in _PRECISIONS), "watts", _PRICE)
_KEYS = (*_NUMBERS, "reported_as")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What is known of one device.

    Attributes:
        reported_as: the name that its driver gives it; None where nobody says.
        memory: in bytes.
        arithmetic: precision -> peak operations per second; "tf32" is what float32 convolutions
            may use, and no precision of a task.
        bandwidth: of its memory, in bytes per second.
        watts: at full power; None where unknown.
        device_hour: price of an hour; None where unknown.
    """

    name: str
    reported_as: str | None
    memory: float
    arithmetic: Mapping[str, float]
    bandwidth: float
    watts: float | None
    device_hour: float | None


def read_devices(
    path: str | None = None, *, prices: Mapping[str, float] | None = None
) -> tuple[Device, ...]:
    """The built-in table, and a user's, whose devices go before those of the same name.

    Args:
        path: a TOML file with a section per device; None for the built-in table alone.
        prices: device -> price of an hour, before those of the tables.

    Raises:
        InvalidInput: the file cannot be read, or says what no device has; a price is of none.
    """
    devices = _parse(read_built_in(), "the built-in table")
    if path is not None:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _refuse(f"cannot be read: {error}", path, "a TOML file in UTF-8") from error
        devices |= _parse(text, path)
    for name, price in (prices or {}).items():
        if name not in devices or not 0 <= price < math.inf:
            is_known = name in devices
            raise InvalidInput(
                f"a price of {price:g} for the device {name!r}",
                where="--price",
                expected=f"a number from 0 on for one of {', '.join(devices)}",
                do="mend the number"
                if is_known
                else suggest(name, devices, "add the device with --table"),
            )
        devices[name] = replace(devices[name], device_hour=price)
    return tuple(devices.values())


def read_built_in() -> str:
    """The built-in table as it is written."""
    table = files("batchscope.decisions.hardware").joinpath("devices.toml")
    return table.read_text(encoding="utf-8")


def _parse(text: str, where: str) -> dict[str, Device]:
    try:
        sections = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _refuse(f"is no TOML: {error}", where, "a section per device") from error
    return {name: _make(name, section, where) for name, section in sections.items()}


def _make(name: str, section: object, where: str) -> Device:
    at = f"{where}, [{name}]"
    if not isinstance(section, dict):
        raise _refuse(f"{name} is no section", where, f"[{name}] with its numbers below")
    said = cast(dict[str, object], section)
    for key, value in said.items():
        if key not in _KEYS:
            raise _refuse(f"there is no {key!r}", at, suggest(key, _KEYS, ", ".join(_KEYS)))
        if key in _NUMBERS and not _is_amount(value, or_nothing=key == _PRICE):
            raise _refuse(
                f"{key} is {value!r}", at, f"a number above 0 and below {_MOST:g}, or of a price 0"
            )
    missing = [key for key in _NEEDED if key not in said]
    arithmetic = {
        precision: _TERA * cast(float, said[f"{precision}_tflops"])
        for precision in _PRECISIONS
        if f"{precision}_tflops" in said
    }
    if missing or not set(arithmetic) - {"tf32"}:
        what = missing[0] if missing else "float32_tflops, bf16_tflops or fp16_tflops"
        raise _refuse(f"{what} is missing", at, ", ".join(_NEEDED) + " and peak arithmetic")
    reported = said.get("reported_as")
    return Device(
        name=name,
        reported_as=None if reported is None else str(reported),
        memory=_GIGA * cast(float, said["memory_gb"]),
        arithmetic=arithmetic,
        bandwidth=_GIGA * cast(float, said["bandwidth_gb_s"]),
        watts=cast("float | None", said.get("watts")),
        device_hour=cast("float | None", said.get(_PRICE)),
    )


def _is_amount(value: object, *, or_nothing: bool) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 < value < _MOST or (or_nothing and value == 0)


def _refuse(what: str, where: str, expected: str) -> InvalidInput:
    return InvalidInput(
        f"the table of devices: {what}",
        where=where,
        expected=expected,
        do="write it as the built-in table is: batchscope devices --example",
    )
