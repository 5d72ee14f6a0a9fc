"""Uploads: S3 has all of it, or nothing is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from airflow_provider_sftp_s3.engine.errors import CredentialsExpired, FileError, PlaceMissing, StorageError
from airflow_provider_sftp_s3.engine.options import MIN_PART_SIZE
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from airflow_provider_sftp_s3.engine.s3.upload import Uploads
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.integration

CONTENT = bytes(range(251)) * (2 * MIN_PART_SIZE // 251 + 1)


async def pieces(content: bytes = CONTENT, size: int = 300_001) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def stream(
    opened: Bucket, chunks: AsyncIterator[bytes], key: str = "k", called_off: list[str] | None = None
) -> None:
    """Upload what `chunks` yields, in parts of the least size; the name of what is called off goes to a list."""
    uploads = opened.uploads
    assert isinstance(uploads, Uploads)
    await uploads.put_stream(
        key,
        chunks,
        {"x-amz-meta-mtime": "5"},
        part_size=MIN_PART_SIZE,
        parts_at_once=2,
        call_off=lambda: called_off.append(key) if called_off is not None else None,
    )


async def test_one_request_holds_all_pieces(s3: S3Server, opened: Bucket) -> None:
    """In their order, with the metadata, whatever the size."""
    await opened.uploads.put("k", [b"a", memoryview(b"b" * 100_000), b""], {"x-amz-meta-mtime": "5"})
    assert s3.objects(opened.name) == {"k": b"a" + b"b" * 100_000}
    assert [request.operation for request in s3.requests] == ["PutObject"]
    version = await opened.head("k")
    assert version is not None
    assert version.metadata == {"mtime": "5"}


async def test_a_stream_is_cut_into_parts(s3: S3Server, opened: Bucket) -> None:
    """However its chunks are cut; metadata included."""
    await stream(opened, pieces())
    assert s3.objects(opened.name) == {"k": CONTENT}
    assert sum(request.operation == "UploadPart" for request in s3.requests) == 3
    version = await opened.head("k")
    assert version is not None
    assert version.metadata == {"mtime": "5"}
    assert s3.unfinished_uploads(opened.name) == []


async def test_an_error_of_the_source_is_raised_as_it_is_and_aborts(s3: S3Server, opened: Bucket) -> None:
    """With the first part sent already."""

    async def breaks() -> AsyncIterator[bytes]:
        async for piece in pieces():
            yield piece
        raise FileError("changed")

    with pytest.raises(FileError, match=r"^changed$"):
        await stream(opened, breaks())
    assert s3.objects(opened.name) == {}
    assert s3.unfinished_uploads(opened.name) == []


async def test_who_is_cancelled_leaves_no_parts(s3: S3Server, opened: Bucket) -> None:
    """The source is called off, so that it fails, and with it the upload: one that is dropped would stay for ever."""
    fails = asyncio.Event()
    waits = asyncio.Event()

    async def hangs() -> AsyncIterator[bytes]:
        async for piece in pieces():
            yield piece
        waits.set()
        await fails.wait()
        raise FileError("was called off")

    called_off: list[str] = []

    class CallsOff(list[str]):
        def append(self, key: str) -> None:
            called_off.append(key)
            fails.set()

    uploading = asyncio.create_task(stream(opened, hangs(), called_off=CallsOff()))
    await waits.wait()
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert called_off == ["k"]
    assert s3.objects(opened.name) == {}
    assert s3.unfinished_uploads(opened.name) == []


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        ((404, "NoSuchBucket"), PlaceMissing, "s3_bucket"),
        ((400, "ExpiredToken"), CredentialsExpired, "have expired"),
        ((403, "AccessDenied"), S3Refused, "k: S3 answered 403 AccessDenied Access Denied"),
        ((401, "Un\"quoted'"), S3Refused, "k: S3 answered 401 Un\"quoted' Un\"quoted'"),
    ],
)
@pytest.mark.parametrize(
    "key", ["k", "NoSuchBucket/ExpiredToken/status 418 <Code>Wrong</Code><Message>Wrong</Message> inner: X {k"]
)
async def test_a_refusal_is_one_of_ours(
    s3: S3Server, opened: Bucket, answer: tuple[int, str], kind: type[Exception], says: str, key: str
) -> None:
    """In one line, with the object's name, and as S3 says it: obstore's own has the key and its whole inner state."""
    s3.before(lambda request: answer if request.key else None)

    async def whole() -> None:
        await opened.uploads.put(key, [b"x" * 100_000], {})

    for upload in (whole(), stream(opened, pieces(), key)):
        with pytest.raises((PlaceMissing, StorageError)) as refused:
            await upload
        assert type(refused.value) is kind
        assert says in str(refused.value)
        assert "\n" not in str(refused.value)
        if isinstance(refused.value, S3Refused):
            assert (refused.value.status, refused.value.code) == answer


async def test_a_key_that_obstore_does_not_spell_is_refused(opened: Bucket) -> None:
    """As that object's failure, printable."""
    for upload in (opened.uploads.put("a//b\n", [b"x"], {}), stream(opened, pieces(), "a//b\n")):
        with pytest.raises(StorageError) as refused:
            await upload
        assert str(refused.value).isprintable()
