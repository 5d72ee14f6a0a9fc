"""
An S3 server that is no bottleneck: ``python -m benchmarks.s3_server PORT``.

Objects live in memory, signatures are not checked, and there is one process. It knows what a transfer asks for: PUT,
GET, HEAD, copies with metadata and conditions, multipart uploads, tags, listings of both versions.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
import xml.etree.ElementTree as ET
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import count
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

import uvloop

Bytes = bytes | bytearray

MAX_KEYS = 1000
#: Above it, and in parts, the ETag is just a number: a server that spends its time on MD5 would be in the way.
MD5_BELOW = 8 * 1024 * 1024
#: Headers that belong to the object, besides ``x-amz-meta-*``.
KEPT_HEADERS = {"cache-control", "content-disposition", "content-encoding", "content-language", "content-type"}


@dataclass
class Object:
    parts: list[Bytes]
    headers: dict[str, str]
    etag: str
    modified: float = field(default_factory=time.time)
    tags: Bytes = b""

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))


class Bucket:
    """Objects by key, in S3's order."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self._keys: list[str] | None = []

    def put(self, key: str, found: Object) -> None:
        if key not in self.objects:
            self._keys = None
        self.objects[key] = found

    def delete(self, key: str) -> None:
        if self.objects.pop(key, None):
            self._keys = None

    @property
    def keys(self) -> list[str]:
        if self._keys is None:
            self._keys = sorted(self.objects)
        return self._keys


class Request(NamedTuple):
    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Bytes


class Answer(NamedTuple):
    status: str = "200 OK"
    headers: Mapping[str, str] = MappingProxyType({})
    body: Sequence[Bytes | memoryview] = ()


class Failed(Exception):
    """Answered with an S3 error: status and code."""


class S3:
    """What the server holds, and how it answers."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self._uploads: dict[str, tuple[dict[str, str], dict[int, tuple[str, Bytes]]]] = {}
        self._numbers = count(1)

    def answer(self, request: Request) -> Answer:
        if not request.key:
            return self._of_bucket(request)
        bucket = self._bucket(request.bucket)
        query = request.query
        if "uploads" in query or "uploadId" in query:
            return self._multipart(request, bucket)
        if "tagging" in query:
            return self._tagging(request, bucket)
        if request.method == "PUT":
            return self._copy(request, bucket) if "x-amz-copy-source" in request.headers else self._put(request, bucket)
        if request.method in ("GET", "HEAD"):
            return self._get(request, bucket)
        if request.method == "DELETE":
            bucket.delete(request.key)
            return Answer("204 No Content")
        raise Failed("405 Method Not Allowed", "MethodNotAllowed")

    def _bucket(self, name: str) -> Bucket:
        if name not in self.buckets:
            raise Failed("404 Not Found", "NoSuchBucket")
        return self.buckets[name]

    def _of_bucket(self, request: Request) -> Answer:
        if request.method == "PUT":
            self.buckets.setdefault(request.bucket, Bucket())
        elif request.method == "DELETE":  # with all that is in it, unlike S3
            self.buckets.pop(request.bucket, None)
            return Answer("204 No Content")
        elif request.method == "POST" and "delete" in request.query:
            bucket = self._bucket(request.bucket)
            for element in ET.fromstring(request.body).iter():
                if element.tag.endswith("Key"):
                    bucket.delete(element.text or "")
            return _xml("DeleteResult", "")
        elif request.method == "GET" and request.bucket:
            bucket = self._bucket(request.bucket)
            if "location" in request.query:
                return _xml("LocationConstraint", "")
            if "versioning" in request.query:
                return _xml("VersioningConfiguration", "")
            return self._list(request, bucket)
        elif request.bucket:
            self._bucket(request.bucket)
        return Answer()

    def _list(self, request: Request, bucket: Bucket) -> Answer:
        query = request.query
        second = query.get("list-type") == "2"
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after") or query.get("marker") or ""
        limit = min(int(query.get("max-keys", MAX_KEYS)), MAX_KEYS)
        spell: Callable[[str], str] = quote if query.get("encoding-type") == "url" else escape
        found: list[str] = []
        last, truncated = "", False
        for name, thing in _page(bucket, prefix, delimiter, after):
            if len(found) == limit:
                truncated = True
                break
            last = name
            if thing is None:
                found.append(f"<CommonPrefixes><Prefix>{spell(name)}</Prefix></CommonPrefixes>")
            else:
                when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(thing.modified))
                found.append(
                    f"<Contents><Key>{spell(name)}</Key><LastModified>{when}</LastModified><ETag>{thing.etag}</ETag>"
                    f"<Size>{thing.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
                )
        head = f"<Name>{request.bucket}</Name><Prefix>{spell(prefix)}</Prefix><MaxKeys>{limit}</MaxKeys>"
        head += f"<IsTruncated>{str(truncated).lower()}</IsTruncated>"
        head += "<EncodingType>url</EncodingType>" if spell is quote else ""
        head += f"<KeyCount>{len(found)}</KeyCount>" if second else ""
        if truncated:
            tag = "NextContinuationToken" if second else "NextMarker"
            head += f"<{tag}>{spell(last)}</{tag}>"
        return _xml("ListBucketResult", head + "".join(found))

    def _object(self, bucket: Bucket, key: str) -> Object:
        if key not in bucket.objects:
            raise Failed("404 Not Found", "NoSuchKey")
        return bucket.objects[key]

    def _put(self, request: Request, bucket: Bucket) -> Answer:
        _check(bucket.objects.get(request.key), request.headers)
        body = request.body
        etag = hashlib.md5(body).hexdigest() if len(body) <= MD5_BELOW else f"{next(self._numbers):032x}-1"
        bucket.put(request.key, Object([body], _kept(request.headers), f'"{etag}"'))
        return Answer(headers={"ETag": f'"{etag}"'})

    def _copy(self, request: Request, bucket: Bucket) -> Answer:
        where = unquote(request.headers["x-amz-copy-source"]).lstrip("/").partition("?")[0]
        source_bucket, _, source_key = where.partition("/")
        source = self._object(self._bucket(source_bucket), source_key)
        if (wanted := request.headers.get("x-amz-copy-source-if-match")) and wanted.strip('"') != source.etag.strip(
            '"'
        ):
            raise Failed("412 Precondition Failed", "PreconditionFailed")
        _check(bucket.objects.get(request.key), request.headers)
        replace = request.headers.get("x-amz-metadata-directive") == "REPLACE"
        headers = _kept(request.headers) if replace else source.headers
        copied = Object(source.parts, headers, source.etag, tags=source.tags)
        bucket.put(request.key, copied)
        return _xml("CopyObjectResult", f"<ETag>{copied.etag}</ETag><LastModified>{_iso(copied)}</LastModified>")

    def _get(self, request: Request, bucket: Bucket) -> Answer:
        found = self._object(bucket, request.key)
        if (wanted := request.headers.get("if-match")) and wanted.strip('"') != found.etag.strip('"'):
            raise Failed("412 Precondition Failed", "PreconditionFailed")
        size = found.size
        headers = found.headers | {
            "ETag": found.etag,
            "Last-Modified": formatdate(found.modified, usegmt=True),
            "Accept-Ranges": "bytes",
        }
        if tags := found.tags.count(b"<Tag>"):
            headers["x-amz-tagging-count"] = str(tags)
        start, end, status = 0, size, "200 OK"
        if wanted := request.headers.get("range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = (int(first), min(int(last) + 1, size) if last else size) if first else (size - int(last), size)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            status = "206 Partial Content"
        headers["Content-Length"] = str(end - start)
        if request.method == "HEAD":
            return Answer(status, headers)
        return Answer(status, headers, list(_slice(found.parts, start, end)))

    def _tagging(self, request: Request, bucket: Bucket) -> Answer:
        found = self._object(bucket, request.key)
        if request.method == "PUT":
            found.tags = request.body
            return Answer()
        return Answer(body=[found.tags]) if found.tags else _xml("Tagging", "<TagSet></TagSet>")

    def _multipart(self, request: Request, bucket: Bucket) -> Answer:
        if "uploads" in request.query:
            number = f"upload-{next(self._numbers)}"
            self._uploads[number] = _kept(request.headers), {}
            where = f"<Bucket>{request.bucket}</Bucket><Key>{escape(request.key)}</Key>"
            return _xml("InitiateMultipartUploadResult", f"{where}<UploadId>{number}</UploadId>")
        number = request.query["uploadId"]
        if number not in self._uploads:
            raise Failed("404 Not Found", "NoSuchUpload")
        headers, parts = self._uploads[number]
        if request.method == "PUT":
            etag = f'"{next(self._numbers):032x}"'
            parts[int(request.query["partNumber"])] = etag, request.body
            return Answer(headers={"ETag": etag})
        del self._uploads[number]
        if request.method == "DELETE":
            return Answer("204 No Content")
        _check(bucket.objects.get(request.key), request.headers)
        pieces = [part for _, (_, part) in sorted(parts.items())]
        etag = f'"{next(self._numbers):032x}-{len(parts)}"'
        bucket.put(request.key, Object(pieces, headers, etag))
        return _xml("CompleteMultipartUploadResult", f"<Key>{escape(request.key)}</Key><ETag>{etag}</ETag>")


def _page(bucket: Bucket, prefix: str, delimiter: str, after: str) -> Iterator[tuple[str, Object | None]]:
    """Yield what a listing shows: keys with their objects, common prefixes with none."""
    keys = bucket.keys
    index = bisect_right(keys, after) if after >= prefix else bisect_left(keys, prefix)
    if delimiter and after.endswith(delimiter) and after > prefix:
        index = bisect_left(keys, after + "\U0010ffff")
    while index < len(keys) and keys[index].startswith(prefix):
        key = keys[index]
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        if cut < 0:
            yield key, bucket.objects[key]
            index += 1
        else:
            common = key[: cut + len(delimiter)]
            yield common, None
            index = bisect_left(keys, common + "\U0010ffff")


def _slice(parts: list[Bytes], start: int, end: int) -> Iterator[memoryview]:
    at = 0
    for part in parts:
        if at < end and at + len(part) > start:
            yield memoryview(part)[max(0, start - at) : end - at]
        at += len(part)


def _check(current: Object | None, headers: Mapping[str, str]) -> None:
    """Hold a write to its conditions."""
    wanted = headers.get("if-match")
    if wanted and current is None:
        raise Failed("404 Not Found", "NoSuchKey")
    if (wanted and current and wanted.strip('"') != current.etag.strip('"')) or (
        headers.get("if-none-match") == "*" and current
    ):
        raise Failed("412 Precondition Failed", "PreconditionFailed")


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in headers.items() if name in KEPT_HEADERS or name.startswith("x-amz-meta-")}
    if kept.get("content-encoding") == "aws-chunked":
        del kept["content-encoding"]
    return kept


def _iso(thing: Object) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(thing.modified))


def _xml(tag: str, text: str) -> Answer:
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{tag} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{text}</{tag}>'
    )
    return Answer(headers={"Content-Type": "application/xml"}, body=[body.encode()])


def _unchunked(body: Bytes) -> bytes:
    """Return what an ``aws-chunked`` body holds: chunks with a length and a signature, then trailers."""
    pieces: list[Bytes] = []
    at = 0
    while True:
        end = body.index(b"\r\n", at)
        length = int(body[at:end].partition(b";")[0], 16)
        if not length:
            return b"".join(pieces)
        pieces.append(body[end + 2 : end + 2 + length])
        at = end + 4 + length


class Connection(asyncio.BufferedProtocol):
    """HTTP/1.1 as S3 clients speak it: one request at a time, its body of a known length and read into its place."""

    def __init__(self, s3: S3) -> None:
        self._s3 = s3
        self._incoming = bytearray(64 * 1024)
        self._head = b""
        self._request: tuple[str, str, dict[str, str]] | None = None
        self._body = bytearray()
        self._filled = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._request is None:
            return memoryview(self._incoming)
        return memoryview(self._body)[self._filled :]

    def buffer_updated(self, count: int) -> None:
        if self._request is None:
            self._head += self._incoming[:count]
            head, end, begun = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            self._head = b""
            self._request = method, target, headers
            self._body = bytearray(int(headers.get("content-length", 0)))
            self._body[: len(begun)] = begun
            self._filled = len(begun)
            if "expect" in headers:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        else:
            self._filled += count
        if self._filled == len(self._body):
            request, self._request = self._request, None
            self._answer(*request)

    def _answer(self, method: str, target: str, headers: dict[str, str]) -> None:
        body: Bytes = self._body
        if "x-amz-decoded-content-length" in headers:
            body = _unchunked(body)
        path, _, query = target.partition("?")
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        asked = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
        try:
            answer = self._s3.answer(Request(method, bucket, key, asked, headers, body))
        except Failed as failed:
            status, code = failed.args
            error = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
            answer = Answer(status, {"Content-Type": "application/xml"}, [] if method == "HEAD" else [error])
        date = f"Date: {formatdate(usegmt=True)}"
        lines = [f"HTTP/1.1 {answer.status}", date, *(f"{name}: {value}" for name, value in answer.headers.items())]
        if "Content-Length" not in answer.headers and not answer.status.startswith("204"):
            lines.append(f"Content-Length: {sum(map(len, answer.body))}")
        self._transport.writelines([("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), *answer.body])


async def _serve(port: int) -> None:
    s3 = S3()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(s3), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
