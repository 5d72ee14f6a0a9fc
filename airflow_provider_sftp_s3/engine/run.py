"""Many transfers at once: a bounded number, every outcome collected."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import (
    ConfigurationError,
    ConnectionFailed,
    CredentialsExpired,
    FileTimeout,
    NameRefused,
    NoRoom,
    SftpS3Error,
    StorageError,
)
from airflow_provider_sftp_s3.engine.limits import (
    ATTEMPTS,
    MAX_FULL,
    Budget,
    Caps,
    Losses,
    connections_left,
    file_clock,
    open_files_allowed,
)
from airflow_provider_sftp_s3.engine.model import Outcome, Report
from airflow_provider_sftp_s3.engine.observer import Observer, Progress
from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from airflow_provider_sftp_s3.engine.standstill import Awake
from airflow_provider_sftp_s3.engine.tasks import cancel_all

_log = logging.getLogger(__name__)


#: Files that are worked on at once, at any concurrency up to this: each may have a connection to S3, and Linux lets a
#: process open 1,024 files by default.
MAX_WORKERS = 512
#: Files that are worked on for each that may be open. One that is moved or marked is open no more, and leaves its place
#: to the next one: see Handles. Far away a small file takes six round trips in a pull, and is open in one of them. In a
#: push it takes half of that, and two requests to S3: more than this only takes more connections to S3, measured.
FILES_PER_HANDLE = {"pull": 6, "push": 4}
#: Seconds after which a file is begun again that met expired credentials.
RENEWAL_SECONDS = 0.5
#: Files that are counted behind a cap: those are left for the next run.
MAX_LEFT = 10_000
#: Seconds between two lines of progress.
PROGRESS_SECONDS = 30.0


class Item(Protocol):
    """What can be transferred: enough to cap and to report it."""

    @property
    def label(self) -> str:
        """The source's URI, as the report names it."""

    @property
    def size(self) -> int:
        """Bytes, as the listing says; 0 where it does not know."""

    @property
    def changed(self) -> float | None:
        """When it was changed last, in seconds since 1970, as the listing says; None where it does not know."""


T = TypeVar("T", bound=Item)


class Run(Generic[T]):
    """
    One run: takes items from a listing, transfers many of them at once, and fills a report.

    A file's error is its outcome. A lost connection begins the files that were in flight again, each at most 3
    times, but for the one whose request the server did not answer, which has failed. The run ends when 6 connections
    in a row moved nothing, or when none can be opened any more. No more files are begun once the server has failed to
    write 20 in a row. What S3 has failed while this process stood still is begun again, too.
    """

    def __init__(self, report: Report, observer: Observer, options: TransferOptions, caps: Caps) -> None:
        self.report = report
        self.observer = observer
        self.options = options
        self.caps = caps
        self.budget = Budget(options.memory_budget)
        self.progress = Progress()
        # With a concurrency of 1 it is one file at a time.
        workers = FILES_PER_HANDLE[report.direction] * (options.concurrency - 1) + 1
        self._workers = max(options.concurrency, min(workers, MAX_WORKERS))
        # A file has two connections to S3 at most, one of them kept by either client.
        if self._workers > (most := connections_left() // 2):
            self._workers = most
            if most < options.concurrency:
                observer.notice(
                    f"no more than {most} files are moved at once: the system opens only {open_files_allowed()} files "
                    "and connections for this process. Raise that limit (ulimit -n) to go faster"
                )
        #: no more is begun, since a cap is reached or the server is full: what comes is counted as left
        self._capped = False
        #: why no more files are begun, where the server seems to be full
        self.stopped = ""
        self._full = 0
        self._awake = Awake(options.idle_timeout)
        self._losses = Losses()
        #: bytes of files that each lost connection has moved, by its number
        self._carried: dict[int, int] = {}
        self._end: ConnectionFailed | None = None

    def hold_memory(self, cost: int) -> contextlib.AbstractAsyncContextManager[None]:
        """Hold `cost` bytes of the budget within the block. The file's time begins with its first share."""
        return self.budget.share(cost, self._begin_time)

    def _begin_time(self) -> None:
        if self.options.file_timeout is not None and (clock := file_clock.get()).when() is None:
            clock.reschedule(asyncio.get_running_loop().time() + self.options.file_timeout)

    async def transfer_all(
        self,
        listing: AsyncIterator[T | Outcome],
        transfer: Callable[[T], Awaitable[Outcome]],
        is_left: Callable[[T], Awaitable[bool]] | None = None,
        settled: Callable[[T, bool], None] | None = None,
    ) -> None:
        """
        Transfer all that `listing` yields; an Outcome in it is already decided and only counted.

        :param transfer: moves one item. May be called again for an item under which the connection was lost.
        :param is_left: says whether there is something to do about an item that comes behind a cap; None: there is.
            Where it raises NameRefused, the item has failed: a cap that each run reaches would hide it for ever.
        :param settled: told of each item, once, when nothing more will be done about it, and whether it is done with:
            False where the next run has it to do.

        :raises ConnectionFailed: the connection is lost for good.
        :raises ConfigurationError: nothing more can work.

        Whatever else the listing raises is raised as it is.
        """
        queue: asyncio.Queue[T | None] = asyncio.Queue(self.options.concurrency * 4)
        tickers = asyncio.create_task(self._tick()), asyncio.create_task(self._awake.watch())
        error: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._feed(listing, queue))
                for _ in range(self._workers):
                    group.create_task(self._work(queue, transfer, is_left, settled))
        except BaseExceptionGroup as several:
            error = _first(several)
            self.report.more_left = True
        finally:
            cancel_all(tickers)
            self.report.seconds = time.monotonic() - self.report.started
        if error is not None:
            raise error  # out here, so that it keeps its own cause

    async def _feed(self, listing: AsyncIterator[T | Outcome], queue: asyncio.Queue[T | None]) -> None:
        behind = 0
        async for item in listing:
            if isinstance(item, Outcome):
                self.settle(item)
                continue
            self.progress.found_files += 1
            self.progress.found_bytes += item.size
            if self._capped:
                behind += 1
                if behind > MAX_LEFT:
                    self.report.more_left = True
                    break
            await queue.put(item)
        self.progress.listing = False
        for _ in range(self._workers):
            await queue.put(None)

    async def _work(
        self,
        queue: asyncio.Queue[T | None],
        transfer: Callable[[T], Awaitable[Outcome]],
        is_left: Callable[[T], Awaitable[bool]] | None,
        settled: Callable[[T, bool], None] | None,
    ) -> None:
        while (item := await queue.get()) is not None:
            if self._capped or not await self.caps.admit(item.size):
                self._note_cap()
                waits = True
                try:
                    if is_left is None or (waits := await is_left(item)):
                        self.report.add_left(item.changed)
                except NameRefused as refused:
                    self.settle(_failed(item, refused, f"{refused}"))
                if settled is not None:
                    settled(item, not waits)
                continue
            outcome = await self._outcome_of(item, transfer)
            await self.caps.settle(item.size, outcome.bytes if outcome.status == "transferred" else None)
            self.progress.settled_files += 1
            self.progress.settled_bytes += item.size
            self.settle(outcome)
            if settled is not None:
                settled(item, not outcome.is_unfinished)
            if self._end is not None:
                raise self._end

    def _note_cap(self) -> None:
        if not self._capped:
            self._capped = True
            self.observer.notice("max_files or max_bytes of this run is reached: the rest waits for the next")

    async def _outcome_of(self, item: T, transfer: Callable[[T], Awaitable[Outcome]]) -> Outcome:
        started = time.monotonic()
        error: Exception
        attempt = 0
        cuts: list[int] = []
        while True:
            attempt += 1
            begun = self._awake.now()
            try:
                async with asyncio.timeout(None) as clock:
                    file_clock.set(clock)
                    outcome = await transfer(item)
            except ConfigurationError:
                raise
            except TimeoutError as failed:
                error = failed
                if clock.expired():
                    error = FileTimeout(f"took longer than file_timeout, {self.options.file_timeout} s")
            except ConnectionFailed as lost:
                if lost.given_up and self._end is None:
                    attempt -= 1  # for each time, another file has failed, or handles have repeated for the first time
                    continue
                if self._losses.are_too_many(lost):
                    self._end = lost
                error = lost
                if lost.connection and not lost.unanswered:
                    cuts.append(self._carried_by(lost.connection))
                if attempt < ATTEMPTS and self._end is None and not lost.unanswered:
                    continue
            except CredentialsExpired as expired:
                error = expired
                if attempt < ATTEMPTS:
                    await asyncio.sleep(RENEWAL_SECONDS)
                    continue
            except StorageError as failed:
                error = failed
                if attempt < ATTEMPTS and self._awake.since() > begun:
                    continue  # S3 was not silent: it is this process that stood still
            except NoRoom as full:
                self._note_full(full)
                error = full
            except Exception as failed:  # whatever befell this file, the others go on
                error = failed
            else:
                self._losses.are_over()
                if outcome.status == "transferred":
                    self._full = 0
                return outcome
            break
        if isinstance(error, SftpS3Error):
            reason = f"{error}{_said_of_cuts(cuts, item.size) if isinstance(error, ConnectionFailed) else ''}"
        else:
            reason = paths.said(f"{type(error).__name__}: {error}")
            _log_unforeseen(item.label, error)
        return _failed(item, error, reason, time.monotonic() - started)

    def _carried_by(self, connection: int) -> int:
        """Return how many bytes of files a lost connection has moved; to be called as soon as it is lost."""
        if connection not in self._carried:
            self._carried[connection] = self.progress.moved_bytes - sum(self._carried.values())
        return self._carried[connection]

    def _note_full(self, full: NoRoom) -> None:
        """Take note that a file could not be written, and stop where that goes on and on."""
        self._full += 1
        if self._full >= MAX_FULL and not self.stopped:
            self._capped = self.report.more_left = True
            self.stopped = (
                f"the server failed to write {self._full} files in a row, as one does whose disk or quota is full. The "
                "rest was not tried, and waits for the next run"
            )
            self.observer.notice(f"{self.stopped}. The last failure: {full}")

    def settle(self, outcome: Outcome) -> None:
        """Count an outcome, and tell of it."""
        self.report.add(outcome)
        self.observer.outcome(outcome)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            self.observer.progress(self.progress)


def _failed(item: Item, error: Exception, reason: str, seconds: float = 0.0) -> Outcome:
    for_good = isinstance(error, SftpS3Error) and error.for_good
    return Outcome(item.label, "failed", reason=reason, seconds=seconds, changed=item.changed, for_good=for_good)


def _said_of_cuts(cuts: Sequence[int], size: int) -> str:
    """
    Return what to say of a file under which the line was cut again and again, if it was.

    :param cuts: how many bytes each of the connections had moved until then, those of other files among them.
    """
    if len(cuts) < 2:
        return ""
    seen = ", ".join(f"{moved / MiB:.1f}" for moved in cuts)
    return (
        f"; the line was cut {len(cuts)} times while this file of {size / MiB:.1f} MiB was moved, when it had carried "
        f"{seen} MiB: a file that is larger than a connection carries cannot arrive. Ask who limits that; with a lower "
        "concurrency in options, fewer files share it"
    )


def _log_unforeseen(label: str, error: BaseException) -> None:
    """Log where an error comes from that nobody has foreseen. What it says may be a server's, so it is spelled out."""
    if _log.isEnabledFor(logging.DEBUG):
        lines = "".join(traceback.format_exception(error)).splitlines()
        _log.debug("%s failed in a way that was not foreseen:\n%s", label, "\n".join(map(paths.said, lines)))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """
    Return the error to show, of several that have come at once: a setting to change before all others, and a connection
    that was lost after them. What nobody has foreseen, and is not shown, is logged.
    """
    leaves: list[BaseException] = []

    def collect(error: BaseException) -> None:
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                collect(inner)
        else:
            leaves.append(error)

    collect(group)
    first = min(
        leaves, key=lambda error: (not isinstance(error, ConfigurationError), isinstance(error, ConnectionFailed))
    )
    for error in leaves:
        if error is not first and not isinstance(error, SftpS3Error):
            _log_unforeseen("the run", error)
    return first
