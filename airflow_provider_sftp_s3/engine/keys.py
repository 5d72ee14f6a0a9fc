"""Which key a pulled file goes to: by its name, or by `rename_to`."""

from __future__ import annotations

from datetime import UTC

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import NameRefused
from airflow_provider_sftp_s3.engine.model import SourceFile, Stat
from airflow_provider_sftp_s3.engine.naming import Namesakes
from airflow_provider_sftp_s3.engine.rename import Renaming
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.settings import PullSettings


class Keys:
    """
    The keys of one run of a pull.

    :param prefix: of all of them, as :func:`paths.directory_prefix` gives it.
    """

    def __init__(self, settings: PullSettings, prefix: str, bucket: Bucket) -> None:
        self._prefix = prefix
        self._bucket = bucket
        self._renaming = Renaming(settings.rename_to) if settings.rename_to is not None else None
        self._taken = Namesakes()
        since = settings.retried_since
        #: when the Dag run began, on a retry, as :attr:`Version.modified` has it
        self._since = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") if since else None

    @property
    def are_given(self) -> bool:
        """Whether a key is more than the prefix and the name."""
        return self._renaming is not None

    def lacks(self, stat: Stat) -> bool:
        """Say whether something has to be known of a file that is not, to give it its key."""
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

    def take(self, key: str, file: SourceFile) -> None:
        """
        Take the key for a file, where several files may come to one. It may do so again, as after a lost connection.

        :raises NameRefused: another file of this run has it.
        """
        if self._renaming is None:
            return
        own = paths.text(file.relative)
        first = self._taken.of(key)
        if first is not None and first != own:
            other = paths.printable(first.encode("utf-8", "surrogateescape"))
            raise NameRefused(
                f"rename_to gives it the key of {other!r}, which has it in this run: {paths.printable(key)!r}. Change "
                "rename_to, or exclude one of the two"
            )
        self._taken.note(key, own)

    async def check_earlier_tries(self, key: str, stat: Stat) -> None:
        """
        Make sure, on a retry, that no earlier try of this run has pulled another file to the key.

        :raises NameRefused: one has.
        """
        if self._renaming is None or self._since is None:
            return
        version = await self._bucket.head(key)
        if version is not None and version.modified >= self._since and not version.is_of(stat):
            raise NameRefused(
                f"rename_to gives it the key {paths.printable(key)!r}, to which an earlier try of this run has pulled "
                "another file, or an older version of this one: change rename_to, or exclude one of the two; the next "
                "run puts this one in its place"
            )
