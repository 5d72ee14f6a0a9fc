"""What a run may use: bytes of memory, files and bytes in all, and the time of one file."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

from airflow_provider_sftp_s3.engine.errors import ConnectionFailed

#: Files that a process opens later on, besides the connections of its transfers: Python's modules, Airflow's sockets.
OTHER_FILES = 32


def open_files_allowed() -> int:
    """Return how many files, connections among them, the system lets this process have open (``ulimit -n``)."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if allowed == resource.RLIM_INFINITY else allowed


def connections_left() -> int:
    """Return how many connections this process may open for its transfers, beside what it has open; at least 2."""
    try:
        held = len(list(Path("/dev/fd").iterdir()))
    except OSError:  # a system that does not tell
        held = 0
    return max(open_files_allowed() - held - OTHER_FILES, 2)


#: How often one file is begun at most, where the connection was lost under it.
ATTEMPTS = 3
#: How many connections in a row may be lost with nothing moved in between before the run gives up.
LOSSES = 6


#: How many files in a row a server fails to write, as a full disk does, before the run stops trying. A few that are
#: larger than what is left, or have a quota of their own, are no reason to.
MAX_FULL = 20


class Budget:
    """
    A number of bytes shared by the transfers in flight, handed out in the order of asking.

    A share larger than the whole is cut to the whole: such a file runs alone.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def share(self, size: int, taken: Callable[[], None] = lambda: None) -> _Share:
        """Wait until `size` bytes are free, call `taken`, and hold them within the block."""
        return _Share(self, min(size, self.total), taken)

    async def take(self, size: int) -> None:
        """Wait until `size` bytes are free, no more than there are in all, and take them."""
        if not self._waiting and size <= self.free:
            self.free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(size)
            else:
                with contextlib.suppress(ValueError):  # what was given back meanwhile has passed it over
                    self._waiting.remove((size, turn))
                self.give(0)
            raise

    def give(self, size: int) -> None:
        """Give back what was taken."""
        self.free += size
        while self._waiting and self._waiting[0][0] <= self.free:
            size, turn = self._waiting.popleft()
            if not turn.done():
                self.free -= size
                turn.set_result(None)


class _Share(contextlib.AbstractAsyncContextManager[None]):
    def __init__(self, budget: Budget, size: int, taken: Callable[[], None]) -> None:
        self._budget = budget
        self._size = size
        self._taken = taken

    async def __aenter__(self) -> None:
        await self._budget.take(self._size)
        self._taken()

    async def __aexit__(self, *_: object) -> None:
        self._budget.give(self._size)


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

    async def settle(self, size: int, transferred: int | None) -> None:
        """
        Count what an admitted file was, in place of what it was said to be.

        :param transferred: its bytes; None: it was not transferred, and what it took is given back.
        """
        if not self._is_set:
            return
        async with self._changed:
            self._in_flight -= 1
            self._bytes += (transferred or 0) - size
            if transferred is None:
                self._files -= 1
            self._changed.notify_all()

    @property
    def _is_set(self) -> bool:
        return self.max_files is not None or self.max_bytes is not None

    def _fits(self, size: int) -> bool:
        if self.max_files is not None and self._files >= self.max_files:
            return False
        # A first file larger than max_bytes goes alone: otherwise it would never go.
        return self.max_bytes is None or self._bytes + size <= self.max_bytes or self._files == 0


class Losses:
    """Connections in a row that were lost with nothing done in between. Many see the same loss, which counts once."""

    def __init__(self) -> None:
        self._count = 0
        self._last = 0

    def are_too_many(self, lost: ConnectionFailed) -> bool:
        """Take note of a loss, and say whether it is the last: none can be opened any more, or this is the sixth."""
        if lost.connection != self._last:
            self._last = lost.connection
            self._count += 1
        return not lost.connection or self._count >= LOSSES

    def are_over(self) -> None:
        """Take note that something was done."""
        self._count = 0


#: The time limit of the file that the current asyncio task is moving; it has no end before the first share of memory.
file_clock: ContextVar[asyncio.Timeout] = ContextVar("clock")


@contextlib.contextmanager
def off_the_clock() -> Iterator[None]:
    """Stop the time of the file that the current task is moving within the block: it waits for others."""
    clock = file_clock.get(None)
    if clock is None or (when := clock.when()) is None:
        yield
        return
    time_left = when - asyncio.get_running_loop().time()
    clock.reschedule(None)
    yield
    clock.reschedule(asyncio.get_running_loop().time() + time_left)
