"""Multipart uploads that a killed try has left: the retry aborts them, and nobody else's."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.options import MiB
from tests.faults import table
from tests.faults.harness import check_pull, run_pull, write_tree
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = [pytest.mark.faults, pytest.mark.loops]

FILES = {"large": os.urandom(5 * MiB + 7), "small": b"s"}
HOUR = 3600.0


@pytest.fixture
def begin(s3: S3Server, bucket: str) -> Callable[[str], str]:
    """Begin an upload of a key, with one part, and return its id."""

    def begin_one(key: str) -> str:
        client = s3.client()
        upload = {"Bucket": bucket, "Key": key}
        upload["UploadId"] = client.create_multipart_upload(**upload)["UploadId"]
        client.upload_part(**upload, PartNumber=1, Body=b"x")
        client.close()
        return upload["UploadId"]

    return begin_one


async def retry(server: AsyncsshServer, s3: S3Server, bucket: str, **more: Any) -> Any:
    """Pull as the retry of a task in a Dag run that began two hours ago."""
    write_tree(server.root, FILES)
    started = {"retried_since": datetime.now(UTC) - timedelta(hours=2)}
    ran = await run_pull(server, s3, bucket, **started | more)
    ran.done()
    assert check_pull(server.root, s3, bucket, FILES, ran) == set(FILES)
    return ran


async def test_what_an_earlier_try_has_left_is_aborted(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, begin: Callable[[str], str]
) -> None:
    """Of the same key, begun in this Dag run, and still for an hour; two of them."""
    begin("large")
    begin("large")
    s3.let_uploads_age(bucket, HOUR)
    ran = await retry(sftp_server, s3, bucket)
    table.none_is("left over", s3.unfinished_uploads(bucket))
    assert ran.watcher.notices == []


@pytest.mark.parametrize("key", ["large.old", "larg", "small", "other/large", "large/large"])
async def test_an_upload_of_another_key_is_left_alone(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, begin: Callable[[str], str], key: str
) -> None:
    """Another producer's, however old: also of a key that this run writes in one request."""
    begin(key)
    s3.let_uploads_age(bucket, HOUR)
    await retry(sftp_server, s3, bucket)
    assert s3.unfinished_uploads(bucket) == [key]


async def test_an_upload_from_before_the_dag_run_is_left_alone(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, begin: Callable[[str], str]
) -> None:
    """No try of this task can have begun it."""
    begin("large")
    s3.let_uploads_age(bucket, 3 * HOUR)
    await retry(sftp_server, s3, bucket)
    assert s3.unfinished_uploads(bucket) == ["large"]


async def test_an_upload_that_goes_on_is_left_alone(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, begin: Callable[[str], str]
) -> None:
    """Begun an hour ago, with a part that has come just now: a run beside this one."""
    upload = begin("large")
    s3.let_uploads_age(bucket, HOUR)
    client = s3.client()
    client.upload_part(Bucket=bucket, Key="large", UploadId=upload, PartNumber=2, Body=b"y")
    client.close()
    await retry(sftp_server, s3, bucket)
    assert s3.unfinished_uploads(bucket) == ["large"]


async def test_a_first_try_asks_for_none(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, begin: Callable[[str], str]
) -> None:
    """It can have left nothing, and needs no permission to list uploads."""
    begin("large")
    s3.let_uploads_age(bucket, HOUR)
    s3.requests.clear()
    await retry(sftp_server, s3, bucket, retried_since=None)
    assert s3.unfinished_uploads(bucket) == ["large"]
    assert "ListMultipartUploads" not in {request.operation for request in s3.requests}


@pytest.mark.parametrize("operation", ["ListMultipartUploads", "ListParts", "AbortMultipartUpload"])
async def test_without_the_permission_the_files_are_pulled_all_the_same(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, begin: Callable[[str], str], operation: str
) -> None:
    """A bucket policy that does not allow it: one notice that names the way out, and no failure."""
    begin("large")
    s3.let_uploads_age(bucket, HOUR)

    @s3.before
    def refuse(request: S3Request) -> tuple[int, str] | None:
        return (403, "AccessDenied") if request.operation == operation else None

    ran = await retry(sftp_server, s3, bucket)
    (notice,) = ran.watcher.notices
    assert "AbortIncompleteMultipartUpload" in notice
