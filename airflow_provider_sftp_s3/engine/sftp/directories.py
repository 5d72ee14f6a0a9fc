"""The directories beneath a push's target: made where they are missing, cleaned where a retry finds its leavings."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import Callable, Coroutine
from typing import Any

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import (
    NotFound,
    ServerRefused,
)
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.tasks import forget


class TargetDirectories:
    """The directories beneath the target: made where they are missing, cleaned where a retry finds its leavings."""

    def __init__(self, session: SftpSession, root: bytes, owner: str) -> None:
        self._session = session
        self._owner = owner
        self._tasks: dict[tuple[str, bytes], asyncio.Task[None]] = {}
        self._root = root

    async def ensure(self, path: bytes) -> None:
        """Make `path` and what is missing above it, once for all the files in it."""
        if path != self._root:
            await self._once(self._ensure, path)

    async def clean_up(self, path: bytes) -> None:
        """Remove the temporary files in `path` that earlier tries of this task have left, once."""
        if self._owner:
            await self._once(self._clean_up, path)

    async def _once(self, work: Callable[[bytes], Coroutine[Any, Any, None]], path: bytes) -> None:
        which = work.__name__, path
        task = self._tasks.get(which)
        if task is None:
            task = asyncio.create_task(work(path))
            task.add_done_callback(forget)  # whoever waits may be gone
            self._tasks[which] = task
        try:
            await asyncio.shield(task)
        except Exception:
            # The next file, or the next attempt, begins anew.
            if self._tasks.get(which) is task:
                del self._tasks[which]
            raise

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
