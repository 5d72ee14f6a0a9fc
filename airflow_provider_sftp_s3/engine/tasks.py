"""Tasks and futures that nobody waits for, and those that many wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any


class Once:
    """Work on paths that many ask for, done once for each. After a failure, the next who asks begins it anew."""

    def __init__(self) -> None:
        self._tasks: dict[bytes, asyncio.Task[None]] = {}

    def begin(self, path: bytes, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Begin the work on `path`, unless somebody has, and return its task. Nobody has to wait for it."""
        task = self._tasks.get(path)
        if task is None or has_failed(task):
            task = self._tasks[path] = asyncio.create_task(work())
            task.add_done_callback(forget)  # whoever waits may be gone
        return task

    async def done(self, path: bytes, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait until the work on `path` is done, as :meth:`begin` begins it. Raises what that raises."""
        await asyncio.shield(self.begin(path, work))  # others wait for it, too

    def end(self) -> None:
        """Cancel what is under way."""
        cancel_all(self._tasks.values())

    def again(self, path: bytes) -> None:
        """Have the work on `path` begun anew by the next who asks."""
        self._tasks.pop(path, None)


def cancel_all(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks whose result nobody will look at."""
    for task in tasks:
        if task.cancel():
            task.add_done_callback(forget)
        else:  # it is done
            forget(task)


def has_failed(future: asyncio.Future[Any]) -> bool:
    """Say whether a future has ended with an error, or was cancelled."""
    return future.done() and (future.cancelled() or future.exception() is not None)


def forget(done: asyncio.Future[Any]) -> None:
    """Let a future end by itself. Nobody may wait for its result, and asyncio would log its error with a traceback."""
    if not done.cancelled():
        done.exception()
