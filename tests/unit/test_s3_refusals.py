"""A bucket that takes no object ends the run; one that does not take this object fails its file."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, StorageError
from airflow_provider_sftp_s3.engine.s3.bucket import SMALL, Bucket
from airflow_provider_sftp_s3.engine.s3.refusals import Refusals
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.integration

SIZES = pytest.mark.parametrize("size", [1, SMALL + 1])


async def put(opened: Bucket, key: str, size: int = 1) -> None:
    async with opened.taking(key):
        await opened.put(key, [b"x" * size], {})


@SIZES
async def test_one_refusal_for_all(s3: S3Server, opened: Bucket, size: int) -> None:
    """Whichever client has met it: S3 is asked once, and nothing is left of that."""
    s3.before(lambda request: (403, "AccessDenied") if request.method == "PUT" else None)
    found = await asyncio.gather(*(put(opened, f"d/{n}", size) for n in range(5)), return_exceptions=True)
    assert {type(each) for each in found} == {ConfigurationError}
    assert len({str(each) for each in found}) == 1
    assert "403 AccessDenied" in str(found[0])
    assert "policy of the bucket may demand an encryption setting or an ACL" in str(found[0])
    probes = [request for request in s3.requests if ".sftp-s3/probe-" in request.key]
    assert len(probes) == 1
    assert isinstance(opened._refusals, Refusals)
    assert probes[0].key.startswith("d/")


@SIZES
async def test_one_object_that_is_refused_is_that_objects(s3: S3Server, opened: Bucket, size: int) -> None:
    """Another name would be taken: the others go on, and S3 is asked no more."""
    s3.before(lambda request: (403, "AccessDenied") if request.key == "locked" else None)
    for _ in range(2):
        with pytest.raises(StorageError, match="AccessDenied"):
            await put(opened, "locked", size)
    assert len([request for request in s3.requests if ".sftp-s3/probe-" in request.key]) == 1
    await put(opened, "other", size)
    assert set(s3.objects(opened.name)) == {"other"}


async def test_after_an_object_was_taken_none_is_asked_about(s3: S3Server, opened: Bucket) -> None:
    """The settings are right, then."""
    await put(opened, "a")
    s3.before(lambda request: (403, "AccessDenied"))
    with pytest.raises(StorageError, match="AccessDenied"):
        await put(opened, "b")
    assert not [request for request in s3.requests if "probe" in request.key]


async def test_a_store_that_knows_no_condition_is_left_clean(s3: S3Server, opened: Bucket) -> None:
    """It stores the probe."""
    s3.before(lambda request: (403, "AccessDenied") if request.key == "locked" else None)
    requests: Any = opened.requests
    ask = requests.ask

    async def forgets(method: str, key: str, query: str = "", headers: Any = None, body: bytes = b"") -> Any:
        return await ask(method, key, query, {k: v for k, v in (headers or {}).items() if k != "If-Match"}, body)

    requests.ask = forgets
    with pytest.raises(StorageError, match="AccessDenied"):
        await put(opened, "locked")
    assert s3.objects(opened.name) == {}


@SIZES
async def test_a_name_is_no_refusal(s3: S3Server, opened: Bucket, size: int) -> None:
    """Whatever it says: S3 is asked about the rest only where it has refused this one, and by what it has said."""
    s3.before(lambda request: (409, "OperationAborted"))
    with pytest.raises(StorageError, match="409 OperationAborted"):
        await put(opened, "status 403/AccessDenied <Code>AccessDenied</Code>", size)
    s3._before.clear()
    s3.before(lambda request: (400, "InvalidRequest") if "probe" in request.key else (400, "InvalidTag"))
    with pytest.raises(StorageError, match="400 InvalidTag"):
        await put(opened, "InvalidRequest", size)
    assert len([request for request in s3.requests if ".sftp-s3/probe-" in request.key]) == 1


@SIZES
async def test_no_answer_is_no_answer(s3: S3Server, opened: Bucket, size: int) -> None:
    """Where S3 has an outage just when it is asked, the next one that is refused asks again."""
    opened.requests.patience = 0.1
    outages = [(503, "SlowDown")]
    s3.before(lambda request: outages.pop() if outages and "probe" in request.key else (403, "AccessDenied"))
    with pytest.raises(StorageError, match="AccessDenied"):
        await put(opened, "a", size)
    for name in ("b", "c"):
        with pytest.raises(ConfigurationError, match="S3 takes no object"):
            await put(opened, name, size)


async def test_an_outage_is_no_refusal(s3: S3Server, opened: Bucket) -> None:
    """Nothing is asked."""
    opened.requests.patience = 0.1
    s3.before(lambda request: (503, "SlowDown"))
    with pytest.raises(StorageError, match="SlowDown"):
        await put(opened, "a")
    assert not [request for request in s3.requests if "probe" in request.key]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("AccessControlListNotSupported", "leave ACL and Grant... out of extra_args"),
        ("InvalidRequest", "It names Content-MD5, x-amz-checksum. .*request_checksum_calculation"),
    ],
)
async def test_what_to_change(s3: S3Server, opened: Bucket, code: str, says: str) -> None:
    """By S3's own word, and the header that is missing where it is named."""
    s3.before(lambda request: (400, code) if request.method == "PUT" else None)
    opened.send_along({"ACL": "private"}, "pull")
    with pytest.raises(ConfigurationError, match=says) as refused:
        await put(opened, "a")
    assert "Headers that were sent: x-amz-acl" in str(refused.value)
