"""One bucket: the calls that a transfer needs of it, and what S3 says of its objects."""

from __future__ import annotations

import contextlib
import logging
import re
import time
import urllib.parse
from collections.abc import AsyncGenerator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import botocore.utils

from airflow_provider_sftp_s3.engine.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    CredentialsExpired,
    Overwritten,
    PlaceMissing,
    StorageError,
)
from airflow_provider_sftp_s3.engine.model import ObjectEntry, Stat
from airflow_provider_sftp_s3.engine.options import KiB, TransferOptions
from airflow_provider_sftp_s3.engine.s3 import xml as s3_xml
from airflow_provider_sftp_s3.engine.s3.requests import (
    Contents,
    S3Refused,
    S3Requests,
    query_of,
)
from airflow_provider_sftp_s3.engine.s3.upload import Uploads

if TYPE_CHECKING:
    import boto3

#: Up to so many bytes an upload takes less time than to hand it to obstore's threads, which have to wait for Python's
#: lock for each. Measured: of 5,000 x 4 KiB that is a seventh of the time, and half of it where they wake one by one.
SMALL = 16 * KiB
#: Pages of a listing in a row that may have no key on them. S3 gives some where much was deleted: a page for each 1,000
#: versions that it has passed over.
MAX_EMPTY_PAGES = 10_000
#: S3's words for credentials that will not get better by themselves.
_BAD_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId"}
#: What a bucket may be called; the oldest ones are longer than today's 63 characters.
_NAME = re.compile("[A-Za-z0-9._-]{3,255}")

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


def metadata_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a request that writes an object with this user metadata."""
    return {f"{_METADATA}{name}": value for name, value in metadata.items()}


def keep_secrets_out_of_logs() -> None:
    """Silence botocore's DEBUG log, which shows the headers of requests, and with them session tokens, and answers."""
    log = logging.getLogger("botocore")
    log.setLevel(max(log.getEffectiveLevel(), logging.INFO))


class Version(NamedTuple):
    """
    One version of an object: what a GET or HEAD says of it.

    :param metadata: user metadata, names in lower case.
    :param headers: those of :data:`KEPT_HEADERS` that it has.
    :param tags: how many tags it has.
    :param last_modified: when it was written, as HTTP writes a date.
    """

    etag: str
    size: int
    metadata: Mapping[str, str]
    headers: Mapping[str, str]
    tags: int
    last_modified: str

    @property
    def modified(self) -> str:
        """When it was written, as :class:`ObjectEntry` has it; "" where that is not known."""
        try:
            return parsedate_to_datetime(self.last_modified).strftime("%Y-%m-%dT%H:%M:%S")
        except ValueError:
            return ""

    def is_of(self, stat: Stat) -> bool:
        """Say whether it was pulled from a file of this size and mtime; never where one of them is not known."""
        return self.size == stat.size and self.metadata.get("mtime") == str(stat.mtime)

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Version:
        """Return the version that the headers of S3's answer are about."""
        return cls(
            headers.get("ETag", ""),
            int(headers.get("Content-Length", 0)),
            {
                name.lower().removeprefix(_METADATA): value
                for name, value in headers.items()
                if name.lower().startswith(_METADATA)
            },
            {name: headers[name] for name in KEPT_HEADERS if name in headers},
            int(headers.get("x-amz-tagging-count", 0)),
            headers.get("Last-Modified", ""),
        )


class Download:
    """One version of an object, to be read once. Close it, or read it to its end."""

    def __init__(self, contents: Contents) -> None:
        self.version = Version.of(contents.headers)
        self._contents = contents

    async def chunks(self) -> AsyncGenerator[bytes]:
        """
        Yield the contents as they come, in chunks of any size.

        :raises Overwritten: this version is no more.
        """
        try:
            async with contextlib.aclosing(self._contents.chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk
        except S3Refused as refused:
            if refused.status in (404, 412):
                raise Overwritten(f"{refused}: it was overwritten while it was read") from None
            raise

    def close(self) -> None:
        """Drop what has not been read."""
        self._contents.close()


class Bucket:
    """
    One bucket: the calls that a transfer needs of it, many at once.

    :param client: a boto3 S3 client; endpoint, region, proxies and time limits are taken from it.
    :param session: the boto3 session that the credentials come from, and are renewed by.
    :param verify: False: any TLS certificate will do; a path: a file of CA certificates to trust besides.
    """

    def __init__(
        self,
        name: str,
        client: Any,
        session: boto3.Session,
        options: TransferOptions,
        verify: bool | str | None = None,
    ) -> None:
        keep_secrets_out_of_logs()
        self.name = name
        proxies = client.meta.config.proxies or botocore.utils.get_environ_proxies(client.meta.endpoint_url)
        proxy = proxies.get(client.meta.endpoint_url.partition(":")[0])
        region = client.meta.region_name or "us-east-1"
        if region == "aws-global":
            region = "us-east-1"
        self.requests = S3Requests(name, client.meta.endpoint_url, region, session, options, proxy, verify)
        self.uploads = Uploads(name, client.meta.endpoint_url, region, session, options, proxy, verify)

    async def __aenter__(self) -> Bucket:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.requests.close()

    def now(self) -> float:
        """Return the time in seconds since 1970: S3's, once it has answered. This machine's clock may be wrong."""
        clock = self.requests.clock
        return clock.now() if clock else time.time()

    def uri_of(self, key: str) -> str:
        """Return `key` in this bucket as a URI."""
        return f"s3://{self.name}/{key}"

    async def check(self) -> None:
        """
        Make sure that the bucket is there and the credentials are good, as far as the permissions let us see.

        :raises PlaceMissing: there is no such bucket.
        :raises AuthenticationFailed: the credentials are wrong.
        :raises ConfigurationError: the bucket is in another region, or its name is no bucket's.
        :raises ConnectionFailed: S3 cannot be reached.
        """
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(f"s3_bucket {self.name!r} is no bucket's name")
        try:
            await self.requests.ask("GET", "", query_of({"list-type": "2", "max-keys": "1"}))
        except CredentialsExpired as expired:
            raise AuthenticationFailed(str(expired)) from None
        except S3Refused as refused:
            if refused.region:
                raise ConfigurationError(
                    f"s3_bucket {self.name!r} is in region {refused.region}: "
                    "set region_name in the aws connection's Extra"
                ) from None
            if refused.status == 404:
                raise PlaceMissing(f"s3_bucket: there is no bucket {self.name!r}") from None
            if refused.code == "RequestTimeTooSkewed":
                raise ConfigurationError(
                    f"the clock of this machine is wrong, and S3 refuses all it asks for: it says {self.requests.clock}"
                ) from None
            if refused.code in _BAD_CREDENTIALS:
                raise AuthenticationFailed(
                    f"S3 does not take the aws connection's credentials: {refused.code}"
                ) from None
            if refused.status != 403:  # to list may not be allowed, nor needed
                raise ConnectionFailed(f"the listing of bucket {self.name!r}: {refused}") from None
        except StorageError as failed:
            raise ConnectionFailed(f"S3 cannot be reached: {failed}") from None

    async def list(self, prefix: str) -> AsyncGenerator[ObjectEntry]:
        """
        Yield all keys under `prefix`, verbatim, in S3's order.

        :raises ConnectionFailed: the listing failed, after retries, or does not get on.
        """
        token: str | None = ""
        # A page begins with a key that no other one begins with, whatever the order of a store's keys. So there are no
        # more pages than keys, and 8 bytes are kept of each.
        begun: set[int] = set()
        empty = 0
        while token is not None:
            asked = token
            entries, token = await self._page(prefix, asked)
            empty = 0 if entries else empty + 1
            again = token == asked or (bool(entries) and hash(entries[0].key) in begun)
            if again or empty > MAX_EMPTY_PAGES:
                raise ConnectionFailed(
                    f"{self.uri_of(prefix)} cannot be listed: S3 gives "
                    + ("the same page again and again" if again else f"{empty} pages in a row with no key")
                )
            begun.update(hash(entry.key) for entry in entries[:1])
            for entry in entries:
                yield entry

    async def _page(self, prefix: str, token: str) -> tuple[Sequence[ObjectEntry], str | None]:
        """
        Return up to 1,000 keys, and the token of the next page. boto3 takes 0.3 s of CPU for one.

        :raises ConnectionFailed: the answer is no such page, or there was none.
        """
        asked = {"encoding-type": "url", "list-type": "2", "prefix": prefix}
        if token:
            asked["continuation-token"] = token
        try:
            answer = await self.requests.ask("GET", "", query_of(asked))
            entries, after = answer.read(_entries_of)
        except StorageError as failed:
            raise ConnectionFailed(f"{self.uri_of(prefix)} cannot be listed: {failed}") from None
        return entries, after

    async def put(self, key: str, data: Sequence[bytes | memoryview], metadata: Mapping[str, str]) -> None:
        """Store `data`, piece by piece, under `key` in one request. S3 has it completely when this returns."""
        if sum(len(piece) for piece in data) <= SMALL:
            await self.requests.ask("PUT", key, headers=metadata_headers(metadata), body=b"".join(data))
            return
        await self.uploads.put(key, data, metadata)

    async def head(self, key: str) -> Version | None:
        """Return what S3 says of an object, None where there is none."""
        try:
            return Version.of((await self.requests.ask("HEAD", key)).headers)
        except S3Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def get(self, key: str) -> Download | None:
        """Begin to read an object; None where there is none."""
        try:
            return Download(await self.requests.open(key))
        except S3Refused as refused:
            if refused.status == 404:
                return None
            raise


def _entries_of(page: bytes) -> tuple[Sequence[ObjectEntry], str | None]:
    """Return the objects on a page of a listing, and the token of the next one. :raises ValueError: it is no page."""
    about, objects = s3_xml.parse_listing(page)
    encoded = s3_xml.text_of(about, "EncodingType") == "url"
    entries = []
    for found in objects:
        key = found.get("Key")
        if not key:
            raise ValueError("S3 lists an object that has no key")
        # The XML is undone already: a store may write as an entity what need not be encoded in a URL.
        name = urllib.parse.unquote_plus(key) if encoded else key
        size = int(found.get("Size") or -1)
        entries.append(ObjectEntry(name, size, found.get("ETag", ""), found.get("LastModified", "")[:19]))
    token = s3_xml.text_of(about, "NextContinuationToken") or None
    if token is None and s3_xml.text_of(about, "IsTruncated") == "true":
        raise ValueError("S3 says that there is more than it lists, and not how to ask for it")
    return entries, token
