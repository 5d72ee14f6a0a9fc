"""Many transfers at once: a bounded number, a bounded number of bytes, every outcome collected."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from airflow_provider_sftp_s3.engine.errors import (
    ConfigurationError,
    ConnectionFailed,
    CredentialsExpired,
    FileTimeout,
    HandlesRepeat,
    SftpS3Error,
)
from airflow_provider_sftp_s3.engine.model import Outcome, Report
from airflow_provider_sftp_s3.engine.options import TransferOptions

#: How often one file is begun at most, where the connection was lost under it.
ATTEMPTS = 3
#: Files that are worked on at once, at any concurrency up to this: each may have a connection to S3, and Linux lets a
#: process open 1,024 files by default.
MAX_WORKERS = 512
#: Files that are worked on for each that may be open. One that is moved or marked is open no more, and leaves its place
#: to the next one: see Handles. Far away a small file takes six round trips in a pull, and is open in one of them. In a
#: push it takes half of that, and two requests to S3: more than this only takes more connections to S3, measured.
FILES_PER_HANDLE = {"pull": 6, "push": 4}
#: How many connections in a row may be lost with nothing moved in between before the run gives up.
LOSSES = 6
#: Seconds after which a file is begun again that met expired credentials.
RENEWAL_SECONDS = 0.5
#: Seconds between two lines of progress.
PROGRESS_SECONDS = 30.0


class Budget:
    """
    A number of bytes shared by the transfers in flight, handed out in the order of asking.

    A share larger than the whole is cut to the whole: such a file runs alone.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def share(self, size: int) -> AsyncIterator[None]:
        """Wait until `size` bytes are free, and hold them within the block."""
        size = min(size, self.total)
        await self._take(size)
        try:
            yield
        finally:
            self._give(size)

    async def _take(self, size: int) -> None:
        if not self._waiting and size <= self.free:
            self.free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give(size)
            else:
                with contextlib.suppress(ValueError):  # what was given back meanwhile has passed it over
                    self._waiting.remove((size, turn))
                self._give(0)
            raise

    def _give(self, size: int) -> None:
        self.free += size
        while self._waiting and self._waiting[0][0] <= self.free:
            size, turn = self._waiting.popleft()
            if not turn.done():
                self.free -= size
                turn.set_result(None)


class Caps:
    """`max_files` and `max_bytes` of one run. Only what is transferred counts, so failures cannot starve the rest."""

    def __init__(self, max_files: int | None, max_bytes: int | None) -> None:
        self.max_files = max_files
        self.max_bytes = max_bytes
        self._files = 0
        self._bytes = 0
        self._in_flight = 0
        self._changed = asyncio.Condition()

    async def admit(self, size: int) -> bool:
        """Wait until it is known whether a file of `size` bytes fits, and return that."""
        if not self._is_set:
            return True
        async with self._changed:
            while not self._fits(size):
                if not self._in_flight:
                    return False
                await self._changed.wait()
            self._files += 1
            self._bytes += size
            self._in_flight += 1
            return True

    async def settle(self, size: int, transferred: bool) -> None:
        """Give back what an admitted file took, where it was not transferred."""
        if not self._is_set:
            return
        async with self._changed:
            self._in_flight -= 1
            if not transferred:
                self._files -= 1
                self._bytes -= size
            self._changed.notify_all()

    @property
    def _is_set(self) -> bool:
        return self.max_files is not None or self.max_bytes is not None

    def _fits(self, size: int) -> bool:
        if self.max_files is not None and self._files >= self.max_files:
            return False
        # A first file larger than max_bytes goes alone: otherwise it would never go.
        return self.max_bytes is None or self._bytes + size <= self.max_bytes or self._files == 0


@dataclass
class Progress:
    """How far a run is. `found_*` grow while the listing goes on."""

    found_files: int = 0
    found_bytes: int = 0
    settled_files: int = 0
    settled_bytes: int = 0
    moved_bytes: int = 0
    listing: bool = True
    started: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        seconds = max(time.monotonic() - self.started, 0.001)
        rate = self.moved_bytes / seconds
        left = max(self.found_bytes - max(self.settled_bytes, self.moved_bytes), 0)
        if left and rate:
            eta = f"{left / rate:.0f} s"
        else:
            eta = f"{(self.found_files - self.settled_files) * seconds / max(self.settled_files, 1):.0f} s"
        more = " and counting" if self.listing else ""
        return (
            f"{self.settled_files} of {self.found_files} files{more}, {self.moved_bytes} bytes moved "
            f"at {rate / 2**20:.1f} MiB/s, {self.settled_files / seconds:.1f} files/s, ETA {eta}"
        )


class Observer(Protocol):
    """Who watches a run: the operator's log. Called from the engine's event loop, must not block for long."""

    def outcome(self, outcome: Outcome) -> None:
        """Take the outcome of one file."""

    def progress(self, progress: Progress) -> None:
        """Take how far the run is: every 30 s."""

    def notice(self, message: str) -> None:
        """Take something that the user should know once: what was adapted to the server, a cap that was reached."""


class Item(Protocol):
    """What can be transferred: enough to cap and to report it."""

    @property
    def label(self) -> str:
        """The source's URI, as the report names it."""

    @property
    def size(self) -> int:
        """Bytes, as the listing says; 0 where it does not know."""


T = TypeVar("T", bound=Item)

#: The time limit of the file that the current asyncio task is moving; it has no end before the first share of memory.
_clock: ContextVar[asyncio.Timeout] = ContextVar("clock")


@contextlib.contextmanager
def off_the_clock() -> Iterator[None]:
    """Stop the time of the file that the current task is moving within the block: it waits for others."""
    clock = _clock.get(None)
    if clock is None or (when := clock.when()) is None:
        yield
        return
    time_left = when - asyncio.get_running_loop().time()
    clock.reschedule(None)
    yield
    clock.reschedule(asyncio.get_running_loop().time() + time_left)


class Run(Generic[T]):
    """
    One run: takes items from a listing, transfers many of them at once, and fills a report.

    A file's error is its outcome. A lost connection begins the files that were in flight again, each at most 3
    times, but for the one whose request the server did not answer, which has failed. The run ends when 6 connections
    in a row moved nothing, or when none can be opened any more.
    """

    def __init__(self, report: Report, observer: Observer, options: TransferOptions, caps: Caps) -> None:
        self.report = report
        self.observer = observer
        self.options = options
        self.caps = caps
        self.budget = Budget(options.memory_budget)
        self.progress = Progress()
        workers = FILES_PER_HANDLE[report.direction] * (options.concurrency - 1) + 1  # one by one is one by one
        self._workers = max(options.concurrency, min(workers, MAX_WORKERS))
        self._stop = False
        self._losses = 0
        self._last_lost = 0
        self._end: ConnectionFailed | None = None
        self._repeat: HandlesRepeat | None = None

    @contextlib.asynccontextmanager
    async def lane(self, cost: int) -> AsyncIterator[None]:
        """Hold `cost` bytes of the budget within the block. The file's time begins with its first share."""
        async with self.budget.share(cost):
            clock = _clock.get()
            if self.options.file_timeout is not None and clock.when() is None:
                clock.reschedule(asyncio.get_running_loop().time() + self.options.file_timeout)
            yield

    async def all(self, listing: AsyncIterator[T | Outcome], transfer: Callable[[T], Awaitable[Outcome]]) -> None:
        """
        Transfer all that `listing` yields; an Outcome in it is already decided and only counted.

        :param transfer: moves one item. May be called again for an item under which the connection was lost.

        :raises ConnectionFailed: the connection is lost for good.
        :raises ConfigurationError: nothing more can work.
        :raises HandlesRepeat: nothing more can be opened. What was read already has gone its way before that.
        """
        queue: asyncio.Queue[T | None] = asyncio.Queue(self.options.concurrency * 4)
        ticker = asyncio.create_task(self._tick())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._feed(listing, queue))
                for _ in range(self._workers):
                    group.create_task(self._work(queue, transfer))
        except* (ConfigurationError, ConnectionFailed) as failed:
            raise _first(failed) from None
        finally:
            ticker.cancel()
            self.report.seconds = time.monotonic() - self.report.started
        if self._repeat is not None:
            raise self._repeat

    async def _feed(self, listing: AsyncIterator[T | Outcome], queue: asyncio.Queue[T | None]) -> None:
        async for item in listing:
            if self._stop:
                break
            if isinstance(item, Outcome):
                self._settle(item)
                continue
            self.progress.found_files += 1
            self.progress.found_bytes += item.size
            await queue.put(item)
        self.progress.listing = False
        for _ in range(self._workers):
            await queue.put(None)

    async def _work(self, queue: asyncio.Queue[T | None], transfer: Callable[[T], Awaitable[Outcome]]) -> None:
        while (item := await queue.get()) is not None:
            if self._stop:
                continue
            if not await self.caps.admit(item.size):
                if not self._stop:
                    self._stop = True
                    self.observer.notice("max_files or max_bytes of this run is reached: the rest waits for the next")
                continue
            outcome = await self._outcome_of(item, transfer)
            await self.caps.settle(item.size, outcome.status == "transferred")
            self.progress.settled_files += 1
            self.progress.settled_bytes += item.size
            self._settle(outcome)
            if self._end is not None:
                raise self._end

    async def _outcome_of(self, item: T, transfer: Callable[[T], Awaitable[Outcome]]) -> Outcome:
        started = time.monotonic()
        error: Exception
        attempt = 0
        while True:
            attempt += 1
            try:
                async with asyncio.timeout(None) as clock:
                    _clock.set(clock)
                    outcome = await transfer(item)
            except HandlesRepeat as repeat:
                self._stop = True
                self._repeat = error = repeat
            except ConfigurationError:
                raise
            except TimeoutError as failed:
                error = failed
                if clock.expired():
                    error = FileTimeout(f"took longer than file_timeout, {self.options.file_timeout} s")
            except ConnectionFailed as lost:
                if lost.given_up and self._end is None:
                    attempt -= 1  # for each time, another file has failed
                    continue
                self._count_loss(lost)
                error = lost
                if attempt < ATTEMPTS and self._end is None and not lost.culprit:
                    continue
            except CredentialsExpired as expired:
                error = expired
                if attempt < ATTEMPTS:
                    await asyncio.sleep(RENEWAL_SECONDS)
                    continue
            except Exception as failed:  # whatever befell this file, the others go on
                error = failed
            else:
                self._losses = 0
                return outcome
            break
        reason = str(error) if isinstance(error, SftpS3Error) else f"{type(error).__name__}: {error}"
        return Outcome(item.label, "failed", reason=reason, seconds=time.monotonic() - started)

    def _count_loss(self, lost: ConnectionFailed) -> None:
        """Take note of a lost connection. All files in flight see the same loss, which counts once."""
        if lost.connection != self._last_lost:
            self._last_lost = lost.connection
            self._losses += 1
        if not lost.connection or self._losses >= LOSSES:
            self._end = lost

    def _settle(self, outcome: Outcome) -> None:
        self.report.add(outcome)
        self.observer.outcome(outcome)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            self.observer.progress(self.progress)


def retrieve(done: asyncio.Future[Any]) -> None:
    """Take note of a task's error that nobody may have waited for: asyncio logs a traceback otherwise."""
    if not done.cancelled():
        done.exception()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error to show: a setting to change before a connection that was lost because of it."""
    leaves: list[BaseException] = []

    def collect(error: BaseException) -> None:
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                collect(inner)
        else:
            leaves.append(error)

    collect(group)
    return min(leaves, key=lambda error: not isinstance(error, ConfigurationError))
