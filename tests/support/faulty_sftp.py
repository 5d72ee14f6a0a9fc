"""SFTP servers that misbehave: one class to one misbehaviour, named for it.

Most are a :class:`Fault`, given to the server when it is made or later, in the middle of a test::

    with AsyncsshServer(tmp_path, fault=EveryNthWriteFails(4)) as server: ...
    sftp_server.fault = RenameIsRefused()

:class:`NeverGreets` and :class:`HangsUp` are servers of their own, since they never get as far as SFTP.
Each fault here has been seen on a real server, or is allowed by the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
import shutil
import socket
import stat
import threading
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import asyncssh
from asyncssh import SFTPAttrs, SFTPFailure, SFTPLimits, SFTPName, SFTPNoSpaceOnFilesystem, SFTPPermissionDenied
from asyncssh.constants import FXF_WRITE

from tests.support.sftp_servers import AsyncsshServer, CutConnection, Fault, NoAnswer, Proceed, Request

__all__ = [
    "AtMostOpenHandles",
    "AttributesAre",
    "CloseFails",
    "ConnectionCutAfterReading",
    "ConnectionCutAfterWriting",
    "ConnectionCutBefore",
    "DirectoriesComeWithFiles",
    "DiskFull",
    "DropBox",
    "EveryNthWriteFails",
    "FileChangesWhileItIsRead",
    "FilesAndDirectoriesOfOneName",
    "FilesAreTakenAtClose",
    "HangsUp",
    "IsNotThere",
    "LineIsCutEvery",
    "ListingHasOtherAttributes",
    "ListingIsHostile",
    "ListingNeverEnds",
    "ListingRepeats",
    "ListingStates",
    "MkdirIsRefused",
    "MkdirWantsMode",
    "ModeWithoutType",
    "NeverAnswers",
    "NeverGreets",
    "NoFsync",
    "NoLimits",
    "NoLstat",
    "NoPosixRename",
    "OneAtATime",
    "OneHandleForSeveral",
    "OneNameForAll",
    "OpenIsRefused",
    "ReadAtTheEndFails",
    "ReaddirBehindTheEndFails",
    "ReaddirBehindTheEndHangs",
    "ReaddirIsNotInOrder",
    "ReadsAreShort",
    "ReadsTrickle",
    "RefusesAtLength",
    "RefusesFirstTries",
    "RemoveDoesNothing",
    "RenameAcrossIsRefused",
    "RenameDoesNothing",
    "RenameIsRefused",
    "RenameLeavesTheSource",
    "RenameOfNothingFails",
    "RenameSetsTheMtime",
    "ReplyIsLost",
    "SetstatDoesNothing",
    "SetstatIsRefused",
    "ShortRequests",
    "UnknownOnceOpen",
]

RENAMES = ("RENAME", "POSIX-RENAME")
STATS = ("STAT", "LSTAT", "FSTAT")
SETSTATS = ("SETSTAT", "FSETSTAT", "LSETSTAT")


# ------------------------------------------------------------------------------------------------- extensions withheld


class NoPosixRename(Fault):
    """Knows only the plain RENAME, which fails when the target exists."""

    withheld = frozenset({"posix-rename@openssh.com"})


class NoFsync(Fault):
    """Cannot be told to put a file on the disk, as rclone's server and asyncssh's cannot."""

    withheld = frozenset({"fsync@openssh.com"})


class NoLimits(Fault):
    """Does not say how large a request may be."""

    withheld = frozenset({"limits@openssh.com"})


# ------------------------------------------------------------------------------------------------------------ refusals


@dataclass
class Refuses(Fault):
    """Refuses requests with "Permission denied".

    :param names: which requests.
    :param path: says whether a request on this path, or this target, is refused; none: all are.
    :param times: how many are refused before it gives in; none: always.
    """

    sees_probes = True

    names: Sequence[str]
    path: Callable[[str], bool] | None = None
    times: int | None = None

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name not in self.names or self.times == 0:
            return await proceed()
        if self.path is not None and not (self.path(request.path) or (request.target and self.path(request.target))):
            return await proceed()
        if self.times is not None:
            self.times -= 1
        raise SFTPPermissionDenied("refused by the test")


@dataclass
class RefusesFirstTries(Fault):
    """Refuses requests with "Permission denied" in the first tries, of which each has a connection of its own.

    :param names: which requests.
    :param path: says whether a request on this path, or this target, is refused.
    :param tries: how many connections it refuses them on; none: on all.
    """

    names: Sequence[str]
    path: Callable[[str], bool] = lambda path: True
    tries: int | None = 1
    _refused: set[int] = field(default_factory=set, init=False)

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name not in self.names or not (self.path(request.path) or self.path(request.target)):
            return await proceed()
        if self.tries is None or len(self._refused | {server.connections_total}) <= self.tries:
            self._refused.add(server.connections_total)
            raise SFTPPermissionDenied("refused by the test")
        return await proceed()


@dataclass
class SetstatIsRefused(Refuses):
    """No attribute can be set: what OpenSSH does with a file of another owner."""

    names: Sequence[str] = SETSTATS


@dataclass
class RenameIsRefused(Refuses):
    """Nothing can be renamed, plainly or the POSIX way: a drop box that is write-once."""

    names: Sequence[str] = RENAMES


class RenameAcrossIsRefused(Fault):
    """RENAME works within a directory only. From one into another it fails, whether the file is there or not."""

    sees_probes = True

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name in RENAMES and posixpath.dirname(request.path) != posixpath.dirname(request.target):
            raise SFTPFailure("Failure")
        return await proceed()


class RenameOfNothingFails(Fault):
    """RENAME of a file that is not there is a "failure", and STAT of it, too; all else is as it should be."""

    sees_probes = True

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        try:
            return await proceed()
        except OSError as error:
            raise SFTPFailure("Failure") from error


@dataclass
class MkdirIsRefused(Refuses):
    """No directory can be made: a tree that is read-only for us."""

    names: Sequence[str] = ("MKDIR",)


@dataclass
class IsNotThere(Fault):
    """Says "no such file" to requests of these names about some files."""

    names: Sequence[str]
    path: Callable[[str], bool]

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name in self.names and self.path(request.path):
            raise asyncssh.SFTPNoSuchFile("refused by the test")
        return await proceed()


@dataclass
class DropBox(Fault):
    """Takes what is written, and denies all else: to look, to list, to read, to rename, to remove (minio, AWS)."""

    names: Sequence[str] = ("STAT", "LSTAT", "FSTAT", "OPENDIR", "MKDIR", "REMOVE", "RENAME", "POSIX-RENAME")

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name in self.names or (request.name == "OPEN" and not request.flags & FXF_WRITE):
            raise SFTPPermissionDenied("refused by the test")
        return await proceed()


@dataclass
class OpenIsRefused(Refuses):
    """Files cannot be opened: ``OpenIsRefused(path=lambda p: p.endswith("b"), times=2)`` for that one, twice."""

    names: Sequence[str] = ("OPEN",)


@dataclass
class AtMostOpenHandles(Fault):
    """Opens no more than so many files and directories at a time, over all its connections.

    :param first: seconds that the first OPEN takes: what is asked for meanwhile waits behind it.
    """

    limit: int = 10
    first: float = 0.0

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "OPEN" and self.first:
            first, self.first = self.first, 0.0
            await asyncio.sleep(first)
        if request.name in ("OPEN", "OPENDIR") and server.open_handles >= self.limit:
            raise SFTPFailure("too many open handles")
        return await proceed()


@dataclass
class ShortRequests(Fault):
    """Says that it takes no requests beyond so many bytes, fewer than the protocol asks of it, and keeps to that."""

    limit: int = 4096

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "LIMITS":
            return SFTPLimits(0, self.limit, self.limit, 0)
        if request.name in ("READ", "WRITE") and request.length > self.limit:
            raise SFTPFailure("request too long")
        return await proceed()


# -------------------------------------------------------------------------------------------------- reading and writing


@dataclass
class EveryNthWriteFails(Fault):
    """Writes fail now and then, the others succeed: a client that looks at the last answer only sees success."""

    n: int = 4
    _writes: int = field(default=0, init=False)

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "WRITE":
            self._writes += 1
            if self._writes % self.n == 0:
                raise SFTPFailure("write error")
        return await proceed()


@dataclass
class DiskFull(Fault):
    """Takes so many bytes in all; a write that goes beyond fails with "No space on filesystem"."""

    after: int
    _written: int = field(default=0, init=False)

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "WRITE":
            if self._written + request.length > self.after:
                raise SFTPNoSpaceOnFilesystem("disk full")
            self._written += request.length
        return await proceed()


class CloseFails(Fault):
    """CLOSE does its work and reports an error: a network file system that finds out only now."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        if request.name == "CLOSE":
            raise SFTPFailure("error at close")
        return result


@dataclass
class ReadsAreShort(Fault):
    """A READ returns at most so many bytes, fewer than asked and before the end: the protocol allows it."""

    at_most: int = 1000

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        if request.name == "READ":
            data, _ = result
            return data[: self.at_most], False
        return result


@dataclass
class ReadsTrickle(Fault):
    """Each READ takes its time and returns little: slow, but never idle."""

    seconds: float = 0.05
    at_most: int = 100

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name != "READ":
            return await proceed()
        await asyncio.sleep(self.seconds)
        data, _ = await proceed()
        return data[: self.at_most], False


@dataclass
class FileChangesWhileItIsRead(Fault):
    """Something else writes to a file during its transfer: it grows, shrinks or is replaced, once, at a chosen step.

    :param change: called with the file's place on this machine: append, truncate, replace or touch it.
    :param before: the request that it happens just before: ``FSTAT``, ``READ``, ``CLOSE``, ``POSIX-RENAME``, ...
    :param nth: which of these requests, counted from 1.
    :param path: the remote path of the file; none: the first file that gets there.
    """

    change: Callable[[Path], object]
    before: str = "READ"
    nth: int = 1
    path: str | None = None
    _seen: int = field(default=0, init=False)

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == self.before and self.path in (None, request.path):
            self._seen += 1
            if self._seen == self.nth:
                self.change(server.local(request.path))
        return await proceed()


@dataclass
class FilesAreTakenAtClose(Fault):
    """A mailbox: a file that somebody has opened is taken away once it is closed, whoever has got it (Sterling's).

    :param path: says which files; none: all.
    :param taken: what was taken away, by the path.
    """

    path: Callable[[str], bool] = lambda path: True
    taken: dict[str, bytes] = field(default_factory=dict)
    _opened: set[str] = field(default_factory=set, init=False)

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        place = server.local(request.path)
        if request.name == "OPEN" and self.path(request.path):
            self._opened.add(request.path)
        elif request.name == "CLOSE" and request.path in self._opened and place.is_file():
            self.taken[request.path] = place.read_bytes()
            place.unlink()
        return result


@dataclass
class UnknownOnceOpen(Fault):
    """A file that is open is not there for those who ask about it (Sterling's mailboxes). It can be read."""

    _opened: set[str] = field(default_factory=set, init=False)

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name in STATS and request.path in self._opened:
            raise asyncssh.SFTPNoSuchFile("refused by the test")
        result = await proceed()
        if request.name == "OPEN":
            self._opened.add(request.path)
        elif request.name == "CLOSE":
            self._opened.discard(request.path)
        return result


@dataclass
class AttributesAre(Fault):
    """STAT, LSTAT and FSTAT say something else about a file than what is so, or leave it out.

    :param attributes: takes a size and returns the fields of ``SFTPAttrs`` to change; None as a value: it is left out.
    :param names: the requests that say so.
    """

    attributes: Callable[[int], dict[str, Any]]
    names: Sequence[str] = STATS

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        if request.name not in self.names:
            return result
        attributes = _attributes(result)
        if not stat.S_ISDIR(attributes.permissions or 0):
            for name, value in self.attributes(attributes.size or 0).items():
                setattr(attributes, name, value)
        return attributes


def _attributes(stated: os.stat_result | SFTPAttrs) -> SFTPAttrs:
    """Return what is stated of a file so that some of it can be changed."""
    return stated if isinstance(stated, SFTPAttrs) else SFTPAttrs.from_local(stated)


class RenameDoesNothing(Fault):
    """RENAME, plainly and the POSIX way, is answered with OK, and nothing is renamed.

    :param names: which of the two.
    """

    sees_probes = True

    def __init__(self, names: Sequence[str] = RENAMES) -> None:
        self.names = names

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        return None if request.name in self.names else await proceed()


class RenameLeavesTheSource(Fault):
    """RENAME is copy and delete, as in front of an object store, and the delete does not come to pass."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        source = server.local(request.path)
        result = await proceed()
        if request.name in RENAMES:
            shutil.copy2(server.local(request.target), source)
        return result


class RemoveDoesNothing(Fault):
    """REMOVE is answered with OK, and nothing is removed."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        return None if request.name == "REMOVE" else await proceed()


class DirectoriesComeWithFiles(Fault):
    """Directories are there while a file is in them, and MKDIR does nothing, as in front of an object store."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "MKDIR":
            return None
        if request.name in RENAMES and server.local(request.path).exists():
            server.local(request.target).parent.mkdir(parents=True, exist_ok=True)
        if request.name == "OPEN" and request.flags & FXF_WRITE:
            server.local(request.path).parent.mkdir(parents=True, exist_ok=True)
        return await proceed()


class NoLstat(Fault):
    """Knows STAT and not LSTAT."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "LSTAT":
            raise asyncssh.SFTPOpUnsupported("not supported")
        return await proceed()


class RenameSetsTheMtime(Fault):
    """RENAME is copy and delete, as in front of an object store: the mtime is that of the rename."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        if request.name in RENAMES:
            os.utime(server.local(request.target))
        return result


@dataclass
class ModeWithoutType(Fault):
    """The mode has no bits for the type of file, and a listing's longname is the bare name (mina-sshd issue 489)."""

    longname: bool = False

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        if request.name in STATS:
            result = _attributes(result)
            result.permissions = stat.S_IMODE(result.permissions or 0)
        elif request.name == "READDIR":
            for entry in result[0]:
                entry.attrs.permissions &= 0o777
                if not self.longname:
                    entry.longname = entry.filename
        return result


@dataclass
class OneAtATime(Fault):
    """A second file or directory that is to be open is denied, as if one had no right to it."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name in ("OPEN", "OPENDIR") and server.open_handles:
            raise SFTPPermissionDenied("one at a time")
        return await proceed()


@dataclass
class MkdirWantsMode(Fault):
    """MKDIR fails where it is sent no permissions (PyPI's sshserve)."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "MKDIR" and not request.has_mode:
            raise SFTPFailure("no permissions")
        return await proceed()


class ReaddirBehindTheEndFails(Fault):
    """A READDIR after the end of a directory is a failure, not the end once more."""

    def __init__(self) -> None:
        self._ended: set[str] = set()

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "OPENDIR":
            self._ended.discard(request.path)
        if request.name == "READDIR" and request.path in self._ended:
            raise SFTPFailure("was at its end before")
        try:
            return await proceed()
        except asyncssh.SFTPEOFError:
            self._ended.add(request.path)
            raise


@dataclass
class ReaddirBehindTheEndHangs(Fault):
    """A READDIR after the end of a directory is never answered.

    :param ended: takes the handles of which that was so.
    """

    ended: set[bytes]
    _at_end: set[tuple[Any, bytes]] = field(default_factory=set, init=False)

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name != "READDIR":
            return await proceed()
        if (request.session, request.handle) in self._at_end:
            self.ended.add(request.handle)
            raise NoAnswer
        try:
            return await proceed()
        except asyncssh.SFTPEOFError:
            self._at_end.add((request.session, request.handle))
            raise


class ReaddirIsNotInOrder(Fault):
    """Of several READDIRs at once the first is done last: it gets the end, and those behind it get the names."""

    def __init__(self) -> None:
        self._late: dict[tuple[Any, bytes], Any] = {}

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name != "READDIR":
            return await proceed()
        late = self._late.pop((request.session, request.handle), None)
        with contextlib.suppress(asyncssh.SFTPEOFError):
            self._late[request.session, request.handle] = await proceed()
        if late is None:
            raise asyncssh.SFTPEOFError
        return late


class FilesAndDirectoriesOfOneName(asyncssh.SFTPServer):
    """A name may be a file's and a directory's, as in front of an object store that has ``a`` and ``a/b``.

    Here the directory ``a`` is one of the name ``a.d``. To be given to a server as its ``sftp_factory``.
    """

    def map_path(self, path: bytes) -> bytes:
        *above, name = os.fsdecode(path).split("/")
        place = Path(os.fsdecode(super().map_path(b"/")))
        for each in above:
            beside = place / f"{each}.d"
            place = beside if beside.is_dir() else place / each
        return os.fsencode(place / name)

    def scandir(self, path: bytes) -> AsyncIterator[SFTPName]:
        beside = Path(os.fsdecode(self.map_path(path) + b".d"))
        return self._shown(super().scandir(path + b".d" if beside.is_dir() else path))

    async def _shown(self, names: AsyncIterator[SFTPName]) -> AsyncIterator[SFTPName]:
        async for each in names:
            assert isinstance(each.filename, bytes)
            each.filename = each.filename.removesuffix(b".d")
            yield each


class ReadAtTheEndFails(Fault):
    """A READ at or behind the end of a file is an error, not the end of the file (fs.sshfs, issue 53)."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "READ" and request.offset >= server.local(request.path).stat().st_size:
            raise SFTPFailure("nothing there")
        return await proceed()


@dataclass
class OneHandleForSeveral(Fault):
    """From the third file on that is open at once, all have the handle of the third, as with Erlang/OTP.

    :param repeated: how many files have got a handle that another one had.
    """

    repeated: int = field(default=0, init=False)
    _third: bytes = field(default=b"", init=False)

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        if request.name == "OPEN":
            open_files = [handle for session in server._sessions for handle in session._file_handles]
            if len(open_files) > 3 and self._third in open_files:
                self.repeated += 1
                return self._third
            self._third = result
        return result


class OneNameForAll(asyncssh.SFTPServer):
    """Holds names that are alike but for case or Unicode form for one, as the file systems of Windows and macOS do.

    A file keeps the name that it was made with. To be given to a server as its ``sftp_factory``.
    """

    def map_path(self, path: bytes) -> bytes:
        place = Path(os.fsdecode(super().map_path(path)))
        root = Path(os.fsdecode(super().map_path(b"/")))
        found = root
        for name in place.relative_to(root).parts:
            with contextlib.suppress(OSError):
                there = [each.name for each in found.iterdir()]
                if name not in there:
                    name = next((each for each in there if alike(each) == alike(name)), name)
            found /= name
        return os.fsencode(found)


def alike(name: str) -> str:
    """Return what is the same for all names that :class:`OneNameForAll` holds for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


class SetstatDoesNothing(Fault):
    """SETSTAT is answered with OK, and nothing is set (AWS Transfer with SetStatOption=ENABLE_NO_OP)."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        return None if request.name in SETSTATS else await proceed()


# --------------------------------------------------------------------------------------- connections that break or hang


@dataclass
class ConnectionCutAfterReading(Fault):
    """The connection breaks once so many bytes have been read over it, ``times`` in all."""

    after: int
    times: int = 1
    _read: int = field(default=0, init=False)

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        if request.name == "READ" and self.times:
            self._read += len(result[0])
            if self._read >= self.after:
                self._read, self.times = 0, self.times - 1
                raise CutConnection
        return result


@dataclass
class ConnectionCutAfterWriting(Fault):
    """The connection breaks once so many bytes have been written over it, ``times`` in all."""

    after: int
    times: int = 1
    _written: int = field(default=0, init=False)

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        if request.name == "WRITE" and self.times:
            self._written += request.length
            if self._written >= self.after:
                self._written, self.times = 0, self.times - 1
                raise CutConnection
        return result


@dataclass
class ConnectionCutBefore(Fault):
    """The connection breaks instead of one request being done: ``ConnectionCutBefore(("POSIX-RENAME",))``.

    :param path: says of which files; none: of any.
    """

    names: Sequence[str]
    times: int = 1
    path: Callable[[str], bool] = lambda path: True

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name in self.names and self.times and self.path(request.path):
            self.times -= 1
            raise CutConnection
        return await proceed()


@dataclass
class LineIsCutEvery(Fault):
    """A connection breaks instead of its n-th request being done: a line that is cut again and again."""

    n: int
    _counts: Counter[int] = field(default_factory=Counter, init=False)

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        self._counts[server.connections_total] += 1
        if self._counts[server.connections_total] >= self.n:
            raise CutConnection
        return await proceed()


@dataclass
class ReplyIsLost(Fault):
    """A rename (or what ``names`` says) is done, then the connection breaks before the answer."""

    names: Sequence[str] = RENAMES
    times: int = 1

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        if request.name in self.names and self.times:
            self.times -= 1
            raise CutConnection
        return result


@dataclass
class NeverAnswers(Fault):
    """Requests of these names are neither done nor answered; all others work, on the same connection too.

    :param path: says whether a request on this path hangs; none: all do.
    """

    names: Sequence[str]
    path: Callable[[str], bool] | None = None

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name in self.names and (self.path is None or self.path(request.path)):
            raise NoAnswer
        return await proceed()


# ------------------------------------------------------------------------------------------------------------ listings

HOSTILE_NAMES: tuple[bytes, ...] = (
    b".",
    b"..",
    b"",
    b"../../escape",
    b"/etc/passwd",
    b"sub/inside",
    b"nul\0byte",
    b"escape\x1b[31mred",
    b"line\nbreak",
    b"twice",
    b"twice",
    b"not-utf8-\xff",
)
"""What a READDIR must never be believed about; ``twice`` and the last one are odd, but harmless."""


@dataclass
class ListingIsHostile(Fault):
    """Every directory listing also holds ``names``, as regular files of 4 bytes from the year 2001."""

    names: Sequence[bytes] = HOSTILE_NAMES

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        if request.name == "READDIR":
            entries, at_end = result
            if any(entry.filename == b"." for entry in entries):  # the first part of the listing
                return entries + [_entry(name) for name in self.names], at_end
        return result


@dataclass
class ListingRepeats(Fault):
    """A READDIR answers with the names of the directory, however often it is asked: it does not know where it was.

    :param path: the directory that is listed so.
    """

    path: str
    _first: dict[str, Any] = field(default_factory=dict)

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name != "READDIR" or request.path != self.path:
            return await proceed()
        if "entries" not in self._first:
            self._first["entries"], _ = await proceed()
        return self._first["entries"], False


@dataclass
class ListingNeverEnds(Fault):
    """A READDIR answers with names that there have not been before, for ever.

    :param path: the directory that is listed so.
    :param at_once: how many names an answer has.
    :param length: bytes of each name.
    """

    path: str
    at_once: int = 100
    length: int = 20
    _given: int = field(default=0, init=False)

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name != "READDIR" or request.path != self.path:
            return await proceed()
        numbers = range(self._given, self._given + self.at_once)
        self._given += self.at_once
        return [_entry(b"%0*d" % (self.length, number)) for number in numbers], False


@dataclass
class RefusesAtLength(Fault):
    """Refuses to open files with megabytes of text, escape sequences among them."""

    size: int = 2**20

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "OPEN":
            raise SFTPFailure("\x1b[2J" + "x" * self.size)
        return await proceed()


def _entry(name: bytes) -> SFTPName:
    attributes = SFTPAttrs(size=4, uid=0, gid=0, permissions=stat.S_IFREG | 0o644, atime=10**9, mtime=10**9)
    return SFTPName(name, b"-rw-r--r-- " + name, attributes)


@dataclass
class ListingStates(Fault):
    """A listing says something else about files than what is so, or leaves it out.

    :param attributes: as in :class:`AttributesAre`.
    """

    attributes: Callable[[int], dict[str, Any]]

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        if request.name == "READDIR":
            for entry in result[0]:
                if not stat.S_ISDIR(entry.attrs.permissions or 0):
                    for name, value in self.attributes(entry.attrs.size or 0).items():
                        setattr(entry.attrs, name, value)
        return result


@dataclass
class ListingHasOtherAttributes(Fault):
    """A listing says something else about a file than the file itself does.

    :param attributes: takes a name and returns the fields of ``SFTPAttrs`` to change, such as ``{"mtime": 2**31}``;
        None as a value: the server does not say.
    """

    attributes: Callable[[bytes], dict[str, Any]]

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        if request.name == "READDIR":
            for entry in result[0]:
                for field_name, value in self.attributes(entry.filename).items():
                    setattr(entry.attrs, field_name, value)
        return result


# ------------------------------------------------------------------------------------------- servers that never get far


class _TcpServer(ABC):
    """Accepts TCP connections in a thread; what it does with them is its subclasses' matter."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections_total = 0
        self._accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, name=type(self).__name__, daemon=True)

    @abstractmethod
    def accepted(self, connection: socket.socket) -> None:
        """Do something, or nothing, with a new connection."""

    def _accept(self) -> None:
        # Ends with the OSError of accept() on a listener that was shut down.
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections_total += 1
                self._accepted.append(connection)
                self.accepted(connection)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._accepted:
            connection.close()


class NeverGreets(_TcpServer):
    """Accepts connections and says nothing, for ever: a firewall that swallows, a machine out of memory."""

    def accepted(self, connection: socket.socket) -> None:
        pass


class HangsUp(_TcpServer):
    """Accepts connections and closes them at once: sshd beyond its MaxStartups, a TCP wrapper that says no."""

    def accepted(self, connection: socket.socket) -> None:
        connection.close()
