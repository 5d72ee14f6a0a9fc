"""Checksums: what S3 gives is compared, and what looks like one and is none does no harm."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest

from airflow_provider_sftp_s3.engine.s3.checksums import Checksum, Trust, checksum_of, crc32_of

pytestmark = pytest.mark.unit

BODY = b"some bytes"
SHA256 = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
MD5 = f'"{hashlib.md5(BODY).hexdigest()}"'


def fed(checksum: Checksum | None, *chunks: bytes | memoryview) -> Checksum:
    assert checksum is not None
    for chunk in chunks:
        checksum.running.update(chunk)
    return checksum


def test_a_crc32_is_written_as_s3_does() -> None:
    """Base64 of four bytes, the highest first; with zeros before a small one."""
    assert crc32_of(b"") == "AAAAAA=="
    assert base64.b64decode(crc32_of(BODY)) == zlib.crc32(BODY).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"x-amz-checksum-crc32": crc32_of(BODY)}, "CRC32"),
        ({"x-amz-checksum-crc32": crc32_of(BODY), "x-amz-checksum-type": "FULL_OBJECT"}, "CRC32"),
        ({"x-amz-checksum-sha256": SHA256, "x-amz-checksum-crc32": crc32_of(BODY)}, "CRC32"),  # the cheapest
        ({"x-amz-checksum-sha1": base64.b64encode(hashlib.sha1(BODY).digest()).decode()}, "SHA1"),
        ({"x-amz-checksum-sha256": SHA256, "ETag": MD5}, "SHA256"),
        ({"ETag": MD5}, "MD5 (ETag)"),
    ],
)
def test_what_s3_gives_is_compared(headers: dict[str, str], name: str) -> None:
    """In chunks, however they are cut; a single bit that differs shows."""
    checksum = checksum_of(headers, by_etag=True)
    assert fed(checksum, BODY[:3], memoryview(BODY)[3:]).name == name
    assert checksum is not None
    assert checksum.holds
    assert checksum.is_etag == ("ETag" in name)
    assert not fed(checksum_of(headers, by_etag=True), BODY[:-1], bytes([BODY[-1] ^ 1])).holds


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"0123"'},
        {"ETag": f'{MD5[:-1]}-3"'},
        {"ETag": MD5, "x-amz-server-side-encryption-aws-kms-key-id": "k"},
        {"ETag": MD5, "x-amz-server-side-encryption-customer-algorithm": "AES256"},
        {"ETag": "", "x-amz-checksum-sha256": f"{SHA256}-3"},
        {"ETag": "", "x-amz-checksum-sha256": SHA256, "x-amz-checksum-type": "COMPOSITE"},
        {"ETag": "", "x-amz-checksum-crc32": "no base64!"},
        {"ETag": "", "x-amz-checksum-of-another-age": SHA256},
    ],
)
def test_what_is_of_parts_or_unknown_is_not(headers: dict[str, str]) -> None:
    """It says nothing about the whole."""
    assert checksum_of(headers, by_etag=True) is None


def test_the_etag_is_taken_where_it_is_asked_for() -> None:
    """Over TLS nothing changes bytes on the way."""
    assert checksum_of({"ETag": MD5}, by_etag=False) is None


class TestTrust:
    """Who is believed: the store's ETag, or what came."""

    def etag_of(self, *chunks: bytes) -> Checksum:
        return fed(checksum_of({"ETag": MD5}, by_etag=True), *chunks)

    def test_a_checksum_that_differs_is_never_taken(self) -> None:
        """S3 says that it is one."""
        trust = Trust()
        for _ in range(3):
            assert not trust.takes(fed(checksum_of({"x-amz-checksum-sha256": SHA256}, by_etag=False), b"other"))
        assert trust.takes(fed(checksum_of({"x-amz-checksum-sha256": SHA256}, by_etag=False), BODY))

    def test_an_etag_that_differs_twice_alike_is_no_md5(self) -> None:
        """A line that changes bytes does not make the same of them twice. Said once."""
        trust, said = Trust(), list[str]()
        trust.notice = said.append
        assert not trust.takes(self.etag_of(b"one"))
        assert not trust.takes(self.etag_of(b"two"))
        assert trust.etags_are_md5
        assert trust.takes(self.etag_of(b"two"))
        assert not trust.etags_are_md5
        assert trust.takes(self.etag_of(b"another that was begun before"))
        assert len(said) == 1

    def test_after_one_that_holds_none_is_excused(self) -> None:
        """The store's ETags are MD5s, then."""
        trust = Trust()
        assert trust.takes(self.etag_of(BODY))
        for _ in range(3):
            assert not trust.takes(self.etag_of(b"changed"))
        assert trust.etags_are_md5
