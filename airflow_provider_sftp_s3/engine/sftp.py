"""
The SFTP side: a session on a server that is opened again when it is lost, and the files on it.

One connection carries many files at once. :class:`~airflow_provider_sftp_s3.engine.sftp_protocol.SftpProtocol` knows
what is awaited and since when: a server that answers nothing for `idle_timeout` is hung up on, and the next request
opens a new connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    FileError,
    HandlesRepeat,
    NotFound,
    ServerRefused,
)
from airflow_provider_sftp_s3.engine.handles import Handles
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from airflow_provider_sftp_s3.engine.sftp_protocol import (
    CREATE_NEW,
    READ,
    SAFE_REQUEST,
    WRITE,
    Attributes,
    Entry,
    SftpProtocol,
    Unsupported,
)
from airflow_provider_sftp_s3.engine.ssh import Channel, SftpServer, connect
from airflow_provider_sftp_s3.engine.workers import retrieve

#: How long the requests that clean up after a failure may take at the end of a run. With the watchdog's delay and the
#: time that the connection has to end no wait is longer than its limit and two seconds.
FAREWELL_SECONDS = 1.0
#: Seconds of a round trip, and bytes of a file, from which on it pays to write it in several sessions, and in how many:
#: OpenSSH's sshd allows 10 on a connection (MaxSessions).
FAR = 0.005
WIDE = 8 * MiB
SESSIONS = 8
#: Bytes that all files together ask a nearer server for ahead, about: enough for 1.6 GiB/s. What OpenSSH has read and
#: not sent yet it moves about in memory: a seventh of the time of many large files.
NEAR_WINDOW = 4 * MiB
#: Files that are left open on one connection at most, which S3 has not got: see RemoteFile.keep.
MAX_KEPT = 100
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
            self._more[number].add_done_callback(retrieve)  # whoever waits may be gone
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
        deadline = time.monotonic() + self.options.conn_timeout
        # A server at its limit of half-open connections (MaxStartups) drops one and takes the next.
        pause = 0.25
        while True:
            try:
                channel = await connect(self.server, deadline - time.monotonic(), self._opened + 1)
                self._opened += 1
                return channel
            except ConnectionFailed:
                if time.monotonic() + pause >= deadline:
                    raise
            except AuthenticationFailed as refused:
                if not self._opened:
                    raise
                # The same credentials have worked a moment ago: it is the server that has changed its mind.
                raise ConnectionFailed(str(refused)) from None
            await asyncio.sleep(pause)
            pause *= 2

    def farewell(self, answer: asyncio.Future[Any]) -> None:
        """Let a request go on that nobody waits for: the end of the run does."""
        self._farewells.add(answer)
        answer.add_done_callback(self._farewells.discard)
        answer.add_done_callback(retrieve)

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
            _drop(asked)
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
                _drop((renamed, there))
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
            if not refused.vague or not sftp.kept:
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


class RemoteFile:
    """An open file on the server, bound to the connection it was opened on."""

    def __init__(self, session: SftpSession, sftp: SftpProtocol, handle: bytes, path: bytes) -> None:
        self._session = session
        self._sftp = sftp
        self._handle = handle
        self._path = path
        #: where it is open for writing: in one session, or in several at once
        self._lanes = [(sftp, handle)]
        self.closed = False
        #: whether S3 has what was read
        self.is_stored = False

    @property
    def path(self) -> bytes:
        """The name that it was opened by."""
        return self._path

    @property
    def connection(self) -> int:
        """Serial number of the connection that it is open on."""
        return self._sftp.number

    @property
    def read_size(self) -> int:
        """The bytes of one request to read."""
        return self._sftp.read_size

    @property
    def answers_in_order(self) -> bool:
        """Whether a last look at the file can be asked for along with its last bytes."""
        return self._session.is_openssh

    async def read_all(self, size: int, moved: Callable[[int], None], at_most: int | None = None) -> Reading:
        """
        Read the file from its start in pieces, up to and including `size` bytes and what the server says after them.

        All of it is asked for at once, but for larger files of a near server. Some servers may look at the file a last
        time before the last byte is read. Where the session :meth:`~SftpSession.closes_early`, the handle is closed at
        once, too: another file can take its place a round trip earlier. What such a server leaves out of its answers
        is missing then, and the session closes early no more.

        :param moved: called with the bytes of each answer.
        :param at_most: read on behind `size`, to the end of the file, which may have so many bytes.
        :raises FileError: it has more.
        """
        ahead = self.read_ahead(size, size if at_most is None else at_most, moved, at_most)
        if ahead.is_all_asked and at_most is None:
            ahead.ask_for_after()
            if self._session.closes_early(self._path):
                self.release()
        try:
            before = await ahead.before()
            # A piece holds on to what came along with it: a short one is better copied.
            pieces = [bytes(data) if len(data) < SAFE_REQUEST else data async for data in ahead]
            return Reading(before, await ahead.after(), pieces, ahead.count, ahead.ended, ahead.refused_at_the_end)
        finally:
            ahead.close()

    def read_ahead(self, size: int, window: int, moved: Callable[[int], None], at_most: int | None = None) -> ReadAhead:
        """
        Ask what the file is and for its first bytes, and return the iterator over them.

        :param size: bytes to read, from the start.
        :param window: bytes that are asked for ahead at most; fewer of a near server.
        :param moved: called with the bytes of each answer.
        :param at_most: as for :meth:`read_all`.
        """
        if self._session.round_trip < FAR:
            window = min(window, max(NEAR_WINDOW // self._session.handles.held, 1 * MiB))
        return ReadAhead(self, size, window, moved, at_most)

    def ask_stat(self) -> asyncio.Future[Attributes]:
        """Ask for size and mtime of the file that is open, whatever its name stands for by now."""
        return self._sftp.fstat(self._handle, self._path)

    async def stat(self, asked: asyncio.Future[Attributes]) -> Stat:
        """
        Return what the server answers to :meth:`ask_stat`, or to the same question about the file's name.

        Some servers say nothing of an open file, and some nothing of a file at all: then nothing is known.
        """
        stat = Stat()
        with contextlib.suppress(ServerRefused):
            stat = (await asked).stat
        if stat.size is None:
            with contextlib.suppress(ServerRefused):
                stat = stat.filled(await self._session.lstat(self._path))
        return stat

    def leaves_out(self) -> None:
        """Take note that the server has answered with less than was asked for."""
        self._session.answers_whole = False

    def read(self, offset: int, size: int) -> asyncio.Future[bytes | memoryview]:
        """Ask for up to `size` bytes from `offset`."""
        return self._sftp.read(self._handle, offset, size, self._path)

    async def ends_at(self, offset: int) -> bool:
        """Say whether the file ends at `offset` or before it."""
        return not await self.read(offset, 1)

    async def write_all(
        self, chunks: AsyncIterator[bytes], size: int, window: int, moved: Callable[[int], None]
    ) -> tuple[int, int | None]:
        """
        Write all chunks one after another, have the server put them on its disk where it can, and close the file.

        Every write is acknowledged by the server when this returns.

        :param size: how many bytes are expected. On their way to a far-away server many of them go by several sessions:
            OpenSSH takes no more than 2 MiB a round trip in each.
        :param window: bytes that are unanswered at most in each session.
        :return: how many bytes the chunks were, and how many the file has on the server, None where it does not say.
        """
        step = self._sftp.write_size
        offset = turn = 0
        unanswered: deque[tuple[int, asyncio.Future[None]]] = deque()
        wide = size >= WIDE and self._session.round_trip >= FAR and self._session.is_openssh
        widening = [asyncio.create_task(self._widen(number)) for number in range(1, SESSIONS if wide else 1)]

        async def write(pieces: list[memoryview], size: int) -> None:
            nonlocal offset, turn
            if len(unanswered) >= max(1, window // step) * len(self._lanes):
                await _acknowledged(unanswered, moved, leave=len(unanswered) - 1)
            sftp, handle = self._lanes[turn % len(self._lanes)]
            turn += 1
            await sftp.writable.wait()
            unanswered.append((size, sftp.write(handle, offset, pieces, self._path)))
            offset += size

        pieces: list[memoryview] = []
        held = 0
        try:
            async for chunk in chunks:
                view = memoryview(chunk)
                while held + len(view) >= step:
                    await write([*pieces, view[: step - held]], step)
                    view, pieces, held = view[step - held :], [], 0
                if view:
                    pieces.append(view)
                    held += len(view)
            if held:
                await write(pieces, held)
            _drop(widening)
            stored = await self._finished(unanswered, moved)
            if stored != offset:  # a server may know the size of a file only once it is closed
                stored = (await self._session.lstat(self._path)).size
            return offset, stored
        finally:
            _drop(widening)
            _drop(answer for _, answer in unanswered)

    async def _finished(
        self, unanswered: deque[tuple[int, asyncio.Future[None]]], moved: Callable[[int], None]
    ) -> int | None:
        """Wait for the writes, have the file synced and closed, and return the size that it has until then."""
        if not self._session.is_openssh:
            await _acknowledged(unanswered, moved)
            size = None
            with contextlib.suppress(ServerRefused):
                size = (await self.ask_stat()).size
            await self._sync()
            await self.close()
            return size
        if len(self._lanes) > 1:  # each session does its own requests in order, and no others
            await _acknowledged(unanswered, moved)
        stored = self.ask_stat()
        synced = self._sftp.fsync(self._handle, self._path)
        closed = self._ask_to_close()
        try:
            await _acknowledged(unanswered, moved)
            size = (await stored).size
            await synced
            await closed
            return size
        finally:
            _drop((stored, synced, closed))

    async def _widen(self, number: int) -> None:
        """Have the file written in one more session, where the server lets us."""
        with contextlib.suppress(ConnectionFailed, ServerRefused):
            self._lanes.append(await self._session.open_again(number, self._path))

    async def _sync(self) -> None:
        """Have the server put the contents on its disk, where it has the fsync extension."""
        if self._session._fsync:
            try:
                await self._sftp.fsync(self._handle, self._path)
            except Unsupported:
                self._session._fsync = False

    def release(self) -> None:
        """Close the handle without waiting for it, if it is open: nothing depends on the answer."""
        if not self.closed:
            self._session.farewell(self._ask_to_close())

    def keep(self) -> None:
        """
        Leave the file open for as long as the connection lives: the server may take it away when it is closed.

        Its place is free for another file. With too many of them the connection is given up, and another one opened.
        """
        if self.closed:
            return
        self.closed = True
        self._session.handles.closed()
        self._sftp.kept += 1
        if self._sftp.kept >= MAX_KEPT:
            self._sftp.give_up("those are many")

    async def close(self) -> None:
        """Close the handle, once."""
        if not self.closed:
            await self._ask_to_close()

    def _ask_to_close(self) -> asyncio.Future[Any]:
        self.closed = True
        first, *others = [sftp.close(handle, self._path) for sftp, handle in self._lanes]
        self._session.handles.closed()  # the server comes by it before whatever is asked for next
        return asyncio.gather(first, *others) if others else first


async def _acknowledged(
    unanswered: deque[tuple[int, asyncio.Future[None]]], moved: Callable[[int], None], leave: int = 0
) -> None:
    """Wait until no more than `leave` writes are unanswered."""
    while len(unanswered) > leave:
        size, answer = unanswered.popleft()
        await answer
        moved(size)


async def _stat_if_there(asked: asyncio.Future[Attributes]) -> Stat | None:
    try:
        return (await asked).stat
    except NotFound:
        return None


@dataclass(frozen=True, slots=True)
class Reading:
    """
    A file that was read into memory, and all that its server has said of it.

    :param before: what the file was before the first byte was read, and `after` after the last one.
    :param ended: whether the server has said that the file ends after `count` bytes.
    :param refused_at_the_end: the error that the server gave instead, where nothing but the end was asked for.
    """

    before: Stat
    after: Stat
    pieces: list[bytes | memoryview]
    count: int
    ended: bool
    refused_at_the_end: ServerRefused | None


class ReadAhead:
    """
    The bytes of a file in order, asked for ahead of their use, and what the file is before and after that.

    Behind the last byte one more is asked for: the server is to say that the file ends there.

    An iterator with a :meth:`close` of its own, not a generator: it is ended from outside while a library holds it.
    """

    def __init__(
        self, file: RemoteFile, size: int, window: int, moved: Callable[[int], None], at_most: int | None
    ) -> None:
        self._file = file
        self._size = size
        self._at_most = at_most
        self._step = file.read_size
        self._depth = max(1, -(-window // self._step))
        self._moved = moved
        self._next = 0
        self._end_asked = False
        self._further = self._step
        self._asked: deque[tuple[int, int, asyncio.Future[bytes | memoryview]]] = deque()
        self._in_hand: asyncio.Future[bytes | memoryview] | None = None
        self._closed = False
        self._went_on = False
        self.count = 0
        #: as in Reading
        self.ended = False
        self.refused_at_the_end: ServerRefused | None = None
        self._before = file.ask_stat()
        self._after: asyncio.Future[Attributes] | None = None
        self._ask()

    async def before(self) -> Stat:
        """Return what the file was before the first byte was read."""
        return await self._file.stat(self._before)

    async def after(self) -> Stat:
        """Return what the file is after the last byte was read. To be called then."""
        # Something was asked for a second time, after that.
        if self._after is None or (self._went_on and not self._file.closed):
            self._after = self._file.ask_stat()
        return await self._file.stat(self._after)

    @property
    def is_all_asked(self) -> bool:
        """Whether all bytes have been asked for, and what comes after them."""
        return self._end_asked

    def ask_for_after(self) -> None:
        """Ask what the file is after what has been asked for so far."""
        if self._after is None:
            self._after = self._file.ask_stat()

    def __aiter__(self) -> ReadAhead:
        return self

    async def __anext__(self) -> bytes | memoryview:
        if self._closed:
            raise FileError("was called off")
        if len(self._asked) <= self._depth * 3 // 4:  # many at once: they go in one packet
            self._ask()
        if not self._asked:
            raise StopAsyncIteration
        offset, step, self._in_hand = self._asked.popleft()
        try:
            data = await self._in_hand
        except asyncio.CancelledError:
            if self._closed:
                raise FileError("was called off") from None
            raise
        except ServerRefused as refused:
            if offset != self._size:
                raise
            self.refused_at_the_end = refused
            raise StopAsyncIteration from None
        if not data:  # perhaps before its size: whoever counts will see
            self.ended = True
        if not data or (offset >= self._size and self._at_most is None):
            self._end_asked = True
            self._drop_asked()
            raise StopAsyncIteration
        self.count += len(data)
        self._moved(len(data))
        if offset >= self._size:
            self._go_further(offset + len(data), self._at_most or 0, is_whole=len(data) == step)
        elif len(data) < step:  # a server may answer with less than it was asked for
            if self._file.closed:
                self._file.leaves_out()
                self._drop_asked()
                return data
            offset, step = offset + len(data), step - len(data)
            self._went_on = True
            self._asked.appendleft((offset, step, self._file.read(offset, step)))
        return data

    def _go_further(self, end: int, at_most: int, *, is_whole: bool) -> None:
        """Ask for more of a file that is to be read to an end which is not known, each time for twice as much."""
        if self.count > at_most:
            raise FileError(
                f"has more than part_size, {at_most} bytes, and the server does not say how many: raise part_size"
            )
        self._size = end
        if is_whole:
            self._size += self._further
            self._further = min(self._further * 2, self._depth * self._step)
        self._next = end
        self._end_asked = False
        self._ask()

    def _ask(self) -> None:
        """Ask for as much as the window holds, and along with the last bytes for what comes after them."""
        while self._next < self._size and len(self._asked) < self._depth:
            self._ask_for(min(self._step, self._size - self._next))
        if self._next >= self._size and not self._end_asked:
            self._end_asked = True
            self._ask_for(1 if self._at_most is None else self._step)
        if self._end_asked and self._at_most is None and self._file.answers_in_order:
            self.ask_for_after()

    def _ask_for(self, step: int) -> None:
        self._asked.append((self._next, step, self._file.read(self._next, step)))
        self._next += step

    def close(self) -> None:
        """Drop what was asked for and is not used; who waits for more fails."""
        self._closed = True
        self._drop_asked()
        _drop(answer for answer in (self._before, self._after) if answer is not None)
        if self._in_hand is not None:
            self._in_hand.cancel()

    def _drop_asked(self) -> None:
        _drop(answer for _, _, answer in self._asked)
        self._asked.clear()


def _drop(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks whose result nobody will look at."""
    for task in tasks:
        task.cancel()
        task.add_done_callback(retrieve)
