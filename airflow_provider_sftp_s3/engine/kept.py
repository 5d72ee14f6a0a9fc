"""
What S3 has already of a tree whose files stay in their place: it is not pulled again.

A listing shows neither size and mtime of the file that an object was pulled from, nor what the object's metadata say of
them. The ledger of the prefix remembers that; without it S3 is asked for each object.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator

from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, FileError, StorageError
from airflow_provider_sftp_s3.engine.keys import Keys
from airflow_provider_sftp_s3.engine.model import Outcome, SourceFile, Stat
from airflow_provider_sftp_s3.engine.s3 import ledger
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, Version
from airflow_provider_sftp_s3.engine.s3.ledger import Fact, Ledger
from airflow_provider_sftp_s3.engine.s3.marks import names_in_metadata
from airflow_provider_sftp_s3.engine.tasks import forget

#: Files that the walk may find before it is known what S3 has; each takes some 400 bytes.
WALK_AHEAD = 100_000
#: Bytes that stand for an object: of fewer, two of many millions might be the same.
SIZE = 16


class KeptFiles:
    """
    What S3 has, for one run of a pull.

    :param prefix: of the keys of the pulled files.
    """

    def __init__(self, bucket: Bucket, prefix: str, keys: Keys) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._keys = keys
        self._ledger = Ledger(bucket, prefix)
        self._pulled = 0
        #: what S3 has, by the ledger: see _fingerprint
        self._known: asyncio.Task[Fingerprints] | None = None

    async def begin(self) -> None:
        """Read the ledger, and begin to list what S3 has."""
        await self._ledger.load()
        if self._ledger.is_there:
            self._known = asyncio.create_task(self._list_known())
            self._known.add_done_callback(forget)  # whoever waits may be gone

    async def end(self) -> None:
        """Write down what was learned, if files were pulled."""
        if self._pulled:
            await self._ledger.save()

    def close(self) -> None:
        """Forget what was learned."""
        self._ledger.close()

    async def ahead(self, walk: AsyncIterator[SourceFile | Outcome]) -> AsyncGenerator[SourceFile | Outcome]:
        """Yield what the walk comes by. It goes ahead while S3 is still being listed."""
        waiting: list[SourceFile | Outcome] = []
        async for item in walk:
            waiting.append(item)
            if self._known is None or self._known.done() or len(waiting) == WALK_AHEAD:
                for one in waiting:
                    yield one
                waiting.clear()
        for one in waiting:
            yield one

    async def has_by_ledger(self, file: SourceFile) -> bool:
        """Say whether S3 has a file, as far as the ledger tells. Where it has, the file takes its key."""
        if self._known is None or file.stat.size is None or file.stat.mtime is None:
            return False
        try:
            for key in self._keys.all_of(file.relative, file.stat):
                if _fingerprint(key, file.stat.size, file.stat.mtime) in await asyncio.shield(self._known):
                    self._keys.take(key, file)
                    return True
        except FileError:
            pass  # the transfer is where this is seen
        return False

    async def has(self, key: str, stat: Stat) -> bool:
        """Say whether S3 has a file of this size and mtime; never where one of them is not known."""
        version = await self._bucket.head(key)
        if version is None or not version.is_of(stat):
            return False
        self.note(key, version)
        return True

    async def pulled(self, key: str) -> None:
        """Take note of a file that S3 has got. Where there will be a ledger, the next run is spared to ask for it."""
        self._pulled += 1
        if self._ledger.is_there or self._pulled > ledger.MIN_NEW_FACTS:
            with contextlib.suppress(StorageError):
                if (version := await self._bucket.head(key)) is not None:
                    self.note(key, version)

    def note(self, key: str, version: Version) -> None:
        """Remember what S3 has of a file."""
        self._ledger.note(Fact.of(key, version, names_in_metadata(version)))

    async def _list_known(self) -> Fingerprints:
        """Return what S3 has of which the ledger knows the mtime."""
        known = Fingerprints()
        with contextlib.suppress(ConnectionFailed):  # to list may not be allowed
            async with contextlib.aclosing(self._ledger.along(self._bucket.list(self._prefix))) as entries:
                async for entry, fact in entries:
                    if fact is not None and fact.mtime.isdecimal():
                        known.add(_fingerprint(entry.key, entry.size, int(fact.mtime)))
        return known


class Fingerprints:
    """
    What :func:`_fingerprint` gives of many objects, to be looked up in any order.

    Measured: one takes 35 bytes where there is a million of them, 23 where there are more; in a set it takes 98.
    """

    def __init__(self) -> None:
        #: all that begin alike, one behind the other, by their first two bytes
        self._alike: dict[bytes, bytearray] = {}

    def add(self, fingerprint: bytes) -> None:
        """Add one. It may be there already."""
        self._alike.setdefault(fingerprint[:2], bytearray()).extend(fingerprint)

    def __contains__(self, fingerprint: bytes) -> bool:
        alike = self._alike.get(fingerprint[:2], b"")
        at = alike.find(fingerprint)
        while at % SIZE and at > 0:  # of one's end and the next one's beginning
            at = alike.find(fingerprint, at + 1)
        return at >= 0


def _fingerprint(key: str, size: int, mtime: int) -> bytes:
    """Return the bytes that stand for an object of this key, size and mtime."""
    return hashlib.blake2b(f"{key}\0{size}\0{mtime}".encode(), digest_size=SIZE).digest()
