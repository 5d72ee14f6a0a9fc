"""The connection: whom it trusts, with what it logs in, and what to change where the server says no."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from airflow_provider_sftp_s3.engine.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    HostKeyError,
    LoginRefused,
)
from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer, connect
from tests.support.engine import server_of
from tests.support.faulty_sftp import HangsUp, NeverGreets
from tests.support.sftp_servers import AsyncsshServer


async def error_of(server: SftpServer, timeout: float = 60, **changes: Any) -> Exception:
    """Return what the attempt to connect ends with."""
    with pytest.raises((ConfigurationError, ConnectionFailed)) as failed:
        await connect(dataclasses.replace(server, **changes), timeout, 1)
    return failed.value


@pytest.mark.integration
async def test_a_good_login_is_a_session(sftp_server: AsyncsshServer) -> None:
    """With the number that errors name it by, a second one beside it, and an end that the server sees."""
    channel = await connect(server_of(sftp_server), 60, 7)
    assert channel.sftp.number == 7
    assert not channel.is_openssh
    assert (await channel.sftp.stat(b"/")).kind() == "directory"
    another = await channel.another()
    assert (await another.sftp.stat(b"/")).kind() == "directory"
    assert sftp_server.connections_total == 1
    await channel.close()
    assert channel.sftp.lost is not None
    await channel.close()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"password": "wrong"}, LoginRefused, "refused user 'user'"),
        ({"username": "nobody"}, LoginRefused, "refused user 'nobody'"),
        ({"password": None, "look_for_keys": False}, LoginRefused, "Check login"),
        ({"private_key": "no key"}, AuthenticationFailed, "private_key cannot be used"),
        ({"key_file": "/nonexistent/key"}, AuthenticationFailed, "key_file '/nonexistent/key' cannot be used"),
        ({"host_key": "no key"}, HostKeyError, "host_key cannot be read"),
        ({"host_key": None, "known_hosts": "/"}, HostKeyError, "known_hosts '/' cannot be read"),
        ({"ciphers": ("rot13",)}, ConfigurationError, "rot13"),
        ({"disabled_algorithms": {"cypher": ["x"]}}, ConfigurationError, "there is no 'cypher'; there are kex, keys"),
        (
            {"disabled_algorithms": {"keys": ["ssh-ed25519"]}},
            ConfigurationError,
            "Take ssh-ed25519 out of disabled_algorithms",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
async def test_what_only_somebody_can_change_is_named(
    sftp_server: AsyncsshServer, changes: dict[str, Any], kind: type[Exception], says: str
) -> None:
    """No retry would mend it."""
    error = await error_of(server_of(sftp_server), **changes)
    assert type(error) is kind
    assert says in str(error)


@pytest.mark.integration
@pytest.mark.parametrize("known", ["another", "none", "missing"])
async def test_an_unknown_server_is_refused_and_its_key_is_shown(
    sftp_server: AsyncsshServer, tmp_path: Path, known: str
) -> None:
    """As the very line that accepts it. Nothing that it could use has been sent to it by then."""
    another = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    known_hosts = tmp_path / "known_hosts"
    if known == "none":
        known_hosts.write_text("")
    changes = {"host_key": another} if known == "another" else {"host_key": None, "known_hosts": str(known_hosts)}
    error = await error_of(server_of(sftp_server), **changes)
    assert isinstance(error, HostKeyError)
    assert f'{{"host_key": "{sftp_server.host_key}"}}' in str(error)
    assert ("is not the host_key" in str(error)) == (known == "another")
    accepted = dataclasses.replace(server_of(sftp_server), host_key=sftp_server.host_key)
    await (await connect(accepted, 60, 1)).close()


@pytest.mark.integration
async def test_known_hosts_and_no_check_let_us_in(sftp_server: AsyncsshServer, tmp_path: Path) -> None:
    """The file in OpenSSH's format; or any server at all, where that is asked for."""
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"[{sftp_server.host}]:{sftp_server.port} {sftp_server.host_key}\n")
    for changes in ({"known_hosts": str(known_hosts)}, {"known_hosts": "/nonexistent", "verify_host_key": False}):
        server = dataclasses.replace(server_of(sftp_server), host_key=None, **changes)
        await (await connect(server, 60, 1)).close()


@pytest.mark.integration
async def test_an_encrypted_key_needs_its_passphrase(sftp_server: AsyncsshServer) -> None:
    """Without it, or with another one, the error says what to set."""
    key = asyncssh.import_private_key(sftp_server.client_key_text)
    text = key.export_private_key(passphrase="right", rounds=1, ignore_few_rounds=True)  # weak, and quick
    with_key = dataclasses.replace(server_of(sftp_server), password=None, private_key=text.decode())
    for wrong in (None, "wrong"):
        assert "set private_key_passphrase" in str(await error_of(with_key, passphrase=wrong))
    await (await connect(dataclasses.replace(with_key, passphrase="right"), 60, 1)).close()


@pytest.mark.integration
async def test_who_does_not_let_us_in_in_time_is_worth_a_retry(sftp_server: AsyncsshServer) -> None:
    """Down, silent, or hanging up: the number is that of no connection."""
    server = server_of(sftp_server)
    sftp_server.stop()
    errors = [await error_of(server)]
    with NeverGreets() as silent:
        errors.append(await error_of(server, 0.3, port=silent.port))
    with HangsUp() as rude:
        errors.append(await error_of(server, port=rude.port))
    assert {type(error) for error in errors} == {ConnectionFailed}
    assert [getattr(error, "connection", None) for error in errors] == [0, 0, 0]
    assert "within conn_timeout" in str(errors[1])
