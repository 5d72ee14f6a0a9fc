"""The values that travel through the engine: what is to be moved, what became of it, and the sum of it all."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, NamedTuple

#: How a push marks what it has delivered.
MarkMode = Literal["auto", "metadata", "tag", "none"]

Status = Literal["transferred", "skipped", "failed", "purged", "recovered"]

#: The done directory beside a file: "other" is a link or a file, which nothing can be moved into.
DoneState = Literal["absent", "directory", "other"]

#: Why a push leaves an object for the next run whose name the partner has still a file under.
WAITS = "waits until the partner has taken the one before"

#: How many failures and targets a report spells out: it lives in XCom, in Airflow's database.
MAX_FAILURES = 100
MAX_TARGETS = 1_000


class Stat(NamedTuple):
    """
    What tells one version of a file from another over SFTP: bytes, and seconds since 1970.

    None is what the server does not say. It is not 0, and it differs from nothing.
    """

    size: int | None = None
    mtime: int | None = None

    def differs(self, other: Stat) -> bool:
        """Say whether the two cannot be the same version, as far as both are known."""
        return _differ(self.size, other.size) or _differ(self.mtime, other.mtime)

    def filled(self, other: Stat) -> Stat:
        """Return what is known here, and from `other` what is not."""
        return Stat(
            other.size if self.size is None else self.size,
            other.mtime if self.mtime is None else self.mtime,
        )

    def __str__(self) -> str:
        size = "a size that is not known" if self.size is None else f"{self.size} bytes"
        return f"{size}, mtime {'not known' if self.mtime is None else self.mtime}"


#: What is known where nobody has said anything.
UNKNOWN = Stat()


def _differ(one: int | None, other: int | None) -> bool:
    return one is not None and other is not None and one != other


class SourceFile(NamedTuple):
    """
    A regular file found in a pulled tree. Paths are bytes: a name need not be UTF-8.

    :param relative: where its key is beneath the prefix.
    :param left: an earlier run that deletes what it has pulled has left it in the done directory.
    :param beside: its checksum file and its trigger, in this order; its own, where it is one that tells of no file that
        is there.
    """

    path: bytes
    relative: bytes
    stat: Stat
    done: DoneState
    left: bool = False
    beside: tuple[Trigger, ...] = ()

    @property
    def is_alone(self) -> bool:
        """Whether it is a trigger or a checksum file that tells of no file that is there."""
        return any(each.file.path == self.path for each in self.beside)


@dataclass(eq=False)
class Trigger:
    """
    A trigger file of a pull, and the files that it tells of; or a checksum file, which tells of one.

    :param argument: which of the two it is: "trigger_file" or "checksum_file".
    :param file: the trigger itself.
    :param unstored: paths of those that S3 has not got in this run.
    :param unmoved: those that are not away.
    :param stored: what S3 has got of the trigger, after them.
    :param is_moving: it was to be moved, which may not have been answered.
    :param has_one: S3 has one of its files.
    :param wanted: the sum that it must still have itself, where a file was compared with what it says.
    """

    argument: str
    file: SourceFile
    unstored: set[bytes] = field(default_factory=set)
    unmoved: set[bytes] = field(default_factory=set)
    stored: Any = None
    is_moving: bool = False
    has_one: bool = False
    wanted: Any = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class ObjectEntry(NamedTuple):
    """
    An object as a listing shows it; size is -1 where only the key is known.

    :param modified: when it was written last, to the second, as ``2026-01-31T06:00:00`` in UTC.
    """

    key: str
    size: int = -1
    etag: str = ""
    modified: str = ""


class Stored(NamedTuple):
    """
    What S3 says of the version of an object that was written or read; "" where it does not.

    :param checksum: of the whole object, its algorithm before it: ``CRC32:YFtXNA==``.
    """

    etag: str = ""
    version_id: str = ""
    checksum: str = ""


NOT_STORED = Stored()


@lru_cache(maxsize=1024)
def seconds_of(modified: str) -> float | None:
    """Return a time as :class:`ObjectEntry` has it in seconds since 1970; None: a store has written it otherwise."""
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(f"{modified}+00:00").timestamp()
    return None


@dataclass(frozen=True)
class Outcome:
    """
    What became of one file: every one that was looked at ends in exactly one of these.

    ``recovered`` is one that was found done by an earlier try of the same task.
    """

    source: str
    status: Status
    target: str = ""
    #: why it was skipped, or the error
    reason: str = ""
    #: its size, where it was moved, or would be; 0 where it was not looked at
    bytes: int = 0
    seconds: float = 0.0
    #: when the source was changed last, in seconds since 1970; None: not known
    changed: float | None = None
    #: the next run has it to do
    left: bool = False
    #: it failed, and would fail again in a retry of the run
    for_good: bool = False
    #: the object that it has become, or was
    stored: Stored = NOT_STORED

    @property
    def is_unfinished(self) -> bool:
        """Whether the next run has it to do. What a dry run would move, and says where to, counts as done."""
        return self.status == "failed" or (self.left and not self.target)


class Moved(NamedTuple):
    """Files that were moved, and their bytes."""

    files: int = 0
    bytes: int = 0


NOTHING = Moved()


@dataclass
class Report:
    """
    What a run did. `as_dict` is what an operator returns, and what is in XCom.

    :param earlier: what earlier tries of the same task have moved; None: nobody knows.
    """

    direction: Literal["pull", "push"]
    earlier: Moved | None = NOTHING
    transferred: int = 0
    bytes: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    #: how many of these would fail again in a retry of the run
    failed_for_good: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    purged: int = 0
    #: files that an earlier try has moved and not told of, and their bytes; they are among the skipped ones, too
    recovered: int = 0
    recovered_bytes: int = 0
    #: where the receipts of the run are; None: there are none
    receipt: str | None = None
    #: what failed, was too young or over a cap: the next run has it to do
    left: int = 0
    #: there is more than that: no more was counted
    more_left: bool = False
    #: when the oldest of what is left was changed last, in seconds since 1970, and how long ago that is, in seconds
    oldest_left: float | None = None
    oldest_age: float | None = None
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        if outcome.left or outcome.status == "failed":
            self.add_left(outcome.changed)
        if outcome.status == "transferred":
            self.transferred += 1
            self.bytes += outcome.bytes
            self._add_target(outcome.target)
        elif outcome.status == "skipped":
            self.skipped[outcome.reason] += 1
            if outcome.target:  # a dry run says where the file would go
                self._add_target(outcome.target)
        elif outcome.status == "recovered":
            self.skipped[outcome.reason] += 1
            self.recovered += 1
            self.recovered_bytes += outcome.bytes
        elif outcome.status == "purged":
            self.purged += 1
        else:
            self.failed += 1
            self.failed_for_good += outcome.for_good
            if len(self.failures) < MAX_FAILURES:
                now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
                self.failures.append({"time": now, "source": outcome.source, "error": outcome.reason})
        self.seconds = time.monotonic() - self.started

    def add_left(self, changed: float | None) -> None:
        """Count a file that the next run has to do, changed last so many seconds after 1970."""
        self.left += 1
        if changed is not None:
            self.oldest_left = changed if self.oldest_left is None else min(self.oldest_left, changed)

    def _add_target(self, target: str) -> None:
        if len(self.targets) < MAX_TARGETS:
            self.targets.append(target)

    @property
    def total(self) -> Moved | None:
        """What this try and those before it have moved; None: nobody knows what those before it have."""
        if self.earlier is None:
            return None
        return Moved(
            self.earlier.files + self.recovered + self.transferred,
            self.earlier.bytes + self.recovered_bytes + self.bytes,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-able values: counts, bytes, seconds, the first failures and targets."""
        return {
            "direction": self.direction,
            "transferred": self.transferred,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "skipped": dict(self.skipped),
            "failed": self.failed,
            "failures": self.failures,
            "targets": self.targets,
            "purged": self.purged,
            "left": self.left,
            "more_left": self.more_left,
            "oldest_age": None if self.oldest_age is None else round(self.oldest_age, 3),
            "recovered": self.recovered,
            "total": self.total and self.total._asdict(),
            "receipt": self.receipt,
        }

    def summary(self) -> str:
        """Return the run in one line, for a log."""
        skipped = ", ".join(f"{count} {reason}" for reason, count in sorted(self.skipped.items())) or "none"
        waiting = ""
        if self.left:
            more = " or more" if self.more_left else ""
            age = "" if self.oldest_age is None else f" (the oldest {timedelta(seconds=int(self.oldest_age))} old)"
            waiting = f", {self.left}{more} left{age}"
        earlier = ""
        if self.earlier is None:
            earlier = ", what earlier tries have moved is not known"
        elif self.total and (self.earlier.files or self.recovered):
            earlier = f", with earlier tries {self.total.files} transferred ({self.total.bytes} bytes)"
        rate = self.bytes / self.seconds / 2**20 if self.seconds else 0.0
        return (
            f"{self.direction}: {self.transferred} transferred ({self.bytes} bytes in {self.seconds:.1f} s, "
            f"{rate:.1f} MiB/s), skipped: {skipped}, {self.failed} failed, {self.purged} purged{waiting}{earlier}"
        )
