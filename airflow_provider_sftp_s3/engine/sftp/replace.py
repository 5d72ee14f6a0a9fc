"""A file takes the name of another one, which is never lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.sftp.protocol import Attributes, Unsupported
from airflow_provider_sftp_s3.engine.tasks import Once, cancel_all
from airflow_provider_sftp_s3.engine.temporary import TEMP_NAME, TemporaryNames

if TYPE_CHECKING:
    from airflow_provider_sftp_s3.engine.sftp.session import SftpSession

#: Seconds after which an mtime that is set anew is another one: it may be every other second.
TICK = 2.1


class Replacing:
    """Renames in one session. What the server lacks for it is asked for once."""

    def __init__(self, session: SftpSession) -> None:
        self._session = session
        self._tried = Once()

    async def move(self, old: bytes, new: bytes) -> Stat | None:
        """
        Rename `old` to `new` as :meth:`replace` does, and return what is there then; None: it is gone already.

        :raises NotFound: `old`, or the directory of `new`, is not there.
        """
        if self._session.is_openssh:
            sftp = await self._session.live()
            renamed, there = sftp.posix_rename(old, new), sftp.lstat(new)
            try:
                await renamed
                return await _stat_if_there(there)
            except ServerRefused as refused:
                raise await self.told_what_is_in_the_way(refused, new) from None
            finally:
                cancel_all((renamed, there))
        await self.replace(old, new)
        return await _stat_if_there(self._session.attributes(new))

    async def replace(self, old: bytes, new: bytes, aside: Callable[[], bytes] | None = None) -> None:
        """
        Rename `old` to `new`; a file of that name is replaced.

        Atomic with the posix-rename extension. Without it, a file in the way is moved aside first, and moved back
        when the rename fails all the same, so that it is never lost.

        :param aside: gives a new path to move it to; None: that is a hidden name beside it.
        :raises ServerRefused: also where the server has said OK, and was never seen to rename anything.
        """
        try:
            await self._replace(old, new, aside)
        except ServerRefused as refused:
            raise await self.told_what_is_in_the_way(refused, new) from None

    async def told_what_is_in_the_way(self, refused: ServerRefused, new: bytes) -> ServerRefused:
        """Return a refusal with what a file cannot take the place of, if there is something like that."""
        if isinstance(refused, NotFound):
            return refused
        kind = await self._kind_of(new)
        if kind in ("file", "unknown"):
            return refused
        what = f"a {kind}" if kind != "special" else "a special file"
        return ServerRefused(
            f"{what} is in the way, {paths.printable(new)!r}: rename or remove it, or exclude the file",
            is_in_the_way=True,
        )

    async def _kind_of(self, path: bytes) -> str:
        try:
            kind = (await self._session.attributes(path)).kind()
            if kind == "unknown" and await self._session.is_directory(path):
                return "directory"
        except ServerRefused:
            return "unknown"
        return kind

    async def _replace(self, old: bytes, new: bytes, aside: Callable[[], bytes] | None) -> None:
        traits, fails, undone = self._session.traits, None, None
        before = await self._before(old)
        if traits.has_posix_rename is not False:
            try:
                await (await self._session.live()).posix_rename(old, new)
                undone = await self._why_undone("posix-rename", old, new, before)
                if undone is None:
                    traits.has_posix_rename = True
                    return
                fails = undone
            except Unsupported:
                traits.has_posix_rename = False
            except NotFound:
                raise
            except ServerRefused as refused:
                if traits.has_posix_rename:
                    raise
                fails = refused  # it may be the extension, and not the file
        try:
            if not await self._renamed(old, new, final=fails is not None and fails.is_denied):
                if undone is not None and before is not None and (await self._session.lstat(new)).size == before.size:
                    raise undone  # it was copied, most likely
                # Not to be cancelled half-way, where the target is neither the old nor the new one.
                await asyncio.shield(self._session.later(self._replace_in_steps(old, new, aside)))
            if still := await self._why_undone("rename", old, new, before):
                raise still
        except NotFound:
            raise
        except ServerRefused as refused:
            raise fails or refused from None
        if fails is not None:
            traits.posix_rename_fails(str(fails))

    async def take(
        self, old: bytes, new: bytes, spare: Callable[[], bytes], aside: Callable[[], bytes] | None = None
    ) -> bool:
        """
        Rename `old` to `new` unless there is something; False: there is.

        By a plain RENAME, where that was seen to replace nothing. Else there is a look before :meth:`replace`, and what
        comes in between is replaced.

        :param spare: gives a new path for a file of our own, to see that on.
        :param aside: as for :meth:`replace`.
        """
        traits = self._session.traits
        if traits.rename_replaces is None:
            await self._tried.done(b"", lambda: self._try_to_replace(spare(), spare()))
        replaces = traits.rename_replaces is not False
        if replaces and await self._session.exists(new):
            return False
        try:
            if replaces:
                await self.replace(old, new, aside)
            else:
                await self._session.rename(old, new)
        except NotFound:
            raise
        except ServerRefused:
            if replaces or not await self._session.exists(new):
                raise
            if not await self._session.exists(old):  # some servers look at the target first
                raise NotFound(f"{paths.printable(old)!r} is not there") from None
            return False
        except ConnectionFailed:
            if await self._session.exists(old) or not await self._session.exists(new):
                raise
            # It has worked, and only its answer was lost.
        return True

    async def sets_mtime(self, path: bytes) -> bool:
        """
        Say whether a rename sets the mtime, as one does that is a copy.

        Where no file has shown it yet, an empty one of our own does, beside `path`, within some seconds.
        """
        traits, names = self._session.traits, TemporaryNames(TEMP_NAME)
        if traits.rename_sets_mtime is None:
            with contextlib.suppress(ServerRefused):
                await self._tried.done(b"mtime", lambda: self._try_mtime(names.aside_for(path), names.aside_for(path)))
        return traits.rename_sets_mtime is True

    async def _try_mtime(self, one: bytes, other: bytes) -> None:
        session = self._session
        try:
            async with session.creating(one) as file:
                await file.close()
                before = await session.lstat(one)
                await asyncio.sleep(TICK)
                await session.replace(one, other)
                session.traits.rename_sets_mtime = (await session.lstat(other)).differs(before)
        finally:
            session.discard(other)

    async def _try_to_replace(self, one: bytes, other: bytes) -> None:
        """Find out on two empty files of our own whether RENAME replaces what is there."""
        made: list[bytes] = []
        replaces = True
        try:
            for path in (one, other):
                async with self._session.creating(path) as file:
                    await file.close()
                    made.append(path)
            await self._session.rename(one, other)
            made.remove(one)
        except ServerRefused:
            replaces = len(made) < 2 or not await self._are_there(made)
        finally:
            for path in made:
                self._session.discard(path)
        self._session.traits.learn_rename(replaces=replaces)

    async def _are_there(self, files: Sequence[bytes]) -> bool:
        try:
            return all([await self._session.exists(path) for path in files])
        except ServerRefused:
            return False

    async def _renamed(self, old: bytes, new: bytes, *, final: bool) -> bool:
        """
        Rename `old` to `new`, and return whether that worked; False: there is a file of that name.

        :param final: posix-rename was denied. If RENAME is denied too, it is the name that nobody may give to a file:
            one that is moved aside could not be moved back.
        :raises ServerRefused: that is not the reason.
        """
        try:
            await self._session.rename(old, new)
            return True
        except NotFound:
            raise
        except ServerRefused as refused:
            if final and refused.is_denied:
                raise
            if await self._session.sees(new) is not True or await self._kind_of(new) not in ("file", "unknown"):
                raise refused from None
            return False

    async def _before(self, old: bytes) -> Stat | None:
        """Return what is to be renamed, where the server was not seen to rename anything yet."""
        traits = self._session.traits
        how = "rename" if traits.has_posix_rename is False else "posix-rename"
        if self._session.is_openssh or how in traits.are_done:
            return None
        with contextlib.suppress(ServerRefused):
            return await self._session.lstat(old)
        return None

    async def _why_undone(self, how: str, old: bytes, new: bytes, before: Stat | None) -> ServerRefused | None:
        """
        Return what to say of a rename that was answered with OK and is not done; None: nothing is known against it.

        :param how: "rename" or "posix-rename": of the two one may lie.
        :param before: what was to be renamed.
        """
        session = self._session
        if session.is_openssh or how in session.traits.are_done:
            return None
        try:
            after = await session.lstat(old)
        except NotFound:
            if await session.sees(new):
                session.traits.are_done.add(how)
            return None
        except ServerRefused:
            return None  # its word has to do
        if before is not None and after.differs(before):
            return None  # a newer one has come meanwhile
        return ServerRefused(f"{paths.printable(old)!r} is still there, though the server says that it was renamed")

    async def _replace_in_steps(self, old: bytes, new: bytes, spare: Callable[[], bytes] | None) -> None:
        # Nobody's name: what a retry cleans up must not be the only copy of a file.
        aside = spare() if spare else TemporaryNames(TEMP_NAME).aside_for(new)
        try:
            await self._session.rename(new, aside)
        except ConnectionFailed:
            if not await self._session.exists(aside):  # else it has worked, and only its answer was lost
                raise
        try:
            await self._session.rename(old, new)
        except (ConnectionFailed, ServerRefused):
            if not await self._session.exists(new):
                await self._move_back(aside, new)
                raise
            if await self._session.exists(old):  # somebody else has put a newer one there
                await self._session.remove(aside)
                raise
        await self._session.remove(aside)

    async def _move_back(self, aside: bytes, new: bytes) -> None:
        try:
            await self._session.rename(aside, new)
        except ServerRefused as refused:
            raise ServerRefused(
                f"{refused}; the older file is called {paths.printable(aside)!r} now, and has to be renamed by hand"
            ) from None


async def _stat_if_there(asked: Awaitable[Attributes]) -> Stat | None:
    try:
        return (await asked).stat
    except NotFound:
        return None
    except ServerRefused:
        return Stat()  # some let us move files, and look at none
