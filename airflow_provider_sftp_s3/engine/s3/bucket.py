"""One bucket: the calls that a transfer needs of it, and what S3 says of its objects."""

from __future__ import annotations

import base64
import contextlib
import functools
import logging
import re
import time
import urllib.parse
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import (
    Archived,
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    Corrupted,
    CredentialsExpired,
    Overwritten,
    PlaceMissing,
    StorageError,
    TargetTaken,
)
from airflow_provider_sftp_s3.engine.model import ObjectEntry, Stat, Stored, seconds_of
from airflow_provider_sftp_s3.engine.options import KiB, TransferOptions
from airflow_provider_sftp_s3.engine.s3 import xml as s3_xml
from airflow_provider_sftp_s3.engine.s3.checksums import Checksum, Trust, checksum_of, crc32_of
from airflow_provider_sftp_s3.engine.s3.content_type import content_type_of
from airflow_provider_sftp_s3.engine.s3.endpoint import check_region, endpoint_of, network_of
from airflow_provider_sftp_s3.engine.s3.extra_args import (
    OF_THE_CONNECTION,
    Direction,
    SentAlong,
    checked,
    sent_along,
)
from airflow_provider_sftp_s3.engine.s3.multipart import OwnUploads, stored_of
from airflow_provider_sftp_s3.engine.s3.refusals import Refusals
from airflow_provider_sftp_s3.engine.s3.requests import (
    Contents,
    S3Refused,
    S3Requests,
    query_of,
)
from airflow_provider_sftp_s3.engine.s3.upload import Uploads, can_send

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
                if name.lower().startswith(_METADATA)
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


def _is_archived(headers: Mapping[str, str]) -> bool:
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


class Bucket:
    """
    One bucket: the calls that a transfer needs of it, many at once.

    :param name: its name, or the alias or ARN of an access point.
    :param client: a boto3 S3 client; endpoint, region, proxies and more are taken from it.
    :param session: the boto3 session that the credentials come from, and are renewed by.
    :param verify: as the client was given it. False: any TLS certificate will do; a path: a file of CA certificates.
    :param extra_args: what the connection says of objects; see :meth:`send_along`.
    :raises ConfigurationError: a setting cannot work; the message names it.
    """

    def __init__(
        self,
        name: str,
        client: Any,
        session: boto3.Session,
        options: TransferOptions,
        verify: bool | str | None = None,
        extra_args: Mapping[str, Any] | None = None,
    ) -> None:
        keep_secrets_out_of_logs()
        self.name = name
        self.endpoint = endpoint = endpoint_of(client, name)
        network = network_of(client, session, verify)
        self.trust = Trust()
        #: what a run is to say of the connection's settings
        self.remarks: Sequence[str] = ()
        self._has_tls = endpoint.url.startswith("https:")
        self._client = client
        self._opened_with = (client, session, options, verify, extra_args)
        self._own_args = checked(extra_args, "pull", called=OF_THE_CONNECTION, of_the_connection=True)
        self.requests = S3Requests(name, endpoint, session, options, network)
        self._obstore = functools.partial(Uploads, name, endpoint, session, options, network)
        self._only_ours = bool(network.client_cert)
        self.sent_along = SentAlong()
        self._refusals = Refusals(self.requests)
        # Made at once: later the system may open no more files, and it reads certificates.
        self.uploads: Uploads | OwnUploads
        self._made_for: tuple[SentAlong, bool] | None = None
        self.send_along({}, "pull")

    def beside(self, name: str) -> Bucket:
        """
        Return another bucket, that the same connection leads to. To be closed as any.

        :raises ConfigurationError: it cannot be called so.
        """
        return Bucket(name, *self._opened_with)

    def send_along(self, extra_args: object, direction: Direction) -> None:
        """
        Have requests from now on carry what these arguments say, over what the connection says.

        :param extra_args: by boto3's names.
        :raises ConfigurationError: one is not allowed; the message names it.
        """
        arguments = {**self._own_args, **checked(extra_args, direction)}
        self.sent_along = sent = sent_along(self._client, self.name, arguments)
        self.requests.every, self.requests.read = sent.every, sent.read
        config = self._client.meta.config
        # Object Lock takes nothing without a checksum. botocore before 1.36 does not know this setting.
        needed = any(name.startswith("ObjectLock") for name in arguments)
        self._checksums = needed or getattr(config, "request_checksum_calculation", None) != "when_required"
        if getattr(config, "response_checksum_validation", None) != "when_required":
            self.requests.opened = {"x-amz-checksum-mode": "ENABLED"}
        if self._made_for != (sent, self._checksums):
            self._made_for = sent, self._checksums
            self.uploads = self._made_uploads(sent)

    def _made_uploads(self, sent: SentAlong) -> Uploads | OwnUploads:
        """Return what sends all but the smallest files: obstore, where it can send all that is to go along."""
        if can_send(sent) and not self._only_ours:
            return self._obstore(sent, checksums=self._checksums)
        return OwnUploads(self.requests, sent.part, checksums=self._checksums)

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
        :raises ConfigurationError: the bucket is in another region, or there is no such region.
        :raises ConnectionFailed: S3 cannot be reached.
        """
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
            check_region(self._opened_with[1], self.endpoint, failed)
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

    async def put(
        self,
        key: str,
        data: Sequence[bytes | memoryview],
        metadata: Mapping[str, str],
        condition: Mapping[str, str] | None = None,
    ) -> Stored:
        """
        Store `data`, piece by piece, under `key` in one request. S3 has it completely when this returns.

        :param condition: headers without whose condition it is not to be stored.
        :raises TargetTaken: that does not hold.
        """
        headers = self._headers_of(key, metadata)
        if condition:
            with self._unless_taken(key):
                return await self._own_uploads().put(key, data, {**headers, **condition})
        if sum(len(piece) for piece in data) > SMALL:
            return await self.uploads.put(key, data, headers)
        body = b"".join(data)
        checksum = {"x-amz-checksum-crc32": crc32_of(body)} if self._checksums else {}
        return stored_of(await self.requests.ask("PUT", key, headers=headers | checksum, body=body), checksum)

    async def put_stream(
        self,
        key: str,
        chunks: AsyncIterator[bytes | memoryview],
        metadata: Mapping[str, str],
        *,
        part_size: int,
        parts_at_once: int,
        call_off: Callable[[], None],
        condition: Mapping[str, str] | None = None,
    ) -> Stored:
        """Store what `chunks` yields in parts; as :meth:`Uploads.put_stream` does. `condition` is as of :meth:`put`."""
        headers = self._headers_of(key, metadata)
        if condition:
            with self._unless_taken(key):
                return await self._own_uploads().put_stream(
                    key,
                    chunks,
                    headers,
                    part_size=part_size,
                    parts_at_once=parts_at_once,
                    call_off=call_off,
                    condition=condition,
                )
        return await self.uploads.put_stream(
            key, chunks, headers, part_size=part_size, parts_at_once=parts_at_once, call_off=call_off
        )

    def _own_uploads(self) -> OwnUploads:
        """Return what can send conditions: obstore sends none at the end of an upload in parts."""
        if not isinstance(self.uploads, OwnUploads):
            return OwnUploads(self.requests, self.sent_along.part, checksums=self._checksums)
        return self.uploads

    @contextlib.contextmanager
    def _unless_taken(self, key: str) -> Iterator[None]:
        try:
            yield
        except S3Refused as refused:
            # 409: somebody else stores an object of that name in this moment.
            if refused.status not in (409, 412):
                raise
            raise TargetTaken(f"{self.uri_of(paths.printable(key))} has come meanwhile: {refused}") from None

    @contextlib.asynccontextmanager
    async def taking(self, key: str) -> AsyncIterator[None]:
        """Store an object within the block, or find out why not. :raises ConfigurationError: S3 takes no object so."""
        try:
            yield
        except StorageError as failed:
            await self._refusals.judge(key, self._headers_of(key, {}), failed)
            raise
        self._refusals.has_taken()

    def _headers_of(self, key: str, metadata: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a new object: those of all, the type that its name tells, and its own metadata."""
        guessed = content_type_of(key)
        kind = {"Content-Type": guessed} if guessed else {}
        return {**kind, **self.sent_along.put, **metadata_headers(metadata)}

    async def head(self, key: str) -> Version | None:
        """Return what S3 says of an object, None where there is none."""
        try:
            headers = (await self.requests.ask("HEAD", key)).headers
            return Version.of(headers, _is_archived(headers))
        except S3Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def get(self, key: str) -> Download | None:
        """Begin to read an object; None where there is none. :raises Archived: it has to be restored first."""
        try:
            contents = await self.requests.open(key)
        except S3Refused as refused:
            if refused.status == 404:
                return None
            if refused.code == "InvalidObjectState":
                raise Archived(str(refused)) from None
            raise
        # TLS compares by itself, and MD5 takes as long as all the rest of a push.
        by_etag = not self._has_tls and self.trust.etags_are_md5
        return Download(contents, checksum_of(contents.headers, by_etag=by_etag), self.trust)


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
