"""The directories beneath a push's target: made where they are missing, cleaned where a retry finds its leavings."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from airflow_provider_sftp_s3.engine.errors import NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.tasks import Once


class TargetDirectories:
    """
    The directories beneath the target: made where they are missing, cleaned where a retry finds its leavings.

    :param is_left: says by its name whether a file was left by an earlier try of this task; None: there was none.
    """

    def __init__(self, session: SftpSession, root: bytes, is_left: Callable[[bytes], bool] | None) -> None:
        self._session = session
        self._is_left = is_left
        self._made = Once()
        #: those that are known to be there, or may be
        self._there = {root, b"/"}
        self._cleaned = Once()
        #: why it is not certain that a directory is there
        self.doubts: dict[bytes, ServerRefused] = {}

    async def ensure(self, path: bytes) -> None:
        """
        Make `path` and what is missing above it, once for all the files in it.

        Where the server lets us neither look at a directory nor make it, it may be there all the same: that is one of
        the :attr:`doubts`, and to write a file into it will tell.

        :raises ServerRefused: it is not there, and cannot be made.
        """
        if path not in self._there:
            await self._made.done(path, lambda: self._ensure(path))
            self._there.add(path)

    async def clean_up(self, path: bytes) -> None:
        """Remove the files in `path` that earlier tries of this task have left, once."""
        if self._is_left is not None:
            await self._cleaned.done(path, lambda: self._clean_up(path))

    async def _ensure(self, path: bytes) -> None:
        is_seen = True
        try:
            if await self._session.is_directory(path):
                return
        except ServerRefused:
            is_seen = False
        await self.ensure(posixpath.dirname(path))
        try:
            await self._session.make_directory(path)
        except ServerRefused as refused:
            if is_seen:
                raise
            self.doubts[path] = refused

    async def _clean_up(self, path: bytes) -> None:
        try:
            entries = await self._session.list_directory(path)
        except ServerRefused:
            return  # not there yet, or not ours to read: then it has to be made, or the push itself fails
        for entry in entries:
            if entry.kind == "file" and self._is_left is not None and self._is_left(entry.name):
                try:
                    await self._session.remove(posixpath.join(path, entry.name))
                except NotFound:
                    pass
                except ServerRefused as refused:
                    self._session.notice(f"what an earlier try has left cannot be removed: {refused}")
                    return
