"""Every knob of a transfer, with its unit, its bound and what it costs."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from airflow_provider_sftp_s3.engine.errors import ConfigurationError

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

#: S3's own limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MIN_PART_SIZE = 5 * MiB
MAX_PART_SIZE = 5 * GiB
MAX_PARTS = 10_000
MAX_OBJECT_SIZE = 5 * 1024 * GiB


class Unset(float):
    """A default that tells itself apart from the same number where that was given."""


@dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """
    How a run uses the network and the memory.

    :param concurrency: files open at once on the one connection, 1 to 1,024. Far away servers (40 ms and more)
        gain from more, servers with few handles want less. Costs a file handle on the server each.
    :param memory_budget: bytes of file contents held at once, at least 16 MiB. Small files cost their size,
        larger ones their read-ahead and the parts in flight; a file waits until its share is free.
        The line to S3 must be able to send this many bytes within ``idle_timeout``.
    :param part_size: bytes of one part of a multipart upload, 5 MiB to 5 GiB (S3's bounds); files up to this size
        go in one request. Grows by itself with the file, so that 10,000 parts are enough.
    :param conn_timeout: seconds for connect and login, more than 0. What is given wins over the sftp connection's, even
        where it is the default's number.
    :param idle_timeout: seconds with no answer while some are awaited, more than 0.
    :param file_timeout: seconds for one file as a whole, more than 0; None: no limit.
    :raises ConfigurationError: a value is of the wrong type or outside its bound; the message names it.
    """

    concurrency: int = 64
    memory_budget: int = 128 * MiB
    part_size: int = 8 * MiB
    conn_timeout: float = Unset(10.0)
    idle_timeout: float = 60.0
    file_timeout: float | None = None

    def __post_init__(self) -> None:
        self._check_int("concurrency", 1, 1024)
        self._check_int("memory_budget", 16 * MiB, 1024 * GiB)
        self._check_int("part_size", MIN_PART_SIZE, MAX_PART_SIZE)
        if self.part_size > self.memory_budget // 2:
            raise ConfigurationError(
                f"options: part_size ({self.part_size}) must be at most half of memory_budget ({self.memory_budget}): "
                "one part is filled while another is sent"
            )
        for name in ("conn_timeout", "idle_timeout", "file_timeout"):
            value = getattr(self, name)
            if name == "file_timeout" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise ConfigurationError(f"options: {name} must be a number of seconds above 0, not {value!r}")

    def _check_int(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ConfigurationError(f"options: {name} must be a whole number from {low} to {high}, not {value!r}")

    @classmethod
    def of(cls, value: TransferOptions | Mapping[str, Any] | None) -> TransferOptions:
        """
        Return options from options, from a mapping of some of their fields, or the defaults from None.

        :raises ConfigurationError: an unknown field (the message names the nearest one), or a bad value.
        """
        if isinstance(value, cls):
            return value
        if value is None:
            return cls()
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"options must be TransferOptions or a dict of its fields, not {value!r}")
        known = [field.name for field in fields(cls)]
        for name in value:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
                raise ConfigurationError(f"options: there is no {name!r}; {hint}")
        return cls(**value)

    def part_size_for(self, size: int) -> int:
        """Return the bytes of one part for a file of `size` bytes, so that 10,000 parts hold it."""
        return max(self.part_size, math.ceil(size / MAX_PARTS))
