"""
The triggers of a push: empty files that tell the partner of files which are whole.

A trigger that is there is taken away before the first file that it tells of gets its name, and a new one is made when
the last of them has its own. The mark of that last one comes after: so whoever is killed before leaves an object
unmarked, and the next run makes the trigger.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import AsyncGenerator, Callable
from typing import Protocol, TypeVar

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import FileError, NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.model import Outcome
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.triggers import TriggerNames


class Trigger:
    """
    One trigger file, and the objects of the run that it tells of.

    :param path: where it is at the partner.
    """

    def __init__(self, path: bytes) -> None:
        self.path = path
        #: keys that are to be delivered, and are not yet
        self.unfinished: set[str] = set()
        #: the run has delivered one of them
        self.is_due = False
        self.lock = asyncio.Lock()


class Announced(Protocol):
    """An object to push."""

    trigger: Trigger | None

    @property
    def key(self) -> str:
        """Its key."""


T = TypeVar("T", bound=Announced)


class Triggers:
    """
    The triggers of one run of a push.

    :param directory_of: returns where the object of a key comes to. It raises FileError where that is nowhere.
    :param looks: whether the server has to show that an old one is gone. Else its refusal to show is enough.
    """

    def __init__(
        self, session: SftpSession, names: TriggerNames, directory_of: Callable[[str], bytes], *, looks: bool
    ) -> None:
        self._session = session
        self._names = names
        self._directory_of = directory_of
        self._looks = looks

    def path_of(self, key: str) -> bytes:
        """Return where the trigger of a key is, which is called by the key's own name. :raises FileError: nowhere."""
        return posixpath.join(self._directory_of(key), self._names.of(posixpath.basename(key)).encode())

    async def gathered(self, found: AsyncGenerator[T | Outcome]) -> AsyncGenerator[T | Outcome]:
        """Yield what is decided as it comes; then all objects, once it is known which of them share a trigger."""
        objects: list[T] = []
        triggers: dict[bytes, Trigger] = {}
        async with contextlib.aclosing(found):
            async for item in found:
                if isinstance(item, Outcome):
                    yield item
                    continue
                objects.append(item)
                with contextlib.suppress(FileError):  # the transfer is where this is seen
                    path = self.path_of(item.key)
                    item.trigger = triggers.setdefault(path, Trigger(path))
                    item.trigger.unfinished.add(item.key)
        for each in objects:
            yield each

    async def withdraw(self, trigger: Trigger, key: str) -> None:
        """
        Take an old trigger away, since an object is about to get its name.

        :raises FileError: it is there, or may be.
        """
        async with trigger.lock:
            trigger.unfinished.add(key)
            await take_away(self._session, trigger.path, "trigger_file", looks=self._looks)

    async def delivered(self, trigger: Trigger, key: str) -> None:
        """Take note that an object has its name. After the last one the trigger is made."""
        async with trigger.lock:
            trigger.is_due = True
            await self._settled(trigger, key)

    async def left_out(self, trigger: Trigger, key: str) -> None:
        """Take note that an object is none of this run: it is synced, say, or gone."""
        if key in trigger.unfinished:
            async with trigger.lock:
                await self._settled(trigger, key)

    async def _settled(self, trigger: Trigger, key: str) -> None:
        if not trigger.unfinished - {key} and trigger.is_due:
            try:
                async with self._session.overwriting(trigger.path) as file:
                    await file.close()
            except ServerRefused as refused:
                raise FileError(
                    f"it is there, and its trigger {paths.printable(trigger.path)!r} cannot be made: {refused}"
                ) from None
        trigger.unfinished.discard(key)


async def take_away(session: SftpSession, path: bytes, argument: str, *, looks: bool) -> None:
    """
    Remove an old trigger or checksum file, if it is there: new data is about to come.

    :param argument: what has it made.
    :param looks: whether the server has to show that it is gone. Else its refusal to show is enough.
    :raises FileError: it is there, or may be.
    """
    try:
        # Some servers never answer a removal of nothing.
        if await session.exists(path):
            await session.remove(path)
    except NotFound:
        pass
    except ServerRefused as refused:
        if looks:
            raise FileError(
                f"an old one {paths.printable(path)!r} may be there, and must be away before new data comes: "
                f"{refused}. Let us look and remove there, or leave {argument} out"
            ) from None
