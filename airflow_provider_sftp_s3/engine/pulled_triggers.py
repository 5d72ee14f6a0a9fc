"""
The trigger of pulled files on its way: into S3 after the last of them, and away after the last of them.

A run that ends before a trigger is away leaves one with no file. The next one ends that, where S3 has a file that it
tells of, from this destination.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.awaited import is_older
from airflow_provider_sftp_s3.engine.done import DoneDirectories
from airflow_provider_sftp_s3.engine.errors import (
    ChangedWhileReading,
    CredentialsExpired,
    FileError,
    NameRefused,
    NotFound,
)
from airflow_provider_sftp_s3.engine.fetch import Fetcher, PulledFile, Uploaded
from airflow_provider_sftp_s3.engine.kept import KeptFiles
from airflow_provider_sftp_s3.engine.keys import Keys
from airflow_provider_sftp_s3.engine.listing import Tree
from airflow_provider_sftp_s3.engine.model import UNKNOWN, Outcome, SourceFile, Stat, Trigger, seconds_of
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.marks import Naming, names_in_metadata
from airflow_provider_sftp_s3.engine.settings import PullSettings
from airflow_provider_sftp_s3.engine.triggers import Beside, TriggerNames

#: Why a trigger stays that tells of no file.
NO_FILE = "trigger of no file"
#: Objects that are asked about at most, to find one that a trigger with no file tells of.
MAX_ASKED = 1_000


class PulledTriggers:
    """
    The triggers of one run of a pull.

    :param settle: counts an outcome, and tells of it.
    """

    #: what it is called in errors
    word = "trigger"
    no_file = NO_FILE

    def __init__(
        self,
        settings: PullSettings,
        prefix: str,
        names: TriggerNames,
        tree: Tree,
        bucket: Bucket,
        fetcher: Fetcher,
        done: DoneDirectories,
        kept: KeptFiles,
        keys: Keys,
        naming: Naming,
        settle: Callable[[Outcome], None],
    ) -> None:
        self._settings = settings
        self._prefix = prefix
        self._names = names
        self._beside = Beside.of(settings)
        self._bucket = bucket
        self._fetcher = fetcher
        self._done = done
        self._kept = kept
        self._keys = keys
        self._naming = naming
        self._settle = settle
        self._tree = tree
        self._keeps = settings.after_transfer == "keep"

    def claim(self, trigger: Trigger, pulled: PulledFile) -> None:
        """
        Take the trigger's key, before its file is opened.

        :raises NameRefused: another trigger of this run has it, since `rename_to` makes one directory of two.
        """
        try:
            self._keys.take(self.key_beside(trigger, pulled.key), trigger.file)
        except NameRefused as refused:
            raise NameRefused(f"its {self.word}: {refused}", for_good=refused.for_good) from None

    def check(self, trigger: Trigger, uploaded: Uploaded) -> None:
        """Raise ChangedWhileReading where a file that S3 has is another one than a trigger tells of."""
        if is_older(trigger.file.stat, uploaded.read):
            raise ChangedWhileReading(
                "S3 has it, and it stays: it has changed since its trigger was made, and waits for a newer one"
            )

    async def stored(self, trigger: Trigger, pulled: PulledFile, uploaded: Uploaded) -> None:
        """
        Take note that S3 has a file. After the last one that a trigger tells of, it gets the trigger.

        :raises FileError: it does not, or the file is newer than its trigger. The file must not be moved.
        """
        self.check(trigger, uploaded)
        async with trigger.lock:
            if not self._keeps and not trigger.unstored - {pulled.file.path}:
                try:
                    await self._store(trigger, self._pulled(trigger, pulled.key))
                except NotFound:
                    if await self._tree.session.exists(pulled.file.path):  # else another run has moved both
                        raise FileError(f"S3 has it, and it stays: its {self.word} was taken away meanwhile") from None
            trigger.unstored.discard(pulled.file.path)
            trigger.has_one = True

    async def _store(self, trigger: Trigger, own: PulledFile) -> None:
        """
        Bring a trigger into S3. Where files stay, it is told of.

        :param own: the trigger as a file, with its key.
        :raises NotFound: there is none any more.
        """
        if self._keeps and await self._kept.has(own.key, trigger.file.stat):
            return
        try:
            if not self._keeps:
                own.may_be_stored = await self._done.check(trigger.file)
            trigger.stored = await self._fetcher.upload(own, trigger.file.path, trigger.file.stat)
        except (NotFound, CredentialsExpired):
            raise
        except FileError as failed:
            raise FileError(
                f"S3 has it, and it stays: its {self.word} cannot be pulled: {own.label}: {failed}"
            ) from None
        if trigger.stored is None:
            raise FileError(f"S3 has it, and it stays: its {self.word} {own.label} has changed meanwhile")
        if self._keeps:
            await self._kept.pulled(own.key)
            self._settle(self._transferred(own, trigger.stored))

    async def moved(self, trigger: Trigger, pulled: PulledFile, *, is_there: bool) -> None:
        """
        Take note that a file is done with: away, kept, or taken by somebody. After the last one the trigger goes.

        :param is_there: S3 has had the file before.
        """
        async with trigger.lock:
            trigger.unstored.discard(pulled.file.path)
            trigger.unmoved.discard(pulled.file.path)
            trigger.has_one |= is_there
            if self._keeps and not trigger.unstored and trigger.has_one:
                with contextlib.suppress(NotFound):
                    await self._store(trigger, self._pulled(trigger, pulled.key))
            elif trigger.stored is not None and not trigger.unmoved:
                outcome = await self._move(trigger, self._pulled(trigger, pulled.key))
                trigger.stored = None
                self._settle(outcome)

    async def _move(self, trigger: Trigger, own: PulledFile) -> Outcome:
        again = trigger.moving is not None
        own = trigger.moving = trigger.moving or own
        try:
            uploaded = await self._done.move(own, trigger.stored, again=again)
        except FileError as failed:
            return Outcome(own.label, "failed", reason=str(failed), changed=own.changed, for_good=failed.for_good)
        if uploaded is None:
            return Outcome(own.label, "skipped", reason="young", changed=own.changed, left=True)
        return self._transferred(own, uploaded)

    async def finish(self, trigger: Trigger, pulled: PulledFile) -> Outcome:
        """Pull and move a trigger that tells of no file there, where S3 has one from this destination."""
        if self._keeps:
            return Outcome(pulled.label, "skipped", reason=self.no_file)
        if trigger.stored is None:
            there = await self._files_there(pulled.file)
            is_waited_for = any(self._is_wanted(relative, stat) for relative, stat in there)
            key = None if is_waited_for else await self._key_of_its_file(pulled.file)
            if key is None:
                left = is_waited_for or not there
                return Outcome(pulled.label, "skipped", reason=self.no_file, changed=pulled.changed, left=left)
            pulled.key = key
        own = PulledFile(trigger.file, pulled.label, self.key_beside(trigger, pulled.key), keeps_key=True)
        if self._settings.dry_run:
            target = self._bucket.uri_of(own.key)
            return Outcome(own.label, "skipped", target, "dry run", own.size, changed=own.changed, left=True)
        if trigger.stored is None:
            try:
                await self._store(trigger, own)
            except NotFound:
                return Outcome(own.label, "skipped", reason="gone")
        return await self._move(trigger, own)

    def _is_wanted(self, relative: str, stat: Stat) -> bool:
        return self._tree.globs.reason_to_skip(relative) is None and self._tree.bounds.reason_to_skip(*stat) is None

    async def _files_there(self, trigger: SourceFile) -> list[tuple[str, Stat]]:
        """
        Return the files that a trigger tells of, relative to the root, and what they are listed with.

        Some have come since; some are excluded, or outside the bounds.
        """
        directory, name = (paths.text(part) for part in posixpath.split(trigger.relative))
        entries = await self._tree.session.list_directory(posixpath.dirname(trigger.path))
        others = [(paths.text(entry.name), entry.stat) for entry in entries if entry.kind == "file"]
        return [
            (posixpath.join(directory, other), stat)
            for other, stat in others
            if not self._stands_beside(other) and self._names.tells_of(name, other)
        ]

    def _stands_beside(self, name: str) -> bool:
        return self._beside is not None and self._beside.kind_of(name) is not None

    async def _key_of_its_file(self, trigger: SourceFile) -> str | None:
        """
        Return the key of a file that a trigger tells of, pulled from this destination since the trigger was made.

        An older one is of another day, and the new one still to come.

        :return: None where S3 has none, or nobody knows what it is called there, or which one it is.
        """
        if trigger.stat.mtime is None:
            return None
        if self._settings.rename_to is not None:
            return await self._renamed_key_of_its_file(trigger, trigger.stat.mtime)
        directory, name = posixpath.split(paths.key_for(self._prefix, trigger.relative))
        before = posixpath.join(directory, self._names.beginning_of(name))
        asked = 0
        async with contextlib.aclosing(self._bucket.list(before)) as entries:
            async for entry in entries:
                beside, other = posixpath.split(entry.key)
                if beside != directory or self._stands_beside(other) or not self._names.tells_of(name, other):
                    continue
                asked += 1
                modified = seconds_of(entry.modified)
                if modified is None or modified < trigger.stat.mtime:
                    continue
                version = await self._bucket.head(entry.key)
                if version is not None and self._naming.token(entry.key) in names_in_metadata(version):
                    return entry.key
                if asked == MAX_ASKED:
                    break
        return None

    async def _renamed_key_of_its_file(self, trigger: SourceFile, made: int) -> str | None:
        """Do so where its file has another name in S3, which is known where the trigger tells the whole name of it."""
        directory, name = posixpath.split(trigger.relative)
        file = self._names.file_of(paths.text(name))
        if file is None:
            return None
        try:
            key = self._keys.of(posixpath.join(directory, file.encode("utf-8", "surrogateescape")), UNKNOWN)
        except NameRefused:
            return None  # such as made of its size
        version = await self._bucket.head(key)
        modified = None if version is None else seconds_of(version.modified)
        if version is None or modified is None or modified < made:
            return None
        return key if self._naming.token(key) in names_in_metadata(version) else None

    def key_beside(self, trigger: Trigger, key: str) -> str:
        """Return the key of a trigger, by that of a file that it tells of. :raises NameRefused: it is too long."""
        name = paths.text(posixpath.basename(trigger.file.path))
        return paths.key_for("", posixpath.join(posixpath.dirname(key), name).encode())

    def _pulled(self, trigger: Trigger, key: str) -> PulledFile:
        file = trigger.file
        label = self._tree.label(file.path)
        return PulledFile(file, label, self.key_beside(trigger, key), keeps_key=True, wanted=trigger.wanted)

    def _transferred(self, own: PulledFile, uploaded: Uploaded) -> Outcome:
        size, mtime = uploaded.read.size or 0, uploaded.read.mtime
        target, seconds = self._bucket.uri_of(own.key), 0.0
        return Outcome(
            own.label, "transferred", target, bytes=size, seconds=seconds, changed=mtime, stored=uploaded.stored
        )
