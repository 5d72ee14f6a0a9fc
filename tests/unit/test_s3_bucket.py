"""One bucket: what is put there and is there, and what a refusal means for the run."""

from __future__ import annotations

import pytest

from airflow_provider_sftp_s3.engine.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    PlaceMissing,
    StorageError,
)
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.s3.bucket import SMALL, Bucket
from tests.support.s3_server import S3Server


@pytest.mark.integration
@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1, 300_000])
async def test_what_is_put_is_there_as_it_was(s3: S3Server, opened: Bucket, size: int) -> None:
    """In however many pieces, on both ways: small bodies go by a request of ours, larger ones by obstore."""
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    pieces: list[bytes | memoryview] = [content[:100], memoryview(content)[100:]]
    await opened.put("a b/é+%", pieces, {"mtime": "5"})
    assert s3.objects(opened.name) == {"a b/é+%": content}
    version = await opened.head("a b/é+%")
    assert version is not None
    assert (version.size, version.metadata) == (size, {"mtime": "5"})
    download = await opened.get("a b/é+%")
    assert download is not None
    assert b"".join([chunk async for chunk in download.chunks()]) == content
    assert download.version == version


@pytest.mark.integration
async def test_an_object_that_is_not_there_is_none(opened: Bucket) -> None:
    """It is no error; one that may not be looked at is."""
    assert await opened.head("gone") is None
    assert await opened.get("gone") is None


@pytest.mark.integration
async def test_a_refusal_is_an_error_of_that_object(s3: S3Server, opened: Bucket) -> None:
    """Named, with what S3 said."""
    s3.before(lambda request: (403, "AccessDenied") if request.key else None)
    with pytest.raises(StorageError, match=f"s3://{opened.name}/a: S3 answered 403"):
        await opened.head("a")
    with pytest.raises(StorageError, match="AccessDenied"):
        await opened.get("a")
    for size in (1, SMALL + 1):
        with pytest.raises(StorageError, match=f"s3://{opened.name}/a"):
            await opened.put("a", [b"x" * size], {})


@pytest.mark.integration
@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        ((404, "NoSuchBucket"), PlaceMissing, "s3_bucket"),
        ((404, "Other"), PlaceMissing, "s3_bucket"),
        ((403, "InvalidAccessKeyId"), AuthenticationFailed, "InvalidAccessKeyId"),
        ((403, "SignatureDoesNotMatch"), AuthenticationFailed, "SignatureDoesNotMatch"),
        ((400, "ExpiredToken"), AuthenticationFailed, "expired"),
        ((301, "PermanentRedirect", "us-west-2"), ConfigurationError, "set region_name"),
        ((403, "RequestTimeTooSkewed"), ConfigurationError, "clock"),
        ((501, "NotImplemented"), ConnectionFailed, "NotImplemented"),
    ],
)
async def test_a_check_says_what_to_change(
    s3: S3Server, opened: Bucket, answer: tuple[int, str] | tuple[int, str, str], kind: type[Exception], says: str
) -> None:
    """Before anything is transferred."""
    s3.before(lambda request: answer)
    with pytest.raises(kind, match=says) as refused:
        await opened.check()
    assert type(refused.value) is kind


@pytest.mark.integration
async def test_a_check_needs_no_permission_to_list(s3: S3Server, opened: Bucket) -> None:
    """A pull that only writes may not list."""
    await opened.check()
    s3.before(lambda request: (403, "AccessDenied"))
    await opened.check()


@pytest.mark.integration
@pytest.mark.parametrize("name", ["", "ab", "a/b", "bucket?x", "é" * 5])
def test_a_name_that_is_no_buckets_is_refused_unasked(s3: S3Server, name: str) -> None:
    """It would end up in a URL."""
    s3.requests.clear()
    with pytest.raises(ConfigurationError, match=r"is no bucket's name|must be the name of a bucket"):
        Bucket(name, s3.client(), s3.session(), TransferOptions())
    assert s3.requests == []
