"""Uploads of all but the smallest files: the only importer of obstore, which sends the parts of many files at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import botocore.exceptions
import obstore
import obstore.exceptions
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import CredentialsExpired, PlaceMissing, SftpS3Error, StorageError
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.s3.requests import EXPIRED, MAX_PAUSE, PAUSE

if TYPE_CHECKING:
    import boto3
    from obstore.store import ClientConfig

#: obstore's pauses are random, between the shortest one and so many times the one before. By its own 2 they shrink:
#: measured, eight of them were over in 0.8 s. By 5, an outage of 5 s costs a request five or six tries.
GROWTH = 5
#: Seconds that an upload which is called off has to abort itself on the server.
ABORT_SECONDS = 1.5


class Uploads:
    """
    Uploads into one bucket.

    :param endpoint: URL of S3's API.
    :param session: the boto3 session that the credentials come from, and are renewed by.
    :param proxy: URL of a proxy, if there is one.
    :param verify: False: any TLS certificate will do; a path: a file of CA certificates to trust besides.
    """

    def __init__(
        self,
        bucket: str,
        endpoint: str,
        region: str,
        session: boto3.Session,
        options: TransferOptions,
        proxy: str | None,
        verify: bool | str | None,
    ) -> None:
        self._bucket = bucket
        idle = timedelta(seconds=options.idle_timeout)
        network: ClientConfig = {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=options.conn_timeout),
            "read_timeout": idle,
            # obstore's own limit of 30 s is for a request as a whole: too short for a large object.
            "timeout": timedelta(days=1),
        }
        if verify is False:
            network["allow_invalid_certificates"] = True
        elif isinstance(verify, str):
            network["root_certificate"] = Path(verify).read_bytes()
        if proxy:
            network["proxy_url"] = proxy
        self._store = S3Store(
            bucket,
            endpoint=endpoint,
            region=region,
            virtual_hosted_style_request=False,
            # With no more than five minutes to live obstore asks for them again and again, ten times a second at most:
            # when to renew them is left to the session.
            credential_provider=Boto3CredentialProvider(session, ttl=timedelta(minutes=5)),
            client_options=network,
            retry_config={
                "max_retries": 1_000_000,  # it is the time that ends them
                "retry_timeout": idle,
                "backoff": {
                    "init_backoff": timedelta(seconds=PAUSE),
                    "max_backoff": timedelta(seconds=max(PAUSE, min(MAX_PAUSE, options.idle_timeout / 4))),
                    "base": GROWTH,
                },
            },
        )

    async def put(self, key: str, data: Sequence[bytes | memoryview], metadata: Mapping[str, str]) -> None:
        """Store `data`, piece by piece, under `key` in one request. S3 has it completely when this returns."""
        with self._errors(key):
            await obstore.put_async(self._store, key, iter(data), attributes=dict(metadata), use_multipart=False)

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
        with self._errors(key):
            try:
                await asyncio.shield(upload)
            except asyncio.CancelledError:
                call_off()
                await asyncio.wait({upload}, timeout=ABORT_SECONDS)
                if upload.done() and not upload.cancelled():
                    upload.exception()
                upload.cancel()
                raise

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Turn what obstore raises within the block into :class:`StorageError`, naming the object."""
        try:
            yield
        except SftpS3Error:
            raise
        except (
            obstore.exceptions.BaseError,
            botocore.exceptions.ClientError,  # out of its credential provider
            botocore.exceptions.BotoCoreError,
            OSError,
            ValueError,  # obstore's word for a key that it does not spell
        ) as failed:
            if "NoSuchBucket" in str(failed):
                raise PlaceMissing(f"s3_bucket: there is no bucket {self._bucket!r}") from None
            if "ExpiredToken" in str(failed):
                raise CredentialsExpired(paths.printable(f"{self._uri_of(key)}: {EXPIRED}")) from None
            # obstore appends its whole inner state to the first line, and quotes names as they are.
            raise self._error(key, failed) from None
        except BaseException as failed:
            # What a library in Rust has not foreseen is no Exception, has no class to be named here, and would end the
            # run: obstore has it where the system opens no more files for the threads that it begins.
            if type(failed).__name__ != "PanicException":
                raise
            raise self._error(key, failed) from None

    def _error(self, key: str, failed: BaseException) -> StorageError:
        return StorageError(f"{paths.printable(self._uri_of(key))}: {paths.reason_of(failed, lines=1)}")

    def _uri_of(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"
