"""
Which key a pulled file goes to: by its name or by `rename_to`, and by what is there already (`on_conflict`).

An object that a try of the same pull has stored is known by the file's size and its `mtime` metadata. It is no other
one, and the file is stored over it once more; only where files stay in their place it counts as pulled.
"""

from __future__ import annotations

import posixpath
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import NamedTuple

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, NameRefused, TargetTaken
from airflow_provider_sftp_s3.engine.model import UNKNOWN, SourceFile, Stat
from airflow_provider_sftp_s3.engine.naming import Namesakes
from airflow_provider_sftp_s3.engine.rename import Renaming, beside
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, Version
from airflow_provider_sftp_s3.engine.s3.marks import Naming
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from airflow_provider_sftp_s3.engine.settings import PullSettings
from airflow_provider_sftp_s3.engine.triggers import Beside


class Claim(NamedTuple):
    """
    The key that a file has taken.

    :param stat: what the file is.
    :param own: what a try of the same pull has stored of this very file.
    :param only_new: nothing was there, and what comes there meanwhile is not to be replaced.
    """

    key: str
    stat: Stat
    own: Version | None = None
    only_new: bool = False


class Keys:
    """
    The keys of one run of a pull.

    :param prefix: of all of them, as :func:`paths.directory_prefix` gives it.
    """

    def __init__(self, settings: PullSettings, prefix: str, bucket: Bucket) -> None:
        self._prefix = prefix
        self._bucket = bucket
        self._on_conflict = settings.on_conflict
        self._renaming = Renaming(settings.rename_to) if settings.rename_to is not None else None
        self._kinds = Beside.of(settings)
        self._taken = Namesakes()
        self._by = " or ".join(
            name
            for name, is_set in (("rename_to", self._renaming), ("on_conflict", settings.on_conflict == "rename"))
            if is_set
        )
        self._has_looked = False
        since = settings.retried_since
        #: when the Dag run began, on a retry, as :attr:`Version.modified` has it
        self._since = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") if since else None
        keeps = settings.after_transfer == "keep"
        self._looks = settings.on_conflict != "replace" or self._since is not None or keeps

    @property
    def are_claimed(self) -> bool:
        """Whether a file has to :meth:`claim` its key: it is not the prefix and the name in any case."""
        return self._renaming is not None or self._on_conflict != "replace"

    def lacks(self, stat: Stat) -> bool:
        """Say whether something has to be known of a file that is not, to give it its key."""
        if stat.mtime is None and self._on_conflict != "replace":
            return True
        return self._renaming is not None and self._renaming.lacks(stat) is not None

    def name_of(self, relative: bytes, stat: Stat) -> bytes:
        """Return what a file is called beneath the prefix. :raises NameRefused: there is no such name."""
        return relative if self._renaming is None else self._renaming.of(relative, stat)

    def of(self, relative: bytes, stat: Stat) -> str:
        """
        Return the key of the file at `relative` beneath the pulled directory.

        :raises NameRefused: there is none.
        """
        if self._renaming is None:
            return paths.key_for(self._prefix, relative)
        if paths.is_state(paths.text(relative)):
            raise NameRefused("this provider uses names of that kind itself")
        return paths.key_for(self._prefix, self._renaming.of(relative, stat))

    def all_of(self, relative: bytes, stat: Stat) -> list[str]:
        """Return the keys under which S3 may have a file: its own one, and the one that it has where that was taken."""
        key = self.of(relative, stat)
        if self._on_conflict != "rename" or stat.mtime is None:
            return [key]
        return [key, self._beside(key, stat)]

    async def claim(
        self, file: SourceFile, stat: Stat, look_again: Callable[[], Awaitable[Stat]] | None = None
    ) -> Claim:
        """
        Look what is there, and take a key for a file. It may do so again, as after a lost connection.

        :param look_again: returns what the file is. Some servers list mtimes in whole minutes, by which a file is not
            known in S3.
        :raises TargetTaken: something else is there, and the file is not to be stored.
        :raises NameRefused: there is no such key, or another file of this run has it, or of an earlier try of it.
        :raises ConfigurationError: S3 does not let us look.
        """
        key = self.of(file.relative, stat)
        if self._kinds is not None and (kind := self._kinds.kind_of(posixpath.basename(key))):
            raise NameRefused(
                f"rename_to gives it the name of a {kind}, {paths.printable(key)!r}, for which it would be taken in "
                "S3: change rename_to, or exclude it"
            )
        version = await self._look(key) if self._looks else None
        if version is not None and not version.is_of(stat) and look_again is not None:
            stat = (await look_again()).filled(stat)
            if self.of(file.relative, stat) != key:
                return await self.claim(file, stat)
        if version is not None and not version.is_of(stat):
            if self._on_conflict == "replace":
                self._check_earlier_tries(key, version)
            elif self._on_conflict != "rename":
                what = "it stays where it is" if self._on_conflict == "skip" else "on_conflict='fail' leaves it alone"
                raise TargetTaken(f"{self._bucket.uri_of(paths.printable(key))} is there already: {what}")
            else:
                key = self._beside(first := key, stat)
                version = await self._look(key)
                if version is not None and not version.is_of(stat):
                    both = " and ".join(self._bucket.uri_of(paths.printable(each)) for each in (first, key))
                    raise TargetTaken(f"{both} are there already: move one of them away, or give it another name")
        self.take(key, file)
        own = version if version is not None and version.is_of(stat) else None
        return Claim(key, stat, own, self._on_conflict != "replace" and version is None)

    async def recovered(self, relative: bytes, naming: Naming) -> tuple[str, Version] | None:
        """
        Return the key to which an earlier try of this run has pulled a file that is gone, and what S3 has there.

        :param naming: of the destination that the file has come from.
        :return: None where no try has.
        :raises NameRefused: nobody knows its key.
        """
        if self._since is None:
            return None
        key = self.of(relative, UNKNOWN)
        version = await self._look(key)
        if version is None or version.modified < self._since or naming.reason_by_metadata(key, version) is None:
            return None
        return key, version

    def take(self, key: str, file: SourceFile) -> None:
        """Take a key for a file. :raises NameRefused: another file of this run has it."""
        if not self.are_claimed:
            return
        own = paths.text(file.relative)
        first = self._taken.of(key)
        if first is not None and first != own:
            other = paths.printable(first.encode("utf-8", "surrogateescape"))
            raise NameRefused(
                f"{self._by} gives it the key of {other!r}, which has it in this run: {paths.printable(key)!r}. Change "
                f"{self._by}, or exclude one of the two",
                for_good=False,
            )
        self._taken.note(key, own)

    def _beside(self, key: str, stat: Stat) -> str:
        key = beside(key, stat.mtime)
        return paths.key_for("", key.encode())

    async def _look(self, key: str) -> Version | None:
        try:
            version = await self._bucket.head(key)
        except S3Refused as refused:
            if refused.status != 403 or self._has_looked:
                raise
            raise ConfigurationError(
                f"S3 does not let us look whether there is an object: {refused}. on_conflict, and rename_to on a "
                "retry, need s3:GetObject, and s3:ListBucket, without which a name that is not there says 403"
            ) from None
        self._has_looked = True
        return version

    def _check_earlier_tries(self, key: str, version: Version) -> None:
        """Raise NameRefused where an earlier try of this run has pulled another file to the key."""
        if self._since is not None and version.modified >= self._since:
            raise NameRefused(
                f"rename_to gives it the key {paths.printable(key)!r}, to which an earlier try of this run has pulled "
                "another file, or an older version of this one: change rename_to, or exclude one of the two; the next "
                "run puts this one in its place",
                for_good=False,
            )
