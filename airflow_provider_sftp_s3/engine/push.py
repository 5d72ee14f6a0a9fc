"""
Push: S3 objects to an SFTP server.

One object, step by step (:meth:`Push.transfer`):

1. ask S3 for it: one that is gone, marked or a folder marker is skipped;
2. the key becomes a path beneath `sftp_path`, or is refused, as is one whose path another key of the run has;
3. its bytes, held to one ETag, go into a temporary file in the target's own directory, every write is acknowledged,
   the size compared, the file synced, and renamed over the target: nobody there ever sees half a file;
4. mark it, bound to the ETag that was sent; an object that was overwritten meanwhile is taken again.

The first object of a run is alone in getting its name and its mark: where S3 takes no marks, one file was delivered in
vain and not hundreds.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_sftp_s3.engine import marks, paths
from airflow_provider_sftp_s3.engine.errors import (
    ConfigurationError,
    FileError,
    NameRefused,
    NotFound,
    Overwritten,
    ServerRefused,
    StorageError,
)
from airflow_provider_sftp_s3.engine.ledger import Ledger
from airflow_provider_sftp_s3.engine.model import ObjectEntry, Outcome, Report
from airflow_provider_sftp_s3.engine.options import KiB, MiB, TransferOptions
from airflow_provider_sftp_s3.engine.s3 import Bucket, Download, Version
from airflow_provider_sftp_s3.engine.sftp import SftpSession
from airflow_provider_sftp_s3.engine.transfer import Transfer, check_caps, check_sftp_path
from airflow_provider_sftp_s3.engine.workers import Caps, Observer, off_the_clock, retrieve

#: Bytes of one file that are written in a session and not yet acknowledged.
WRITE_WINDOW = 8 * MiB
#: Bytes of the budget that a large file takes. Measured: it has a quarter of that in memory, and a few large files at
#: once are faster than many: a third at 200 x 5 MiB.
IN_HAND = 16 * MiB
#: After so many objects that were synced already, the next one is looked at before it is asked for.
SYNCED_IN_A_ROW = 8
#: How often an object that is overwritten while it is pushed is taken again.
VERSIONS = 3


@dataclass(frozen=True, kw_only=True)
class PushSettings:
    """
    What a push moves and where to; the operator's docstring explains each.

    :param owner: 8 hex digits that the temporary files of this task instance, and of no other, begin with.
    :param clean_up: True on a retry: what earlier tries of the same task left is removed.
    :param retried_since: on a retry, when the Dag run began: what was delivered since then, an earlier try delivered.
    :raises ConfigurationError: a value is not allowed; the message names the argument and what is.
    """

    sftp_path: str
    s3_prefix: str | None = ""
    s3_keys: str | Iterable[str] | None = None
    include: str | Iterable[str] | None = "*"
    exclude: str | Iterable[str] | None = None
    strip_regex: str | None = None
    mark: str = "metadata"
    max_files: int | None = None
    max_bytes: int | None = None
    dry_run: bool = False
    owner: str = "0" * 8
    clean_up: bool = False
    retried_since: datetime | None = None

    def __post_init__(self) -> None:
        check_sftp_path(self.sftp_path)
        check_caps(self.max_files, self.max_bytes)
        marks.check_mode(self.mark)
        if self.s3_keys is not None and not isinstance(self.s3_keys, str):
            lone = isinstance(self.s3_keys, Mapping) or not isinstance(self.s3_keys, Iterable)
            keys = (self.s3_keys,) if lone else tuple(self.s3_keys)
            object.__setattr__(self, "s3_keys", keys)
            for key in keys:
                if not isinstance(key, str):
                    raise ConfigurationError(f"s3_keys must be a key or a list of keys, and {key!r} is none")
        if self.strip_regex is not None:
            try:
                re.compile(self.strip_regex)
            except (re.error, TypeError) as wrong:
                raise ConfigurationError(
                    f"strip_regex is no regular expression: {self.strip_regex!r}: {wrong}"
                ) from None

    @property
    def keys(self) -> tuple[str, ...] | None:
        """The keys that were given, each once, in their order; None: all under the prefix."""
        if self.s3_keys is None:
            return None
        return (self.s3_keys,) if isinstance(self.s3_keys, str) else tuple(dict.fromkeys(self.s3_keys))


@dataclass(frozen=True)
class PushedObject:
    """
    An object to push, with what a report calls it.

    :param namesake: the key before it in the run that comes to the same path, if any does.
    """

    entry: ObjectEntry
    label: str
    namesake: str | None = None

    @property
    def size(self) -> int:
        return max(self.entry.size, 0)


async def push(
    settings: PushSettings, session: SftpSession, bucket: Bucket, options: TransferOptions, observer: Observer
) -> Report:
    """Push objects once. Returns and raises what :meth:`Transfer.run` does."""
    return await Push(settings, session, bucket, options, observer).run()


class Push(Transfer[PushedObject]):
    """One run of a push."""

    def __init__(
        self,
        settings: PushSettings,
        session: SftpSession,
        bucket: Bucket,
        options: TransferOptions,
        observer: Observer,
    ) -> None:
        caps = Caps(settings.max_files, settings.max_bytes)
        super().__init__("push", settings.sftp_path, settings.s3_prefix, caps, session, bucket, options, observer)
        self.settings = settings
        self.strip = re.compile(settings.strip_regex) if settings.strip_regex else None
        #: without strip_regex, keys and paths are one to one
        self._listed = paths.Namesakes(self.strip) if self.strip else None
        self._taken = paths.Namesakes(self.strip) if self.strip else None
        self.globs = paths.Globs(settings.include, settings.exclude)
        self.marks = marks.Marks(bucket, marks.check_mode(settings.mark))
        self._ledger = Ledger(bucket, self.prefix)
        #: objects in a row that were synced already, as far as a listing does not tell
        self._synced_in_a_row = 0
        #: the first object is being marked, or has been tried to be
        self._marking = False
        self._tried_to_mark = asyncio.Event()
        #: why the run ends, where S3 takes no marks
        self._refused: ConfigurationError | None = None
        self._unknown = Unknown()
        self._directories = _Directories(session, self.root, settings.owner if settings.clean_up else "")

    async def _work(self) -> None:
        if self.settings.keys is None and self.settings.mark != "none":
            await self._ledger.load()
        async with contextlib.aclosing(self._objects()) as objects:
            await self._run.all(objects, self.transfer)
        self._unknown.tell(self.observer.notice)
        if not self.settings.dry_run:
            await self._ledger.save()

    async def _objects(self) -> AsyncGenerator[PushedObject | Outcome]:
        async with contextlib.aclosing(self._entries()) as entries:
            async for entry in entries:
                label = self.bucket.uri_of(paths.printable(entry.key))
                reason = reason_to_skip(entry.key, self.prefix, self.globs)
                namesake = None if reason else self._namesake_before(entry.key)
                if not reason and self._ledger and self._ledger.is_synced(entry):
                    reason = "synced"
                if reason:
                    yield Outcome(label, "skipped", reason=reason)
                else:
                    yield PushedObject(entry, label, namesake)

    async def _entries(self) -> AsyncGenerator[ObjectEntry]:
        if self.settings.keys is None:
            async with contextlib.aclosing(self.bucket.list(self.prefix)) as listed:
                async for entry in listed:
                    yield entry
            self._ledger.complete()
            return
        for key in self.settings.keys:
            yield ObjectEntry(key, await self._size_of(key) if self.settings.max_bytes else -1)

    async def _size_of(self, key: str) -> int:
        try:
            self._path_of(key)
            version = await self.bucket.head(key)
        except FileError:
            return 0  # the transfer is where this is seen
        return version.size if version else 0

    def _namesake_before(self, key: str) -> str | None:
        """Return the key that came to the same path last, None where none did, and remember this one."""
        if self._listed is None:
            return None
        try:
            self._path_of(key)
        except FileError:
            return None  # the transfer is where this is seen
        before = self._listed.of(key)
        self._listed.note(key)
        return None if before == key else before

    async def _take_the_name(self, pushed: PushedObject) -> None:
        """
        Take the path of an object that is about to be pushed. It may do so again, as after a lost connection.

        What an earlier Dag run has delivered under the name is replaced, as a newer file replaces an older one.

        :raises NameRefused: another object of this run, or of an earlier try of it, has the path.
        """
        if self._taken is None:
            return
        key, before = pushed.entry.key, pushed.namesake
        first = self._taken.of(key)
        if first is None and before is not None and await self._is_of_this_run(before):
            first = before
        # Once more: in the meantime another one may have taken it.
        first = first or self._taken.of(key) or key
        if first != key:
            raise NameRefused(
                f"strip_regex makes the same path of this key and of {paths.printable(first)!r}, which has it in this "
                "run: change strip_regex, or exclude one of the two"
            )
        self._taken.note(key)

    async def _is_of_this_run(self, key: str) -> bool:
        """Say whether a key before is pushed by this run, or was by an earlier try of it."""
        version = await self.bucket.head(key)
        if version is None:
            return False
        if not await self.marks.is_synced(key, version):
            return True
        since = self.settings.retried_since
        if since is None:
            return False
        # Keys that are given were not synced when they were listed for the run. Else a metadata mark tells: it is a
        # copy, and so the time of change is that of the delivery.
        given = self.settings.keys is not None
        return given or version.modified >= since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")

    def _path_of(self, key: str) -> bytes:
        return paths.path_for(self.root, key, self.prefix, self.strip)

    async def transfer(self, pushed: PushedObject) -> Outcome:
        """Push one object, or say why not."""
        started = time.monotonic()
        key = pushed.entry.key
        path = self._path_of(key)
        target = self.session.server.uri_of(path)
        parent = posixpath.dirname(path)
        await self._directories.clean_up(parent)
        if self.settings.dry_run or self._synced_in_a_row > SYNCED_IN_A_ROW:
            head = await self.bucket.head(key)
            if head is not None and await self._is_synced(key, head):
                return Outcome(pushed.label, "skipped", reason="synced")
            if head is not None and self.settings.dry_run:
                await self._take_the_name(pushed)
                return Outcome(pushed.label, "skipped", target, "dry run")
        for attempt in range(VERSIONS):
            async with contextlib.AsyncExitStack() as turn, contextlib.AsyncExitStack() as held:
                # S3 cuts a connection that nobody reads: first there is to be memory, if it is known how much.
                if pushed.entry.size >= 0:
                    await held.enter_async_context(self._lane(pushed.size))
                download = await self.bucket.get(key)
                if download is None:
                    if self.settings.keys is None:
                        self._unknown.note(pushed.label)
                    return Outcome(pushed.label, "skipped", reason="deleted")
                held.callback(download.close)
                # After a first attempt the server has bytes that were overwritten in S3 while they were sent: they
                # have to be replaced, even where another run has pushed and marked the newer ones meanwhile.
                if not attempt and await self._is_synced(key, download.version):
                    return Outcome(pushed.label, "skipped", reason="synced")
                await self._take_the_name(pushed)
                try:
                    await self._directories.ensure(parent)
                    if pushed.entry.size < 0:
                        await held.enter_async_context(self._lane(download.version.size))
                    await self._publish(download, path, turn)
                except Overwritten:
                    continue
                except ServerRefused as refused:
                    raise ServerRefused(f"{paths.printable(path)!r} cannot be written: {refused}") from None
                await held.aclose()
                marked = await self._mark(pushed, target, download.version)
            if marked != "overwritten":
                size = download.version.size
                return Outcome(pushed.label, "transferred", target, bytes=size, seconds=time.monotonic() - started)
        raise StorageError(f"was overwritten {VERSIONS} times while it was pushed; the next run takes it up again")

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Hold within the block a file that gets its name, and then its mark. All others wait for the first one."""
        if self.settings.mark == "none" or self._tried_to_mark.is_set():
            yield
            return
        if self._marking:
            with off_the_clock():
                await self._tried_to_mark.wait()
            yield
            return
        self._marking = True
        try:
            yield
        finally:
            if self._refused is None:
                self._tried_to_mark.set()

    async def _mark(self, pushed: PushedObject, target: str, version: Version) -> marks.Marked:
        """Mark what was delivered. Where S3 takes no marks, the run ends, and reports it as delivered and unmarked."""
        try:
            return await self.marks.mark(pushed.entry.key, version)
        except ConfigurationError as refused:
            self._refused = refused
            self._report_unmarked(pushed, target)
            raise
        except asyncio.CancelledError:
            if self._refused is not None:
                self._report_unmarked(pushed, target)
            raise

    def _report_unmarked(self, pushed: PushedObject, target: str) -> None:
        reason = f"was delivered to {target}, and is not marked: {self._refused}"
        outcome = Outcome(pushed.label, "failed", target, reason)
        self.report.add(outcome)
        self.observer.outcome(outcome)

    async def _is_synced(self, key: str, version: Version) -> bool:
        synced = await self.marks.is_synced(key, version)
        self._synced_in_a_row = self._synced_in_a_row + 1 if synced else 0
        if synced:
            self._ledger.note(key, version)
        return synced

    def _lane(self, size: int) -> contextlib.AbstractAsyncContextManager[None]:
        return self._run.lane(min(max(4 * size, 64 * KiB), IN_HAND))

    async def _publish(self, download: Download, path: bytes, turn: contextlib.AsyncExitStack) -> None:
        """
        Write the object beside `path`, make sure that it is whole, and rename it over `path`.

        :param turn: holds the file's turn from the rename on.
        """
        size = download.version.size
        temporary = posixpath.join(posixpath.dirname(path), paths.temporary_name(self.settings.owner))
        async with self.session.creating(temporary) as file:
            async with contextlib.aclosing(download.chunks()) as chunks:
                written, stored = await file.write_all(chunks, size, WRITE_WINDOW, self._moved)
            if not size == written == stored:
                raise FileError(f"sizes differ: S3 has {size} bytes, {written} were read, the server has {stored}")
            await turn.enter_async_context(self._turn())
            await self.session.replace(temporary, path)


class _Directories:
    """The directories beneath the target: made where they are missing, cleaned where a retry finds its leavings."""

    def __init__(self, session: SftpSession, root: bytes, owner: str) -> None:
        self._session = session
        self._owner = owner
        self._tasks: dict[tuple[str, bytes], asyncio.Task[None]] = {}
        self._root = root

    async def ensure(self, path: bytes) -> None:
        """Make `path` and what is missing above it, once for all the files in it."""
        if path != self._root:
            await self._once(self._ensure, path)

    async def clean_up(self, path: bytes) -> None:
        """Remove the temporary files in `path` that earlier tries of this task have left, once."""
        if self._owner:
            await self._once(self._clean_up, path)

    async def _once(self, work: Callable[[bytes], Coroutine[Any, Any, None]], path: bytes) -> None:
        which = work.__name__, path
        task = self._tasks.get(which)
        if task is None:
            task = asyncio.create_task(work(path))
            task.add_done_callback(retrieve)  # whoever waits may be gone
            self._tasks[which] = task
        try:
            await asyncio.shield(task)
        except Exception:
            # The next file, or the next attempt, begins anew.
            if self._tasks.get(which) is task:
                del self._tasks[which]
            raise

    async def _ensure(self, path: bytes) -> None:
        if await self._session.is_directory(path):
            return
        await self.ensure(posixpath.dirname(path))
        await self._session.make_directory(path)

    async def _clean_up(self, path: bytes) -> None:
        try:
            entries = await self._session.list_directory(path)
        except ServerRefused:
            return  # not there yet, or not ours to read: then it has to be made, or the push itself fails
        for entry in entries:
            if entry.kind == "file" and paths.is_temporary(entry.name, self._owner):
                with contextlib.suppress(NotFound):
                    await self._session.remove(posixpath.join(path, entry.name))


def reason_to_skip(key: str, prefix: str, globs: paths.Globs) -> str | None:
    """Return why an object is not pushed, judged by its key alone; None where it may be."""
    if key.endswith("/"):
        return "folder marker"
    if posixpath.basename(key) == paths.LEDGER:
        return "ledger"
    return globs.reason_to_skip(key.removeprefix(prefix))


class Unknown:
    """Objects that a listing shows, and that S3 does not know when it is asked for them."""

    def __init__(self) -> None:
        self._count = 0
        self._first = ""

    def note(self, label: str) -> None:
        """Take note of one."""
        self._count += 1
        self._first = self._first or label

    def tell(self, notice: Callable[[str], None]) -> None:
        """Give `notice` a line about them, if there are any."""
        if self._count:
            notice(
                f"S3 lists {self._count} objects that it does not know when it is asked for them, the first: "
                f"{self._first}. They were deleted meanwhile, or it lists names otherwise than it takes them"
            )


async def unsynced(
    settings: PushSettings,
    bucket: Bucket,
    options: TransferOptions,
    ledger: Ledger,
    notice: Callable[[str], None] | None = None,
) -> AsyncGenerator[ObjectEntry]:
    """
    Yield the objects under the prefix, or of the keys, that a push would take, in their order, many asked at once.

    One that is refused, or cannot be looked at, is yielded too: the push is where that is seen.

    :param notice: is told once, in the end, of objects that were listed and that S3 does not know.
    """
    unknown = Unknown()
    marking = marks.Marks(bucket, marks.check_mode(settings.mark))
    prefix = paths.directory_prefix(settings.s3_prefix)
    globs = paths.Globs(settings.include, settings.exclude)

    async def is_unsynced(entry: ObjectEntry) -> bool:
        if settings.mark == "none":
            return True
        try:
            paths.path_for(b"/", entry.key)
            version = await bucket.head(entry.key)
            if version is None:
                if settings.keys is None:
                    unknown.note(bucket.uri_of(paths.printable(entry.key)))
                return False
            if not await marking.is_synced(entry.key, version):
                return True
            ledger.note(entry.key, version)
            return False
        except FileError:
            return True

    async def candidates() -> AsyncGenerator[ObjectEntry]:
        for key in settings.keys or ():
            yield ObjectEntry(key)

    asked: list[tuple[ObjectEntry, asyncio.Task[bool]]] = []
    try:
        async with contextlib.aclosing(bucket.list(prefix) if settings.keys is None else candidates()) as entries:
            async for entry in entries:
                if reason_to_skip(entry.key, prefix, globs) or (ledger and ledger.is_synced(entry)):
                    continue
                asked.append((entry, asyncio.create_task(is_unsynced(entry))))
                if len(asked) >= options.concurrency:
                    entry, answer = asked.pop(0)
                    if await answer:
                        yield entry
        while asked:
            entry, answer = asked.pop(0)
            if await answer:
                yield entry
        if settings.keys is None:
            ledger.complete()
        if notice is not None:
            unknown.tell(notice)
    finally:
        for _, answer in asked:
            answer.cancel()
