"""
Pull: an SFTP tree into S3.

One file, step by step (:meth:`Pull.transfer`):

1. the listing yields regular files only, that nobody has touched for `min_age`;
2. the name becomes a key, perhaps by `rename_to`, or is refused, as is a file whose key another one of the run has, or
   that could not be moved in the end; where the key is not to be replaced (`on_conflict`), it is looked whether there
   is an object, and none is stored over one that comes later;
3. open, fstat, read everything and the end of the file, streaming into S3, fstat again: what is stated and what is read
   must be one whole file, see :mod:`~airflow_provider_sftp_s3.engine.whole`;
   With `checksum_file`, its sum is the one that stands beside it;
4. S3 has answered that the object is complete, and with `checksum_file` and `trigger_file` that of its checksum file,
   and that of the trigger, too, where this is the last file that it tells of, see
   :mod:`~airflow_provider_sftp_s3.engine.pulled_triggers`. Only now:
5. close, unless files of this directory are known to outlive that: then they are closed before S3 has answered;
6. rename into the done directory, and look whether it is the file that was read: if not, upload it from there;
7. stamp it with the time of the move, from which its retention counts, or remove it. Where nothing can be renamed, a
   file that is to be deleted is looked at and removed without 6.

With `last`, some files wait until all others of their directory are done with, see
:mod:`~airflow_provider_sftp_s3.engine.lasts`.

A crash after any step leaves a state from which the next run repairs everything by doing the same again.
"""

from __future__ import annotations

import contextlib
import posixpath
import time
from collections.abc import AsyncGenerator, Iterable

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.done import DoneDirectories
from airflow_provider_sftp_s3.engine.done_dir import DoneDir
from airflow_provider_sftp_s3.engine.errors import (
    ConnectionFailed,
    FileError,
    NameRefused,
    NotFound,
    ServerRefused,
    StorageError,
    TargetTaken,
)
from airflow_provider_sftp_s3.engine.fetch import Fetcher, PulledFile, Uploaded
from airflow_provider_sftp_s3.engine.globs import Globs
from airflow_provider_sftp_s3.engine.kept import KeptFiles
from airflow_provider_sftp_s3.engine.keys import Claim, Keys
from airflow_provider_sftp_s3.engine.lasts import LastNames, Lasts
from airflow_provider_sftp_s3.engine.limits import Caps
from airflow_provider_sftp_s3.engine.listing import Missing, Tree
from airflow_provider_sftp_s3.engine.model import ObjectEntry, Outcome, Report, SourceFile, Stat, Stored
from airflow_provider_sftp_s3.engine.observer import Notices, Observer
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.order import Bounds, oldest_first
from airflow_provider_sftp_s3.engine.pulled_sums import PulledSums
from airflow_provider_sftp_s3.engine.pulled_triggers import PulledTriggers
from airflow_provider_sftp_s3.engine.purge import Purge
from airflow_provider_sftp_s3.engine.run import Run
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, Version
from airflow_provider_sftp_s3.engine.s3.left_uploads import LeftUploads
from airflow_provider_sftp_s3.engine.s3.marks import Naming, names_in_metadata
from airflow_provider_sftp_s3.engine.s3.only_new import OnlyNew
from airflow_provider_sftp_s3.engine.s3.receipts import Receipts
from airflow_provider_sftp_s3.engine.settings import PullSettings
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.transfer import Transfer
from airflow_provider_sftp_s3.engine.triggers import TriggerNames

#: Why a file that stays is not pulled again.
UNCHANGED = "unchanged"
#: Why a file is not there any more, where an earlier try of the same task has moved it.
PULLED_BEFORE = "pulled by an earlier try"


async def pull(
    settings: PullSettings,
    session: SftpSession,
    bucket: Bucket,
    options: TransferOptions,
    observer: Observer,
    receipts: Receipts | None = None,
) -> Report:
    """Pull a tree once. Returns and raises what :meth:`Transfer.run` does."""
    return await Pull(settings, session, bucket, options, observer, receipts).run()


class Pull(Transfer[PulledFile]):
    """One run of a pull."""

    def __init__(
        self,
        settings: PullSettings,
        session: SftpSession,
        bucket: Bucket,
        options: TransferOptions,
        observer: Observer,
        receipts: Receipts | None = None,
    ) -> None:
        caps = Caps(settings.max_files, settings.max_bytes)
        places, since = (settings.sftp_path, settings.s3_prefix), settings.retried_since
        super().__init__("pull", *places, caps, session, bucket, options, observer, receipts, since, settings.earlier)
        bucket.send_along(settings.extra_args, "pull")
        self.settings = settings
        self._bounds = Bounds(settings.min_size, settings.max_size, settings.max_age, bucket.now)
        self._keys = Keys(settings, self.prefix, bucket)
        beside = {
            argument: TriggerNames(template, argument)
            for argument, template in (
                ("checksum_file", settings.checksum_file),
                ("trigger_file", settings.trigger_file),
            )
            if template is not None
        }
        if settings.last is not None:
            self._lasts = Lasts(LastNames(settings.last), lambda pulled: paths.text(pulled.file.relative))
        self.tree = Tree(
            session,
            self.root,
            globs=Globs(settings.include, settings.exclude),
            bounds=self._bounds,
            done_name=DoneDir.of(settings.done_dir).name,
            min_age=settings.min_age,
            shard=paths.Shard.of(settings.shard, by_directory=bool(beside)),
            beside=tuple(beside.values()),
            now=bucket.now,
            finds_left=settings.after_transfer == "delete",
            follow_links=settings.follow_links,
            name_of=self._keys.name_of if settings.rename_to is not None else None,
            unfinished_in=self._note_unfinished if self._lasts is not None else None,
        )
        session.follows_links = settings.follow_links
        notices = Notices(observer)
        self._left_uploads = LeftUploads(bucket, since, observer) if since else None
        self._only_new: OnlyNew | None = None
        if settings.on_conflict != "replace":
            abort = self._left_uploads.abort if self._left_uploads else None
            self._only_new = OnlyNew(bucket, self.prefix, notices, abort)
        self._naming = naming = Naming(bucket.name, settings.destination)
        self._fetcher = Fetcher(
            session,
            bucket,
            options,
            notices,
            naming,
            min_age=settings.min_age,
            hold_memory=self._run.hold_memory,
            moved=self._moved,
            choose=self._choose if self._keys.are_claimed else None,
            only_new=self._only_new,
        )
        self._done = DoneDirectories(settings, self.tree, session, bucket, self._fetcher, notices)
        self._purge = Purge(settings, self.tree, self._keys, session, bucket, self._done, notices)
        self._kept = KeptFiles(bucket, self.prefix, self._keys)
        parts = (self.tree, bucket, self._fetcher, self._done, self._kept, self._keys, naming, self._run.settle)
        self._sums: PulledSums | None = None
        #: what brings a file's trigger and checksum file along, by the argument that asks for it
        self._beside: dict[str, PulledTriggers] = {}
        if names := beside.get("checksum_file"):
            self._beside["checksum_file"] = self._sums = PulledSums(settings, self.prefix, names, *parts)
        if names := beside.get("trigger_file"):
            self._beside["trigger_file"] = PulledTriggers(settings, self.prefix, names, *parts)

    def _note_unfinished(self, directory: bytes) -> None:
        if self._lasts is not None:
            self._lasts.unfinished_in(paths.text(directory))

    async def _is_there(self) -> bool:
        if self.settings.sftp_paths is not None:
            return await super()._is_there()
        return await self.tree.look() or await super()._is_there()

    async def _work(self) -> None:
        with contextlib.ExitStack() as ending:
            ending.callback(self._kept.close)
            if self._only_new is not None:
                ending.callback(self._only_new.end)
            if self.settings.after_transfer == "keep":
                await self._kept.begin()
            await self._done.begin()
            found = oldest_first(self._files()) if self.settings.order else self._files()
            await self._transfer_all(found, self.transfer)
            await self._kept.end()
        await self._done.clean_up()
        receipts = self.receipts if self._since and self.settings.sftp_paths is None else None
        if receipts is not None and receipts.earlier is not None:
            await self._find_recovered(receipts)
        if self.settings.retention and self._purge.is_allowed(self.report):
            purging: Run[PulledFile] = Run(self.report, self.observer, self.options, Caps(None, None))
            async with contextlib.aclosing(self._purge.old_files(self.settings.retention)) as old:
                await purging.transfer_all(old, self._purge.purge)
            await self._purge.remove_empty_days()
        if self.settings.after_transfer == "delete":
            await self._done.remove_empty()

    async def _find_recovered(self, receipts: Receipts) -> None:
        """Tell of the files that earlier tries have pulled, and were killed before they could tell of them."""
        keeps = self.settings.after_transfer == "keep"
        is_ours = self._naming.token
        try:
            if self.settings.rename_to is not None or self.settings.on_conflict == "rename":
                raise StorageError("keys do not tell the names of their files, where those are changed on the way")
            async with contextlib.aclosing(self.bucket.list(self.prefix)) as entries:
                async for entry in entries:
                    relative = entry.key[len(self.prefix) :].encode()
                    path = posixpath.join(self.root, relative)
                    label = self.tree.label(path)
                    if paths.is_state(entry.key) or not self._is_recovered(label, entry.modified):
                        continue
                    version = await self.bucket.head(entry.key)
                    if version is None or is_ours(entry.key) not in names_in_metadata(version):
                        continue
                    if not self.tree.shard.holds(relative) or (not keeps and await self.session.exists(path)):
                        continue  # it is another task's, or is still to be moved away
                    self._run.settle(self._recovered(label, entry, version))
        except (StorageError, ConnectionFailed, ServerRefused) as failed:
            receipts.earlier = self.report.earlier = None
            self.observer.notice(f"what a killed try of this task has moved is not known: {failed}")

    def _recovered(self, label: str, entry: ObjectEntry, version: Version) -> Outcome:
        mtime, etag = version.metadata.get("mtime", ""), version.etag.strip('"')
        return Outcome(
            label,
            "recovered",
            self.bucket.uri_of(entry.key),
            PULLED_BEFORE,
            bytes=version.size,
            changed=int(mtime) if mtime.isdecimal() else None,
            stored=Stored(etag, version.version_id),
        )

    async def _files(self) -> AsyncGenerator[PulledFile | Outcome]:
        files = self.tree.walk() if self.settings.sftp_paths is None else self._given(self.settings.sftp_paths)
        async with contextlib.aclosing(files) as walk, contextlib.aclosing(self._kept.ahead(walk)) as found:
            async for item in found:
                if isinstance(item, Outcome):
                    yield item
                    continue
                label = self.tree.label(item.path)
                if not item.beside and await self._kept.has_by_ledger(item):
                    yield Outcome(label, "skipped", reason=UNCHANGED)
                else:
                    yield PulledFile(item, label)

    async def _given(self, given: Iterable[str]) -> AsyncGenerator[SourceFile | Outcome]:
        """Yield what is at these paths."""
        wanted: dict[bytes, None] = {}
        for path in given:
            try:
                relative = paths.relative_to(self.root, path)
                if self.tree.done_name in relative.split(b"/"):
                    raise NameRefused("it is in a done directory, or is one: what was pulled is not pulled again")
                wanted[relative] = None
            except NameRefused as refused:
                label = self.tree.label(path.encode("utf-8", "surrogateescape"))
                yield Outcome(label, "failed", reason=str(refused), for_good=True)
        async with contextlib.aclosing(self.tree.find(list(wanted))) as found:
            async for each in found:
                yield await self._missing(each.relative) if isinstance(each, Missing) else each

    async def _missing(self, relative: bytes) -> Outcome:
        """Return what to say of a file that was asked for and is not there."""
        label = self.tree.label(posixpath.join(self.root, relative))
        try:
            if found := await self._keys.recovered(relative, self._naming):
                key, version = found
                self._done.was_moved(posixpath.join(self.root, relative))
                if self._is_recovered(label, None):
                    return self._recovered(label, version.as_listed(key), version)
                return Outcome(label, "skipped", reason=PULLED_BEFORE)
            why = "is not there, and no earlier try of this run has pulled it"
        except FileError as failed:
            why = f"is not there; whether an earlier try of this run has pulled it cannot be seen: {failed}"
        return Outcome(label, "failed", reason=why)

    async def _reason_outside(self, file: SourceFile) -> str | None:
        """
        Return why a file is skipped for its size or age, where its listing has left that out.

        :raises FileError: the server does not say it at all.
        """
        if not self._bounds.lacks(*file.stat) or file.left:
            return None
        stat = file.stat.filled(await self.session.lstat(file.path))
        if lacks := self._bounds.lacks(*stat):
            raise FileError(f"the server does not say its {lacks}, for which there is a bound: leave that out")
        return self._bounds.reason_to_skip(*stat)

    async def _claim(self, file: SourceFile, stat: Stat, *, keeps: bool) -> Claim:
        """Take a key for a file that is about to be opened. :raises NotFound: it is gone."""

        async def look() -> Stat:
            try:
                return await self.session.lstat(file.path)
            except NotFound:
                raise
            except ServerRefused:
                return stat

        if self._keys.lacks(stat):
            stat = stat.filled(await look())
        # What it is listed with is what the next run looks for, where it stays.
        return await self._keys.claim(file, stat, None if keeps else look)

    async def _choose(self, pulled: PulledFile, stat: Stat) -> None:
        """Give a file its key anew, since it has changed, or since there is something by now."""
        if pulled.keeps_key:
            return
        if self.settings.after_transfer == "keep":
            stat = pulled.named_for or stat  # what it is listed with is what the next run looks for
        claim = await self._keys.claim(pulled.file, stat)
        pulled.key, pulled.only_new, pulled.named_for = claim.key, claim.only_new, stat

    async def transfer(self, pulled: PulledFile) -> Outcome:
        """Move one file, or say why not."""
        try:
            beside = pulled.file.beside
            if not beside:
                return await self._transfer(pulled)
            if pulled.file.is_alone:
                return await self._beside[beside[0].argument].finish(beside[0], pulled)
            outcome = pulled.outcome = pulled.outcome or await self._transfer(pulled)
            if not outcome.left:
                for each in beside:
                    is_there = outcome.reason == UNCHANGED
                    await self._beside[each.argument].moved(each, pulled, is_there=is_there)
            return outcome
        except TargetTaken:
            if self.settings.on_conflict != "skip":
                raise
            return Outcome(pulled.label, "skipped", reason="name taken")

    async def _transfer(self, pulled: PulledFile) -> Outcome:
        started = time.monotonic()
        file = pulled.file
        stat = file.stat
        if not self._keys.are_claimed:
            pulled.key = paths.key_for(self.prefix, file.relative)
        keeps = self.settings.after_transfer == "keep"
        if not keeps and file.done == "other":
            raise FileError(f"{self.settings.done_dir!r} beside it is no directory, so it cannot be moved there")
        if reason := await self._reason_outside(file):
            return Outcome(pulled.label, "skipped", reason=reason)
        if keeps and None in stat:  # some listings leave it out: without it, S3 is never known to have the file
            with contextlib.suppress(ServerRefused):
                stat = stat.filled(await self.session.lstat(file.path))
        own = None
        if self._keys.are_claimed and pulled.uploaded is None:  # else it has its key
            try:
                claim = await self._claim(file, stat, keeps=keeps)
            except NotFound:
                return Outcome(pulled.label, "skipped", reason="gone")
            own, stat = claim.own, claim.stat
            pulled.key, pulled.only_new, pulled.named_for = claim.key, claim.only_new, stat
            for each in file.beside:
                self._beside[each.argument].claim(each, pulled)
            if own is not None and keeps:
                self._kept.note(claim.key, own)
        if keeps and (own is not None if self._keys.are_claimed else await self._kept.has(pulled.key, stat)):
            return Outcome(pulled.label, "skipped", reason=UNCHANGED)
        if self.settings.dry_run:
            size, changed = pulled.size, pulled.changed
            target = self.bucket.uri_of(pulled.key)
            return Outcome(pulled.label, "skipped", target, "dry run", size, changed=changed, left=True)
        if file.left and (own is not None or await self._done.is_stored(pulled.key, stat)):
            return await self._done.remove_left(pulled)
        await self._before_the_first_byte()
        if self._sums is not None and not file.left and not await self._read_sum(pulled):
            return Outcome(pulled.label, "skipped", reason="gone")
        if not keeps and not file.left:
            pulled.may_be_stored = await self._done.check(file)
        uploaded: Uploaded | None
        try:
            # The next run compares what it is listed with: some servers list mtimes in whole minutes.
            listed = stat.mtime if keeps else None
            uploaded = await self._fetcher.upload(pulled, file.path, stat, listed)
            pulled.only_new = False
        except NotFound:
            if pulled.uploaded is not None:
                uploaded = pulled.uploaded  # the connection was lost during the move, which has worked all the same
            elif pulled.opened:
                raise FileError("was open, and is not there any more; S3 has not got it") from None
            elif await self.session.sees(file.path):
                raise FileError(
                    "is there, and the server says 'no such file' when it is to be opened, as some do of a file that "
                    "is in use, or that we must not read"
                ) from None
            else:
                return Outcome(pulled.label, "skipped", reason="gone")
        if uploaded is not None and (uploaded.read.size or 0) > self.options.part_size and self._left_uploads:
            await self._left_uploads.abort(pulled.key)
        if uploaded is not None:
            for each in file.beside:
                await self._beside[each.argument].stored(each, pulled, uploaded)
        if uploaded is not None and keeps:
            await self._fetcher.look_after_close(file.path, uploaded)
            await self._kept.pulled(pulled.key)
        elif uploaded is not None:
            again, pulled.uploaded = pulled.uploaded is not None, uploaded
            if file.left:
                uploaded = await self._done.end_left(pulled, uploaded)
            else:
                uploaded = await self._done.move(pulled, uploaded, again=again)
            pulled.uploaded = None
        if uploaded is None:
            return Outcome(pulled.label, "skipped", reason="young", changed=pulled.changed, left=True)
        size, mtime, seconds = uploaded.read.size or 0, uploaded.read.mtime, time.monotonic() - started
        target = self.bucket.uri_of(pulled.key)
        return Outcome(
            pulled.label, "transferred", target, bytes=size, seconds=seconds, changed=mtime, stored=uploaded.stored
        )

    async def _read_sum(self, pulled: PulledFile) -> bool:
        """Read what the sum of a file must be; False: it is gone, and was not moved by us."""
        for each in pulled.file.beside:
            if each.argument == "checksum_file" and self._sums is not None:
                try:
                    await self._sums.read(each, pulled)
                except NotFound:
                    return pulled.uploaded is not None
        return True
