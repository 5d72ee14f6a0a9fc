"""What there is to move: a walked tree, or the objects under a prefix, each as an async stream."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias, TypeVar

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.awaited import Awaited
from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, NameRefused, NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.globs import Globs
from airflow_provider_sftp_s3.engine.limits import ATTEMPTS, Losses
from airflow_provider_sftp_s3.engine.model import DoneState, Outcome, SourceFile, Stat, Status
from airflow_provider_sftp_s3.engine.naming import folded
from airflow_provider_sftp_s3.engine.order import Bounds
from airflow_provider_sftp_s3.engine.sftp.protocol import Entry
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.triggers import TriggerNames

#: Directories listed at once: enough that a far-away server does not leave the transfers waiting for names.
LISTERS = 16
#: Files that are asked for by their paths at once.
FOUND_AT_ONCE = 64
#: Links to directories that are followed in one path, one in the other: what else leads round in circles ends there.
MAX_LINKS = 8
#: Seconds between two looks at a file whose age is not known, at most. The whole run waits for them.
MAX_PAUSE = 60.0


Trail = tuple[bytes, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Directory:
    """
    A directory of the tree, and what stands in it.

    :param left: what earlier runs have left in its done directory, where that was looked into.
    :param done: the done directory of an entry that was found alone; None: it is among the entries, or absent.
    :param trail: where links are followed: the real paths of the directories in which one was, and of this one.
    """

    path: bytes
    relative: bytes
    entries: list[Entry]
    left: Sequence[Entry] = ()
    done: DoneState | None = None
    trail: Trail = ()


class Place(NamedTuple):
    """A directory that is to be listed."""

    path: bytes
    relative: bytes
    trail: Trail


class Link(NamedTuple):
    """A link that is to be followed, and where it stands."""

    entry: Entry
    directory: Directory
    done: DoneState


class Missing(NamedTuple):
    """A file that was asked for and is not there."""

    relative: bytes


class Unsure(NamedTuple):
    """An entry of which the server does not say whether it is a file or a directory, and where it stands."""

    entry: Entry
    directory: Directory
    done: DoneState


#: What stands in a directory.
Found: TypeAlias = SourceFile | Outcome | Place | Link | Unsure


class Tree:
    """
    The files of a directory on the server that a pull should take.

    :param root: the directory, as it is given to the server.
    :param bounds: sizes and ages to take.
    :param done_name: name of the done directories, which are never entered.
    :param min_age: seconds that a file must have been left alone; 0 takes all.
    :param shard: the part of the tree to take; of what is in the others, nothing is told.
    :param now: returns the time, in seconds since 1970.
    :param finds_left: whether to look for files that an earlier run has moved into a done directory to remove them.
    :param follow_links: take what symbolic links lead to, wherever that is on the server.
    :param beside: names of the files without which no other one is taken: of checksum files, and then of triggers.
    :param name_of: returns what a file is called at its target, by its relative path and what it is: what comes to one
        name is in one shard. None: as it is called here.
    :param unfinished_in: told of each directory, relative to the root, in which something is young, waits or fails, as
        far as the listing shows it. None: nobody asks.
    """

    def __init__(
        self,
        session: SftpSession,
        root: bytes,
        *,
        globs: Globs,
        bounds: Bounds,
        done_name: bytes,
        min_age: float,
        shard: paths.Shard,
        now: Callable[[], float] = time.time,
        finds_left: bool = False,
        follow_links: bool = False,
        name_of: Callable[[bytes, Stat], bytes] | None = None,
        beside: Sequence[TriggerNames] = (),
        unfinished_in: Callable[[bytes], None] | None = None,
    ) -> None:
        self.session = session
        self.root = root
        self.globs = globs
        self.bounds = bounds
        self.done_name = done_name
        self._done_folded = folded(done_name)
        self.min_age = min_age
        self.shard = shard
        self._now = now
        self._finds_left = finds_left
        self._follow_links = follow_links
        self._name_of = name_of if shard.count > 1 else None
        self._unfinished_in = unfinished_in
        #: the done directories that the walk came by, relative to the root
        self.done_directories: list[bytes] = []
        #: paths of those of which the server does not say whether they are directories
        self.unsure_done_directories: list[bytes] = []
        #: paths of those that were looked into and found empty
        self.empty_done_directories: list[bytes] = []
        self._of_unknown_age: list[SourceFile] = []
        self._awaited = [Awaited(names, lambda mtime: is_young(mtime, now(), min_age), self.label) for names in beside]
        self._losses = Losses()
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
        todo: list[Place | Link | Unsure] = []
        listing = {self._root or asyncio.create_task(self._list(self.root, b""))}
        self._root = None
        try:
            while todo or listing:
                while todo and len(listing) < LISTERS:
                    listing.add(asyncio.create_task(self._look_into(todo.pop())))
                done, listing = await asyncio.wait(listing, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    found = task.result()
                    if isinstance(found, Outcome):
                        yield found
                        continue
                    for item in self._sift(found):
                        if isinstance(item, (Place, Link, Unsure)):
                            todo.append(item)
                        else:
                            yield item
        finally:
            for task in listing:
                task.cancel()
        async for file in self._stood_still():
            yield file

    async def find(self, wanted: Sequence[bytes]) -> AsyncGenerator[SourceFile | Outcome | Missing]:
        """
        Yield those files to take that are at these paths, relative to the root, as :meth:`walk` would.

        No directory of the tree is listed.
        """
        for start in range(0, len(wanted), FOUND_AT_ONCE):
            looks = [self._find(relative) for relative in wanted[start : start + FOUND_AT_ONCE]]
            for found in await asyncio.gather(*looks):
                todo: list[Directory | SourceFile | Outcome | Missing | Place | Link | Unsure] = [found]
                while todo:
                    item = todo.pop()
                    if isinstance(item, (Link, Unsure)):
                        todo.append(await self._look_into(item))
                    elif isinstance(item, Directory):
                        todo.extend(self._sift(item))
                    elif isinstance(item, Place):
                        yield Outcome(self.label(item.path), "failed", reason="is a directory: sftp_paths are files")
                    else:
                        yield item
        async for file in self._stood_still():
            yield file

    async def _find(self, relative: bytes) -> Directory | Outcome | Missing:
        """Look at one file, and at the done directory beside it."""
        path, (parent, name) = posixpath.join(self.root, relative), posixpath.split(relative)

        async def look() -> Directory | Missing:
            beside = Directory(posixpath.join(self.root, parent).rstrip(b"/") or b"/", parent, [])
            done, left = await self._beside(beside.path, name)
            try:
                attributes = await self.session.attributes(path)
            except NotFound:
                mine = self.shard.holds(relative)
                return replace(beside, left=left, done=done) if left or not mine else Missing(relative)
            kind = attributes.kind()
            if kind == "unknown":
                kind = "file"  # to open it will tell
            return replace(beside, entries=[Entry(name, kind, attributes.stat)], left=left, done=done)

        found = await self._asked(look)
        if isinstance(found, (ServerRefused, ConnectionFailed)):
            return Outcome(self.label(path), "failed", reason=f"cannot be looked at: {found}")
        return found

    async def _beside(self, directory: bytes, name: bytes) -> tuple[DoneState, list[Entry]]:
        """Return what the done directory beside a file is, and what an earlier run has left of the file in there."""
        done = posixpath.join(directory, self.done_name)
        try:
            kind = (await self.session.attributes(done)).kind()
        except NotFound:
            return "absent", []
        if kind not in ("directory", "unknown"):
            return "other", []
        inside = await self._inside(done) if self._finds_left else []
        if inside is None:
            return "absent", []
        return "directory", [each for each in inside if each.kind == "file" and paths.deleted_name(each.name) == name]

    async def _inside(self, done: bytes) -> list[Entry] | None:
        """Return what is in a done directory; None: it is gone, as another run removes one that is empty."""
        try:
            return await self.session.list_directory(done)
        except NotFound:
            return None

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T | ServerRefused | ConnectionFailed:
        """
        Return what `ask` returns, which is called anew where the connection is lost, or the error that stays.

        :raises ConnectionFailed: no connection can be opened any more, or each is lost with nothing done.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                found = await ask()
            except ServerRefused as refused:
                return refused
            except ConnectionFailed as lost:
                if lost.given_up:
                    attempt -= 1  # it was ended for a file that has failed, as in Run
                    continue
                if self._losses.are_too_many(lost):
                    raise
                if lost.unanswered or attempt == ATTEMPTS:
                    return lost
            else:
                self._losses.are_over()
                return found

    async def _stood_still(self) -> AsyncGenerator[SourceFile]:
        """Yield the files of unknown age, once they have been left alone for a while."""
        if self._of_unknown_age:
            # Where the server's clock is ahead, or there is no mtime, only that a file stands still says that it is
            # whole. The second look is the one that every file gets when it is opened.
            pause = min(self.min_age, MAX_PAUSE)
            self.session.notice(
                f"{len(self._of_unknown_age)} files have no mtime, or one that is more than min_age ahead of the "
                f"clock, the first: {self.label(self._of_unknown_age[0].path)}. They are taken if they do not change "
                f"within {pause:g} s"
            )
            await asyncio.sleep(pause)
            for file in self._of_unknown_age:
                yield file

    async def _look_into(self, where: Place | Link | Unsure) -> Directory | Outcome:
        """List a directory. What may be a file is one where it cannot be listed: to open it will tell."""
        if isinstance(where, Place):
            listed = await self._list(*where)
            self._note_unfinished(where.relative, listed)
            return listed
        if isinstance(where, Link):
            return await self._follow(where)
        entry, beside, done = where
        path, relative = posixpath.join(beside.path, entry.name), posixpath.join(beside.relative, entry.name)
        listed = await self._list(path, relative, _below(beside.trail, entry.name))
        if isinstance(listed, Directory):
            return listed
        return _alone(entry._replace(kind="file"), beside, done)

    async def _follow(self, link: Link) -> Directory | Outcome:
        """Return the directory that a link leads to, or the file, as if it stood there by itself."""
        entry, beside, done = link
        path, relative = posixpath.join(beside.path, entry.name), posixpath.join(beside.relative, entry.name)

        async def look() -> tuple[str, Stat, bytes | None]:
            kind, stat = await self.session.follow(path)
            return kind, stat, await self.session.real_path(path) if kind in ("directory", "unknown") else None

        found = await self._asked(look)
        if isinstance(found, NotFound):
            return self._not_followed(path, relative, "skipped", "broken link")
        if isinstance(found, (ServerRefused, ConnectionFailed)):
            return self._not_followed(path, relative, "failed", f"cannot be followed: {found}")
        kind, stat, real = found
        if kind == "link":
            reason = "cannot be followed: the server does not say what it leads to"
            return self._not_followed(path, relative, "failed", reason)
        if kind not in ("directory", "unknown"):
            return _alone(entry._replace(kind=kind, stat=stat), beside, done)
        if real is not None and any(_is_in(real, each) for each in beside.trail):
            return self._not_followed(path, relative, "skipped", "link to a directory that it is in")
        if len(beside.trail) > MAX_LINKS:
            reason = f"is behind {MAX_LINKS} other links to directories: exclude it if they lead round in circles"
            return self._not_followed(path, relative, "failed", reason)
        listed = await self._list(path, relative, (*beside.trail, real or path))
        if kind == "unknown" and not isinstance(listed, Directory):
            return _alone(entry._replace(kind="file", stat=stat), beside, done)
        return listed

    def _not_followed(self, path: bytes, relative: bytes, status: Status, reason: str) -> Directory | Outcome:
        if self.shard.holds(relative):
            return Outcome(self.label(path), status, reason=reason)
        return Directory(path, relative, [])  # another shard says so

    async def _list(self, path: bytes, relative: bytes, trail: Trail = ()) -> Directory | Outcome:
        async def look() -> Directory:
            way = trail
            if self._follow_links and not way:
                way = (await self.session.real_path(path) or path,)
            entries = await self._with_done_name(path, await self.session.list_directory(path))
            left: list[Entry] = []
            if self._finds_left and _done_state(entries, self.done_name) == "directory":
                done = posixpath.join(path, self.done_name)
                inside = await self._inside(done)
                if inside is None:
                    entries = [entry for entry in entries if entry.name != self.done_name]
                elif not inside:
                    self.empty_done_directories.append(done)
                left = [entry for entry in inside or () if entry.kind == "file" and paths.is_deleting(entry.name)]
            return Directory(path, relative, entries, left, trail=way)

        found = await self._asked(look)
        if isinstance(found, NotFound):
            return Outcome(self.label(path), "skipped", reason="gone")
        if isinstance(found, (ServerRefused, ConnectionFailed)):
            return Outcome(self.label(path), "failed", reason=f"cannot be listed: {found}")
        return found

    async def _with_done_name(self, path: bytes, entries: list[Entry]) -> list[Entry]:
        """Return what is in a directory, the done directory by our name for it, which some servers list otherwise."""
        spelled = [each for each in entries if each.kind != "file" and folded(each.name) == self._done_folded]
        if len(spelled) != 1 or spelled[0].name == self.done_name:
            return entries
        if not await self.session.sees(posixpath.join(path, self.done_name)):
            return entries  # it is another one
        return [each._replace(name=self.done_name) if each is spelled[0] else each for each in entries]

    def _sift(self, directory: Directory) -> Iterator[Found]:
        """Yield files, outcomes, the directories beneath, links to follow, and what may be a file or a directory."""
        items = self._sift_with_what_is_beside(directory)
        return items if self._unfinished_in is None else self._noting_unfinished(directory.relative, items)

    def _noting_unfinished(self, directory: bytes, items: Iterator[Found]) -> Iterator[Found]:
        for item in items:
            self._note_unfinished(directory, item)
            yield item

    def _note_unfinished(self, directory: bytes, item: object) -> None:
        if self._unfinished_in is not None and isinstance(item, Outcome) and item.is_unfinished:
            self._unfinished_in(directory)

    def _sift_with_what_is_beside(self, directory: Directory) -> Iterator[Found]:
        path, relative, entries = directory.path, directory.relative, directory.entries
        if not self._awaited or not self._is_mine(posixpath.join(relative, b"any"), Entry(b"any", "file", Stat(0, 0))):
            return self._sift_all(directory)
        done = directory.done or _done_state(entries, self.done_name)
        kinds: list[tuple[Awaited, list[Entry]]] = []
        for awaited in self._awaited:
            kinds.append((awaited, entries))
            entries = awaited.without(entries)
        files = [entry.name for entry in entries if entry.kind == "file"]
        items = self._sift_all(replace(directory, entries=entries))
        for awaited, among in kinds:
            items = awaited.sift(path, relative, among, done, files, items)
        return items

    def _sift_all(self, directory: Directory) -> Iterator[Found]:
        done_state = directory.done or _done_state(directory.entries, self.done_name)
        if any(entry.name == self.done_name and entry.kind == "unknown" for entry in directory.entries):
            # It may be a link to any other one, in which nothing must be purged.
            self.unsure_done_directories.append(posixpath.join(directory.path, self.done_name))
        elif done_state == "directory" and directory.done is None and len(directory.trail) <= 1:
            # Behind a link it is another tree's.
            self.done_directories.append(posixpath.join(directory.relative, self.done_name))
        now = self._now()
        held_back: set[bytes] = set()
        for item in self._left(directory):
            if isinstance(item, SourceFile):
                held_back.add(item.relative)
            yield item
        path_before, relative_before = (posixpath.join(path, b"") for path in (directory.path, directory.relative))
        for entry in directory.entries:
            if entry.name == self.done_name:
                continue
            path, relative = path_before + entry.name, relative_before + entry.name
            mine = self.shard.holds(relative) if self._name_of is None else self._is_mine(relative, entry)
            follows = self._follow_links and entry.kind == "link"
            if not mine and not follows and entry.kind not in ("directory", "unknown"):
                continue
            reason = self.globs.reason_to_skip(paths.text(relative))
            try:
                paths.check_name(entry.name)
            except NameRefused as refused:
                if mine and reason == "excluded":
                    yield Outcome(self.label(path), "skipped", reason=reason)
                elif mine:
                    yield Outcome(self.label(path), "failed", reason=str(refused), for_good=True)
                continue
            if entry.kind == "directory":
                if len(relative) <= paths.MAX_KEY_BYTES:  # a server can go on for ever
                    yield Place(path, relative, _below(directory.trail, entry.name))
                elif mine:
                    reason = "is too deep: nothing in it can be an S3 key"
                    yield Outcome(self.label(path), "failed", reason=reason, for_good=True)
            elif entry.kind == "unknown":
                yield Unsure(entry, directory, done_state)
            elif follows and reason != "excluded":
                yield Link(entry, directory, done_state)
            elif follows and not mine:
                continue
            elif entry.kind != "file" and not follows:
                yield Outcome(self.label(path), "skipped", reason="link" if entry.kind == "link" else "special file")
            elif paths.is_temporary(entry.name):
                yield Outcome(self.label(path), "skipped", reason="unfinished")
            elif reason:
                yield Outcome(self.label(path), "skipped", reason=reason)
            elif paths.is_deleting(entry.name):
                reason = "the name is one that this provider uses itself"
                yield Outcome(self.label(path), "failed", reason=reason, for_good=True)
            elif relative in held_back:
                reason = "waits until an earlier one of its name is deleted"
                yield Outcome(self.label(path), "skipped", reason=reason, changed=entry.stat.mtime, left=True)
            else:
                file = SourceFile(path, relative, entry.stat, done_state)
                # Servers that know no mtimes give none, or 0.
                if self.min_age and (not entry.stat.mtime or entry.stat.mtime > now + self.min_age):
                    if not self._awaited:
                        self._of_unknown_age.append(file)
                    else:
                        yield file  # what stands beside it says more
                elif entry.stat.mtime is not None and is_young(entry.stat.mtime, now, self.min_age):
                    yield Outcome(self.label(path), "skipped", reason="young", changed=entry.stat.mtime, left=True)
                elif outside := self.bounds.reason_to_skip(*entry.stat):
                    yield Outcome(self.label(path), "skipped", reason=outside)
                else:
                    yield file

    def _is_mine(self, relative: bytes, entry: Entry) -> bool:
        if self._name_of is not None and entry.kind == "file":
            with contextlib.suppress(NameRefused):
                return self.shard.holds(self._name_of(relative, entry.stat))
        return self.shard.holds(relative)

    def _left(self, directory: Directory) -> Iterator[SourceFile | Outcome]:
        """Yield what earlier runs have left in the done directory, each under the name that it had."""
        for entry in directory.left:
            path = posixpath.join(directory.path, self.done_name, entry.name)
            name = paths.deleted_name(entry.name)
            relative = posixpath.join(directory.relative, entry.name if name is None else name)
            if not self._is_mine(relative, entry):
                continue
            if name is None:
                reason = "left by an earlier run, its name is not known any more: remove it if S3 has it"
                yield Outcome(self.label(path), "failed", reason=reason)
            else:
                yield SourceFile(path, relative, entry.stat, "directory", left=True)

    def label(self, path: bytes) -> str:
        """Return the URI that stands for `path` in reports."""
        return self.session.server.uri_of(path)


def is_young(mtime: int, now: float, min_age: float) -> bool:
    """
    Say whether a file may have changed less than `min_age` seconds ago.

    An mtime is a whole second, in which the file may have changed until the very end. One that is ahead is that of a
    file that has just changed, where the clocks differ a little.
    """
    return min_age > 0 and now - (mtime + 1) < min_age


def _alone(entry: Entry, beside: Directory, done: DoneState) -> Directory:
    """Return an entry of a directory with no others, for when it is known what it is."""
    return Directory(beside.path, beside.relative, [entry], done=done, trail=beside.trail)


def _below(trail: Trail, name: bytes) -> Trail:
    return (*trail[:-1], posixpath.join(trail[-1], name)) if trail else ()


def _is_in(directory: bytes, path: bytes) -> bool:
    """Say whether `path` is `directory`, or beneath it."""
    return path == directory or path.startswith(posixpath.join(directory, b""))


def _done_state(entries: Sequence[Entry], name: bytes) -> DoneState:
    done = next((entry for entry in entries if entry.name == name), None)
    return "absent" if done is None else "directory" if done.kind in ("directory", "unknown") else "other"
