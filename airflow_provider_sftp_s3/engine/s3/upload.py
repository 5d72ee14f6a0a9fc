"""Uploads of all but the smallest files: the only importer of obstore, which sends the parts of many files at once."""

from __future__ import annotations

import asyncio
import contextlib
import html
import itertools
import os
import re
import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import botocore.exceptions
import obstore
import obstore.exceptions
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import (
    ConfigurationError,
    CredentialsExpired,
    PlaceMissing,
    SftpS3Error,
    StorageError,
)
from airflow_provider_sftp_s3.engine.model import Stored
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.s3.endpoint import Endpoint, Network
from airflow_provider_sftp_s3.engine.s3.extra_args import SentAlong
from airflow_provider_sftp_s3.engine.s3.requests import EXPIRED, MAX_PAUSE, PAUSE, S3Refused

if TYPE_CHECKING:
    import boto3
    from obstore import PutResult
    from obstore.store import ClientConfig

#: obstore's pauses are random, between the shortest one and so many times the one before. By its own 2 they shrink:
#: measured, eight of them were over in 0.8 s. By 5, an outage of 5 s costs a request five or six tries.
GROWTH = 5
#: Seconds that an upload which is called off has to abort itself on the server.
ABORT_SECONDS = 1.5


#: A proxy that is never asked, since it is not for any host.
NO_PROXY = "http://127.0.0.1:9"
ALL_HOSTS = "*,0.0.0.0/0,::/0"

#: What S3 has said, in an error of obstore. It names the key before that, which has no line breaks.
_ANSWER = re.compile(r"\n +inner: \w+ \{\n +status: (\d{3}),\n +body: (.*)", re.DOTALL)
_CODE = re.compile("<Code>([^<]+)</Code>")
_MESSAGE = re.compile("<Message>([^<]+)</Message>")

_METADATA = "x-amz-meta-"
_TAGGING = "x-amz-tagging"
#: What obstore calls an object's headers.
_ATTRIBUTES = {
    **{name: name for name in ("Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language")},
    "Content-Type": "Content-Type",
    "x-amz-storage-class": "Storage-Class",
}
#: What its store is told of encryption.
_ENCRYPTION = {
    "x-amz-server-side-encryption": "server_side_encryption",
    "x-amz-server-side-encryption-aws-kms-key-id": "sse_kms_key_id",
    "x-amz-server-side-encryption-bucket-key-enabled": "sse_bucket_key_enabled",
}


def can_send(sent: SentAlong) -> bool:
    """Say whether obstore has words for all that an object is to be stored with."""
    metadata = {name.removeprefix(_METADATA) for name in sent.put if name.startswith(_METADATA)}
    others = {name for name in sent.put if not name.startswith(_METADATA)} - {_TAGGING, *_ATTRIBUTES, *_ENCRYPTION}
    if {" ", "+"} & set("".join(itertools.chain(*_tags_of(sent)))):
        return False  # it writes a blank as '+', and there are stores that keep that
    # Metadata that is called as an attribute would become that one.
    taken = {name.lower() for name in metadata} & {name.lower() for name in _ATTRIBUTES.values()}
    encrypted = _ENCRYPTION.keys() & sent.put.keys()
    return not (others or taken or sent.part) and (not encrypted or "x-amz-server-side-encryption" in encrypted)


def _tags_of(sent: SentAlong) -> list[tuple[str, str]]:
    return urllib.parse.parse_qsl(sent.put.get(_TAGGING, ""), keep_blank_values=True)


def _attributes(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers as obstore has them; those that its store adds by itself are left out."""
    return {
        _ATTRIBUTES.get(name, name.removeprefix(_METADATA)): value
        for name, value in headers.items()
        if name in _ATTRIBUTES or name.startswith(_METADATA)
    }


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """Turn what obstore says of settings within the block into :class:`ConfigurationError`."""
    try:
        yield
    except (obstore.exceptions.BaseError, ValueError) as wrong:
        raise ConfigurationError(
            f"the settings of the aws connection, or extra_args, cannot be used: {paths.reason_of(wrong, lines=1)}"
        ) from None


class _Said(NamedTuple):
    """
    What S3, or AWS's security service, has said.

    :param status: of HTTP; 0: S3 has said nothing.
    """

    status: int = 0
    code: str = ""
    message: str = ""


def _said(failed: BaseException) -> _Said:
    """Return what has been said of a request, by an error of obstore or of its credential provider."""
    if isinstance(failed, botocore.exceptions.ClientError):
        return _Said(code=failed.response.get("Error", {}).get("Code", ""))
    answer = _ANSWER.search(str(failed))
    if answer is None:
        return _Said()
    body = answer[2].replace('\\"', '"').replace("\\n", " ")
    code, message = _CODE.search(body), _MESSAGE.search(body)
    return _Said(int(answer[1]), html.unescape(code[1]) if code else "", html.unescape(message[1]) if message else "")


def _stored(result: PutResult) -> Stored:
    """Return what obstore says of an object that it has stored."""
    return Stored((result["e_tag"] or "").strip('"'), result["version"] or "")


class Uploads:
    """
    Uploads into one bucket.

    :param session: the boto3 session that the credentials come from, and are renewed by.
    :param sent: headers of all requests, and of those that begin an upload: see :func:`can_send`.
    :param checksums: whether each request carries a checksum of its body. S3 makes one of the whole object of them.
    :raises ConfigurationError: this process is a fork of one that has uploaded something.
    """

    #: the process that has uploaded something, None before that; a fork inherits it
    _process: int | None = None

    def __init__(
        self,
        bucket: str,
        endpoint: Endpoint,
        session: boto3.Session,
        options: TransferOptions,
        network: Network,
        sent: SentAlong = SentAlong(),  # noqa: B008 - it is never changed
        *,
        checksums: bool = True,
    ) -> None:
        self._refuse_a_fork()
        self._bucket = bucket
        self._tags = dict(_tags_of(sent))
        idle = timedelta(seconds=options.idle_timeout)
        client: ClientConfig = {
            "allow_http": endpoint.url.startswith("http://"),
            "user_agent": network.user_agent,
            "default_headers": dict(sent.every),
            "connect_timeout": timedelta(seconds=options.conn_timeout),
            "read_timeout": idle,
            # obstore's own limit of 30 s is for a request as a whole: too short for a large object.
            "timeout": timedelta(days=1),
        }
        if network.verify is False:
            client["allow_invalid_certificates"] = True
        elif isinstance(network.verify, str):
            client["root_certificate"] = Path(network.verify).read_bytes()
        # Without a word obstore goes by the environment, which does not have the last one.
        client["proxy_url"] = network.proxy or NO_PROXY
        if not network.proxy:
            client["proxy_excludes"] = ALL_HOSTS
        config: dict[str, Any] = {"checksum_algorithm": "CRC64NVME"} if checksums else {}
        config |= {_ENCRYPTION[name]: value for name, value in sent.put.items() if name in _ENCRYPTION}
        with _settings():
            self._store = S3Store(
                bucket,
                endpoint=endpoint.url,
                region=endpoint.region,
                virtual_hosted_style_request=True,  # which means that the URL is the bucket's own
                # With no more than five minutes to live obstore asks for them again and again, ten times a second at
                # most: when to renew them is left to the session.
                credential_provider=Boto3CredentialProvider(session, ttl=timedelta(minutes=5)),
                client_options=client,
                retry_config={
                    "max_retries": 1_000_000,  # it is the time that ends them
                    "retry_timeout": idle,
                    "backoff": {
                        "init_backoff": timedelta(seconds=PAUSE),
                        "max_backoff": timedelta(seconds=max(PAUSE, min(MAX_PAUSE, options.idle_timeout / 4))),
                        "base": GROWTH,
                    },
                },
                **config,
            )

    async def put(self, key: str, data: Sequence[bytes | memoryview], headers: Mapping[str, str]) -> Stored:
        """
        Store `data`, piece by piece, under `key` in one request. S3 has it completely when this returns.

        :param headers: of this object, such as :func:`can_send` knows.
        """
        Uploads._process = os.getpid()
        with self._errors(key):
            result = await obstore.put_async(
                self._store,
                key,
                iter(data),
                attributes=_attributes(headers),
                tags=self._tags or None,
                use_multipart=False,
            )
        return _stored(result)

    async def put_stream(
        self,
        key: str,
        chunks: AsyncIterator[bytes | memoryview],
        headers: Mapping[str, str],
        *,
        part_size: int,
        parts_at_once: int,
        call_off: Callable[[], None],
    ) -> Stored:
        """
        Store what `chunks` yields in a multipart upload. S3 has it completely when this returns.

        An error out of `chunks` aborts the upload on the server and is raised here.

        :param headers: as of :meth:`put`.
        :param call_off: makes `chunks` fail soon; called when this call is cancelled, since a cancelled upload would
            be left behind on the server, and an aborted one is not.
        """
        Uploads._process = os.getpid()
        with self._errors(key):
            upload = asyncio.ensure_future(
                obstore.put_async(
                    self._store,
                    key,
                    chunks,
                    attributes=_attributes(headers),
                    tags=self._tags or None,
                    use_multipart=True,
                    chunk_size=part_size,
                    max_concurrency=parts_at_once,
                )
            )
            try:
                result = await asyncio.shield(upload)
            except asyncio.CancelledError:
                call_off()
                await asyncio.wait({upload}, timeout=ABORT_SECONDS)
                if upload.done() and not upload.cancelled():
                    upload.exception()
                upload.cancel()
                raise
        return _stored(result)

    def _refuse_a_fork(self) -> None:
        """
        Raise where an upload would wait for ever.

        obstore has threads of its own from its first request on. A fork has their memory and not the threads, and
        obstore has no way to begin anew: a request there is never answered (0.11.0, seen on Linux).
        """
        if self._process not in (None, os.getpid()):
            raise ConfigurationError(
                f"this process ({os.getpid()}) is a fork of one ({self._process}) in which a transfer has run, and "
                "threads that a transfer needs do not outlive a fork: begin a new Python process for it (with "
                "multiprocessing, the start method 'spawn'), or fork before the first transfer"
            )

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
            said = _said(failed)
            if said.code == "NoSuchBucket":
                raise PlaceMissing(f"s3_bucket: there is no bucket {self._bucket!r}") from None
            if said.code == "ExpiredToken":
                raise CredentialsExpired(paths.printable(f"{self._uri_of(key)}: {EXPIRED}")) from None
            if said.status:
                reason = paths.said(
                    f"S3 answered {' '.join(filter(None, (f'{said.status}', said.code, said.message)))}"
                )
                uri = paths.printable(self._uri_of(key))
                raise S3Refused(f"{uri}: {reason}", said.status, said.code, "") from None
            # obstore appends its whole inner state to the first line, and quotes names as they are.
            raise self._error(key, failed) from None
        except BaseException as failed:
            # What a library in Rust has not foreseen is no Exception, has no class to be named here, and would end the
            # run: obstore has it where the system opens no more files for the threads that it begins.
            if type(failed).__name__ not in ("PanicException", "RustPanic"):
                raise
            raise self._error(key, failed) from None

    def _error(self, key: str, failed: BaseException) -> StorageError:
        return StorageError(f"{paths.printable(self._uri_of(key))}: {paths.reason_of(failed, lines=1)}")

    def _uri_of(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"
