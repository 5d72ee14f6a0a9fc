"""
Pull: an SFTP tree into S3.

One file, step by step (:meth:`Pull.transfer`):

1. the listing yields regular files only, that nobody has touched for `min_age`;
2. the name becomes a key, or is refused;
3. open, fstat, read everything and the end of the file, streaming into S3, fstat again: what is stated and what is read
   must be one whole file, see :mod:`~airflow_provider_sftp_s3.engine.whole`;
4. S3 has answered that the object is complete. Only now:
5. close, unless files of this directory are known to outlive that: then they are closed before S3 has answered;
6. rename into the done directory, and look whether it is the file that was read: if not, upload it from there;
7. stamp it with the time of the move, from which its retention counts, or remove it.

A crash after any step leaves a state from which the next run repairs everything by doing the same again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import posixpath
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from airflow_provider_sftp_s3.engine import paths, whole
from airflow_provider_sftp_s3.engine.errors import (
    ChangedWhileReading,
    ConnectionFailed,
    FileError,
    NotFound,
    ServerRefused,
)
from airflow_provider_sftp_s3.engine.globs import Globs
from airflow_provider_sftp_s3.engine.limits import Caps, off_the_clock
from airflow_provider_sftp_s3.engine.listing import Tree, is_young
from airflow_provider_sftp_s3.engine.model import Outcome, Report, SourceFile, Stat
from airflow_provider_sftp_s3.engine.observer import Observer
from airflow_provider_sftp_s3.engine.options import MAX_OBJECT_SIZE, KiB, MiB, TransferOptions
from airflow_provider_sftp_s3.engine.run import Run
from airflow_provider_sftp_s3.engine.s3 import marks
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.ledger import Ledger
from airflow_provider_sftp_s3.engine.s3.left_uploads import LeftUploads
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from airflow_provider_sftp_s3.engine.settings import PullSettings
from airflow_provider_sftp_s3.engine.sftp.file import ReadAhead, Reading, RemoteFile
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.tasks import forget
from airflow_provider_sftp_s3.engine.transfer import Transfer

#: Bytes asked for ahead of a large file, and parts of it on their way to S3 at once.
READ_AHEAD = 16 * MiB


PARTS_AT_ONCE = 3


#: Files that the walk may find before it is known what S3 has; each takes some 400 bytes.
WALK_AHEAD = 100_000


#: How often a file that has changed since it was last looked at is looked at again.
LOOKS = 3


class Uploaded(NamedTuple):
    """
    A file that S3 has.

    :param read: its size and mtime.
    :param seen: what the server says of it when it is looked at: the same, but with servers that contradict themselves.
    :param closed_on: serial number of the connection on which it was closed; 0: nothing is known of that.
    """

    read: Stat
    seen: Stat
    closed_on: int = 0


@dataclass
class PulledFile:
    """
    A file to pull, with what a report calls it, and how far it has come: it is begun again after a lost connection.

    :param opened: the server has opened it, so it cannot be gone unsaid.
    :param uploaded: S3 has it, and its move has not been answered yet.
    """

    file: SourceFile
    label: str
    opened: bool = False
    uploaded: Uploaded | None = None

    @property
    def size(self) -> int:
        return self.file.stat.size or 0


class _Look(NamedTuple):
    """What one look at an open file has shown; `uploaded` where S3 has it."""

    verdict: whole.Verdict
    seen: Stat
    uploaded: Uploaded | None = None


async def pull(
    settings: PullSettings, session: SftpSession, bucket: Bucket, options: TransferOptions, observer: Observer
) -> Report:
    """Pull a tree once. Returns and raises what :meth:`Transfer.run` does."""
    return await Pull(settings, session, bucket, options, observer).run()


class Pull(Transfer[PulledFile]):
    """One run of a pull."""

    def __init__(
        self,
        settings: PullSettings,
        session: SftpSession,
        bucket: Bucket,
        options: TransferOptions,
        observer: Observer,
    ) -> None:
        caps = Caps(settings.max_files, settings.max_bytes)
        super().__init__("pull", settings.sftp_path, settings.s3_prefix, caps, session, bucket, options, observer)
        self.settings = settings
        self.done_name = settings.done_dir.encode()
        self.tree = Tree(
            session,
            self.root,
            globs=Globs(settings.include, settings.exclude),
            done_name=self.done_name,
            min_age=settings.min_age,
            shard=paths.Shard.of(settings.shard),
            now=self._now,
            finds_left=settings.after_transfer == "delete",
        )
        self._done_made: dict[bytes, asyncio.Task[None]] = {}
        self._done_used: set[bytes] = set()
        self._told: set[str] = set()
        self._purging = asyncio.Lock()
        #: whether an mtime that was set is there afterwards: None until the first file is purged
        self._mtimes_stick: bool | None = None
        self._naming = marks.Naming(bucket.name, settings.destination)
        self._ledger = Ledger(bucket, self.prefix, self._naming)
        #: what S3 has, by the ledger: see _fingerprint
        self._known: asyncio.Task[set[bytes]] | None = None
        since = settings.retried_since
        self._left_uploads = LeftUploads(bucket, since, observer) if since else None

    async def _is_there(self) -> bool:
        return await self.tree.look() or await super()._is_there()

    async def _work(self) -> None:
        if self.settings.after_transfer == "keep":
            await self._ledger.load()
            if self._ledger:
                self._known = asyncio.create_task(self._list_known())
                self._known.add_done_callback(forget)  # whoever waits may be gone
        async with contextlib.aclosing(self._files()) as files:
            await self._run.transfer_all(files, self.transfer)
        await self._ledger.save()
        if self.settings.retention and self._may_purge():
            purging: Run[PulledFile] = Run(self.report, self.observer, self.options, Caps(None, None))
            async with contextlib.aclosing(self._old_done_files(self.settings.retention)) as old:
                await purging.transfer_all(old, self._purge)
        if self.settings.after_transfer == "delete":
            await self._remove_empty_done_directories()

    async def _files(self) -> AsyncGenerator[PulledFile | Outcome]:
        async with contextlib.aclosing(self._found()) as found:
            async for item in found:
                if isinstance(item, Outcome):
                    yield item
                    continue
                label = self.tree.label(item.path)
                if self._known and self._fingerprint_of(item) in await asyncio.shield(self._known):
                    yield Outcome(label, "skipped", reason="unchanged")
                else:
                    yield PulledFile(item, label)

    async def _found(self) -> AsyncGenerator[SourceFile | Outcome]:
        """Yield what the walk comes by. It goes ahead while S3 is still being listed: see :meth:`_list_known`."""
        waiting: list[SourceFile | Outcome] = []
        async with contextlib.aclosing(self.tree.walk()) as walk:
            async for item in walk:
                waiting.append(item)
                if self._known is None or self._known.done() or len(waiting) == WALK_AHEAD:
                    for one in waiting:
                        yield one
                    waiting.clear()
        for one in waiting:
            yield one

    def _fingerprint_of(self, file: SourceFile) -> bytes:
        if file.stat.size is None or file.stat.mtime is None:
            return b""
        try:
            return _fingerprint(paths.key_for(self.prefix, file.relative), file.stat.size, file.stat.mtime)
        except FileError:
            return b""  # the transfer is where this is seen

    async def transfer(self, pulled: PulledFile) -> Outcome:
        """Move one file, or say why not."""
        started = time.monotonic()
        file = pulled.file
        key = paths.key_for(self.prefix, file.relative)
        target = self.bucket.uri_of(key)
        keeps = self.settings.after_transfer == "keep"
        if not keeps and file.done == "other":
            raise FileError(f"{self.settings.done_dir!r} beside it is no directory, so it cannot be moved there")
        if keeps and await self._has(key, file.stat):
            return Outcome(pulled.label, "skipped", reason="unchanged")
        if self.settings.dry_run:
            return Outcome(pulled.label, "skipped", target, "dry run")
        if file.left and await self._has(key, file.stat):
            return await self._remove_left(pulled)
        try:
            uploaded = await self._upload(pulled, file.path, key, file.stat)
        except NotFound:
            # Where the connection was lost during the move, the move may have worked all the same.
            if pulled.uploaded is None and pulled.opened:
                raise FileError(
                    "the server has opened it, and says then that there is no such file; S3 has not got it"
                ) from None
            if pulled.uploaded is None:
                return Outcome(pulled.label, "skipped", reason="gone")
            uploaded = pulled.uploaded
        if uploaded is not None and (uploaded.read.size or 0) > self.options.part_size and self._left_uploads:
            await self._left_uploads.abort(key)
        if uploaded is not None and keeps:
            await self._look_after_close(file.path, uploaded)
        elif uploaded is not None:
            pulled.uploaded = uploaded
            uploaded = await (self._end_left if file.left else self._move_to_done)(pulled, key, uploaded)
            pulled.uploaded = None
        if uploaded is None:
            return Outcome(pulled.label, "skipped", reason="young")
        size = uploaded.read.size or 0
        return Outcome(pulled.label, "transferred", target, bytes=size, seconds=time.monotonic() - started)

    async def _has(self, key: str, stat: Stat) -> bool:
        """Say whether S3 has a file of this size and mtime; never where one of them is not known."""
        version = await self.bucket.head(key)
        if version is None or version.size != stat.size or version.metadata.get("mtime") != str(stat.mtime):
            return False
        self._ledger.note(key, version)
        return True

    async def _list_known(self) -> set[bytes]:
        """Return what S3 has of which the ledger knows the mtime."""
        known = set()
        with contextlib.suppress(ConnectionFailed):  # to list may not be allowed
            async with contextlib.aclosing(self.bucket.list(self.prefix)) as entries:
                async for entry in entries:
                    facts = self._ledger.find(entry)
                    if facts is not None and facts.mtime is not None:
                        known.add(_fingerprint(entry.key, entry.size, facts.mtime))
            self._ledger.complete()
        return known

    async def _upload(
        self, pulled: PulledFile, path: bytes, key: str, expected: Stat, mtime: int | None = None
    ) -> Uploaded | None:
        """
        Read the file at `path` into the object `key`, and return what was read.

        :param expected: what the file was when it was last looked at. One that has changed since must be of age
            again: if it is not, None is returned.
        :param mtime: what to write into the object's metadata, where it is not the file's own.
        :raises NotFound: there is no such file.
        :raises ChangedWhileReading: S3 has not got it.
        """
        if expected.size is None:  # some listings leave it out
            with contextlib.suppress(ServerRefused):
                expected = expected.filled(await self.session.lstat(path))
        looks, to_the_end = LOOKS, expected.size is None
        while looks:
            cost = self._cost(None if to_the_end else expected.size)
            async with self._run.hold_memory(cost), self.session.reading(path) as file:
                pulled.opened = True
                while looks and not file.closed and self._cost(None if to_the_end else expected.size) <= cost:
                    looks -= 1
                    if to_the_end or (expected.size or 0) <= self.options.part_size:
                        look = await self._put(file, key, expected, mtime, to_the_end=to_the_end)
                    else:
                        look = await self._stream(file, key, expected, mtime)
                    if look.uploaded is not None:
                        return look.uploaded
                    if self._is_young(look.seen):
                        return None
                    to_the_end = look.verdict == "more"
                    expected = whole.expected_next(expected, look.seen)
        raise ChangedWhileReading(f"changed {LOOKS} times before it could be read, now {expected}")

    async def _put(self, file: RemoteFile, key: str, expected: Stat, mtime: int | None, *, to_the_end: bool) -> _Look:
        """
        Read a file into memory, and store it if it is whole.

        :param to_the_end: nobody says how large it is, or there is more than anybody has said.
        """
        early = self.session.closes_early(file.path)
        size, at_most = expected.size or 0, self.options.part_size if to_the_end else None
        reading = await file.read_all(size, self._moved, at_most)
        if early and not self.session.closes_early(file.path):
            return _Look("another", Stat())  # the server has left something out
        look = await self._judge(file, expected, reading, to_the_end=to_the_end)
        if look.verdict == "whole":
            if self.session.outlive_close(file.path):
                file.release()
            uploaded = self._as_uploaded(expected, look.seen, reading.count)
            await self.bucket.put(key, reading.pieces, self._metadata(key, uploaded.read.mtime, mtime))
            return await self._stored(file, look, uploaded)
        return look

    async def _stream(self, file: RemoteFile, key: str, expected: Stat, mtime: int | None) -> _Look:
        """Read a file of a known size in parts, and store it if it is whole."""
        size = expected.size or 0
        if size > MAX_OBJECT_SIZE:
            raise FileError(f"has {size} bytes, and S3 takes {MAX_OBJECT_SIZE}")
        ahead = file.read_ahead(size, self._window, self._moved)
        look = _Look("changed", expected)

        async def check() -> None:
            nonlocal look
            reading = Reading(before, await ahead.after(), [], ahead.count, ahead.ended, ahead.refused_at_the_end)
            look = await self._judge(file, expected, reading)
            if look.verdict != "whole":
                raise ChangedWhileReading(f"is another version than expected: {look.seen}")

        try:
            before = await ahead.before()
            if whole.is_another(expected, before):
                return _Look("another", before)
            uploaded = self._as_uploaded(expected, before, size)
            try:
                await self.bucket.uploads.put_stream(
                    key,
                    _CheckedAtTheEnd(ahead, check),
                    self._metadata(key, uploaded.read.mtime, mtime),
                    part_size=self.options.part_size_for(size),
                    parts_at_once=self._parts_at_once(size),
                    call_off=ahead.close,
                )
            except ChangedWhileReading:
                if look.verdict == "changed":
                    raise
                return look
            return await self._stored(file, look, uploaded)
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
            self._tell_once(
                "error at the end",
                f"the server answers a READ at the end of a file with an error ({reading.refused_at_the_end}): "
                "where all sizes agree, that is taken for the end",
            )
        verdict = whole.judge(expected, reading.before, reading.after, count, ended)
        if verdict == "more" and to_the_end and await self._stands_still(file, reading):
            self._tell_once(
                "sizes too small",
                "the server states sizes of files that are too small: they are read to their end, and looked at again "
                "after min_age",
            )
            verdict = "whole"
        elif verdict == "whole" and expected.size is None and seen.size is None:
            self._tell_once(
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
            await asyncio.sleep(self.settings.min_age)
        now = await file.stat(file.ask_stat())
        return not now.differs(reading.before) and await file.ends_at(reading.count)

    def _as_uploaded(self, expected: Stat, seen: Stat, count: int) -> Uploaded:
        """Return what a file is of which `count` bytes were read, and which is whole."""
        if seen.size is not None and seen.size < count == expected.size:
            return Uploaded(expected, seen)  # the listing is right, and what the open file says is not
        read = Stat(count, seen.filled(expected).mtime)
        return Uploaded(read, seen.filled(read))

    async def _stored(self, file: RemoteFile, look: _Look, uploaded: Uploaded) -> _Look:
        """Take note that S3 has the file, and close it."""
        file.is_stored = True
        closed_on = file.connection
        if not self.session.outlive_close(file.path):
            # Who moves it next must know whether it was there after that.
            try:
                if not self.session.is_openssh:  # which does what it is asked in that order
                    await file.close()
            except (ServerRefused, ConnectionFailed):
                closed_on = 0  # it has been read, and nothing more is wanted of it
        file.release()
        return look._replace(uploaded=uploaded._replace(closed_on=closed_on))

    async def _look_after_close(self, path: bytes, uploaded: Uploaded) -> None:
        """Find out whether files beside a pulled one, which stays in its place, outlive their CLOSE."""
        if not self.session.outlive_close(path):
            with contextlib.suppress(ServerRefused):
                if await self.session.exists(path):
                    self._was_there_after_close(path, uploaded)

    def _was_there_after_close(self, path: bytes, uploaded: Uploaded) -> None:
        if uploaded.closed_on == self.session.connection:  # else the CLOSE may be lost with its connection
            self.session.has_outlived_close(path)

    def _metadata(self, key: str, own: int | None, given: int | None) -> dict[str, str]:
        mtime = own if given is None else given
        known = {} if mtime is None else {"mtime": str(mtime)}
        return {**known, **self._naming.metadata(key)}

    def _tell_once(self, subject: str, message: str) -> None:
        """Tell the user something, once a run and subject."""
        if subject not in self._told:
            self._told.add(subject)
            self.observer.notice(message)

    @property
    def _window(self) -> int:
        return min(READ_AHEAD, self.options.memory_budget // 4)

    def _parts_at_once(self, size: int) -> int:
        """Return how many parts may be on their way while one more is filled, within the budget."""
        fitting = (self.options.memory_budget - self._window) // self.options.part_size_for(size) - 1
        return max(1, min(PARTS_AT_ONCE, fitting))

    def _cost(self, size: int | None) -> int:
        """Return the bytes of memory that a file of `size` bytes takes while it is moved; None: it is not known."""
        if size is None:
            return 2 * self.options.part_size
        if size <= self.options.part_size:
            # Measured: obstore holds half of it a second time. And a few large files at once are faster than many.
            return max(4 * size, 64 * KiB)
        return self._window + self.options.part_size_for(size) * (self._parts_at_once(size) + 1)

    async def _move_to_done(self, pulled: PulledFile, key: str, uploaded: Uploaded) -> Uploaded | None:
        """
        Move a file that S3 has into its done directory, and stamp or remove it; return what was uploaded in the end.

        What turns up there may be another file, which replaced the one that was read in the last moment. It must not
        stay there without being in S3: it is uploaded from there. One that is young, or changes meanwhile, is still
        being written: it goes back to its place, and None is returned.
        """
        file = pulled.file
        directory = posixpath.join(posixpath.dirname(file.path), self.done_name)
        name = posixpath.basename(file.path)
        if self.settings.after_transfer == "delete":
            name = paths.deleting_name(name)  # so that a run which finds it there knows what was to become of it
        done = posixpath.join(directory, name)
        self._done_used.add(directory)
        moved, there = await self._rename_into(directory, file.path, done, make=file.done == "absent")
        if moved:
            self._was_there_after_close(file.path, uploaded)
        try:
            for _ in range(LOOKS):
                if there is None:
                    there = await self.session.lstat(done)
                if not there.differs(uploaded.seen):
                    await self._settle_done(done)
                    return uploaded
                if moved and self._is_young(there):
                    break
                # A file of the same size that somebody else moved is most likely the same one, stamped.
                mtime = uploaded.read.mtime if not moved and there.size == uploaded.read.size else None
                again = await self._upload(pulled, done, key, there, mtime)
                if again is None:
                    break
                uploaded, there = again, None
        except NotFound:
            return uploaded  # removed or moved back by somebody else; S3 has it
        except ChangedWhileReading:
            pass
        await self._move_back(done, file.path)
        return None

    async def _end_left(self, pulled: PulledFile, _: str, uploaded: Uploaded) -> Uploaded | None:
        """Remove a file that S3 has from the done directory, in which an earlier run has left it to be deleted."""
        there = await self.session.lstat(pulled.file.path)
        if there.differs(uploaded.seen):
            raise ChangedWhileReading(f"changed while it was uploaded from the done directory, now {there}")
        await self._remove_left(pulled)
        return uploaded

    async def _remove_left(self, pulled: PulledFile) -> Outcome:
        self._done_used.add(posixpath.dirname(pulled.file.path))
        with contextlib.suppress(NotFound):
            await self.session.remove(pulled.file.path)
        return Outcome(pulled.label, "skipped", reason="left by an earlier run, now deleted")

    async def _rename_into(self, directory: bytes, path: bytes, done: bytes, *, make: bool) -> tuple[bool, Stat | None]:
        """
        Rename `path` to `done`, and return what is there then, if it is there still.

        With it comes False where `path` is gone: moved by another run, or by us before a line was cut.
        """
        # Somebody may tidy up meanwhile, and each other shard that deletes does so once, at its end.
        others = self.tree.shard.count - 1
        wait = not self.session.is_openssh
        for left in range(others + 1, -1, -1):
            try:
                if make:
                    await self._make_done_directory(directory, wait=wait)
            except ServerRefused:
                if not await self.session.exists(path):  # such as taken away when it was closed
                    return False, None
                if not others or not left:
                    raise
                continue  # it was there when we made it, and gone when we looked
            try:
                return True, await self.session.move(path, done)
            except NotFound:
                if not await self.session.exists(path):
                    return False, None
                if not left:
                    raise
            except ServerRefused:
                if not await self.session.exists(path):  # such as taken away when it was closed
                    return False, None
                if make and not wait:  # why it could not be made says more
                    await self._make_done_directory(directory, wait=True)
                raise
            # It is the done directory that is gone, or was never made.
            self._done_made.pop(directory, None)
            make = wait = True
        raise AssertionError("unreachable")

    async def _move_back(self, done: bytes, path: bytes) -> None:
        """Move a file out of the done directory, unless a newer one has its place: the next run replaces it then."""
        if not await self.session.exists(path):
            await self.session.rename(done, path)

    def _is_young(self, stat: Stat) -> bool:
        return stat.mtime is not None and is_young(stat.mtime, self._now(), self.settings.min_age)

    def _now(self) -> float:
        """Return the time: S3's, where it is known, since the worker's clock may be wrong."""
        clock = self.bucket.requests.clock
        return clock.now() if clock else time.time()

    def _may_stamp(self) -> bool:
        """Say whether it is certain what time it is."""
        clock = self.bucket.requests.clock
        if clock is not None and clock.is_right:
            return True
        why = "S3 does not say what time it is" if clock is None else f"this machine says that it is {clock}"
        self._tell_once("clock", f"done files are neither stamped nor purged: {why}")
        return False

    async def _settle_done(self, done: bytes) -> None:
        if self.settings.after_transfer == "delete":
            await self.session.remove(done)
            return
        if not self._may_stamp():
            return
        try:
            await self.session.set_mtime(done, int(self._now()))
        except ServerRefused as refused:
            self._tell_once(
                "stamp", f"the server does not let us set the mtime of done files, so none is purged: {refused}"
            )

    async def _make_done_directory(self, directory: bytes, *, wait: bool) -> None:
        """
        Make a done directory once, however many of its files are moved at the same time.

        :param wait: for the server's answer; else only until the request is on its way.
        """
        if directory not in self._done_made:
            self._done_made[directory] = asyncio.create_task(self.session.make_directory(directory))
            self._done_made[directory].add_done_callback(forget)  # whoever waits may be gone
        task = self._done_made[directory]
        if not wait:
            await asyncio.sleep(0)  # what was begun before goes first
            return
        try:
            await asyncio.shield(task)
        except (ConnectionFailed, ServerRefused):
            if self._done_made.get(directory) is task:
                del self._done_made[directory]
            raise

    async def _remove_empty_done_directories(self) -> None:
        # Of those that another shard has made, too: it cannot remove what still holds a file of this one.
        for directory in self._done_used.union(self.tree.empty_done_directories):
            with contextlib.suppress(ServerRefused, ConnectionFailed):
                await self.session.remove_directory(directory)

    def _may_purge(self) -> bool:
        """Say whether the time of the last transfer can be trusted, and this run has shown that transfers work."""
        return self._may_stamp() and not (self.report.failed and not self.report.transferred)

    async def _old_done_files(self, retention: float) -> AsyncGenerator[PulledFile | Outcome]:
        before = self._now() - retention
        for relative in self.tree.done_directories:
            directory = posixpath.join(self.root, relative)
            try:
                entries = await self.session.list_directory(directory)
            except ServerRefused as refused:
                yield Outcome(self.tree.label(directory), "failed", reason=f"cannot be purged: {refused}")
                continue
            for entry in entries:
                original = posixpath.join(posixpath.dirname(relative), entry.name)
                # By where it came from, since another shard may be about to stamp a file that it has just moved.
                if not self.tree.shard.holds(original) or entry.kind != "file" or b"/" in entry.name:
                    continue
                path = posixpath.join(directory, entry.name)
                if paths.is_deleting(entry.name):
                    if self.settings.after_transfer != "delete":
                        reason = "left by a run with after_transfer='delete', which the next one of those ends"
                        yield Outcome(self.tree.label(path), "skipped", reason=reason)
                elif entry.stat.mtime is not None and entry.stat.mtime < before:
                    yield PulledFile(SourceFile(path, original, entry.stat, "directory"), self.tree.label(path))

    async def _purge(self, old: PulledFile) -> Outcome:
        """Remove one done file, if its mtime is known to be the time of its transfer."""
        if self.settings.dry_run:
            return Outcome(old.label, "skipped", reason="dry run (purge)")
        try:
            return await self._purge_stamped(old)
        except NotFound:
            return Outcome(old.label, "skipped", reason="gone")

    async def _purge_stamped(self, old: PulledFile) -> Outcome:
        path, mtime = old.file.path, old.file.stat.mtime or 0
        try:
            version = await self.bucket.head(paths.key_for(self.prefix, old.file.relative))
        except S3Refused as refused:
            if refused.status != 403:
                raise
            self._tell_once("purge", f"to purge done files, s3:GetObject and s3:ListBucket are needed: {refused}")
            return Outcome(old.label, "skipped", reason="cannot be looked up in S3, not purged")
        try:
            if version is not None and version.metadata.get("mtime") == str(mtime):
                # It has the time of the file itself, which may be years old: a run ended before it was stamped.
                await self.session.set_mtime(path, int(self._now()))
                return Outcome(old.label, "skipped", reason="not stamped until now, not purged")
            if not await self._mtime_sticks(path, mtime):
                return Outcome(old.label, "skipped", reason="not stamped, not purged")
        except NotFound:
            raise
        except ServerRefused:
            return Outcome(old.label, "skipped", reason="not stamped, not purged")
        await self.session.remove(path)
        return Outcome(old.label, "purged")

    async def _mtime_sticks(self, path: bytes, mtime: int) -> bool:
        """
        Say whether the mtime of a done file can be set.

        The first file that is to be purged shows whether what is set is there afterwards: a server may say OK and do
        nothing, and the times of its done files say nothing of their transfer.
        """
        async with self._purging:
            if self._mtimes_stick is None:
                await self.session.set_mtime(path, mtime + 2)  # some file systems know every other second only
                self._mtimes_stick = (await self.session.lstat(path)).mtime not in (mtime, None)
                if not self._mtimes_stick:
                    self._tell_once(
                        "purge", "mtimes that are set do not stay on this server: done files are not purged"
                    )
        if self._mtimes_stick:
            await self.session.set_mtime(path, mtime)
        return self._mtimes_stick


class _CheckedAtTheEnd:
    """Chunks of a file, and at their end a check that fails the upload while S3 can still drop it."""

    def __init__(self, ahead: ReadAhead, check: Callable[[], Awaitable[None]]) -> None:
        self._ahead = ahead
        self._check = check

    def __aiter__(self) -> _CheckedAtTheEnd:
        return self

    async def __anext__(self) -> bytes | memoryview:
        try:
            return await anext(self._ahead)
        except StopAsyncIteration:
            await self._check()
            raise


def _fingerprint(key: str, size: int, mtime: int) -> bytes:
    """Return 16 bytes that stand for an object of this key, size and mtime."""
    return hashlib.blake2b(f"{key}\0{size}\0{mtime}".encode(), digest_size=16).digest()
