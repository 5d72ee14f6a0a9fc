"""Keys as people paste them: which forms are taken, and what the others are said to be."""

from __future__ import annotations

import base64
from collections.abc import Callable

import asyncssh
import pytest

from airflow_provider_sftp_s3.engine.sftp.keys import HostKeys, host_keys, looks_like, tidy

pytestmark = pytest.mark.unit

KEY = asyncssh.generate_private_key("ssh-ed25519")
TEXT = KEY.export_private_key().decode()


PASTES: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "\\n": lambda text: text.replace("\n", "\\n"),
    "\\r\\n": lambda text: text.replace("\n", "\\r\\n"),
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "empty lines": lambda text: text.replace("\n", "\n\n"),
    "indented": lambda text: text.replace("\n", "\n    "),
    "spaces": lambda text: text.replace("\n", " "),
    "one line": lambda text: text.replace("\n", ""),
    "quotes": lambda text: f'"{text}"',
    "byte order mark": lambda text: f"\ufeff\n{text}",
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 in lines": lambda text: base64.encodebytes(text.encode()).decode(),
}


@pytest.mark.parametrize("paste", PASTES.values(), ids=PASTES)
def test_a_pasted_key_is_taken(paste: Callable[[str], str]) -> None:
    """It is the same key, in lines."""
    tidied = tidy(paste(TEXT))
    assert "".join(tidied.split()) == "".join(TEXT.split())
    assert asyncssh.import_private_key(tidied).public_data == KEY.public_data


@pytest.mark.parametrize("line_break", ["\n", "\\n", " "])
def test_an_encrypted_key_in_pem_keeps_its_headers(line_break: str) -> None:
    """They say how the data is encrypted."""
    key = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    pasted = key.export_private_key("pkcs1-pem", passphrase="right").decode().replace("\n", line_break)
    assert "Proc-Type" in pasted
    assert asyncssh.import_private_key(tidy(pasted), "right").public_data == key.public_data


@pytest.mark.parametrize(
    "text",
    ["", "no key", "bm8ga2V5", TEXT[:100], TEXT.replace("\n", "\n!", 1), TEXT.replace("END OPENSSH", "END RSA")],
    ids=["empty", "words", "base64 of words", "cut off", "no base64 in it", "another end"],
)
def test_what_is_no_key_stays_as_it_is(text: str) -> None:
    """Nothing is guessed: the library that reads it says what is wrong."""
    assert tidy(text) == text


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        (KEY.export_public_key().decode(), "public key"),
        ("-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----", "public key"),
        ("PuTTY-User-Key-File-3: ssh-ed25519\n", "PuTTYgen"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "certificate"),
        (TEXT[:100], "its end is missing"),
        ("~/.ssh/id_ed25519", "key_file"),
        ("/keys/partner key.pem", "key_file"),
        ("./id_rsa", "key_file"),
        ("C:\\keys\\id_rsa", "key_file"),
    ],
    ids=["OpenSSH", "PEM", "PuTTY", "certificate", "cut off", "home", "absolute", "relative", "Windows"],
)
def test_what_was_given_instead_is_said(text: str, looks: str) -> None:
    """Quotes and space around it do not matter."""
    assert looks in looks_like(text)
    assert looks in looks_like(f'\ufeff"{text}"\n')


@pytest.mark.parametrize(
    "text", ["", "no key", "secret/with/slashes", TEXT], ids=["empty", "words", "slashes", "a private key"]
)
def test_where_there_is_no_telling_nothing_is_said(text: str) -> None:
    """A wrong guess would send the user somewhere else."""
    assert looks_like(text) == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ssh-ed25519 AAAA", HostKeys(("ssh-ed25519 AAAA",))),
        ("ssh-ed25519  AAAA== a comment of two words", HostKeys(("ssh-ed25519 AAAA==",))),
        ("AAAA", HostKeys(("ssh-rsa AAAA",))),
        ("example.com,10.0.0.1 ssh-rsa AAAA", HostKeys(("ssh-rsa AAAA",))),
        ("# example.com:22 SSH-2.0\n[h]:2222 ssh-rsa AAAA\n\nh ssh-ed25519 BBBB\n", None),
        ("h ssh-rsa AAAA\\nh ssh-ed25519 BBBB", None),
        ('"h ssh-rsa AAAA\r\nh ssh-ed25519 BBBB"', None),
        ("@cert-authority *.h ssh-rsa AAAA", HostKeys(authorities=("ssh-rsa AAAA",))),
        ("@revoked * ssh-rsa AAAA\nh ssh-rsa BBBB", HostKeys(("ssh-rsa BBBB",), revoked=("ssh-rsa AAAA",))),
    ],
)
def test_the_lines_of_a_host_key_are_read(text: str, found: HostKeys | None) -> None:
    """A key alone, or lines of known_hosts or of ssh-keyscan, whatever hosts they name; None: the same two keys."""
    assert host_keys(text) == (found or HostKeys(("ssh-rsa AAAA", "ssh-ed25519 BBBB")))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no key in it"),
        ("# only a comment", "there is no key in it"),
        ("no key", "it is no public key"),
        ("ssh-ed25519 AAAA\nno key", "it is no public key"),
        ("@unheard-of h ssh-rsa AAAA", "it is no public key"),
    ],
)
def test_another_line_among_them_is_refused(text: str, says: str) -> None:
    """To pass over it could be to pass over the line that revokes a key."""
    with pytest.raises(ValueError, match=says):
        host_keys(text)
