"""
The SFTP side: the only importer of asyncssh.

One connection carries many files at once. Every request goes through one place, :meth:`_Link.ask`, which knows what is
awaited and since when: a server that answers nothing for `idle_timeout` is hung up on, and the next request opens a
new connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import posixpath
import re
import stat as stat_module
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import asyncssh

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    FileError,
    HostKeyError,
    NotFound,
    ServerRefused,
)
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.options import KiB, MiB, TransferOptions
from airflow_provider_sftp_s3.engine.workers import retrieve

#: Requests that every server takes: the protocol asks for packets of 34,000 bytes
#: (draft-ietf-secsh-filexfer-02, section 3). asyncssh falls back to half of it.
SAFE_REQUEST = 32 * KiB
#: Bytes on the way from the server before it has to wait for us; asyncssh's default of 2 MiB idles far-away lines.
WINDOW = 16 * MiB
#: How long the requests that clean up after a failure may take at the end of a run.
FAREWELL_SECONDS = 5.0

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class SftpServer:
    """
    Which server to reach, as whom, and how to know it.

    :param host_key: the one key to accept, as ``ssh-ed25519 AAAA...`` or bare base64 of an RSA key.
    :param known_hosts: path of a file in OpenSSH's format; used where there is no `host_key`.
    :param verify_host_key: False accepts any server.
    :param look_for_keys: try ssh-agent and ``~/.ssh/id_*`` where neither password nor key is given.
    :param ciphers: OpenSSH names in the order of preference; empty: AES-128-GCM first, then asyncssh's own order.
    :param disabled_algorithms: by paramiko's kinds: ``kex``, ``keys``, ``pubkeys``, ``ciphers``, ``macs``.
    """

    host: str
    port: int = 22
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    key_file: str | None = None
    passphrase: str | None = field(default=None, repr=False)
    host_key: str | None = None
    known_hosts: str = "~/.ssh/known_hosts"
    verify_host_key: bool = True
    look_for_keys: bool = True
    ciphers: Sequence[str] = ()
    disabled_algorithms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    compress: bool = False
    proxy_command: str | None = None
    keepalive_seconds: float = 30.0

    def uri_of(self, path: bytes) -> str:
        """Return `path` on this server as a printable URI: ``sftp://host:port/path``, whoever logs in."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sftp://{host}:{self.port}/{paths.printable(path).removeprefix('/')}"


class Entry(NamedTuple):
    """One line of a directory listing, as the server gives it."""

    name: bytes
    kind: str
    stat: Stat


class _Events(asyncssh.SSHClient):
    """What asyncssh calls back: remembers the key of a server that is not known, to show it, and that a line is cut."""

    offered: asyncssh.SSHKey | None = None
    lost: str | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.offered = key
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = str(exc or "") or "the server closed the connection"


def _algorithms(server: SftpServer) -> dict[str, Any]:
    kinds = {
        "kex": "kex_algs",
        "keys": "server_host_key_algs",
        "pubkeys": "signature_algs",
        "ciphers": "encryption_algs",
        "macs": "mac_algs",
    }
    chosen: dict[str, Any] = {
        "encryption_algs": list(server.ciphers) or "^aes128-gcm@openssh.com",
        "compression_algs": ["zlib@openssh.com", "none"] if server.compress else ["none"],
    }
    for kind, names in server.disabled_algorithms.items():
        option = kinds.get(kind)
        if option is None:
            raise ConfigurationError(f"disabled_algorithms: there is no {kind!r}; there are {', '.join(kinds)}")
        if option == "encryption_algs" and server.ciphers:
            chosen[option] = [name for name in server.ciphers if name not in names]
        elif names:
            chosen[option] = "-" + ",".join(names)
    return chosen


def _credentials(server: SftpServer) -> dict[str, Any]:
    if server.private_key or server.key_file:
        try:
            if server.private_key:
                key = asyncssh.import_private_key(server.private_key, server.passphrase)
            else:
                key_path = str(Path(str(server.key_file)).expanduser())
                # The password opens a key file, too, as it does for paramiko, and so for Airflow's own hooks.
                key = asyncssh.read_private_key(key_path, server.passphrase or server.password)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, OSError, ValueError) as wrong:
            # asyncssh has a KeyImportError for a passphrase that is missing, and for most keys in PEM.
            if isinstance(wrong, asyncssh.KeyEncryptionError) or re.search("(?i)passphrase|decrypt", str(wrong)):
                raise AuthenticationFailed(
                    "the private key is encrypted and the passphrase does not open it: "
                    "set private_key_passphrase in the connection's Extra"
                ) from None
            where = "private_key" if server.private_key else f"key_file {server.key_file!r}"
            raise AuthenticationFailed(f"{where} cannot be used: {wrong}") from None
        return {"client_keys": [key], "agent_path": None, "password": server.password}
    if server.password or not server.look_for_keys:
        return {"client_keys": None, "agent_path": None, "password": server.password}
    return {}


def _trusted_keys(server: SftpServer) -> Any:
    """Return asyncssh's `known_hosts` argument: trusted, CA and revoked keys; bytes of a file; None trusts all."""
    if not server.verify_host_key:
        return None
    if server.host_key:
        text = server.host_key.strip()
        try:
            key = asyncssh.import_public_key(text if " " in text else f"ssh-rsa {text}")
        except (asyncssh.KeyImportError, ValueError) as wrong:
            raise HostKeyError(f"host_key cannot be read: {wrong}; it looks like 'ssh-ed25519 AAAA...'") from None
        return ([key], [], [])
    try:
        return Path(server.known_hosts).expanduser().read_bytes() or ([], [], [])
    except FileNotFoundError:
        return ([], [], [])
    except OSError as wrong:
        raise HostKeyError(f"known_hosts {server.known_hosts!r} cannot be read: {wrong}") from None


async def _connect(
    server: SftpServer, timeout: float
) -> tuple[asyncssh.SSHClientConnection, asyncssh.SFTPClient, _Events]:
    """Open one connection and its SFTP session within `timeout` seconds, or say in an error what to change."""
    events = _Events()
    arguments = {
        **_algorithms(server),
        **_credentials(server),
        "known_hosts": _trusted_keys(server),
        "client_factory": lambda: events,
        "window": WINDOW,
        "max_pktsize": 256 * KiB,
        "keepalive_interval": server.keepalive_seconds,
    }
    if server.username:
        arguments["username"] = server.username
    if server.proxy_command:
        arguments["proxy_command"] = server.proxy_command
    where = f"{server.host}:{server.port}"
    try:
        async with asyncio.timeout(timeout):
            connection = await asyncssh.connect(server.host, server.port, **arguments)
            try:
                return connection, await connection.start_sftp_client(path_encoding=None), events
            except BaseException:
                connection.abort()
                raise
    except TimeoutError:
        error: Exception = ConnectionFailed(f"{where} did not let us in within conn_timeout")
    except asyncssh.PermissionDenied as denied:
        error = AuthenticationFailed(
            f"{where} refused user {server.username!r}: {denied.reason}. Check login, password and private_key of the "
            "sftp connection"
        )
    except asyncssh.HostKeyNotVerifiable as unknown:
        error = HostKeyError(_host_key_advice(server, events.offered, str(unknown.reason)))
    except asyncssh.KeyExchangeFailed as nothing_common:
        error = ConfigurationError(
            f"{where}: {nothing_common.reason}. Check ciphers, disabled_algorithms and host_key of the sftp connection"
        )
    except asyncssh.ChannelOpenError as closed:
        error = ConnectionFailed(f"{where} opened no SFTP session: {closed.reason}")
    except (asyncssh.Error, OSError) as failed:
        error = ConnectionFailed(f"{where} cannot be reached: {failed or type(failed).__name__}")
    except ValueError as wrong:  # asyncssh's word for an algorithm that it does not know
        error = ConfigurationError(f"sftp connection: {wrong}")
    raise error


def _host_key_advice(server: SftpServer, offered: asyncssh.SSHKey | None, reason: str) -> str:
    if offered is None:
        return f"{server.host}:{server.port}: {reason}"
    line = offered.export_public_key().decode().strip()
    line = " ".join(line.split()[:2])
    expected = "is not the host_key of the connection" if server.host_key else "is not known"
    return (
        f"the key of {server.host}:{server.port} {expected}: {line} (fingerprint {offered.get_fingerprint()}). "
        "Ask the server's owner whether it is theirs. If so, put this into the sftp connection's Extra: "
        f'{{"host_key": "{line}"}}'
    )


class _Link:
    """One connection, and what is awaited on it."""

    def __init__(
        self,
        number: int,
        connection: asyncssh.SSHClientConnection,
        client: asyncssh.SFTPClient,
        events: _Events,
        idle_timeout: float,
    ) -> None:
        self.number = number
        self.connection = connection
        self.client = client
        self.idle_timeout = idle_timeout
        self._events = events
        self._given_up: str | None = None
        self._culprit = 0
        self._awaited: dict[int, float] = {}  # request number -> when it was sent, oldest first
        self._requests = 0
        self._last_answer = time.monotonic()
        self._newest_answered = 0.0
        self._watchdog = asyncio.create_task(self._watch())
        limits = client.limits
        self.read_size = max(limits.max_read_len, SAFE_REQUEST)
        self.write_size = max(limits.max_write_len, SAFE_REQUEST)

    @property
    def lost(self) -> str | None:
        """Why this connection is of no more use, None while it is."""
        return self._given_up or self._events.lost

    async def ask(self, request: Awaitable[T], path: bytes = b"") -> T:
        """
        Send one request and return its answer.

        :param path: what the request is about, for the error.
        :raises ConnectionFailed: the connection is lost, or was hung up on because nothing came.
        :raises NotFound: the server says that there is no such file.
        :raises ServerRefused: the server answered with another error.
        """
        self._requests += 1
        number = self._requests
        sent = self._awaited[number] = time.monotonic()
        try:
            answer = await request
        except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.DisconnectError, OSError) as lost:
            self._given_up = self.lost or str(lost) or type(lost).__name__
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            self._answered(sent)
            raise NotFound(f"{paths.printable(path)!r}: no such file") from None
        except asyncssh.SFTPError as refused:
            self._answered(sent)
            reason = paths.printable(refused.reason or type(refused).__name__)
            raise ServerRefused(f"{paths.printable(path)!r}: the server says {reason!r}") from None
        else:
            self._answered(sent)
            return answer
        finally:
            del self._awaited[number]
        raise ConnectionFailed(f"the SFTP connection was lost: {self.lost}", self.number, number == self._culprit)

    def _answered(self, sent: float) -> None:
        self._last_answer = time.monotonic()
        self._newest_answered = max(self._newest_answered, sent)

    async def _watch(self) -> None:
        """
        Hang up on a server that answers nothing for `idle_timeout`.

        A request may wait longer than that while others are answered: on a slow line it stands in a queue of many
        megabytes. It is stuck only when one sent `idle_timeout` after it has its answer already.
        """
        while True:
            await asyncio.sleep(min(1.0, self.idle_timeout / 4))
            if not self._awaited:
                continue
            number, oldest = next(iter(self._awaited.items()))
            silent = time.monotonic() - max(self._last_answer, oldest)
            if silent > self.idle_timeout or self._newest_answered - oldest > self.idle_timeout:
                self._culprit = number
                self._given_up = f"the server did not answer for idle_timeout, {self.idle_timeout} s"
                self.connection.abort()
                return

    async def close(self) -> None:
        """End the connection: politely where the server goes along, at once where it does not. Never raises."""
        self._watchdog.cancel()
        proxy = self.connection.get_extra_info("subprocess")
        if self.lost is None:
            self.client.exit()
            self.connection.close()
            with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
                await asyncio.wait_for(self.connection.wait_closed(), 1.0)
        self.connection.abort()
        self._given_up = self.lost or "closed"
        if proxy is not None:  # asyncssh kills it, and only a loop that lives on sees to its end
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    while proxy.returncode is None:  # noqa: ASYNC110 - asyncio has no public event for it
                        await asyncio.sleep(0.01)


class SftpSession:
    """
    A connection to one SFTP server that is opened on entry, and again when it is lost.

    All paths are bytes. Methods raise :class:`ConnectionFailed`, :class:`NotFound` and :class:`ServerRefused` as
    :meth:`_Link.ask` does.
    """

    def __init__(self, server: SftpServer, options: TransferOptions) -> None:
        self.server = server
        self.options = options
        self._link: _Link | None = None
        self._opening = asyncio.Lock()
        self._opened = 0
        self._failures = 0
        self._farewells: set[asyncio.Task[Any]] = set()
        self._posix_rename = True
        self._fsync = True

    async def __aenter__(self) -> SftpSession:
        # asyncssh's own log has names raw below WARNING, escape sequences included, and contents at its finest level.
        asyncssh.set_log_level(logging.WARNING)
        await self._live()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._farewells:
            await asyncio.wait(self._farewells, timeout=FAREWELL_SECONDS)
        if self._link is not None:
            await self._link.close()
        for farewell in self._farewells:
            farewell.cancel()

    async def _live(self) -> _Link:
        """Return a connection that is not known to be lost; open one where there is none, within `conn_timeout`."""
        failures = self._failures
        async with self._opening:
            if self._link is not None and self._link.lost is None:
                return self._link
            if self._failures > failures:  # in vain, while this one stood in the queue: once is enough
                raise ConnectionFailed(f"{self.server.host}:{self.server.port} could not be reached again")
            if self._link is not None:
                await self._link.close()
            try:
                opened = await self._open()
            except ConnectionFailed:
                self._failures += 1
                raise
            self._opened += 1
            self._link = _Link(self._opened, *opened, self.options.idle_timeout)
            return self._link

    async def _open(self) -> tuple[asyncssh.SSHClientConnection, asyncssh.SFTPClient, _Events]:
        deadline = time.monotonic() + self.options.conn_timeout
        # A server at its limit of half-open connections (MaxStartups) drops one and takes the next.
        pause = 0.25
        while True:
            try:
                return await _connect(self.server, deadline - time.monotonic())
            except ConnectionFailed:
                if time.monotonic() + pause >= deadline:
                    raise
            except AuthenticationFailed as refused:
                if not self._opened:
                    raise
                # The same credentials have worked a moment ago: it is the server that has changed its mind.
                raise ConnectionFailed(str(refused)) from None
            await asyncio.sleep(pause)
            pause *= 2

    async def _ask(self, request: Callable[[asyncssh.SFTPClient], Awaitable[T]], path: bytes) -> T:
        link = await self._live()
        return await link.ask(request(link.client), path)

    def later(self, request: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Let a request go on by itself: who ends early must not wait for a hung server. The end of the run does."""
        task = asyncio.create_task(request)
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)
        task.add_done_callback(retrieve)
        return task

    async def list_directory(self, path: bytes) -> list[Entry]:
        """Return all entries of a directory but ``.`` and ``..``, sorted by name, names as the server gives them."""
        link = await self._live()
        entries: list[Entry] = []

        async def scan() -> None:
            names = link.client.scandir(path)
            # One request brings many names; asked for one by one, so that the watchdog sees each answer.
            while (name := await link.ask(anext(names, None), path)) is not None:
                if name.filename not in (b".", b".."):
                    entries.append(Entry(_name(name), _kind(name.attrs, name.longname), _stat(name.attrs)))

        # A scan that is cancelled waits for the server to close the handle: that must not hold up who cancels it.
        scanning = self.later(scan())
        await asyncio.shield(scanning)
        return sorted(entries)

    async def lstat(self, path: bytes) -> Stat:
        """Return size and mtime of a path itself. Some servers follow links all the same."""
        return _stat(await self._ask(lambda client: client.lstat(path), path))

    async def exists(self, path: bytes) -> bool:
        """Say whether there is anything at `path`, be it a broken link."""
        try:
            await self.lstat(path)
        except NotFound:
            return False
        return True

    async def is_directory(self, path: bytes) -> bool:
        """Say whether a path is a directory, or a link to one. False where there is nothing."""
        try:
            attrs = await self._ask(lambda client: client.stat(path), path)
        except NotFound:
            return False
        # A server that does not say what it is, is believed: listing it, or writing into it, will tell.
        return attrs.permissions is None or _kind(attrs) == "directory"

    async def make_directory(self, path: bytes) -> None:
        """Make a directory. One that is there already, made by another writer meanwhile, is as good."""
        try:
            await self._ask(lambda client: client.mkdir(path), path)
        except ServerRefused:
            if not await self.is_directory(path):
                raise

    async def remove(self, path: bytes) -> None:
        """Remove a file."""
        await self._ask(lambda client: client.remove(path), path)

    async def remove_directory(self, path: bytes) -> None:
        """Remove an empty directory."""
        await self._ask(lambda client: client.rmdir(path), path)

    async def set_mtime(self, path: bytes, mtime: int) -> None:
        """Set a file's times to `mtime`, seconds since 1970."""
        await self._ask(lambda client: client.setstat(path, asyncssh.SFTPAttrs(atime=mtime, mtime=mtime)), path)

    async def rename(self, old: bytes, new: bytes) -> None:
        """Rename `old` to `new`. Most servers refuse where `new` is there already; some replace it."""
        await self._ask(lambda client: client.rename(old, new), old)

    async def replace(self, old: bytes, new: bytes) -> None:
        """
        Rename `old` to `new`; a file of that name is replaced.

        Atomic with the posix-rename extension. Without it, a file in the way is moved aside first, and moved back
        when the rename fails all the same, so that it is never lost.
        """
        if self._posix_rename:
            link = await self._live()
            try:
                await link.ask(_posix_rename(link.client, old, new), old)
                return
            except _Unsupported:
                self._posix_rename = False
        try:
            await self.rename(old, new)
            return
        except NotFound:
            raise
        except ServerRefused as refused:
            try:
                kind = _kind(await self._ask(lambda client: client.lstat(new), new))
            except NotFound:
                raise refused from None
            if kind != "file":
                raise ServerRefused(f"{refused}; there is a {kind} in the way") from None
        # Not to be cancelled half-way, where the target is neither the old nor the new one.
        await asyncio.shield(self.later(self._replace_in_steps(old, new)))

    async def _replace_in_steps(self, old: bytes, new: bytes) -> None:
        # Nobody's name: what a retry cleans up must not be the only copy of a file.
        aside = posixpath.join(posixpath.dirname(new), paths.temporary_name("0" * 8))
        try:
            await self.rename(new, aside)
        except ConnectionFailed:
            if not await self.exists(aside):  # else it has worked, and only its answer was lost
                raise
        try:
            await self.rename(old, new)
        except (ConnectionFailed, ServerRefused):
            if not await self.exists(new):
                await self.rename(aside, new)
                raise
            if await self.exists(old):  # somebody else has put a newer one there
                await self.remove(aside)
                raise
        await self.remove(aside)

    @contextlib.asynccontextmanager
    async def reading(self, path: bytes) -> AsyncIterator[RemoteFile]:
        """Open a file for reading within the block."""
        async with self._opened_file(path, asyncssh.FXF_READ) as file:
            yield file

    @contextlib.asynccontextmanager
    async def creating(self, path: bytes) -> AsyncIterator[RemoteFile]:
        """Make a new file within the block, which must close it; it is removed when the block fails."""
        flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_EXCL
        try:
            async with self._opened_file(path, flags) as file:
                yield file
        except BaseException:
            self.later(self.remove(path))
            raise

    @contextlib.asynccontextmanager
    async def _opened_file(self, path: bytes, flags: int) -> AsyncIterator[RemoteFile]:
        link = await self._live()
        # block_size=0: one request a call; how many are on the way at once is decided here.
        handle = await link.ask(link.client.open(path, flags, encoding=None, block_size=0), path)
        file = RemoteFile(self, link, handle, path)
        try:
            yield file
            await file.close()
        finally:
            if not file.closed:
                self.later(file.close())


class RemoteFile:
    """An open file on the server, bound to the connection it was opened on."""

    def __init__(self, session: SftpSession, link: _Link, handle: asyncssh.SFTPClientFile, path: bytes) -> None:
        self._session = session
        self._link = link
        self._handle = handle
        self._path = path
        self.closed = False

    async def stat(self) -> Stat:
        """Return the size and mtime of the file that is open, whatever its name stands for by now."""
        return _stat(await self._link.ask(self._handle.stat(), self._path))

    async def read_all(self, size: int, moved: Callable[[int], None]) -> bytearray:
        """
        Return up to `size` bytes from the start: fewer where the file ends before.

        :param moved: called with the bytes of each answer.
        """
        buffer = bytearray(size)
        filled = 0
        ahead = self.read_ahead(size, size, moved)
        try:
            async for data in ahead:
                buffer[filled : filled + len(data)] = data
                filled += len(data)
        finally:
            ahead.close()
        del buffer[filled:]
        return buffer

    def read_ahead(self, size: int, window: int, moved: Callable[[int], None]) -> ReadAhead:
        """Return an async iterator over the first `size` bytes, with `window` bytes asked for ahead."""
        return ReadAhead(self._read, size, window, self._link.read_size, moved)

    async def _read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, fewer only at the end of the file: a server may answer with less."""
        data: bytes = await self._link.ask(self._handle.read(size, offset), self._path)
        while data and len(data) < size:
            more: bytes = await self._link.ask(self._handle.read(size - len(data), offset + len(data)), self._path)
            if not more:
                break
            data += more
        return data

    async def write_all(
        self, chunks: AsyncIterator[bytes | memoryview], window: int, moved: Callable[[int], None]
    ) -> int:
        """
        Write all chunks one after another, with `window` bytes unanswered at most; return how many bytes they were.

        Every write is acknowledged by the server when this returns.
        """
        offset = 0
        unanswered: deque[asyncio.Task[int]] = deque()
        depth = max(1, window // self._link.write_size)
        try:
            async for chunk in chunks:
                view = memoryview(chunk)
                for start in range(0, len(view), self._link.write_size):
                    if len(unanswered) >= depth:
                        moved(await unanswered.popleft())
                    piece = view[start : start + self._link.write_size]
                    unanswered.append(asyncio.create_task(self._write(bytes(piece), offset)))
                    offset += len(piece)
            while unanswered:
                moved(await unanswered.popleft())
        finally:
            _drop(unanswered)
        return offset

    async def _write(self, data: bytes, offset: int) -> int:
        await self._link.ask(self._handle.write(data, offset), self._path)
        return len(data)

    async def sync(self) -> None:
        """Have the server put the contents on its disk, where it has the fsync extension."""
        if self._session._fsync:
            try:
                await self._link.ask(_supported(self._handle.fsync()), self._path)
            except _Unsupported:
                self._session._fsync = False

    async def close(self) -> None:
        """Close the handle, once."""
        if not self.closed:
            self.closed = True
            await self._link.ask(self._handle.close(), self._path)


class ReadAhead:
    """
    The bytes of a file in order, asked for ahead of their use.

    An iterator with a :meth:`close` of its own, not a generator: it is ended from outside while a library holds it.
    """

    def __init__(
        self,
        read: Callable[[int, int], Awaitable[bytes]],
        size: int,
        window: int,
        step: int,
        moved: Callable[[int], None],
    ) -> None:
        self._read = read
        self._size = size
        self._step = step
        self._depth = max(1, -(-window // step))
        self._moved = moved
        self._next = 0
        self._asked: deque[tuple[int, asyncio.Task[bytes]]] = deque()
        self._in_hand: asyncio.Task[bytes] | None = None
        self._closed = False
        self.count = 0

    def __aiter__(self) -> ReadAhead:
        return self

    async def __anext__(self) -> bytes:
        if self._closed:
            raise FileError("was called off")
        while self._next < self._size and len(self._asked) < self._depth:
            step = min(self._step, self._size - self._next)
            self._asked.append((step, asyncio.ensure_future(self._read(self._next, step))))
            self._next += step
        if not self._asked:
            raise StopAsyncIteration
        step, self._in_hand = self._asked.popleft()
        try:
            data = await self._in_hand
        except asyncio.CancelledError:
            if self._closed:
                raise FileError("was called off") from None
            self._in_hand.cancel()
            raise
        self.count += len(data)
        self._moved(len(data))
        if len(data) < step:  # the file ends before its size: whoever counts will see
            self._next = self._size
            self._drop_asked()
        return data

    def close(self) -> None:
        """Drop what was asked for and is not used; who waits for more fails."""
        self._closed = True
        self._drop_asked()
        if self._in_hand is not None:
            self._in_hand.cancel()

    def _drop_asked(self) -> None:
        _drop(answer for _, answer in self._asked)
        self._asked.clear()


class _Unsupported(Exception):
    """The server lacks an extension."""


async def _supported(request: Awaitable[T]) -> T:
    try:
        return await request
    except asyncssh.SFTPOpUnsupported:
        raise _Unsupported from None


async def _posix_rename(client: asyncssh.SFTPClient, old: bytes, new: bytes) -> None:
    await _supported(client.posix_rename(old, new))


def _drop(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks whose result nobody will look at."""
    for task in tasks:
        task.cancel()
        task.add_done_callback(retrieve)


def _name(entry: asyncssh.SFTPName) -> bytes:
    return entry.filename if isinstance(entry.filename, bytes) else entry.filename.encode()


def _kind(attrs: asyncssh.SFTPAttrs, longname: bytes | str | None = None) -> str:
    """
    Return "file", "directory", "link" or "special", by the attributes that the server gives.

    :param longname: the entry as ``ls -l`` shows it, for servers that give no permissions.
    """
    mode = attrs.permissions
    if mode is None:
        first = (longname or b"?")[:1]
        letter = first if isinstance(first, str) else first.decode("latin-1")
        return {"-": "file", "d": "directory", "l": "link"}.get(letter, "special")
    if stat_module.S_ISREG(mode):
        return "file"
    if stat_module.S_ISDIR(mode):
        return "directory"
    if stat_module.S_ISLNK(mode):
        return "link"
    return "special"


def _stat(attrs: asyncssh.SFTPAttrs) -> Stat:
    return Stat(attrs.size or 0, int(attrs.mtime or 0))
