"""One version of an object: what S3 says of it, and what is read of it."""

from __future__ import annotations

import base64
import contextlib
import functools
import re
from collections.abc import AsyncGenerator, Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from airflow_provider_sftp_s3.engine.errors import Corrupted, Overwritten
from airflow_provider_sftp_s3.engine.model import ObjectEntry, Stat, Stored, seconds_of
from airflow_provider_sftp_s3.engine.s3.checksums import Checksum, Trust
from airflow_provider_sftp_s3.engine.s3.requests import Contents, S3Refused

#: The latest mtime that SFTP knows, in 2106, and how it stands in metadata: other tools write fractions, too.
MAX_MTIME = 2**32 - 1
_MTIME = re.compile(r"(\d{1,10})(?:\.\d*)?", re.ASCII)
#: What GetObject answers, and CopyObject has to be sent again: all that `x-amz-metadata-directive: REPLACE` drops.
KEPT_HEADERS = (
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Type",
    "Expires",
    "x-amz-website-redirect-location",
    "x-amz-storage-class",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
)
_METADATA = "x-amz-meta-"
#: Storage classes whose objects S3 does not give out before they are restored.
_ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}


def metadata_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a request that writes an object with this user metadata."""
    return {f"{_METADATA}{name}": value for name, value in metadata.items()}


class Version(NamedTuple):
    """
    One version of an object: what a GET or HEAD says of it.

    :param metadata: user metadata, names in lower case.
    :param headers: those of :data:`KEPT_HEADERS` that it has.
    :param tags: how many tags it has.
    :param last_modified: when it was written, as HTTP writes a date.
    :param is_archived: it cannot be read before somebody restores it.
    """

    etag: str
    size: int
    metadata: Mapping[str, str]
    headers: Mapping[str, str]
    tags: int
    last_modified: str
    is_archived: bool = False
    version_id: str = ""

    @property
    def modified(self) -> str:
        """When it was written, as :class:`ObjectEntry` has it; "" where that is not known."""
        return _as_listed(self.last_modified)

    @property
    def stat(self) -> Stat:
        """Its size, and when the file was changed that it was pulled from; where it says no such time, its own."""
        found = _MTIME.fullmatch(self.metadata.get("mtime", ""))
        if found and int(found[1]) <= MAX_MTIME:
            return Stat(self.size, int(found[1]))
        own = seconds_of(self.modified)
        return Stat(self.size, None if own is None else int(own))

    def as_listed(self, key: str) -> ObjectEntry:
        """Return it as a listing shows it."""
        return ObjectEntry(key, self.size, self.etag, self.modified)

    def is_of(self, stat: Stat) -> bool:
        """Say whether it was pulled from a file of this size and mtime; never where one of them is not known."""
        return self.size == stat.size and self.metadata.get("mtime") == str(stat.mtime)

    @classmethod
    def of(cls, headers: Mapping[str, str], is_archived: bool = False) -> Version:
        """Return the version that the headers of S3's answer are about."""
        return cls(
            headers.get("ETag", ""),
            int(headers.get("Content-Length", 0)),
            {
                name.lower().removeprefix(_METADATA): value
                for name, value in headers.items()
                if name[: len(_METADATA)].lower() == _METADATA
            },
            {name: headers[name] for name in KEPT_HEADERS if name in headers},
            int(headers.get("x-amz-tagging-count", 0)),
            headers.get("Last-Modified", ""),
            is_archived,
            headers.get("x-amz-version-id", ""),
        )


@functools.lru_cache(maxsize=1024)
def _as_listed(date: str) -> str:
    """Return a date of HTTP as listings have it. Many objects of a run are written in one second."""
    try:
        return parsedate_to_datetime(date).strftime("%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return ""


def is_archived(headers: Mapping[str, str]) -> bool:
    """Say whether an object cannot be read now, by the answer to a HEAD."""
    # Of the storage class INTELLIGENT_TIERING some are archived, and others are not.
    lies_there = headers.get("x-amz-storage-class") in _ARCHIVES or "x-amz-archive-status" in headers
    return lies_there and 'ongoing-request="false"' not in headers.get("x-amz-restore", "")


class Download:
    """One version of an object, to be read once. Close it, or read it to its end."""

    def __init__(self, contents: Contents, checksum: Checksum | None = None, trust: Trust | None = None) -> None:
        self.version = Version.of(contents.headers)
        self._contents = contents
        self._checksum = checksum
        self._trust = trust or Trust()

    async def chunks(self) -> AsyncGenerator[bytes]:
        """
        Yield the contents as they come, in chunks of any size.

        :raises Overwritten: this version is no more.
        :raises Corrupted: all chunks came, and not as S3 has them, by its checksum.
        """
        checksum = self._checksum
        try:
            async with contextlib.aclosing(self._contents.chunks()) as chunks:
                async for chunk in chunks:
                    if checksum is not None:
                        checksum.running.update(chunk)
                    yield chunk
            if checksum is not None and not self._trust.takes(checksum):
                raise Corrupted(
                    f"what came is not what S3 has: its {checksum.name} is {checksum.wanted.hex()}, and what came has "
                    f"{checksum.running.digest().hex()}. Something on the way from S3 changes bytes"
                )
        except S3Refused as refused:
            if refused.status in (404, 412):
                raise Overwritten(f"{refused}: it was overwritten while it was read") from None
            raise

    @property
    def stored(self) -> Stored:
        """What S3 says of the object."""
        checksum = self._checksum
        named = f"{checksum.name}:{base64.b64encode(checksum.wanted).decode()}" if checksum else ""
        return Stored(self.version.etag.strip('"'), self.version.version_id, named)

    def close(self) -> None:
        """Drop what has not been read."""
        self._contents.close()
