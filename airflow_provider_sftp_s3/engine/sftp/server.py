"""Which SFTP server to reach, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class SftpServer:
    """
    Which server to reach, as whom, and how to know it.

    :param host_key: the one key to accept, as ``ssh-ed25519 AAAA...`` or bare base64 of an RSA key; or lines of
        known_hosts or of ssh-keyscan, whatever hosts they name.
    :param known_hosts: path of a file in OpenSSH's format; used where there is no `host_key`.
    :param verify_host_key: False accepts any server; not beside a `host_key`.
    :param look_for_keys: try ssh-agent and ``~/.ssh/id_*`` where neither password nor key is given.
    :param certificate: of the user's key, as text (``ssh-ed25519-cert-v01@openssh.com AAAA...``) or the path of a file.
    :param ciphers: OpenSSH names in the order of preference; empty: AES-128-GCM first, then asyncssh's own order. Where
        the first begins with ``+``, all are added at the end of that order.
    :param kex: key exchanges, as `ciphers`.
    :param macs: as `ciphers`.
    :param host_key_algorithms: as `ciphers`; empty: those of the keys that are known of the server.
    :param pubkey_algorithms: signatures with the user's key, as `ciphers`.
    :param ssh_config: path of a file in the format of ``~/.ssh/config``. What is given here wins; none: none is read.
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
    certificate: str | None = None
    host_key: str | None = None
    known_hosts: str = "~/.ssh/known_hosts"
    verify_host_key: bool = True
    look_for_keys: bool = True
    ciphers: Sequence[str] = ()
    kex: Sequence[str] = ()
    macs: Sequence[str] = ()
    host_key_algorithms: Sequence[str] = ()
    pubkey_algorithms: Sequence[str] = ()
    disabled_algorithms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    compress: bool = False
    fast_packets: bool = True
    proxy_command: str | None = None
    ssh_config: str | None = None
    keepalive_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.host_key and not self.verify_host_key:
            raise ConfigurationError(
                "host_key is given, and verify_host_key=False accepts any server: remove one of the two"
            )

    @property
    def where(self) -> str:
        """Host and port, for errors."""
        return f"{self.host}:{self.port}"

    def uri_of(self, path: bytes) -> str:
        """Return `path` on this server as a printable URI: ``sftp://host:port/path``, whoever logs in."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sftp://{host}:{self.port}/{paths.printable(path).removeprefix('/')}"
