"""Marks: set on the bytes that were sent and on no others, and lost with them."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, StorageError
from airflow_provider_sftp_s3.engine.model import MarkMode
from airflow_provider_sftp_s3.engine.s3 import marks
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, Version
from airflow_provider_sftp_s3.engine.s3.marks import Marks, has_metadata_mark, key_hash, metadata_mark
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from tests.support.s3_server import S3Request, S3Server

BOTH = pytest.mark.parametrize("mode", ["metadata", "tag"])


@pytest.mark.unit
def test_the_spelling_of_a_mark_never_changes() -> None:
    """It stands in users' buckets: with another one, all would be sent again."""
    assert metadata_mark("b", "dir/ü") == {"synced": "true", "synced-key": key_hash("b", "dir/ü")}
    assert key_hash("b", "dir/ü") == "5a4e63bf58623409680f1d2221e34a3f"
    assert len({key_hash(*place) for place in (("b", "k"), ("b", "k2"), ("b2", "k"))}) == 3


@pytest.mark.unit
@pytest.mark.parametrize(
    ("metadata", "marked"),
    [
        (metadata_mark("b", "k"), True),
        ({"synched": "true"}, True),  # sftp-lambda's
        ({"synced": "true"}, False),
        (metadata_mark("b", "other"), False),  # copied from there
        (metadata_mark("other", "k"), False),
        ({**metadata_mark("b", "k"), "synced": "false"}, False),
        ({"synched": "false"}, False),
        ({}, False),
    ],
)
def test_metadata_mark_the_object_that_they_name(metadata: dict[str, str], marked: bool) -> None:
    """A copy takes them along, and is not what was pushed."""
    assert has_metadata_mark("b", "k", Version('"e"', 1, metadata, {}, 0, "")) == marked


def put(s3: S3Server, opened: Bucket, body: bytes = b"x", **arguments: Any) -> None:
    s3.client().put_object(Bucket=opened.name, Key="k", Body=body, **arguments)


async def version_of(opened: Bucket) -> Version:
    version = await opened.head("k")
    assert version is not None
    return version


@pytest.mark.integration
@BOTH
async def test_what_is_marked_is_synced_until_it_is_overwritten(s3: S3Server, opened: Bucket, mode: MarkMode) -> None:
    """By whatever process looks."""
    put(s3, opened)
    marking = Marks(opened, mode)
    assert not await marking.is_synced("k", await version_of(opened))
    assert await marking.mark("k", await version_of(opened)) == "marked"
    assert await Marks(opened, mode).is_synced("k", await version_of(opened))
    assert not await Marks(opened, "none").is_synced("k", await version_of(opened))
    put(s3, opened, b"another")
    assert not await Marks(opened, mode).is_synced("k", await version_of(opened))
    assert s3.objects(opened.name) == {"k": b"another"}


@pytest.mark.integration
async def test_a_metadata_mark_on_another_version_is_refused(s3: S3Server, opened: Bucket) -> None:
    """Overwritten since it was sent, or gone: nothing is marked."""
    put(s3, opened)
    sent = await version_of(opened)
    put(s3, opened, b"another")
    assert await Marks(opened, "metadata").mark("k", sent) == "overwritten"
    assert (await version_of(opened)).metadata == {}
    s3.client().delete_object(Bucket=opened.name, Key="k")
    assert await Marks(opened, "metadata").mark("k", sent) in ("gone", "overwritten")
    assert s3.objects(opened.name) == {}


@pytest.mark.integration
async def test_a_tag_on_another_version_is_no_mark(s3: S3Server, opened: Bucket) -> None:
    """S3 has no condition for tags: the tag names the version that was sent."""
    put(s3, opened)
    sent = await version_of(opened)
    put(s3, opened, b"another")
    await Marks(opened, "tag").mark("k", sent)
    assert not await Marks(opened, "tag").is_synced("k", await version_of(opened))


@pytest.mark.integration
@BOTH
async def test_a_mark_leaves_all_else_as_it_is(s3: S3Server, opened: Bucket, mode: MarkMode) -> None:
    """Headers, metadata and tags of a user."""
    put(
        s3,
        opened,
        ContentType="text/csv",
        CacheControl="no-cache",
        ContentDisposition="attachment",
        Metadata={"theirs": "1"},
        Tagging="team=a%20b&cost=7",
    )
    await Marks(opened, mode).mark("k", await version_of(opened))
    version = await version_of(opened)
    assert version.metadata.items() >= {"theirs": "1"}.items()
    assert version.headers.items() >= {
        ("Content-Type", "text/csv"),
        ("Cache-Control", "no-cache"),
        ("Content-Disposition", "attachment"),
    }
    tags = s3.client().get_object_tagging(Bucket=opened.name, Key="k")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags}.items() >= {"team": "a b", "cost": "7"}.items()
    assert s3.objects(opened.name) == {"k": b"x"}


@pytest.mark.integration
async def test_an_object_with_ten_tags_has_no_room_for_a_mark(s3: S3Server, opened: Bucket) -> None:
    """It is that object's failure, and says which mark to take; its tags stay."""
    put(s3, opened, Tagging="&".join(f"t{number}=1" for number in range(10)))
    with pytest.raises(StorageError, match="mark='metadata'"):
        await Marks(opened, "tag").mark("k", await version_of(opened))
    assert len(s3.client().get_object_tagging(Bucket=opened.name, Key="k")["TagSet"]) == 10


@pytest.mark.integration
@BOTH
async def test_a_first_mark_that_is_refused_ends_the_run_and_a_later_one_fails_its_object(
    s3: S3Server, opened: Bucket, mode: MarkMode
) -> None:
    """Where none was taken, none will be, and all would be delivered again and again; the error names permissions."""
    put(s3, opened)
    refuses = True

    @s3.before
    def refuse(request: S3Request) -> tuple[int, str] | None:
        marking = request.operation in ("CopyObject", "PutObjectTagging")
        return (403, "AccessDenied") if marking and refuses else None

    marking = Marks(opened, mode)
    version = await version_of(opened)
    with pytest.raises(ConfigurationError, match=r"s3:PutObject.*choose another mark"):
        await marking.mark("k", version)
    refuses = False
    assert await marking.mark("k", version) == "marked"
    refuses = True
    with pytest.raises(S3Refused):
        await marking.mark("k", await version_of(opened))


@pytest.mark.integration
async def test_a_large_object_is_copied_part_by_part(
    s3: S3Server, opened: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CopyObject takes 5 GiB. The tags are sent along, and an upload that fails is aborted."""
    monkeypatch.setattr(marks, "MAX_COPY", 0)
    put(s3, opened, Metadata={"theirs": "1"}, Tagging="team=a")
    assert await Marks(opened, "metadata").mark("k", await version_of(opened)) == "marked"
    assert (await version_of(opened)).metadata == {"theirs": "1", **metadata_mark(opened.name, "k")}
    tags = s3.client().get_object_tagging(Bucket=opened.name, Key="k")["TagSet"]
    assert tags == [{"Key": "team", "Value": "a"}]
    s3.before(lambda request: (403, "AccessDenied") if request.operation == "UploadPartCopy" else None)
    with pytest.raises((ConfigurationError, StorageError)):
        await Marks(opened, "metadata").mark("k", await version_of(opened))
    assert s3.unfinished_uploads(opened.name) == []
