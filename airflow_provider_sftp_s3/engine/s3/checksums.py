"""
Checksums of objects: one that goes with each upload, for S3 to compare, and those that S3 gives of what is read.

Measured, a MiB: CRC64NVME and CRC32C by awscrt 0.02 ms, CRC32 by zlib 0.28, SHA-1 and SHA-256 0.65, MD5 1.7. Without
awscrt, which nothing here requires, the first two are not compared.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

try:
    from awscrt import checksums as crt  # comes with botocore[crt]
except ImportError:
    crt = None

_IS_MD5 = re.compile('"?([0-9a-f]{32})"?')
#: Encrypted by these, an object's ETag is no MD5: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
_NO_MD5 = ("x-amz-server-side-encryption-aws-kms-key-id", "x-amz-server-side-encryption-customer-algorithm")


def crc32_of(body: bytes) -> str:
    """Return the CRC32 of a body as S3 writes it."""
    return base64.b64encode(zlib.crc32(body).to_bytes(4)).decode()


class _Crc:
    """A CRC, as hashlib has its hashes."""

    def __init__(self, update: Callable[[Any, int], int], size: int) -> None:
        self._update = update
        self._size = size
        self._value = 0

    def update(self, data: Any) -> None:
        self._value = self._update(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size)


#: What makes the checksum of each name, the cheapest first.
_ALGORITHMS: dict[str, Callable[[], Any]] = {
    **({"crc64nvme": lambda: _Crc(crt.crc64nvme, 8)} if hasattr(crt, "crc64nvme") else {}),
    **({"crc32c": lambda: _Crc(crt.crc32c, 4)} if crt else {}),
    "crc32": lambda: _Crc(zlib.crc32, 4),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
}


_ETAG = "MD5 (ETag)"


class Checksum(NamedTuple):
    """
    What an object's bytes must come to.

    :param name: of the algorithm, ``MD5 (ETag)`` where it is the ETag, which may be none.
    :param running: the bytes until now; to be updated with each chunk.
    """

    name: str
    wanted: bytes
    running: Any

    @property
    def is_etag(self) -> bool:
        """Whether it is the ETag, which looks like an MD5, and is one on most stores."""
        return self.name == _ETAG

    @property
    def holds(self) -> bool:
        """Whether the bytes came to it. To be asked when all have come."""
        return bool(self.running.digest() == self.wanted)


def checksum_of(headers: Mapping[str, str], *, by_etag: bool) -> Checksum | None:
    """
    Return a checksum of the whole object out of S3's answer to a GET; None where it gives none that can be compared.

    :param by_etag: whether the ETag is taken where there is nothing better.
    """
    if headers.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT":
        for name, begin in _ALGORITHMS.items():
            value = headers.get(f"x-amz-checksum-{name}")
            if value and "-" not in value:  # of parts: <checksum>-<number of parts>
                try:
                    return Checksum(name.upper(), base64.b64decode(value, validate=True), begin())
                except ValueError:
                    continue
    if by_etag and not any(name in headers for name in _NO_MD5) and (etag := _IS_MD5.fullmatch(headers["ETag"])):
        return Checksum(_ETAG, bytes.fromhex(etag[1]), hashlib.md5(usedforsecurity=False))
    return None


class Trust:
    """
    Whether what comes is what S3 has, and whether the ETags of the store are MD5s: some look as if, and are not.

    They are not where the first of a run that differs does so twice in the same way: a line that changes bytes does not
    make the same of them twice.

    :param notice: told once where they are not.
    """

    def __init__(self) -> None:
        self.notice: Callable[[str], None] = lambda _: None
        self.etags_are_md5 = True
        self._is_proved = False
        self._seen: dict[bytes, bytes] = {}

    def takes(self, checksum: Checksum) -> bool:
        """Say whether an object came as S3 has it."""
        if not checksum.is_etag:
            return checksum.holds
        if checksum.holds:
            self._is_proved = True
            return True
        came = checksum.running.digest()
        if not self.etags_are_md5:
            return True
        if not self._is_proved and self._seen.get(checksum.wanted) == came:
            self.etags_are_md5 = False
            self.notice("the store's ETags look like MD5s and are none: what comes from it is compared by size only")
            return True
        self._seen[checksum.wanted] = came
        return False
