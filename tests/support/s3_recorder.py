"""A server, or proxy, on 127.0.0.1 that takes all requests for S3's and writes down what came, host included."""

from __future__ import annotations

import ssl
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple, Self

BODY = b"contents"
#: What is answered with the ETag of what was written.
WRITTEN = ("CompleteMultipartUpload", "CopyObject")
ETAG = '"98bf7d8c15784f0a3d63204441e1e2aa"'
_BEGUN = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
_LISTED = (
    f"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>k</Key><ETag>{ETAG}</ETag><Size>8</Size>"
    "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>"
)
#: The keys of every role.
ROLE_KEY = "ASIAOFTHEROLE0000000"
_ASSUMED = (
    '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
    f"<AccessKeyId>{ROLE_KEY}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
    "<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
)


class Asked(NamedTuple):
    """
    One request.

    :param kind: what it is for, such as ``PutObject``.
    :param headers: names in lower case.
    :param body: of a request for a role.
    """

    kind: str
    method: str
    host: str
    path: str
    headers: dict[str, str]
    body: str = ""

    @property
    def place(self) -> tuple[str, str]:
        return self.host, self.path


class Recorder:
    """
    Answers each request as S3 would for one object ``k`` with :data:`BODY`, and any request for a role.

    :param tls: with which it is an HTTPS server; none: plain HTTP, where it is a proxy for any host, too.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                recorder._handle(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Say nothing: clients that refuse a certificate hang up."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def of(self, kind: str) -> list[Asked]:
        """Return the requests of one kind."""
        return [asked for asked in self.asked if asked.kind == kind]

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        sent = _read_body(handler, headers)
        url = urllib.parse.urlsplit(handler.path)
        kind = _kind_of(handler.command, url, headers)
        host = url.netloc or headers["host"]
        about = sent.decode() if kind == "AssumeRole" else ""
        self.asked.append(Asked(kind, handler.command, host, url.path, headers, about))
        body = {
            "ListObjectsV2": _LISTED,
            "CreateMultipartUpload": _BEGUN,
            "AssumeRole": _ASSUMED.replace("AssumeRole", _action_of(about)),
            **{kind: f"<{kind}Result><ETag>{ETAG}</ETag></{kind}Result>" for kind in WRITTEN},
        }.get(kind, "").encode()
        if kind in ("GetObject", "HeadObject"):
            body = BODY
        handler.send_response(204 if kind in ("DeleteObject", "AbortMultipartUpload") else 200)
        handler.send_header("ETag", ETAG)
        handler.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)


def _action_of(about: str) -> str:
    """Return by which action a role is asked for."""
    return urllib.parse.parse_qs(about).get("Action", ["AssumeRole"])[0]


def _read_body(handler: BaseHTTPRequestHandler, headers: dict[str, str]) -> bytes:
    """Return a body whose length was said; of others nothing."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int(handler.rfile.readline().split(b";")[0], 16):
            handler.rfile.read(size + 2)
        while handler.rfile.readline().strip():
            pass
        return b""
    return handler.rfile.read(int(headers.get("content-length", 0)))


def _kind_of(method: str, url: urllib.parse.SplitResult, headers: dict[str, str]) -> str:
    query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
    if "list-type" in query:
        return "ListObjectsV2"
    if method == "POST" and url.path == "/":
        return "AssumeRole"
    if "uploads" in query:
        return "CreateMultipartUpload"
    if "uploadId" in query:
        return {"PUT": "UploadPart", "POST": "CompleteMultipartUpload"}.get(method, "AbortMultipartUpload")
    if method == "PUT" and "x-amz-copy-source" in headers:
        return "CopyObject"
    return {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}[method]
