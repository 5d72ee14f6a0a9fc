"""
The S3 side: the only importer of obstore, which moves the bytes.

boto3's client does what obstore has no call for: listing keys that obstore would not even spell (``a//b``), and marks.
Its calls block, and run in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import botocore.exceptions
import obstore
import obstore.exceptions
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    PlaceMissing,
    SftpS3Error,
    StorageError,
)
from airflow_provider_sftp_s3.engine.model import ObjectEntry
from airflow_provider_sftp_s3.engine.options import TransferOptions

if TYPE_CHECKING:
    import boto3
    from obstore.store import ClientConfig

T = TypeVar("T")

#: Threads for boto3's blocking calls. Each holds one HTTP connection.
THREADS = 32
#: Seconds that an upload which is called off has to abort itself on the server.
ABORT_SECONDS = 5.0

#: S3's words for credentials that will not get better by themselves.
_BAD_CREDENTIALS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "AuthorizationHeaderMalformed",
    "InvalidClientTokenId",
}


class Version(NamedTuple):
    """One version of an object: what a GET or HEAD says of it. `metadata` has user metadata, names in lower case."""

    etag: str
    size: int
    metadata: Mapping[str, str]


class Download:
    """An object that is being read, held to one version. Close it, or read it to its end."""

    def __init__(self, bucket: Bucket, result: obstore.GetResult) -> None:
        self._bucket = bucket
        self._result: obstore.GetResult | None = result
        self.version = _version(result)

    async def chunks(self, size: int) -> AsyncGenerator[bytes]:
        """Yield the contents in chunks of `size` bytes or more, once."""
        result, self._result = self._result, None
        if result is None:
            raise RuntimeError("a download is read once")
        with self._bucket.errors(result.meta["path"]):
            async for chunk in result.stream(min_chunk_size=size):
                yield chunk

    def close(self) -> None:
        """Drop what has not been read."""
        self._result = None


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
        self.name = name
        self.client = client
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")
        idle = timedelta(seconds=options.idle_timeout)
        network: ClientConfig = {
            "allow_http": client.meta.endpoint_url.startswith("http://"),
            "connect_timeout": timedelta(seconds=options.conn_timeout),
            "read_timeout": idle,
            # obstore's own limit of 30 s is for a request as a whole: too short for a large object.
            "timeout": timedelta(days=1),
        }
        if verify is False:
            network["allow_invalid_certificates"] = True
        elif isinstance(verify, str):
            network["root_certificate"] = Path(verify).read_bytes()
        proxies = client.meta.config.proxies or {}
        if proxy := proxies.get("https") or proxies.get("http"):
            network["proxy_url"] = proxy
        region = client.meta.region_name or "us-east-1"
        try:
            credentials = Boto3CredentialProvider(session, ttl=timedelta(minutes=5))
        except ValueError:
            raise AuthenticationFailed(
                "the aws connection gives no credentials, and neither does the environment"
            ) from None
        self._store = S3Store(
            name,
            endpoint=client.meta.endpoint_url,
            region=region if region != "aws-global" else "us-east-1",
            virtual_hosted_style_request=False,
            credential_provider=credentials,
            client_options=network,
            retry_config={"max_retries": 8, "retry_timeout": idle},
        )

    def __enter__(self) -> Bucket:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def uri_of(self, key: str) -> str:
        """Return `key` in this bucket as a URI."""
        return f"s3://{self.name}/{key}"

    async def call(self, operation: Callable[..., T], **arguments: Any) -> T:
        """Run one blocking call of the boto3 client in a thread and return its answer."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: operation(**arguments))

    async def check(self) -> None:
        """
        Make sure that the bucket is there and the credentials are good, as far as the permissions let us see.

        :raises PlaceMissing: there is no such bucket.
        :raises AuthenticationFailed: the credentials are wrong, or there are none.
        :raises ConfigurationError: the bucket is in another region, or its name is no bucket's.
        :raises ConnectionFailed: S3 cannot be reached.
        """
        try:
            await self.call(self.client.list_objects_v2, Bucket=self.name, MaxKeys=1)
        except botocore.exceptions.ClientError as answer:
            code = answer.response.get("Error", {}).get("Code", "")
            if code in ("NoSuchBucket", "404"):
                raise PlaceMissing(f"s3_bucket: there is no bucket {self.name!r}") from None
            if code in _BAD_CREDENTIALS:
                raise AuthenticationFailed(f"S3 does not take the aws connection's credentials: {code}") from None
            if code in ("PermanentRedirect", "IllegalLocationConstraintException", "InvalidBucketName"):
                raise ConfigurationError(f"s3_bucket {self.name!r}: {answer}") from None
            if code not in ("AccessDenied", "403", "AllAccessDisabled"):  # to list may not be allowed, nor needed
                raise ConnectionFailed(f"S3 answered the listing of bucket {self.name!r} with {code}") from None
        except (botocore.exceptions.NoCredentialsError, botocore.exceptions.PartialCredentialsError) as missing:
            raise AuthenticationFailed(f"the aws connection gives no credentials: {missing}") from None
        except botocore.exceptions.ParamValidationError as wrong:
            raise ConfigurationError(f"s3_bucket {self.name!r} is no bucket's name: {wrong}") from None
        except botocore.exceptions.BotoCoreError as failed:
            raise ConnectionFailed(f"S3 cannot be reached: {failed}") from None

    async def list(self, prefix: str) -> AsyncGenerator[ObjectEntry]:
        """
        Yield all keys under `prefix`, verbatim, in S3's order.

        :raises ConnectionFailed: the listing failed, after retries.
        """
        token: dict[str, str] = {}
        while True:
            try:
                page = await self.call(self.client.list_objects_v2, Bucket=self.name, Prefix=prefix, **token)
            except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as failed:
                raise ConnectionFailed(f"{self.uri_of(prefix)} cannot be listed: {failed}") from None
            for found in page.get("Contents", ()):
                yield ObjectEntry(found["Key"], found["Size"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    async def put(self, key: str, data: bytearray, metadata: Mapping[str, str]) -> None:
        """Store `data` under `key` in one request. S3 has it completely when this returns."""
        with self.errors(key):
            await obstore.put_async(self._store, key, memoryview(data), attributes=dict(metadata), use_multipart=False)

    async def put_stream(
        self,
        key: str,
        chunks: AsyncIterator[bytes | memoryview],
        metadata: Mapping[str, str],
        *,
        part_size: int,
        parts_at_once: int,
        call_off: Callable[[], None],
    ) -> None:
        """
        Store what `chunks` yields in a multipart upload. S3 has it completely when this returns.

        An error out of `chunks` aborts the upload on the server and is raised here.

        :param call_off: makes `chunks` fail soon; called when this call is cancelled, since a cancelled upload would
            be left behind on the server, and an aborted one is not.
        """
        upload = asyncio.ensure_future(
            obstore.put_async(
                self._store,
                key,
                chunks,
                attributes=dict(metadata),
                use_multipart=True,
                chunk_size=part_size,
                max_concurrency=parts_at_once,
            )
        )
        with self.errors(key):
            try:
                await asyncio.shield(upload)
            except asyncio.CancelledError:
                call_off()
                await asyncio.wait({upload}, timeout=ABORT_SECONDS)
                if upload.done() and not upload.cancelled():
                    upload.exception()
                upload.cancel()
                raise

    async def head(self, key: str) -> Version | None:
        """Return what S3 says of an object, None where there is none."""
        return await self._get(key, head=True, take=_version)

    async def get(self, key: str) -> Download | None:
        """Begin to read an object; None where there is none."""
        return await self._get(key, head=False, take=lambda result: Download(self, result))

    async def _get(self, key: str, *, head: bool, take: Callable[[obstore.GetResult], T]) -> T | None:
        with self.errors(key):
            try:
                return take(await obstore.get_async(self._store, key, options={"head": head}))
            except FileNotFoundError as missing:
                if "NoSuchBucket" in str(missing):
                    raise PlaceMissing(f"s3_bucket: there is no bucket {self.name!r}") from None
                return None

    @contextlib.contextmanager
    def errors(self, key: str) -> Iterator[None]:
        """Turn what boto3 and obstore raise within the block into :class:`StorageError`, naming the object."""
        try:
            yield
        except SftpS3Error:
            raise
        except (
            obstore.exceptions.BaseError,
            botocore.exceptions.ClientError,
            botocore.exceptions.BotoCoreError,
            OSError,
            ValueError,  # obstore's word for a key that it does not spell
        ) as failed:
            if "NoSuchBucket" in str(failed):
                raise PlaceMissing(f"s3_bucket: there is no bucket {self.name!r}") from None
            # obstore appends its whole inner state to the first line, and quotes names as they are.
            reason = str(failed).partition("\n")[0] or type(failed).__name__
            raise StorageError(paths.printable(f"{self.uri_of(key)}: {reason}")) from None


def _version(result: obstore.GetResult) -> Version:
    headers = {"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type"}
    metadata = {str(name): str(value) for name, value in result.attributes.items() if name not in headers}
    return Version(result.meta["e_tag"] or "", result.meta["size"], metadata)
