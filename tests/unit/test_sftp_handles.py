"""Handles: how many files are open at once, and what the server's own limit does to those that are too many."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_sftp_s3.engine.errors import ServerRefused
from airflow_provider_sftp_s3.engine.sftp.handles import Handles
from tests.support.turns import turns

pytestmark = pytest.mark.unit


class Files:
    """The open files of a server that allows so many at once, and refuses more."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.open = self.peak = self.refused = 0

    async def use_100(self, handles: Handles) -> None:
        """Open a hundred files at once, each for a moment."""
        await asyncio.gather(*(self._use_one(handles) for _ in range(100)))

    async def _use_one(self, handles: Handles) -> None:
        await handles.open(self._open_one)
        await asyncio.sleep(0.001)
        self.open -= 1
        handles.closed()

    async def _open_one(self) -> None:
        await asyncio.sleep(0)
        if self.open == self.allowed:
            self.refused += 1
            raise ServerRefused("Failure", is_generic=True)
        self.open += 1
        self.peak = max(self.peak, self.open)


async def test_open_files_are_never_more_than_allowed() -> None:
    """Who comes too many waits until one is closed."""
    files = Files(100)
    await files.use_100(Handles(7, lambda limit: None))
    assert (files.peak, files.open, files.refused) == (7, 0, 0)


@pytest.mark.parametrize("late", [False, True], ids=["while it waits", "when its turn has come"])
async def test_who_gives_up_leaves_the_place_to_the_next(late: bool) -> None:
    """Cancelled while it waits for a handle: the others come in, in their order, and no more than are allowed."""
    handles = Handles(1, lambda limit: None)
    order: list[int] = []

    async def open_one(number: int) -> None:
        async def request() -> None:
            order.append(number)

        await handles.open(request)

    await open_one(0)
    waiting = [asyncio.create_task(open_one(number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    assert order == [0]
    if late:
        handles.closed()
    waiting[0].cancel()
    await turns()
    assert (order, waiting[0].cancelled()) == ([0, 2] if late else [0], True)
    handles.closed()
    await turns()
    if not late:
        assert order == [0, 2]
        handles.closed()
    await asyncio.gather(*waiting[1:])
    assert (order, handles.held) == ([0, 2, 3], 1)


async def test_a_limit_is_met_by_those_that_are_asked_for_and_by_no_more() -> None:
    """The server allows 3, and 8 are asked for at once: 5 are refused, and of the 92 that wait none is."""
    limits: list[int] = []
    handles = Handles(8, limits.append)
    files = Files(3)
    await files.use_100(handles)
    assert (files.refused, limits, handles.held) == (5, [3], 0)


async def test_a_file_that_was_overtaken_meets_the_limit_too() -> None:
    """It asked first, with nothing open, and the server heard of another one before: that is no fault of its own."""
    limits: list[int] = []
    handles = Handles(64, limits.append)
    overtaken = asyncio.Event()
    tries = 0

    async def of_the_first() -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            await overtaken.wait()
            raise ServerRefused("Failure", is_generic=True)
        return "first"

    async def of_the_second() -> str:
        return "second"

    first = asyncio.create_task(handles.open(of_the_first))
    await asyncio.sleep(0)
    assert await handles.open(of_the_second) == "second"
    overtaken.set()
    await turns()
    assert (tries, first.done()) == (1, False), "it is to wait until the other one is closed"
    handles.closed()
    assert await first == "first"
    assert (tries, handles.held, limits) == (2, 1, [1])


async def test_from_a_certain_moment_on_there_is_one_at_a_time() -> None:
    """Its CLOSE is answered before the next one is asked for; those that were let in before are known as too many."""
    handles, opened = Handles(7, lambda limit: pytest.fail("was not found out by a refusal")), asyncio.Event()
    first, second = (asyncio.create_task(handles.open(opened.wait)) for _ in range(2))
    await asyncio.sleep(0)
    handles.only_one()
    assert handles.are_too_many
    second.cancel()
    await asyncio.sleep(0)
    assert not handles.are_too_many
    opened.set()
    await first
    third = asyncio.create_task(handles.open(opened.wait))
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    handles.closed(answer)
    await turns()
    assert not third.done()
    answer.set_result(None)
    await third
    assert handles.held == 1
