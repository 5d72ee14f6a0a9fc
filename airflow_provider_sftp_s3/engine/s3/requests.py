"""
Single requests to S3's REST API: the only importer of aiohttp.

boto3's client takes 1.8 ms of CPU for a request, many times as much as this; a push makes two for every object. And
what GetObject answers in its headers has to be sent again with a mark, header by header: obstore does not show them,
and takes twice the CPU for the contents.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import posixpath
import random
import ssl
import time
import urllib.parse
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from xml.etree.ElementTree import Element

import aiohttp
import botocore.httpsession
from yarl import URL

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.clock import Clock
from airflow_provider_sftp_s3.engine.errors import (
    AuthenticationFailed,
    ConfigurationError,
    CredentialsExpired,
    PlaceMissing,
    StorageError,
)
from airflow_provider_sftp_s3.engine.options import KiB, MiB, TransferOptions
from airflow_provider_sftp_s3.engine.s3 import sigv4
from airflow_provider_sftp_s3.engine.s3 import xml as s3_xml
from airflow_provider_sftp_s3.engine.s3.endpoint import Endpoint, Network, quoted
from airflow_provider_sftp_s3.engine.standstill import Awake

if TYPE_CHECKING:
    import boto3

T = TypeVar("T")

#: Seconds before a request is sent for the second time that S3 does not answer, or wants to be sent again, at most.
#: Each pause is twice as long as the one before, up to MAX_PAUSE, until ``idle_timeout`` is over.
PAUSE = 0.2
MAX_PAUSE = 5.0
#: What a file fails with that meets ExpiredToken.
EXPIRED = "the aws connection's credentials have expired (ExpiredToken)"

#: Bytes that are read of an error, whatever its length: S3's own have some hundred.
MAX_ERROR = 64 * KiB
#: Bytes of the longest answer that is read whole: a page of a listing has 1,000 keys of 1,024 bytes at most, each of
#: which may be an escape of three.
MAX_ANSWER = 16 * MiB

#: Bytes of a body above which the event loop is not to wait for it.
LARGE = MiB

_PASSING = {429, 500, 502, 503, 504}
_PASSING_CODES = {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown"}


def query_of(fields: Mapping[str, str]) -> str:
    """Return the query of a URL as S3 wants it to be signed: sorted, nothing plain but letters and ``-._~``."""
    return urllib.parse.urlencode(sorted(fields.items()), safe="~", quote_via=urllib.parse.quote)


class S3Refused(StorageError):
    """
    S3 answered a request with an error.

    :param status: of HTTP.
    :param code: S3's word for it, such as ``NoSuchKey``. The answer to a HEAD has none.
    :param region: of the bucket, where the request went to another one.
    """

    def __init__(self, message: str, status: int, code: str, region: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.region = region

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in _PASSING or self.code in _PASSING_CODES


class Answer(NamedTuple):
    """
    What S3 answered.

    :param uri: what it was asked about.
    :param headers: matched in any case.
    """

    uri: str
    headers: Mapping[str, str]
    body: bytes

    def read(self, parse: Callable[[bytes], T]) -> T:
        """
        Return what `parse` makes of the body.

        :raises StorageError: the body is not what was asked for: `parse` raises ValueError.
        """
        try:
            return parse(self.body)
        except ValueError as wrong:
            raise StorageError(f"{paths.printable(self.uri)}: {paths.said(str(wrong))}") from None

    def element(self, *names: str) -> Element:
        """Return the element of one of these names that the body is. :raises StorageError: it is another, or none."""
        return self.read(lambda body: s3_xml.parse(body, *names))


class Contents:
    """One version of an object that is being read: the headers are there. To be read to its end, or closed."""

    def __init__(self, requests: S3Requests, key: str, response: aiohttp.ClientResponse) -> None:
        self.headers: Mapping[str, str] = response.headers
        self._requests = requests
        self._key = key
        self._response = response

    async def chunks(self) -> AsyncGenerator[bytes]:
        """
        Yield the bytes as they come. Goes on where the line is cut; raises as :meth:`S3Requests.ask` does.

        :raises S3Refused: with status 412 or 404, where this version is no more.
        """
        read = stuck_at = stuck = 0
        came = time.monotonic()
        while True:
            try:
                async for data, _ in self._response.content.iter_chunks():
                    read += len(data)
                    yield data
                    came = time.monotonic()
                return
            except (aiohttp.ClientError, TimeoutError, OSError) as cut:
                self.close()
                stuck, stuck_at = (stuck + 1 if read == stuck_at else 0), read
                is_silent = isinstance(cut, TimeoutError) or time.monotonic() - came > self._requests.patience
                if is_silent and self._requests.awake.since() <= came:
                    raise self._requests.error(self._key, paths.reason_of(cut)) from None
            if stuck:
                await asyncio.sleep(min(PAUSE * 2**stuck, MAX_PAUSE))
            rest = {"If-Match": self.headers["ETag"], "Range": f"bytes={read}-"}
            self._response = await self._requests.open_response(self._key, rest)
            if read and self._response.status != 206:
                self.close()
                raise self._requests.error(self._key, "S3 does not answer a Range with a part")

    def close(self) -> None:
        """Drop what has not been read."""
        self._response.close()


class S3Requests:
    """
    Sends signed requests for the objects of one bucket, over connections that are kept. To be closed in the end.

    :param session: the boto3 session that the credentials come from, and are renewed by.
    :raises AuthenticationFailed: there are no credentials.
    :raises ConfigurationError: a file of certificates has none.
    """

    def __init__(
        self,
        bucket: str,
        endpoint: Endpoint,
        session: boto3.Session,
        options: TransferOptions,
        network: Network,
    ) -> None:
        credentials = session.get_credentials()
        if credentials is None:
            raise AuthenticationFailed("the aws connection gives no credentials, and neither does the environment")
        self._bucket = bucket
        self._credentials = credentials
        scheme, _, rest = endpoint.url.partition("://")
        place, _, base = rest.partition("/")
        self._origin = f"{scheme}://{place}"
        self._path = posixpath.join("/", base, "")
        self._host = place.removesuffix({"http": ":80", "https": ":443"}.get(scheme, ":"))
        self._region = endpoint.region
        self._proxy = network.proxy
        self._user_agent = network.user_agent
        #: headers of all requests, of those that read an object or ask for it, and of those that read it from its start
        self.every: Mapping[str, str] = {}
        self.read: Mapping[str, str] = {}
        self.opened: Mapping[str, str] = {}
        #: seconds for which a request is sent again
        self.patience = options.idle_timeout
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=options.conn_timeout, sock_read=options.idle_timeout
        )
        self._tls: ssl.SSLContext | bool = True
        if scheme == "https":
            self._tls = _tls_of(network)
        self._http: aiohttp.ClientSession | None = None
        #: for how long we have been there to hear what S3 says
        self.awake = Awake(self.patience)
        self._watching: asyncio.Task[None] | None = None
        self._closed = False
        #: what time it is by the first answer of S3, None before that, and where S3 does not say
        self.clock: Clock | None = None

    async def close(self) -> None:
        """Close all connections, for good: whoever asks afterwards gets a StorageError."""
        self._closed = True
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
            self._watching = None
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def ask(
        self, method: str, key: str, query: str = "", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """
        Send a request, again where it fails for a reason that passes, and return S3's answer.

        :param query: of the URL, encoded: see :func:`query_of`.
        :raises S3Refused: S3 answered with an error.
        :raises StorageError: S3 did not answer.
        :raises PlaceMissing: there is no such bucket.
        """

        async def attempt() -> Answer:
            try:
                response = await self._send(method, key, query, headers or {}, body)
            except aiohttp.ClientResponseError:
                if method != "HEAD":
                    raise
                # Swift's server ends a body that this answer has not, where there is no object: nobody can read that.
                response = await self._send("GET", key, query, headers or {}, body)
            async with response:
                if method == "HEAD":
                    return Answer(f"s3://{self._bucket}/{key}", response.headers, b"")
                said, is_whole = await _beginning(response, MAX_ANSWER)
                if not is_whole:
                    raise self.error(key, f"S3's answer is longer than {MAX_ANSWER} bytes, and so none of S3's")
                answer = Answer(f"s3://{self._bucket}/{key}", response.headers, said)
            if method != "GET" and s3_xml.is_error(answer.body):
                raise self._refused(key, response, answer.body)
            return answer

        return await self._retrying(key, attempt)

    async def open(self, key: str) -> Contents:
        """Begin to read an object; raises as :meth:`ask` does."""
        return Contents(self, key, await self.open_response(key, self.opened))

    async def open_response(self, key: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Return S3's answer to a GET with its body still to be read; raises as :meth:`ask` does."""
        return await self._retrying(key, lambda: self._send("GET", key, "", headers, b""))

    async def _retrying(self, key: str, attempt: Callable[[], Awaitable[T]]) -> T:
        pause = PAUSE
        deadline = time.monotonic() + self.patience
        expired = False
        while True:
            asked = self.awake.now()
            over = asked + pause > deadline
            try:
                return await attempt()
            except CredentialsExpired:
                if expired:
                    raise
                expired = True
                continue  # signed anew: the session may have renewed its credentials meanwhile
            except S3Refused as refused:
                if over or not refused.passes:
                    raise
            except (aiohttp.ClientError, TimeoutError, OSError) as failed:
                if self.awake.since() > asked:
                    deadline = self.awake.now() + self.patience  # it is this process that stood still
                elif over or time.monotonic() > deadline:
                    raise self.error(key, paths.reason_of(failed)) from None
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - many must not come back at once
            pause = min(pause * 2, MAX_PAUSE)

    async def _send(
        self, method: str, key: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> aiohttp.ClientResponse:
        if self._closed:
            raise self.error(key, "was asked for after the connections to S3 were closed")
        if self._http is None:
            self._watching = asyncio.create_task(self.awake.watch())
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._tls),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=256 * KiB,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type"),
                headers={"User-Agent": self._user_agent},  # not signed: a proxy may have its say in it
            )
        refreshing = getattr(self._credentials, "refresh_needed", None)
        if refreshing and refreshing():  # asks a server
            await asyncio.to_thread(self._credentials.get_frozen_credentials)
        path = self._path + quoted(key) if key else self._path.rstrip("/") or "/"
        along = {**self.every, **self.read} if key and not query and method in ("GET", "HEAD") else self.every
        response = await self._http.request(
            method,
            URL(f"{self._origin}{path}?{query}" if query else self._origin + path, encoded=True),
            headers=sigv4.signed(
                self._credentials.get_frozen_credentials(),
                self._region,
                method,
                path,
                query,
                {"Host": self._host, **along, **headers},
                body,
            ),
            data=io.BytesIO(body) if len(body) > LARGE else body or None,  # which is sent in pieces
            proxy=self._proxy,
            allow_redirects=False,
        )
        if self.clock is None:
            with contextlib.suppress(KeyError, ValueError, TypeError):
                self.clock = Clock(parsedate_to_datetime(response.headers["Date"]).timestamp())
        if response.status < 300:
            return response
        async with response:
            said, _ = await _beginning(response, MAX_ERROR)
            raise self._refused(key, response, said)

    def _refused(self, key: str, response: aiohttp.ClientResponse, body: bytes) -> StorageError | PlaceMissing:
        status, said = response.status, s3_xml.error_of(body)
        code = said.get("Code", "")
        if code == "NoSuchBucket":
            return PlaceMissing(f"s3_bucket: there is no bucket {self._bucket!r}")
        if code == "ExpiredToken":
            return CredentialsExpired(str(self.error(key, EXPIRED)))
        if status == 400 and not body:  # a HEAD has no room for the reason
            reason = "S3 answered 400, as it does where the aws connection's credentials have expired"
            return CredentialsExpired(str(self.error(key, reason)))
        reason = " ".join(filter(None, (f"{status}", code, said.get("Message"))))
        region = paths.said(response.headers.get("x-amz-bucket-region") or said.get("Region", ""))
        return S3Refused(
            str(self.error(key, f"S3 answered {reason}")), status, code, region if region != self._region else ""
        )

    def error(self, key: str, reason: str) -> StorageError:
        """Return an error that names the object."""
        return StorageError(f"{paths.printable(f's3://{self._bucket}/{key}')}: {paths.said(reason)}")


def _tls_of(network: Network) -> ssl.SSLContext | bool:
    """Return how aiohttp is to look at certificates. :raises ConfigurationError: a file of them has none."""
    if network.verify is False and not network.client_cert:
        return False
    try:
        tls = ssl.create_default_context(cafile=botocore.httpsession.get_cert_path(network.verify or True))
        if network.client_cert:
            pair = (network.client_cert,) if isinstance(network.client_cert, str) else network.client_cert
            tls.load_cert_chain(*pair)
    except (OSError, ValueError) as wrong:
        raise ConfigurationError(
            f"verify, ca_bundle, AWS_CA_BUNDLE or client_cert of the aws connection: {paths.reason_of(wrong)}"
        ) from None
    if network.verify is False:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    return tls


async def _beginning(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """Return up to `limit` bytes of a body, and whether that is all of it. The rest is never read."""
    body = bytearray()
    async for data in response.content.iter_any():
        body += data
        if len(body) > limit:
            return bytes(body[:limit]), False
    return bytes(body), True
