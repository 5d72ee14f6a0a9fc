"""Tasks that nobody waits for: they end, and nothing is logged of how."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.tasks import cancel_all, forget

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
