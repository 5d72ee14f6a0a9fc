"""Which files are taken by their size and age, and in which order they are begun."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from airflow_provider_sftp_s3.engine.model import Outcome


class Dated(Protocol):
    """What can be put in order."""

    @property
    def label(self) -> str:
        """The source's URI."""

    @property
    def changed(self) -> float | None:
        """When it was changed last, in seconds since 1970; None: not known."""


T = TypeVar("T", bound=Dated)


@dataclass(frozen=True)
class Bounds:
    """
    Sizes in bytes and age in seconds outside which a file is left alone; None: no bound.

    :param now: returns the time in seconds since 1970.
    """

    min_size: int | None = None
    max_size: int | None = None
    max_age: float | None = None
    now: Callable[[], float] = time.time

    def reason_to_skip(self, size: int | None, changed: float | None) -> str | None:
        """Return why a file is left alone; None: it is not, as far as is known."""
        if size is not None and self.min_size is not None and size < self.min_size:
            return "too small"
        if size is not None and self.max_size is not None and size > self.max_size:
            return "too large"
        if changed is not None and self.max_age is not None and self.now() - changed > self.max_age:
            return "too old"
        return None

    def lacks(self, size: int | None, changed: float | None) -> str | None:
        """Return what is not known of a file, "size" or "age", and has a bound; None: nothing."""
        if size is None and (self.min_size is not None or self.max_size is not None):
            return "size"
        return "age" if changed is None and self.max_age is not None else None


def by_age(changed: float | None, name: str) -> tuple[float, str]:
    """Return what to sort by, to have the oldest first, and those last of which it is not known when they changed."""
    return (float("inf") if changed is None else changed, name)


async def oldest_first(found: AsyncGenerator[T | Outcome]) -> AsyncGenerator[T | Outcome]:
    """Yield what is decided as it comes; then all the others, the oldest first, and last those of unknown age."""
    files: list[T] = []
    async with contextlib.aclosing(found):
        async for item in found:
            if isinstance(item, Outcome):
                yield item
            else:
                files.append(item)
    files.sort(key=lambda file: by_age(file.changed, file.label))
    for file in files:
        yield file
