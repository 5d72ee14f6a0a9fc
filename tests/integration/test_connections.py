"""Airflow connections, field by field, against servers that look at them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import pickle
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncssh
import psutil
import pytest

from airflow_provider_sftp_s3.engine.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    HostKeyError,
)
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.sftp import connection as ssh
from airflow_provider_sftp_s3.engine.sftp import login
from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer as Target
from airflow_provider_sftp_s3.engine.sftp.packets import PacketReceiver, PacketSender
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine_thread import EngineThread
from airflow_provider_sftp_s3.hooks.s3_bucket import bucket_of
from airflow_provider_sftp_s3.hooks.sftp_server import SftpSessionHook
from tests.support.airflow_env import airflow_connections, warnings_of_ours_only
from tests.support.faulty_sftp import NeverGreets
from tests.support.s3_server import ACCESS_KEY, REGION, SECRET_KEY, SESSION_TOKEN, S3Server
from tests.support.sftp_servers import AsyncsshServer, SftpServer

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _no_keys_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have keys, an agent, known hosts and AWS settings: none of them counts here."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "home/.ssh").mkdir(parents=True)


# ---------------------------------------------------------------------------------------------------------------- sftp


def log_in(connection: dict[str, Any], **options: Any) -> dict[str, str]:
    """Log in with an Airflow connection, look at the server's directory, and tell what was agreed on."""
    with airflow_connections(sftp_here=connection), warnings_of_ours_only():
        server, read = SftpSessionHook("sftp_here").read(TransferOptions(**options))

    async def look() -> dict[str, str]:
        async with SftpSession(server, read) as session:
            assert await session.is_directory(b"/")
            connected = session._link._channel._connection if session._link else None
            assert connected is not None
            return {
                name: str(connected.get_extra_info(name))
                for name in ("username", "send_cipher", "send_compression", "server_host_key")
            }

    return EngineThread().run(look)


def without_password(server: SftpServer, **extra: Any) -> dict[str, Any]:
    """Return a connection that has nothing but what its Extra says to log in with."""
    return server.airflow_connection(**extra) | {"password": None}


def test_password(sftp_server: AsyncsshServer) -> None:
    """Login and password of the connection; a wrong one is an error that names the fields."""
    assert log_in(sftp_server.airflow_connection())["username"] == "user"
    with pytest.raises(AuthenticationFailed, match=r"refused user 'user'.*Check login, password and private_key"):
        log_in(sftp_server.airflow_connection() | {"password": "wrong"})


KEYS: list[tuple[str, str, str | None]] = [
    # algorithm, format, passphrase
    ("ssh-ed25519", "openssh", None),
    ("ssh-ed25519", "openssh", "open sesame"),
    ("ssh-ed25519", "pkcs8-pem", None),
    ("ssh-ed25519", "pkcs8-pem", "open sesame"),
    ("ssh-rsa", "openssh", None),
    ("ssh-rsa", "openssh", "open sesame"),
    ("ssh-rsa", "pkcs1-pem", None),
    ("ssh-rsa", "pkcs1-pem", "open sesame"),
    ("ssh-rsa", "pkcs8-pem", "open sesame"),
    ("ecdsa-sha2-nistp256", "openssh", "open sesame"),
]
ENCRYPTED = [key for key in KEYS if key[2]]


@pytest.fixture(scope="module")
def user_keys() -> dict[str, asyncssh.SSHKey]:
    """A private key of each algorithm: RSA takes its time."""
    return {algorithm: asyncssh.generate_private_key(algorithm) for algorithm in {key[0] for key in KEYS}}


@pytest.fixture
def server_of(tmp_path: Path, user_keys: dict[str, asyncssh.SSHKey]) -> Iterator[Callable[[str], AsyncsshServer]]:
    """Starts a server that lets in whoever has the key of an algorithm, and nobody else."""
    started: list[AsyncsshServer] = []

    def start(algorithm: str) -> AsyncsshServer:
        server = AsyncsshServer(tmp_path / "sftp", password=None)
        server.client_public_key = user_keys[algorithm].export_public_key().decode()
        started.append(server.__enter__())
        return server

    yield start
    for server in started:
        server.__exit__(None, None, None)


def exported(key: asyncssh.SSHKey, form: str, passphrase: str | None) -> str:
    # One round makes a weak key, and a quick test.
    return key.export_private_key(form, passphrase, rounds=1, ignore_few_rounds=True).decode()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["private_key", "key_file"])
@pytest.mark.parametrize(("algorithm", "form", "passphrase"), KEYS)
def test_private_keys(
    server_of: Callable[[str], AsyncsshServer],
    user_keys: dict[str, asyncssh.SSHKey],
    tmp_path: Path,
    algorithm: str,
    form: str,
    passphrase: str | None,
    place: str,
) -> None:
    """A key logs in as text in the Extra and as a file, in OpenSSH's format and in PEM, encrypted or not."""
    server = server_of(algorithm)
    text = exported(user_keys[algorithm], form, passphrase)
    if place == "key_file":
        (tmp_path / "home/key").write_text(text)
    extra = {"private_key": None, place: text if place == "private_key" else "~/key"}
    if passphrase:
        extra["private_key_passphrase"] = passphrase
    assert log_in(server.airflow_connection(**extra))["username"] == "user"


def test_the_password_opens_a_key_file(
    server_of: Callable[[str], AsyncsshServer], user_keys: dict[str, asyncssh.SSHKey], tmp_path: Path
) -> None:
    """As with Airflow's own hooks, where paramiko tries it; white space around a password never counts there."""
    server = server_of("ssh-ed25519")
    (tmp_path / "home/key").write_text(exported(user_keys["ssh-ed25519"], "openssh", "open sesame"))
    connection = server.airflow_connection(private_key=None, key_file="~/key")
    assert log_in({**connection, "password": "open sesame\n"})["username"] == "user"


@pytest.mark.slow
@pytest.mark.parametrize("given", ["wrong", None])
@pytest.mark.parametrize(("algorithm", "form", "passphrase"), ENCRYPTED)
def test_a_passphrase_that_is_wrong_or_missing_is_named(
    sftp_server: AsyncsshServer,
    user_keys: dict[str, asyncssh.SSHKey],
    algorithm: str,
    form: str,
    passphrase: str,
    given: str | None,
) -> None:
    """The error tells which field to set, and not a byte of the key."""
    text = exported(user_keys[algorithm], form, passphrase)
    connection = without_password(sftp_server, private_key=text, private_key_passphrase=given)
    with pytest.raises(AuthenticationFailed, match="private_key_passphrase") as error:
        log_in(connection)
    assert "passphrase does not open it" in str(error.value)
    assert text.splitlines()[1] not in str(error.value)
    assert "wrong" not in str(error.value)
    assert sftp_server.connections_total == 0


def test_a_key_that_the_server_does_not_know_is_refused(
    sftp_server: AsyncsshServer, user_keys: dict[str, asyncssh.SSHKey]
) -> None:
    """The error says who was refused, and what to look at."""
    text = exported(user_keys["ssh-ed25519"], "openssh", None)
    with pytest.raises(AuthenticationFailed, match=r"refused user 'user'.*private_key"):
        log_in(without_password(sftp_server, private_key=text))


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"private_key": "no key at all"}, ["private_key cannot be used"]),
        ({"private_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"}, ["private_key cannot be used"]),
        ({"key_file": "/nowhere/key"}, ["key_file '/nowhere/key' cannot be used", "No such file"]),
    ],
    ids=str,
)
def test_a_key_that_is_none_is_named(sftp_server: AsyncsshServer, extra: dict[str, Any], words: list[str]) -> None:
    """What cannot be read as a key fails before anything is sent to the server."""
    with pytest.raises(AuthenticationFailed) as error:
        log_in(without_password(sftp_server, **extra))
    for word in words:
        assert word in str(error.value)
    assert sftp_server.connections_total == 0


def test_a_key_text_with_windows_line_ends_logs_in(sftp_server: AsyncsshServer) -> None:
    """Keys are pasted from everywhere."""
    pasted = "\r\n" + sftp_server.client_key_text.replace("\n", "\r\n") + "\r\n"
    log_in(without_password(sftp_server, private_key=pasted))


# ----------------------------------------------------------------------------------------------------------- host keys


@pytest.mark.parametrize("form", ["{key}", "{key} a comment", "  {key}\n"])
def test_host_key(sftp_server: AsyncsshServer, form: str) -> None:
    """The server's own key lets us in, as a line of known_hosts or authorized_keys has it."""
    log_in(sftp_server.airflow_connection(host_key=form.format(key=sftp_server.host_key)))


@pytest.mark.parametrize("prefix", ["", "ssh-rsa "])
def test_a_host_key_without_its_type_is_rsa(tmp_path: Path, prefix: str) -> None:
    """As Airflow's SSHHook has it: bare base64 is an RSA key."""
    server = AsyncsshServer(tmp_path / "sftp")
    server._host_key = asyncssh.generate_private_key("ssh-rsa")
    bare = base64.b64encode(server._host_key.public_data).decode()
    assert server.host_key == f"ssh-rsa {bare}"
    with server:
        log_in(server.airflow_connection(host_key=prefix + bare))


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"])
def test_another_host_key_is_refused(sftp_server: AsyncsshServer, algorithm: str) -> None:
    """A server with a key that is not the connection's is not logged in to: it might be somebody else's."""
    other = " ".join(asyncssh.generate_private_key(algorithm).export_public_key().decode().split()[:2])
    with pytest.raises(ConfigurationError, match="host_key") as error:
        log_in(sftp_server.airflow_connection(host_key=other))
    if algorithm == "ssh-ed25519":  # of another type, the two sides do not come so far as to see the key
        assert isinstance(error.value, HostKeyError)
        assert sftp_server.host_key in str(error.value)
    assert not sftp_server.requests


@pytest.mark.parametrize("wrong", ["nonsense", "ssh-ed25519 AAAA", "ssh-made-up AAAA", "AAAA"])
def test_a_host_key_that_is_none_is_named(sftp_server: AsyncsshServer, wrong: str) -> None:
    """The error shows what a key looks like."""
    with pytest.raises(HostKeyError, match=r"host_key cannot be read.*'ssh-ed25519 AAAA\.\.\.'"):
        log_in(sftp_server.airflow_connection(host_key=wrong))
    assert sftp_server.connections_total == 0


def hosts_line(server: SftpServer, key: str | None = None, *, hashed: bool = False) -> str:
    """Return the line of known_hosts for a server."""
    name = f"[{server.host}]:{server.port}"
    if hashed:
        salt = b"01234567890123456789"
        digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
        name = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    return f"{name} {key or server.host_key}\n"


def unkeyed(server: SftpServer, **extra: Any) -> dict[str, Any]:
    """Return a connection that has no host_key."""
    return server.airflow_connection(host_key=None, **extra)


@pytest.mark.parametrize("place", ["~/.ssh/known_hosts", "~/hosts", "{home}/hosts"])
@pytest.mark.parametrize("hashed", [False, True])
def test_known_hosts(sftp_server: AsyncsshServer, tmp_path: Path, place: str, hashed: bool) -> None:
    """A file in OpenSSH's format, names hashed or not: the usual one by default, another where the Extra names it."""
    path = place.format(home=tmp_path / "home")
    file = Path(path).expanduser()
    file.write_text(f"# a comment\nelsewhere {sftp_server.host_key}\n" + hosts_line(sftp_server, hashed=hashed))
    log_in(unkeyed(sftp_server) if place == "~/.ssh/known_hosts" else unkeyed(sftp_server, known_hosts=path))


UNKNOWN: dict[str, Callable[[SftpServer], str | None]] = {
    "no file": lambda server: None,
    "empty": lambda server: "",
    "other host": lambda server: f"elsewhere {server.host_key}\n",
    "other port": lambda server: f"[{server.host}]:1 {server.host_key}\n",
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_an_unknown_server_is_refused_and_its_key_shown(sftp_server: AsyncsshServer, tmp_path: Path, case: str) -> None:
    """Nobody is trusted who is not known. The error has key, fingerprint, and what to put into the Extra: and with
    that, it works."""
    text = UNKNOWN[case](sftp_server)
    if text is not None:
        (tmp_path / "hosts").write_text(text)
    with pytest.raises(HostKeyError) as error:
        log_in(unkeyed(sftp_server, known_hosts=str(tmp_path / "hosts")))
    message = str(error.value)
    key = asyncssh.import_public_key(sftp_server.host_key)
    assert f"the key of 127.0.0.1:{sftp_server.port} is not known: {sftp_server.host_key}" in message
    assert key.get_fingerprint() in message
    assert key.get_fingerprint().startswith("SHA256:")
    extra = json.loads(re.search(r"\{.*\}", message)[0])  # type: ignore[index]
    log_in(unkeyed(sftp_server) | {"extra": extra})


def test_a_changed_key_in_known_hosts_is_refused(sftp_server: AsyncsshServer, tmp_path: Path) -> None:
    """A known server that shows another key than it had is refused, and not asked for more."""
    other = " ".join(asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().split()[:2])
    (tmp_path / "hosts").write_text(hosts_line(sftp_server, other))
    with pytest.raises(HostKeyError, match="fingerprint SHA256:"):
        log_in(unkeyed(sftp_server, known_hosts=str(tmp_path / "hosts")))
    assert not sftp_server.requests


def test_known_hosts_that_cannot_be_read_is_named(sftp_server: AsyncsshServer, tmp_path: Path) -> None:
    """A directory, for one."""
    with pytest.raises(HostKeyError, match=f"known_hosts '{tmp_path}' cannot be read"):
        log_in(unkeyed(sftp_server, known_hosts=str(tmp_path)))


@pytest.mark.parametrize(
    "extra",
    [
        {"no_host_key_check": True},
        {"no_host_key_check": "true"},
        {"no_host_key_check": "True"},
        {"ignore_hostkey_verification": True},
        {"known_hosts": "none"},
        {"known_hosts": "None"},
    ],
    ids=str,
)
def test_the_check_can_be_switched_off(sftp_server: AsyncsshServer, extra: dict[str, Any]) -> None:
    """By the extras that Airflow's own hooks have for that, and by nothing else."""
    log_in(unkeyed(sftp_server, **extra))


@pytest.mark.parametrize("extra", [{}, {"no_host_key_check": False}, {"no_host_key_check": "false"}], ids=str)
def test_the_check_is_on_otherwise(sftp_server: AsyncsshServer, extra: dict[str, Any]) -> None:
    """Unlike SSHHook, which trusts anybody where nothing is said."""
    with pytest.raises(HostKeyError):
        log_in(unkeyed(sftp_server, **extra))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("no_host_key_check", True),
        ("no_host_key_check", "True"),
        ("ignore_hostkey_verification", "true"),
        ("known_hosts", "none"),
        ("known_hosts", "NONE"),
        ("known_hosts", " none "),
    ],
    ids=str,
)
@pytest.mark.parametrize("own", [True, False], ids=["the server's own key", "another key"])
def test_no_server_is_logged_in_to_where_a_host_key_is_given_and_the_check_is_off(
    sftp_server: AsyncsshServer, field: str, value: Any, own: bool
) -> None:
    """By any spelling: the error says which of the two to remove, and nothing was sent."""
    key = sftp_server.host_key if own else asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    both = sftp_server.airflow_connection(**{"host_key": key, field: value})
    with pytest.raises(ConfigurationError, match=rf": {field} is .* remove {field}, .* or remove host_key"):
        log_in(both)
    assert not sftp_server.requests


def test_a_host_key_with_the_check_switched_off_is_refused_by_the_engine() -> None:
    """Whoever describes a server with no Airflow meets the same refusal."""
    with pytest.raises(ConfigurationError, match="host_key is given, and verify_host_key=False accepts any server"):
        Target(host="127.0.0.1", host_key="ssh-ed25519 AAAA", verify_host_key=False)


# -------------------------------------------------------------------------------------------------------- other extras


@pytest.mark.parametrize("value", [["aes256-ctr"], "aes256-ctr", "aes256-ctr, aes128-ctr"], ids=str)
def test_ciphers(sftp_server: AsyncsshServer, value: Any) -> None:
    """A list, or names with commas: the first that both sides have is used."""
    assert log_in(sftp_server.airflow_connection(ciphers=value))["send_cipher"] == "aes256-ctr"
    assert log_in(sftp_server.airflow_connection())["send_cipher"] == "aes128-gcm@openssh.com"


def test_disabled_algorithms(sftp_server: AsyncsshServer) -> None:
    """What is disabled is not used; paramiko's names of kinds are the ones that SSHHook takes."""
    disabled = {"ciphers": ["aes128-gcm@openssh.com"], "keys": ["ssh-rsa"], "pubkeys": [], "kex": [], "macs": []}
    cipher = log_in(sftp_server.airflow_connection(disabled_algorithms=disabled))["send_cipher"]
    assert cipher != "aes128-gcm@openssh.com"
    both = sftp_server.airflow_connection(
        ciphers=["aes256-ctr", "aes128-ctr"], disabled_algorithms={"ciphers": ["aes256-ctr"]}
    )
    assert log_in(both)["send_cipher"] == "aes128-ctr"


def test_nothing_in_common_is_named(tmp_path: Path) -> None:
    """A server that has none of our ciphers: the error says where to look."""
    with (
        AsyncsshServer(tmp_path / "sftp", encryption_algs=["aes256-ctr"]) as server,
        pytest.raises(ConfigurationError, match=r"offers aes256-ctr\. Add one of these to ciphers"),
    ):
        log_in(server.airflow_connection(ciphers=["aes128-ctr"]))


@pytest.mark.parametrize(
    ("compress", "agreed"), [(True, "zlib@openssh.com"), ("true", "zlib@openssh.com"), (False, "")]
)
def test_compress(sftp_server: AsyncsshServer, compress: Any, agreed: str) -> None:
    """Compression is used where it is asked for, and only there: it costs more than it gains on most lines."""
    spoken = log_in(sftp_server.airflow_connection(compress=compress))["send_compression"]
    assert spoken in (agreed, agreed or "None", agreed or "none")
    assert log_in(sftp_server.airflow_connection())["send_compression"] != "zlib@openssh.com"


@pytest.mark.parametrize(
    ("extra", "ours"),
    [({}, True), ({"fast_packets": True}, True), ({"fast_packets": False}, False), ({"fast_packets": "false"}, False)],
    ids=str,
)
def test_fast_packets(sftp_server: AsyncsshServer, extra: dict[str, Any], ours: bool) -> None:
    """`false`: asyncssh makes and takes all packets, its empty ones included."""
    with (
        patch.object(PacketSender, "_packet", autospec=True, side_effect=PacketSender._packet) as made,
        patch.object(PacketReceiver, "_packet", autospec=True, side_effect=PacketReceiver._packet) as taken,
        patch.object(ssh, "_send_no_empty_packets", side_effect=ssh._send_no_empty_packets) as sends_no_empty,
    ):
        log_in(sftp_server.airflow_connection(**extra))
    assert {made.called, taken.called, sends_no_empty.called} == {ours}


@pytest.mark.slow
def test_conn_timeout() -> None:
    """A server that never says a word costs `conn_timeout`, of the Extra or of the options; the options win."""
    with NeverGreets() as server:
        connection = {"conn_type": "sftp", "host": server.host, "port": server.port, "login": "user", "extra": {}}
        with pytest.raises(ConnectionFailed, match="did not let us in within conn_timeout"):
            log_in(connection | {"extra": {"conn_timeout": 0.2}})
        with pytest.raises(ConnectionFailed, match="did not let us in within conn_timeout"):
            log_in(connection | {"extra": {"conn_timeout": "0.2"}})
        with pytest.raises(ConnectionFailed, match="did not let us in within conn_timeout"):
            log_in(connection | {"extra": {"conn_timeout": 3600}}, conn_timeout=0.2)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({}, 25.0),
        ({"concurrency": 8}, 25.0),
        ({"conn_timeout": 10.0}, 10.0),
        ({"conn_timeout": 10}, 10.0),
        ({"conn_timeout": 5}, 5.0),
    ],
    ids=str,
)
def test_a_conn_timeout_that_is_given_wins_over_the_extra(
    sftp_server: AsyncsshServer, airflow_home: Path, given: dict[str, Any], taken: float
) -> None:
    """The default's own number, too: as options, as a dict, and after a copy to another process."""
    several = [
        TransferOptions.of(given),
        TransferOptions(**given),
        pickle.loads(pickle.dumps(TransferOptions(**given))),
    ]
    for options in several:
        with (
            airflow_connections(sftp_here=sftp_server.airflow_connection(conn_timeout=25)),
            warnings_of_ours_only(),
        ):
            assert SftpSessionHook("sftp_here").read(options)[1].conn_timeout == taken


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"ciphers": ["rot13"]}, ["rot13"]),
        ({"ciphers": 5}, ["ciphers", "5", "a list of names"]),
        ({"ciphers": [5]}, ["ciphers", "[5]", "a list of names"]),
        (
            {"disabled_algorithms": {"cifers": ["x"]}},
            ["disabled_algorithms", "'cifers'", "kex, keys, pubkeys, ciphers"],
        ),
        ({"disabled_algorithms": "all"}, ["disabled_algorithms", "'all'", '{"pubkeys": ["rsa-sha2-256"]}']),
        ({"disabled_algorithms": {"pubkeys": 5}}, ["disabled_algorithms", "5"]),
        ({"disabled_algorithms": {"pubkeys": [5]}}, ["disabled_algorithms", "[5]", '{"pubkeys": ["rsa-sha2-256"]}']),
        ({"keepalive_interval": "nan"}, ["keepalive_interval", "'nan'", "number of seconds"]),
        ({"keepalive_interval": -1}, ["keepalive_interval", "-1", "number of seconds"]),
        ({"conn_timeout": "1e999"}, ["conn_timeout", "'1e999'", "number of seconds"]),
        ({"compress": "perhaps"}, ["compress", "'perhaps'", "true or false"]),
        ({"fast_packets": "perhaps"}, ["fast_packets", "'perhaps'", "true or false"]),
        ({"no_host_key_check": "perhaps"}, ["no_host_key_check", "'perhaps'", "true or false"]),
        ({"look_for_keys": 5}, ["look_for_keys", "5", "true or false"]),
        ({"conn_timeout": "soon"}, ["conn_timeout", "'soon'", "number of seconds"]),
        ({"conn_timeout": -1}, ["conn_timeout", "-1"]),
        ({"keepalive_interval": "often"}, ["keepalive_interval", "'often'", "number of seconds"]),
        ({"private_key": ["a"]}, ["private_key", "list", "string"]),
        ({"known_hosts": 5}, ["known_hosts", "int", "string"]),
        ({"host_key": {"a": 1}}, ["host_key", "dict", "string"]),
        ({"host_proxy_cmd": "nc 'unclosed"}, ["host_proxy_cmd"]),
    ],
    ids=str,
)
def test_a_wrong_extra_is_named(sftp_server: AsyncsshServer, extra: dict[str, Any], words: list[str]) -> None:
    """The error names the field, what it is, and what it must be."""
    with pytest.raises(ConfigurationError) as error:
        log_in(sftp_server.airflow_connection(**extra))
    for word in words:
        assert word in str(error.value)
    assert not sftp_server.requests


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"extra": ["a"]}, "Extra of the sftp connection 'sftp_here' is a list"),
        ({"port": 70_000}, "70000, which is none"),
    ],
    ids=["extra", "port"],
)
def test_a_wrong_field_is_named(sftp_server: AsyncsshServer, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        log_in(sftp_server.airflow_connection() | fields)


def test_algorithms_are_names_for_those_who_write_python_too() -> None:
    """Who makes the server with no Airflow gets the same words."""
    with pytest.raises(ConfigurationError, match=r"disabled_algorithms: kex must be a list of names, not \[5\]"):
        login.algorithms(Target(host="h", disabled_algorithms={"kex": [5]}))  # type: ignore[list-item]


@pytest.mark.slow
@pytest.mark.usefixtures("engine_loop")
def test_a_proxy_command(sftp_server: AsyncsshServer) -> None:
    """The connection goes through a command's standard input and output; the command ends with it."""
    pipe = (
        "import socket, sys, threading, os; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
        "threading.Thread(target=lambda: [s.sendall(d) for d in iter(lambda: os.read(0, 9999), b'')], daemon=True)"
        ".start(); [os.write(1, d) for d in iter(lambda: s.recv(9999), b'')]"
    )
    command = f'{sys.executable} -c "{pipe}" {sftp_server.port}'
    connection = sftp_server.airflow_connection(host_proxy_cmd=command) | {"host": "host.invalid"}
    before = psutil.Process().children()
    log_in(connection)
    assert set(psutil.Process().children()) <= set(before)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_ipv6(tmp_path: Path) -> None:
    """A host may be an IPv6 address; URIs put it in brackets."""
    server = AsyncsshServer(tmp_path / "sftp")
    server.host = "::1"
    with server:
        log_in(server.airflow_connection())
        connection = server.airflow_connection()
        with airflow_connections(sftp_here=connection), warnings_of_ours_only():
            read, _ = SftpSessionHook("sftp_here").read(TransferOptions())
    assert read.uri_of(b"/a/b") == f"sftp://[::1]:{server.port}/a/b"


def test_no_connection_of_that_name(airflow_home: Path) -> None:
    """The error names the argument and the connection."""
    with pytest.raises(ConfigurationError, match=r"sftp_conn_id: .*nobody"), warnings_of_ours_only():
        SftpSessionHook("nobody").read(TransferOptions())


# ----------------------------------------------------------------------------------------------------------------- aws


def put_and_get(aws_conn_id: str | None, bucket: str) -> None:
    """Use both of the bucket's clients: ours and obstore's."""
    with warnings_of_ours_only():
        opened = bucket_of(aws_conn_id, bucket, TransferOptions())

    async def both() -> None:
        async with opened:
            await opened.check()
            await opened.put("key", [b"con", b"tents"], {})
            assert [entry.key async for entry in opened.list("")] == ["key"]
            download = await opened.get("key")
            assert download is not None
            assert [chunk async for chunk in download.chunks()] == [b"contents"]

    EngineThread().run(both)


def credentials(s3: S3Server) -> set[tuple[str, str, str | None]]:
    """Return access key, region and session token of every request to S3 so far."""
    signed = [request for request in s3.requests if "AWS4-HMAC-SHA256" in request.headers.get("authorization", "")]
    assert signed
    found = set()
    for request in signed:
        scope = re.search(r"Credential=([^/]+)/\d+/([^/]+)/s3/", request.headers["authorization"])
        assert scope
        found.add((scope[1], scope[2], request.headers.get("x-amz-security-token")))
    return found


def test_an_aws_connection(s3: S3Server, bucket: str) -> None:
    """Endpoint, region, keys and session token of the connection are used by both clients."""
    with airflow_connections(aws_here=s3.airflow_connection()):
        put_and_get("aws_here", bucket)
    assert credentials(s3) == {(ACCESS_KEY, REGION, SESSION_TOKEN)}
    assert {request.operation for request in s3.requests} == {"ListObjectsV2", "PutObject", "GetObject"}
    assert s3.objects(bucket) == {"key": b"contents"}


def test_no_session_token(s3: S3Server, bucket: str) -> None:
    """The keys of a user have none, and none goes along then."""
    with airflow_connections(aws_here=s3.airflow_connection(aws_session_token=None)):
        put_and_get("aws_here", bucket)
    assert credentials(s3) == {(ACCESS_KEY, REGION, None)}


def test_another_region(s3: S3Server, bucket: str) -> None:
    """The region of the connection is what requests are signed for."""
    with airflow_connections(aws_here=s3.airflow_connection(region_name="ap-southeast-2")):
        put_and_get("aws_here", bucket)
    assert credentials(s3) == {(ACCESS_KEY, "ap-southeast-2", SESSION_TOKEN)}


def test_a_bucket_in_another_region(s3: S3Server, bucket: str) -> None:
    """The error says which region to set, before anything is moved."""
    s3.before(lambda request: (400, "AuthorizationHeaderMalformed", "eu-south-2"))
    with (
        airflow_connections(aws_here=s3.airflow_connection()),
        pytest.raises(ConfigurationError, match="is in region eu-south-2: set region_name"),
    ):
        put_and_get("aws_here", bucket)
    assert {request.method for request in s3.requests} <= {"GET", "HEAD"}


@pytest.mark.parametrize(("region", "error"), [("eu-centrall-1", ConfigurationError), (REGION, ConnectionFailed)])
def test_a_region_that_does_not_exist(region: str, error: type[Exception]) -> None:
    """It is not worth a retry; one that exists, and cannot be reached, is. What cannot be reached here is a proxy."""
    extra = {"region_name": region, "config_kwargs": {"proxies": {"https": "http://127.0.0.1:1"}}}
    connection = {"conn_type": "aws", "login": ACCESS_KEY, "password": SECRET_KEY, "extra": extra}
    with airflow_connections(aws_here=connection), warnings_of_ours_only():
        bucket = bucket_of("aws_here", "my-bucket", TransferOptions(idle_timeout=0.3, conn_timeout=0.3))

    async def check() -> None:
        async with bucket:
            await bucket.check()

    with pytest.raises(error, match="region_name" if error is ConfigurationError else "S3 cannot be reached"):
        EngineThread().run(check)


@pytest.mark.parametrize("name", ["b", "two words", "a/b", "s3://bucket", "../up"])
def test_a_name_that_is_no_buckets(s3: S3Server, name: str) -> None:
    """It is never sent: a slash would make a key of it."""
    with (
        airflow_connections(aws_here=s3.airflow_connection()),
        pytest.raises(ConfigurationError, match="is no bucket's name"),
    ):
        put_and_get("aws_here", name)
    assert s3.requests == []


def test_a_role_is_assumed(s3: S3Server, bucket: str) -> None:
    """With role_arn in the Extra, S3 sees the role's keys and token, and never the connection's own."""
    extra = {
        "role_arn": "arn:aws:iam::123456789012:role/mover",
        "service_config": {"sts": {"endpoint_url": s3.url}},  # moto is both
    }
    with airflow_connections(aws_here=s3.airflow_connection(**extra)):
        put_and_get("aws_here", bucket)
    asked = [request for request in s3.requests if not request.bucket]
    s3.requests[:] = [request for request in s3.requests if request.bucket]
    assert asked
    assert all(key.startswith("ASIA") and region == REGION and token for key, region, token in credentials(s3))
    assert {request.operation for request in s3.requests} == {"ListObjectsV2", "PutObject", "GetObject"}


@pytest.mark.parametrize("conn_id", [None, "aws_without_keys"])
def test_credentials_of_the_environment(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, conn_id: str | None
) -> None:
    """With no connection, or one that has no keys, boto3's own ways are used: the environment, or MWAA's role."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHEENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    connection = {"conn_type": "aws", "extra": {"endpoint_url": s3.url, "region_name": REGION}}
    with airflow_connections(aws_without_keys=connection):
        put_and_get(conn_id, bucket)
    assert credentials(s3) == {("AKIAOFTHEENVIRONMENT", REGION, None)}


def test_no_credentials_at_all(s3: S3Server, bucket: str) -> None:
    """The error says that the connection has none."""
    connection = {"conn_type": "aws", "extra": {"endpoint_url": s3.url, "region_name": REGION}}
    with (
        airflow_connections(aws_here=connection),
        pytest.raises(AuthenticationFailed, match="aws connection gives no credentials"),
    ):
        put_and_get("aws_here", bucket)


ROLE = "arn:aws:iam::123456789012:role/partner"
NOBODY = {"sts": {"endpoint_url": "http://127.0.0.1:1"}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"profile_name": "nope"}, "profile_name"),
        ({"region_name": "not a region"}, "region_name"),
        ({"region_name": 5}, "region_name is a int"),
        ({"endpoint_url": "127.0.0.1:9000"}, "endpoint_url"),
        ({"endpoint_url": ["http://127.0.0.1:9000"]}, "endpoint_url is a list"),
        ({"role_arn": "nonsense"}, "role_arn"),
        ({"role_arn": ROLE, "assume_role_method": "by_magic"}, "assume_role_method"),
        ({"verify": "/no/ca.pem"}, "verify"),
        ({"verify": [1]}, "verify is a list"),
        ({"config_kwargs": [1]}, "config_kwargs is a list"),
        ({"config_kwargs": {"nonsense": 1}}, "config_kwargs"),
        ({"config_kwargs": {"connect_timeout": "soon"}}, "config_kwargs"),
        ({"config_kwargs": {"s3": "path"}}, "config_kwargs.s3 is a str"),
        ({"config_kwargs": {"s3": {"addressing_style": "diagonal"}}}, "config_kwargs"),
        ({"config_kwargs": {"retries": {"max": 5}}}, "config_kwargs"),
        ({"config_kwargs": {"proxies": "http://me:word@127.0.0.1:1"}}, "config_kwargs.proxies is a str"),
        ({"config_kwargs": {"request_checksum_calculation": "never"}}, "config_kwargs"),
        ({"service_config": [1]}, "service_config is a list"),
        ({"service_config": {"s3": 5}}, "service_config.s3 is a int"),
    ],
    ids=str,
)
def test_a_field_that_cannot_work_fails_at_once_and_is_named(
    s3: S3Server, bucket: str, extra: dict[str, Any], field: str
) -> None:
    """Before anything is asked of S3, and with no retry: none of them gets better by itself. No password is said."""
    with (
        airflow_connections(aws_wrong=s3.airflow_connection(**extra)),
        pytest.raises(ConfigurationError, match=rf"{re.escape(field)}.*") as refused,
    ):
        put_and_get("aws_wrong", bucket)
    assert "aws connection" in str(refused.value)
    assert ":word@" not in str(refused.value)
    assert s3.requests == []


def test_an_extra_that_is_no_json_is_said_to_be_that(s3: S3Server, bucket: str) -> None:
    """Airflow takes it for an empty one, and would look for the bucket in Amazon's cloud."""
    connection = s3.airflow_connection() | {"extra": "{endpoint_url: http://127.0.0.1:1}"}
    with (
        airflow_connections(aws_wrong=connection),
        pytest.raises(ConfigurationError, match="Extra of the aws connection 'aws_wrong' is no JSON"),
    ):
        put_and_get("aws_wrong", bucket)


def test_a_role_that_is_denied_fails_at_once(s3: S3Server, bucket: str) -> None:
    """And names role_arn."""
    s3.before(lambda request: (403, "AccessDenied"))
    extra = {"role_arn": ROLE, "service_config": {"sts": {"endpoint_url": s3.url}}}
    with (
        airflow_connections(aws_wrong=s3.airflow_connection(**extra)),
        pytest.raises(AuthenticationFailed, match="role_arn of the aws connection 'aws_wrong' cannot be assumed"),
    ):
        put_and_get("aws_wrong", bucket)


@pytest.mark.parametrize("answer", ["nobody", (503, "ServiceUnavailable")], ids=str)
def test_a_role_that_cannot_be_asked_for_now_is_worth_a_retry(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    extra: dict[str, Any] = {"role_arn": ROLE, "service_config": NOBODY}
    if answer != "nobody":
        s3.before(lambda request: answer)
        extra["service_config"] = {"sts": {"endpoint_url": s3.url}}
    with (
        airflow_connections(aws_wrong=s3.airflow_connection(**extra)),
        pytest.raises(ConnectionFailed, match="credentials of the aws connection 'aws_wrong'"),
    ):
        put_and_get("aws_wrong", bucket)


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"])
def test_credentials_that_s3_refuses(s3: S3Server, bucket: str, code: str) -> None:
    """The error says that they are wrong, and what S3 calls it."""
    s3.before(lambda request: (403, code))
    with (
        airflow_connections(aws_here=s3.airflow_connection()),
        pytest.raises(AuthenticationFailed, match=f"aws connection's credentials: {code}"),
    ):
        put_and_get("aws_here", bucket)


def test_no_aws_connection_of_that_name_falls_back_as_airflow_does(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, airflow_home: Path
) -> None:
    """S3Hook warns of a missing connection and asks boto3: so does this, since MWAA has `aws_default` or has not."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHEENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    put_and_get("aws_nobody_made", bucket)
    assert credentials(s3) == {("AKIAOFTHEENVIRONMENT", REGION, None)}
