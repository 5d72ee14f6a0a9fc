"""An Airflow `sftp` connection -> the engine's description of the server."""

from __future__ import annotations

import dataclasses
import math
import shlex
from typing import Any

from airflow.providers.sftp.hooks.sftp import SFTPHookAsync

from airflow_provider_sftp_s3._compat import AirflowNotFoundException
from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.options import TransferOptions, Unset
from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer
from airflow_provider_sftp_s3.hooks.extra import fields_of


class SftpSessionHook(SFTPHookAsync):
    """
    Reads an `sftp` connection, with the extras under the names that Airflow's own SFTPHook and SSHHook give them.

    The connection itself is opened by the engine: SFTPHookAsync ignores time limits, keepalive and ciphers in the
    supported range, and reads `host_key` differently by version.

    :param sftp_conn_id: id of the connection.
    """

    def read(self, options: TransferOptions) -> tuple[SftpServer, TransferOptions]:
        """
        Return the server, and `options` with the connection's `conn_timeout` where they have none.

        :raises ConfigurationError: there is no such connection, or a field of it cannot be used.
        """
        try:
            connection = self.get_connection(self.sftp_conn_id)
        except AirflowNotFoundException as missing:
            raise ConfigurationError(f"sftp_conn_id: {missing}") from None
        host = (connection.host or "").strip()
        if not host:
            raise ConfigurationError(f"the sftp connection {self.sftp_conn_id!r} has no host")
        port = connection.port or 22
        if not 0 < port < 65536:
            raise ConfigurationError(f"the port of the sftp connection {self.sftp_conn_id!r} is {port}, which is none")
        extra = _Extra(self.sftp_conn_id, fields_of("sftp", self.sftp_conn_id, connection))
        host_key = extra.text("host_key")
        unchecked_by = extra.switches_off_the_host_key_check()
        if host_key and unchecked_by:
            raise extra.wrong(
                unchecked_by,
                f"such that any server is accepted, and host_key is given, too: remove {unchecked_by}, so that only "
                "the server with that key is accepted; or remove host_key to accept any server",
            )
        server = SftpServer(
            host=host,
            port=port,
            username=(connection.login or "").strip() or None,
            password=(connection.password or "").strip() or None,  # as SSHHook does
            private_key=extra.text("private_key"),
            key_file=extra.text("key_file"),
            passphrase=extra.text("private_key_passphrase") or extra.text("passphrase"),
            certificate=extra.text("certificate"),
            host_key=host_key,
            known_hosts=extra.text("known_hosts") or SftpServer.known_hosts,
            verify_host_key=not unchecked_by,
            look_for_keys=extra.flag("look_for_keys", True),
            ciphers=extra.names("ciphers"),
            kex=extra.names("kex"),
            macs=extra.names("macs"),
            host_key_algorithms=extra.names("host_key_algorithms"),
            pubkey_algorithms=extra.names("pubkey_algorithms"),
            disabled_algorithms=extra.algorithms("disabled_algorithms"),
            # SSHHook compresses unless told not to. That makes a transfer four times slower, so here it is asked for.
            compress=extra.flag("compress", False),
            fast_packets=extra.flag("fast_packets", True),
            proxy_command=extra.command("host_proxy_cmd"),
            ssh_config=extra.path_if("ssh_config", "~/.ssh/config"),
            keepalive_seconds=extra.seconds("keepalive_interval", SftpServer.keepalive_seconds),
        )
        if isinstance(options.conn_timeout, Unset):
            conn_timeout = extra.seconds("conn_timeout", options.conn_timeout)
            options = dataclasses.replace(options, conn_timeout=conn_timeout)
        return server, options


class _Extra:
    """A connection's Extra, read field by field, each with an error that names it."""

    def __init__(self, conn_id: str, extra: dict[str, Any]) -> None:
        self._conn_id = conn_id
        self._extra = extra

    def wrong(self, name: str, what: str) -> ConfigurationError:
        return ConfigurationError(f"Extra of the sftp connection {self._conn_id!r}: {name} is {what}")

    def text(self, name: str) -> str | None:
        value = self._extra.get(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, f"a {type(value).__name__}, and must be a string")
        return value or None

    def path_if(self, name: str, default: str) -> str | None:
        """Return the path that is given, or `default` where it says true."""
        value = self._extra.get(name)
        if str(value).lower() in ("true", "false"):
            return default if str(value).lower() == "true" else None
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, f"{value!r}, and must be true, false or a path")
        return value or None

    def command(self, name: str) -> str | None:
        try:
            return self.text(name) if shlex.split(self.text(name) or "") else None
        except ValueError as wrong:
            raise self.wrong(name, f"no command line: {wrong}") from None

    def flag(self, name: str, default: bool) -> bool:
        value = str(self._extra.get(name, default)).lower()
        if value not in ("true", "false"):
            raise self.wrong(name, f"{self._extra[name]!r}, and must be true or false")
        return value == "true"

    def switches_off_the_host_key_check(self) -> str | None:
        """Return the field by which any server is accepted, as SSHHook and SFTPHookAsync read it; None: none does."""
        by = "no_host_key_check" if "no_host_key_check" in self._extra else "ignore_hostkey_verification"
        if self.flag(by, False):
            return by
        return "known_hosts" if (self.text("known_hosts") or "").strip().lower() == "none" else None

    def seconds(self, name: str, default: float) -> float:
        value = self._extra.get(name, default)
        try:
            seconds = float(value)
            if 0 <= seconds < math.inf:
                return seconds
        except (TypeError, ValueError, OverflowError):
            pass
        raise self.wrong(name, f"{value!r}, and must be a number of seconds")

    def names(self, name: str) -> tuple[str, ...]:
        value = self._extra.get(name) or ()
        if isinstance(value, str):
            value = value.split(",")
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise self.wrong(name, f"{value!r}, and must be a list of names")
        return tuple(item.strip() for item in value)

    def algorithms(self, name: str) -> dict[str, tuple[str, ...]]:
        value = self._extra.get(name) or {}
        if not isinstance(value, dict) or not all(
            isinstance(names, (list, tuple)) and all(isinstance(each, str) for each in names)
            for names in value.values()
        ):
            raise self.wrong(name, f'{value!r}, and must be like {{"pubkeys": ["rsa-sha2-256"]}}')
        return {str(kind): tuple(names) for kind, names in value.items()}
