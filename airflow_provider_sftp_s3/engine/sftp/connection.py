"""
The connection: asyncssh does login, keys and encryption; nothing but this and :mod:`login` knows it.

On it lies one channel, whose bytes :class:`~airflow_provider_sftp_s3.engine.sftp.protocol.SftpProtocol` understands.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shlex
import socket
from collections.abc import Sequence
from typing import Any

import asyncssh

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, ConnectionFailed, HostKeyError, LoginRefused
from airflow_provider_sftp_s3.engine.options import KiB, MiB
from airflow_provider_sftp_s3.engine.sftp import login
from airflow_provider_sftp_s3.engine.sftp.line import Proxy, dial, through
from airflow_provider_sftp_s3.engine.sftp.packets import PacketReceiver, PacketSender, are_known
from airflow_provider_sftp_s3.engine.sftp.protocol import SftpProtocol
from airflow_provider_sftp_s3.engine.sftp.server import SftpServer

#: Bytes on the way from the server before it has to wait for us; asyncssh's default of 2 MiB idles far-away lines, and
#: it gives back a half at a time. No more comes than was asked for.
WINDOW = 64 * MiB
#: Bytes that wait to be sent before whoever writes a file waits, too.
WRITE_BUFFER = 1 * MiB
#: RFC 4253, section 12.
MSG_IGNORE = 2
#: What servers say as they hang up on a wrong password or one key too many, by other codes than the protocol has.
_REFUSAL = re.compile("(?i)authenti|password|log ?in|account|credential|permission|denied")

__all__ = ["Channel", "SftpServer", "connect"]


class Channel(asyncssh.SSHClientSession[bytes]):
    """A connection with an SFTP session on it. asyncssh calls back the methods that have no docstring."""

    _channel: asyncssh.SSHClientChannel[bytes]
    _sender: PacketSender
    _paused = False

    def __init__(
        self, connection: asyncssh.SSHClientConnection, number: int, is_fast: bool, proxy: Proxy | None = None
    ) -> None:
        self._connection = connection
        self._proxy = proxy
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
        try:
            if self.sftp.lost is None:
                self._channel.close()
                self._connection.close()
                with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
                    await asyncio.wait_for(self._connection.wait_closed(), 0.5)
        finally:
            self._connection.abort()
            self.sftp.lose("closed")
            if self._proxy is not None:
                await self._proxy.end()


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
    login.name_this_process(server)
    events = login.Events(server.password)
    trust = login.trusted_keys(server)
    arguments = {
        **login.algorithms(server),
        **login.credentials(server),
        "known_hosts": trust.known_hosts,
        "client_factory": lambda: events,
        "window": WINDOW,
        "max_pktsize": 256 * KiB,
        "keepalive_interval": server.keepalive_seconds,
        # Certificates that the worker happens to have must not make a server known.
        "x509_trusted_certs": None,
        "x509_trusted_cert_paths": [],
    }
    line: socket.socket | None = None
    proxy: Proxy | None = None
    try:
        async with asyncio.timeout(timeout):
            config, line, proxy = await _way_to(server)
            connection = await asyncssh.connect(server.host, sock=line, **config, **arguments)
            try:
                is_fast = server.fast_packets and are_known(connection, asyncssh.__version__)
                if is_fast:
                    _send_no_empty_packets(connection)
                    PacketReceiver(connection)
                channel = Channel(connection, number, is_fast, proxy)
                await channel.start()
                return channel
            except BaseException:
                connection.abort()
                raise
    except (asyncssh.Error, OSError, ValueError) as failed:  # TimeoutError is an OSError
        if isinstance(failed, ConfigurationError):  # of ours, which is a ValueError
            raise
        error = login.nothing_in_common(server, events) or _error_of(failed, server, events, trust)
        if proxy is not None and isinstance(error, ConnectionFailed):
            error = ConnectionFailed(f"{error}. {await proxy.last_words()}".removesuffix(". "), in_login=error.in_login)
        await _hang_up(line, proxy, events)
    except BaseException:
        await _hang_up(line, proxy, events)
        raise
    raise error


async def _way_to(server: SftpServer) -> tuple[dict[str, Any], socket.socket | None, Proxy | None]:
    """
    Return asyncssh's arguments for the way to the server, a line to it, and the command behind that.

    There is no line where `ssh_config` has the way go over other servers: asyncssh makes that one.
    """
    way: dict[str, Any] = {"config": None, "port": server.port}
    if server.username:
        way["username"] = server.username
    if server.proxy_command:
        way["proxy_command"] = None
    host, port = server.host, server.port
    command: Sequence[str] = shlex.split(server.proxy_command or "")
    if server.ssh_config:
        if server.port == SftpServer.port:  # it may be that nobody has given one
            del way["port"]
        way["config"] = [str(login.expanded(server.ssh_config))]
        options = await asyncio.to_thread(login.config_of, server, way)
        if options.tunnel and not command:
            return way, None, None
        host, port, command = options.host, options.port, command or options.proxy_command or ()
    if command:
        return way, *await through(command)
    return way, await dial(host, port), None


async def _hang_up(line: socket.socket | None, proxy: Proxy | None, events: login.Events) -> None:
    """End what a connection that failed has left behind. Never raises."""
    if line is not None and events.connection is None:
        line.close()
    elif line is not None and events.connection is not None:
        # It is the event loop's to close. uvloop does not always let go of the object where it has closed its number,
        # which may be another file's by the time that the object is collected.
        events.connection.abort()
        for _ in range(10):
            if line.fileno() == -1:
                break
            await asyncio.sleep(0)
        line.detach()
    if proxy is not None:
        await proxy.end()


def _error_of(failed: Exception, server: SftpServer, events: login.Events, trust: login.Trust) -> Exception:
    """Return the error for a user of what asyncssh or the system has raised."""
    where = server.where
    if isinstance(failed, TimeoutError) and not failed.errno:  # else it is the system's
        return ConnectionFailed(f"{where} did not let us in within conn_timeout")
    if isinstance(failed, asyncssh.HostKeyNotVerifiable):
        return HostKeyError(login.host_key_advice(server, events.offered, str(failed.reason), trust.remark))
    if isinstance(failed, asyncssh.ChannelOpenError):
        return ConnectionFailed(f"{where} opened no SFTP session: {paths.said(failed.reason)}")
    if isinstance(failed, asyncssh.KeyExchangeFailed):
        return ConfigurationError(
            f"{where}: {paths.said(failed.reason)}. Check ciphers, kex, macs and host_key of the sftp connection"
        )
    if isinstance(failed, (asyncssh.Error, OSError)):
        in_login = events.in_login and not events.is_in
        if in_login and _is_refusal(failed):
            asked = f" It asked {paths.said(events.prompt)!r}, which nothing here answers." if events.prompt else ""
            return LoginRefused(
                f"{where} refused user {server.username!r}: {paths.said(_words(failed))}.{asked} Check login, "
                "password and private_key of the sftp connection"
            )
        if in_login:
            return ConnectionFailed(
                f"{where} hung up in the middle of the login, as some servers do where a password or key is wrong: "
                f"{paths.said(_words(failed))}",
                in_login=True,
            )
        return ConnectionFailed(f"{where} cannot be reached: {paths.said(_words(failed))}")
    return ConfigurationError(f"sftp connection: {paths.said(failed)}")  # asyncssh's word for an unknown algorithm


def _words(failed: Exception) -> str:
    return str(getattr(failed, "reason", "") or paths.reason_of(failed))


def _is_refusal(failed: Exception) -> bool:
    if isinstance(failed, (asyncssh.PermissionDenied, asyncssh.IllegalUserName)):
        return True
    return isinstance(failed, asyncssh.DisconnectError) and bool(_REFUSAL.search(str(failed.reason)))


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
