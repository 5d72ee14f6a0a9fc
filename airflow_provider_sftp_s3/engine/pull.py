"""
Pull: an SFTP tree into S3.

One file, step by step (:meth:`Pull.transfer`):

1. the listing yields regular files only, that nobody has touched for `min_age`;
2. the name becomes a key, or is refused;
3. open, fstat, read everything, streaming into S3, fstat again: before, counted and after must agree;
4. S3 has answered that the object is complete. Only now:
5. rename into the done directory, and look whether it is the file that was read: if not, upload it from there;
6. stamp it with the time of the move, from which its retention counts.

A crash after any step leaves a state from which the next run repairs everything by doing the same again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import posixpath
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from airflow_provider_sftp_s3.engine import marks, paths
from airflow_provider_sftp_s3.engine.errors import (
    ChangedWhileReading,
    ConfigurationError,
    ConnectionFailed,
    FileError,
    NotFound,
    ServerRefused,
)
from airflow_provider_sftp_s3.engine.leavings import LeftUploads
from airflow_provider_sftp_s3.engine.ledger import Ledger
from airflow_provider_sftp_s3.engine.listing import Tree
from airflow_provider_sftp_s3.engine.model import Outcome, Report, SourceFile, Stat
from airflow_provider_sftp_s3.engine.options import MAX_OBJECT_SIZE, KiB, MiB, TransferOptions
from airflow_provider_sftp_s3.engine.s3 import Bucket
from airflow_provider_sftp_s3.engine.sftp import ReadAhead, RemoteFile, SftpSession
from airflow_provider_sftp_s3.engine.transfer import Transfer, check_caps, check_sftp_path
from airflow_provider_sftp_s3.engine.workers import Caps, Observer, Run, retrieve

AfterTransfer = Literal["move", "delete", "keep"]

#: Bytes asked for ahead of a large file, and parts of it on their way to S3 at once.
READ_AHEAD = 16 * MiB
PARTS_AT_ONCE = 3
#: Files that the walk may find before it is known what S3 has; each takes some 400 bytes.
WALK_AHEAD = 100_000
#: How often a file that has changed since it was last looked at is looked at again.
LOOKS = 3


@dataclass(frozen=True, kw_only=True)
class PullSettings:
    """
    What a pull moves and where to; the operator's docstring explains each.

    With a `shard`, each of several pulls lists the whole tree, takes only its own files and keeps to `max_files` and
    `max_bytes` by itself. Their reports add up to that of one pull.

    :param retried_since: on a retry, when the Dag run began: multipart uploads that earlier tries have left since then
        are aborted.
    :raises ConfigurationError: a value is not allowed; the message names the argument and what is.
    """

    sftp_path: str
    s3_prefix: str | None = ""
    include: str | Iterable[str] | None = "*"
    exclude: str | Iterable[str] | None = None
    min_age: float = 30.0
    after_transfer: AfterTransfer = "move"
    done_dir: str = ".done"
    retention: float | None = None
    max_files: int | None = None
    max_bytes: int | None = None
    dry_run: bool = False
    shard: str | None = None
    retried_since: datetime | None = None

    def __post_init__(self) -> None:
        check_sftp_path(self.sftp_path)
        check_caps(self.max_files, self.max_bytes)
        paths.Shard.of(self.shard)
        if self.after_transfer not in get_args(AfterTransfer):
            raise ConfigurationError(
                f"after_transfer must be one of {', '.join(get_args(AfterTransfer))}, not {self.after_transfer!r}"
            )
        for name, seconds in (("min_age", self.min_age), ("retention", self.retention or 0)):
            if not 0 <= seconds < float("inf"):
                raise ConfigurationError(f"{name} must be 0 seconds or more, not {seconds!r}")
        try:
            paths.check_name(self.done_dir.encode())
        except (FileError, UnicodeEncodeError):
            raise ConfigurationError(
                f"done_dir must be a name such as '.done', not a path: {self.done_dir!r}"
            ) from None


@dataclass(frozen=True)
class PulledFile:
    """A file to pull, with what a report calls it."""

    file: SourceFile
    label: str

    @property
    def size(self) -> int:
        return self.file.stat.size


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
            globs=paths.Globs(settings.include, settings.exclude),
            done_name=self.done_name,
            min_age=settings.min_age,
            shard=paths.Shard.of(settings.shard),
        )
        self._done_made: dict[bytes, asyncio.Task[None]] = {}
        self._done_used: set[bytes] = set()
        #: files that S3 has and whose move has not been answered yet
        self._uploaded: dict[bytes, Stat] = {}
        self._unstamped = False
        self._ledger = Ledger(bucket, self.prefix)
        #: what S3 has, by the ledger: see _object_of
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
                self._known.add_done_callback(retrieve)  # whoever waits may be gone
        async with contextlib.aclosing(self._files()) as files:
            await self._run.all(files, self.transfer)
        await self._ledger.save()
        if self.settings.retention:
            purging: Run[PulledFile] = Run(self.report, self.observer, self.options, Caps(None, None))
            async with contextlib.aclosing(self._old_done_files(self.settings.retention)) as old:
                await purging.all(old, self._purge)
        if self.settings.after_transfer == "delete":
            await self._remove_empty_done_directories()

    async def _files(self) -> AsyncGenerator[PulledFile | Outcome]:
        async with contextlib.aclosing(self._found()) as found:
            async for item in found:
                if isinstance(item, Outcome):
                    yield item
                    continue
                label = self.tree.label(item.path)
                if self._known and self._object_for(item) in await asyncio.shield(self._known):
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

    def _object_for(self, file: SourceFile) -> bytes:
        try:
            return _object_of(paths.key_for(self.prefix, file.relative), file.stat.size, file.stat.mtime)
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
        try:
            read = await self._upload(file.path, key, file.stat)
        except NotFound:
            # Where the connection was lost during the move, the move may have worked all the same.
            if file.path not in self._uploaded:
                return Outcome(pulled.label, "skipped", reason="gone")
            read = self._uploaded[file.path]
        if read is not None and read.size > self.options.part_size and self._left_uploads:
            await self._left_uploads.abort(key)
        if read is not None and not keeps:
            self._uploaded[file.path] = read
            read = await self._move_to_done(file, key, read)
            del self._uploaded[file.path]
        if read is None:
            return Outcome(pulled.label, "skipped", reason="young")
        return Outcome(pulled.label, "transferred", target, bytes=read.size, seconds=time.monotonic() - started)

    async def _has(self, key: str, stat: Stat) -> bool:
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
                        known.add(_object_of(entry.key, entry.size, facts.mtime))
            self._ledger.complete()
        return known

    async def _upload(self, path: bytes, key: str, expected: Stat, mtime: int | None = None) -> Stat | None:
        """
        Read the file at `path` into the object `key`, and return what was read.

        :param expected: what the file was when it was last looked at. One that has changed since must be of age
            again: if it is not, None is returned.
        :param mtime: what to write into the object's metadata, where it is not the file's own.
        :raises ChangedWhileReading: S3 has not got it.
        """
        for _ in range(LOOKS):
            metadata = {
                "mtime": str(expected.mtime if mtime is None else mtime),
                **marks.metadata_mark(self.bucket.name, key),
            }
            async with self._run.lane(self._cost(expected.size)), self.session.reading(path) as file:
                if expected.size <= self.options.part_size:
                    early = self.session.closes_early
                    before, data, after = await file.read_all(expected.size, self._moved)
                    file.release()
                    if before == expected and early and not self.session.closes_early:
                        continue  # the server has left something out
                    if before == expected:
                        _check_unchanged(before, sum(map(len, data)), after)
                        await self.bucket.put(key, data, metadata)
                        return before
                else:
                    before = await self._stream(file, expected, key, metadata)
                    if before == expected:
                        return before
            if self._is_young(before):
                return None
            expected = before
        raise ChangedWhileReading(f"changed {LOOKS} times before it could be read, now {expected}")

    async def _stream(self, file: RemoteFile, expected: Stat, key: str, metadata: dict[str, str]) -> Stat:
        """Return what the file is. If that is what was expected, S3 has it."""
        if expected.size > MAX_OBJECT_SIZE:
            raise FileError(f"has {expected.size} bytes, and S3 takes {MAX_OBJECT_SIZE}")
        ahead = file.read_ahead(expected.size, self._window, self._moved)

        async def check() -> None:
            _check_unchanged(expected, ahead.count, await ahead.after())

        try:
            before = await ahead.before()
            if before == expected:
                await self.bucket.put_stream(
                    key,
                    _CheckedAtTheEnd(ahead, check),
                    metadata,
                    part_size=self.options.part_size_for(expected.size),
                    parts_at_once=self._parts_at_once(expected.size),
                    call_off=ahead.close,
                )
            return before
        finally:
            ahead.close()

    @property
    def _window(self) -> int:
        return min(READ_AHEAD, self.options.memory_budget // 4)

    def _parts_at_once(self, size: int) -> int:
        """Return how many parts may be on their way while one more is filled, within the budget."""
        fitting = (self.options.memory_budget - self._window) // self.options.part_size_for(size) - 1
        return max(1, min(PARTS_AT_ONCE, fitting))

    def _cost(self, size: int) -> int:
        """Return the bytes of memory that a file of `size` bytes takes while it is moved."""
        if size <= self.options.part_size:
            # Measured: obstore holds half of it a second time. And a few large files at once are faster than many.
            return max(4 * size, 64 * KiB)
        return self._window + self.options.part_size_for(size) * (self._parts_at_once(size) + 1)

    async def _move_to_done(self, file: SourceFile, key: str, read: Stat) -> Stat | None:
        """
        Move a file that S3 has into its done directory, stamped; return what was uploaded in the end.

        What turns up there may be another file, which replaced the one that was read in the last moment. It must not
        stay there without being in S3: it is uploaded from there. One that is young, or changes meanwhile, is still
        being written: it goes back to its place, and None is returned.
        """
        directory = posixpath.join(posixpath.dirname(file.path), self.done_name)
        done = posixpath.join(directory, posixpath.basename(file.path))
        self._done_used.add(directory)
        moved, there = await self._rename_into(directory, file.path, done, make=file.done == "absent")
        try:
            for _ in range(LOOKS):
                if there is None:
                    there = await self.session.lstat(done)
                if there == read:
                    await self._settle_done(done)
                    return read
                if moved and self._is_young(there):
                    break
                # A file of the same size that somebody else moved is most likely the same one, stamped.
                mtime = read.mtime if not moved and there.size == read.size else None
                again = await self._upload(done, key, there, mtime)
                if again is None:
                    break
                read, there = again, None
        except NotFound:
            return read  # removed or moved back by somebody else; S3 has it
        except ChangedWhileReading:
            pass
        await self._move_back(done, file.path)
        return None

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
        return self.settings.min_age > 0 and time.time() - stat.mtime < self.settings.min_age

    async def _settle_done(self, done: bytes) -> None:
        if self.settings.after_transfer == "delete":
            await self.session.remove(done)
            return
        try:
            await self.session.set_mtime(done, int(time.time()))
        except ServerRefused as refused:
            if not self._unstamped:
                self._unstamped = True
                self.observer.notice(
                    f"the server does not let us set the mtime of done files, so none is purged: {refused}"
                )

    async def _make_done_directory(self, directory: bytes, *, wait: bool) -> None:
        """
        Make a done directory once, however many of its files are moved at the same time.

        :param wait: for the server's answer; else only until the request is on its way.
        """
        if directory not in self._done_made:
            self._done_made[directory] = asyncio.create_task(self.session.make_directory(directory))
            self._done_made[directory].add_done_callback(retrieve)  # whoever waits may be gone
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
        for directory in self._done_used:
            with contextlib.suppress(ServerRefused, ConnectionFailed):
                await self.session.remove_directory(directory)

    async def _old_done_files(self, retention: float) -> AsyncGenerator[PulledFile | Outcome]:
        before = time.time() - retention
        for relative in self.tree.done_directories:
            directory = posixpath.join(self.root, relative)
            try:
                entries = await self.session.list_directory(directory)
            except ServerRefused as refused:
                yield Outcome(self.tree.label(directory), "failed", reason=f"cannot be purged: {refused}")
                continue
            for entry in entries:
                # By where it came from, since another shard may be about to stamp a file that it has just moved.
                mine = self.tree.shard.holds(posixpath.join(posixpath.dirname(relative), entry.name))
                if mine and entry.kind == "file" and entry.stat.mtime < before and b"/" not in entry.name:
                    path = posixpath.join(directory, entry.name)
                    yield PulledFile(SourceFile(path, b"", entry.stat, "directory"), self.tree.label(path))

    async def _purge(self, old: PulledFile) -> Outcome:
        """Remove one done file."""
        if self.settings.dry_run:
            return Outcome(old.label, "skipped", reason="dry run (purge)")
        try:
            try:
                # Where the stamp cannot be set, the mtime is the file's own, and says nothing of its transfer.
                await self.session.set_mtime(old.file.path, old.file.stat.mtime)
            except NotFound:
                raise
            except ServerRefused:
                return Outcome(old.label, "skipped", reason="not stamped, not purged")
            await self.session.remove(old.file.path)
        except NotFound:
            return Outcome(old.label, "skipped", reason="gone")
        return Outcome(old.label, "purged")


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


def _object_of(key: str, size: int, mtime: int) -> bytes:
    """Return 16 bytes that stand for an object of this key, size and mtime."""
    return hashlib.blake2b(f"{key}\0{size}\0{mtime}".encode(), digest_size=16).digest()


def _check_unchanged(before: Stat, counted: int, after: Stat) -> None:
    if not before.size == counted == after.size or before.mtime != after.mtime:
        raise ChangedWhileReading(f"changed while reading: before {before}, counted {counted} bytes, after {after}")
