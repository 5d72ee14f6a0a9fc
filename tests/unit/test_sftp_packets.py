"""Packets made beside asyncssh: byte for byte what it would make, with no nonce twice, and only where all is known."""

from __future__ import annotations

import logging
import os
from types import SimpleNamespace
from typing import Any

import pytest
from asyncssh.encryption import GCMEncryption
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine.sftp import packets
from airflow_provider_sftp_s3.engine.sftp.connection import connect
from airflow_provider_sftp_s3.engine.sftp.packets import TRIED, are_known
from tests.support.engine import server_of
from tests.support.sftp_servers import AsyncsshServer

CIPHERS = {"aes128-gcm": 16, "aes256-gcm": 32}


def encryptions(cipher: str, nonce: bytes = b"\0" * 12) -> tuple[Any, Any]:
    """Return two of asyncssh's encryptions in the same state, as both ends of a connection have them."""
    key = os.urandom(CIPHERS[cipher])
    return GCMEncryption.new(cipher, key, nonce), GCMEncryption.new(cipher, key, nonce)


@pytest.mark.unit
@pytest.mark.parametrize("cipher", CIPHERS)
@given(st.lists(st.binary(min_size=16, max_size=100), max_size=5))
def test_a_packet_is_what_asyncssh_would_make_of_it(cipher: str, contents: list[bytes]) -> None:
    """One after another, ours and asyncssh's by turns: there is one count of packets for both."""
    ours, theirs = encryptions(cipher)
    aead = packets._Aead()
    assert aead.follows(ours)
    for number, content in enumerate(contents):
        length = len(content).to_bytes(4, "big")
        expected, tag = theirs.encrypt_packet(number, length, content)
        if number % 2:
            assert ours.encrypt_packet(number, length, content) == (expected, tag)
        else:
            assert length + aead.encrypt(content, length) == expected + tag


@pytest.mark.unit
@pytest.mark.parametrize("nonce", [b"abcd" + b"\xff" * 8, b"\xff" * 12, b"abcd" + b"\0" * 7 + b"\xff"])
def test_the_count_of_packets_carries_over_and_leaves_the_fixed_field(nonce: bytes) -> None:
    """The last of 2 to the 64 is followed by the first: RFC 5647, section 7.1."""
    ours, theirs = encryptions("aes128-gcm", nonce)
    aead = packets._Aead()
    aead.follows(ours)
    for number in range(3):
        expected, tag = theirs.encrypt_packet(number, b"\0\0\0\x10", b"x" * 16)
        assert b"\0\0\0\x10" + aead.encrypt(b"x" * 16, b"\0\0\0\x10") == expected + tag
    assert ours._cipher._iv[:4] == nonce[:4]


@pytest.mark.unit
@pytest.mark.parametrize("step", [0, 2], ids=["stands still", "skips one"])
def test_a_nonce_that_is_not_the_next_one_is_noticed(step: int) -> None:
    """Before anything else is encrypted: a nonce that is used twice gives the key away."""
    ours, _ = encryptions("aes128-gcm")
    aead = packets._Aead()
    aead.follows(ours)
    ours._cipher._update_iv = lambda: setattr(ours._cipher, "_iv", b"\0" * 11 + bytes([step]))
    with pytest.raises(packets._NonceError):
        aead.encrypt(b"x" * 16, b"\0\0\0\x10")


@pytest.mark.unit
def test_new_keys_are_followed_and_other_ciphers_are_not() -> None:
    """What was the cipher before a key exchange encrypts nothing after it."""
    (first, _), (second, its_other_end) = encryptions("aes128-gcm"), encryptions("aes256-gcm")
    aead = packets._Aead()
    assert aead.follows(first)
    assert aead.follows(second)
    expected, tag = its_other_end.encrypt_packet(0, b"\0\0\0\x10", b"x" * 16)
    assert b"\0\0\0\x10" + aead.encrypt(b"x" * 16, b"\0\0\0\x10") == expected + tag
    assert not aead.follows(SimpleNamespace(_cipher=SimpleNamespace(_key=b"k" * 32)))
    assert not aead.follows(None)
    assert aead.follows(second)


class Said(logging.Handler):
    """What the log says."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The lines that are logged, at DEBUG."""
    handler, log = Said(), logging.getLogger(packets.__name__)
    monkeypatch.setattr(log, "level", logging.DEBUG)
    log.addHandler(handler)
    yield handler.lines
    log.removeHandler(handler)


@pytest.mark.integration
async def test_a_connection_is_known_where_all_that_is_used_of_it_is_there(
    sftp_server: AsyncsshServer, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a version that was tried. Else the log has one line that says why, and asyncssh does it all."""
    channel = await connect(server_of(sftp_server), 5, 1)
    connection = channel._connection
    try:
        assert are_known(connection, TRIED[0])
        assert said == []
        assert not are_known(connection, "2.999.0")
        assert "asyncssh 2.999.0 is none of the versions that were tried" in said.pop()
        monkeypatch.setattr(packets, "_OF_CONNECTION", ("_send_seq", "_no_such_thing"))
        assert not are_known(connection, TRIED[0])
        assert "asyncssh's connection has no _no_such_thing" in said.pop()
        assert said == []
    finally:
        await channel.close()
