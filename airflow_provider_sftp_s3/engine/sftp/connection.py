"""
The connection: the only importer of asyncssh, which does login, keys and encryption.

On it lies one channel, whose bytes :class:`~airflow_provider_sftp_s3.engine.sftp_protocol.SftpProtocol` understands.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    HostKeyError,
)
from airflow_provider_sftp_s3.engine.options import KiB, MiB
from airflow_provider_sftp_s3.engine.sftp.packets import PacketReceiver, PacketSender, are_known
from airflow_provider_sftp_s3.engine.sftp.protocol import SftpProtocol

#: Bytes on the way from the server before it has to wait for us; asyncssh's default of 2 MiB idles far-away lines, and
#: it gives back a half at a time. No more comes than was asked for.
WINDOW = 64 * MiB
#: Bytes that wait to be sent before whoever writes a file waits, too.
WRITE_BUFFER = 1 * MiB
#: RFC 4253, section 12.
MSG_IGNORE = 2


@dataclass(frozen=True, kw_only=True)
class SftpServer:
    """
    Which server to reach, as whom, and how to know it.

    :param host_key: the one key to accept, as ``ssh-ed25519 AAAA...`` or bare base64 of an RSA key.
    :param known_hosts: path of a file in OpenSSH's format; used where there is no `host_key`.
    :param verify_host_key: False accepts any server; not beside a `host_key`.
    :param look_for_keys: try ssh-agent and ``~/.ssh/id_*`` where neither password nor key is given.
    :param ciphers: OpenSSH names in the order of preference; empty: AES-128-GCM first, then asyncssh's own order.
    :param disabled_algorithms: by paramiko's kinds: ``kex``, ``keys``, ``pubkeys``, ``ciphers``, ``macs``.
    :param fast_packets: False leaves all packets to asyncssh, where else the engine deals with those it knows.
    :raises ConfigurationError: a `host_key` is given, and the check that would need it is switched off.
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
    fast_packets: bool = True
    proxy_command: str | None = None
    keepalive_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.host_key and not self.verify_host_key:
            raise ConfigurationError(
                "host_key is given, and verify_host_key=False accepts any server: remove one of the two"
            )

    def uri_of(self, path: bytes) -> str:
        """Return `path` on this server as a printable URI: ``sftp://host:port/path``, whoever logs in."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sftp://{host}:{self.port}/{paths.printable(path).removeprefix('/')}"


class _Events(asyncssh.SSHClient):
    """What asyncssh calls back: remembers the key of a server that is not known, to show it."""

    offered: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.offered = key
        return False


class Channel(asyncssh.SSHClientSession[bytes]):
    """A connection with an SFTP session on it. asyncssh calls back the methods that have no docstring."""

    _channel: asyncssh.SSHClientChannel[bytes]
    _sender: PacketSender
    _paused = False

    def __init__(self, connection: asyncssh.SSHClientConnection, number: int, is_fast: bool) -> None:
        self._connection = connection
        self._is_fast = is_fast
        self.sftp = SftpProtocol(self._send, number)

    async def start(self) -> None:
        """Begin the SFTP session."""
        await self._connection.create_session(lambda: self, subsystem="sftp", encoding=None)
        await self.sftp.start()

    async def another(self) -> Channel:
        """
        Begin one more SFTP session on the same connection, and return its channel.

        :raises ConnectionFailed: the server opens no more.
        """
        channel = Channel(self._connection, self.sftp.number, self._is_fast)
        try:
            await channel.start()
        except (asyncssh.Error, OSError) as refused:
            raise ConnectionFailed(
                f"the server opened no more SFTP sessions: {paths.reason_of(refused)}", self.sftp.number
            ) from None
        return channel

    @property
    def is_openssh(self) -> bool:
        """
        Whether the server is OpenSSH's own, as far as is known.

        There a handle is a file descriptor, and a session does all its requests one after another, in their order; the
        protocol asks that only for those about one file (section 6.1). With others, such as those in front of an
        object store, the last one of several writers to close a file may win.
        """
        return "OpenSSH" in self._connection.get_extra_info("server_version", "") and self.sftp.is_openssh

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan
        chan.set_write_buffer_limits(WRITE_BUFFER)
        self._sender = PacketSender(self._connection, chan, self._is_fast, self._pace, self.sftp.lose)

    def _pace(self) -> None:
        """Let whoever writes a file wait while much waits to be sent."""
        if self._sender.held > WRITE_BUFFER:
            self.sftp.writable.clear()
        elif not self._paused:
            self.sftp.writable.set()

    def pause_writing(self) -> None:
        self._paused = True
        self.sftp.writable.clear()

    def resume_writing(self) -> None:
        self._paused = False
        self.sftp.writable.set()

    def data_received(self, data: bytes | memoryview, datatype: asyncssh.DataType) -> None:
        if datatype is None:  # else it is what the server writes to its standard error
            self.sftp.received(data)

    def eof_received(self) -> bool:
        self.sftp.lose("the server closed the SFTP session")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.sftp.lose(paths.reason_of(exc) if exc else "the server closed the connection")

    def _send(self, pieces: Sequence[bytes | memoryview]) -> None:
        try:
            self._sender.send(pieces)
        except OSError as lost:
            self.sftp.lose(paths.reason_of(lost))

    def abort(self) -> None:
        """End the connection at once."""
        self._connection.abort()

    async def close(self) -> None:
        """End the connection: politely where the server goes along, at once where it does not. Never raises."""
        proxy = self._connection.get_extra_info("subprocess")
        if self.sftp.lost is None:
            self._channel.close()
            self._connection.close()
            with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
                await asyncio.wait_for(self._connection.wait_closed(), 0.5)
        self._connection.abort()
        self.sftp.lose("closed")
        if proxy is not None:  # asyncssh kills it, and only a loop that lives on sees to its end
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    while proxy.returncode is None:  # noqa: ASYNC110 - asyncio has no public event for it
                        await asyncio.sleep(0.01)


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
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise ConfigurationError(f"disabled_algorithms: {kind} must be a list of names, not {names!r}")
        if option == "encryption_algs" and server.ciphers:
            chosen[option] = [name for name in server.ciphers if name not in names]
        elif names:
            chosen[option] = "-" + ",".join(names)
    return chosen


def _credentials(server: SftpServer) -> dict[str, Any]:
    if server.private_key or server.key_file:
        text, passphrase = (server.private_key or "").encode(), server.passphrase
        try:
            if not text:
                text = Path(str(server.key_file)).expanduser().read_bytes()
                # The password opens a key file, too, as it does for paramiko, and so for Airflow's own hooks.
                passphrase = server.passphrase or server.password
            key = asyncssh.import_private_key(text, passphrase)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, OSError, ValueError) as wrong:
            # asyncssh has a KeyImportError for a passphrase that is missing. And what a wrong one makes of a key in PEM
            # looks well-formed once in 256 times, and is then an invalid key.
            encrypted = isinstance(wrong, asyncssh.KeyEncryptionError) or b"ENCRYPTED" in text
            if encrypted or re.search("(?i)passphrase|decrypt", str(wrong)):
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


async def connect(server: SftpServer, timeout: float, number: int) -> Channel:
    """
    Open one connection and its SFTP session, or say in an error what to change.

    :param timeout: seconds for all of it.
    :param number: serial number of the connection, for the errors.
    :raises ConnectionFailed: the server cannot be reached, or does not answer in time.
    :raises ConfigurationError: it refuses us, or is another one.
    """
    # asyncssh's own log has names raw below WARNING, escape sequences included, and contents at its finest level.
    asyncssh.set_log_level(logging.WARNING)
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
                is_fast = server.fast_packets and are_known(connection, asyncssh.__version__)
                if is_fast:
                    _send_no_empty_packets(connection)
                    PacketReceiver(connection)
                channel = Channel(connection, number, is_fast)
                await channel.start()
                return channel
            except BaseException:
                connection.abort()
                raise
    except TimeoutError:
        error: Exception = ConnectionFailed(f"{where} did not let us in within conn_timeout")
    except asyncssh.PermissionDenied as denied:
        error = AuthenticationFailed(
            f"{where} refused user {server.username!r}: {paths.said(denied.reason)}. Check login, password and "
            "private_key of the sftp connection"
        )
    except asyncssh.HostKeyNotVerifiable as unknown:
        error = HostKeyError(_host_key_advice(server, events.offered, paths.said(unknown.reason)))
    except asyncssh.KeyExchangeFailed as nothing_common:
        error = ConfigurationError(
            f"{where}: {paths.said(nothing_common.reason)}. Check ciphers, disabled_algorithms and host_key of the "
            "sftp connection"
        )
    except asyncssh.ChannelOpenError as closed:
        error = ConnectionFailed(f"{where} opened no SFTP session: {paths.said(closed.reason)}")
    except (asyncssh.Error, OSError) as failed:
        error = ConnectionFailed(f"{where} cannot be reached: {paths.reason_of(failed)}")
    except ValueError as wrong:  # asyncssh's word for an algorithm that it does not know
        error = ConfigurationError(f"sftp connection: {wrong}")
    raise error


def _send_no_empty_packets(connection: asyncssh.SSHClientConnection) -> None:
    """
    Keep asyncssh from sending an empty packet before every other one: each is encrypted and sent by itself.

    They protect ciphers in CBC mode (RFC 4251, section 9.3.1), and no others.
    """
    if connection.get_extra_info("send_cipher", "-cbc").endswith("-cbc"):
        return
    send = connection.send_packet

    def send_packet(pkttype: int, *args: Any, **kwargs: Any) -> None:
        if pkttype != MSG_IGNORE:
            send(pkttype, *args, **kwargs)

    connection.send_packet = send_packet  # type: ignore[method-assign]


def _host_key_advice(server: SftpServer, offered: asyncssh.SSHKey | None, reason: str) -> str:
    if offered is None:
        return f"{server.host}:{server.port}: {reason}"
    line = offered.export_public_key().decode().strip()
    line = paths.printable(" ".join(line.split()[:2]))
    expected = "is not the host_key of the connection" if server.host_key else "is not known"
    return (
        f"the key of {server.host}:{server.port} {expected}: {line} (fingerprint {offered.get_fingerprint()}). "
        "Ask the server's owner whether it is theirs. If so, put this into the sftp connection's Extra: "
        f'{{"host_key": "{line}"}}'
    )
