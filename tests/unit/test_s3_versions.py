"""One version of an object: what S3 says of it, and that it is never put together of two."""

from __future__ import annotations

import pytest

from airflow_provider_sftp_s3.engine.errors import Overwritten
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.versions import MAX_MTIME, Version, is_archived, metadata_headers
from tests.support.s3_server import S3Server


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


@pytest.mark.unit
def test_metadata_come_back_as_they_were_written() -> None:
    metadata = {"mtime": "5", "synced-to": "0123456789abcdef"}
    assert Version.of(metadata_headers(metadata)).metadata == metadata


@pytest.mark.unit
@pytest.mark.parametrize(
    ("mtime", "known"),
    [("5", 5), ("5.75", 5), (str(MAX_MTIME), MAX_MTIME), (str(MAX_MTIME + 1), 1), ("-5", 1), ("٥", 1), ("", 1)],
)
def test_the_time_of_a_version_is_that_of_the_file_it_was_pulled_from(mtime: str, known: int) -> None:
    """As other tools write it, too. Where it has none that SFTP knows, its own; of neither, none."""
    headers = {"Content-Length": "7", "Last-Modified": "Thu, 01 Jan 1970 00:00:01 GMT", "x-amz-meta-mtime": mtime}
    assert Version.of(headers).stat == Stat(7, known)
    assert Version.of({"Content-Length": "7"}).stat == Stat(7, None)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("headers", "is_in_there"),
    [
        ({}, False),
        ({"x-amz-storage-class": "STANDARD_IA"}, False),
        ({"x-amz-storage-class": "GLACIER"}, True),
        ({"x-amz-storage-class": "DEEP_ARCHIVE", "x-amz-restore": 'ongoing-request="true"'}, True),
        ({"x-amz-storage-class": "DEEP_ARCHIVE", "x-amz-restore": 'ongoing-request="false", expiry-date="x"'}, False),
        ({"x-amz-storage-class": "INTELLIGENT_TIERING"}, False),
        ({"x-amz-storage-class": "INTELLIGENT_TIERING", "x-amz-archive-status": "ARCHIVE_ACCESS"}, True),
    ],
)
def test_what_is_archived(headers: dict[str, str], is_in_there: bool) -> None:
    """Until somebody has restored it."""
    assert is_archived(headers) == is_in_there


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
        async for _ in chunks:
            pass
