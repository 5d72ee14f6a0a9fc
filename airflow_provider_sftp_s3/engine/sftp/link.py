"""One connection, with a watchdog on it."""

from __future__ import annotations

import asyncio

from airflow_provider_sftp_s3.engine.sftp.connection import Channel
from airflow_provider_sftp_s3.engine.sftp.protocol import SftpProtocol
from airflow_provider_sftp_s3.engine.standstill import Awake
from airflow_provider_sftp_s3.engine.tasks import forget


class Link:
    """One connection, with a watchdog on it."""

    def __init__(self, channel: Channel, idle_timeout: float) -> None:
        self.sftp = channel.sftp
        self._channel = channel
        self._more: dict[int, asyncio.Task[Channel]] = {}
        self._idle_timeout = idle_timeout
        self._watchdog = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """
        Hang up on a server that answers nothing for `idle_timeout`.

        A request may wait longer than that while others are answered: on a slow line it stands in a queue of many
        megabytes. It is stuck only when one sent `idle_timeout` after it has its answer already.

        Where this process itself stood still, as after SIGSTOP, the time begins anew.
        """
        limit = self._idle_timeout
        awake = Awake(limit)
        while True:
            await asyncio.sleep(awake.step)
            looked, awake_since = awake.now(), awake.since()
            more = [task.result() for task in self._more.values() if task.done() and not task.exception()]
            for sftp in (self.sftp, *(channel.sftp for channel in more)):
                if (awaited := sftp.oldest_awaited()) is None:
                    continue
                number, sent = awaited
                sent = max(sent, awake_since)
                silent = looked - max(sftp.last_answer, sent)
                if silent > limit or sftp.newest_answered - sent > limit:
                    sftp.lose(f"the server did not answer for idle_timeout, {limit} s", number)
                    self._channel.abort()
                    return

    async def one_more(self, number: int) -> SftpProtocol:
        """
        Return the session of that number beside the first one, which is begun when it is first asked for.

        :raises ConnectionFailed: the server refuses it, now or before.
        """
        if number not in self._more:
            self._more[number] = asyncio.create_task(self._channel.another())
            self._more[number].add_done_callback(forget)  # whoever waits may be gone
        return (await asyncio.shield(self._more[number])).sftp

    async def close(self) -> None:
        """End the connection. Never raises."""
        self._watchdog.cancel()
        for task in self._more.values():
            task.cancel()
        await self._channel.close()
