"""
A session on an SFTP server that is opened again when it is lost, and the requests that need no open file.

One connection carries many files at once. :class:`~airflow_provider_sftp_s3.engine.sftp.protocol.SftpProtocol` knows
what is awaited and since when: a server that answers nothing for `idle_timeout` is hung up on, and the next request
opens a new connection.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from airflow_provider_sftp_s3.engine.sftp.entries import entries_of
from airflow_provider_sftp_s3.engine.sftp.file import RemoteFile
from airflow_provider_sftp_s3.engine.sftp.handles import Handles
from airflow_provider_sftp_s3.engine.sftp.link import Link
from airflow_provider_sftp_s3.engine.sftp.protocol import (
    CREATE,
    CREATE_NEW,
    READ,
    SAFE_REQUEST,
    WRITE,
    Attributes,
    Entry,
    SftpProtocol,
    Unsupported,
)
from airflow_provider_sftp_s3.engine.sftp.replace import Replacing
from airflow_provider_sftp_s3.engine.sftp.traits import Traits
from airflow_provider_sftp_s3.engine.tasks import forget

#: How long the requests that clean up after a failure may take at the end of a run. With the watchdog's delay and the
#: time that the connection has to end no wait is longer than its limit and two seconds.
FAREWELL_SECONDS = 1.0
#: On how many connections the removal of a file of our own is tried.
DISCARD_TRIES = 5
T = TypeVar("T")


class SftpSession:
    """
    A connection to one SFTP server that is opened on entry, and again when it is lost.

    All paths are bytes. Methods raise :class:`ConnectionFailed`, :class:`NotFound` and :class:`ServerRefused` as
    the methods of :class:`SftpProtocol` do.
    """

    def __init__(self, server: SftpServer, options: TransferOptions) -> None:
        self.server = server
        self.options = options
        self._link: Link | None = None
        #: whether the server is OpenSSH's own, as :attr:`Channel.is_openssh` says. Then :meth:`open_again` is safe, and
        #: a request need not wait for the answer to the one before it
        self.is_openssh = False
        self._opening = asyncio.Lock()
        self._opened = 0
        self._ended = False
        self._failures = 0
        self._refused: ConnectionFailed | None = None
        self._farewells: set[asyncio.Future[Any]] = set()
        self._replacing = Replacing(self)
        #: seconds of the fastest answer to an OPEN so far
        self.round_trip = float("inf")
        #: whether a link stands for what it leads to, in all looks
        self.follows_links = False
        #: takes what was adapted to the server, in words for the user
        self.notice: Callable[[str], None] = lambda message: None
        self.traits = Traits(lambda message: self.notice(message))
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
        await self.live()
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._farewells:
                await asyncio.wait(self._farewells, timeout=FAREWELL_SECONDS)
        finally:  # whoever is tired of waiting
            self._ended = True
            if self._link is not None:
                await self._link.close()
            for farewell in self._farewells:
                farewell.cancel()

    async def live(self) -> SftpProtocol:
        """Return a connection that is not known to be lost; open one where there is none, within `conn_timeout`."""
        if self._link is not None and self._link.sftp.lost is None:
            return self._link.sftp
        failures = self._failures
        async with self._opening:
            if self._link is not None and self._link.sftp.lost is None:
                return self._link.sftp
            if self._ended:
                raise ConnectionFailed("the run has ended")
            if self._failures > failures:  # in vain, while this one stood in the queue: once is enough
                raise ConnectionFailed(f"{self.server.host}:{self.server.port} could not be reached again")
            if self._link is not None:
                await self._link.close()
            try:
                channel = await self._open()
            except ConnectionFailed:
                self._failures += 1
                raise
            if self._ended:  # meanwhile, and nobody would close it
                await channel.close()
                raise ConnectionFailed("the run has ended")
            self._link = Link(channel, self.options.idle_timeout)
            self.is_openssh = channel.is_openssh
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
        """
        Return all entries of a directory but ``.`` and ``..``, sorted by name, names as the server gives them.

        Of a name that the server lists several times, as some do, it is the first entry. But object stores have files
        and directories of one name: then it is both.

        :raises ServerRefused: also where it goes on for ever, as :func:`entries_of` says.
        """
        sftp, handle = await self._opened_directory(path)
        try:
            return await entries_of(sftp, handle, path, in_order=self.is_openssh)
        finally:
            self._close_directory(sftp, handle, path)

    async def lstat(self, path: bytes) -> Stat:
        """Return size and mtime of a path itself, unless links are followed. Some servers follow them all the same."""
        if self.follows_links:
            return (await (await self.live()).stat(path)).stat
        return (await self.attributes(path)).stat

    async def follow(self, path: bytes) -> tuple[str, Stat]:
        """Return what a path leads to: its kind, as of :class:`Entry`, its size and its mtime."""
        attributes = await (await self.live()).stat(path)
        return attributes.kind(), attributes.stat

    async def real_path(self, path: bytes) -> bytes | None:
        """Return the path of what a path leads to, with no link in it; None: the server does not say."""
        try:
            return await (await self.live()).real_path(path) or None
        except ServerRefused:
            return None

    async def exists(self, path: bytes) -> bool:
        """Say whether there is anything at `path`, be it a broken link."""
        try:
            await self.lstat(path)
        except NotFound:
            return False
        return True

    async def sees(self, path: bytes) -> bool | None:
        """Say whether there is anything at `path`. None: the server lets us see nothing there."""
        try:
            return await self.exists(path)
        except ServerRefused:
            return None

    async def is_directory(self, path: bytes) -> bool:
        """Say whether a path is a directory, or a link to one. False where there is nothing."""
        try:
            attributes = await (await self.live()).stat(path)
            # A server that does not say what it is, is believed: what is done there will tell.
            return attributes.kind() in ("directory", "unknown")
        except NotFound:
            return False
        except ServerRefused:
            return await self._can_be_listed(path)  # some let us look at nothing, and list and write all the same

    async def _can_be_listed(self, path: bytes) -> bool:
        try:
            sftp, handle = await self._opened_directory(path)
        except NotFound:
            return False
        try:
            await sftp.read_directory(handle, path)  # some open anything, and see only now what is there
            return True
        except NotFound:
            return False
        finally:
            self._close_directory(sftp, handle, path)

    async def _opened_directory(self, path: bytes) -> tuple[SftpProtocol, bytes]:
        return await self.handles.open(lambda: self._open_handle(lambda sftp: sftp.open_directory(path)))

    def _close_directory(self, sftp: SftpProtocol, handle: bytes, path: bytes) -> None:
        closed = sftp.close(handle, path)
        self.handles.closed(closed)
        self.farewell(closed)

    async def make_directory(self, path: bytes) -> None:
        """
        Make a directory. One that is there already, made by another writer meanwhile, is as good.

        :raises ServerRefused: it is not there, and cannot be made.
        """
        with_mode = self.traits.directories_want_mode
        try:
            await (await self.live()).make_directory(path, 0o777 if with_mode else None)
            return
        except ServerRefused as refused:
            if await self._is_surely_directory(path):
                return
            if with_mode or isinstance(refused, NotFound):
                raise
            error = refused
        try:
            await (await self.live()).make_directory(path, 0o777)
        except ServerRefused:
            raise error from None
        self.traits.directories_want_mode = True

    async def _is_surely_directory(self, path: bytes) -> bool:
        try:
            return await self.is_directory(path)
        except ServerRefused:
            return False

    async def remove(self, path: bytes) -> None:
        """
        Remove a file.

        :raises ServerRefused: also where the server has said OK, and was never seen to remove one.
        """
        await (await self.live()).remove(path)
        if self.is_openssh or "remove" in self.traits.are_done:
            return
        is_seen = await self.sees(path)
        if is_seen:
            raise ServerRefused(
                f"{paths.printable(path)!r} is still there, though the server says that it was removed: it may be that "
                "we must not remove files"
            )
        if is_seen is False:
            self.traits.are_done.add("remove")

    def discard(self, path: bytes) -> None:
        """Have a file of our own removed while the run goes on; what is lost with its connection is asked for again."""
        self.later(self._discarded(path))

    async def _discarded(self, path: bytes) -> None:
        for _ in range(DISCARD_TRIES):
            with contextlib.suppress(ConnectionFailed):
                with contextlib.suppress(NotFound):  # it was never made, or only an answer was lost
                    await self.remove(path)
                return

    async def remove_directory(self, path: bytes) -> None:
        """Remove an empty directory."""
        await (await self.live()).remove_directory(path)

    async def set_mtime(self, path: bytes, mtime: int) -> None:
        """Set a file's times to `mtime`, seconds since 1970."""
        await self.set_attributes(path, mtime=mtime)

    async def set_attributes(self, path: bytes, *, mode: int | None = None, mtime: int | None = None) -> None:
        """
        Set what is not None of a file.

        :param mode: its permissions.
        :param mtime: its times, in seconds since 1970.
        """
        await (await self.live()).set_attributes(path, mode=mode, mtime=mtime)

    async def attributes(self, path: bytes) -> Attributes:
        """Return what the server says of a path itself, or of what it leads to, where it answers nothing else."""
        sftp = await self.live()
        if self.traits.has_lstat is False:
            return await sftp.stat(path)
        try:
            attributes = await sftp.lstat(path)
        except NotFound:
            raise
        except ServerRefused as refused:
            if self.traits.has_lstat:
                raise
            try:
                attributes = await sftp.stat(path)  # it may be the request, and not the file
            except ServerRefused as again:
                is_gone = isinstance(refused, Unsupported) and isinstance(again, NotFound)
                raise again if is_gone else refused from None
            self.traits.has_lstat = False
            return attributes
        self.traits.has_lstat = True
        return attributes

    async def rename(self, old: bytes, new: bytes) -> None:
        """Rename `old` to `new`. Most servers refuse where `new` is there already; some replace it."""
        await (await self.live()).rename(old, new)

    async def move(self, old: bytes, new: bytes) -> Stat | None:
        """
        Rename `old` to `new` as :meth:`replace` does, and return what is there then; None: it is gone already.

        :raises NotFound: `old`, or the directory of `new`, is not there.
        """
        return await self._replacing.move(old, new)

    async def replace(self, old: bytes, new: bytes, aside: Callable[[], bytes] | None = None) -> None:
        """Rename `old` to `new`; a file of that name is replaced, and never lost: see :class:`Replacing`."""
        await self._replacing.replace(old, new, aside)

    async def take(
        self, old: bytes, new: bytes, spare: Callable[[], bytes], aside: Callable[[], bytes] | None = None
    ) -> bool:
        """Rename `old` to `new` unless there is something; False: there is. See :meth:`Replacing.take`."""
        return await self._replacing.take(old, new, spare, aside)

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
        return self.traits.outlive_close(path, is_openssh=self.is_openssh)

    @contextlib.asynccontextmanager
    async def creating(self, path: bytes) -> AsyncIterator[RemoteFile]:
        """
        Make a new file for the block to write; it is removed when the block fails.

        :param path: a name that nobody else uses: not every server refuses one that is taken.
        """
        file = await self.create(path)
        try:
            yield file
        except BaseException:
            self.discard(path)
            raise
        finally:
            file.release()

    async def create(self, path: bytes) -> RemoteFile:
        """Make a new file as :meth:`creating` does; to be released in the end, and discarded where that fails."""
        try:
            return await self._new_file(path)
        except ServerRefused:
            raise  # it is not there, or somebody else's. Some servers never answer a removal of nothing.
        except BaseException:
            self.discard(path)
            raise

    async def _new_file(self, path: bytes) -> RemoteFile:
        error = None
        if self.traits.has_exclusive_open is not False:
            try:
                file = await self._opened_file(path, CREATE_NEW)
                self.traits.has_exclusive_open = True
                return file
            except ServerRefused as refused:
                if self.traits.has_exclusive_open:
                    raise
                error = refused  # it may be the flag, and not the file
        try:
            file = await self._opened_file(path, CREATE)
        except ServerRefused as refused:
            raise error or refused from None
        if self.traits.has_exclusive_open is None:
            self.traits.has_exclusive_open = False
        return file

    @contextlib.asynccontextmanager
    async def overwriting(self, path: bytes) -> AsyncIterator[RemoteFile]:
        """Open a file for the block to write, a new one or one that is emptied. It stays when the block fails."""
        try:
            file = await self._opened_file(path, CREATE)
        except ServerRefused as refused:
            raise await self._replacing.told_what_is_in_the_way(refused, path) from None
        try:
            yield file
        finally:
            file.release()

    async def _opened_file(self, path: bytes, flags: int) -> RemoteFile:
        async def open_it() -> RemoteFile:
            sftp, handle = await self._open_handle(lambda sftp: sftp.open(path, flags))
            return RemoteFile(self, sftp, handle, path)

        return await self.handles.open(open_it)

    async def _open_handle(self, ask: Callable[[SftpProtocol], asyncio.Future[bytes]]) -> tuple[SftpProtocol, bytes]:
        """
        Return the handle that the server gives, and the session that it is good for.

        :raises HandlesRepeat: the server has given one handle to several files: no more than one is opened from now on.
        """
        sftp = await self.live()
        if self.traits.handles_repeated_on is not None:
            if self.handles.are_too_many:  # this one was let in before that was known
                raise ConnectionFailed("one file is open at a time", sftp.number, given_up=True)
            if sftp.kept:
                sftp.give_up("one file is open at a time")
                sftp = await self.live()
        asked = time.monotonic()
        try:
            handle = await ask(sftp)
        except HandlesRepeat as repeat:
            self.traits.handles_repeat(sftp.number)
            self.handles.only_one()
            if sftp.number != self.traits.handles_repeated_on:
                raise ServerRefused(f"{repeat}, though no other one is open") from None
            raise
        except ServerRefused as refused:
            if not sftp.kept or not (refused.is_generic or (refused.is_denied and self.handles.allows_one_at_most)):
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

    async def sync(self, sftp: SftpProtocol, handle: bytes, path: bytes) -> None:
        """
        Have the server put an open file's contents on its disk, where it has the fsync extension.

        :raises ServerRefused: it fails, and has worked before.
        """
        if self.traits.has_fsync is False:
            return
        try:
            await sftp.fsync(handle, path)
            self.traits.has_fsync = True
        except Unsupported:
            self.traits.has_fsync = False
        except ServerRefused as refused:
            if self.traits.has_fsync:
                raise
            self.traits.fsync_fails(str(refused))

    @property
    def connection(self) -> int:
        """Serial number of the connection that was opened last."""
        return self._opened

    def closes_early(self, path: bytes) -> bool:
        """Say whether the file at `path` is closed while its last answers are on their way, once it is read."""
        return self.is_openssh and self.traits.answers_whole and self.outlive_close(path)
