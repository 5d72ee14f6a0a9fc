"""Keys as people paste them: read where it is unambiguous, and otherwise told apart from what they look like."""

from __future__ import annotations

import base64

import asyncssh
import pytest

from airflow_provider_sftp_s3.engine.sftp import keys

pytestmark = pytest.mark.unit

PRIVATE = asyncssh.generate_private_key("ssh-ed25519")
TEXT = PRIVATE.export_private_key().decode()
PUBLIC = " ".join(PRIVATE.export_public_key().decode().split()[:2])


@pytest.mark.parametrize(
    "pasted",
    [
        TEXT,
        TEXT.replace("\n", "\\n"),
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", " "),
        "\n".join(f"    {line}\n" for line in TEXT.splitlines()),
        f"\ufeff{TEXT}",
        f'"{TEXT}"',
        base64.b64encode(TEXT.encode()).decode(),
    ],
    ids=["as it is", "literal \\n", "CRLF", "one line", "indented", "byte order mark", "quotes", "base64"],
)
def test_what_pasting_has_done_is_undone(pasted: str) -> None:
    """The key is the same one."""
    assert asyncssh.import_private_key(keys.tidy(pasted)).public_data == PRIVATE.public_data


def test_the_headers_of_an_encrypted_key_are_kept() -> None:
    """They say how it is opened, and an empty line parts them from the data."""
    rsa = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    text = rsa.export_private_key("pkcs1-pem", "phrase", "aes128-cbc").decode()
    assert "DEK-Info" in text
    tidied = keys.tidy(text.replace("\n", "\\n"))
    assert asyncssh.import_private_key(tidied, "phrase").public_data == rsa.public_data


@pytest.mark.parametrize("text", ["", "no key", PUBLIC, TEXT[:80], base64.b64encode(b"no key").decode()])
def test_what_is_ambiguous_stays_as_it_is(text: str) -> None:
    """Nothing is made up."""
    assert keys.tidy(text) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PUBLIC, "public key"),
        ("PuTTY-User-Key-File-3: ssh-ed25519", "PuTTY"),
        ("-----BEGIN CERTIFICATE-----", "certificate"),
        (TEXT[:80], "its end is missing"),
        ("~/.ssh/id_ed25519", "key_file"),
        ("C:\\keys\\id", "key_file"),
    ],
)
def test_what_is_no_private_key_is_told_apart(text: str, said: str) -> None:
    """Each has another way out."""
    assert said in keys.looks_like(text)


@pytest.mark.parametrize("text", ["", "hello", TEXT])
def test_where_there_is_no_telling_nothing_is_said(text: str) -> None:
    """A guess would mislead."""
    assert keys.looks_like(text) == ""


def test_host_keys_in_every_form() -> None:
    """A key, bare base64 of RSA, lines of known_hosts and of ssh-keyscan, with their markers and comments."""
    assert keys.host_keys(PUBLIC) == keys.HostKeys(trusted=(PUBLIC,))
    assert keys.host_keys("AAAAB3Nz") == keys.HostKeys(trusted=("ssh-rsa AAAAB3Nz",))
    lines = f"# h:22 SSH-2.0\nh {PUBLIC} comment\n@cert-authority *.h {PUBLIC}\n@revoked * {PUBLIC}\n\n"
    assert keys.host_keys(lines) == keys.HostKeys((PUBLIC,), (PUBLIC,), (PUBLIC,))


@pytest.mark.parametrize("text", ["", "# nothing", "no key at all", f"@unknown h {PUBLIC}", f"{PUBLIC}\nno key"])
def test_a_host_key_that_is_none_is_an_error(text: str) -> None:
    """One line that cannot be read may be the one that revokes."""
    with pytest.raises(ValueError, match=r"no public key|no key in it"):
        keys.host_keys(text)
