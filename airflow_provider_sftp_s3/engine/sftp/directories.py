"""The directories beneath a push's target: made where they are missing, cleaned where a retry finds its leavings."""

from __future__ import annotations

import contextlib
import posixpath

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.tasks import Once


class TargetDirectories:
    """The directories beneath the target: made where they are missing, cleaned where a retry finds its leavings."""

    def __init__(self, session: SftpSession, root: bytes, owner: str) -> None:
        self._session = session
        self._owner = owner
        self._root = root
        self._made = Once()
        self._cleaned = Once()

    async def ensure(self, path: bytes) -> None:
        """Make `path` and what is missing above it, once for all the files in it."""
        if path != self._root:
            await self._made.done(path, lambda: self._ensure(path))

    async def clean_up(self, path: bytes) -> None:
        """Remove the temporary files in `path` that earlier tries of this task have left, once."""
        if self._owner:
            await self._cleaned.done(path, lambda: self._clean_up(path))

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
