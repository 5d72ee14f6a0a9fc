"""
Push: S3 objects to an SFTP server.

One object, step by step (:meth:`Push.transfer`):

1. ask S3 for it: one that is gone, marked or a folder marker is skipped;
2. the key becomes a path beneath `sftp_path`, perhaps by `rename_to`, or is refused, as is one whose path another key
   of the run has, see :mod:`~airflow_provider_sftp_s3.engine.places`. Where a file there is not to be replaced
   (`on_conflict`), it is looked whether there is one;
3. its bytes, held to one ETag, become a file at the target, see :mod:`~airflow_provider_sftp_s3.engine.delivery`: by
   a temporary one, of which every write is acknowledged, the size compared, the file synced, and which is renamed over
   the target, so that nobody there ever sees half a file. With `checksum_file` and `trigger_file`, old ones are away
   before that, and new ones come after it, see :mod:`~airflow_provider_sftp_s3.engine.publication`;
4. mark it, bound to the ETag that was sent, or move or delete it (`after_transfer`), bound to that, too; an object that
   was overwritten meanwhile is taken again.

With `last`, some objects wait until all others of their directory are there, see
:mod:`~airflow_provider_sftp_s3.engine.lasts`.

Which kind of mark is safe on the store, and has room on the object, or whether a DELETE is safe there, is known before
step 3. The first object of a run is alone in getting its name and its mark, or in being taken away: where S3 refuses
that all the same, one file was delivered in vain and not hundreds.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import UTC
from functools import partial

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.announcement import Triggers
from airflow_provider_sftp_s3.engine.delivered_sums import DeliveredSums
from airflow_provider_sftp_s3.engine.delivery import Delivery
from airflow_provider_sftp_s3.engine.errors import (
    Archived,
    ConfigurationError,
    Corrupted,
    FileError,
    Overwritten,
    ServerRefused,
    StorageError,
    TargetTaken,
)
from airflow_provider_sftp_s3.engine.globs import Globs
from airflow_provider_sftp_s3.engine.lasts import LastNames, Lasts
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
from airflow_provider_sftp_s3.engine.observer import Notices, Observer
from airflow_provider_sftp_s3.engine.options import KiB, MiB, TransferOptions
from airflow_provider_sftp_s3.engine.order import Bounds, oldest_first
from airflow_provider_sftp_s3.engine.places import Places
from airflow_provider_sftp_s3.engine.publication import Publication, PushedObject
from airflow_provider_sftp_s3.engine.s3 import marks
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, Version
from airflow_provider_sftp_s3.engine.s3.ledger import Fact, Ledger
from airflow_provider_sftp_s3.engine.s3.probes import Kind
from airflow_provider_sftp_s3.engine.s3.receipts import Receipts
from airflow_provider_sftp_s3.engine.s3.sent import Sent, Taken
from airflow_provider_sftp_s3.engine.settings import PushSettings, check_mark
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.transfer import Transfer
from airflow_provider_sftp_s3.engine.triggers import Beside, TriggerNames
from airflow_provider_sftp_s3.engine.unsynced import Unknown, others_in, reason_to_skip

#: Bytes of the budget that a large file takes. Measured: it has a quarter of that in memory, and a few large files at
#: once are faster than many: a third at 200 x 5 MiB.
IN_HAND = 16 * MiB
#: After so many objects that were synced already, the next one is looked at before it is asked for.
SYNCED_IN_A_ROW = 8
#: Keys that S3 is asked about at once.
LOOKED_UP_AT_ONCE = 64
#: How often an object that is overwritten while it is pushed, or does not come as S3 has it, is taken again.
VERSIONS = 3


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


@dataclass
class _Sending:
    """
    How far an object has come, over the versions of it that are sent.

    :param source: the key that its bytes are at. Another run may move newer ones beneath the sent prefix meanwhile.
    :param started: when it was begun, by the monotonic clock.
    :param path: where it goes to. What S3 says of the object along with its first byte may belong to the name.
    :param waits: for the mark of the run's first object, before it is asked for.
    :param is_again: a version before this one was sent, or was to be.
    :param delivered: the version that the partner has.
    :param failed: why the version before has to be followed by another one.
    """

    pushed: PushedObject
    source: str
    started: float
    path: bytes = b""
    waits: bool = False
    is_again: bool = False
    delivered: Version | None = None
    failed: StorageError | None = None


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
        super().__init__("push", *places, caps, session, bucket, options, observer, receipts, since, settings.earlier)
        bucket.send_along(settings.extra_args, "push")
        self.settings = settings
        self.globs = Globs(settings.include, settings.exclude)
        self._beside = Beside.of(settings)
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
        idle = options.idle_timeout
        self._places = Places(
            settings, self.prefix, self.root, session, self._delivery.check, self._is_of_this_run, idle
        )
        looks = settings.verify == "size"
        self._triggers: Triggers | None = None
        if settings.trigger_file is not None:
            names = TriggerNames(settings.trigger_file)
            self._triggers = Triggers(session, names, self._places.directory_of, looks=looks)
        self._sums: DeliveredSums | None = None
        if settings.checksum_file is not None:
            self._sums = DeliveredSums(settings.checksum_file, session, self._delivery, looks=looks)
        self._publication = Publication(settings, self._places, self._delivery, self._triggers, self._sums)
        if settings.last is not None:
            # A run by keys is told of some, and there may be others.
            others = partial(others_in, settings=settings, bucket=bucket, options=options) if settings.keys else None
            now = bucket.now if others is None else None
            self._lasts = Lasts(LastNames(settings.last, self.prefix), lambda pushed: pushed.key, others, now)

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
            await self._transfer_all(found, self.transfer, self._is_left)
            self._unknown.tell(self.observer.notice)
            if self.report.transferred:
                await self._ledger.save()
        finally:
            self._places.close()
            self.marks.end()
            self._ledger.close()
            if self._sent is not None:
                self._sent.end()

    async def _objects(self) -> AsyncGenerator[PushedObject | Outcome]:
        async with contextlib.aclosing(self._entries()) as entries:
            async for entry, fact in entries:
                label = self.bucket.uri_of(paths.printable(entry.key))
                reason = reason_to_skip(entry.key, self.prefix, self.globs, self._sent_prefix, self._beside)
                stat = _stat_of(entry, fact) if self._places.renames else UNKNOWN
                namesake = None if reason else self._places.namesake_before(entry.key, stat)
                if not reason and (reason := self.marks.reason_by(fact)):
                    self._places.note(entry.key, stat)
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
        looks = self.settings.max_bytes is not None or self.settings.order is not None or self._places.need_stat
        for start in range(0, len(self.settings.keys), LOOKED_UP_AT_ONCE):
            keys = self.settings.keys[start : start + LOOKED_UP_AT_ONCE]
            for entry in await asyncio.gather(*map(self._looked_up, keys)) if looks else map(ObjectEntry, keys):
                yield entry, None

    async def _looked_up(self, key: str) -> ObjectEntry:
        """Return what S3 says of a key, as far as a listing would."""
        try:
            self._places.check_key(key)
            version = await self.bucket.head(key)
        except FileError:
            version = None  # the transfer is where this is seen
        return version.as_listed(key) if version else ObjectEntry(key, 0)

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
        """
        Say whether an object behind a cap has to be pushed by the next run, as far as S3 lets us know.

        :raises NameRefused: no run can push it.
        """
        self._places.check_key(pushed.entry.key)
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
        sending = _Sending(pushed, pushed.key, time.monotonic())
        if not self._places.need_stat:
            sending.path = self._places.of(pushed.key, UNKNOWN)
            await self._delivery.clean_up(sending.path)
        # One that is written straight to its name waits for its turn before it is asked for.
        is_marked = self.settings.mark != "none"
        sending.waits = self._delivery.is_straight and is_marked and not self._tried_to_mark.is_set()
        is_doubtful = self._publication.may_be_taken(pushed) and (
            self._places.need_stat or await self._delivery.is_taken(sending.path)
        )
        if self.settings.dry_run or sending.waits or is_doubtful or self._synced_in_a_row > SYNCED_IN_A_ROW:
            outcome = await self._look_first(pushed, sending.path, is_doubtful=is_doubtful)
            if outcome is None and self.settings.dry_run:  # it may be there a moment later
                outcome = await self._without_object(sending)
            if outcome is not None:
                return outcome
        for _ in range(VERSIONS):
            outcome = await self._send(sending)
            if outcome is not None:
                return outcome
        if isinstance(sending.failed, Corrupted):
            raise sending.failed
        raise StorageError(f"was overwritten {VERSIONS} times while it was pushed; the next run takes it up again")

    async def _look_first(self, pushed: PushedObject, path: bytes, *, is_doubtful: bool) -> Outcome | None:
        """
        Look at an object before it is asked for, and return what becomes of it without that. None: it is to be sent.

        :param is_doubtful: there may be a file in its place that is not to be replaced.
        :raises TargetTaken: there is one, and so it cannot be sent.
        """
        key = pushed.key
        head = await self.bucket.head(key)
        if head is None:
            return None
        look = await self._look(key, head)
        if reason := look.reason or self._outside(head):
            return self._skipped(pushed.label, reason, head.as_listed(key), head.stat)
        place = path
        if is_doubtful:
            path = self._places.of(key, head.stat)
            place = await self._publication.free_place(path, head.stat)
        if not self.settings.dry_run:
            return None
        path = self._places.of(key, head.stat)
        target = self.session.server.uri_of(place if is_doubtful else path)
        await self._places.take(key, pushed.namesake, path)
        # All of them show a destination or a connection that has got another name.
        others = ", others have it" if self.marks.naming.names_others(head, look.tags or {}) else ""
        changed = seconds_of(head.modified)
        return Outcome(pushed.label, "skipped", target, f"dry run{others}", head.size, changed=changed, left=True)

    async def _send(self, sending: _Sending) -> Outcome | None:
        """Send what S3 has now. None: it was overwritten meanwhile, or did not come as S3 has it."""
        pushed, source = sending.pushed, sending.source
        is_again, sending.is_again = sending.is_again, True
        async with contextlib.AsyncExitStack() as turn, contextlib.AsyncExitStack() as held:
            if sending.waits:
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
                return await self._without_object(sending)
            held.callback(download.close)
            version = pushed.version = download.version
            # After a first attempt the server has bytes that were overwritten in S3 while they were sent: they have to
            # be replaced, even where another run has pushed and marked the newer ones meanwhile.
            look = await self._look(source, version)
            reason = look.reason or self._outside(version)
            if reason and not is_again:
                return self._skipped(pushed.label, reason, version.as_listed(pushed.key), version.stat)
            if self._places.need_stat:
                sending.path = self._places.of(pushed.key, version.stat)
                await self._delivery.clean_up(sending.path)
            await self._places.take(pushed.key, pushed.namesake, sending.path)
            await self._before_the_first_byte()
            try:
                kind = await self._prepare(source, version, look)
                if pushed.entry.size < 0:
                    await held.enter_async_context(self._memory(version.size))
                running = None if self._sums is None else self._sums.begin()
                async with self._delivery.prepared(download, sending.path, running) as publish:
                    if not sending.waits and not self._all_may_go:
                        await turn.enter_async_context(self._turn())
                    look = await self.marks.last_look(source, version, kind)
                    if look.reason and not is_again:
                        return self._skipped(pushed.label, look.reason, version.as_listed(pushed.key), version.stat)
                    if self._sent is not None:
                        await self._sent.last_look(source, version)
                    pushed.path = await self._publication.publish(pushed, publish, sending.path, version, running)
                    target = self.session.server.uri_of(pushed.path)
            except (Overwritten, Corrupted) as again:
                sending.failed = again
                return None
            await held.aclose()
            sending.delivered = version
            marked = await self._mark(pushed, target, source, version, kind, look)
        if marked == "moved on" and self._sent is not None:
            sending.source = self._sent.place_of(pushed.key)
        elif marked != "overwritten":
            changed, stored = None, Stored()
            if self.receipts:
                changed, stored = seconds_of(version.modified), download.stored
            return Outcome(
                pushed.label,
                "transferred",
                target,
                bytes=version.size,
                seconds=time.monotonic() - sending.started,
                changed=changed,
                stored=stored,
            )
        sending.failed = Overwritten("was overwritten while it was pushed")
        return None

    async def _without_object(self, sending: _Sending) -> Outcome | None:
        """Return what becomes of an object that S3 has not got. None: it has newer bytes beneath the sent prefix."""
        pushed, key = sending.pushed, sending.pushed.key
        if (
            sending.delivered
            and self._sent
            and sending.source == key
            and await self._sent.has_newer(key, sending.delivered)
        ):
            sending.source = self._sent.place_of(key)
            return None
        if self.settings.keys is None:
            self._unknown.note(pushed.label)
        if self._sent is not None and self._is_recovered(pushed.label, None):
            target = "" if self._places.need_stat else self.session.server.uri_of(sending.path)
            return Outcome(pushed.label, "recovered", target, f"{self._sent.done} by an earlier try")
        return Outcome(pushed.label, "skipped", reason="deleted")

    def _skipped(self, label: str, reason: str, entry: ObjectEntry, stat: Stat) -> Outcome:
        """Return the outcome of an object that is left alone: an earlier try of this task may have delivered it."""
        if reason == marks.REASON and self._is_recovered(label, entry.modified):
            target = ""
            with contextlib.suppress(FileError):
                target = self.session.server.uri_of(self._places.of(entry.key, stat))
            size, changed = max(entry.size, 0), seconds_of(entry.modified)
            stored = Stored(marks.bare(entry.etag))
            return Outcome(label, "recovered", target, reason, size, changed=changed, stored=stored)
        return Outcome(label, "skipped", reason=reason)

    def _is_recovered(self, label: str, modified: str | None) -> bool:
        # Keys that are given were there, and not synced, when they were listed for the run. Else a metadata mark tells:
        # it is a copy, and so the time of change is that of the delivery.
        return super()._is_recovered(label, modified if self.settings.keys is None else None)

    @property
    def _all_may_go(self) -> bool:
        """Whether no file waits for the first one to get its name and its mark."""
        return (self.settings.mark == "none" and self._sent is None) or self._tried_to_mark.is_set()

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Hold within the block a file that gets its name, and then its mark. All others wait for the first one."""
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
            self._places.note(key, version.stat)
        return look

    def _memory(self, size: int) -> contextlib.AbstractAsyncContextManager[None]:
        return self._run.hold_memory(min(max(4 * size, 64 * KiB), IN_HAND))


def _stat_of(entry: ObjectEntry, fact: Fact | None) -> Stat:
    """Return what is known of an object that was listed, as :attr:`Version.stat` has it."""
    mtime = seconds_of(entry.modified)
    if fact is not None and fact.mtime:
        mtime = int(fact.mtime)
    return Stat(None if entry.size < 0 else entry.size, None if mtime is None else int(mtime))
