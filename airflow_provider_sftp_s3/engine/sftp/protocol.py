"""
SFTP version 3, the client's side: bytes in, bytes out, and what is awaited in between.

Written here because it decides the speed: the requests of all files in flight are sent together, in as few packets of
the SSH connection as they fit into. On a small file asyncssh's own SFTP client spends several times as much on each
request as on its encryption.

The protocol is draft-ietf-secsh-filexfer-02, its extensions those of OpenSSH's PROTOCOL file, section 4.
"""

from __future__ import annotations

import asyncio
import re
import stat as stat_module
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, HandlesRepeat, NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.options import KiB, MiB
from airflow_provider_sftp_s3.engine.tasks import forget

VERSION = 3
#: Requests and answers that every server takes: the protocol asks for packets of 34,000 bytes (section 3).
SAFE_REQUEST = 32 * KiB
#: A larger request gains nothing, whatever the server would take. OpenSSH takes 255 KiB.
MAX_REQUEST = 256 * KiB
#: The shortest request that a server can make us use, so that those of one file can be counted.
LEAST_REQUEST = 1 * KiB
#: No server has a reason to send a larger packet.
MAX_PACKET = 16 * MiB

_INIT, _OPEN, _CLOSE, _READ, _WRITE, _LSTAT, _FSTAT, _SETSTAT = 1, 3, 4, 5, 6, 7, 8, 9
_OPENDIR, _READDIR, _REMOVE, _MKDIR, _RMDIR, _REALPATH = 11, 12, 13, 14, 15, 16
_STAT, _RENAME, _EXTENDED = 17, 18, 200
_STATUS, _HANDLE, _DATA, _NAME, _ATTRS, _EXTENDED_REPLY = 101, 102, 103, 104, 105, 201

READ, WRITE = 0x01, 0x02  # flags of OPEN
#: WRITE, CREAT and TRUNC: what is there is cut to nothing. A new file has nothing to be cut; without TRUNC some servers
#: (node's ssh2) take it for a file to be read.
CREATE = 0x02 | 0x08 | 0x10
#: ... and EXCL: it must be new.
CREATE_NEW = CREATE | 0x20

_OK, _EOF, _NO_SUCH_FILE, _DENIED, _FAILURE, _UNSUPPORTED, _NO_SUCH_PATH = 0, 1, 2, 3, 4, 8, 10
_NO_SPACE, _QUOTA_EXCEEDED = 14, 15  # of later versions; some servers use them all the same
_REASONS = {3: "permission denied", 4: "failure", 5: "bad message", 6: "no connection", 8: "operation unsupported"}

_HAS_SIZE, _HAS_OWNER, _HAS_MODE, _HAS_TIMES, _HAS_MORE = 0x01, 0x02, 0x04, 0x08, 0x80000000

_USUAL = _HAS_SIZE | _HAS_OWNER | _HAS_MODE | _HAS_TIMES
_USUAL_ATTRIBUTES = struct.Struct(">QIIIII")

_KINDS_BY_MODE = {stat_module.S_IFREG: "file", stat_module.S_IFDIR: "directory", stat_module.S_IFLNK: "link"}
#: How ``ls -l`` begins a line. Some servers give the bare name, which may begin with any letter.
_LONGNAME = re.compile(rb"[a-zA-Z-][-rwxsStT]{9}")
_KINDS_BY_LETTER = {b"-": "file", b"d": "directory", b"l": "link"}

_UINT32 = struct.Struct(">I")
_UINT64 = struct.Struct(">Q")
_HEADER = struct.Struct(">IBI")


class Unsupported(ServerRefused):
    """The server lacks an extension."""


class Attributes(NamedTuple):
    """What a server says of a file: bytes, mode bits, seconds since 1970. None: it does not say."""

    size: int | None = None
    mode: int | None = None
    mtime: int | None = None

    @property
    def stat(self) -> Stat:
        return Stat(self.size, self.mtime)

    def kind(self, longname: bytes | memoryview = b"?") -> str:
        """
        Return "file", "directory", "link", "special", or "unknown" where nothing tells.

        :param longname: the entry as ``ls -l`` shows it, for servers that give no mode, or one without a type.
        """
        if self.mode is None or not stat_module.S_IFMT(self.mode):
            letter = bytes(longname[:1]) if _LONGNAME.match(longname) else b""
            return _KINDS_BY_LETTER.get(letter, "special" if letter else "unknown")
        return _KINDS_BY_MODE.get(stat_module.S_IFMT(self.mode), "special")


class Entry(NamedTuple):
    """One line of a directory listing, as the server gives it."""

    name: bytes
    kind: str
    stat: Stat


class _Nonsense(Exception):
    """A packet that is not what the protocol says it is."""


class _Packet:
    """One packet, read field by field."""

    __slots__ = ("_at", "_data", "type")

    def __init__(self, data: memoryview, at: int) -> None:
        self.type = data[0]
        self._data = data
        self._at = at

    def uint32(self) -> int:
        value: int = _UINT32.unpack_from(self._data, self._at)[0]
        self._at += 4
        return value

    def uint64(self) -> int:
        value: int = _UINT64.unpack_from(self._data, self._at)[0]
        self._at += 8
        return value

    def view(self) -> memoryview:
        start = self._at + 4
        end = start + _UINT32.unpack_from(self._data, self._at)[0]
        if end > len(self._data):
            raise _Nonsense
        self._at = end
        return self._data[start:end]

    def string(self) -> bytes:
        return bytes(self.view())

    def attributes(self) -> Attributes:
        flags = self.uint32()
        if flags == _USUAL:  # of every file, with nearly every server: a third of the time
            size, _, _, mode, _, mtime = _USUAL_ATTRIBUTES.unpack_from(self._data, self._at)
            self._at += _USUAL_ATTRIBUTES.size
            return Attributes(size, mode, mtime)
        size = self.uint64() if flags & _HAS_SIZE else None
        if flags & _HAS_OWNER:
            self._at += 8
        mode = self.uint32() if flags & _HAS_MODE else None
        mtime = None
        if flags & _HAS_TIMES:
            self._at += 4
            mtime = self.uint32()
        if flags & _HAS_MORE:
            for _ in range(self.uint32()):
                self.view(), self.view()
        return Attributes(size, mode, mtime)

    def left(self) -> bool:
        return self._at < len(self._data)


class _Awaited(NamedTuple):
    """A request that was sent, and what its answer should be."""

    answer: asyncio.Future[Any]
    expected: int
    read: Callable[[_Packet], Any]
    path: bytes
    sent: float
    #: the handle that a CLOSE is about
    closes: bytes | None
    #: whether a handle that nobody waits for any more stays open
    is_kept: bool


class SftpProtocol:
    """
    One SFTP session. Each method sends one request and returns the future of its answer.

    The future raises :class:`NotFound`, :class:`Unsupported` or another :class:`ServerRefused` where the server says
    so, and :class:`ConnectionFailed` where the connection is lost.

    A server that gives out a handle which is open already, or whose CLOSE it has not answered, mixes up two files. From
    then on the session counts as lost, and everything on it raises :class:`HandlesRepeat`.

    :param send: takes the bytes to send to the server, in pieces.
    :param number: serial number of the connection, for the errors.
    """

    def __init__(self, send: Callable[[Sequence[bytes | memoryview]], None], number: int) -> None:
        self.number = number
        #: why this session is of no more use, None while it is
        self.lost: str | None = None
        #: open files that must not be closed: see RemoteFile.keep
        self.kept = 0
        #: set while there is room for more to be sent; whoever sends much waits for it
        self.writable = asyncio.Event()
        self.writable.set()
        self.read_size = SAFE_REQUEST
        self.write_size = SAFE_REQUEST
        self.last_answer = time.monotonic()
        #: when the youngest of the requests was sent that have their answer
        self.newest_answered = 0.0
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._extensions: set[bytes] = set()
        self._greeting: asyncio.Future[None] = self._loop.create_future()
        self._awaited: dict[int, _Awaited] = {}  # oldest first
        #: what the server has opened and has not answered the CLOSE of
        self._handles: set[bytes] = set()
        self._handles_repeat = False
        self._given_up = False
        self._requests = 0
        self._outgoing: list[bytes | memoryview] = []
        #: the beginning of a packet, and with how many bytes it is complete, as far as is known
        self._incoming = bytearray()
        self._complete_at = _UINT32.size

    # -- The session ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Agree on the version with the server, and ask how large requests may be."""
        self._send([struct.pack(">IBI", 5, _INIT, VERSION)])
        await self._greeting
        if b"limits@openssh.com" in self._extensions:
            # packet, read, write, handles; 0 stands for no limit
            limits = self._ask(_EXTENDED, _string(b"limits@openssh.com"), _EXTENDED_REPLY, _limits)
            limits.add_done_callback(self._take_limits)  # nobody has to wait for it

    @property
    def is_openssh(self) -> bool:
        """Whether the server has what only OpenSSH's own has, as far as is known, and what that always has."""
        names = ("limits", "lsetstat", "expand-path", "posix-rename", "fsync")
        return {f"{name}@openssh.com".encode() for name in names} <= self._extensions

    def _take_limits(self, limits: asyncio.Future[tuple[int, int, int, int]]) -> None:
        if not limits.cancelled() and not limits.exception():
            _, read, write, _ = limits.result()
            self.read_size = _request_size(read)
            self.write_size = _request_size(write)

    def received(self, data: bytes | memoryview) -> None:
        """Take bytes from the server. What is read is not copied again: it holds on to what came along with it."""
        self._incoming += data
        if len(self._incoming) < self._complete_at:
            return
        incoming, self._incoming = memoryview(self._incoming), bytearray()
        start, end = 0, len(incoming)
        self._complete_at = _UINT32.size
        try:
            while end - start >= _UINT32.size:
                length = _UINT32.unpack_from(incoming, start)[0]
                if not 5 <= length <= MAX_PACKET:
                    raise _Nonsense
                stop = start + _UINT32.size + length
                if stop > end:
                    self._complete_at = stop - start
                    break
                self._take(incoming[start + _UINT32.size : stop])
                start = stop
            if start:
                self.last_answer = time.monotonic()
        except (_Nonsense, struct.error):
            self.lose("the server does not speak SFTP")
            return
        self._incoming += incoming[start:]

    def _take(self, data: memoryview) -> None:
        number = _UINT32.unpack_from(data, 1)[0]
        if not self._requests and not self._greeting.done():
            self._greet(_Packet(data, 5), number)
            return
        awaited = self._awaited.pop(number, None)
        if awaited is None:
            raise _Nonsense
        if awaited.sent > self.newest_answered:
            self.newest_answered = awaited.sent
        packet = _Packet(data, 5)
        if awaited.closes is not None:
            self._handles.discard(awaited.closes)
        try:
            if packet.type == awaited.expected == _HANDLE:
                self._take_handle(awaited, packet.string())
            elif awaited.answer.done():  # nobody waits any more
                pass
            elif packet.type == awaited.expected != _STATUS:
                awaited.answer.set_result(awaited.read(packet))
            elif packet.type == _STATUS:
                self._take_status(awaited, packet)
            else:
                raise _Nonsense
        except (_Nonsense, struct.error):
            if not awaited.answer.done():
                awaited.answer.set_exception(_refused(awaited.path, "what makes no sense"))

    def _take_handle(self, awaited: _Awaited, handle: bytes) -> None:
        if handle in self._handles:
            self._handles_repeat = self._given_up = True
            self.lose("the server gives one handle to several files that are open at once")
            if not awaited.answer.done():
                awaited.answer.set_exception(self._loss())
            return
        self._handles.add(handle)
        if not awaited.answer.done():
            awaited.answer.set_result(handle)
        elif awaited.is_kept:
            self.kept += 1
        else:  # nobody waits any more, but what was opened has to be closed
            self.close(handle).add_done_callback(forget)

    def _take_status(self, awaited: _Awaited, packet: _Packet) -> None:
        code = packet.uint32()
        if code == _OK and awaited.expected == _STATUS:
            awaited.answer.set_result(None)
        elif code == _EOF and awaited.expected == _DATA:
            awaited.answer.set_result(b"")
        elif code == _EOF and awaited.expected == _NAME:
            awaited.answer.set_result([])
        elif code in (_NO_SUCH_FILE, _NO_SUCH_PATH):
            awaited.answer.set_exception(NotFound(f"{paths.printable(awaited.path)!r}: no such file"))
        elif code == _OK:
            raise _Nonsense
        else:
            said = packet.string() if packet.left() else b""
            reason = said or _REASONS.get(code, f"error {code}")
            error = Unsupported if code == _UNSUPPORTED else ServerRefused
            refused = _refused(awaited.path, reason, error)
            refused.is_generic, refused.is_denied = code == _FAILURE, code == _DENIED
            refused.is_full = code in (_NO_SPACE, _QUOTA_EXCEEDED)
            awaited.answer.set_exception(refused)

    def _greet(self, packet: _Packet, version: int) -> None:
        if packet.type != 2 or version < VERSION:
            raise _Nonsense
        while packet.left():
            name, version_of_it = packet.string(), packet.string()
            if version_of_it == b"1":
                self._extensions.add(name)
        self._greeting.set_result(None)

    def lose(self, reason: str, unanswered: int = 0) -> None:
        """
        Fail everything that is awaited, once.

        :param unanswered: number of the request that the server did not answer; 0: it is not known.
        """
        if self.lost is not None:
            return
        self.lost = paths.said(reason)
        self.writable.set()
        awaited, self._awaited = self._awaited, {}
        for number, request in awaited.items():
            if not request.answer.done():
                request.answer.set_exception(self._loss(number == unanswered))
        if not self._greeting.done():
            self._greeting.set_exception(self._loss())

    def _loss(self, unanswered: bool = False) -> ConnectionFailed:
        kind = HandlesRepeat if self._handles_repeat else ConnectionFailed
        return kind(f"the SFTP connection was lost: {self.lost}", self.number, unanswered, self._given_up)

    def give_up(self, reason: str) -> None:
        """End the session since it has no room for more open files, though nothing is wrong with it."""
        self._given_up = True
        self.lose(f"{self.kept} files that S3 has not got are open on it, and it ends with them: {reason}")

    def oldest_awaited(self) -> tuple[int, float] | None:
        """Return number and time of the oldest request that somebody waits for."""
        for number, request in self._awaited.items():
            if not request.answer.done():
                return number, request.sent
        return None

    def _ask(
        self,
        kind: int,
        body: bytes,
        expected: int = _STATUS,
        read: Callable[[_Packet], Any] = lambda _: None,
        path: bytes = b"",
        data: Sequence[bytes | memoryview] = (),
        closes: bytes | None = None,
        is_kept: bool = False,
    ) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self.lost is not None:
            answer.set_exception(self._loss())
            return answer
        self._requests = number = (self._requests + 1) & 0xFFFFFFFF
        self._awaited[number] = _Awaited(answer, expected, read, path, time.monotonic(), closes, is_kept)
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        size = sum(map(len, data)) if data else 0
        self._outgoing.append(_HEADER.pack(5 + len(body) + size, kind, number) + body)
        self._outgoing += data
        if size > SAFE_REQUEST:
            self._flush()
        return answer

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if outgoing and self.lost is None:
            self._send(outgoing)

    # -- The requests --------------------------------------------------------------------------------------------------

    def open(self, path: bytes, flags: int) -> asyncio.Future[bytes]:
        """
        Open a file: :data:`READ`, :data:`WRITE`, :data:`CREATE` or :data:`CREATE_NEW`.

        The answer is a handle, to be closed.
        Of a file that nobody waits for any more, what was opened for reading stays open: some servers take a file away
        when it is closed.
        """
        body = _string(path) + struct.pack(">II", flags, 0)
        return self._ask(_OPEN, body, _HANDLE, path=path, is_kept=flags == READ)

    def close(self, handle: bytes, path: bytes = b"") -> asyncio.Future[None]:
        return self._ask(_CLOSE, _string(handle), path=path, closes=handle)

    def read(self, handle: bytes, offset: int, size: int, path: bytes) -> asyncio.Future[bytes | memoryview]:
        """Read up to `size` bytes from `offset`: fewer where the server likes, none at or after the end of the file."""

        def data(packet: _Packet) -> memoryview:
            read = packet.view()
            if not 0 < len(read) <= size:
                raise _Nonsense
            return read

        return self._ask(_READ, _string(handle) + struct.pack(">QI", offset, size), _DATA, data, path)

    def write(
        self, handle: bytes, offset: int, data: Sequence[bytes | memoryview], path: bytes
    ) -> asyncio.Future[None]:
        """Write all of `data`, piece by piece, at `offset`."""
        head = _string(handle) + struct.pack(">QI", offset, sum(map(len, data)))
        return self._ask(_WRITE, head, path=path, data=data)

    def fstat(self, handle: bytes, path: bytes) -> asyncio.Future[Attributes]:
        """Ask for the attributes of an open file, whatever its name stands for by now."""
        return self._ask(_FSTAT, _string(handle), _ATTRS, _Packet.attributes, path)

    def lstat(self, path: bytes) -> asyncio.Future[Attributes]:
        """Ask for the attributes of a path itself."""
        return self._ask(_LSTAT, _string(path), _ATTRS, _Packet.attributes, path)

    def stat(self, path: bytes) -> asyncio.Future[Attributes]:
        """Ask for the attributes of what a path leads to."""
        return self._ask(_STAT, _string(path), _ATTRS, _Packet.attributes, path)

    def real_path(self, path: bytes) -> asyncio.Future[bytes]:
        """Ask for the absolute path of what a path leads to, with no link in it."""
        return self._ask(_REALPATH, _string(path), _NAME, lambda packet: _entries(packet)[0].name, path)

    def set_attributes(self, path: bytes, *, mode: int | None = None, mtime: int | None = None) -> asyncio.Future[None]:
        """Set the mode bits of a file, or its times, or both."""
        flags = (0 if mode is None else _HAS_MODE) | (0 if mtime is None else _HAS_TIMES)
        values = [each for each in (mode, mtime, mtime) if each is not None]
        return self._ask(_SETSTAT, _string(path) + struct.pack(f">I{len(values)}I", flags, *values), path=path)

    def open_directory(self, path: bytes) -> asyncio.Future[bytes]:
        """Open a directory for listing. The answer is a handle, to be closed."""
        return self._ask(_OPENDIR, _string(path), _HANDLE, path=path)

    def read_directory(self, handle: bytes, path: bytes) -> asyncio.Future[list[Entry]]:
        """Ask for the next entries of a directory, ``.`` and ``..`` among them. None: that was all."""
        return self._ask(_READDIR, _string(handle), _NAME, _entries, path)

    def make_directory(self, path: bytes, mode: int | None = None) -> asyncio.Future[None]:
        """Make a directory, with these mode bits or with those that the server likes."""
        attributes = _UINT32.pack(0) if mode is None else struct.pack(">II", _HAS_MODE, mode)
        return self._ask(_MKDIR, _string(path) + attributes, path=path)

    def remove(self, path: bytes) -> asyncio.Future[None]:
        return self._ask(_REMOVE, _string(path), path=path)

    def remove_directory(self, path: bytes) -> asyncio.Future[None]:
        return self._ask(_RMDIR, _string(path), path=path)

    def rename(self, old: bytes, new: bytes) -> asyncio.Future[None]:
        """Rename `old` to `new`. Most servers refuse where `new` is there already; some replace it."""
        return self._ask(_RENAME, _string(old) + _string(new), path=old)

    def posix_rename(self, old: bytes, new: bytes) -> asyncio.Future[None]:
        """Rename `old` to `new`, replacing what is there. :raises Unsupported: the server cannot."""
        return self._extended(b"posix-rename@openssh.com", _string(old) + _string(new), old)

    def fsync(self, handle: bytes, path: bytes) -> asyncio.Future[None]:
        """Have an open file's contents put on the disk. :raises Unsupported: the server cannot."""
        return self._extended(b"fsync@openssh.com", _string(handle), path)

    def _extended(self, name: bytes, body: bytes, path: bytes) -> asyncio.Future[None]:
        if name not in self._extensions:
            answer: asyncio.Future[None] = self._loop.create_future()
            answer.set_exception(_refused(path, f"nothing of {name.decode()}", Unsupported))
            return answer
        return self._ask(_EXTENDED, _string(name) + body, path=path)


def _string(value: bytes) -> bytes:
    return _UINT32.pack(len(value)) + value


def _limits(packet: _Packet) -> tuple[int, int, int, int]:
    return packet.uint64(), packet.uint64(), packet.uint64(), packet.uint64()


def _entries(packet: _Packet) -> list[Entry]:
    entries = []
    for _ in range(packet.uint32()):
        name, longname, attributes = packet.string(), packet.view(), packet.attributes()
        entries.append(Entry(name, attributes.kind(longname), attributes.stat))
    return entries


def _request_size(limit: int) -> int:
    return max(LEAST_REQUEST, min(limit, MAX_REQUEST)) if limit else SAFE_REQUEST


def _refused(path: bytes, said: bytes | str, error: type[ServerRefused] = ServerRefused) -> ServerRefused:
    return error(f"{paths.printable(path)!r}: the server says {paths.said(said)!r}")
