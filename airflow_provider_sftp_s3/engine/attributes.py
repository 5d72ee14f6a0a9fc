"""
Mode and mtime of pushed files: `file_mode`, `preserve_mtime`.

They are set on a file before it has its name. A mode says who may read it, and so one that cannot be set, or does not
stay, fails the file; an mtime tells, and so one that cannot be set is told once, and the file is delivered.
"""

from __future__ import annotations

from airflow_provider_sftp_s3.engine.errors import FileError, NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.settings import PushSettings
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession

_ADVICE = "leave file_mode out where the server gives files their modes by itself"


class FileAttributes:
    """Sets them, for one run of a push. The first file shows whether what is set stays."""

    def __init__(self, settings: PushSettings, session: SftpSession) -> None:
        self._session = session
        self._mode = settings.file_mode
        self._keeps_mtime = settings.preserve_mtime
        #: what the server was seen to keep
        self._mode_stays = self._mode is None
        self._mtime_stays = not settings.preserve_mtime

    async def set(self, path: bytes, mtime: int | None) -> None:
        """
        Give a file that is written its mode and its mtime.

        :param mtime: seconds since 1970; None: nobody says.
        :raises FileError: it does not get its mode.
        """
        mtime = mtime if self._keeps_mtime else None
        if self._mode is None and mtime is None:
            return
        try:
            await self._session.set_attributes(path, mode=self._mode, mtime=mtime)
        except NotFound:
            raise
        except ServerRefused as refused:
            if self._mode is not None:
                await self._set_mode(path, self._mode, refused, alone=mtime is None)
            if mtime is not None:
                self._give_up(f"refuses to set the mtime of pushed files ({refused})")
        if not self._mode_stays:
            await self._look_at_mode(path)

    async def look(self, path: bytes, mtime: int | None) -> None:
        """Find out once whether an mtime that was set is there when a file has its name."""
        if self._mtime_stays or mtime is None or not self._keeps_mtime:
            return
        try:
            there = (await self._session.attributes(path)).mtime
        except ServerRefused:
            there = None  # it may be taken away at once, or nobody may look
        if there not in (mtime, None):
            self._give_up("does not keep the mtimes that are set")
        self._mtime_stays = True

    async def _set_mode(self, path: bytes, mode: int, refused: ServerRefused, *, alone: bool) -> None:
        try:
            if alone:
                raise refused
            await self._session.set_attributes(path, mode=mode)
        except NotFound:
            raise
        except ServerRefused as again:
            raise FileError(f"the server does not let us set its mode, {mode:04o}: {again}; {_ADVICE}") from None

    async def _look_at_mode(self, path: bytes) -> None:
        try:
            mode = (await self._session.attributes(path)).mode
        except ServerRefused:
            mode = None  # nobody may look
        if mode is not None and mode & 0o777 != self._mode:
            raise FileError(
                f"the server says OK to its mode, {self._mode:04o}, and then has {mode & 0o777:04o}; {_ADVICE}"
            )
        self._mode_stays = True

    def _give_up(self, what: str) -> None:
        if self._keeps_mtime:
            self._keeps_mtime = False
            self._session.notice(f"the server {what}: they have the time of their delivery, or another one of its own")
