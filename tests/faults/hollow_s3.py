"""An S3 API that keeps nothing: it takes gigabytes and remembers their hashes, and gives gigabytes of zeros.

moto would hold them all in memory, and takes half a minute for each.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.s3_server import S3Endpoint

PIECE = 1024 * 1024


class HollowS3(S3Endpoint):
    """Takes PutObject and multipart uploads, gives ListObjectsV2 and GetObject of what ``gives`` names.

    :param gives: the objects to be read, by their sizes; their contents are zeros.
    """

    bucket = "hollow"

    def __init__(self, gives: dict[str, int] | None = None) -> None:
        self.gives = gives or {}
        self.taken: dict[str, list[tuple[int, str]]] = {}
        """Each key that was stored whole, with size and MD5 of its parts in their order."""
        self._parts: dict[str, dict[int, tuple[int, str]]] = {}
        self._server = _Server((self.host, 0), _handler(self))
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


def _handler(hollow: HollowS3) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _read(self) -> tuple[int, str]:
            left, digest, size = int(self.headers.get("Content-Length") or 0), hashlib.md5(), 0
            while left:
                data = self.rfile.read(min(left, PIECE))
                if not data:
                    raise ConnectionAbortedError
                digest.update(data)
                left -= len(data)
                size += len(data)
            return size, digest.hexdigest()

        def _say(self, body: str = "", status: int = 200, **headers: str) -> None:
            data = body.encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _target(self) -> tuple[str, dict[str, str]]:
            url = urlsplit(self.path)
            _, _, key = unquote(url.path).lstrip("/").partition("/")
            query = parse_qs(url.query, keep_blank_values=True)
            return key, {name: values[0] for name, values in query.items()}

        def do_PUT(self) -> None:
            key, query = self._target()
            got = self._read()
            if "partNumber" in query:
                hollow._parts[query["uploadId"]][int(query["partNumber"])] = got
            else:
                hollow.taken[key] = [got]
            self._say(ETag=f'"{got[1]}"')

        def do_POST(self) -> None:
            key, query = self._target()
            self._read()
            if "uploads" in query:
                upload = f"upload-{key}"
                hollow._parts[upload] = {}
                self._say(
                    f"<InitiateMultipartUploadResult><Bucket>{hollow.bucket}</Bucket><Key>{key}</Key>"
                    f"<UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
                )
                return
            parts = hollow._parts.pop(query["uploadId"])
            hollow.taken[key] = [parts[number] for number in sorted(parts)]
            self._say(
                f"<CompleteMultipartUploadResult><Bucket>{hollow.bucket}</Bucket><Key>{key}</Key>"
                '<ETag>"0-1"</ETag></CompleteMultipartUploadResult>'
            )

        def _describe(self, size: int) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.send_header("ETag", '"0"')
            self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
            self.end_headers()

        def do_HEAD(self) -> None:
            key, _ = self._target()
            if key in hollow.gives:
                self._describe(hollow.gives[key])
            else:
                self._say(status=404)

        def do_GET(self) -> None:
            key, _ = self._target()
            if not key:
                listed = "".join(
                    f"<Contents><Key>{name}</Key><Size>{size}</Size></Contents>"
                    for name, size in sorted(hollow.gives.items())
                )
                self._say(f"<ListBucketResult><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>")
                return
            if key not in hollow.gives:
                self._say("<Error><Code>NoSuchKey</Code></Error>", 404)
                return
            size = hollow.gives[key]
            self._describe(size)
            zeros = bytes(PIECE)
            with contextlib.suppress(ConnectionError):
                while size:
                    piece = min(size, PIECE)
                    self.wfile.write(zeros[:piece])
                    size -= piece

    return Handler
