"""
The done directory beside a pulled file: the file is moved there and stamped, or removed, and purged in the end.

A file's stamp is its mtime: the time of its move, by S3's clock. A file that is to be deleted has a name of its own in
there until it is removed, by which a later run knows what was to become of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import (
    ChangedWhileReading,
    ChecksumDiffers,
    ConnectionFailed,
    FileError,
    NameRefused,
    NotFound,
    ServerRefused,
    StorageError,
    TargetTaken,
)
from airflow_provider_sftp_s3.engine.fetch import LOOKS, Fetcher, PulledFile, Uploaded
from airflow_provider_sftp_s3.engine.keys import Keys
from airflow_provider_sftp_s3.engine.listing import Tree
from airflow_provider_sftp_s3.engine.model import Outcome, Report, SourceFile, Stat
from airflow_provider_sftp_s3.engine.movable import why_not_movable
from airflow_provider_sftp_s3.engine.observer import Notices
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from airflow_provider_sftp_s3.engine.settings import PullSettings
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.tasks import Once, cancel_all
from airflow_provider_sftp_s3.engine.temporary import TEMP_NAME, TRIED, TemporaryNames

#: Files of one name and one mtime that a done directory holds at most.
MAX_ASIDE = 100


class DoneDirectories:
    """
    The done directories of one run of a pull.

    :param keys: of the pulled files.
    """

    def __init__(
        self,
        settings: PullSettings,
        tree: Tree,
        keys: Keys,
        session: SftpSession,
        bucket: Bucket,
        fetcher: Fetcher,
        notices: Notices,
    ) -> None:
        self._settings = settings
        self._name = settings.done_dir.encode()
        self._tree = tree
        self._keys = keys
        self._session = session
        self._bucket = bucket
        self._fetcher = fetcher
        self._notices = notices
        self._made = Once()
        self._maybe_made: set[bytes] = set()
        self._checked = Once()
        self._cleaned = Once()
        self._spares = TemporaryNames(TEMP_NAME, owner=TRIED)
        #: those that files can be moved into, as far as is known, and why that cannot be done with others
        self._movable: set[bytes] = set()
        self._refusals: dict[bytes, ServerRefused] = {}
        #: whether a server is asked: some never answer, or hang up, where the answer would be no
        self._asks = True
        self._used: set[bytes] = set()
        self._trying = asyncio.Lock()
        #: whether an mtime that was set is there afterwards: None until the first file is purged
        self._mtimes_stick: bool | None = None

    async def check(self, file: SourceFile) -> Callable[[], Awaitable[None]] | None:
        """
        Make the done directory of a file, and find out whether it can be moved there, once for all files beside it.

        To be called while the file is not open: that may take a file of our own, and some servers let us open only one.
        OpenSSH's needs none: with it the file is read meanwhile, and what is returned is to be awaited before S3 gets
        it. With ``after_transfer="delete"`` a file can be removed without being moved, as :meth:`move` does then.

        :raises ServerRefused: the file cannot be moved there. So does what is returned.
        """
        beside = posixpath.dirname(file.path)
        directory = posixpath.join(beside, self._name)
        self._used.add(directory)
        if directory in self._movable:
            return None

        async def allow() -> None:
            await asyncio.shield(checking)
            self._refuse_if_known(directory)

        checking = self._checked.begin(directory, lambda: self._check(directory, beside, make=file.done == "absent"))
        if self._session.is_openssh:
            return allow
        await allow()
        return None

    def _refuse_if_known(self, directory: bytes) -> None:
        refused = self._refusals.get(directory)
        if refused is None:
            self._movable.add(directory)
        elif self._settings.after_transfer != "delete":
            raise ServerRefused(
                f"is not pulled, since it could not be moved into {self._settings.done_dir!r} then: {refused}; set "
                'after_transfer to "keep", or to "delete" where files may be removed'
            )

    async def _check(self, directory: bytes, beside: bytes, *, make: bool) -> None:
        made = asyncio.create_task(self._make(directory, wait=True)) if make else None
        refused: ServerRefused | None
        try:
            if made is not None and not self._session.is_openssh:
                await (
                    made
                )  # first: where the next request is answered by hanging up, nobody would know what became of it
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

    async def move(self, pulled: PulledFile, uploaded: Uploaded, *, again: bool) -> Uploaded | None:
        """
        Move a file that S3 has into its done directory, and stamp or remove it; return what was uploaded in the end.

        What turns up there may be another file, which replaced the one that was read in the last moment. It must not
        stay there without being in S3: it is uploaded from there. One that is young is still being written: it goes
        back to its place, and None is returned.

        :param again: it was to be moved before, and the connection was lost.
        :raises ChangedWhileReading: it changes meanwhile, or is never stated twice alike. It is back in its place.
        :raises FileError: what turned up there is not in S3, and is back in its place.
        """
        file = pulled.file
        directory = posixpath.join(posixpath.dirname(file.path), self._name)
        deletes = self._settings.after_transfer == "delete"
        if deletes and (directory in self._refusals or self._session.traits.rename_sets_mtime):
            return await self._remove_in_its_place(pulled, uploaded)
        name = posixpath.basename(file.path)
        if deletes:
            name = paths.deleting_name(name)  # so that a run which finds it there knows what was to become of it
        done = posixpath.join(directory, name)
        self._used.add(directory)
        moved, there = await self._rename_into(directory, file.path, done, make=file.done == "absent")
        if not moved:
            # Another run has moved it, or it was taken away. What is there may be older than what S3 has.
            return await self._end_moved(pulled, done, uploaded) if again else uploaded
        self._fetcher.was_there_after_close(file.path, uploaded)
        before: Stat | None = None
        try:
            for _ in range(LOOKS):
                if there is None:
                    there = await self._session.lstat(done)
                # Some servers never say the same of a file by its name as of the open file.
                if not there.differs(uploaded.seen) or there == before:
                    if before is None and there.mtime is not None:
                        self._session.traits.rename_sets_mtime = False
                    await self._settle(pulled, done)
                    return uploaded
                # A file of the same size is most likely the same one, on a server to whom a rename is a copy, as in
                # front of an object store. There it has no writer any more.
                same = there.size == uploaded.read.size and not self._session.is_openssh
                if same and before is None:
                    self._session.traits.rename_did_not_keep_mtime()
                if not same and self._fetcher.is_young(there):
                    break
                mtime = uploaded.read.mtime if same else None
                newer = await self._fetcher.upload(pulled, done, there, mtime)
                if newer is None:
                    break
                uploaded, before, there = newer, there, None
            else:
                raise ChangedWhileReading(f"changed {LOOKS} times in the done directory, now {before}")
        except NotFound:
            return uploaded  # removed or moved back by somebody else; S3 has it
        except (ChangedWhileReading, ChecksumDiffers, NameRefused, StorageError, TargetTaken):
            await self._move_back(done, file.path)
            raise
        await self._move_back(done, file.path)
        return None

    async def _end_moved(self, pulled: PulledFile, done: bytes, uploaded: Uploaded) -> Uploaded:
        """
        Stamp or remove a file that has gone from its place since we wanted to move it: by us, most likely.

        :raises FileError: another one is in the done directory. It may be newer than what S3 has, or older.
        """
        with contextlib.suppress(NotFound):
            there = await self._session.lstat(done)
            is_stamped = pulled.stamp is not None and there.mtime == pulled.stamp
            if there.differs(uploaded.seen._replace(mtime=pulled.stamp) if is_stamped else uploaded.seen):
                raise FileError(
                    f"is gone from its place, where it had {uploaded.seen}, and in the done directory is another one, "
                    f"with {there}: the connection was lost under the move, so look which of the two S3 should have"
                )
            await self._settle(pulled, done)
        return uploaded

    async def _remove_in_its_place(self, pulled: PulledFile, uploaded: Uploaded) -> Uploaded | None:
        """
        Remove a file that S3 has, if it is still the one that was read; return what was uploaded in the end.

        One that has replaced it meanwhile is uploaded first. It may be young: then it stays, and None is returned.

        :raises ChangedWhileReading: it changes meanwhile, or is never stated twice alike. It stays.
        :raises FileError: nothing would tell it from a newer one. It stays.
        """
        path = pulled.file.path
        before: Stat | None = None
        try:
            for _ in range(LOOKS):
                there = await self._session.lstat(path)
                self._fetcher.was_there_after_close(path, uploaded)
                if there.differs(uploaded.seen) and there != before:
                    if self._fetcher.is_young(there):
                        return None
                    newer = await self._fetcher.upload(pulled, path, there)
                    if newer is None:
                        return None
                    uploaded, before = newer, there
                elif there.mtime is None or uploaded.seen.mtime is None:
                    raise FileError(
                        "S3 has it, and it stays: the server does not say when it was changed, so a newer one could be "
                        'removed in its place; set after_transfer to "keep"'
                    )
                else:
                    await self._session.remove(path)
                    return uploaded
        except NotFound:
            return uploaded  # removed by somebody else; S3 has it
        raise ChangedWhileReading(f"changed {LOOKS} times before it could be removed, now {before}")

    async def is_stored(self, key: str, stat: Stat) -> bool:
        """Say whether S3 is known to have a file that was left in a done directory. Looking may not be allowed."""
        try:
            version = await self._bucket.head(key)
        except S3Refused as refused:
            if refused.status != 403:
                raise
            return False
        return version is not None and version.is_of(stat)

    async def end_left(self, pulled: PulledFile, uploaded: Uploaded) -> Uploaded:
        """Remove a file that S3 has from the done directory, in which an earlier run has left it to be deleted."""
        there = await self._session.lstat(pulled.file.path)
        if there.differs(uploaded.seen):
            raise ChangedWhileReading(f"changed while it was uploaded from the done directory, now {there}")
        await self.remove_left(pulled)
        return uploaded

    async def remove_left(self, pulled: PulledFile) -> Outcome:
        self._used.add(posixpath.dirname(pulled.file.path))
        with contextlib.suppress(NotFound):
            await self._session.remove(pulled.file.path)
        return Outcome(pulled.label, "skipped", reason="left by an earlier run, now deleted")

    async def _rename_into(self, directory: bytes, path: bytes, done: bytes, *, make: bool) -> tuple[bool, Stat | None]:
        """
        Rename `path` to `done`, and return what is there then, if it is there still.

        With it comes False where `path` is gone: moved by another run, or by us before a line was cut.
        """
        # Somebody may tidy up meanwhile, and each other shard that deletes does so once, at its end.
        others = self._tree.shard.count - 1
        wait = not self._session.is_openssh
        for left in range(others + 1, -1, -1):
            try:
                if make:
                    await self._make(directory, wait=wait)
            except ServerRefused:
                if not await self._session.exists(path):  # such as taken away when it was closed
                    return False, None
                if not others or not left:
                    raise
                continue  # it was there when we made it, and gone when we looked
            try:
                return True, await self._move(path, done)
            except NotFound:
                if not await self._session.exists(path):
                    return False, None
                if not left:
                    raise
            except ServerRefused:
                if not await self._session.exists(path):  # such as taken away when it was closed
                    return False, None
                if make and not wait:  # why it could not be made says more
                    await self._make(directory, wait=True)
                raise
            # It is the done directory that is gone, or was never made.
            self._made.again(directory)
            make = wait = True
        raise AssertionError("unreachable")

    async def _move(self, path: bytes, done: bytes) -> Stat | None:
        """Rename a file into its done directory, and return what is there then; None: it is gone already."""
        if self._settings.done_conflict == "replace" or self._settings.after_transfer == "delete":
            return await self._session.move(path, done)
        if self._settings.retried_since is not None:
            await self._clean_up(posixpath.dirname(done))
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
                f"{self._settings.done_dir!r}, which the server does not say"
            )
        for number in range(MAX_ASIDE):
            name = paths.aside_name(posixpath.basename(done), older.mtime, number)
            aside = posixpath.join(posixpath.dirname(done), name)
            if await self._session.take(done, aside, lambda: self._spares.path_for(done)):
                return
        raise FileError(f"S3 has it, and it stays: {paths.printable(done)!r} is there {MAX_ASIDE} times with one mtime")

    def was_moved(self, path: bytes) -> None:
        """Take note of a file that an earlier try has moved into its done directory."""
        self._used.add(posixpath.join(posixpath.dirname(path), self._name))

    async def clean_up(self) -> None:
        """On a retry, remove what earlier tries have tried RENAME on, in the done directories with nothing to move."""
        settings = self._settings
        renames = settings.done_conflict == "rename" and settings.after_transfer == "move"
        if settings.retried_since is None or settings.dry_run or not renames:
            return
        found = (posixpath.join(self._tree.root, relative) for relative in self._tree.done_directories)
        for directory in self._used.union(found):
            with contextlib.suppress(ConnectionFailed):
                await self._clean_up(directory)

    async def _clean_up(self, directory: bytes) -> None:
        """Do that in one of them, once. A run that loses its own looks before it moves."""
        await self._cleaned.done(directory, lambda: self._remove_spares(directory))

    async def _remove_spares(self, directory: bytes) -> None:
        with contextlib.suppress(ServerRefused):
            for entry in await self._session.list_directory(directory):
                if entry.kind == "file" and self._spares.is_own(entry.name) and entry.stat.size == 0:
                    await self._session.remove(posixpath.join(directory, entry.name))

    async def _move_back(self, done: bytes, path: bytes) -> None:
        """Move a file out of the done directory, unless a newer one has its place: the next run replaces it then."""
        if not await self._session.exists(path):
            await self._session.rename(done, path)

    def _may_stamp(self) -> bool:
        """Say whether it is certain what time it is."""
        clock = self._bucket.requests.clock
        if clock is not None and clock.is_right:
            return True
        why = "S3 does not say what time it is" if clock is None else f"this machine says that it is {clock}"
        self._notices.once("clock", f"done files are neither stamped nor purged: {why}")
        return False

    async def _settle(self, pulled: PulledFile, done: bytes) -> None:
        if self._settings.after_transfer == "delete":
            await self._session.remove(done)
            return
        if not self._may_stamp():
            return
        pulled.stamp = int(self._bucket.now())
        try:
            await self._session.set_mtime(done, pulled.stamp)
        except ServerRefused as refused:
            self._notices.once(
                "stamp", f"the server does not let us set the mtime of done files, so none is purged: {refused}"
            )

    async def _make(self, directory: bytes, *, wait: bool) -> None:
        """
        Make a done directory once, however many of its files are moved at the same time.

        :param wait: for the server's answer; else only until the request is on its way.
        """

        def make() -> Coroutine[Any, Any, None]:
            return self._make_unless_made(directory)

        if wait:
            await self._made.done(directory, make)
        else:
            self._made.begin(directory, make)
            await asyncio.sleep(0)  # what was begun before goes first

    async def _make_unless_made(self, directory: bytes) -> None:
        """Make a directory, unless an earlier attempt has, whose answer was lost with the connection."""
        if directory in self._maybe_made and await self._session.is_directory(directory):
            return
        try:
            await self._session.make_directory(directory)
        except ConnectionFailed:
            self._maybe_made.add(directory)
            raise

    async def remove_empty(self) -> None:
        """Remove the done directories in which nothing is left."""
        # Of those that another shard has made, too: it cannot remove what still holds a file of this one.
        for directory in self._used.union(self._tree.empty_done_directories):
            with contextlib.suppress(ServerRefused, ConnectionFailed):
                await self._session.remove_directory(directory)

    def may_purge(self, report: Report) -> bool:
        """Say whether the time of the last transfer can be trusted, and this run has shown that transfers work."""
        return self._may_stamp() and not (report.failed and not report.transferred)

    async def old_files(self, retention: float) -> AsyncGenerator[PulledFile | Outcome]:
        """Yield what was moved into the done directories more than `retention` seconds ago, by its mtime."""
        before = self._bucket.now() - retention
        for directory in self._tree.unsure_done_directories:
            reason = "not purged: the server does not say that it is a directory, it may be a link"
            yield Outcome(self._tree.label(directory), "skipped", reason=reason)
        for relative in self._tree.done_directories:
            directory = posixpath.join(self._tree.root, relative)
            try:
                entries = await self._session.list_directory(directory)
            except ServerRefused as refused:
                yield Outcome(self._tree.label(directory), "failed", reason=f"cannot be purged: {refused}")
                continue
            for entry in entries:
                original = posixpath.join(posixpath.dirname(relative), entry.name)
                # By where it came from, since another shard may be about to stamp a file that it has just moved.
                if not self._tree.shard.holds(original) or entry.kind != "file" or b"/" in entry.name:
                    continue
                path = posixpath.join(directory, entry.name)
                if paths.is_deleting(entry.name):
                    if self._settings.after_transfer != "delete":
                        reason = "left by a run with after_transfer='delete', which the next one of those ends"
                        yield Outcome(self._tree.label(path), "skipped", reason=reason)
                elif entry.stat.mtime is not None and entry.stat.mtime < before:
                    yield PulledFile(SourceFile(path, original, entry.stat, "directory"), self._tree.label(path))

    async def purge(self, old: PulledFile) -> Outcome:
        """Remove one done file, if its mtime is known to be the time of its transfer."""
        if self._settings.dry_run:
            return Outcome(old.label, "skipped", reason="dry run (purge)")
        try:
            return await self._purge_stamped(old)
        except NotFound:
            return Outcome(old.label, "skipped", reason="gone")

    async def _purge_stamped(self, old: PulledFile) -> Outcome:
        path, mtime = old.file.path, old.file.stat.mtime or 0
        is_stamped = True
        try:
            # Not stamped, it is what it was when it got its key.
            for key in self._keys.all_of(old.file.relative, old.file.stat):
                version = await self._bucket.head(key)
                is_stamped = is_stamped and (version is None or version.metadata.get("mtime") != str(mtime))
        except NameRefused:  # another setting has given it a name
            return Outcome(old.label, "skipped", reason="cannot be looked up in S3, not purged")
        except S3Refused as refused:
            if refused.status != 403:
                raise
            self._notices.once("purge", f"to purge done files, s3:GetObject and s3:ListBucket are needed: {refused}")
            return Outcome(old.label, "skipped", reason="cannot be looked up in S3, not purged")
        try:
            if not is_stamped or paths.is_aside(posixpath.basename(path), mtime):
                # It has the time of the file itself, which may be years old: a run ended before it was stamped.
                await self._session.set_mtime(path, int(self._bucket.now()))
                return Outcome(old.label, "skipped", reason="not stamped until now, not purged")
            if not await self._mtime_sticks(path, mtime):
                return Outcome(old.label, "skipped", reason="not stamped, not purged")
        except NotFound:
            raise
        except ServerRefused:
            return Outcome(old.label, "skipped", reason="not stamped, not purged")
        await self._session.remove(path)
        return Outcome(old.label, "purged")

    async def _mtime_sticks(self, path: bytes, mtime: int) -> bool:
        """
        Say whether the mtime of a done file can be set.

        The first file that is to be purged shows whether what is set is there afterwards: a server may say OK and do
        nothing, and the times of its done files say nothing of their transfer.
        """
        async with self._trying:
            if self._mtimes_stick is None:
                await self._session.set_mtime(path, mtime + 2)  # some file systems know every other second only
                self._mtimes_stick = (await self._session.lstat(path)).mtime not in (mtime, None)
                if not self._mtimes_stick:
                    self._notices.once(
                        "purge", "mtimes that are set do not stay on this server: done files are not purged"
                    )
        if self._mtimes_stick:
            await self._session.set_mtime(path, mtime)
        return self._mtimes_stick
