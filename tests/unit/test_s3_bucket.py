"""One bucket: what S3 says of its objects, and what a refusal means for the run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from airflow_provider_sftp_s3.engine.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    Overwritten,
    PlaceMissing,
    StorageError,
)
from airflow_provider_sftp_s3.engine.model import ObjectEntry
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.s3.bucket import SMALL, Bucket, Version
from tests.support.s3_server import S3Server

KEYS = ["a", "a b+c%2F", "d/#?&=;:", "é/😀", "x\\y", "z" * 900]


@pytest.mark.unit
def test_a_version_is_what_the_headers_say() -> None:
    """Names of metadata in lower case, only the headers that a copy has to send again, 0 tags where none are told."""
    version = Version.of(
        {
            **{"ETag": '"e"', "Content-Length": "7", "Last-Modified": "Sat, 31 Jan 2026 06:00:00 GMT"},
            **{"X-Amz-Meta-MTime": "5", "x-amz-meta-a": "b", "Content-Type": "text/csv", "Server": "s3"},
        }
    )
    assert version.metadata == {"mtime": "5", "a": "b"}
    assert version.headers == {"Content-Type": "text/csv"}
    assert (version.etag, version.size, version.tags, version.modified) == ('"e"', 7, 0, "2026-01-31T06:00:00")
    assert Version.of({"x-amz-tagging-count": "3"}).tags == 3
    assert Version.of({}).modified == ""


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
async def test_keys_are_listed_verbatim_in_their_order(s3: S3Server, opened: Bucket) -> None:
    """With size, ETag and time; those under the prefix only."""
    for key in (*KEYS, "other"):
        s3.client().put_object(Bucket=opened.name, Key=f"p/{key}" if key != "other" else key, Body=b"12345")
    entries = [entry async for entry in opened.list("p/")]
    assert [entry.key for entry in entries] == sorted(f"p/{key}" for key in KEYS)
    version = await opened.head("p/a")
    assert version is not None
    assert entries[0] == ObjectEntry("p/a", 5, version.etag, version.modified)


@pytest.mark.integration
async def test_a_listing_goes_on_to_its_last_page(s3: S3Server, opened: Bucket) -> None:
    """A page holds a thousand keys."""
    keys = [f"{number:04}" for number in range(1001)]
    for key in keys:
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(opened.name, key, b"")
    s3.requests.clear()
    assert [entry.key async for entry in opened.list("")] == keys
    assert ["continuation-token" in request.query for request in s3.requests] == [False, True]


async def consumed(items: AsyncIterator[Any]) -> int:
    return len([item async for item in items])


@pytest.mark.integration
async def test_a_listing_that_goes_round_in_circles_ends(s3: S3Server, opened: Bucket) -> None:
    """S3 gives the same token again: more would come for ever."""
    more = b"<NextContinuationToken>again</NextContinuationToken></ListBucketResult>"
    s3.rewrite(lambda request, body: body.replace(b"</ListBucketResult>", more))
    with pytest.raises(ConnectionFailed, match="the same page again and again"):
        await consumed(opened.list(""))


@pytest.mark.integration
async def test_a_listing_that_may_not_be_is_an_error(s3: S3Server, opened: Bucket) -> None:
    """An empty one would say that there is nothing to do."""
    s3.before(lambda request: (403, "AccessDenied"))
    with pytest.raises(ConnectionFailed, match=f"s3://{opened.name}/p/ cannot be listed"):
        await consumed(opened.list("p/"))


@pytest.mark.integration
async def test_an_object_that_is_overwritten_while_it_is_read_is_told(s3: S3Server, opened: Bucket) -> None:
    """The line is cut in the middle, and the rest is of another version: that is never put together."""
    s3.client().put_object(Bucket=opened.name, Key="a", Body=b"1" * 2_000_000)
    download = await opened.get("a")
    assert download is not None
    s3.client().put_object(Bucket=opened.name, Key="a", Body=b"2" * 2_000_000)
    chunks = download.chunks()
    read = await anext(chunks)
    assert set(read) == {ord("1")}
    download.close()
    with pytest.raises(Overwritten, match="overwritten while it was read"):
        await consumed(chunks)


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
    with pytest.raises(ConfigurationError, match="is no bucket's name"):
        Bucket(name, s3.client(), s3.session(), TransferOptions())
    assert s3.requests == []
