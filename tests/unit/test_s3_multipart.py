"""Uploads by our own requests: S3 has all of it, or nothing is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from airflow_provider_sftp_s3.engine.errors import FileError, StorageError
from airflow_provider_sftp_s3.engine.options import MIN_PART_SIZE
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.multipart import OwnUploads, _cut
from tests.support.s3_server import S3Server

CONTENT = bytes(range(251)) * (2 * MIN_PART_SIZE // 251 + 1)


async def pieces(content: bytes = CONTENT, size: int = 300_001) -> AsyncIterator[bytes | memoryview]:
    for start in range(0, len(content), size):
        yield memoryview(content)[start : start + size]


@pytest.fixture
def uploads(opened: Bucket) -> OwnUploads:
    return OwnUploads(opened.requests, {}, checksums=True)


async def stream(uploads: OwnUploads, chunks: AsyncIterator[bytes | memoryview], called_off: asyncio.Event) -> None:
    await uploads.put_stream(
        "a b",
        chunks,
        {"x-amz-acl": "private", "x-amz-meta-mtime": "5"},
        part_size=MIN_PART_SIZE,
        parts_at_once=2,
        call_off=called_off.set,
    )


@pytest.mark.unit
@pytest.mark.parametrize(
    ("chunks", "parts"),
    [
        ([], [b""]),
        ([b""], [b""]),
        ([b"ab"], [b"ab"]),
        ([b"abc"], [b"abc"]),
        ([b"a", b"bcd"], [b"abc", b"d"]),
        ([b"abcdefg"], [b"abc", b"def", b"g"]),
        ([b"abcdef"], [b"abc", b"def"]),
    ],
)
async def test_parts_are_of_one_size(chunks: list[bytes], parts: list[bytes]) -> None:
    """But the last one; an empty file is one empty part."""

    async def given() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    assert [part async for part in _cut(given(), 3)] == parts


@pytest.mark.integration
async def test_a_stream_is_cut_into_parts(s3: S3Server, opened: Bucket, uploads: OwnUploads) -> None:
    """Headers of the object are on the first request, and a checksum on each part."""
    await stream(uploads, pieces(), asyncio.Event())
    assert s3.objects(opened.name) == {"a b": CONTENT}
    assert s3.unfinished_uploads(opened.name) == []
    begun, *parts, ended = [request for request in s3.requests if request.key]
    assert (begun.operation, ended.operation) == ("CreateMultipartUpload", "CompleteMultipartUpload")
    assert begun.headers["x-amz-acl"] == "private"
    assert begun.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert [part.operation for part in parts] == ["UploadPart"] * 3
    assert all("x-amz-acl" not in part.headers and "x-amz-checksum-crc32" in part.headers for part in parts)
    version = await opened.head("a b")
    assert version is not None
    assert version.metadata == {"mtime": "5"}


@pytest.mark.integration
async def test_one_request_holds_all_pieces(s3: S3Server, opened: Bucket, uploads: OwnUploads) -> None:
    """With its checksum."""
    await uploads.put("k", [b"a", memoryview(b"b" * 100_000), b""], {"x-amz-acl": "private"})
    assert s3.objects(opened.name) == {"k": b"a" + b"b" * 100_000}
    assert s3.requests[-1].headers["x-amz-acl"] == "private"
    assert "x-amz-checksum-crc32" in s3.requests[-1].headers


@pytest.mark.integration
async def test_an_error_of_the_source_is_raised_as_it_is_and_aborts(
    s3: S3Server, opened: Bucket, uploads: OwnUploads
) -> None:
    """With the first part sent already."""

    async def breaks() -> AsyncIterator[bytes | memoryview]:
        async for piece in pieces():
            yield piece
        raise FileError("changed")

    with pytest.raises(FileError, match=r"^changed$"):
        await stream(uploads, breaks(), asyncio.Event())
    assert s3.objects(opened.name) == {}
    assert s3.unfinished_uploads(opened.name) == []


@pytest.mark.integration
@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
async def test_a_refusal_aborts(s3: S3Server, opened: Bucket, uploads: OwnUploads, operation: str) -> None:
    """It is one error, and names the object."""
    s3.before(lambda request: (403, "AccessDenied") if request.operation == operation else None)
    with pytest.raises(StorageError, match="/a b: S3 answered 403 AccessDenied"):
        await stream(uploads, pieces(), asyncio.Event())
    assert s3.unfinished_uploads(opened.name) == []


@pytest.mark.integration
async def test_who_is_cancelled_leaves_no_parts(s3: S3Server, opened: Bucket, uploads: OwnUploads) -> None:
    """And calls the source off."""
    waits, called_off = asyncio.Event(), asyncio.Event()

    async def hangs() -> AsyncIterator[bytes | memoryview]:
        async for piece in pieces():
            yield piece
        waits.set()
        await asyncio.Event().wait()

    uploading = asyncio.create_task(stream(uploads, hangs(), called_off))
    await waits.wait()
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert called_off.is_set()
    assert s3.objects(opened.name) == {}
    assert s3.unfinished_uploads(opened.name) == []


@pytest.mark.integration
async def test_an_answer_without_an_upload_is_an_error(s3: S3Server, uploads: OwnUploads) -> None:
    """Parts of none would go nowhere."""
    s3.rewrite(
        lambda request, body: (
            b"<InitiateMultipartUploadResult/>" if request.operation == "CreateMultipartUpload" else body
        )
    )
    with pytest.raises(StorageError, match="gives no UploadId"):
        await stream(uploads, pieces(), asyncio.Event())
