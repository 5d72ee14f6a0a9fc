"""The objects that a push would take: found by their listing and their marks, in order, many asked about at once."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConnectionFailed
from airflow_provider_sftp_s3.engine.globs import Globs
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.ledger import Ledger
from airflow_provider_sftp_s3.engine.s3.marks import Naming
from airflow_provider_sftp_s3.engine.settings import PushSettings
from airflow_provider_sftp_s3.engine.unsynced import others_in, reason_to_skip, unsynced
from tests.support.s3_server import S3Request, S3Server

#: Whom the marks name.
DESTINATION = "partner"


@pytest.mark.unit
@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("p/a.csv", None),
        ("p/sub/a.csv", None),
        ("p/sub/", "folder marker"),
        ("p/", "folder marker"),
        (f"p/{paths.LEDGER}", "ours"),
        (f"p/sub/{paths.LEDGER}", "ours"),
        (f"p/{paths.LEDGER}.csv", None),
        (f"p/{paths.STATE}/ledger/0.csv", "ours"),
        ("p/a.tmp", "not included"),
        ("p/old/a.csv", "excluded"),
        ("p/p/old/a.csv", None),  # globs see the path beneath the prefix
    ],
)
def test_what_a_key_alone_says(key: str, reason: str | None) -> None:
    """Folder markers and what is ours are nobody's files, whatever the globs say."""
    assert reason_to_skip(key, "p/", Globs("*.csv", "old/*")) == reason


@pytest.mark.unit
def test_what_was_sent_is_nobodys_file() -> None:
    """Of the keys that are given for a push that moves: a listing does not come by them."""
    assert reason_to_skip("sent/a.csv", "p/", Globs(), "sent/") == "sent"
    assert reason_to_skip("sent.csv", "", Globs(), "sent/") is None


async def found(opened: Bucket, told: list[str] | None = None, **settings: Any) -> list[str]:
    """Return the keys that a push would take, two asked about at once; what is noticed goes to `told`."""
    wanted = PushSettings(**{"sftp_path": "/out", "s3_prefix": "p", "destination": DESTINATION, **settings})
    options = TransferOptions(concurrency=2)
    entries = unsynced(wanted, opened, options, Ledger(opened, "p/"), None if told is None else told.append)
    return [entry.key async for entry in entries]


def put(s3: S3Server, bucket: str, *keys: str, marked: bool = False) -> None:
    for key in keys:
        metadata = Naming(bucket, DESTINATION).metadata(key) if marked else {}
        s3.client().put_object(Bucket=bucket, Key=key, Body=b"x", Metadata=metadata)


@pytest.mark.integration
async def test_what_has_no_mark_is_given_in_the_order_of_the_keys(s3: S3Server, bucket: str, opened: Bucket) -> None:
    """Under the prefix, and nothing else."""
    put(s3, bucket, "p/a", "p/c", "p/e", "p/g", "other/x")
    put(s3, bucket, "p/b", "p/d", marked=True)
    assert await found(opened) == ["p/a", "p/c", "p/e", "p/g"]
    assert await found(opened, mark="tag") == ["p/a", "p/c", "p/e", "p/g"]
    assert await found(opened, mark="none") == ["p/a", "p/b", "p/c", "p/d", "p/e", "p/g"]
    assert await found(opened, destination="another") == ["p/a", "p/b", "p/c", "p/d", "p/e", "p/g"]


@pytest.mark.integration
async def test_without_marks_nothing_is_asked_about(s3: S3Server, bucket: str, opened: Bucket) -> None:
    """The listing alone says it all."""
    put(s3, bucket, "p/a", "p/b")
    s3.requests.clear()
    assert await found(opened, mark="none") == ["p/a", "p/b"]
    assert [request.operation for request in s3.requests] == ["ListObjectsV2"]


@pytest.mark.integration
async def test_of_given_keys_each_is_asked_about_and_none_is_listed(s3: S3Server, bucket: str, opened: Bucket) -> None:
    """In the order given. One that is gone is none: who gave it knew it once, so nothing is noticed."""
    put(s3, bucket, "p/a", "p/c")
    put(s3, bucket, "p/b", marked=True)
    s3.requests.clear()
    told: list[str] = []
    keys = ["p/c", "p/b", "p/gone", "p/a"]
    assert await found(opened, told, s3_keys=keys, mark="metadata") == ["p/c", "p/a"]
    assert {request.operation for request in s3.requests} == {"HeadObject"}
    s3.requests.clear()
    assert await found(opened, told, s3_keys=keys) == ["p/c", "p/a"]
    assert {request.operation for request in s3.requests} == {"HeadObject", "GetObjectTagging"}
    assert told == []


@pytest.mark.integration
async def test_objects_that_are_listed_and_not_known_are_noticed_once(
    s3: S3Server, bucket: str, opened: Bucket
) -> None:
    """With their number and the first: a store may list names otherwise than it takes them."""
    put(s3, bucket, "p/a", "p/b", "p/c")
    s3.before(
        lambda request: (404, "NoSuchKey") if request.operation == "HeadObject" and request.key != "p/a" else None
    )
    told: list[str] = []
    assert await found(opened, told) == ["p/a"]
    (line,) = told
    assert line.startswith(
        f"S3 lists 2 objects that it does not know when it is asked for them, the first: s3://{bucket}"
    )


@pytest.mark.integration
async def test_what_cannot_be_looked_at_is_left_to_the_push(s3: S3Server, bucket: str, opened: Bucket) -> None:
    """There it fails, with a reason; here it would be forgotten."""
    put(s3, bucket, "p/a", "p/b")

    def forbidden(request: S3Request) -> tuple[int, str] | None:
        return (403, "AccessDenied") if request.operation == "HeadObject" and request.key == "p/b" else None

    s3.before(forbidden)
    assert await found(opened) == ["p/a", "p/b"]


@pytest.mark.integration
async def test_a_listing_that_breaks_off_is_an_error(s3: S3Server, bucket: str, opened: Bucket) -> None:
    """Less than all would pass for all."""
    put(s3, bucket, "p/a")
    s3.before(lambda request: (403, "AccessDenied") if request.operation == "ListObjectsV2" else None)
    with pytest.raises(ConnectionFailed, match="cannot be listed"):
        await found(opened)


@pytest.mark.integration
async def test_others_are_those_of_a_directory_that_a_run_by_keys_does_not_take(
    s3: S3Server, bucket: str, opened: Bucket
) -> None:
    """Given keys are not asked about; where there are no others, the listing is all that is asked for."""
    put(s3, bucket, "p/d/a", "p/d/b", "p/d/e/c", "p/d/x.tmp", "p/dd/z", "p/z", "z")
    put(s3, bucket, "p/d/synced", marked=True)

    async def others(directory: str, *keys: str) -> list[str]:
        wanted = PushSettings(
            sftp_path="/out", s3_prefix="p", s3_keys=keys, exclude="*.tmp", destination=DESTINATION, mark="metadata"
        )
        s3.requests.clear()
        return [key async for key in others_in(directory, wanted, opened, TransferOptions())]

    assert await others("p/d", "p/d/a") == ["p/d/b", "p/d/e/c"]
    assert "p/d/a" not in {request.key for request in s3.requests}
    assert await others("", "p/d/a", "p/d/b", "p/z") == ["p/d/e/c", "p/dd/z", "z"]
    assert await others("p/dd", "p/dd/z") == []
    assert [request.operation for request in s3.requests] == ["ListObjectsV2"]
