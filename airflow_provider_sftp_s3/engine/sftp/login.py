"""What asyncssh is given to log in with, and what its refusals mean: each error names the setting that mends it."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import asyncssh
from asyncssh import encryption, kex, mac, public_key

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import AuthenticationFailed, ConfigurationError, HostKeyError
from airflow_provider_sftp_s3.engine.sftp import keys
from airflow_provider_sftp_s3.engine.sftp.server import SftpServer

#: Cheaper than any other where the processor has AES.
FIRST_CIPHER = b"aes128-gcm@openssh.com"

#: Prompts that ask for something else than the password.
_SECOND_FACTOR = re.compile(r"(?i)one.time|verification|\botp\b|token")


class Events(asyncssh.SSHClient):
    """
    What asyncssh calls back: gives the password, once, and remembers what the server has shown.

    :param password: none: there is no password to give.
    """

    offered: asyncssh.SSHKey | None = None
    connection: asyncssh.SSHClientConnection | None = None
    is_in = False
    #: the prompt of the server that had no answer
    prompt = ""

    def __init__(self, password: str | None) -> None:
        self._password = password

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = conn

    def auth_completed(self) -> None:
        self.is_in = True

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.offered = key
        return False

    def password_auth_requested(self) -> str | None:
        """Give the password the first time. A server that refuses it may count, and asks by more than one method."""
        given, self._password = self._password, None
        return given

    def kbdint_auth_requested(self) -> str | None:
        return None if self._password is None else ""

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        """Answer the one question that is for the password: whatever its language, what is typed is not shown."""
        if not prompts:
            return []
        words, is_shown = prompts[0]
        if len(prompts) == 1 and not _SECOND_FACTOR.search(words):
            password = re.search("(?i)password|passcode", words)
            if (password or not is_shown) and (given := self.password_auth_requested()) is not None:
                return [given]
        self.prompt = "; ".join(each for each, _ in prompts)
        return None

    @property
    def in_login(self) -> bool:
        """Whether the connection was encrypted: from then on the server is shown keys and passwords."""
        return self.connection is not None and self.connection.get_extra_info("send_cipher") is not None


def name_this_process(server: SftpServer) -> None:
    """
    Let asyncssh work in a container whose user has no passwd entry: it asks for the user's name and home.

    Where nothing tells them, LOGNAME is set to the login, and HOME to ``/``, as docker does for such users.

    :raises ConfigurationError: there is no login either.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        if not server.username:
            raise ConfigurationError(
                "the sftp connection has no login, and the user that Airflow runs as has no name to log in with"
            ) from None
        os.environ["LOGNAME"] = server.username
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - Path raises
        os.environ["HOME"] = "/"


class _Kind(NamedTuple):
    """A kind of algorithm: its name in paramiko's and in our settings, asyncssh's option, and its place in KEXINIT."""

    disabled_as: str
    setting: str
    option: str
    place: int | None
    known: Sequence[bytes]
    default: Sequence[bytes]


_CIPHERS = encryption.get_default_encryption_algs()
_KINDS = (
    _Kind("kex", "kex", "kex_algs", 0, kex.get_kex_algs(), kex.get_default_kex_algs()),
    _Kind(
        "keys",
        "host_key_algorithms",
        "server_host_key_algs",
        1,
        [*public_key.get_certificate_algs(), *public_key.get_public_key_algs()],
        [*public_key.get_default_certificate_algs(), *public_key.get_default_public_key_algs()],
    ),
    _Kind(
        "pubkeys",
        "pubkey_algorithms",
        "signature_algs",
        None,
        public_key.get_public_key_algs(),
        public_key.get_default_public_key_algs(),
    ),
    _Kind(
        "ciphers",
        "ciphers",
        "encryption_algs",
        2,
        encryption.get_encryption_algs(),
        [FIRST_CIPHER, *(name for name in _CIPHERS if name != FIRST_CIPHER)],
    ),
    _Kind("macs", "macs", "mac_algs", 4, mac.get_mac_algs(), mac.get_default_mac_algs()),
)


def algorithms(server: SftpServer) -> dict[str, Any]:
    """
    Return asyncssh's options for the algorithms.

    :raises ConfigurationError: there is no such kind as `disabled_algorithms` names, or it is no list of names.
    """
    kinds = [kind.disabled_as for kind in _KINDS]
    for kind, disabled in server.disabled_algorithms.items():
        if kind not in kinds:
            raise ConfigurationError(f"disabled_algorithms: there is no {kind!r}; there are {', '.join(kinds)}")
        if isinstance(disabled, str) or not all(isinstance(name, str) for name in disabled):
            raise ConfigurationError(f"disabled_algorithms: {kind} must be a list of names, not {disabled!r}")
    chosen = {kind.option: names for kind in _KINDS if (names := _chosen(server, kind)) is not None}
    return chosen | {"compression_algs": ["zlib@openssh.com", "none"] if server.compress else ["none"]}


def _chosen(server: SftpServer, kind: _Kind) -> list[str] | str | None:
    """Return what is chosen of a kind; None: what asyncssh chooses by itself."""
    names: Sequence[str] = getattr(server, kind.setting)
    disabled = server.disabled_algorithms.get(kind.disabled_as, ())
    adds = bool(names) and names[0].startswith("+")
    names = [name.removeprefix("+") for name in names]
    if kind.setting == "host_key_algorithms" and (adds != bool(disabled)):
        # In asyncssh's words, since what it begins with depends on the keys that are known of the server.
        return f"+{','.join(names)}" if adds else f"-{','.join(disabled)}" if not names else _without(names, disabled)
    if adds or (not names and (disabled or kind.setting == "ciphers")):
        names = [*(name.decode() for name in kind.default), *names]
    return _without(names, disabled) if names else None


def _without(names: Sequence[str], disabled: Sequence[str]) -> list[str]:
    return [name for name in names if name not in disabled]


def credentials(server: SftpServer) -> dict[str, Any]:
    """
    Return asyncssh's options for the keys to log in with. The password is with :class:`Events`.

    :raises AuthenticationFailed: a key, passphrase or certificate cannot be used.
    """
    if server.private_key or server.key_file:
        key = _private_key(server)
        given: Any = (key, _certificate(server.certificate, key)) if server.certificate else key
        return {"client_keys": [given], "agent_path": None}
    if server.certificate:
        raise AuthenticationFailed("there is a certificate, and no key that it is for: set private_key or key_file")
    if server.password or not server.look_for_keys:
        return {"client_keys": None, "agent_path": None}
    return {}


def _private_key(server: SftpServer) -> asyncssh.SSHKey:
    where = "private_key" if server.private_key else f"key_file {server.key_file!r}"
    try:
        raw = (server.private_key or "").encode() or expanded(str(server.key_file)).read_bytes()
    except (OSError, ValueError) as wrong:
        hint = " (it looks like a key itself: that belongs into private_key)" if "BEGIN" in str(server.key_file) else ""
        where = "key_file" if hint else where
        raise AuthenticationFailed(f"{where} cannot be used: {hint or _reason(wrong)}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:  # DER, say
        text, tidied = "", raw
    else:
        tidied = keys.tidy(text).encode()
    # The password opens a key file, too, as it does for paramiko, and so for Airflow's own hooks.
    passphrase = server.passphrase or (None if server.private_key else server.password)
    try:
        return _opened(tidied, passphrase)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as wrong:
        # asyncssh has a KeyImportError for a passphrase that is missing. And what a wrong one makes of a key in PEM
        # looks well-formed once in 256 times, and is then an invalid key.
        encrypted = isinstance(wrong, asyncssh.KeyEncryptionError) or b"ENCRYPTED" in tidied
        if encrypted or re.search("(?i)passphrase|decrypt", str(wrong)):
            raise AuthenticationFailed(
                "the private key is encrypted and the passphrase does not open it: "
                "set private_key_passphrase in the connection's Extra"
            ) from None
        looks = keys.looks_like(text) or paths.said(wrong)
        raise AuthenticationFailed(f"{where} cannot be used: {looks}. A private key's text: {keys.FORM}") from None


def _opened(key: bytes, passphrase: str | None) -> asyncssh.SSHKey:
    """Return the key. A line break at a passphrase's end is taken for what a paste has left, where it opens nothing."""
    bare = passphrase.rstrip("\r\n") if passphrase else passphrase
    if bare != passphrase:
        try:
            return asyncssh.import_private_key(key, passphrase)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError):
            pass
    return asyncssh.import_private_key(key, bare)


def _certificate(given: str, key: asyncssh.SSHKey) -> asyncssh.SSHCertificate:
    try:
        text = given if "AAAA" in given else expanded(given).read_text()
        certificate = asyncssh.import_certificate(text.replace("\\n", "\n").strip().strip("\ufeff\"'"))
    except (asyncssh.KeyImportError, OSError, ValueError) as wrong:
        raise AuthenticationFailed(
            f"certificate cannot be used: {_reason(wrong)}. It is a path, or a text that begins with "
            "'ssh-ed25519-cert-v01@openssh.com AAAA' or the like"
        ) from None
    if certificate.key.public_data != key.public_data:
        raise AuthenticationFailed("certificate cannot be used: it is for another key than the private key given")
    return certificate


def _reason(wrong: Exception) -> str:
    """Return what an error says, without a file name in it, which may be a key that was given as a path."""
    return str((isinstance(wrong, OSError) and wrong.strerror) or paths.said(wrong))


def expanded(path: str) -> Path:
    """Return a path with ``~`` expanded, where there is a home."""
    return Path(os.path.expanduser(path.strip()))  # noqa: PTH111 - Path raises where there is none


class Trust(NamedTuple):
    """
    Which keys a server may have.

    :param known_hosts: asyncssh's argument.
    :param remark: what could not be read of a file, for the error of a server that is not known.
    """

    known_hosts: Any
    remark: str = ""


NOBODY: tuple[list[Any], ...] = ([], [], [])


def trusted_keys(server: SftpServer) -> Trust:
    """Return which keys the server may have. :raises HostKeyError: they cannot be read."""
    if not server.verify_host_key:
        return Trust(None)
    if server.host_key:
        try:
            found = keys.host_keys(server.host_key)
            return Trust(
                tuple(
                    [asyncssh.import_public_key(line) for line in lines]
                    for lines in (found.trusted, found.authorities, found.revoked)
                )
            )
        except (asyncssh.KeyImportError, ValueError) as wrong:
            raise HostKeyError(
                f"host_key cannot be read: {paths.said(wrong)}; it looks like 'ssh-ed25519 AAAA...'"
            ) from None
    try:
        text = expanded(server.known_hosts).read_bytes().decode("utf-8-sig", "replace")
    except FileNotFoundError:
        return Trust(NOBODY)
    except OSError as wrong:
        raise HostKeyError(f"known_hosts {server.known_hosts!r} cannot be read: {wrong}") from None
    return _known_hosts(text, server.known_hosts)


def _known_hosts(text: str, path: str) -> Trust:
    """Read known_hosts as OpenSSH does, which passes over a malformed line. One that revokes a key is an error."""
    with contextlib.suppress(ValueError):
        return Trust(asyncssh.import_known_hosts(text) if text.strip() else NOBODY)
    malformed: list[int] = []
    good: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            asyncssh.import_known_hosts(line)
        except ValueError as wrong:
            if line.lstrip().startswith("@"):
                raise HostKeyError(
                    f"known_hosts {path!r}, line {number}, cannot be read: {paths.said(wrong)}"
                ) from None
            malformed.append(number)
        else:
            good.append(line)
    remark = ""
    if malformed:
        lines = ", ".join(map(str, malformed[:5])) + (", ..." if malformed[5:] else "")
        remark = f"known_hosts {path!r} cannot be read in line {lines}. "
    return Trust(asyncssh.import_known_hosts("\n".join(good)) if good else NOBODY, remark)


def host_key_advice(server: SftpServer, offered: asyncssh.SSHKey | None, reason: str, remark: str) -> str:
    """Return the error of a server whose key is not trusted: what to put where, if it is the right one."""
    if offered is None:
        return f"{server.where}: {paths.said(reason)}"
    line = " ".join(offered.export_public_key().decode().split()[:2])
    expected = "is not the host_key of the connection" if server.host_key else "is not known"
    return (
        f"the key of {server.where} {expected}: {line} (fingerprint {offered.get_fingerprint()}). {remark}"
        "Ask the server's owner whether it is theirs. If so, put this into the sftp connection's Extra: "
        f'{{"host_key": "{line}"}}'
    )


def nothing_in_common(server: SftpServer, events: Events) -> ConfigurationError | None:
    """
    Return the error of a key exchange that could not work: which setting mends it, and what the server offers.

    None: it could work, or the server has not said what it offers.
    """
    if events.connection is None or events.in_login:
        return None
    ours, theirs = (
        _name_lists(getattr(events.connection, name, b"")) for name in ("_client_kexinit", "_server_kexinit")
    )
    if not ours or not theirs:
        return None
    # Without an algorithm for host keys asyncssh says "null", and offers no key exchange either.
    for kind in sorted(_KINDS, key=lambda kind: kind.disabled_as != "keys" or ours[1] != [b"null"]):
        if kind.place is None:
            continue
        offered = theirs[kind.place]
        if not set(ours[kind.place]) & set(offered):
            return _advice(server, kind, offered)
        if kind.setting == "ciphers":
            cipher = next(name for name in ours[kind.place] if name in offered)
            if b"gcm" in cipher or b"poly1305" in cipher:
                return None  # it needs no MAC
    return None


def _name_lists(kexinit: bytes) -> list[list[bytes]]:
    """Return the lists of a KEXINIT packet: RFC 4253, section 7.1."""
    lists: list[list[bytes]] = []
    at = 17  # its number, and a cookie
    while at + 4 <= len(kexinit) and len(lists) < 10:
        end = at + 4 + int.from_bytes(kexinit[at : at + 4], "big")
        lists.append(kexinit[at + 4 : end].split(b","))
        at = end
    return lists if len(lists) == 10 else []


def _advice(server: SftpServer, kind: _Kind, offered: Sequence[bytes]) -> ConfigurationError:
    algorithms = [name for name in offered if not name.startswith((b"ext-info-", b"kex-strict-"))]
    shown = paths.said(b", ".join(algorithms).decode("utf-8", "replace"))
    usable = [name.decode() for name in offered if name in kind.known]
    text = f"{server.where} and this connection have no {kind.setting} in common: the server offers {shown}. "
    disabled = server.disabled_algorithms.get(kind.disabled_as, ())
    all_are_disabled = set(usable) <= set(disabled)
    if kind.setting == "host_key_algorithms" and not all_are_disabled and any(name in kind.default for name in offered):
        source = "host_key of the connection" if server.host_key else f"known_hosts {server.known_hosts!r}"
        return HostKeyError(
            f"{text}The key in {source} is of another type: ask the server's owner for its key of one of these types, "
            f"and put it into host_key (`ssh-keyscan -p {server.port} {server.host}` shows it)"
            + (", or look at host_key_algorithms" if server.host_key_algorithms else "")
        )
    if not usable:
        return ConfigurationError(
            f"{text}asyncssh {asyncssh.__version__} has none of them: its owner has to add others"
        )
    if usable[0] in disabled:
        return ConfigurationError(f"{text}Take {usable[0]} out of disabled_algorithms of the sftp connection")
    if usable[0].encode() in kind.default:
        return ConfigurationError(f"{text}Add one of these to {kind.setting} of the sftp connection, or leave that out")
    extra = json.dumps({kind.setting: f"+{usable[0]}"})
    return ConfigurationError(
        f"{text}If its owner can offer nothing better, put this into the sftp connection's Extra: {extra}"
    )


def config_of(server: SftpServer, arguments: Mapping[str, Any]) -> asyncssh.SSHClientConnectionOptions:
    """
    Return what ``ssh_config`` says of the way to the server. To be called in a thread: it reads files.

    :raises ConfigurationError: the file cannot be read.
    """
    try:
        expanded(str(server.ssh_config)).read_bytes()
        return asyncssh.SSHClientConnectionOptions(
            host=server.host, client_keys=None, agent_path=None, known_hosts=None, **arguments
        )
    except (OSError, ValueError) as wrong:
        raise ConfigurationError(f"ssh_config {server.ssh_config!r} cannot be read: {paths.said(wrong)}") from None
