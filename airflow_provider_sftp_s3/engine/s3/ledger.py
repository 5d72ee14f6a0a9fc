"""
What S3 has said of the objects under a prefix, kept there in one object, so that a listing tells what a HEAD would.

A listing shows neither marks nor metadata. But these change with an object's version only, and its ETag and time of
change stand in the listing: of a version that was looked at once, everything is known. So the ledger is a cache of
HEADs and nothing more. It is written once a run had to send many; one that is lost, garbled or out of date costs
that again, and no file.
"""

from __future__ import annotations

import contextlib
import struct
from array import array
from hashlib import blake2b
from itertools import accumulate
from typing import NamedTuple

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import StorageError
from airflow_provider_sftp_s3.engine.model import ObjectEntry
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, Version
from airflow_provider_sftp_s3.engine.s3.marks import REASON, REASON_OF_0_1, REASON_OF_LAMBDA, Naming

#: New facts in a run that make it worth writing them down.
MIN_NEW_FACTS = 1000
#: Versions that are remembered, of 33 bytes each. The others are asked for, as without a ledger.
MAX_RECORDS = 1_000_000

#: What all ledgers begin with, and those that are written here. Others of ours are read as empty.
_OURS = b"airflow-provider-sftp-s3 ledger "
_MAGIC = _OURS + b"2\n"
#: version, destination, reason, mtime
_RECORD = struct.Struct(">16s8sBq")
#: Why a version counts as synced, as a record has it.
_REASONS = (None, REASON, REASON_OF_LAMBDA, REASON_OF_0_1)
_NO_MTIME = -1


class Facts(NamedTuple):
    """
    What is remembered of one version.

    :param reason: why it counts as synced to one destination; None: it did not.
    :param mtime: of the file that it was pulled from.
    """

    reason: str | None
    mtime: int | None


class Ledger:
    """
    The ledger of one prefix, and what it says of one destination; others have their own records in it.

    Two runs that write it at once cost each other's facts, which are found again.

    :param prefix: "" or ending in a slash.
    :param naming: of the destination.
    """

    def __init__(self, bucket: Bucket, prefix: str, naming: Naming) -> None:
        self._bucket = bucket
        self._naming = naming
        self._destination = blake2b(naming.destination.encode(), digest_size=8).digest()
        self._key = prefix + paths.LEDGER
        self._old = _Records(b"")
        self._seen = bytearray()
        self._new: dict[bytes, bytes] = {}
        self._complete = False
        self._writable = False

    async def load(self) -> None:
        """Read what there is. One that cannot be read counts as empty; what is none of ours is left alone."""
        try:
            download = await self._bucket.get(self._key)
            data = b"".join([chunk async for chunk in download.chunks()]) if download else _MAGIC
        except StorageError:
            return
        self._writable = data.startswith(_OURS)
        body = data.removeprefix(_MAGIC)
        if data.startswith(_MAGIC) and len(body) % _RECORD.size == 0:
            self._old = _Records(body)
            self._seen = bytearray(len(self._old))

    def __bool__(self) -> bool:
        return len(self._old) > 0

    def find(self, entry: ObjectEntry) -> Facts | None:
        """Return what is known of a listed version, None where nothing is."""
        facts = None
        for position in self._old.find(_digest(entry.key, entry.etag, entry.modified)):
            self._seen[position] = 1  # the version is there still, whoever has it
            _, destination, reason, mtime = _RECORD.unpack(self._old[position])
            if destination == self._destination and reason < len(_REASONS):
                facts = Facts(_REASONS[reason], None if mtime == _NO_MTIME else mtime)
        return facts

    def reason_of(self, entry: ObjectEntry) -> str | None:
        """Return why a listed version is known to be synced, by its metadata; None: it is not known to be."""
        facts = self.find(entry)
        return facts and facts.reason

    def note(self, key: str, version: Version) -> None:
        """Remember what S3 has said."""
        reason = _REASONS.index(self._naming.reason_by_metadata(key, version))
        mtime = version.metadata.get("mtime", "")
        digest = _digest(key, version.etag, version.modified)
        known = int(mtime) if mtime.isdecimal() else _NO_MTIME
        self._new[digest] = _RECORD.pack(digest, self._destination, reason, known)

    def complete(self) -> None:
        """Take note that all objects were listed: what was not found is no more."""
        self._complete = True

    async def save(self) -> None:
        """Write it down, if that is worth it. A failure costs time, the next time."""
        if len(self._new) < MIN_NEW_FACTS or not self._writable:
            return
        old = (self._old[position] for position, seen in enumerate(self._seen) if seen or not self._complete)
        records = sorted([*self._new.values(), *old])[:MAX_RECORDS]
        with contextlib.suppress(StorageError):
            await self._bucket.put(self._key, [_MAGIC, *records], {})


class _Records:
    """Sorted records in one piece, and where those begin that have the same first two bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        starts = array("I", bytes(4 * 65_537))
        for high, low in zip(data[0 :: _RECORD.size], data[1 :: _RECORD.size], strict=True):
            starts[(high << 8 | low) + 1] += 1
        self._starts = array("I", accumulate(starts))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, position: int) -> bytes:
        return self._data[position * _RECORD.size : (position + 1) * _RECORD.size]

    def find(self, digest: bytes) -> list[int]:
        """Return the positions of the records that begin with `digest`."""
        first_two = digest[0] << 8 | digest[1]
        candidates = range(self._starts[first_two], self._starts[first_two + 1])
        return [position for position in candidates if self._data.startswith(digest, position * _RECORD.size)]


def _digest(key: str, etag: str, modified: str) -> bytes:
    return blake2b(f"{key}\0{etag}\0{modified}".encode(), digest_size=16).digest()
