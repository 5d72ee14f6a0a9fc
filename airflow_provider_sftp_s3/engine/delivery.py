"""
How one object becomes a file at the target: whole, or not under its name.

By default it is written under a temporary name, looked at, and renamed. Without `temp_name` it is written straight to
its name, for servers that rename nothing or take a file as soon as it is closed: a reader may see half of it, and what
failed is removed.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TYPE_CHECKING, Protocol

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.attributes import FileAttributes
from airflow_provider_sftp_s3.engine.errors import FileError, NoRoom, NotFound, ServerRefused, SftpS3Error
from airflow_provider_sftp_s3.engine.options import MiB
from airflow_provider_sftp_s3.engine.s3.bucket import Version
from airflow_provider_sftp_s3.engine.settings import PushSettings
from airflow_provider_sftp_s3.engine.sftp.directories import TargetDirectories
from airflow_provider_sftp_s3.engine.sftp.file import RemoteFile
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.temporary import TemporaryNames

if TYPE_CHECKING:
    from hashlib import _Hash

#: Bytes of one file that are written in a session and not yet acknowledged.
WRITE_WINDOW = 8 * MiB

_FULL = "a full disk or a quota looks like that"
_TRUST = "where nothing can be looked at, set verify: none, and the server's word is taken for it"


class Source(Protocol):
    """What is to be in a file, such as an object that is downloaded."""

    version: Version

    def chunks(self) -> AsyncGenerator[bytes]:
        """Yield it, once."""


class Publish(Protocol):
    """Gives an object its name, once."""

    async def __call__(self, path: bytes, *, replaces: bool) -> bool:
        """
        Bring it to `path`, and return True.

        :param replaces: in place of what is there. Else False is returned where there is something.
        """


class Delivery:
    """
    Writes the files of one run of a push.

    :param root: the directory that is pushed to.
    :param moved: called with the number of bytes that the server has taken.
    """

    def __init__(self, settings: PushSettings, root: bytes, session: SftpSession, moved: Callable[[int], None]) -> None:
        self._session = session
        self._looks = settings.verify == "size"
        if not self._looks:
            session.traits.believe()
        self._moved = moved
        self._names = None
        if settings.temp_name is not None:
            self._names = TemporaryNames(settings.temp_name, root, settings.owner)
        self._attributes: FileAttributes | None = None
        if settings.file_mode is not None or settings.preserve_mtime:
            self._attributes = FileAttributes(settings, session)
        is_left = self._names.is_own if self._names and settings.clean_up else None
        self._directories = TargetDirectories(session, root, is_left)

    @property
    def is_straight(self) -> bool:
        """Whether files have no other name than their own."""
        return self._names is None

    def check(self, path: bytes) -> None:
        """Raise NameRefused where `path` is a name that unfinished files have."""
        if self._names:
            self._names.check(path)

    async def is_taken(self, path: bytes) -> bool:
        """Say whether something is seen at `path`. Where nothing can be looked at, the publication will tell."""
        try:
            return await self._session.exists(path)
        except ServerRefused:
            return False

    async def clean_up(self, path: bytes) -> None:
        """Remove what earlier tries of this task have left of files such as `path`, once for a directory."""
        if self._names:
            await self._directories.clean_up(self._names.directory_of(path))

    @contextlib.asynccontextmanager
    async def prepared(self, download: Source, path: bytes, running: _Hash | None = None) -> AsyncIterator[Publish]:
        """
        Give the block what brings an object to `path`, or to another one beside it. Not called, nothing comes there.

        A temporary file is whole when the block begins, and gone when it ends.

        :param running: is updated with what is written.
        :raises Overwritten: the version that is downloaded is no more.
        :raises NoRoom: the server fails to write, and may fail to write any file.
        :raises FileError: it is not there, or not whole; the message names the setting that may mend it.
        """
        try:
            await self._directories.ensure(directory := paths.directory_of(path))
            if self._names is None:
                yield functools.partial(self._write_straight, download, running)
                return
            if (other := self._names.directory_of(path)) != directory:
                await self._directories.ensure(other)
            names, temporary = self._names, self._names.path_for(path)
            is_named = False

            async def publish(path: bytes, *, replaces: bool) -> bool:
                nonlocal is_named
                is_named = await self._rename(names, temporary, path, replaces=replaces)
                if is_named and self._attributes is not None:
                    await self._attributes.look(path, download.version.stat.mtime)
                return is_named

            file = await self._created(temporary)
            try:
                await self._write(file, download, running)
                if self._attributes is not None:
                    await self._attributes.set(temporary, download.version.stat.mtime)
                yield publish
                if not is_named:
                    await self._session.remove(temporary)
            except BaseException:
                self._session.discard(temporary)
                raise
            finally:
                file.release()
        except NoRoom as refused:
            raise NoRoom(f"{paths.printable(path)!r} cannot be written: {refused}; {_FULL}") from None
        except ServerRefused as refused:
            doubt = self._directories.doubts.get(paths.directory_of(path))
            why = f"; its directory cannot be looked at, and not be made: {doubt}" if doubt else ""
            raise ServerRefused(f"{paths.printable(path)!r} cannot be written: {refused}{why}") from None

    async def _created(self, temporary: bytes) -> RemoteFile:
        try:
            return await self._session.create(temporary)
        except ServerRefused as refused:
            raise _advised(refused, "where the server refuses such names, choose others by temp_name") from None

    async def _rename(self, names: TemporaryNames, temporary: bytes, path: bytes, *, replaces: bool) -> bool:
        aside = functools.partial(names.aside_for, path)
        try:
            if not replaces:
                return await self._session.take(temporary, path, lambda: names.path_for(path), aside)
            await self._session.replace(temporary, path, aside)
            return True
        except NotFound as gone:
            advice = "where the server takes a file as soon as it is closed, set temp_name: none"
            raise _advised(gone, advice) from None
        except ServerRefused as refused:
            if refused.is_in_the_way:
                raise
            raise _advised(refused, "where the server renames nothing, set temp_name: none") from None

    async def _write_straight(self, download: Source, running: _Hash | None, path: bytes, *, replaces: bool) -> bool:
        if not replaces and await self._session.exists(path):
            return False
        async with self._removed_if_it_fails(path) as opened, self._session.overwriting(path) as file:
            opened()
            await self._write(file, download, running)
            if self._attributes is not None:
                await self._attributes.set(path, download.version.stat.mtime)
        return True

    @contextlib.asynccontextmanager
    async def _removed_if_it_fails(self, path: bytes) -> AsyncIterator[Callable[[], None]]:
        """Remove what is at `path` when the block fails, once it has called what it is given, and say so."""
        is_ours = False

        def opened() -> None:
            nonlocal is_ours
            is_ours = True

        try:
            yield opened
        except SftpS3Error as failed:
            if is_ours:
                # At once: the next try writes under the same name.
                failed.args = (f"{failed}; {await self._remove_half(path)}",)
            raise
        except BaseException:
            if is_ours:
                self._session.discard(path)
            raise

    async def _remove_half(self, path: bytes) -> str:
        """Remove what was written of a file, and return what became of it."""
        try:
            await self._session.remove(path)
        except NotFound:
            return "nothing of it is there"
        except SftpS3Error as refused:
            return f"what was written of it may be there under its name, and could not be removed: {refused}"
        return "what was written of it was removed"

    async def _write(self, file: RemoteFile, download: Source, running: _Hash | None) -> None:
        """Write an object into an open file, and make sure that all of it is there."""
        size = download.version.size
        async with contextlib.aclosing(download.chunks()) as chunks:
            try:
                written, stored = await file.write_all(
                    chunks if running is None else _summed(chunks, running),
                    size,
                    WRITE_WINDOW,
                    self._moved,
                    in_order=self.is_straight,
                    look=self._looks,
                )
            except ServerRefused as refused:
                if refused.is_generic or refused.is_full:
                    raise NoRoom(str(refused)) from None
                raise
        if self._looks and stored != size:  # a server may know the size of a file only once it is closed
            stored = await self._size_by_name(file.path)
        if written != size or (self._looks and stored != size):
            raise FileError(f"sizes differ: S3 has {size} bytes, {written} were read, the server has {stored}")

    async def _size_by_name(self, path: bytes) -> int:
        try:
            size = (await self._session.lstat(path)).size
        except ServerRefused as refused:
            raise FileError(f"was written, and cannot be looked at: {refused}; {_TRUST}") from None
        if size is None:
            raise FileError(f"was written, and the server does not say how large it is; {_TRUST}")
        return size


async def _summed(chunks: AsyncIterator[bytes], running: _Hash) -> AsyncIterator[bytes]:
    """Yield chunks, each once it is in the sum."""
    async for chunk in chunks:
        running.update(chunk)
        yield chunk


def _advised(refused: ServerRefused, advice: str) -> ServerRefused:
    """Return a refusal with what to do about it; "failure" alone may be a full disk, too."""
    full = f"; {_FULL}, too" if refused.is_generic or refused.is_full else ""
    return ServerRefused(f"{refused}; {advice}{full}")
