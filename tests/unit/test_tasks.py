"""Tasks that nobody waits for: they end, and nothing is logged of how. And those that many wait for."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.tasks import Once, cancel_all, forget
from tests.support.turns import turns

pytestmark = pytest.mark.unit


async def told_of(work: Any) -> list[dict[str, Any]]:
    """Return what asyncio reports, while `work` is done and its futures are collected, as errors of nobody."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    await work()
    for _ in range(5):
        await asyncio.sleep(0)
    gc.collect()
    return told


async def _fails() -> None:
    raise ZeroDivisionError


async def test_an_error_that_is_forgotten_is_not_reported() -> None:
    """It is where nobody has said that it does not matter."""

    async def unforgotten() -> None:
        asyncio.create_task(_fails())  # noqa: RUF006

    async def forgotten() -> None:
        asyncio.create_task(_fails()).add_done_callback(forget)

    assert len(await told_of(unforgotten)) == 1
    assert await told_of(forgotten) == []


async def test_what_is_cancelled_ends_whatever_it_does_about_that() -> None:
    """One that fails on its way out, one that has ended already, and one that is cancelled already."""
    ended: list[str] = []

    async def fails_on_its_way_out() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("out")
            raise ZeroDivisionError

    async def work() -> None:
        has_failed = asyncio.create_task(_fails())
        hangs = asyncio.create_task(fails_on_its_way_out())
        await asyncio.sleep(0)
        is_cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        is_cancelled.cancel()
        cancel_all([has_failed, hangs, is_cancelled])

    assert await told_of(work) == []
    assert ended == ["out"]


class _Work:
    """Counts how often it was begun; fails the first `failures` times."""

    def __init__(self, failures: int = 0) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()
        self._failures = failures

    async def __call__(self) -> None:
        self.begun += 1
        fails = self.begun <= self._failures
        await self.may_end.wait()
        if fails:
            raise ZeroDivisionError


class TestOnce:
    async def test_many_who_ask_wait_for_one(self) -> None:
        once, work = Once(), _Work()
        waiting = [asyncio.create_task(once.done(b"a", work)) for _ in range(3)]
        await turns()
        assert not any(task.done() for task in waiting)
        work.may_end.set()
        await asyncio.gather(*waiting)
        await once.done(b"a", work)
        assert work.begun == 1
        await once.done(b"b", work)
        assert work.begun == 2

    async def test_a_failure_is_everybodys_who_waits_and_the_next_begins_anew(self) -> None:
        once, work = Once(), _Work(failures=1)
        work.may_end.set()
        answers = await asyncio.gather(*(once.done(b"a", work) for _ in range(3)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [ZeroDivisionError] * 3
        assert work.begun == 1
        await once.done(b"a", work)
        assert work.begun == 2

    async def test_who_is_cancelled_does_not_end_it_for_the_others(self) -> None:
        once, work = Once(), _Work()
        one, other = (asyncio.create_task(once.done(b"a", work)) for _ in range(2))
        await turns()
        one.cancel()
        await asyncio.wait({one})
        work.may_end.set()
        await other
        assert work.begun == 1

    @pytest.mark.parametrize("waits", [False, True])
    async def test_what_fails_when_nobody_waits_any_more_is_unheard_and_the_next_begins_anew(self, waits: bool) -> None:
        """Else who comes back after a lost connection would be told of that one."""
        once, work = Once(), _Work(failures=1)

        async def begun() -> None:
            if waits:
                waiting = asyncio.create_task(once.done(b"a", work))
                await asyncio.sleep(0)
                cancel_all([waiting])
            else:
                once.begin(b"a", work)
            await turns()
            work.may_end.set()

        assert await told_of(begun) == []
        await once.done(b"a", work)
        assert work.begun == 2

    async def test_again(self) -> None:
        once, work = Once(), _Work()
        work.may_end.set()
        await once.done(b"a", work)
        once.again(b"a")
        once.again(b"never begun")
        await once.done(b"a", work)
        assert work.begun == 2
