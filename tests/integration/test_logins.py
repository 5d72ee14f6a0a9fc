"""The way to an SFTP server and the login there: what is tried, how often, and what a refusal says."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncssh
import psutil
import pytest

from airflow_provider_sftp_s3.engine.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    HostKeyError,
    LoginRefused,
)
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.sftp import line
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine_thread import EngineThread
from airflow_provider_sftp_s3.hooks.sftp_server import SftpSessionHook
from airflow_provider_sftp_s3.transfers import base
from airflow_provider_sftp_s3.transfers.base import REFUSED
from tests.integration.test_connections import hosts_line, log_in, unkeyed, without_password
from tests.support.airflow_env import airflow_connections, run_dag, warnings_of_ours_only, xcom
from tests.support.engine import server_of
from tests.support.secrets import secret
from tests.support.sftp_servers import AsyncsshServer, Login, OpenSshServer

pytestmark = pytest.mark.integration

#: Never used: no login, no S3.
AWS = {"conn_type": "aws", "login": "AKIANOBODY", "password": "none", "extra": {"region_name": "eu-central-1"}}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of whoever runs the tests counts here."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "home/.ssh").mkdir(parents=True)


# --------------------------------------------------------------------------------------------------- who is refused


class Counting(AsyncsshServer):
    """Counts the passwords that it is shown, and does with a wrong one what `refuse` does."""

    def __init__(self, root: Path, refuse: Callable[[asyncssh.SSHServerConnection], object], **options: Any) -> None:
        super().__init__(root, **options)
        self.refuse = refuse
        self.shown: list[str] = []

    def login(self) -> Login:
        server = self

        class CountingLogin(Login):
            def validate_password(self, username: str, password: str) -> bool:
                server.shown.append(password)
                right = super().validate_password(username, password)
                if not right and self._connection is not None:
                    server.refuse(self._connection)
                return right

        return CountingLogin(self)


def refuses(connection: asyncssh.SSHServerConnection) -> None:
    """As the protocol has it."""


def disconnects(connection: asyncssh.SSHServerConnection) -> None:
    """As OpenSSH does at its MaxAuthTries; and with a text that would do something to a terminal."""
    connection.disconnect(asyncssh.DISC_PROTOCOL_ERROR, "Too many authentication failures\x1b[2J\n" + "x" * 5000)


def cuts(connection: asyncssh.SSHServerConnection) -> None:
    connection.abort()


@pytest.mark.parametrize("refuse", [refuses, disconnects], ids=lambda refuse: str(refuse.__name__))
def test_a_wrong_password_is_shown_once(tmp_path: Path, refuse: Callable[[Any], None]) -> None:
    """By one method of those that the server offers, in one connection, however it says no; the time for more is there.
    What it says is printable, in one line and not too long."""
    with Counting(tmp_path / "sftp", refuse) as server:
        with pytest.raises(LoginRefused, match="refused user 'user'") as error:
            log_in(server.airflow_connection() | {"password": "wrong"}, conn_timeout=60)
        assert server.shown == ["wrong"]
        assert server.connections_total == 1
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1500


def test_a_login_that_the_server_cuts_is_not_tried_again(tmp_path: Path) -> None:
    """It may be the server's way to refuse. It may be the line as well: so Airflow may try again, later."""
    with Counting(tmp_path / "sftp", cuts) as server:
        with pytest.raises(ConnectionFailed, match="hung up in the middle of the login, as some servers do"):
            log_in(server.airflow_connection() | {"password": "wrong"}, conn_timeout=60)
        assert server.shown == ["wrong"]


def test_a_task_whose_login_is_refused_later_on_tries_no_other(tmp_path: Path) -> None:
    """The password is changed during a run, and the line is lost: one login is refused, and no other is made."""
    with Counting(tmp_path / "sftp", refuses) as server:

        async def run() -> None:
            async with SftpSession(server_of(server), TransferOptions(conn_timeout=60)) as session:
                assert await session.is_directory(b"/")
                server.password = secret("-".join(("another", "password")))  # in one piece, this file would hold it
                assert session._link is not None
                session._link._channel.abort()
                for _ in range(3):
                    with contextlib.suppress(ConnectionFailed):
                        await session.is_directory(b"/")
                with pytest.raises(ConnectionFailed, match="refused user"):
                    await session.is_directory(b"/")

        EngineThread().run(run)
        assert len(server.shown) == 2


class Asking(AsyncsshServer):
    """Lets in who answers its questions, by keyboard-interactive alone."""

    def __init__(self, root: Path, prompts: list[tuple[str, bool]]) -> None:
        super().__init__(root)
        self.prompts = prompts
        self.answers: list[list[str]] = []

    def login(self) -> Login:
        server = self

        class AskingLogin(Login):
            def password_auth_supported(self) -> bool:
                return False

            def kbdint_auth_supported(self) -> bool:
                return True

            def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
                return "", "", "", server.prompts

            def validate_kbdint_response(self, username: str, responses: Any) -> bool:
                server.answers.append(list(responses))
                return list(responses) == [server.password]

        return AskingLogin(self)


@pytest.mark.parametrize(
    "words", ["Password: ", "Passwort für user: ", "Mot de passe\u00a0: ", "パスワード:", "密码:", ""]
)
def test_the_password_answers_a_question_in_any_language(tmp_path: Path, words: str) -> None:
    """What is asked for without showing it is the password."""
    with Asking(tmp_path / "sftp", [(words, False)]) as server:
        log_in(server.airflow_connection())
        assert len(server.answers) == 1


@pytest.mark.parametrize(
    "prompts",
    [
        [("Verification code: ", False)],
        [("Was ist Ihr Lieblingstier?", True)],
        [("Passwort: ", False), ("PIN: ", False)],
    ],
    ids=str,
)
def test_a_question_for_something_else_is_in_the_error(tmp_path: Path, prompts: list[tuple[str, bool]]) -> None:
    """And the password is not sent in answer to it."""
    with Asking(tmp_path / "sftp", prompts) as server:
        with pytest.raises(LoginRefused, match="It asked ") as error:
            log_in(server.airflow_connection())
        assert prompts[-1][0].strip() in str(error.value)
        assert server.answers == []


def test_a_wrong_password_answers_a_question_once(tmp_path: Path) -> None:
    """A server may ask again and again."""
    with Asking(tmp_path / "sftp", [("Passwort: ", False)]) as server:
        with pytest.raises(LoginRefused):
            log_in(server.airflow_connection() | {"password": "wrong"})
        assert len(server.answers) == 1


# ----------------------------------------------------------------------------------------------------- ssh's own config


def write_config(text: str, name: str = ".ssh/config") -> Path:
    file = Path(os.environ["HOME"]) / name
    file.write_text(textwrap.dedent(text))
    return file


@pytest.mark.parametrize("extra", [{}, {"ssh_config": False}, {"ssh_config": "false"}], ids=str)
def test_ssh_config_is_not_read_unless_it_is_asked_for(sftp_server: AsyncsshServer, extra: dict[str, Any]) -> None:
    """Whatever the worker's user has in it for other purposes."""
    write_config("Host *\n  HostName host.invalid\n  ProxyCommand false\n  PreferredAuthentications hostbased\n")
    log_in(sftp_server.airflow_connection(**extra))


def test_certificates_of_the_worker_make_no_server_known(sftp_server: AsyncsshServer) -> None:
    """asyncssh would take the authorities in there for trusted; here they are not even read."""
    write_config("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ".ssh/ca-bundle.crt")
    log_in(sftp_server.airflow_connection())


@pytest.mark.parametrize("place", [True, "true", "~/elsewhere"])
def test_ssh_config_that_is_asked_for(sftp_server: AsyncsshServer, place: Any) -> None:
    """It says host, port and user; what the connection says wins."""
    write_config(
        f"Host partner\n  HostName 127.0.0.1\n  Port {sftp_server.port}\n  User user\n",
        "elsewhere" if place == "~/elsewhere" else ".ssh/config",
    )
    connection = sftp_server.airflow_connection(ssh_config=place) | {"host": "partner", "port": None, "login": None}
    assert log_in(connection)["username"] == "user"
    with pytest.raises(LoginRefused, match="refused user 'somebody'"):
        log_in(connection | {"login": "somebody"})


@pytest.mark.usefixtures("engine_loop", "patient")
def test_a_proxy_command_of_ssh_config(sftp_server: AsyncsshServer) -> None:
    """It is used, and what it complains of is in the error."""
    connection = sftp_server.airflow_connection(ssh_config=True) | {"host": "host.invalid"}
    write_config(f"Host *\n  ProxyCommand {pipe_to(sftp_server)}\n")
    log_in(connection)
    write_config('Host *\n  ProxyCommand sh -c "echo no way to %h >&2"\n')
    with pytest.raises(ConnectionFailed, match=r"no way to host\.invalid"):
        log_in(connection, conn_timeout=0.2)


def test_ssh_config_that_is_not_there(sftp_server: AsyncsshServer) -> None:
    """The error names it."""
    with pytest.raises(ConfigurationError, match="ssh_config '~/nowhere' cannot be read"):
        log_in(sftp_server.airflow_connection(ssh_config="~/nowhere"))


# --------------------------------------------------------------------------------------------------- a user of no name

NAMELESS = """
import asyncio, os, sys
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.sftp.server import SftpServer
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession

async def log_in(**where):
    async with SftpSession(SftpServer(host="127.0.0.1", port=int(sys.argv[1]), **where), TransferOptions()) as session:
        print("in" if await session.is_directory(b"/") else "not in")

asyncio.run(log_in(username="user", password=sys.argv[2], host_key=sys.argv[3]))  # all is imported
os.setgroups([])
os.setgid(54321)
os.setuid(54321)
for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
    os.environ.pop(name, None)
try:
    asyncio.run(log_in(password=sys.argv[2], host_key=sys.argv[3]))
except ValueError as error:
    print(error)
asyncio.run(log_in(username="user", password=sys.argv[2], host_key=sys.argv[3]))
asyncio.run(log_in(username="user", password=sys.argv[2], verify_host_key=False))
try:
    asyncio.run(log_in(username="user", password=sys.argv[2]))
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_user_with_no_passwd_entry_and_no_home(sftp_server: AsyncsshServer) -> None:
    """As in a container that runs under any number: with a login it works, and without one the error says so."""
    done = subprocess.run(
        [sys.executable, "-c", NAMELESS, str(sftp_server.port), str(sftp_server.password), sftp_server.host_key],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [lines[0], *lines[2:4]] == ["in"] * 3
    assert "has no login" in lines[1]
    assert "is not known: ssh-ed25519" in lines[4]


# -------------------------------------------------------------------------------------------------------- the way there


def pipe_to(server: AsyncsshServer) -> str:
    """Return a command that is a line to a server."""
    code = (
        "import socket, sys, threading, os; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
        "threading.Thread(target=lambda: [s.sendall(d) for d in iter(lambda: os.read(0, 9999), b'')], daemon=True)"
        ".start(); print('connected', file=sys.stderr, flush=True);"
        "[os.write(1, d) for d in iter(lambda: s.recv(9999), b'')]"
    )
    return f'{sys.executable} -c "{code}" {server.port}'


@pytest.mark.usefixtures("engine_loop")
def test_a_proxy_command_may_write_to_its_standard_error(sftp_server: AsyncsshServer) -> None:
    """What it says there is no part of what the server says."""
    before = psutil.Process().children()
    log_in(sftp_server.airflow_connection(host_proxy_cmd=pipe_to(sftp_server)) | {"host": "host.invalid"})
    assert set(psutil.Process().children()) <= set(before)


@pytest.mark.usefixtures("engine_loop", "patient")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sh -c 'echo no route to bastion >&2; exit 3'", "exit status 3: no route to bastion"),
        ("sh -c 'exec >&- <&-; echo later >&2; exit 4'", "exit status 4: later"),
        ("false", "exit status 1, and said nothing"),
        (r"""sh -c 'printf "\033[2Jcolourful\nwords" >&2; exit 1'""", r"\x1b[2Jcolourful words"),
    ],
)
def test_a_proxy_command_that_ends_at_once(sftp_server: AsyncsshServer, command: str, words: str) -> None:
    """The error says how, and what it wrote to its standard error: in one printable line."""
    before = psutil.Process().children()
    with pytest.raises(ConnectionFailed) as error:
        log_in(sftp_server.airflow_connection(host_proxy_cmd=command), conn_timeout=0.2)
    assert words in str(error.value)
    assert str(error.value).isprintable()
    assert set(psutil.Process().children()) <= set(before)


@pytest.mark.usefixtures("engine_loop", "patient")
def test_a_proxy_command_that_says_very_much(sftp_server: AsyncsshServer) -> None:
    """A kilobyte of it is shown, and all of it is read: it need not wait."""
    command = f"""{sys.executable} -c 'import sys; sys.stderr.write("y" * 1000000); sys.exit(5)'"""
    with pytest.raises(ConnectionFailed, match="exit status 5: yyyy") as error:
        log_in(sftp_server.airflow_connection(host_proxy_cmd=command), conn_timeout=0.2)
    assert "y" * 900 in str(error.value)
    assert "y" * 1001 not in str(error.value)


@pytest.mark.usefixtures("engine_loop")
def test_a_proxy_command_that_is_none(sftp_server: AsyncsshServer) -> None:
    """Nothing that time would mend: it is said at once."""
    with pytest.raises(ConfigurationError, match=r"host_proxy_cmd cannot be started: .*No such file"):
        log_in(sftp_server.airflow_connection(host_proxy_cmd="/nowhere/nc %h"))


@contextlib.contextmanager
def swallowing() -> Iterator[int]:
    """Listen on a port where nothing more is answered: its queue is full, and the kernel drops who asks."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield listener.getsockname()[1]


def addresses(*ports: int) -> Callable[[str, int], Any]:
    async def of(host: str, port: int) -> list[line.Address]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.1", port)) for port in ports]

    return of


@pytest.mark.usefixtures("engine_loop")
@pytest.mark.parametrize("first", ["swallows", "refuses", "both"])
def test_the_second_address_of_a_host_is_tried(
    sftp_server: AsyncsshServer, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Within conn_timeout, whatever the first one does; no connection is made that is not used."""
    with swallowing() as swallows, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        ahead = {
            "swallows": [swallows],
            "refuses": [closed.getsockname()[1]],
            "both": [swallows, closed.getsockname()[1]],
        }
        monkeypatch.setattr(line, "addresses_of", addresses(*ahead[first], sftp_server.port))
        log_in(sftp_server.airflow_connection())
    assert sftp_server.connections_total == 1


@pytest.mark.usefixtures("engine_loop")
def test_no_address_answers(sftp_server: AsyncsshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """That ends with conn_timeout, and with nothing left open."""
    with swallowing() as one, swallowing() as two:
        monkeypatch.setattr(line, "addresses_of", addresses(one, two))
        with pytest.raises(ConnectionFailed, match="within conn_timeout"):
            log_in(sftp_server.airflow_connection(), conn_timeout=0.6)


@pytest.mark.loops
@pytest.mark.asyncio
async def test_addresses_are_those_of_the_system() -> None:
    """Of a name and of a number; a name of none is an error."""
    assert (socket.AF_INET, ("127.0.0.1", 22)) in [
        (each[0], each[3]) for each in await line.addresses_of("localhost", 22)
    ]
    assert [each[3] for each in await line.addresses_of("127.0.0.1", 2222)] == [("127.0.0.1", 2222)]


# ------------------------------------------------------------------------------------------------------- keys as pasted


def der_lines(text: str) -> str:
    return "\n".join("    " + each for each in text.splitlines())


PASTED: dict[str, Callable[[str], str]] = {
    "literal line breaks": lambda text: text.replace("\n", "\\n"),
    "literal line breaks of Windows": lambda text: text.replace("\n", "\\r\\n"),
    "one line": lambda text: " ".join(text.split("\n")),
    "one line with no blanks": lambda text: text.replace("\n", ""),
    "carriage returns only": lambda text: text.replace("\n", "\r"),
    "indented": der_lines,
    "byte order mark": lambda text: "\ufeff" + text,
    "quotes": lambda text: f'"{text.strip()}"',
    "single quotes and literal line breaks": lambda text: "'" + text.strip().replace("\n", "\\n") + "'",
    "a blank line first": lambda text: "\n \n" + text,
    "blank lines between": lambda text: text.replace("\n", "\n\n"),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 in lines": lambda text: base64.encodebytes(text.encode()).decode(),
    "parameters first": lambda text: (
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + text
    ),
}


@pytest.fixture(scope="module")
def encrypted_key() -> tuple[asyncssh.SSHKey, str]:
    """A key with the headers of RFC 1421, which old tools write."""
    key = asyncssh.generate_private_key("ssh-rsa")
    text = key.export_private_key("pkcs1-pem", "open sesame").decode()
    assert "DEK-Info" in text
    return key, text


@pytest.mark.parametrize("place", ["private_key", "key_file"])
@pytest.mark.parametrize("case", PASTED)
def test_keys_as_people_paste_them(
    sftp_server: AsyncsshServer, encrypted_key: tuple[asyncssh.SSHKey, str], case: str, place: str
) -> None:
    """All that is unambiguous logs in, plain or encrypted."""
    change = PASTED[case]

    def given(text: str) -> dict[str, str]:
        if place == "private_key":
            return {place: change(text)}
        (Path(os.environ["HOME"]) / "key").write_text(change(text), newline="")
        return {place: "~/key"}

    log_in(without_password(sftp_server, **given(sftp_server.client_key_text)))
    key, text = encrypted_key
    if place == "private_key":
        sftp_server.stop()
        sftp_server.client_public_key = key.export_public_key().decode()
        sftp_server.start()
        log_in(without_password(sftp_server, **given(text), private_key_passphrase="open sesame\n"))


PUTTY = "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: x\nPublic-Lines: 2\nAAAA\n"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me@here", "a public key: the private one is the other file"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----", "a public key"),
        ("/home/airflow/.ssh/id_ed25519", "a path: that belongs into key_file"),
        ("~/.ssh/id_rsa", "a path"),
        (PUTTY, "PuTTY's format: have PuTTYgen export it"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "its end is missing"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "a certificate"),
        ("no key at all", "A private key's text: it begins with '-----BEGIN OPENSSH PRIVATE KEY-----'"),
    ],
)
def test_what_is_no_private_key_is_said_to_be_what_it_is(sftp_server: AsyncsshServer, key: str, words: str) -> None:
    """With how it should look; and no server is asked."""
    with pytest.raises(AuthenticationFailed) as error:
        log_in(without_password(sftp_server, private_key=key))
    assert "private_key cannot be used" in str(error.value)
    assert words in str(error.value)
    assert "begins with '-----BEGIN" in str(error.value)
    assert sftp_server.connections_total == 0


def test_a_key_in_place_of_its_path(sftp_server: AsyncsshServer) -> None:
    """The error names the field where it belongs, and shows nothing of it."""
    with pytest.raises(AuthenticationFailed, match="that belongs into private_key") as error:
        log_in(without_password(sftp_server, key_file=sftp_server.client_key_text))
    assert sftp_server.client_key_text.splitlines()[1] not in str(error.value)


def test_blanks_around_host_and_login(sftp_server: AsyncsshServer) -> None:
    """They are nobody's."""
    connection = sftp_server.airflow_connection()
    log_in(connection | {"host": f" {connection['host']}\n", "login": "\tuser "})


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("host_key: ssh-ed25519 AAAA", "is no JSON: Expecting value"),
        ('{"host_key": "ssh-ed25519 AAAA",}', "is no JSON"),
        ('{"private_key": "-----BEGIN\nAAAA"}', "is no JSON: Invalid control character"),
        ('{"private_key": "-----BEGIN\nAAAA"}', r"a line break within a text, as in a private key, is written \n"),
        ("[]", "is a list, and must be an object"),
        ('"text"', "is a str, and must be an object"),
    ],
)
def test_an_extra_that_is_no_json(
    sftp_server: AsyncsshServer, monkeypatch: pytest.MonkeyPatch, extra: str, words: str
) -> None:
    """It is said to be that. Airflow takes it for an empty one, and then no server is known."""
    from airflow.models.connection import Connection

    monkeypatch.setattr(Connection, "_validate_extra", lambda *_: None)  # as for one that was stored by Airflow 2
    fields = sftp_server.airflow_connection() | {"extra": None}
    with warnings_of_ours_only():
        stored = Connection(conn_id="sftp_here", **fields)
        stored.extra = extra
    monkeypatch.setattr(SftpSessionHook, "get_connection", lambda *_: stored)
    with pytest.raises(ConfigurationError) as error, warnings_of_ours_only():
        SftpSessionHook("sftp_here").read(TransferOptions())
    assert "Extra of the sftp connection 'sftp_here'" in str(error.value)
    assert words in str(error.value)


# --------------------------------------------------------------------------------------------------------- certificates


@pytest.fixture
def certified(tmp_path: Path) -> Iterator[tuple[OpenSshServer, Path]]:
    """An sshd that trusts nothing but a certificate authority, and a user's key with its certificate beside it."""
    from tests.conftest import require_openssh

    require_openssh()
    directory = tmp_path / "keys"
    directory.mkdir()
    key = asyncssh.generate_private_key("ssh-ed25519")
    secret(key.export_private_key().decode())
    key.write_private_key(directory / "id")
    key.write_public_key(directory / "id.pub")
    (directory / "id").chmod(0o600)

    def keygen(*arguments: str) -> None:
        subprocess.run(["ssh-keygen", "-q", *arguments], check=True, cwd=directory, capture_output=True, timeout=60)

    keygen("-t", "ed25519", "-N", "", "-f", "authority")
    config = f"TrustedUserCAKeys {directory}/authority.pub\nAuthorizedKeysFile none"
    with OpenSshServer(tmp_path / "sftp", config=config) as server:
        keygen("-s", "authority", "-I", "a user", "-n", server.username, "-V", "+1h", "id.pub")
        yield server, directory


@pytest.mark.parametrize("place", ["text", "path"])
@pytest.mark.parametrize("key", ["private_key", "key_file"])
def test_a_certificate_of_the_user(certified: tuple[OpenSshServer, Path], place: str, key: str) -> None:
    """OpenSSH lets in whom its authority vouches for: the certificate as text or as a path, and its key."""
    server, directory = certified
    file = directory / "id-cert.pub"
    given = {
        "private_key": (directory / "id").read_text() if key == "private_key" else None,
        "key_file": str(directory / "id") if key == "key_file" else None,
    }
    with pytest.raises(LoginRefused):
        log_in(server.airflow_connection(**given))
    log_in(server.airflow_connection(**given, certificate=file.read_text() if place == "text" else str(file)))


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")
def test_a_certificate_that_cannot_be_used(certified: tuple[OpenSshServer, Path]) -> None:
    """It is none, it is not there, it is another key's, or there is no key: the error says which."""
    server, directory = certified
    text = (directory / "id-cert.pub").read_text()
    own = {"private_key": (directory / "id").read_text()}
    for extra, words in (
        (own | {"certificate": "/nowhere/id-cert.pub"}, "No such file"),
        (own | {"certificate": server.client_public_key}, "certificate cannot be used"),
        ({"certificate": text}, "it is for another key than the private key given"),
        ({"private_key": None, "certificate": text}, "set private_key or key_file"),
    ):
        with pytest.raises(AuthenticationFailed, match="certificate") as error:
            log_in(server.airflow_connection(**extra))
        assert words in str(error.value)


# ----------------------------------------------------------------------------------------------------------- algorithms

OLD: dict[str, tuple[dict[str, Any], str, str]] = {
    # what the old server has alone; our setting; its name
    "kex": ({"kex_algs": ["diffie-hellman-group1-sha1"]}, "kex", "diffie-hellman-group1-sha1"),
    "gex": ({"kex_algs": ["diffie-hellman-group-exchange-sha1"]}, "kex", "diffie-hellman-group-exchange-sha1"),
    "cipher": ({"encryption_algs": ["aes128-cbc", "3des-cbc"]}, "ciphers", "aes128-cbc"),
    "mac": ({"encryption_algs": ["aes128-ctr"], "mac_algs": ["hmac-md5", "hmac-sha1-96"]}, "macs", "hmac-md5"),
}


@pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")  # by cryptography, which is right
@pytest.mark.parametrize("case", OLD)
def test_an_old_servers_algorithm_is_added(tmp_path: Path, case: str) -> None:
    """The error says what the server offers, and the very line for Extra: with that, it works. What is added comes
    after what is there, and disabled_algorithms holds all the same."""
    options, setting, name = OLD[case]
    with AsyncsshServer(tmp_path / "sftp", **options) as server:
        with pytest.raises(ConfigurationError, match=f"no {setting} in common: the server offers {name}") as error:
            log_in(server.airflow_connection())
        extra = json.loads(str(error.value).rsplit("Extra: ", 1)[1])
        assert extra == {setting: f"+{name}"}
        log_in(server.airflow_connection(**extra))
        log_in(server.airflow_connection(**{setting: [name]}))
        with pytest.raises(ConfigurationError, match=f"Take {name} out of disabled_algorithms"):
            log_in(server.airflow_connection(**extra, disabled_algorithms={setting: [name]}))
    with AsyncsshServer(tmp_path / "sftp") as server:
        assert log_in(server.airflow_connection(**extra))["send_cipher"] == "aes128-gcm@openssh.com"


def test_algorithms_that_nobody_here_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no setting for that: the error says so. It is printable, whatever the server sends."""
    from asyncssh.connection import SSHConnection

    real = SSHConnection._get_extra_kex_algs
    made_up = [b"made-up\x1b[2J@example.com"]

    with AsyncsshServer(tmp_path / "sftp") as server:
        send = SSHConnection._send_kexinit

        def send_made_up(connection: Any) -> None:
            if connection.is_server():
                connection._kex_algs = made_up
            send(connection)

        monkeypatch.setattr(SSHConnection, "_send_kexinit", send_made_up)
        with pytest.raises(ConfigurationError, match="none of them: its owner has to add others") as error:
            log_in(server.airflow_connection())
    assert real is SSHConnection._get_extra_kex_algs
    assert r"made-up\x1b[2J@example.com" in str(error.value)
    assert str(error.value).isprintable()


def test_host_key_algorithms_and_pubkey_algorithms(tmp_path: Path) -> None:
    """A server of old with SHA-1 alone, for its own key and for the user's, is logged in to; each is settable."""
    rsa = asyncssh.generate_private_key("ssh-rsa")
    secret(rsa.export_private_key().decode())
    server = AsyncsshServer(tmp_path / "sftp", password=None, signature_algs=["ssh-rsa"])
    server._host_key = rsa
    server.client_public_key = rsa.export_public_key().decode()
    own = {"private_key": rsa.export_private_key().decode()}
    with server:
        log_in(server.airflow_connection(**own, pubkey_algorithms=["ssh-rsa"], host_key_algorithms="ssh-rsa"))
        log_in(server.airflow_connection(**own, pubkey_algorithms="+ssh-rsa", host_key_algorithms="+ssh-rsa"))
        with pytest.raises(ConfigurationError, match="no host_key_algorithms in common"):
            log_in(server.airflow_connection(**own, host_key_algorithms=["ssh-ed25519"]))
        with pytest.raises(LoginRefused):
            log_in(server.airflow_connection(**own, pubkey_algorithms=["ssh-ed25519"]))


def test_a_host_key_of_another_type_than_the_server_has(openssh_server: OpenSshServer) -> None:
    """The error says which types it has, and how to get the key."""
    rsa = " ".join(asyncssh.generate_private_key("ssh-rsa").export_public_key().decode().split()[:2])
    with pytest.raises(HostKeyError, match="the server offers ssh-ed25519") as error:
        log_in(openssh_server.airflow_connection(host_key=rsa))
    assert f"ssh-keyscan -p {openssh_server.port} 127.0.0.1" in str(error.value)
    assert "The key in host_key of the connection is of another type" in str(error.value)


@pytest.mark.parametrize("name", ["kex", "macs", "host_key_algorithms", "pubkey_algorithms", "ciphers"])
def test_an_algorithm_that_is_none_is_named(sftp_server: AsyncsshServer, name: str) -> None:
    """Before anything is sent."""
    for value in (["rot13"], "+rot13"):
        with pytest.raises(ConfigurationError, match="rot13"):
            log_in(sftp_server.airflow_connection(**{name: value}))
    with pytest.raises(ConfigurationError, match=f"{name} is 5, and must be a list of names"):
        log_in(sftp_server.airflow_connection(**{name: 5}))
    assert not sftp_server.requests


# ------------------------------------------------------------------------------------------------------------ host keys


@pytest.mark.parametrize(
    "form",
    [
        "[127.0.0.1]:{port} {key}",
        "partner.example.com,10.0.0.1 {key} a comment",
        "|1|c2FsdHNhbHRzYWx0c2FsdHNhbHQ=|aGFzaGhhc2hoYXNoaGFzaGhhc2g= {key}",
        "# 127.0.0.1:{port} SSH-2.0-OpenSSH_9.2\n[127.0.0.1]:{port} {key}\n# another\n[127.0.0.1]:{port} {other}\n",
        "{other}\n{key}\n",
        '"{key}"',
        "127.0.0.1 {key}\\n",
    ],
)
def test_a_host_key_as_a_line_of_known_hosts_or_of_ssh_keyscan(sftp_server: AsyncsshServer, form: str) -> None:
    """Whichever of them is the server's; with none of them it is refused."""
    other = " ".join(asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().split()[:2])
    given = form.replace("{other}", other).replace("{port}", str(sftp_server.port))
    log_in(sftp_server.airflow_connection(host_key=given.replace("{key}", sftp_server.host_key)))
    with pytest.raises(HostKeyError, match="is not the host_key of the connection"):
        log_in(sftp_server.airflow_connection(host_key=given.replace("{key}", other)))


def test_what_ssh_keyscan_prints_is_a_host_key(openssh_server: OpenSshServer) -> None:
    """All of it."""
    keyscan = shutil.which("ssh-keyscan")
    assert keyscan
    scan = subprocess.run(
        [keyscan, "-p", str(openssh_server.port), "127.0.0.1"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "ssh-ed25519" in scan.stdout
    log_in(openssh_server.airflow_connection(host_key=scan.stdout))


def test_a_revoked_host_key_is_refused(sftp_server: AsyncsshServer) -> None:
    """A marker counts in a host_key as in a file."""
    both = f"* {sftp_server.host_key}\n@revoked * {sftp_server.host_key}"
    with pytest.raises(HostKeyError, match="revoked"):
        log_in(sftp_server.airflow_connection(host_key=both))


MALFORMED = ["lonely", "|9|abc|def {key}", "|1|abc {key}"]


@pytest.mark.parametrize("malformed", MALFORMED)
def test_a_malformed_line_of_known_hosts_is_passed_over(
    sftp_server: AsyncsshServer, tmp_path: Path, malformed: str
) -> None:
    """As OpenSSH does. Where the server is not known, the error names the file and the line."""
    file = tmp_path / "hosts"
    malformed = malformed.replace("{key}", sftp_server.host_key)
    file.write_text(f"# ours\n{malformed}\n{hosts_line(sftp_server)}")
    log_in(unkeyed(sftp_server, known_hosts=str(file)))
    file.write_text(f"# ours\n{malformed}\n")
    with pytest.raises(HostKeyError, match=f"known_hosts '{file}' cannot be read in line 2"):
        log_in(unkeyed(sftp_server, known_hosts=str(file)))


def test_a_malformed_line_that_may_revoke_a_key_is_an_error(sftp_server: AsyncsshServer, tmp_path: Path) -> None:
    """To pass it over could let in whom it keeps out."""
    file = tmp_path / "hosts"
    file.write_text(hosts_line(sftp_server) + "@revoked *\n")
    with pytest.raises(HostKeyError, match=f"known_hosts '{file}', line 2, cannot be read"):
        log_in(unkeyed(sftp_server, known_hosts=str(file)))
    assert not sftp_server.requests


# ----------------------------------------------------------------------------------------------------- tasks, and Dags


@pytest.mark.usefixtures("airflow_home")
def test_mapped_tasks_that_come_after_a_refused_login_try_none(tmp_path: Path) -> None:
    """Of twenty batches with a wrong password one is refused, and the account is not locked."""
    from airflow_provider_sftp_s3._compat import DAG
    from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator

    with Counting(tmp_path / "sftp", refuses) as server:
        with DAG("refused_mapped", schedule=None, start_date=datetime(2024, 1, 1)) as dag:
            S3ToSftpOperator.partial(
                task_id="push", sftp_conn_id="sftp_here", s3_bucket="none-is-asked", sftp_path="/", retries=2
            ).expand(s3_keys=[[f"{number}.csv"] for number in range(20)])
        with airflow_connections(sftp_here=server.airflow_connection() | {"password": "wrong"}, aws_default=AWS):
            state, instances = run_dag(dag)
        assert state == "failed"
        assert {ti.state for ti in instances.values()} == {"failed"}
        assert server.shown == ["wrong"]
    (told,) = [found for ti in instances.values() if (found := xcom(ti, REFUSED))]  # of whichever was first
    assert "refused user 'user'" in told["error"]


@pytest.mark.usefixtures("airflow_home")
@pytest.mark.parametrize("schedule", ["@continuous", "@daily"])
def test_a_continuous_dag_waits_after_a_refused_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    """Its next run would be the next attempt. All others end at once, and none is tried again."""
    from airflow_provider_sftp_s3._compat import DAG
    from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator

    waited: list[float] = []
    monkeypatch.setattr(f"{base.__name__}.time", SimpleNamespace(sleep=waited.append))
    with Counting(tmp_path / "sftp", refuses) as server:
        name = f"refused_{schedule.strip('@')}"
        with DAG(name, schedule=schedule, start_date=datetime(2024, 1, 1), max_active_runs=1, catchup=False) as dag:
            SftpTreeToS3Operator(
                task_id="pull", sftp_conn_id="sftp_here", s3_bucket="none-is-asked", sftp_path="/", retries=2
            )
        with airflow_connections(sftp_here=server.airflow_connection() | {"password": "wrong"}, aws_default=AWS):
            state, instances = run_dag(dag)
        assert state == "failed"
        assert instances["pull", -1].try_number == 1
        assert server.shown == ["wrong"]
    assert waited == ([15 * 60] if schedule == "@continuous" else [])


class FakeInstance:
    """A mapped task instance, as far as it is asked."""

    map_index = 3

    def __init__(self, max_tries: int, found: Any) -> None:
        self.max_tries = max_tries
        self.found = found

    def xcom_pull(self, **_: Any) -> Any:
        return self.found


@pytest.mark.parametrize(("max_tries", "heeds"), [(2, True), (3, False), (1, True)])
@pytest.mark.parametrize("several", [True, False])
def test_a_cleared_task_heeds_no_refusal_of_before(max_tries: int, heeds: bool, several: bool) -> None:
    """Somebody has mended the password, and cleared what had failed: Airflow gives that more tries."""
    from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator

    push = S3ToSftpOperator(task_id="push", s3_bucket="bucket", sftp_path="/")
    told = {"connection": "sftp_default", "max_tries": 2, "error": "refused"}
    context: Any = {"ti": FakeInstance(max_tries, [None, told] if several else told)}
    with pytest.raises(ConfigurationError, match="did not try") if heeds else contextlib.nullcontext():
        push._heed_refusals(context)
