"""One connection with its watchdog: who is silent is hung up on, who is slow is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from airflow_provider_sftp_s3.engine.errors import ConnectionFailed
from airflow_provider_sftp_s3.engine.sftp.connection import connect
from airflow_provider_sftp_s3.engine.sftp.link import Link
from tests.support.engine import server_of
from tests.support.faulty_sftp import NeverAnswers
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration


@asynccontextmanager
async def link_to(server: AsyncsshServer, idle_timeout: float) -> AsyncIterator[Link]:
    link = Link(await connect(server_of(server), 60, 3), idle_timeout)
    try:
        yield link
    finally:
        await link.close()


async def test_a_server_that_answers_nothing_is_hung_up_on(sftp_server: AsyncsshServer) -> None:
    """The request that waited longest is the unanswered one; those behind it are told of the loss, as innocents."""
    sftp_server.fault = NeverAnswers(("LSTAT", "STAT"))
    async with link_to(sftp_server, 0.4) as link:
        stuck, behind = link.sftp.lstat(b"/a"), link.sftp.stat(b"/b")
        lost = await asyncio.gather(stuck, behind, return_exceptions=True)
    assert [type(error) for error in lost] == [ConnectionFailed] * 2
    assert [getattr(error, "unanswered", None) for error in lost] == [True, False]
    assert [getattr(error, "connection", None) for error in lost] == [3, 3]
    assert "idle_timeout, 0.4 s" in str(lost[0])


async def test_a_request_that_is_stuck_while_others_are_answered_is_found(sftp_server: AsyncsshServer) -> None:
    """Once one that was sent idle_timeout after it has its answer."""
    sftp_server.fault = NeverAnswers(("LSTAT",))
    async with link_to(sftp_server, 0.4) as link:
        stuck = link.sftp.lstat(b"/a")

        async def ask_on() -> None:
            while True:
                await link.sftp.stat(b"/")
                await asyncio.sleep(0.02)

        with pytest.raises(ConnectionFailed):
            await asyncio.wait_for(ask_on(), 20)
        with pytest.raises(ConnectionFailed) as lost:
            await stuck
    assert lost.value.unanswered


async def test_with_nothing_to_wait_for_nobody_is_silent(sftp_server: AsyncsshServer) -> None:
    """A line on which nothing is asked stays open for longer than idle_timeout."""
    async with link_to(sftp_server, 1) as link:
        await asyncio.sleep(1.5)
        assert link.sftp.lost is None
        assert (await link.sftp.stat(b"/")).kind() == "directory"


async def test_a_second_session_is_begun_once_and_watched_too(sftp_server: AsyncsshServer) -> None:
    """Each number is one session; one that hangs takes the connection with it."""
    async with link_to(sftp_server, 2) as link:
        one, same, other = await asyncio.gather(link.one_more(1), link.one_more(1), link.one_more(2))
        assert one is same
        assert one is not other
        assert sftp_server.connections_total == 1
        sftp_server.fault = NeverAnswers(("LSTAT",))
        with pytest.raises(ConnectionFailed) as lost:
            await other.lstat(b"/a")
    assert lost.value.unanswered
