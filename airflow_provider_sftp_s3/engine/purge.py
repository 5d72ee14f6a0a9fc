"""
The purge: what was moved into the done directories more than `retention` ago is removed.

A file's stamp, its mtime, says when it was moved. In the directory of a day its name says so, wherever mtimes do not
stick: nothing that was moved on that day is younger than the day's end.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import AsyncGenerator

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.done import DoneDirectories
from airflow_provider_sftp_s3.engine.done_dir import DoneDir, end_of_day
from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, NameRefused, NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.fetch import PulledFile
from airflow_provider_sftp_s3.engine.keys import Keys
from airflow_provider_sftp_s3.engine.listing import Tree
from airflow_provider_sftp_s3.engine.model import Outcome, Report, SourceFile
from airflow_provider_sftp_s3.engine.observer import Notices
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from airflow_provider_sftp_s3.engine.settings import PullSettings
from airflow_provider_sftp_s3.engine.sftp.protocol import Entry
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession

_YOUNGER = "younger than it is listed, not purged"


class Purge:
    """
    The purge at the end of one run of a pull.

    :param keys: of the pulled files.
    """

    def __init__(
        self,
        settings: PullSettings,
        tree: Tree,
        keys: Keys,
        session: SftpSession,
        bucket: Bucket,
        done: DoneDirectories,
        notices: Notices,
    ) -> None:
        self._settings = settings
        self._is_dated = DoneDir.of(settings.done_dir).is_dated
        self._tree = tree
        self._keys = keys
        self._session = session
        self._bucket = bucket
        self._done = done
        self._notices = notices
        #: directories of days that are over, in which files are purged
        self._days: set[bytes] = set()
        self._trying = asyncio.Lock()
        self._purged_before = 0.0
        #: whether an mtime that was set is there afterwards: None until the first file is purged
        self._mtimes_stick: bool | None = None

    def is_allowed(self, report: Report) -> bool:
        """Say whether the time of the last transfer can be trusted, and this run has shown that transfers work."""
        return self._done.may_stamp() and not (report.failed and not report.transferred)

    async def old_files(self, retention: float) -> AsyncGenerator[PulledFile | Outcome]:
        """
        Yield what was moved into the done directories more than `retention` seconds ago, by its mtime.

        In the directory of a day that has been over for as long it is all but what has a younger mtime: that was moved
        after its day, as by a run that was tried again.
        """
        self._purged_before = before = self._bucket.now() - retention
        for directory in self._tree.unsure_done_directories:
            reason = "not purged: the server does not say that it is a directory, it may be a link"
            yield Outcome(self._tree.label(directory), "skipped", reason=reason)
        for relative in self._tree.done_directories:
            directory = posixpath.join(self._tree.root, relative)
            try:
                entries = await self._session.list_directory(directory)
            except NotFound:
                continue  # removed meanwhile, and nothing is left to purge
            except ServerRefused as refused:
                yield Outcome(self._tree.label(directory), "failed", reason=f"cannot be purged: {refused}")
                continue
            for entry in entries:
                if entry.kind != "file" and self._is_over(entry.name):
                    async for each in self._of_day(entry, relative):
                        yield each
                    continue
                original = posixpath.join(posixpath.dirname(relative), entry.name)
                # By where it came from, since another shard may be about to stamp a file that it has just moved.
                if not self._tree.shard.holds(original) or entry.kind != "file" or b"/" in entry.name:
                    continue
                path = posixpath.join(directory, entry.name)
                if paths.is_deleting(entry.name):
                    if self._settings.after_transfer != "delete":
                        reason = "left by a run with after_transfer='delete', which the next one of those ends"
                        yield Outcome(self._tree.label(path), "skipped", reason=reason)
                elif entry.stat.mtime is not None and entry.stat.mtime < before:
                    yield PulledFile(SourceFile(path, original, entry.stat, "directory"), self._tree.label(path))

    def _is_over(self, name: bytes) -> bool:
        """Say whether it is the name of a day, and all that was moved into its directory then is to be purged."""
        end = end_of_day(name) if self._is_dated else None
        return end is not None and end < self._purged_before

    async def _of_day(self, day: Entry, done: bytes) -> AsyncGenerator[PulledFile | Outcome]:
        """Yield what is to be purged in the directory of a day, which is over, in the done directory `done`."""
        relative = posixpath.join(done, day.name)
        directory = posixpath.join(self._tree.root, relative)
        if day.kind not in ("directory", "unknown"):
            return  # a link leads elsewhere
        try:
            if day.kind == "unknown" and (await self._session.attributes(directory)).kind() != "directory":
                reason = "not purged: the server does not say that it is a directory, it may be a link"
                yield Outcome(self._tree.label(directory), "skipped", reason=reason)
                return
            entries = await self._session.list_directory(directory)
        except NotFound:
            return
        except ServerRefused as refused:
            yield Outcome(self._tree.label(directory), "failed", reason=f"cannot be purged: {refused}")
            return
        self._days.add(directory)
        for entry in entries:
            original = posixpath.join(posixpath.dirname(done), entry.name)
            if not self._tree.shard.holds(original) or entry.kind != "file" or b"/" in entry.name:
                continue
            if entry.stat.mtime is None or entry.stat.mtime < self._purged_before:
                path = posixpath.join(directory, entry.name)
                yield PulledFile(SourceFile(path, original, entry.stat, "directory"), self._tree.label(path))

    async def remove_empty_days(self) -> None:
        """Remove the directories of days in which nothing is left after the purge."""
        for directory in () if self._settings.dry_run else self._days:
            with contextlib.suppress(ServerRefused, ConnectionFailed):
                if not await self._session.list_directory(directory):
                    await self._session.remove_directory(directory)

    async def purge(self, old: PulledFile) -> Outcome:
        """Remove one done file, if its directory or its mtime is known to tell the time of its transfer."""
        if self._settings.dry_run:
            return Outcome(old.label, "skipped", reason="dry run (purge)")
        try:
            if posixpath.dirname(old.file.path) in self._days:
                return await self._purge_of_day(old)
            return await self._purge_stamped(old)
        except NotFound:
            return Outcome(old.label, "skipped", reason="gone")

    async def _purge_of_day(self, old: PulledFile) -> Outcome:
        path = old.file.path
        if await self._is_younger(path):
            return Outcome(old.label, "skipped", reason=_YOUNGER)
        try:
            await self._session.remove(path)
        except NotFound:
            raise
        except ServerRefused as refused:
            return Outcome(old.label, "failed", reason=f"cannot be purged: {refused}")
        return Outcome(old.label, "purged")

    async def _purge_stamped(self, old: PulledFile) -> Outcome:
        path, mtime = old.file.path, old.file.stat.mtime or 0
        is_stamped = True
        try:
            # Not stamped, it is what it was when it got its key.
            for key in self._keys.all_of(old.file.relative, old.file.stat):
                version = await self._bucket.head(key)
                is_stamped = is_stamped and (version is None or version.metadata.get("mtime") != str(mtime))
        except NameRefused:  # another setting has given it a name
            return Outcome(old.label, "skipped", reason="cannot be looked up in S3, not purged")
        except S3Refused as refused:
            if refused.status != 403:
                raise
            self._notices.once("purge", f"to purge done files, s3:GetObject and s3:ListBucket are needed: {refused}")
            return Outcome(old.label, "skipped", reason="cannot be looked up in S3, not purged")
        try:
            if not is_stamped or paths.is_aside(posixpath.basename(path), mtime):
                # It has the time of the file itself, which may be years old: a run ended before it was stamped.
                await self._session.set_mtime(path, int(self._bucket.now()))
                return Outcome(old.label, "skipped", reason="not stamped until now, not purged")
            if await self._is_younger(path):
                return Outcome(old.label, "skipped", reason=_YOUNGER)
            if not await self._mtime_sticks(path, mtime):
                return Outcome(old.label, "skipped", reason="not stamped, not purged")
        except NotFound:
            raise
        except ServerRefused:
            return Outcome(old.label, "skipped", reason="not stamped, not purged")
        await self._session.remove(path)
        return Outcome(old.label, "purged")

    async def _is_younger(self, path: bytes) -> bool:
        """Say whether a file is too young to be purged. Some listings state other mtimes than their files have."""
        return not self._session.is_openssh and ((await self._done.look(path)).mtime or 0) >= self._purged_before

    async def _mtime_sticks(self, path: bytes, mtime: int) -> bool:
        """
        Say whether the mtime of a done file can be set.

        The first file that is to be purged shows whether what is set is there afterwards: a server may say OK and do
        nothing, and the times of its done files say nothing of their transfer.
        """
        async with self._trying:
            if self._mtimes_stick is None:
                await self._session.set_mtime(path, mtime + 2)  # some file systems know every other second only
                there = (await self._session.lstat(path)).mtime or 0
                self._mtimes_stick = mtime < there <= mtime + 3
                if not self._mtimes_stick:
                    self._notices.once(
                        "purge", "mtimes that are set do not stay on this server: done files are not purged"
                    )
        if self._mtimes_stick:
            await self._session.set_mtime(path, mtime)
        return self._mtimes_stick
