"""
The line to an SFTP server: a socket, either to one of the host's addresses or to a proxy command.

asyncssh gets the socket, and the bytes of SSH begin on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.tasks import cancel_all

#: Seconds after which the next address of a host is tried beside those before it: RFC 8305, section 5.
NEXT_ADDRESS_SECONDS = 0.25
#: Bytes of what a proxy command says that an error shows.
MAX_COMPLAINT = 1024
#: Seconds that a proxy command has to end by itself, once its output has.
LAST_WORDS_SECONDS = 1.0

#: Family, type, protocol, and the address as `connect` takes it.
Address = tuple[int, int, int, Any]


@dataclass(frozen=True)
class Proxy:
    """A command whose standard input and output are the line."""

    process: Process
    complaint: asyncio.Task[bytes]

    async def last_words(self) -> str:
        """End the command, and return how it ended where it did so by itself, and what it wrote to standard error."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), LAST_WORDS_SECONDS)
        status = self.process.returncode
        await self.end()
        wrote = self.complaint.result() if self.complaint.done() and not self.complaint.cancelled() else b""
        text = paths.said(wrote.decode("utf-8", "replace"))
        if status is None:
            return f"host_proxy_cmd wrote: {text}" if text else ""
        return f"host_proxy_cmd ended with exit status {status}" + (f": {text}" if text else ", and said nothing")

    async def end(self) -> None:
        """End the command, and what it has started. Never raises."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)  # it leads a group of its own
            with contextlib.suppress(TimeoutError):  # only a loop that lives on sees to its end
                await asyncio.wait_for(self.process.wait(), LAST_WORDS_SECONDS)
        with contextlib.suppress(TimeoutError):  # somebody else may hold its standard error
            await asyncio.wait_for(self.complaint, LAST_WORDS_SECONDS)


async def through(command: Sequence[str]) -> tuple[socket.socket, Proxy]:
    """
    Start a proxy command, and return our end of the line with it.

    :raises ConfigurationError: the command cannot be started.
    """
    starting = asyncio.create_task(_start(command))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:  # a process that is half begun cannot be ended
        with contextlib.suppress(ConfigurationError):
            ours, proxy = await starting
            ours.close()
            await proxy.end()
        raise


async def _start(command: Sequence[str]) -> tuple[socket.socket, Proxy]:
    ours, theirs = socket.socketpair()  # OpenSSH gives its ProxyCommand one, too
    try:
        ours.setblocking(False)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=PIPE, start_new_session=True
        )
    except BaseException as failed:
        ours.close()
        if isinstance(failed, OSError):
            raise ConfigurationError(f"host_proxy_cmd cannot be started: {failed}") from None
        raise
    finally:
        theirs.close()
    return ours, Proxy(process, asyncio.create_task(_first_bytes(process)))


async def _first_bytes(process: Process) -> bytes:
    """Return the first bytes of what a command writes to its standard error. All is read: it must not have to wait."""
    kept = b""
    while process.stderr is not None and (block := await process.stderr.read(1 << 16)):
        kept = (kept + block)[: MAX_COMPLAINT + 1]
    return kept


async def dial(host: str, port: int) -> socket.socket:
    """
    Return a socket that is connected to one of the host's addresses: the first that answers.

    An address that swallows packets holds up the others by a quarter of a second.

    :raises OSError: no address answers; there are no addresses.
    """
    waiting = await addresses_of(host, port)
    trying: set[asyncio.Task[socket.socket]] = set()
    failures: list[OSError] = []
    try:
        while waiting or trying:
            if waiting:
                trying.add(asyncio.create_task(_connected(waiting.pop(0))))
            done, trying = await asyncio.wait(
                trying,
                timeout=NEXT_ADDRESS_SECONDS if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                if (failed := task.exception()) is None:
                    trying |= done - {task}  # a second one that has come through is closed, too
                    return task.result()
                if not isinstance(failed, OSError):
                    raise failed
                failures.append(failed)
    finally:
        for task in trying:
            task.add_done_callback(_close)
        cancel_all(trying)
    raise failures[0] if failures else OSError(f"{host} has no address")


async def addresses_of(host: str, port: int) -> list[Address]:
    """Return the addresses of a host in the system's order, but IPv6 and IPv4 by turns. :raises OSError: none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    first: list[Address] = []
    others: list[Address] = []
    for family, kind, protocol, _, address in found:
        (first if family == found[0][0] else others).append((family, kind, protocol, address))
    turns: list[Address] = []
    while first or others:
        turns += [*first[:1], *others[:1]]
        first, others = first[1:], others[1:]
    return turns


async def _connected(address: Address) -> socket.socket:
    family, kind, protocol, where = address
    made = socket.socket(family, kind, protocol)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, where)
    except BaseException:
        made.close()
        raise
    return made


def _close(task: asyncio.Task[socket.socket]) -> None:
    """Close a socket that came through after another one."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
