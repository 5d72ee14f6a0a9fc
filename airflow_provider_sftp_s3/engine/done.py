"""
The done directory beside a pulled file: the file is moved there and stamped, or removed.

A file's stamp is its mtime: the time of its move, by S3's clock. A file that is to be deleted has a name of its own in
there until it is removed, by which a later run knows what was to become of it.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.aside import OlderFiles
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
from airflow_provider_sftp_s3.engine.listing import Tree
from airflow_provider_sftp_s3.engine.model import Outcome, SourceFile, Stat
from airflow_provider_sftp_s3.engine.movable import Movable
from airflow_provider_sftp_s3.engine.observer import Notices
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from airflow_provider_sftp_s3.engine.settings import PullSettings
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession


class DoneDirectories:
    """
    The done directories of one run of a pull.

    :param keys: of the pulled files.
    """

    def __init__(
        self,
        settings: PullSettings,
        tree: Tree,
        session: SftpSession,
        bucket: Bucket,
        fetcher: Fetcher,
        notices: Notices,
    ) -> None:
        self._settings = settings
        self._done_dir = settings.done
        #: where a file goes, from where it is
        self._way = self._done_dir.name
        self._tree = tree
        self._session = session
        self._bucket = bucket
        self._fetcher = fetcher
        self._notices = notices
        self._movable = Movable(settings, session)
        self._used: set[bytes] = set()
        #: what makes room for a file whose name is taken in there, where that is not just replaced
        self._older: OlderFiles | None = None
        if settings.done_conflict == "rename" and settings.after_transfer == "move":
            is_retry = settings.retried_since is not None
            self._older = OlderFiles(session, settings.done_dir, is_retry=is_retry)

    async def begin(self) -> None:
        """Find out what day it is, where that is the name of a directory."""
        if not self._done_dir.is_dated:
            return
        day = self._settings.task_try.date if self._settings.task_try else None
        if day is None:
            with contextlib.suppress(StorageError):  # any answer tells S3's time
                await self._bucket.head(f"{paths.STATE}/today")
            day = f"{datetime.fromtimestamp(self._bucket.now(), UTC):%Y-%m-%d}"
        self._way = self._done_dir.on(day)

    async def check(self, file: SourceFile) -> Callable[[], Awaitable[None]] | None:
        """
        Make the done directory of a file, and find out whether it can be moved there, once for all files beside it.

        To be called while the file is not open: that may take a file of our own, and some servers let us open only one.
        OpenSSH's needs none: with it the file is read meanwhile, and what is returned is to be awaited before S3 gets
        it. With ``after_transfer="delete"`` a file can be removed without being moved, as :meth:`move` does then.

        :raises ServerRefused: the file cannot be moved there. So does what is returned.
        """
        directory = self._directory_of(file.path)
        self._used.add(directory)
        return await self._movable.check(directory, paths.directory_of(file.path), make=self._is_to_be_made(file))

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
        directory = self._directory_of(file.path)
        deletes = self._settings.after_transfer == "delete"
        if deletes and (self._movable.is_refused(directory) or self._session.traits.rename_sets_mtime):
            return await self._remove_in_its_place(pulled, uploaded)
        name = posixpath.basename(file.path)
        if deletes:
            name = paths.deleting_name(name)  # so that a run which finds it there knows what was to become of it
        done = directory + b"/" + name
        self._used.add(directory)
        moved, there = await self._rename_into(directory, file.path, done, make=self._is_to_be_made(file))
        if not moved:
            # Another run has moved it, or it was taken away. What is there may be older than what S3 has.
            return await self._end_moved(pulled, done, uploaded) if again else uploaded
        self._fetcher.was_there_after_close(file.path, uploaded)
        before: Stat | None = None
        try:
            for _ in range(LOOKS):
                if there is None:
                    there = await self.look(done)
                if deletes and there.mtime is None:  # a newer one must not be removed unseen
                    there = there.filled(await self._as_listed(done))
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

    def _directory_of(self, path: bytes) -> bytes:
        """Return the done directory of the file at `path`."""
        return path[: path.rfind(b"/") + 1] + self._way

    def _is_to_be_made(self, file: SourceFile) -> bool:
        # Whether that of the day is there, no listing has shown.
        return file.done == "absent" or self._done_dir.is_dated

    async def look(self, path: bytes) -> Stat:
        """Return what the server says of a file. :raises NotFound: there is none."""
        try:
            return await self._session.lstat(path)
        except NotFound:
            raise
        except ServerRefused:
            return Stat()  # some let us move files, and look at none

    async def _as_listed(self, path: bytes) -> Stat:
        """Return what a listing says of a file, where nothing else does."""
        directory, name = posixpath.split(path)
        with contextlib.suppress(ServerRefused):
            for entry in await self._session.list_directory(directory):
                if entry.name == name:
                    return entry.stat
        return Stat()

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
                elif not (there.mtime and uploaded.seen.mtime):
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
                    await self._movable.make(directory, wait=wait)
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
                    raise ServerRefused(
                        f"S3 has it, and it stays: {paths.printable(directory)!r} is not there, though the server says "
                        "that it was made"
                    ) from None
            except ServerRefused:
                if not await self._session.exists(path):  # such as taken away when it was closed
                    return False, None
                if make and not wait:  # why it could not be made says more
                    await self._movable.make(directory, wait=True)
                raise
            # It is the done directory that is gone, or was never made.
            self._movable.make_again(directory)
            make = wait = True
        raise AssertionError("unreachable")

    async def _move(self, path: bytes, done: bytes) -> Stat | None:
        """Rename a file into its done directory, and return what is there then; None: it is gone already."""
        if self._older is None:
            return await self._session.move(path, done)
        return await self._older.move(path, done)

    def was_moved(self, path: bytes) -> None:
        """Take note of a file that an earlier try has moved into its done directory."""
        self._used.add(self._directory_of(path))

    async def clean_up(self) -> None:
        """On a retry, remove what earlier tries have tried RENAME on, in the done directories with nothing to move."""
        if self._older is None or self._settings.retried_since is None or self._settings.dry_run:
            return
        ways = (posixpath.join(posixpath.dirname(relative), self._way) for relative in self._tree.done_directories)
        found = (posixpath.join(self._tree.root, way) for way in ways)
        for directory in self._used.union(found):
            with contextlib.suppress(ConnectionFailed):
                await self._older.clean_up(directory)

    async def _move_back(self, done: bytes, path: bytes) -> None:
        """Move a file out of the done directory, unless a newer one has its place: the next run replaces it then."""
        if not await self._session.exists(path):
            await self._session.rename(done, path)

    def may_stamp(self) -> bool:
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
        if not self.may_stamp():
            return
        pulled.stamp = int(self._bucket.now())
        try:
            await self._session.set_mtime(done, pulled.stamp)
        except ServerRefused as refused:
            self._notices.once(
                "stamp", f"the server does not let us set the mtime of done files, so none is purged: {refused}"
            )

    async def remove_empty(self) -> None:
        """Remove the done directories in which nothing is left."""
        # Of those that another shard has made, too: it cannot remove what still holds a file of this one.
        for directory in self._used.union(self._tree.empty_done_directories):
            with contextlib.suppress(ServerRefused, ConnectionFailed):
                await self._session.remove_directory(directory)
