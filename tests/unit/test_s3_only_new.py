"""What stores an object only where there is none: found out on an object of our own, once for each kind of request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, StorageError, TargetTaken
from airflow_provider_sftp_s3.engine.observer import Notices
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.only_new import How, OnlyNew
from tests.support.engine import Recorder
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.integration

BOTH = pytest.mark.parametrize("how", ["PutObject", "CompleteMultipartUpload"])
PROBE = "p/.sftp-s3/probe-new"


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


@pytest.fixture
async def only_new(opened: Bucket, seen: Recorder) -> AsyncIterator[OnlyNew]:
    only_new = OnlyNew(opened, "p/", Notices(seen))
    yield only_new
    only_new.end()


@BOTH
async def test_where_it_is_heeded_a_condition_goes_along(
    s3: S3Server, opened: Bucket, only_new: OnlyNew, seen: Recorder, how: How
) -> None:
    """Many ask, and it is found out once; the probe is the one object that is left, and is there the next time."""
    conditions = await asyncio.gather(*(only_new.condition(f"p/{n}", how) for n in range(9)))
    assert conditions == [{"If-None-Match": "*"}] * 9
    assert set(s3.objects(opened.name)) == {PROBE}
    assert s3.unfinished_uploads(opened.name) == []
    assert {request.key for request in s3.requests} == {PROBE}
    before = len([request for request in s3.requests if request.operation == "PutObject"])
    s3.requests.clear()
    again = OnlyNew(opened, "p/", Notices(seen))
    assert await again.condition("p/a", how) == {"If-None-Match": "*"}
    assert len([request for request in s3.requests if request.operation == "PutObject"]) == before - 1
    assert seen.notices == []


@BOTH
@pytest.mark.parametrize("answer", ["done", (501, "NotImplemented"), (400, "InvalidArgument")])
async def test_where_it_is_not_a_look_has_to_do(
    s3: S3Server, opened: Bucket, only_new: OnlyNew, seen: Recorder, how: How, answer: object
) -> None:
    """Right before it, each time; and that is told."""
    if answer == "done":
        s3.unenforced.add("if-none-match")
    else:
        s3.before(
            lambda request: answer if "if-none-match" in {name.lower() for name in request.headers} else None  # type: ignore[arg-type, return-value]
        )
    assert await only_new.condition("p/a", how) == {}
    s3.client().put_object(Bucket=opened.name, Key="p/a", Body=b"x")
    with pytest.raises(TargetTaken, match="has come meanwhile"):
        await only_new.condition("p/a", how)
    assert [f"does not heed If-None-Match of a {how}" in notice for notice in seen.notices] == [True]


@BOTH
async def test_what_passes_is_found_out_again(s3: S3Server, opened: Bucket, only_new: OnlyNew, how: How) -> None:
    """An outage chooses nothing."""
    opened.requests.patience = 0.1
    s3.before(lambda _: (503, "SlowDown"))
    with pytest.raises(StorageError, match="503"):
        await only_new.condition("p/a", how)
    s3._before.clear()
    assert await only_new.condition("p/a", how)


@BOTH
async def test_who_may_not_find_out_is_told(s3: S3Server, only_new: OnlyNew, how: How) -> None:
    """Which permission it takes."""
    s3.before(lambda _: (403, "AccessDenied"))
    with pytest.raises(ConfigurationError, match=r"needs s3:GetObject, s3:ListBucket and s3:PutObject beneath"):
        await only_new.condition("p/a", how)


@BOTH
async def test_a_condition_that_does_not_hold_stores_nothing(s3: S3Server, opened: Bucket, how: How) -> None:
    """And leaves no parts behind."""
    s3.client().put_object(Bucket=opened.name, Key="k", Body=b"old")

    async def chunks() -> AsyncIterator[bytes | memoryview]:
        yield b"new"

    condition = {"If-None-Match": "*"}
    if how == "PutObject":
        storing = opened.put("k", [b"n", b"ew"], {}, condition)
    else:
        sizes = {"part_size": 5 << 20, "parts_at_once": 1}
        storing = opened.put_stream("k", chunks(), {}, **sizes, call_off=lambda: None, condition=condition)
    with pytest.raises(TargetTaken, match="412"):
        await storing
    assert s3.objects(opened.name) == {"k": b"old"}
    assert s3.unfinished_uploads(opened.name) == []
