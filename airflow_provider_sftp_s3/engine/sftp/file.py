"""An open file on the server: read ahead of its use, or written in one or several sessions."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_sftp_s3.engine.errors import (
    ConnectionFailed,
    FileError,
    ServerRefused,
)
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.options import MiB
from airflow_provider_sftp_s3.engine.sftp.protocol import (
    SAFE_REQUEST,
    Attributes,
    SftpProtocol,
)
from airflow_provider_sftp_s3.engine.tasks import cancel_all

if TYPE_CHECKING:
    from airflow_provider_sftp_s3.engine.sftp.session import SftpSession

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
        :param at_most: read on behind `size`, to the end of the file, or until there are more bytes than that.
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
        try:
            stat = (await asked).stat
        except ServerRefused:
            stat = Stat()
        if stat.size is None:
            with contextlib.suppress(ServerRefused):
                stat = stat.filled(await self._session.lstat(self._path))
        return stat

    def leaves_out(self) -> None:
        """Take note that the server has answered with less than was asked for."""
        self._session.traits.answers_whole = False

    def read(self, offset: int, size: int) -> asyncio.Future[bytes | memoryview]:
        """Ask for up to `size` bytes from `offset`."""
        return self._sftp.read(self._handle, offset, size, self._path)

    async def ends_at(self, offset: int) -> bool:
        """Say whether the file ends at `offset` or before it."""
        return not await self.read(offset, 1)

    async def write_all(
        self,
        chunks: AsyncIterator[bytes],
        size: int,
        window: int,
        moved: Callable[[int], None],
        *,
        in_order: bool = False,
        look: bool = True,
    ) -> tuple[int, int | None]:
        """
        Write all chunks one after another, have the server put them on its disk where it can, and close the file.

        Every write is acknowledged by the server when this returns.

        :param size: how many bytes are expected. On their way to a far-away server many of them go by several sessions:
            OpenSSH takes no more than 2 MiB a round trip in each.
        :param window: bytes that are unanswered at most in each session.
        :param in_order: write in one session in any case.
        :param look: ask how many bytes the file has.
        :return: how many bytes the chunks were, and how many the file has on the server; None: that does not say. Some
            know it only once the file is closed.
        :raises ServerRefused: a WRITE, the FSYNC or the CLOSE has failed.
        """
        step = self._sftp.write_size
        offset = turn = 0
        unanswered: deque[tuple[int, asyncio.Future[None]]] = deque()
        wide = not in_order and size >= WIDE and self._session.round_trip >= FAR and self._session.is_openssh
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
            cancel_all(widening)
            return offset, await self._finished(unanswered, moved, look=look)
        finally:
            cancel_all(widening)
            cancel_all(answer for _, answer in unanswered)

    async def _finished(
        self, unanswered: deque[tuple[int, asyncio.Future[None]]], moved: Callable[[int], None], *, look: bool
    ) -> int | None:
        """Wait for the writes, have the file synced and closed, and return the size that it has until then."""
        size = None
        if not self._session.is_openssh:
            await _acknowledged(unanswered, moved)
            if look:
                with contextlib.suppress(ServerRefused):
                    size = (await self.ask_stat()).size
            await self._session.sync(self._sftp, self._handle, self._path)
            await self.close()
            return size
        if len(self._lanes) > 1:  # each session does its own requests in order, and no others
            await _acknowledged(unanswered, moved)
        stored = [self.ask_stat()] if look else []
        synced = self._sftp.fsync(self._handle, self._path)
        closed = self._ask_to_close()
        try:
            await _acknowledged(unanswered, moved)
            for answer in stored:
                with contextlib.suppress(ServerRefused):
                    size = (await answer).size
            await synced
            await closed
            return size
        finally:
            cancel_all((*stored, synced, closed))

    async def _widen(self, number: int) -> None:
        """Have the file written in one more session, where the server lets us."""
        with contextlib.suppress(ConnectionFailed, ServerRefused):
            self._lanes.append(await self._session.open_again(number, self._path))

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
        self._session.handles.closed(first)
        return asyncio.gather(first, *others) if others else first


async def _acknowledged(
    unanswered: deque[tuple[int, asyncio.Future[None]]], moved: Callable[[int], None], leave: int = 0
) -> None:
    """Wait until no more than `leave` writes are unanswered."""
    while len(unanswered) > leave:
        size, answer = unanswered.popleft()
        await answer
        moved(size)


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
        if self._at_most is not None and self.count > self._at_most:
            self._size, self._end_asked = self._next, True
            self._drop_asked()
        elif offset >= self._size:
            self._go_further(offset + len(data), is_whole=len(data) == step)
        elif len(data) < step:  # a server may answer with less than it was asked for
            if self._file.closed:
                self._file.leaves_out()
                self._drop_asked()
                return data
            offset, step = offset + len(data), step - len(data)
            self._went_on = True
            self._asked.appendleft((offset, step, self._file.read(offset, step)))
        return data

    def _go_further(self, end: int, *, is_whole: bool) -> None:
        """Ask for more of a file that is to be read to an end which is not known, each time for twice as much."""
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
        cancel_all(filter(None, (self._before, self._after)))
        if self._in_hand is not None:
            self._in_hand.cancel()

    def _drop_asked(self) -> None:
        if self._asked:
            cancel_all([answer for _, _, answer in self._asked])
            self._asked.clear()
