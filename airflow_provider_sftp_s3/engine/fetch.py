"""
From a file on the server into S3: read whole, or not stored.

Nothing that a server may take for the end of our interest in a file is sent before S3 has it, until a file beside it
has outlived its CLOSE in this run.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from airflow_provider_sftp_s3.engine import whole
from airflow_provider_sftp_s3.engine.checksum_files import WantedSum
from airflow_provider_sftp_s3.engine.errors import (
    ChangedWhileReading,
    ConnectionFailed,
    FileError,
    ServerRefused,
    TargetTaken,
)
from airflow_provider_sftp_s3.engine.limits import off_the_clock
from airflow_provider_sftp_s3.engine.listing import is_young
from airflow_provider_sftp_s3.engine.model import UNKNOWN, Outcome, SourceFile, Stat, Stored
from airflow_provider_sftp_s3.engine.observer import Notices
from airflow_provider_sftp_s3.engine.options import MAX_OBJECT_SIZE, MAX_PARTS, KiB, MiB, TransferOptions
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.marks import Naming
from airflow_provider_sftp_s3.engine.s3.only_new import How, OnlyNew
from airflow_provider_sftp_s3.engine.sftp.file import ReadAhead, Reading, RemoteFile
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession

if TYPE_CHECKING:
    from hashlib import _Hash

#: Bytes asked for ahead of a large file, and parts of it on their way to S3 at once.
READ_AHEAD = 16 * MiB
PARTS_AT_ONCE = 3
#: How often a file that has changed since it was last looked at is looked at again.
LOOKS = 3


class Uploaded(NamedTuple):
    """
    A file that S3 has.

    :param read: its size and mtime.
    :param seen: what the server says of it when it is looked at: the same, but with servers that contradict themselves.
    :param closed_on: serial number of the connection on which it was closed; 0: nothing is known of that.
    :param stored: what S3 says of the object.
    """

    read: Stat
    seen: Stat
    closed_on: int = 0
    stored: Stored = Stored()


@dataclass
class PulledFile:
    """
    A file to pull, with what a report calls it, and how far it has come: it is begun again after a lost connection.

    :param key: that it goes to, and `named_for` what it was when that was found, where that matters.
    :param only_new: what has come there meanwhile is not to be replaced.
    :param may_be_stored: to be awaited before S3 gets anything of it, and raises why it must not; None: it may.
    :param opened: the server has opened it, so it cannot be gone unsaid.
    :param is_long: nobody says how large it is, and it has more than `part_size` bytes.
    :param uploaded: S3 has it, and its move has not been answered yet.
    :param keeps_key: the key is another file's, with another name.
    :param outcome: what has become of it, while its trigger is on its way.
    :param wanted: the sum that it must have to be stored; None: any.
    :param stamp: the mtime that it was to get after its move, which may not have been answered, either.
    :param deleting: what it is called in its done directory until it is removed, in whichever attempt that is.
    """

    file: SourceFile
    label: str
    key: str = ""
    named_for: Stat | None = None
    only_new: bool = False
    may_be_stored: Callable[[], Awaitable[None]] | None = None
    opened: bool = False
    is_long: bool = False
    uploaded: Uploaded | None = None
    stamp: int | None = None
    deleting: bytes = b""
    keeps_key: bool = False
    outcome: Outcome | None = None
    wanted: WantedSum | None = None

    @property
    def size(self) -> int:
        return self.file.stat.size or 0

    @property
    def changed(self) -> float | None:
        return self.file.stat.mtime


class _Look(NamedTuple):
    """What one look at an open file has shown; `uploaded` where S3 has it."""

    verdict: whole.Verdict | Literal["long"]
    seen: Stat
    uploaded: Uploaded | None = None


class Fetcher:
    """
    Reads files and stores them, for one run of a pull.

    :param naming: of the destination that a pulled file has come from: it need not be sent back there.
    :param min_age: seconds that a file must have been left alone.
    :param hold_memory: holds so many bytes of the run's memory within a block.
    :param moved: called with the number of bytes that have come.
    :param choose: gives a file its key, by what it is; None: it has one, whatever it is.
    :param only_new: what stores files that are `only_new`; None: there are none.
    """

    def __init__(
        self,
        session: SftpSession,
        bucket: Bucket,
        options: TransferOptions,
        notices: Notices,
        naming: Naming,
        *,
        min_age: float,
        hold_memory: Callable[[int], contextlib.AbstractAsyncContextManager[None]],
        moved: Callable[[int], None],
        choose: Callable[[PulledFile, Stat], Awaitable[None]] | None = None,
        only_new: OnlyNew | None = None,
    ) -> None:
        self._session = session
        self._bucket = bucket
        self._options = options
        self._notices = notices
        self._naming = naming
        self._min_age = min_age
        self._hold_memory = hold_memory
        self._moved = moved
        self._choose = choose
        self._only_new = only_new

    def is_young(self, stat: Stat) -> bool:
        """Say whether somebody may still be writing a file."""
        return stat.mtime is not None and is_young(stat.mtime, self._bucket.now(), self._min_age)

    async def upload(
        self, pulled: PulledFile, path: bytes, expected: Stat, mtime: int | None = None
    ) -> Uploaded | None:
        """
        Read the file at `path` into the object of its key, and return what was read.

        :param expected: what the file was when it was last looked at. One that has changed since must be of age
            again: if it is not, None is returned.
        :param mtime: what to write into the object's metadata, where it is not the file's own.
        :raises NotFound: there is no such file.
        :raises ChangedWhileReading: S3 has not got it.
        """
        if expected.size is None:  # some listings leave it out
            with contextlib.suppress(ServerRefused):
                expected = expected.filled(await self._session.lstat(path))
        await self._name(pulled, expected, mtime)
        looks, to_the_end = LOOKS, expected.size is None
        while looks:
            cost = self._cost(pulled, expected.size, to_the_end=to_the_end)
            async with self._hold_memory(cost), self._session.reading(path) as file:
                pulled.opened = True
                while looks and not file.closed and self._cost(pulled, expected.size, to_the_end=to_the_end) <= cost:
                    is_large = (expected.size or 0) > self._options.part_size
                    read = self._stream if is_large or (to_the_end and pulled.is_long) else self._put
                    try:
                        look = await read(file, pulled, expected, mtime, to_the_end=to_the_end)
                    except TargetTaken:
                        looks -= 1
                        if not looks or self._choose is None:
                            raise
                        await self._choose(pulled, pulled.named_for or expected)
                        continue
                    if look.uploaded is not None:
                        return look.uploaded
                    if look.verdict == "long":
                        pulled.is_long = True
                        continue
                    looks -= 1
                    if self.is_young(look.seen):
                        return None
                    expected = whole.expected_next(expected, look.seen)
                    await self._name(pulled, expected, mtime)
                    to_the_end = look.verdict == "more" or expected.size is None
        raise ChangedWhileReading(f"changed {LOOKS} times before it could be read, now {expected}")

    async def _name(self, pulled: PulledFile, stat: Stat, mtime: int | None) -> None:
        """Have a key chosen for what a file is, and what its object will say that it is."""
        if self._choose is not None:
            stat = stat if mtime is None else stat._replace(mtime=mtime)
            stat = stat.filled(pulled.named_for or UNKNOWN)
            if pulled.named_for != stat:
                await self._choose(pulled, stat)

    async def _condition(self, pulled: PulledFile, how: How) -> Mapping[str, str] | None:
        return await self._only_new.condition(pulled.key, how) if pulled.only_new and self._only_new else None

    async def _put(
        self, file: RemoteFile, pulled: PulledFile, expected: Stat, mtime: int | None, *, to_the_end: bool
    ) -> _Look:
        """
        Read a file into memory, and store it if it is whole.

        :param to_the_end: nobody says how large it is, or there is more than anybody has said: then it may be ``long``,
            which is more than `part_size`.
        """
        early = self._session.closes_early(file.path)
        size, at_most = expected.size or 0, self._options.part_size if to_the_end else None
        reading = await file.read_all(size, self._moved, at_most)
        if early and not self._session.closes_early(file.path):
            return _Look("another", Stat())  # the server has left something out
        if at_most is not None and reading.count > at_most:
            return _Look("long", Stat())
        look = await self._judge(file, expected, reading, to_the_end=to_the_end)
        if look.verdict == "whole":
            if pulled.wanted is not None:
                pulled.wanted.check_all(reading.pieces)
            if pulled.may_be_stored is not None:
                await pulled.may_be_stored()
            if self._session.outlive_close(file.path):
                file.release()
            uploaded = self._as_uploaded(expected, look.seen, reading.count)
            key, condition = pulled.key, await self._condition(pulled, "PutObject")
            async with self._bucket.taking(key):
                metadata = self._metadata(key, uploaded.read.mtime, mtime, reading.count)
                stored = await self._bucket.put(key, reading.pieces, metadata, condition)
            return await self._stored(file, look, uploaded, stored)
        return look

    async def _stream(
        self, file: RemoteFile, pulled: PulledFile, expected: Stat, mtime: int | None, *, to_the_end: bool
    ) -> _Look:
        """Read a file in parts, and store it if it is whole. `to_the_end` is as for :meth:`_put`."""
        size = expected.size or 0
        if size > MAX_OBJECT_SIZE:
            raise FileError(f"has {size} bytes, and S3 takes {MAX_OBJECT_SIZE}")
        part_size = self._part_size(None if to_the_end else size)
        at_most = min(part_size * MAX_PARTS, MAX_OBJECT_SIZE) if to_the_end else None
        ahead = file.read_ahead(size, self._window, self._moved, at_most)
        look = _Look("changed", expected)

        async def check() -> None:
            nonlocal look
            reading = Reading(before, await ahead.after(), [], ahead.count, ahead.ended, ahead.refused_at_the_end)
            if at_most is not None and reading.count > at_most:
                raise FileError(
                    f"has more than {at_most} bytes, and the server does not say how many: raise memory_budget, a "
                    f"quarter of which is one of {MAX_PARTS} parts"
                )
            look = await self._judge(file, expected, reading, to_the_end=to_the_end)
            if look.verdict != "whole":
                raise ChangedWhileReading(f"is another version than expected: {look.seen}")
            if pulled.wanted is not None and running is not None:
                pulled.wanted.check(running)
            if condition is not None and not condition:
                await self._condition(pulled, "CompleteMultipartUpload")  # another look, which is the last one

        condition: Mapping[str, str] | None = None
        running = None if pulled.wanted is None else pulled.wanted.begin()
        try:
            before = await ahead.before()
            if whole.is_another(expected, before):
                return _Look("another", before)
            if pulled.may_be_stored is not None:
                await pulled.may_be_stored()
            uploaded = self._as_uploaded(expected, before, size)
            key, condition = pulled.key, await self._condition(pulled, "CompleteMultipartUpload")
            try:
                async with self._bucket.taking(key):
                    stored = await self._bucket.put_stream(
                        key,
                        _CheckedAtTheEnd(ahead, check, running),
                        # Whatever is whole has the size that was stated, but for what is read to its end.
                        self._metadata(key, uploaded.read.mtime, mtime, None if to_the_end else size),
                        part_size=part_size,
                        parts_at_once=self._parts_at_once(part_size),
                        call_off=ahead.close,
                        condition=condition,
                    )
            except ChangedWhileReading:
                if look.verdict == "changed":
                    raise
                return look
            return await self._stored(file, look, self._as_uploaded(expected, look.seen, ahead.count), stored)
        finally:
            ahead.close()

    async def _judge(self, file: RemoteFile, expected: Stat, reading: Reading, *, to_the_end: bool = False) -> _Look:
        """
        Say whether what was read is the whole file.

        :raises ChangedWhileReading: it changed meanwhile, or what the server says of it contradicts itself.
        """
        seen, count = reading.before.filled(reading.after), reading.count
        ended = reading.ended
        if reading.refused_at_the_end:
            if not expected.size == reading.before.size == reading.after.size == count:
                raise reading.refused_at_the_end
            ended = True
            self._notices.once(
                "error at the end",
                f"the server answers a READ at the end of a file with an error ({reading.refused_at_the_end}): "
                "where all sizes agree, that is taken for the end",
            )
        verdict = whole.judge(expected, reading.before, reading.after, count, ended)
        if verdict == "more" and to_the_end and await self._stands_still(file, reading):
            self._notices.once(
                "sizes too small",
                "the server states sizes of files that are too small: they are read to their end, and looked at again "
                "after min_age",
            )
            verdict = "whole"
        elif verdict == "whole" and expected.size is None and seen.size is None:
            self._notices.once(
                "no sizes", "the server does not say how large files are: they are taken for whole where they end"
            )
        if verdict == "changed" or (verdict == "more" and to_the_end):
            raise ChangedWhileReading(
                f"changed while reading, or the server contradicts itself: listed with {expected}, before "
                f"{reading.before}, counted {count} bytes, after {reading.after}"
            )
        return _Look(verdict, seen)

    async def _stands_still(self, file: RemoteFile, reading: Reading) -> bool:
        """Say whether a file that is larger than anybody says is still as it was read, `min_age` later."""
        with off_the_clock():
            await asyncio.sleep(self._min_age)
        now = await file.stat(file.ask_stat())
        return not now.differs(reading.before) and await file.ends_at(reading.count)

    def _as_uploaded(self, expected: Stat, seen: Stat, count: int) -> Uploaded:
        """Return what a file is of which `count` bytes were read, and which is whole."""
        if expected == seen and expected.size == count:
            return Uploaded(expected, expected)
        if seen.size is not None and seen.size < count == expected.size:
            return Uploaded(expected, seen)  # the listing is right, and what the open file says is not
        read = Stat(count, seen.filled(expected).mtime)
        return Uploaded(read, seen.filled(read))

    async def _stored(self, file: RemoteFile, look: _Look, uploaded: Uploaded, stored: Stored) -> _Look:
        """Take note that S3 has the file, and close it."""
        file.is_stored = True
        closed_on = file.connection
        if not self._session.outlive_close(file.path):
            # Who moves it next must know whether it was there after that.
            try:
                if not self._session.is_openssh:  # which does what it is asked in that order
                    await file.close()
            except (ServerRefused, ConnectionFailed):
                closed_on = 0  # it has been read, and nothing more is wanted of it
        file.release()
        return look._replace(uploaded=uploaded._replace(closed_on=closed_on, stored=stored))

    async def look_after_close(self, path: bytes, uploaded: Uploaded) -> None:
        """Find out whether files beside a pulled one, which stays in its place, outlive their CLOSE."""
        if not self._session.outlive_close(path):
            with contextlib.suppress(ServerRefused):
                if await self._session.exists(path):
                    self.was_there_after_close(path, uploaded)

    def was_there_after_close(self, path: bytes, uploaded: Uploaded) -> None:
        if uploaded.closed_on == self._session.connection:  # else the CLOSE may be lost with its connection
            self._session.traits.has_outlived_close(path)

    def _metadata(self, key: str, own: int | None, given: int | None, size: int | None) -> dict[str, str]:
        mtime = own if given is None else given
        known = {} if mtime is None else {"mtime": str(mtime)}
        return {**known, **self._naming.metadata(key, size)}

    @property
    def _window(self) -> int:
        return min(READ_AHEAD, self._options.memory_budget // 4)

    def _part_size(self, size: int | None) -> int:
        """Return the bytes of one part of a file of `size` bytes. None: nobody knows how many parts there will be."""
        if size is None:
            return max(self._options.part_size, self._options.memory_budget // 4)
        return self._options.part_size_for(size)

    def _parts_at_once(self, part_size: int) -> int:
        """Return how many parts may be on their way while one more is filled, within the budget."""
        fitting = (self._options.memory_budget - self._window) // part_size - 1
        return max(1, min(PARTS_AT_ONCE, fitting))

    def _cost(self, pulled: PulledFile, size: int | None, *, to_the_end: bool) -> int:
        """Return the bytes of memory that a file takes while it is moved."""
        is_large = (size or 0) > self._options.part_size
        if to_the_end and not is_large and not pulled.is_long:
            return 2 * self._options.part_size
        if not to_the_end and not is_large:
            # Measured: obstore holds half of it a second time. And a few large files at once are faster than many.
            return max(4 * (size or 0), 64 * KiB)
        part_size = self._part_size(None if to_the_end else size)
        return self._window + part_size * (self._parts_at_once(part_size) + 1)


class _CheckedAtTheEnd:
    """
    Chunks of a file, and at their end a check that fails the upload while S3 can still drop it.

    :param running: the sum of what has come; None: nobody has asked for it.
    """

    def __init__(self, ahead: ReadAhead, check: Callable[[], Awaitable[None]], running: _Hash | None) -> None:
        self._ahead = ahead
        self._check = check
        self._running = running

    def __aiter__(self) -> _CheckedAtTheEnd:
        return self

    async def __anext__(self) -> bytes | memoryview:
        try:
            piece = await anext(self._ahead)
        except StopAsyncIteration:
            await self._check()
            raise
        if self._running is not None:
            self._running.update(piece)
        return piece
