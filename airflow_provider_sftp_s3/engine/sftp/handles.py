"""How many files and directories are open on the server at once: no more than it lets us."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from airflow_provider_sftp_s3.engine.errors import ServerRefused
from airflow_provider_sftp_s3.engine.limits import off_the_clock

T = TypeVar("T")


class Handles:
    """
    The open handles of one session.

    SFTP has no word for "too many open files": the server says that it failed, and nothing more. Whether that was the
    reason shows when the same file is asked for again after one of ours is closed and none is opened in its place.

    :param limit: how many there may be in any case.
    :param limit_found: called once, with the number that the server allows, where that is lower.
    """

    def __init__(self, limit: int, limit_found: Callable[[int], None]) -> None:
        self._limit = limit
        self._limit_found = limit_found
        self._open = 0
        self._asked = 0
        #: how many the server is known to have allowed at once
        self._allowed = 0
        self._suspects = 0
        self._found = False
        self._only_one = False
        self._changed = asyncio.Event()

    @property
    def held(self) -> int:
        """How many are open."""
        return self._open

    async def open(self, request: Callable[[], Awaitable[T]]) -> T:
        """
        Return what `request` returns once it has opened a handle; :meth:`closed` is to be called when that is closed.

        :param request: opens one handle; called a second time where the first one met the server's limit.
        :raises ServerRefused: `request` has raised it, and not for the limit's sake.
        """
        await self._room()
        others = self._open + self._asked
        try:
            return await self._try(request)
        except ServerRefused as refused:
            others = max(others, self._open + self._asked)  # they may have overtaken it, after a new connection
            if not others or not (refused.is_generic or (refused.is_denied and await self._opens_one_at_most())):
                raise
        before = self._allowed
        if others < self._allowed:  # it has allowed more before
            self._allowed = max(self._open, 1)
        self._suspects += 1
        try:
            await self._room()
            handle = await self._try(request)
        except ServerRefused:
            self._allowed = min(max(self._allowed, before), self._limit)  # it was the file's own fault
            raise
        finally:
            self._suspects -= 1
            self._wake()
        if not self._found:
            self._found = True
            self._limit_found(self._allowed)
        return handle

    async def _opens_one_at_most(self) -> bool:
        """Say whether the server has never had two open at once, when all that is asked for has its answer."""
        while self._asked and self.allows_one_at_most:
            await self._changed.wait()
        return self.allows_one_at_most

    def closed(self, answer: asyncio.Future[Any] | None = None) -> None:
        """
        Take note that a handle is closed, or gone with its connection.

        :param answer: to the CLOSE. A server comes by that before whatever is asked for next, and nobody waits for it,
            but where there must be no more than one.
        """
        if answer is not None and self._only_one:
            answer.add_done_callback(lambda _: self.closed())
            return
        self._open -= 1
        self._wake()

    def only_one(self) -> None:
        """Have no more than one open at a time from now on."""
        self._only_one = self._found = True
        self._limit = self._allowed = 1

    @property
    def allows_one_at_most(self) -> bool:
        """Whether the server has never had two open at once: then it may deny all but the first of them."""
        return self._allowed <= 1

    @property
    def are_too_many(self) -> bool:
        """Whether more are open, or asked for, than there may be: it was not known when they were asked for."""
        return self._open + self._asked > self._limit

    async def _room(self) -> None:
        if not self._is_full():
            return
        with off_the_clock():
            while self._is_full():
                await self._changed.wait()

    def _is_full(self) -> bool:
        limited = self._found or self._suspects > 0
        return self._open + self._asked >= (max(self._allowed, 1) if limited else self._limit)

    async def _try(self, request: Callable[[], Awaitable[T]]) -> T:
        self._asked += 1
        try:
            handle = await request()
            self._open += 1
            self._allowed = min(max(self._allowed, self._open), self._limit)
            return handle
        finally:
            self._asked -= 1
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
