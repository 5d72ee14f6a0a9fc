"""The login: what asyncssh is given of the settings, and what cannot be used of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncssh
import pytest

from airflow_provider_sftp_s3.engine.errors import AuthenticationFailed, ConfigurationError, HostKeyError
from airflow_provider_sftp_s3.engine.sftp import login
from airflow_provider_sftp_s3.engine.sftp.login import FIRST_CIPHER, NOBODY, Events, algorithms, trusted_keys
from airflow_provider_sftp_s3.engine.sftp.server import SftpServer
from tests.support.secrets import secret

pytestmark = pytest.mark.unit

FIRST = FIRST_CIPHER.decode()
KEY = asyncssh.generate_private_key("ssh-ed25519")
PRIVATE = secret(KEY.export_private_key().decode())
PUBLIC = " ".join(KEY.export_public_key().decode().split()[:2])
OTHER = asyncssh.generate_private_key("ssh-ed25519")


def server(**settings: Any) -> SftpServer:
    return SftpServer(host="h", **settings)


def test_where_nothing_is_chosen_asyncssh_chooses() -> None:
    """Except for the order of the ciphers, and for compression, which costs more than it saves."""
    chosen = algorithms(server())
    assert set(chosen) == {"encryption_algs", "compression_algs"}
    assert chosen["encryption_algs"][0] == FIRST
    assert chosen["compression_algs"] == ["none"]
    assert algorithms(server(compress=True))["compression_algs"] == ["zlib@openssh.com", "none"]


@pytest.mark.parametrize(
    ("setting", "option"),
    [
        ("kex", "kex_algs"),
        ("ciphers", "encryption_algs"),
        ("macs", "mac_algs"),
        ("pubkey_algorithms", "signature_algs"),
        ("host_key_algorithms", "server_host_key_algs"),
    ],
)
def test_chosen_algorithms_are_the_only_ones(setting: str, option: str) -> None:
    """In their order."""
    assert algorithms(server(**{setting: ("b", "a")}))[option] == ["b", "a"]


@pytest.mark.parametrize(
    ("setting", "option"),
    [
        ("kex", "kex_algs"),
        ("ciphers", "encryption_algs"),
        ("macs", "mac_algs"),
        ("pubkey_algorithms", "signature_algs"),
    ],
)
def test_algorithms_with_a_plus_come_after_the_usual_ones(setting: str, option: str) -> None:
    """All of them, though only the first has it; they are for a server that has nothing better."""
    *usual, one, other = algorithms(server(**{setting: ("+old", "older")}))[option]
    assert (one, other) == ("old", "older")
    assert len(usual) > 3


@pytest.mark.parametrize(
    ("kind", "setting", "option"),
    [
        ("kex", "kex", "kex_algs"),
        ("ciphers", "ciphers", "encryption_algs"),
        ("macs", "macs", "mac_algs"),
        ("pubkeys", "pubkey_algorithms", "signature_algs"),
    ],
)
def test_disabled_algorithms_are_taken_out(kind: str, setting: str, option: str) -> None:
    """Of the usual ones, and of what is chosen."""
    usual = algorithms(server(**{setting: ("+old",)}))[option][:-1]
    out = usual[1]
    assert algorithms(server(disabled_algorithms={kind: [out]}))[option] == [name for name in usual if name != out]
    assert algorithms(server(disabled_algorithms={kind: [out]}, **{setting: (out, "a")}))[option] == ["a"]


def test_host_key_algorithms_start_from_the_keys_that_are_known() -> None:
    """So asyncssh adds and takes out by itself; both at once it does not know."""
    off = {"keys": ["ssh-ed25519"]}
    assert algorithms(server(host_key_algorithms=("+ssh-dss", "x")))["server_host_key_algs"] == "+ssh-dss,x"
    assert algorithms(server(disabled_algorithms=off))["server_host_key_algs"] == "-ssh-ed25519"
    both = algorithms(server(host_key_algorithms=("+ssh-dss",), disabled_algorithms=off))["server_host_key_algs"]
    assert both[-1] == "ssh-dss"
    assert len(both) > 3
    assert "ssh-ed25519" not in both


@pytest.mark.parametrize(
    ("disabled", "says"),
    [
        ({"cypher": ["x"]}, "there is no 'cypher'; there are kex, keys, pubkeys, ciphers, macs"),
        ({"ciphers": "aes128-cbc"}, "ciphers must be a list of names, not 'aes128-cbc'"),
        ({"macs": [1]}, "macs must be a list of names"),
    ],
)
def test_what_is_no_kind_or_no_list_is_named(disabled: Any, says: str) -> None:
    """To pass over it would leave on what was to be off."""
    with pytest.raises(ConfigurationError, match=says):
        algorithms(server(disabled_algorithms=disabled))


def test_a_password_is_given_once() -> None:
    """By whatever method the server asks for it: one that refuses it may count."""
    events = Events("right")
    assert events.kbdint_auth_requested() == ""
    assert events.kbdint_challenge_received("", "", "", [("Password: ", False)]) == ["right"]
    assert events.password_auth_requested() is None
    assert events.kbdint_auth_requested() is None


@pytest.mark.parametrize(
    "prompts",
    [
        [("Verification code: ", False)],
        [("One-time password: ", False)],
        [("Favourite colour? ", True)],
        [("Password: ", False), ("Token: ", False)],
    ],
)
def test_a_question_for_something_else_has_no_answer(prompts: list[tuple[str, bool]]) -> None:
    """The password is not spent on it, and the error can show what was asked."""
    events = Events("right")
    assert events.kbdint_challenge_received("", "", "", prompts) is None
    assert prompts[0][0] in events.prompt
    assert events.password_auth_requested() == "right"


def test_keys_of_the_worker_are_tried_only_where_nothing_is_given() -> None:
    """A server that counts would lock the user out over keys that are none of its business."""
    none = {"client_keys": None, "agent_path": None}
    assert login.credentials(server()) == {}
    assert login.credentials(server(look_for_keys=False)) == none
    assert login.credentials(server(password="p")) == none
    given = login.credentials(server(private_key=PRIVATE, password="p"))
    assert [key.public_data for key in given["client_keys"]] == [KEY.public_data]
    assert given["agent_path"] is None


def test_a_key_file_is_opened_with_the_password_where_there_is_no_passphrase(tmp_path: Path) -> None:
    """As paramiko does. A line break that a paste has left behind the passphrase does not matter."""
    file = tmp_path / "key"
    file.write_bytes(KEY.export_private_key(passphrase="right", rounds=1, ignore_few_rounds=True))
    for settings in ({"password": "right"}, {"passphrase": "right"}, {"passphrase": "right\n"}):
        [key] = login.credentials(server(key_file=str(file), **settings))["client_keys"]
        assert key.public_data == KEY.public_data
    with pytest.raises(AuthenticationFailed, match="set private_key_passphrase"):
        login.credentials(server(key_file=str(file), passphrase="wrong"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"private_key": "~/.ssh/id_rsa"}, "private_key cannot be used: it looks like a path"),
        ({"key_file": PRIVATE}, "key_file cannot be used:  .it looks like a key itself"),
        ({"certificate": "c"}, "no key that it is for"),
        ({"private_key": PRIVATE, "certificate": "/nonexistent"}, "certificate cannot be used: No such file"),
    ],
    ids=["a path as key", "a key as path", "a certificate alone", "no such certificate"],
)
def test_a_key_that_cannot_be_used_is_named_and_not_shown(settings: dict[str, Any], says: str) -> None:
    """The error says which setting, and what is in it."""
    with pytest.raises(AuthenticationFailed, match=says) as failed:
        login.credentials(server(**settings))
    assert PRIVATE.splitlines()[1] not in str(failed.value)


def test_a_certificate_goes_with_its_own_key() -> None:
    """With another one the server would refuse it, and not say why."""
    authority = asyncssh.generate_private_key("ssh-ed25519")
    text = authority.generate_user_certificate(KEY, "user").export_certificate().decode()
    [(key, certificate)] = login.credentials(server(private_key=PRIVATE, certificate=text))["client_keys"]
    assert key.public_data == certificate.key.public_data == KEY.public_data
    other = secret(OTHER.export_private_key().decode())
    with pytest.raises(AuthenticationFailed, match="it is for another key"):
        login.credentials(server(private_key=other, certificate=text))


def test_whom_to_trust(tmp_path: Path) -> None:
    """Anybody, the one key, or who is in the file; where there is no file, nobody."""
    assert trusted_keys(server(verify_host_key=False)).known_hosts is None
    [trusted], authorities, revoked = trusted_keys(server(host_key=PUBLIC)).known_hosts
    assert trusted.public_data == KEY.public_data
    assert (authorities, revoked) == ([], [])
    known = tmp_path / "known_hosts"
    assert trusted_keys(server(known_hosts=str(known))).known_hosts == NOBODY
    known.write_text("")
    assert trusted_keys(server(known_hosts=str(known))).known_hosts == NOBODY
    with pytest.raises(HostKeyError, match="host_key cannot be read"):
        trusted_keys(server(host_key="no key"))


def test_a_malformed_line_of_known_hosts_is_passed_over_unless_it_revokes_a_key(tmp_path: Path) -> None:
    """As OpenSSH does; an error over an unknown server can tell which lines these were."""
    known = tmp_path / "known_hosts"
    known.write_text(f"nonsense\nh {PUBLIC}\nnonsense\n")
    trust = trusted_keys(server(known_hosts=str(known)))
    assert "cannot be read in line 1, 3" in trust.remark
    assert [key.public_data for key in trust.known_hosts.match("h", "", None)[0]] == [KEY.public_data]
    known.write_text(f"h {PUBLIC}\n@revoked h\n")
    with pytest.raises(HostKeyError, match="line 2, cannot be read"):
        trusted_keys(server(known_hosts=str(known)))


def test_the_advice_on_an_unknown_key_is_what_to_paste() -> None:
    """Whether another one was expected, or none; with no key at hand, what was the matter."""
    advice = login.host_key_advice(server(), KEY, "", "")
    assert "the key of h:22 is not known" in advice
    assert f'{{"host_key": "{PUBLIC}"}}' in advice
    assert "is not the host_key of the connection" in login.host_key_advice(server(host_key=PUBLIC), OTHER, "", "")
    assert login.host_key_advice(server(), None, "too\x1bbad", "") == "h:22: too\\x1bbad"


def test_an_ssh_config_that_cannot_be_read_is_named() -> None:
    """It may hold the way to the server."""
    with pytest.raises(ConfigurationError, match="ssh_config '/nonexistent' cannot be read"):
        login.config_of(server(ssh_config="/nonexistent"), {"config": ["/nonexistent"]})


def test_where_no_server_has_spoken_nothing_is_said_of_algorithms() -> None:
    """The error is another one."""
    assert login.nothing_in_common(server(), Events(None)) is None
