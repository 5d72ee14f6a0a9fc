"""What asyncssh is given to log in with: the keys, the algorithms, whom to trust, and the password once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncssh
import pytest

from airflow_provider_sftp_s3.engine.errors import AuthenticationFailed, ConfigurationError, HostKeyError
from airflow_provider_sftp_s3.engine.sftp import login
from airflow_provider_sftp_s3.engine.sftp.server import SftpServer

pytestmark = pytest.mark.unit

PRIVATE = asyncssh.generate_private_key("ssh-ed25519")
PUBLIC = " ".join(PRIVATE.export_public_key().decode().split()[:2])


def server(**fields: Any) -> SftpServer:
    return SftpServer(**{"host": "h", "username": "u", **fields})


def test_the_password_is_given_once() -> None:
    """A server that refuses it may count, by whatever method it asks again."""
    events = login.Events("pass")
    assert events.kbdint_challenge_received("", "", "", [("Passwort: ", False)]) == ["pass"]
    assert events.password_auth_requested() is None
    assert events.kbdint_auth_requested() is None


@pytest.mark.parametrize(
    "prompts", [[("Verification code: ", False)], [("Your name: ", True)], [("Password: ", False), ("OTP: ", False)]]
)
def test_a_question_for_something_else_gets_no_password(prompts: list[tuple[str, bool]]) -> None:
    """It is kept for the error."""
    events = login.Events("pass")
    assert events.kbdint_challenge_received("", "", "", prompts) is None
    assert events.prompt == "; ".join(words for words, _ in prompts)
    assert events.password_auth_requested() == "pass"


def test_algorithms_as_openssh_has_them() -> None:
    """A list stands for itself, "+" adds at the end, and what is disabled is left out."""
    assert login.algorithms(server())["encryption_algs"][0] == login.FIRST_CIPHER.decode()
    assert login.algorithms(server(ciphers=["aes256-ctr"]))["encryption_algs"] == ["aes256-ctr"]
    added = login.algorithms(server(ciphers=["+aes256-cbc"]))["encryption_algs"]
    assert (added[0], added[-1]) == (login.FIRST_CIPHER.decode(), "aes256-cbc")
    without = login.algorithms(server(disabled_algorithms={"ciphers": ["aes128-gcm@openssh.com"]}))
    assert "aes128-gcm@openssh.com" not in without["encryption_algs"]
    for disabled in ({"unknown": ["x"]}, {"macs": "hmac-sha1"}):
        with pytest.raises(ConfigurationError, match="disabled_algorithms"):
            login.algorithms(server(disabled_algorithms=disabled))


def test_credentials_are_those_that_are_given(tmp_path: Path) -> None:
    """A key of the connection, a file, or none; ssh-agent and the user's own keys only where nothing is given."""
    text = PRIVATE.export_private_key().decode()
    path = tmp_path / "id"
    path.write_text(text)
    for fields in ({"private_key": text}, {"key_file": str(path)}):
        given = login.credentials(server(**fields))
        assert [key.public_data for key in given["client_keys"]] == [PRIVATE.public_data]
        assert given["agent_path"] is None
    assert login.credentials(server(password="p")) == {"client_keys": None, "agent_path": None}
    assert login.credentials(server(look_for_keys=False)) == {"client_keys": None, "agent_path": None}
    assert login.credentials(server()) == {}
    with pytest.raises(AuthenticationFailed, match="private_key or key_file"):
        login.credentials(server(certificate="ssh-ed25519-cert-v01@openssh.com AAAA"))
    with pytest.raises(AuthenticationFailed, match=r"key_file .*cannot be used"):
        login.credentials(server(key_file=str(tmp_path / "none")))


def test_whom_to_trust(tmp_path: Path) -> None:
    """The key of the connection; known_hosts, of which a malformed line is passed over and told; nobody; anybody."""
    assert login.trusted_keys(server(host_key=PUBLIC)).known_hosts == ([PRIVATE.convert_to_public()], [], [])
    assert login.trusted_keys(server(verify_host_key=False)).known_hosts is None
    path = tmp_path / "known_hosts"
    assert login.trusted_keys(server(known_hosts=str(path))) == (login.NOBODY, "")
    path.write_text(f"h {PUBLIC}\nmalformed\n")
    trust = login.trusted_keys(server(known_hosts=str(path)))
    assert trust.known_hosts.match("h", "", None)[0] == [PRIVATE.convert_to_public()]
    assert "line 2" in trust.remark
    path.write_text("@revoked malformed\n")
    with pytest.raises(HostKeyError, match="line 1"):
        login.trusted_keys(server(known_hosts=str(path)))
    with pytest.raises(HostKeyError, match="host_key cannot be read"):
        login.trusted_keys(server(host_key="no key"))
