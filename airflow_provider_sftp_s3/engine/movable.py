"""
Whether files can be moved into their done directory: found out with no file of anybody else, before any is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, FileError, NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.settings import PullSettings
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.tasks import Once, cancel_all
from airflow_provider_sftp_s3.engine.temporary import TEMP_NAME, TemporaryNames


class Movable:
    """The done directories of one run that files are to be moved into: each is made once, and asked about once."""

    def __init__(self, settings: PullSettings, session: SftpSession) -> None:
        self._settings = settings
        self._session = session
        self._is_dated = settings.done.is_dated
        self._made = Once()
        self._maybe_made: set[bytes] = set()
        self._checked = Once()
        #: those that files can be moved into, as far as is known, and why that cannot be done with others
        self._known: set[bytes] = set()
        self._refusals: dict[bytes, ServerRefused] = {}
        #: whether a server is asked: some never answer, or hang up, where the answer would be no
        self._asks = True

    async def check(self, directory: bytes, beside: bytes, *, make: bool) -> Callable[[], Awaitable[None]] | None:
        """
        Find out whether the files of `beside` can be moved into `directory`, as DoneDirectories.check says.

        :param make: it is not there yet.
        """
        if directory in self._known:
            return None

        async def allow() -> None:
            await asyncio.shield(checking)
            self._refuse_if_known(directory)

        checking = self._checked.begin(directory, lambda: self._check(directory, beside, make=make))
        if self._session.is_openssh:
            return allow
        await allow()
        return None

    def is_refused(self, directory: bytes) -> bool:
        """Say whether the server is known to move no file there."""
        return directory in self._refusals

    def _refuse_if_known(self, directory: bytes) -> None:
        refused = self._refusals.get(directory)
        if refused is None:
            self._known.add(directory)
        elif self._settings.after_transfer != "delete":
            raise ServerRefused(
                f"is not pulled, since it could not be moved into {self._settings.done_dir!r} then: {refused}; set "
                'after_transfer to "keep", or to "delete" where files may be removed'
            )

    async def _check(self, directory: bytes, beside: bytes, *, make: bool) -> None:
        made = asyncio.create_task(self.make(directory, wait=True)) if make else None
        refused: ServerRefused | None
        try:
            if made is not None and not self._session.is_openssh:
                # First: where the next request is answered by hanging up, nobody would know what became of it.
                await made
            refused = await self._why_not_movable(beside, directory)
            if made is not None:
                await made
        except NotFound:
            refused = None  # the directory of the file is gone: the move will tell
        except ServerRefused as said:
            refused = said
        finally:
            cancel_all([made] if made is not None else [])
        if refused is not None:
            self._refusals[directory] = refused

    async def _why_not_movable(self, beside: bytes, directory: bytes) -> ServerRefused | None:
        """Return why no file beside a done directory can be moved there; None: nothing is known against it."""
        if not self._asks:
            return None
        try:
            return await why_not_movable(self._session, beside, directory)
        except ConnectionFailed:
            self._asks = False  # the others of the run are moved without having been asked about
            return None

    async def make(self, directory: bytes, *, wait: bool) -> None:
        """
        Make a done directory once, however many of its files are moved at the same time.

        :param wait: for the server's answer; else only until the request is on its way.
        """

        def make() -> Coroutine[Any, Any, None]:
            return self._make_for_the_day(directory) if self._is_dated else self._make_unless_made(directory)

        if wait:
            await self._made.done(directory, make)
        else:
            if not self._made.begin(directory, make).done():
                await asyncio.sleep(0)  # what was begun before goes first

    def make_again(self, directory: bytes) -> None:
        """Have a done directory made anew that is gone, or was never made, by the next :meth:`make`."""
        self._made.again(directory)

    async def _make_for_the_day(self, directory: bytes) -> None:
        """Make the directory of a day, and the done directory that it is in. :raises ServerRefused: it is none."""
        for each in (posixpath.dirname(directory), directory):
            # Some servers hang up where what is to be made is there, or what it is to be in is not.
            if not await self._session.is_directory(each):
                await self._make_unless_made(each)
        # A link would lead files elsewhere. Asked for by its name, some servers say what it leads to.
        done, day = posixpath.split(directory)
        with contextlib.suppress(ServerRefused):  # some list nothing: the move will tell
            for name, kind, _ in await self._session.list_directory(done):
                if name == day and kind not in ("directory", "unknown"):
                    said = paths.printable(directory)
                    raise FileError(f"{said!r} is no directory but a {kind}: nothing is moved there")

    async def _make_unless_made(self, directory: bytes) -> None:
        """Make a directory, unless an earlier attempt has, whose answer was lost with the connection."""
        if directory in self._maybe_made and await self._session.is_directory(directory):
            return
        try:
            await self._session.make_directory(directory)
        except ConnectionFailed:
            self._maybe_made.add(directory)
            raise


async def why_not_movable(session: SftpSession, directory: bytes, into: bytes) -> ServerRefused | None:
    """
    Return why no file of `directory` can be moved into the directory `into`; None where nothing is known against it.

    A name that does not exist is renamed: a server that would do it says that there is no such file. Some say "failure"
    for that, too, or OK, and then an empty file of our own is moved, and removed. Where none can be made, a refusal
    counts if the server knows the word for what is missing, and has not used it.
    """
    path = TemporaryNames(TEMP_NAME).aside_for(posixpath.join(directory, b"file"))
    moved = posixpath.join(into, posixpath.basename(path))
    try:
        await session.replace(path, moved)
    except NotFound:
        return None
    except ServerRefused as refused:
        return await _why_not_with_a_file(session, path, moved, refused)
    return await _why_not_with_a_file(session, path, moved, None)


async def _why_not_with_a_file(
    session: SftpSession, path: bytes, moved: bytes, refused: ServerRefused | None
) -> ServerRefused | None:
    is_made = False
    try:
        async with session.creating(path) as file:
            is_made = True
            await file.close()
            await session.replace(path, moved)
    except NotFound:
        return None  # taken away once it was closed, perhaps
    except ServerRefused as again:
        if is_made:
            if await session.sees(moved):  # some copy it, and leave the old one where it was
                session.discard(moved)
            return again
        if refused is None or refused.is_generic:
            return None
        return refused if await _knows_what_is_missing(session, path) else None
    with contextlib.suppress(ServerRefused):
        await session.remove(moved)
    return None


async def _knows_what_is_missing(session: SftpSession, path: bytes) -> bool:
    try:
        return not await session.exists(path)
    except ServerRefused:
        return False
