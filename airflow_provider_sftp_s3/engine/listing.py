"""What there is to move: a walked tree, or the objects under a prefix, each as an async stream."""

from __future__ import annotations

import asyncio
import posixpath
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, NameRefused, NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.model import DoneState, Outcome, SourceFile
from airflow_provider_sftp_s3.engine.sftp import SftpSession
from airflow_provider_sftp_s3.engine.sftp_protocol import Entry
from airflow_provider_sftp_s3.engine.workers import ATTEMPTS, LOSSES

#: Directories listed at once: enough that a far-away server does not leave the transfers waiting for names.
LISTERS = 16


@dataclass(frozen=True)
class Directory:
    """A directory of the tree, and what stands in it."""

    path: bytes
    relative: bytes
    entries: list[Entry]


class Tree:
    """
    The files of a directory on the server that a pull should take.

    :param root: the directory, as it is given to the server.
    :param done_name: name of the done directories, which are never entered.
    :param min_age: seconds that a file must have been left alone; 0 takes all.
    :param shard: the part of the tree to take; of what is in the others, nothing is told.
    """

    def __init__(
        self,
        session: SftpSession,
        root: bytes,
        *,
        globs: paths.Globs,
        done_name: bytes,
        min_age: float,
        shard: paths.Shard,
    ) -> None:
        self.session = session
        self.root = root
        self.globs = globs
        self.done_name = done_name
        self.min_age = min_age
        self.shard = shard
        #: the done directories that the walk came by, relative to the root
        self.done_directories: list[bytes] = []
        self._from_the_future: list[SourceFile] = []
        self._losses = 0
        self._root: asyncio.Task[Directory | Outcome] | None = None

    async def look(self) -> bool:
        """List the root ahead of the walk, and return whether that worked."""
        self._root = asyncio.create_task(self._list(self.root, b""))
        return isinstance(await self._root, Directory)

    async def walk(self) -> AsyncGenerator[SourceFile | Outcome]:
        """
        Yield every file to take, and an outcome for everything else that is not a directory.

        Many directories are listed at once. A directory's files come in the order of their names.
        """
        todo: list[tuple[bytes, bytes]] = []
        listing = {self._root or asyncio.create_task(self._list(self.root, b""))}
        self._root = None
        try:
            while todo or listing:
                while todo and len(listing) < LISTERS:
                    listing.add(asyncio.create_task(self._list(*todo.pop())))
                done, listing = await asyncio.wait(listing, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    found = task.result()
                    if isinstance(found, Outcome):
                        yield found
                        continue
                    for item in self._sift(found):
                        if isinstance(item, tuple) and not isinstance(item, SourceFile):
                            todo.append(item)
                        else:
                            yield item
        finally:
            for task in listing:
                task.cancel()
        if self._from_the_future:
            # Where the server's clock is ahead, an mtime says nothing of a file's age; that it stands still does.
            # The second look is the one that every file gets when it is opened.
            await asyncio.sleep(self.min_age)
            for file in self._from_the_future:
                yield file

    async def _list(self, path: bytes, relative: bytes) -> Directory | Outcome:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                directory = Directory(path, relative, await self.session.list_directory(path))
                self._losses = 0
                return directory
            except NotFound:
                return Outcome(self.label(path), "skipped", reason="gone")
            except ServerRefused as refused:
                return Outcome(self.label(path), "failed", reason=f"cannot be listed: {refused}")
            except ConnectionFailed as lost:
                self._losses += 1
                if not lost.connection or self._losses >= LOSSES * LISTERS:
                    raise
                if lost.culprit or attempt == ATTEMPTS:
                    return Outcome(self.label(path), "failed", reason=f"cannot be listed: {lost}")
        raise AssertionError("unreachable")

    def _sift(self, directory: Directory) -> Iterator[SourceFile | Outcome | tuple[bytes, bytes]]:
        """Yield files, outcomes, and as (path, relative) the directories beneath."""
        done = next((entry for entry in directory.entries if entry.name == self.done_name), None)
        done_state: DoneState = "absent" if done is None else "directory" if done.kind == "directory" else "other"
        if done_state == "directory":
            self.done_directories.append(posixpath.join(directory.relative, self.done_name))
        now = time.time()
        path_before, relative_before = (posixpath.join(path, b"") for path in (directory.path, directory.relative))
        previous: bytes | None = None
        for entry in directory.entries:
            if entry.name == previous or entry.name == self.done_name:
                continue  # some servers list a name twice
            previous = entry.name
            path, relative = path_before + entry.name, relative_before + entry.name
            mine = self.shard.holds(relative)
            if not mine and entry.kind != "directory":
                continue
            reason = self.globs.reason_to_skip(paths.text(relative))
            try:
                paths.check_name(entry.name)
            except NameRefused as refused:
                if mine and reason == "excluded":
                    yield Outcome(self.label(path), "skipped", reason=reason)
                elif mine:
                    yield Outcome(self.label(path), "failed", reason=str(refused))
                continue
            if entry.kind == "directory":
                if len(relative) <= paths.MAX_KEY_BYTES:  # a server can go on for ever
                    yield path, relative
                elif mine:
                    yield Outcome(self.label(path), "failed", reason="is too deep: nothing in it can be an S3 key")
            elif entry.kind != "file":
                yield Outcome(self.label(path), "skipped", reason="link" if entry.kind == "link" else "special file")
            elif paths.is_temporary(entry.name):
                yield Outcome(self.label(path), "skipped", reason="unfinished")
            elif reason:
                yield Outcome(self.label(path), "skipped", reason=reason)
            else:
                file = SourceFile(path, relative, entry.stat, done_state)
                if self.min_age and entry.stat.mtime > now:
                    self._from_the_future.append(file)
                elif self.min_age and now - entry.stat.mtime < self.min_age:
                    yield Outcome(self.label(path), "skipped", reason="young")
                else:
                    yield file

    def label(self, path: bytes) -> str:
        """Return the URI that stands for `path` in reports."""
        return self.session.server.uri_of(path)
