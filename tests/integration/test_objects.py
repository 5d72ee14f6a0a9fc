"""Objects as others have made them: in an archive, or with headers that nobody can repeat."""

from __future__ import annotations

import http.client
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import TransferError
from airflow_provider_sftp_s3.engine.s3.ledger import Ledger
from airflow_provider_sftp_s3.engine.s3.marks import Naming
from airflow_provider_sftp_s3.engine.s3.names import SYNCED, TAG
from airflow_provider_sftp_s3.engine.settings import PushSettings
from airflow_provider_sftp_s3.engine.unsynced import unsynced
from tests.support.engine import Engine
from tests.support.s3_server import HookedS3, S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration


@pytest.fixture
def engine(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> Engine:
    (sftp_server.root / "out").mkdir()
    return Engine(sftp_server, s3, bucket)


def delivered(engine: Engine) -> set[str]:
    return {path.name for path in (engine.sftp.root / "out").iterdir()}


async def listed(engine: Engine, **settings: Any) -> set[str]:
    """Return what a flow would find to push."""
    wanted = PushSettings(sftp_path="/out", destination="partner", **settings)
    async with engine.opened_bucket() as opened:
        ledger = Ledger(opened, "")
        found = {entry.key async for entry in unsynced(wanted, opened, engine.options, ledger)}
        ledger.close()
    return found


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
async def test_what_lies_in_an_archive_is_left_alone_and_said(engine: Engine, bucket: str, storage_class: str) -> None:
    """What is marked is synced, and what is not neither fails nor starts a run. Once restored, it goes."""
    client = engine.s3.client()
    marked = Naming(bucket, "partner").metadata("marked")
    client.put_object(Bucket=bucket, Key="marked", Body=b"m", Metadata=marked, StorageClass=storage_class)
    for key in ("archived", "other", "restored"):
        client.put_object(Bucket=bucket, Key=key, Body=b"a", StorageClass=storage_class)
    client.put_object(Bucket=bucket, Key="plain", Body=b"p")
    client.restore_object(Bucket=bucket, Key="restored", RestoreRequest={"Days": 1})
    assert await listed(engine) == {"plain", "restored"}

    report = await engine.push(dry_run=True, destination="partner")
    assert report.skipped == {"synced": 1, "archived": 2, "dry run": 2}
    report = await engine.push(destination="partner", mark="tag")
    assert delivered(engine) == {"plain", "restored"}
    assert (report.transferred, report.skipped) == (2, {"synced": 1, "archived": 2})
    assert len([notice for notice in engine.seen.notices if "Restore those" in notice]) == 2  # one a run

    client.restore_object(Bucket=bucket, Key="archived", RestoreRequest={"Days": 1})
    assert await listed(engine) == {"archived"}
    assert (await engine.push(destination="partner", mark="tag")).transferred == 1
    assert delivered(engine) == {"plain", "restored", "archived"}


async def test_an_archived_object_among_given_keys_is_skipped(engine: Engine, bucket: str) -> None:
    engine.s3.client().put_object(Bucket=bucket, Key="a", Body=b"a", StorageClass="GLACIER")
    assert (await engine.push(s3_keys=["a"], max_bytes=10)).skipped == {"archived": 1}
    assert delivered(engine) == set()


def put_with_raw_header(s3: HookedS3, bucket: str, key: str, name: str, value: bytes) -> None:
    connection = http.client.HTTPConnection(s3.url.removeprefix("http://"))
    connection.request("PUT", f"/{bucket}/{key}", b"content", {name: value})
    assert connection.getresponse().status == 200
    connection.close()


RAW = pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Disposition", b'attachment; filename="Rechnung f\xfcr Mai.pdf"'),
        ("x-amz-meta-author", b"J\xfcrgen"),
    ],
)


@RAW
async def test_headers_that_are_no_utf8_are_kept(engine: Engine, bucket: str, name: str, value: bytes) -> None:
    """The copy that marks by metadata would change them, so such an object gets a tag."""
    put_with_raw_header(engine.s3, bucket, "a", name, value)
    assert (await engine.push(destination="partner")).transferred == 1
    client = engine.s3.client()
    (tag,) = client.get_object_tagging(Bucket=bucket, Key="a")["TagSet"]
    assert tag["Key"] == TAG
    assert SYNCED not in client.head_object(Bucket=bucket, Key="a")["Metadata"]
    assert (await engine.push(destination="partner")).skipped == {"synced": 1}


@RAW
async def test_without_tags_they_fail_before_anything_is_delivered(
    engine: Engine, bucket: str, name: str, value: bytes
) -> None:
    put_with_raw_header(engine.s3, bucket, "a", name, value)

    @engine.s3.before
    def no_tagging(request: S3Request) -> tuple[int, str] | None:
        return (501, "NotImplemented") if "Tagging" in request.operation else None

    with pytest.raises(TransferError, match=f"(?i){name.removeprefix('x-amz-meta-')} is no UTF-8"):
        await engine.push(destination="partner")
    assert delivered(engine) == set()
