"""Two sources of a run that come to one name: the second one fails, and names the first."""

from __future__ import annotations

import hashlib

from airflow_provider_sftp_s3.engine.paths import strip_once
from airflow_provider_sftp_s3.engine.strip import Search


class Namesakes:
    """
    The keys of a run by the paths that they come to, where `strip` can make one path of several keys.

    Takes about 30 bytes a path, for a run of a million keys: a digest, and which of the removed pieces belongs to it.
    The path and the piece make the key again. The pieces are kept once each; there are few, such as the days of dated
    directories.

    :param strip: what is removed from each key.
    """

    _RECORD = 18  # 14 bytes of a digest, of which 2 are the bucket's, and a number of 4 bytes
    _DIGEST = 14

    def __init__(self, strip: Search) -> None:
        self._strip = strip
        self._buckets: dict[bytes, bytearray] = {}
        self._pieces: list[tuple[int, str]] = []
        self._numbers: dict[tuple[int, str], int] = {}

    def of(self, key: str) -> str | None:
        """Return the key noted last that comes to the same path as `key`, perhaps `key` itself; None: there is none."""
        relative, bucket, position, _ = self._look_up(key)
        if position < 0:
            return None
        start, piece = self._pieces[int.from_bytes(bucket[position + self._DIGEST : position + self._RECORD], "big")]
        return relative[:start] + piece + relative[start:]

    def note(self, key: str) -> None:
        """Remember `key`, in place of another one that comes to the same path. The key must have a path."""
        _, bucket, position, record = self._look_up(key)
        if position < 0:
            bucket += record
        else:
            bucket[position : position + self._RECORD] = record

    def _look_up(self, key: str) -> tuple[str, bytearray, int, bytes]:
        start, piece = which = strip_once(key, self._strip)
        relative = key[:start] + key[start + len(piece) :]
        digest = hashlib.blake2b(relative.encode(), digest_size=2 + self._DIGEST).digest()
        bucket = self._buckets.setdefault(digest[:2], bytearray())
        number = self._numbers.setdefault(which, len(self._pieces))
        if number == len(self._pieces):
            self._pieces.append(which)
        position = bucket.find(digest[2:])
        while position % self._RECORD and position > 0:
            position = bucket.find(digest[2:], position + 1)
        return relative, bucket, position, digest[2:] + number.to_bytes(4, "big")
