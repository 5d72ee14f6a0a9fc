"""Uploads that killed tries have left: those of this task, which are dead, are aborted, and no others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.left_uploads import SILENT, LeftUploads
from tests.support.engine import Recorder
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.integration

DAY = timedelta(days=1)


def begin(s3: S3Server, opened: Bucket, key: str, parts: int = 1) -> None:
    """Leave an upload with so many parts."""
    client = s3.client()
    upload = client.create_multipart_upload(Bucket=opened.name, Key=key)["UploadId"]
    for number in range(1, parts + 1):
        client.upload_part(Bucket=opened.name, Key=key, UploadId=upload, PartNumber=number, Body=b"x")


def left_of(opened: Bucket, since: datetime | None = None) -> tuple[LeftUploads, Recorder]:
    seen = Recorder()
    return LeftUploads(opened, since or datetime.now(UTC) - DAY, seen), seen


@pytest.mark.parametrize("parts", [0, 1, 3])
async def test_one_that_has_stood_still_is_aborted(s3: S3Server, opened: Bucket, parts: int) -> None:
    """However far it had come. Of other keys, such as those that begin alike, none is."""
    for key in ("k", "k2", "k/x", "a"):
        begin(s3, opened, key, parts)
    s3.let_uploads_age(opened.name, SILENT.total_seconds() + 60)
    left, seen = left_of(opened)
    await left.abort("k")
    assert sorted(s3.unfinished_uploads(opened.name)) == ["a", "k/x", "k2"]
    assert seen.notices == []


async def test_one_that_goes_on_is_left_alone(s3: S3Server, opened: Bucket) -> None:
    """Begun long ago, with a part that came a moment ago: its writer lives."""
    begin(s3, opened, "k")
    left, _ = left_of(opened)
    await left.abort("k")
    assert s3.unfinished_uploads(opened.name) == ["k"]


async def test_one_from_before_the_dag_run_is_left_alone(s3: S3Server, opened: Bucket) -> None:
    """It is another run's, or somebody else's."""
    begin(s3, opened, "k")
    s3.let_uploads_age(opened.name, 3600)
    left, _ = left_of(opened, since=datetime.now(UTC) - timedelta(minutes=30))
    await left.abort("k")
    assert s3.unfinished_uploads(opened.name) == ["k"]


async def test_a_refusal_is_a_notice_once_and_no_error(s3: S3Server, opened: Bucket) -> None:
    """No file depends on it; S3 is asked no more."""
    s3.before(lambda request: (403, "AccessDenied") if request.operation == "ListMultipartUploads" else None)
    left, seen = left_of(opened)
    s3.requests.clear()
    for key in ("a", "b", "c"):
        await left.abort(key)
    (notice,) = seen.notices
    assert "AbortIncompleteMultipartUpload" in notice
    assert "AccessDenied" in notice
    assert len(s3.requests) == 1


@pytest.mark.parametrize("answer", [b"<html>", b"<ListMultipartUploadsResult><Upload/></ListMultipartUploadsResult>"])
async def test_an_answer_without_what_it_should_say_is_a_refusal(s3: S3Server, opened: Bucket, answer: bytes) -> None:
    """Nothing is guessed of an upload whose key or time is not told."""
    begin(s3, opened, "k")
    seen = Recorder()
    left = LeftUploads(opened, datetime.now(UTC) - DAY, seen)
    ask = opened.requests.ask

    async def garbled(method: str, key: str, query: str = "", *rest: object) -> object:
        answered = await ask(method, key, query, *rest)  # type: ignore[arg-type]
        return answered._replace(body=answer) if "uploads" in query else answered

    opened.requests.ask = garbled  # type: ignore[method-assign, assignment]
    await left.abort("k")
    assert len(seen.notices) == 1
    assert s3.unfinished_uploads(opened.name) == ["k"]
