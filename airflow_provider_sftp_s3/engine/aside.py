"""
An older done file of the same name, where it is not to be replaced (``done_conflict="rename"``): it gets another one.
"""

from __future__ import annotations

import contextlib
import posixpath

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import FileError, NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.fetch import LOOKS
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.tasks import Once
from airflow_provider_sftp_s3.engine.temporary import TEMP_NAME, TRIED, TemporaryNames

#: Files of one name and one mtime that a done directory holds at most.
MAX_ASIDE = 100


class OlderFiles:
    """
    The older files of the done directories of one run, each set aside when a newer one of its name comes.

    :param done_dir: name of the done directories, for the errors.
    :param is_retry: an earlier try of the task may have left empty files behind on which it has tried RENAME.
    """

    def __init__(self, session: SftpSession, done_dir: str, *, is_retry: bool) -> None:
        self._session = session
        self._done_dir = done_dir
        self._is_retry = is_retry
        self._spares = TemporaryNames(TEMP_NAME, owner=TRIED)
        self._cleaned = Once()

    async def move(self, path: bytes, done: bytes) -> Stat | None:
        """
        Rename a file to a name in its done directory, and return what is there then; None: it is gone already.

        :raises NotFound: the file, or the directory, is not there.
        :raises FileError: the older one cannot be set aside. Both stay.
        """
        if self._is_retry:
            await self.clean_up(posixpath.dirname(done))
        for _ in range(LOOKS):
            if await self._session.take(path, done, lambda: self._spares.path_for(done)):
                with contextlib.suppress(NotFound):
                    return await self._session.lstat(done)
                return None
            await self._set_aside(done)
        raise ServerRefused(f"{paths.printable(done)!r} is made again and again while it is set aside")

    async def _set_aside(self, done: bytes) -> None:
        """
        Give an older file of the done directory a name with its mtime, which no other one has.

        :raises FileError: there is none. It stays, and so does the newer one.
        """
        try:
            older = await self._session.lstat(done)
        except NotFound:
            return  # purged, or moved by another run
        if older.mtime is None:
            raise FileError(
                "S3 has it, and it stays: done_conflict='rename' makes a name of the mtime of the older one in "
                f"{self._done_dir!r}, which the server does not say"
            )
        for number in range(MAX_ASIDE):
            name = paths.aside_name(posixpath.basename(done), older.mtime, number)
            aside = posixpath.join(posixpath.dirname(done), name)
            if await self._session.take(done, aside, lambda: self._spares.path_for(done)):
                return
        raise FileError(f"S3 has it, and it stays: {paths.printable(done)!r} is there {MAX_ASIDE} times with one mtime")

    async def clean_up(self, directory: bytes) -> None:
        """
        Remove what earlier tries have left in a done directory, once.

        A run that loses its own looks before it moves.
        """
        await self._cleaned.done(directory, lambda: self._remove_spares(directory))

    async def _remove_spares(self, directory: bytes) -> None:
        with contextlib.suppress(ServerRefused):
            for entry in await self._session.list_directory(directory):
                if entry.kind == "file" and self._spares.is_own(entry.name) and entry.stat.size == 0:
                    await self._session.remove(posixpath.join(directory, entry.name))
