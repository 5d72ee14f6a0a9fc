"""
A session on an SFTP server that is opened again when it is lost, and the requests that need no open file.

One connection carries many files at once. :class:`~airflow_provider_sftp_s3.engine.sftp.protocol.SftpProtocol` knows
what is awaited and since when: a server that answers nothing for `idle_timeout` is hung up on, and the next request
opens a new connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import (
    ConnectionFailed,
    HandlesRepeat,
    LoginRefused,
    NotFound,
    ServerRefused,
)
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.sftp.connection import Channel, SftpServer, connect
from airflow_provider_sftp_s3.engine.sftp.file import RemoteFile
from airflow_provider_sftp_s3.engine.sftp.handles import Handles
from airflow_provider_sftp_s3.engine.sftp.protocol import (
    CREATE_NEW,
    READ,
    SAFE_REQUEST,
    WRITE,
    Attributes,
    Entry,
    SftpProtocol,
    Unsupported,
)
from airflow_provider_sftp_s3.engine.tasks import cancel_all, forget

#: How long the requests that clean up after a failure may take at the end of a run. With the watchdog's delay and the
#: time that the connection has to end no wait is longer than its limit and two seconds.
FAREWELL_SECONDS = 1.0


#: Requests for more names of one directory that are on the way at once.
MAX_LISTINGS_AHEAD = 16


T = TypeVar("T")


class _Link:
    """One connection, with a watchdog on it."""

    def __init__(self, channel: Channel, idle_timeout: float) -> None:
        self.sftp = channel.sftp
        self.is_openssh = channel.is_openssh
        self._channel = channel
        self._more: dict[int, asyncio.Task[Channel]] = {}
        self._idle_timeout = idle_timeout
        self._watchdog = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """
        Hang up on a server that answers nothing for `idle_timeout`.

        A request may wait longer than that while others are answered: on a slow line it stands in a queue of many
        megabytes. It is stuck only when one sent `idle_timeout` after it has its answer already.

        Where this process itself stood still, as after SIGSTOP, what the server has said meanwhile is not read yet. So
        the time begins anew with each wake-up that comes late by more than half of `idle_timeout`.
        """
        limit = self._idle_timeout
        step = min(0.25, limit / 4)
        looked = awake_since = time.monotonic()
        while True:
            await asyncio.sleep(step)
            late = time.monotonic() - looked - step
            looked += late + step
            if late > limit / 2:
                awake_since = looked
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


class SftpSession:
    """
    A connection to one SFTP server that is opened on entry, and again when it is lost.

    All paths are bytes. Methods raise :class:`ConnectionFailed`, :class:`NotFound` and :class:`ServerRefused` as
    the methods of :class:`SftpProtocol` do.
    """

    def __init__(self, server: SftpServer, options: TransferOptions) -> None:
        self.server = server
        self.options = options
        self._link: _Link | None = None
        self._opening = asyncio.Lock()
        self._opened = 0
        self._failures = 0
        self._refused: ConnectionFailed | None = None
        self._farewells: set[asyncio.Future[Any]] = set()
        self._posix_rename = True
        self._fsync = True
        #: seconds of the fastest answer to an OPEN so far
        self.round_trip = float("inf")
        #: False once the server has answered a READ with less than was asked for, before the end of the file
        self.answers_whole = True
        #: directories of which a file has outlived its CLOSE in this run
        self._outlived: set[bytes] = set()
        self._handles_repeat: HandlesRepeat | None = None
        #: takes what was adapted to the server, in words for the user
        self.notice: Callable[[str], None] = lambda message: None
        self.handles = Handles(
            options.concurrency,
            lambda limit: self.notice(f"the server lets us open no more than {limit} files at once: others wait"),
        )

    @property
    def short_requests(self) -> int | None:
        """The bytes of one request, where the server takes fewer than the protocol asks of every server."""
        sizes = (self._link.sftp.read_size, self._link.sftp.write_size) if self._link is not None else ()
        return min((size for size in sizes if size < SAFE_REQUEST), default=None)

    async def __aenter__(self) -> SftpSession:
        await self._live()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._farewells:
            await asyncio.wait(self._farewells, timeout=FAREWELL_SECONDS)
        if self._link is not None:
            await self._link.close()
        for farewell in self._farewells:
            farewell.cancel()

    async def _live(self) -> SftpProtocol:
        """Return a connection that is not known to be lost; open one where there is none, within `conn_timeout`."""
        if self._link is not None and self._link.sftp.lost is None:
            return self._link.sftp
        failures = self._failures
        async with self._opening:
            if self._link is not None and self._link.sftp.lost is None:
                return self._link.sftp
            if self._failures > failures:  # in vain, while this one stood in the queue: once is enough
                raise ConnectionFailed(f"{self.server.host}:{self.server.port} could not be reached again")
            if self._link is not None:
                await self._link.close()
            try:
                channel = await self._open()
            except ConnectionFailed:
                self._failures += 1
                raise
            self._link = _Link(channel, self.options.idle_timeout)
            return self._link.sftp

    async def _open(self) -> Channel:
        if self._refused is not None:
            raise ConnectionFailed(str(self._refused))
        deadline = time.monotonic() + self.options.conn_timeout
        # A server at its limit of half-open connections (MaxStartups) drops one and takes the next.
        pause = 0.25
        before = ""
        while True:
            try:
                channel = await connect(self.server, deadline - time.monotonic(), self._opened + 1)
                self._opened += 1
                return channel
            except ConnectionFailed as failed:
                if failed.in_login and not self._opened:
                    raise
                if time.monotonic() + pause >= deadline:
                    if before in ("", str(failed)):
                        raise
                    raise ConnectionFailed(f"{failed}. The try before it: {before}") from None
                before = str(failed)
            except LoginRefused as refused:
                if not self._opened:
                    raise
                # The same credentials have worked a moment ago: it is the server that has changed its mind. Each
                # further login might lock the account.
                self._refused = ConnectionFailed(str(refused))
                raise self._refused from None
            await asyncio.sleep(pause)
            pause *= 2

    def farewell(self, answer: asyncio.Future[Any]) -> None:
        """Let a request go on that nobody waits for: the end of the run does."""
        self._farewells.add(answer)
        answer.add_done_callback(self._farewells.discard)
        answer.add_done_callback(forget)

    def later(self, request: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Let a request go on by itself: who ends early must not wait for a hung server. The end of the run does."""
        task = asyncio.create_task(request)
        self.farewell(task)
        return task

    async def list_directory(self, path: bytes) -> list[Entry]:
        """Return all entries of a directory but ``.`` and ``..``, sorted by name, names as the server gives them."""

        sftp, handle = await self.handles.open(lambda: self._open_handle(lambda sftp: sftp.open_directory(path)))
        entries: list[Entry] = []
        asked: list[asyncio.Future[list[Entry]]] = []
        depth, at_end = 2, False
        try:
            while not at_end:
                # An answer holds some hundred names: a far-away server is asked for more and more of them at once.
                depth = min(depth * 2, MAX_LISTINGS_AHEAD)
                asked = [sftp.read_directory(handle, path) for _ in range(depth)]
                for answer in asked:
                    found = await answer
                    at_end = at_end or not found
                    entries += found
        finally:
            cancel_all(asked)
            self.farewell(sftp.close(handle, path))
            self.handles.closed()
        return sorted(entry for entry in entries if entry.name not in (b".", b".."))

    async def lstat(self, path: bytes) -> Stat:
        """Return size and mtime of a path itself. Some servers follow links all the same."""
        return (await (await self._live()).lstat(path)).stat

    async def exists(self, path: bytes) -> bool:
        """Say whether there is anything at `path`, be it a broken link."""
        try:
            await self.lstat(path)
        except NotFound:
            return False
        return True

    async def is_directory(self, path: bytes) -> bool:
        """Say whether a path is a directory, or a link to one. False where there is nothing."""
        try:
            attributes = await (await self._live()).stat(path)
        except NotFound:
            return False
        # A server that does not say what it is, is believed: listing it, or writing into it, will tell.
        return attributes.mode is None or attributes.kind() == "directory"

    async def make_directory(self, path: bytes) -> None:
        """Make a directory. One that is there already, made by another writer meanwhile, is as good."""
        try:
            await (await self._live()).make_directory(path)
        except ServerRefused:
            if not await self.is_directory(path):
                raise

    async def remove(self, path: bytes) -> None:
        """Remove a file."""
        await (await self._live()).remove(path)

    async def remove_directory(self, path: bytes) -> None:
        """Remove an empty directory."""
        await (await self._live()).remove_directory(path)

    async def set_mtime(self, path: bytes, mtime: int) -> None:
        """Set a file's times to `mtime`, seconds since 1970."""
        await (await self._live()).set_times(path, mtime, mtime)

    async def rename(self, old: bytes, new: bytes) -> None:
        """Rename `old` to `new`. Most servers refuse where `new` is there already; some replace it."""
        await (await self._live()).rename(old, new)

    async def move(self, old: bytes, new: bytes) -> Stat | None:
        """
        Rename `old` to `new` as :meth:`replace` does, and return what is there then; None: it is gone already.

        :raises NotFound: `old`, or the directory of `new`, is not there.
        """
        if self.is_openssh:
            sftp = await self._live()
            renamed, there = sftp.posix_rename(old, new), sftp.lstat(new)
            try:
                await renamed
                return await _stat_if_there(there)
            finally:
                cancel_all((renamed, there))
        await self.replace(old, new)
        return await _stat_if_there((await self._live()).lstat(new))

    async def replace(self, old: bytes, new: bytes) -> None:
        """
        Rename `old` to `new`; a file of that name is replaced.

        Atomic with the posix-rename extension. Without it, a file in the way is moved aside first, and moved back
        when the rename fails all the same, so that it is never lost.
        """
        if self._posix_rename:
            try:
                await (await self._live()).posix_rename(old, new)
                return
            except Unsupported:
                self._posix_rename = False
        try:
            await self.rename(old, new)
            return
        except NotFound:
            raise
        except ServerRefused as refused:
            try:
                kind = (await (await self._live()).lstat(new)).kind()
            except NotFound:
                raise refused from None
            if kind != "file":
                raise ServerRefused(f"{refused}; there is a {kind} in the way") from None
        # Not to be cancelled half-way, where the target is neither the old nor the new one.
        await asyncio.shield(self.later(self._replace_in_steps(old, new)))

    async def _replace_in_steps(self, old: bytes, new: bytes) -> None:
        # Nobody's name: what a retry cleans up must not be the only copy of a file.
        aside = posixpath.join(posixpath.dirname(new), paths.temporary_name("0" * 8))
        try:
            await self.rename(new, aside)
        except ConnectionFailed:
            if not await self.exists(aside):  # else it has worked, and only its answer was lost
                raise
        try:
            await self.rename(old, new)
        except (ConnectionFailed, ServerRefused):
            if not await self.exists(new):
                await self.rename(aside, new)
                raise
            if await self.exists(old):  # somebody else has put a newer one there
                await self.remove(aside)
                raise
        await self.remove(aside)

    @contextlib.asynccontextmanager
    async def reading(self, path: bytes) -> AsyncIterator[RemoteFile]:
        """
        Open a file for reading within the block.

        A server may take a file away once it is closed, as mailboxes do. So it is closed in the end only where
        somebody has set :attr:`RemoteFile.is_stored`, or files of its directory :meth:`outlive_close`. Else it stays
        open as long as the connection does.

        :raises NotFound: there is no such file. What is raised within the block is never that: a server that has
            opened a file and then does not know it has it all the same.
        """
        file = await self._opened_file(path, READ)
        try:
            yield file
        except NotFound as denied:
            raise ServerRefused(f"{denied}, though the server has opened it") from None
        finally:
            if file.is_stored or self.outlive_close(path):
                file.release()
            else:
                file.keep()

    def outlive_close(self, path: bytes) -> bool:
        """
        Say whether files beside `path` are known to be there still after they were closed.

        With OpenSSH's own server one file shows it for all.
        """
        return posixpath.dirname(path) in self._outlived or (self.is_openssh and bool(self._outlived))

    def has_outlived_close(self, path: bytes) -> None:
        """Take note that the file at `path` was closed and was there after that."""
        self._outlived.add(posixpath.dirname(path))

    @contextlib.asynccontextmanager
    async def creating(self, path: bytes) -> AsyncIterator[RemoteFile]:
        """Make a new file for the block to write; it is removed when the block fails."""
        try:
            file = await self._opened_file(path, CREATE_NEW)
            try:
                yield file
            finally:
                file.release()
        except BaseException:
            self.later(self.remove(path))
            raise

    async def _opened_file(self, path: bytes, flags: int) -> RemoteFile:
        async def open_it() -> RemoteFile:
            sftp, handle = await self._open_handle(lambda sftp: sftp.open(path, flags))
            return RemoteFile(self, sftp, handle, path)

        return await self.handles.open(open_it)

    async def _open_handle(self, ask: Callable[[SftpProtocol], asyncio.Future[bytes]]) -> tuple[SftpProtocol, bytes]:
        """
        Return the handle that the server gives, and the session that it is good for.

        :raises HandlesRepeat: the server has given one handle to several files, now or before: nothing more is opened.
        """
        sftp = await self._live()
        if self._handles_repeat is not None:
            raise self._handles_repeat
        asked = time.monotonic()
        try:
            handle = await ask(sftp)
        except HandlesRepeat as repeat:
            self._handles_repeat = repeat
            raise
        except ServerRefused as refused:
            if not refused.is_generic or not sftp.kept:
                raise
            sftp.give_up(str(refused))  # it may be that the server opens no more beside those
            raise ConnectionFailed(str(refused), sftp.number, given_up=True) from None
        self.round_trip = min(self.round_trip, time.monotonic() - asked)
        return sftp, handle

    async def open_again(self, number: int, path: bytes) -> tuple[SftpProtocol, bytes]:
        """
        Open a file that is being written in one more session on the connection as well.

        :raises ConnectionFailed: there is none.
        """
        if self._link is None:
            raise ConnectionFailed("the SFTP connection was lost", self._opened)
        sftp = await self._link.one_more(number)
        return sftp, await sftp.open(path, WRITE)

    @property
    def connection(self) -> int:
        """Serial number of the connection that was opened last."""
        return self._opened

    @property
    def is_openssh(self) -> bool:
        """
        Whether the server is OpenSSH's own: see :attr:`~airflow_provider_sftp_s3.engine.ssh.Channel.is_openssh`.

        Then :meth:`open_again` is safe, and a request need not wait for the answer to the one before it.
        """
        return self._link is not None and self._link.is_openssh

    def closes_early(self, path: bytes) -> bool:
        """Say whether the file at `path` is closed while its last answers are on their way, once it is read."""
        return self.is_openssh and self.answers_whole and self.outlive_close(path)


async def _stat_if_there(asked: asyncio.Future[Attributes]) -> Stat | None:
    try:
        return (await asked).stat
    except NotFound:
        return None
