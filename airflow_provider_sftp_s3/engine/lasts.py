"""
`last`: files that go after all others of their directory, and of the directories beneath it.

The others go as they are found. Once all are found and settled, the last files go: those of the deepest directories
first, since one that is beneath another one's directory is one of its others. Where something of a directory is
unfinished (it failed, is young, waits or is over a cap), the last files of that directory stay, and those of all
directories that it is in.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from itertools import groupby
from typing import Generic, Protocol, TypeVar

from airflow_provider_sftp_s3.engine.globs import Patterns
from airflow_provider_sftp_s3.engine.model import Outcome

#: Why a last file is left where it is.
HELD = "waits for others of its directory"
#: Seconds by which a last file has to be younger than the search, to have come in it: both times are whole seconds.
ROUNDED_BY = 1.0
#: Directories that are looked into at once for what the run has not found. A push may have 8 MiB of its ledger in
#: memory for each, and asks S3 for many objects at once in each.
LOOKED_INTO_AT_ONCE = 4


class Waiting(Protocol):
    """What can be held back."""

    @property
    def label(self) -> str:
        """The source's URI."""

    @property
    def changed(self) -> float | None:
        """When it was changed last, in seconds since 1970; None: not known."""


T = TypeVar("T", bound=Waiting)


def directory_of(name: str) -> str:
    """Return the directory that a name is in; "" for one in none."""
    return name.rpartition("/")[0]


class LastNames:
    """
    Tells by its name which file is a last one.

    :param globs: of `last`, matched against what is behind `top` in a name.
    :param top: what the names begin with.
    """

    def __init__(self, globs: Iterable[str], top: str = "") -> None:
        self._patterns = Patterns("last", globs)
        self._top = top

    def is_last(self, name: str) -> bool:
        """Say whether a file of this name goes after the others of its directory."""
        return self._patterns.match(name.removeprefix(self._top))


class Lasts(Generic[T]):
    """
    The last files of one run.

    :param name_of: returns the name of a file, with its directories.
    :param others_in: yields the names of the unfinished files in a directory, and beneath it, that the run does not
        find by itself. None: it finds all.
    :param now: returns the time by the clock that the files' times are by. A last file that comes while the run looks
        for files stays: others may have come with it where the run had looked before. None: nobody knows such a time.
    """

    def __init__(
        self,
        names: LastNames,
        name_of: Callable[[T], str],
        others_in: Callable[[str], AsyncGenerator[str]] | None = None,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._is_last = names.is_last
        self._name_of = name_of
        self._others_in = others_in
        self._now = now
        #: directories in which something is unfinished, or beneath which it is
        self._unfinished: set[str] = set()
        self._under_way = 0
        self._all_settled = asyncio.Event()

    async def after_others(self, found: AsyncGenerator[T | Outcome]) -> AsyncGenerator[T | Outcome]:
        """
        Yield what is found, and each last file after all others of its directory. One that stays is an outcome.

        :meth:`settled` has to be told of each file that is yielded.
        """
        newest = math.inf if self._now is None else self._now() + ROUNDED_BY
        lasts: dict[str, list[T]] = {}
        async with contextlib.aclosing(found):
            async for item in found:
                if isinstance(item, Outcome):
                    yield item
                elif self._is_last(name := self._name_of(item)):
                    lasts.setdefault(directory_of(name), []).append(item)
                else:
                    self._under_way += 1
                    yield item
        for _, level in groupby(sorted(lasts, key=_depth, reverse=True), key=_depth):
            directories = list(level)
            await self._wait()
            if self._others_in is not None:
                await self._look_for_others(directories, self._others_in)
            for directory in directories:
                stays = directory in self._unfinished
                for item in lasts[directory]:
                    if stays or (item.changed is not None and item.changed > newest):
                        self._note_unfinished(self._name_of(item))
                        yield Outcome(item.label, "skipped", reason=HELD, changed=item.changed, left=True)
                    else:
                        self._under_way += 1
                        yield item

    def settled(self, item: T, is_done: bool) -> None:
        """Take note of what has become of a file: nothing more will be done about it in this run."""
        if not is_done:
            self._note_unfinished(self._name_of(item))
        self._under_way -= 1
        if not self._under_way:
            self._all_settled.set()

    def unfinished_in(self, directory: str) -> None:
        """Take note that something in a directory is unfinished."""
        while directory not in self._unfinished:
            self._unfinished.add(directory)
            directory = directory_of(directory)

    def _note_unfinished(self, name: str) -> None:
        directory = directory_of(name)
        if not self._is_last(name):
            self.unfinished_in(directory)
        elif directory:  # the last files of one directory do not wait for each other
            self.unfinished_in(directory_of(directory))

    async def _look_for_others(
        self, directories: Sequence[str], others_in: Callable[[str], AsyncGenerator[str]]
    ) -> None:
        """Find out in which directories something is unfinished that the run has not found."""

        async def look(directory: str) -> None:
            async with contextlib.aclosing(others_in(directory)) as names:
                async for name in names:
                    self._note_unfinished(name)
                    if directory in self._unfinished:
                        return

        open_ones = [directory for directory in directories if directory not in self._unfinished]
        for start in range(0, len(open_ones), LOOKED_INTO_AT_ONCE):
            async with asyncio.TaskGroup() as looking:
                for directory in open_ones[start : start + LOOKED_INTO_AT_ONCE]:
                    looking.create_task(look(directory))

    async def _wait(self) -> None:
        """Wait until each file that was yielded is settled."""
        while self._under_way:
            self._all_settled.clear()
            await self._all_settled.wait()


def _depth(directory: str) -> int:
    return directory.count("/") + 1 if directory else 0
