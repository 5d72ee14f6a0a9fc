"""
Push: S3 objects to an SFTP server.

One object, step by step (:meth:`Push.transfer`):

1. ask S3 for it: one that is gone, marked or a folder marker is skipped;
2. the key becomes a path beneath `sftp_path`, perhaps by `rename_to`, or is refused, as is one whose path another key
   of the run has;
   Where a file there is not to be replaced (`on_conflict`), it is looked whether there is one;
3. its bytes, held to one ETag, become a file at the target, see :mod:`~airflow_provider_sftp_s3.engine.delivery`: by
   a temporary one, of which every write is acknowledged, the size compared, the file synced, and which is renamed over
   the target, so that nobody there ever sees half a file;
   with `trigger_file`, an old trigger is away before that, and after the last file that it tells of a new one is made,
   see :mod:`~airflow_provider_sftp_s3.engine.announcement`;
4. mark it, bound to the ETag that was sent, or move or delete it (`after_transfer`), bound to that, too; an object that
   was overwritten meanwhile is taken again.

Which kind of mark is safe on the store, and has room on the object, or whether a DELETE is safe there, is known before
step 3. The first object of a run is alone in getting its name and its mark, or in being taken away: where S3 refuses
that all the same, one file was delivered in vain and not hundreds.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.announcement import Trigger, Triggers
from airflow_provider_sftp_s3.engine.delivery import Delivery, Publish
from airflow_provider_sftp_s3.engine.errors import (
    Archived,
    ConfigurationError,
    Corrupted,
    FileError,
    NameRefused,
    Overwritten,
    ServerRefused,
    StorageError,
    TargetTaken,
)
from airflow_provider_sftp_s3.engine.globs import Globs
from airflow_provider_sftp_s3.engine.limits import Caps, off_the_clock
from airflow_provider_sftp_s3.engine.model import (
    UNKNOWN,
    WAITS,
    ObjectEntry,
    Outcome,
    Report,
    Stat,
    Stored,
    seconds_of,
)
from airflow_provider_sftp_s3.engine.naming import AlikeNames, Namesakes
from airflow_provider_sftp_s3.engine.observer import Notices, Observer
from airflow_provider_sftp_s3.engine.options import KiB, MiB, TransferOptions
from airflow_provider_sftp_s3.engine.order import Bounds, oldest_first
from airflow_provider_sftp_s3.engine.rename import Renaming, beside
from airflow_provider_sftp_s3.engine.s3 import marks
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, Version
from airflow_provider_sftp_s3.engine.s3.ledger import Fact, Ledger
from airflow_provider_sftp_s3.engine.s3.probes import Kind
from airflow_provider_sftp_s3.engine.s3.receipts import Receipts
from airflow_provider_sftp_s3.engine.s3.sent import Sent, Taken
from airflow_provider_sftp_s3.engine.settings import PushSettings, check_mark
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.strip import Strip
from airflow_provider_sftp_s3.engine.transfer import Transfer
from airflow_provider_sftp_s3.engine.triggers import TriggerNames
from airflow_provider_sftp_s3.engine.unsynced import Unknown, reason_to_skip

#: Bytes of the budget that a large file takes. Measured: it has a quarter of that in memory, and a few large files at
#: once are faster than many: a third at 200 x 5 MiB.
IN_HAND = 16 * MiB
#: After so many objects that were synced already, the next one is looked at before it is asked for.
SYNCED_IN_A_ROW = 8
#: Names that are tried for an object whose own one is taken: each run that is killed before a mark leaves one behind.
MAX_BESIDE = 10
#: Keys that S3 is asked about at once.
LOOKED_UP_AT_ONCE = 64
#: How often an object that is overwritten while it is pushed, or does not come as S3 has it, is taken again.
VERSIONS = 3


@dataclass
class PushedObject:
    """
    An object to push, with what a report calls it.

    :param namesake: the key before it in the run that comes to the same path, if any does.
    :param version: what S3 has said of it last.
    :param path: where it was delivered to, and what is there is ours.
    :param trigger: what tells the partner of it; None: nothing does.
    """

    entry: ObjectEntry
    label: str
    namesake: str | None = None
    version: Version | None = None
    path: bytes = b""
    trigger: Trigger | None = None

    @property
    def key(self) -> str:
        return self.entry.key

    @property
    def size(self) -> int:
        return max(self.entry.size, 0)

    @property
    def changed(self) -> float | None:
        return seconds_of(self.version.modified if self.version else self.entry.modified)


async def push(
    settings: PushSettings,
    session: SftpSession,
    bucket: Bucket,
    options: TransferOptions,
    observer: Observer,
    receipts: Receipts | None = None,
) -> Report:
    """Push objects once. Returns and raises what :meth:`Transfer.run` does."""
    return await Push(settings, session, bucket, options, observer, receipts).run()


class Push(Transfer[PushedObject]):
    """One run of a push."""

    def __init__(
        self,
        settings: PushSettings,
        session: SftpSession,
        bucket: Bucket,
        options: TransferOptions,
        observer: Observer,
        receipts: Receipts | None = None,
    ) -> None:
        caps = Caps(settings.max_files, settings.max_bytes)
        places, since = (settings.sftp_path, settings.s3_prefix), settings.retried_since
        super().__init__("push", *places, caps, session, bucket, options, observer, receipts, since)
        bucket.send_along(settings.extra_args, "push")
        self.settings = settings
        self.strip = Strip(settings.strip_regex, options.idle_timeout) if settings.strip_regex else None
        self._renaming = Renaming(settings.rename_to) if settings.rename_to is not None else None
        #: without these two, keys and paths are one to one
        self._naming_by = " and ".join(name for name in ("strip_regex", "rename_to") if getattr(settings, name))
        self._listed = Namesakes() if self._naming_by else None
        self._taken = Namesakes() if self._naming_by else None
        self._alike = AlikeNames(session, self.root)
        self._replaces = settings.on_conflict == "replace"
        self.globs = Globs(settings.include, settings.exclude)
        self._bounds = Bounds(settings.min_size, settings.max_size, settings.max_age, bucket.now)
        self._ledger = Ledger(bucket, self.prefix)
        self.marks = marks.Marks(
            bucket,
            check_mark(settings.mark),
            settings.destination,
            remark=observer.remark,
            for_good=settings.dry_run,
            learned=self._ledger.note if settings.keys is None else None,
        )
        self._sent_prefix = paths.directory_prefix(settings.sent_prefix) or None
        #: what moves or deletes the objects, where they are not marked
        self._sent: Sent | None = None
        if settings.after_transfer != "keep":
            self._sent = Sent(bucket, self.prefix, self._sent_prefix, observer.notice)
        #: objects in a row that were synced already, as far as a listing does not tell
        self._synced_in_a_row = 0
        #: the first object is being marked, or has been tried to be
        self._marking = False
        self._tried_to_mark = asyncio.Event()
        #: why the run ends, where S3 takes no marks
        self._refused: ConfigurationError | None = None
        self._unknown = Unknown()
        self._notices = Notices(observer)
        self._delivery = Delivery(settings, self.root, session, self._moved)
        self._trigger_names: TriggerNames | None = None
        self._triggers: Triggers | None = None
        if settings.trigger_file is not None:
            self._trigger_names = TriggerNames(settings.trigger_file)
            looks = settings.verify == "size"
            self._triggers = Triggers(session, self._trigger_names, self._directory_of, looks=looks)

    async def _is_there(self) -> bool:
        try:
            return await super()._is_there()
        except ServerRefused:
            return True  # a drop box may let nobody look: to write into it will tell

    async def _work(self) -> None:
        try:
            if self.settings.keys is None and self.settings.mark != "none":
                await self._ledger.load()
            found = oldest_first(self._objects()) if self.settings.order else self._objects()
            if self._triggers is not None:
                found = self._triggers.gathered(found)
            async with contextlib.aclosing(found) as objects:
                await self._run.transfer_all(objects, self.transfer, self._is_left)
            self._unknown.tell(self.observer.notice)
            if self.report.transferred:
                await self._ledger.save()
        finally:
            if self.strip is not None:
                self.strip.close()
            self.marks.end()
            self._ledger.close()
            if self._sent is not None:
                self._sent.end()

    async def _objects(self) -> AsyncGenerator[PushedObject | Outcome]:
        async with contextlib.aclosing(self._entries()) as entries:
            async for entry, fact in entries:
                label = self.bucket.uri_of(paths.printable(entry.key))
                reason = reason_to_skip(entry.key, self.prefix, self.globs, self._sent_prefix, self._trigger_names)
                stat = UNKNOWN if self._renaming is None else _stat_of(entry, fact)
                namesake = None if reason else self._namesake_before(entry.key, stat)
                if not reason and (reason := self.marks.reason_by(fact)):
                    self._note_path(entry.key, stat)
                if not reason and entry.size >= 0:
                    reason = self._bounds.reason_to_skip(entry.size, seconds_of(entry.modified))
                if reason:
                    yield self._skipped(label, reason, entry, stat)
                else:
                    yield PushedObject(entry, label, namesake)

    async def _entries(self) -> AsyncGenerator[tuple[ObjectEntry, Fact | None]]:
        if self.settings.keys is None:
            async with contextlib.aclosing(self._ledger.along(self.bucket.list(self.prefix))) as listed:
                async for each in listed:
                    yield each
            return
        needs = self._renaming is not None and bool(self._renaming.needs)
        looks = self.settings.max_bytes is not None or self.settings.order is not None or needs
        for start in range(0, len(self.settings.keys), LOOKED_UP_AT_ONCE):
            keys = self.settings.keys[start : start + LOOKED_UP_AT_ONCE]
            for entry in await asyncio.gather(*map(self._looked_up, keys)) if looks else map(ObjectEntry, keys):
                yield entry, None

    async def _looked_up(self, key: str) -> ObjectEntry:
        """Return what S3 says of a key, as far as a listing would."""
        try:
            paths.relative_for(key, self.prefix, self.strip)
            version = await self.bucket.head(key)
        except FileError:
            version = None  # the transfer is where this is seen
        return version.as_listed(key) if version else ObjectEntry(key, 0)

    def _namesake_before(self, key: str, stat: Stat) -> str | None:
        """Return the key that came to the same path last, None where none did, and remember this one."""
        if self._listed is None:
            return None
        try:
            name = paths.text(self._path_of(key, stat))
        except FileError:
            return None  # the transfer is where this is seen
        before = self._listed.of(name)
        self._listed.note(name, key)
        return None if before == key else before

    async def _take_the_name(self, pushed: PushedObject, path: bytes) -> None:
        """
        Take the path of an object that is about to be pushed. It may do so again, as after a lost connection.

        What an earlier Dag run has delivered under the name is replaced, as a newer file replaces an older one.

        :raises NameRefused: another object of this run, or of an earlier try of it, has the path.
        """
        if self._taken is None:
            return
        key, before, name = pushed.entry.key, pushed.namesake, paths.text(path)
        first = self._taken.of(name)
        if first is None and before is not None and await self._is_of_this_run(before):
            first = before
        # Once more: in the meantime another one may have taken it.
        first = first or self._taken.of(name) or key
        if first != key:
            raise NameRefused(
                f"{self._naming_by} makes the same path of this key and of {paths.printable(first)!r}, which has it in "
                f"this run: change {self._naming_by}, or exclude one of the two",
                for_good=False,
            )
        self._taken.note(name, key)

    async def _is_of_this_run(self, key: str) -> bool:
        """Say whether a key before is pushed by this run, or was by an earlier try of it."""
        # Keys that are given were there, and not synced, when they were listed for the run.
        given = self.settings.keys is not None
        since = self.settings.retried_since
        version = await self.bucket.head(key)
        if version is None:
            return self._sent is not None and given and since is not None
        if not (await self.marks.look(key, version)).reason:
            return True
        if since is None:
            return False
        # Else a metadata mark tells: it is a copy, and so the time of change is that of the delivery.
        return given or version.modified >= since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")

    async def _is_left(self, pushed: PushedObject) -> bool:
        """Say whether an object behind a cap has to be pushed by the next run, as far as S3 lets us know."""
        try:
            pushed.version = head = await self.bucket.head(pushed.entry.key)
            return head is not None and not (self._outside(head) or (await self._look(pushed.entry.key, head)).reason)
        except FileError:
            return True

    def _outside(self, version: Version) -> str | None:
        """Return why an object is left alone for its size or age, or since nobody can read it now."""
        if version.is_archived:
            return self._archived()
        return self._bounds.reason_to_skip(version.size, seconds_of(version.modified))

    def _archived(self) -> str:
        self._notices.once(
            "archived",
            "some objects lie in an archive (GLACIER, DEEP_ARCHIVE), and S3 gives out none of them: they are left "
            "alone. Restore those that are to be pushed, and the next run takes them",
        )
        return "archived"

    def _note_path(self, key: str, stat: Stat) -> None:
        """Take note that the partner has an object under its path."""
        with contextlib.suppress(FileError):
            self._alike.note(self._path_of(key, stat))

    def _path_of(self, key: str, stat: Stat) -> bytes:
        """Return the path that an object of this size and mtime is pushed to."""
        relative = paths.relative_for(key, self.prefix, self.strip)
        if self._renaming is not None:
            relative = self._renaming.of(relative, stat)
        path = paths.path_beneath(self.root, relative)
        self._delivery.check(path)
        return path

    def _directory_of(self, key: str) -> bytes:
        """Return the directory that a key is pushed to, whatever its object is."""
        return posixpath.dirname(self._path_of(key, Stat(0, 0)))

    async def transfer(self, pushed: PushedObject) -> Outcome:
        """Push one object, or say why not."""
        try:
            outcome = await self._transfer(pushed)
            if self._triggers is not None and pushed.trigger is not None and not outcome.left:
                await self._triggers.left_out(pushed.trigger, pushed.key)
            return outcome
        except TargetTaken:
            if self.settings.on_conflict != "wait":
                raise
            return Outcome(pushed.label, "skipped", reason=WAITS, changed=pushed.changed, left=True)

    async def _transfer(self, pushed: PushedObject) -> Outcome:
        started = time.monotonic()
        key = pushed.entry.key
        # What S3 says of the object along with its first byte may belong to the name.
        known = self._renaming is None or not self._renaming.needs
        path = self._path_of(key, UNKNOWN) if known else b""
        if known:
            await self._delivery.clean_up(path)
        # One that is written straight to its name waits for its turn before it is asked for.
        is_marked = self.settings.mark != "none"
        waits = self._delivery.is_straight and is_marked and not self._tried_to_mark.is_set()
        is_doubtful = not (self._replaces or pushed.path) and (not known or await self._delivery.is_taken(path))
        if self.settings.dry_run or waits or is_doubtful or self._synced_in_a_row > SYNCED_IN_A_ROW:
            head = await self.bucket.head(key)
            look = marks.Look() if head is None else await self._look(key, head)
            if head is not None and (reason := look.reason or self._outside(head)):
                return self._skipped(pushed.label, reason, head.as_listed(key), head.stat)
            place = path
            if head is not None and is_doubtful:
                path = self._path_of(key, head.stat)
                place = await self._free_place(path, head.stat)
            if head is not None and self.settings.dry_run:
                path = self._path_of(key, head.stat)
                target = self.session.server.uri_of(place if is_doubtful else path)
                await self._take_the_name(pushed, path)
                # All of them show a destination or a connection that has got another name.
                others = ", others have it" if self.marks.naming.names_others(head, look.tags or {}) else ""
                return Outcome(pushed.label, "skipped", target, f"dry run{others}", head.size, left=True)
        failed: StorageError
        source, delivered = key, None  # another run may move newer bytes beneath the sent prefix meanwhile
        for attempt in range(VERSIONS):
            async with contextlib.AsyncExitStack() as turn, contextlib.AsyncExitStack() as held:
                if waits:
                    await turn.enter_async_context(self._turn())
                # S3 cuts a connection that nobody reads: first there is to be memory, if it is known how much.
                if pushed.entry.size >= 0:
                    await held.enter_async_context(self._memory(pushed.size))
                try:
                    download = await self.bucket.get(source)
                except Archived:
                    # It may well be synced: most objects are archived long after that.
                    head = await self.bucket.head(source)
                    synced = (await self._look(source, head)).reason if head else "deleted"
                    return Outcome(pushed.label, "skipped", reason=synced or self._archived())
                if download is None:
                    if delivered and self._sent and source == key and await self._sent.has_newer(key, delivered):
                        source = self._sent.place_of(key)
                        continue
                    if self.settings.keys is None:
                        self._unknown.note(pushed.label)
                    if self._sent is not None and self._is_recovered(pushed.label, None):
                        where = self.session.server.uri_of(path) if known else ""
                        return Outcome(pushed.label, "recovered", where, f"{self._sent.done} by an earlier try")
                    return Outcome(pushed.label, "skipped", reason="deleted")
                held.callback(download.close)
                pushed.version = download.version
                # After a first attempt the server has bytes that were overwritten in S3 while they were sent: they
                # have to be replaced, even where another run has pushed and marked the newer ones meanwhile.
                look = await self._look(source, download.version)
                reason = look.reason or self._outside(download.version)
                if reason and not attempt:
                    return self._skipped(pushed.label, reason, download.version.as_listed(key), download.version.stat)
                if not known:
                    path = self._path_of(key, download.version.stat)
                    await self._delivery.clean_up(path)
                await self._take_the_name(pushed, path)
                await self._before_the_first_byte()
                try:
                    kind = await self._prepare(source, download.version, look)
                    if pushed.entry.size < 0:
                        await held.enter_async_context(self._memory(download.version.size))
                    async with self._delivery.prepared(download, path) as publish:
                        if not waits:
                            await turn.enter_async_context(self._turn())
                        look = await self.marks.last_look(source, download.version, kind)
                        if not attempt and look.reason:
                            version = download.version
                            return self._skipped(pushed.label, look.reason, version.as_listed(key), version.stat)
                        if self._sent is not None:
                            await self._sent.last_look(source, download.version)
                        pushed.path = await self._publish(pushed, publish, path, download.version.stat)
                        target = self.session.server.uri_of(pushed.path)
                except (Overwritten, Corrupted) as again:
                    failed = again
                    continue
                await held.aclose()
                delivered = download.version
                marked = await self._mark(pushed, target, source, delivered, kind, look)
            if marked == "moved on" and self._sent is not None:
                source = self._sent.place_of(key)
            elif marked != "overwritten":
                size, seconds = download.version.size, time.monotonic() - started
                return Outcome(
                    pushed.label,
                    "transferred",
                    target,
                    bytes=size,
                    seconds=seconds,
                    changed=seconds_of(download.version.modified) if self.receipts else None,
                    stored=download.stored if self.receipts else Stored(),
                )
            failed = Overwritten("was overwritten while it was pushed")
        if isinstance(failed, Corrupted):
            raise failed
        raise StorageError(f"was overwritten {VERSIONS} times while it was pushed; the next run takes it up again")

    async def _publish(self, pushed: PushedObject, publish: Publish, path: bytes, stat: Stat) -> bytes:
        """
        Give an object its name, and perhaps a trigger, and return its path.

        :raises TargetTaken: its name is taken, and not to be replaced.
        """
        if self._triggers is None:
            return await self._name(pushed, publish, path, stat)
        trigger = pushed.trigger
        if trigger is None:  # such as where the name would be too long
            trigger = Trigger(self._triggers.path_of(pushed.key))
        if not (self._replaces or pushed.path) and await self._delivery.is_taken(path):
            raise self._taken_error(path, stat)  # and the trigger is that one's
        await self._triggers.withdraw(trigger, pushed.key)
        path = await self._name(pushed, publish, path, stat)
        await self._triggers.delivered(trigger, pushed.key)
        return path

    async def _name(self, pushed: PushedObject, publish: Publish, path: bytes, stat: Stat) -> bytes:
        if self._replaces or pushed.path:  # older bytes of it are ours
            async with self._alike.taking(pushed.path or path):
                await publish(pushed.path or path, replaces=True)
            return pushed.path or path
        for place in self._places(path, stat):
            async with self._alike.taking(place):
                if await publish(place, replaces=False):
                    return place
        raise self._taken_error(path, stat)

    async def _free_place(self, path: bytes, stat: Stat) -> bytes:
        """Return where an object may go. :raises TargetTaken: nowhere."""
        for place in self._places(path, stat):
            if not await self._delivery.is_taken(place):
                return place
        raise self._taken_error(path, stat)

    def _places(self, path: bytes, stat: Stat) -> Iterator[bytes]:
        """Yield where an object may go, one after the other where the one before is taken."""
        yield path
        for number in range(MAX_BESIDE if self.settings.on_conflict == "rename" else 0):
            yield beside(paths.text(path), stat.mtime, number).encode("utf-8", "surrogateescape")

    def _taken_error(self, path: bytes, stat: Stat) -> TargetTaken:
        *others, last = (repr(paths.printable(place)) for place in self._places(path, stat))
        names = f"{others[0]} and {len(others)} others, up to {last}, are" if others else f"{last} is"
        return TargetTaken(
            f"{names} there already. It may be this very object, where a run was ended before it was marked: look, and "
            "move or remove it"
        )

    def _skipped(self, label: str, reason: str, entry: ObjectEntry, stat: Stat) -> Outcome:
        """Return the outcome of an object that is left alone: an earlier try of this task may have delivered it."""
        if reason == marks.REASON and self._is_recovered(label, entry.modified):
            target = ""
            with contextlib.suppress(FileError):
                target = self.session.server.uri_of(self._path_of(entry.key, stat))
            size, changed = max(entry.size, 0), seconds_of(entry.modified)
            stored = Stored(marks.bare(entry.etag))
            return Outcome(label, "recovered", target, reason, size, changed=changed, stored=stored)
        return Outcome(label, "skipped", reason=reason)

    def _is_recovered(self, label: str, modified: str | None) -> bool:
        # Keys that are given were there, and not synced, when they were listed for the run. Else a metadata mark tells:
        # it is a copy, and so the time of change is that of the delivery.
        return super()._is_recovered(label, modified if self.settings.keys is None else None)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Hold within the block a file that gets its name, and then its mark. All others wait for the first one."""
        if (self.settings.mark == "none" and self._sent is None) or self._tried_to_mark.is_set():
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

    async def _prepare(self, key: str, version: Version, look: marks.Look) -> Kind | None:
        """Make sure that the object can be marked, or taken away. Return the kind of its mark; None: it gets none."""
        if self._sent is None:
            return await self.marks.kind_for(key, version, look)
        await self._sent.check(key, version)
        return None

    async def _mark(
        self, pushed: PushedObject, target: str, key: str, version: Version, kind: Kind | None, look: marks.Look
    ) -> marks.Marked | Taken:
        """
        Mark what was delivered, or take it away.

        Where S3 does not let us, the run ends, and reports it as delivered and unmarked.
        """
        try:
            if self._sent is not None:
                return await self._sent.take_away(key, version)
            return await self.marks.mark(key, version, kind, look)
        except ConfigurationError as refused:
            self._refused = refused
            self._report_unmarked(pushed, target)
            raise
        except asyncio.CancelledError:
            if self._refused is not None:
                self._report_unmarked(pushed, target)
            raise

    def _report_unmarked(self, pushed: PushedObject, target: str) -> None:
        done = "marked" if self._sent is None else self._sent.done
        reason = f"was delivered to {target}, and is not {done}: {self._refused}"
        outcome = Outcome(pushed.label, "failed", target, reason)
        self.report.add(outcome)
        self.observer.outcome(outcome)

    async def _look(self, key: str, version: Version) -> marks.Look:
        look = await self.marks.look(key, version)
        self._synced_in_a_row = self._synced_in_a_row + 1 if look.reason else 0
        if look.reason:
            self._note_path(key, version.stat)
        return look

    def _memory(self, size: int) -> contextlib.AbstractAsyncContextManager[None]:
        return self._run.hold_memory(min(max(4 * size, 64 * KiB), IN_HAND))


def _stat_of(entry: ObjectEntry, fact: Fact | None) -> Stat:
    """Return what is known of an object that was listed, as :attr:`Version.stat` has it."""
    mtime = seconds_of(entry.modified)
    if fact is not None and fact.mtime:
        mtime = int(fact.mtime)
    return Stat(None if entry.size < 0 else entry.size, None if mtime is None else int(mtime))
