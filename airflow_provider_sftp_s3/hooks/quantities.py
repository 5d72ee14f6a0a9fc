"""Durations and sizes as people write them: "1h30m", "500 MB"."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

_NUMBER = r"\d{1,18}(?:\.\d{1,18})?"
_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"\s*".join(rf"(?:(?P<{unit}>{_NUMBER})\s*{unit})?" for unit in _SECONDS), re.ASCII)

_BYTES = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", 1):
    _BYTES |= {f"{_letter}b": 1000**_power, f"{_letter}ib": 1024**_power}
_SIZE = re.compile(rf"({_NUMBER})\s*([a-z]*)", re.ASCII)


def duration(value: Any) -> timedelta:
    """
    Return a duration of 0 or more, from seconds, a text such as "90", "90s", "1h30m", "7d", or as it is.

    :raises ValueError: it is none.
    """
    given = value
    try:
        if isinstance(value, str):
            value = value.strip()
            if re.fullmatch(_NUMBER, value, re.ASCII):
                value = float(value)
            elif value and (parts := _DURATION.fullmatch(value)):
                value = sum(float(number) * _SECONDS[unit] for unit, number in parts.groupdict("0").items())
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = timedelta(seconds=value)
    except (OverflowError, ValueError):  # infinite, not a number, or more than a timedelta holds
        raise ValueError(f"{given!r} is no duration") from None
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise ValueError(f"{given!r} is no duration")
    return value


def units_of(seconds: int) -> list[str]:
    """Return a length of time in days, hours, minutes and seconds, the largest first: ``["1h", "30m"]``."""
    parts = []
    for unit in "dhms":
        count, seconds = divmod(seconds, _SECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return parts or ["0s"]


def size(value: Any) -> int:
    """
    Return a number of bytes above 0, from a whole number, or a text such as "1048576", "500 MB", "10GiB".

    :raises ValueError: it is none.
    """
    given = value
    if isinstance(value, str):
        parts = _SIZE.fullmatch(value.strip().lower())
        exact = Decimal(parts[1]) * _BYTES[parts[2]] if parts and parts[2] in _BYTES else Decimal("0.5")
        value = int(exact) if exact == exact.to_integral_value() else 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{given!r} is no number of bytes above 0")
    return value
