"""Marks: set on the bytes that were sent and on no others, and lost with them."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, Overwritten, StorageError
from airflow_provider_sftp_s3.engine.model import MarkMode
from airflow_provider_sftp_s3.engine.s3 import marks
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, Version
from airflow_provider_sftp_s3.engine.s3.marks import (
    REASON,
    REASON_OF_0_1,
    REASON_OF_LAMBDA,
    Look,
    Marked,
    Marks,
    Naming,
)
from airflow_provider_sftp_s3.engine.s3.names import TAG
from airflow_provider_sftp_s3.engine.s3.probes import Kind
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from tests.support.s3_server import S3Request, S3Server

BOTH = pytest.mark.parametrize("kind", ["metadata", "tag"])
ALL = pytest.mark.parametrize("mode", ["auto", "metadata", "tag"])


#: How these tests name whom the objects are delivered to.
NAMING = Naming("b", "partner")


def with_metadata(metadata: dict[str, str]) -> Version:
    return Version('"e"', 1, metadata, {}, 0, "")


@pytest.mark.unit
def test_the_spelling_of_a_mark_never_changes() -> None:
    """It stands in users' buckets: with another one, all would be sent again."""
    assert NAMING.metadata("dir/ü") == {"synced": "true", "synced-to": "eaf47933c0c63348"}
    assert NAMING.tag_added_to("dir/ü", with_metadata({}), {}) == "e:eaf47933c0c63348"
    of_0_1 = "5a4e63bf58623409680f1d2221e34a3f"
    old = with_metadata({"synced": "true", "synced-key": of_0_1})
    assert NAMING.reason_by_metadata("dir/ü", old) == REASON_OF_0_1
    assert NAMING.reason_by_tag("dir/ü", old, {"sftp-s3-synced": f"e:{of_0_1}"}) == REASON_OF_0_1
    places = (("b", "d", "k"), ("b", "d", "k2"), ("b2", "d", "k"), ("b", "d2", "k"))
    assert len({Naming(bucket, destination).token(key) for bucket, destination, key in places}) == 4
    assert len({Naming(bucket, destination)._old_hash(key) for bucket, destination, key in places}) == 3


@pytest.mark.unit
@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (NAMING.metadata("k"), REASON),
        (Naming("b", "other").added_to("k", with_metadata(NAMING.metadata("k"))), REASON),
        ({"synched": "true"}, REASON_OF_LAMBDA),
        ({"synced": "true", "synced-key": NAMING._old_hash("k")}, REASON_OF_0_1),
        ({"synced": "true"}, None),
        (NAMING.metadata("other"), None),  # copied from there
        (Naming("other", "partner").metadata("k"), None),
        (Naming("b", "other").metadata("k"), None),
        ({"synced": "true", "synced-key": NAMING._old_hash("other")}, None),
        ({"synced": "true", "synced-key": Naming("other", "partner")._old_hash("k")}, None),
        ({**NAMING.metadata("k"), "synced": "false"}, None),
        ({"synced": "false", "synced-key": NAMING._old_hash("k")}, None),
        ({"synched": "false"}, None),
        ({}, None),
    ],
)
def test_metadata_mark_the_object_that_they_name(metadata: dict[str, str], reason: str | None) -> None:
    """And whom it was delivered to. A copy takes them along, and is not what was pushed."""
    assert NAMING.reason_by_metadata("k", with_metadata(metadata)) == reason


def marks_of(opened: Bucket, mode: MarkMode) -> Marks:
    return Marks(opened, mode, NAMING.destination)


async def is_synced(marking: Marks, version: Version) -> bool:
    return bool((await marking.look("k", version)).reason)


async def mark(marking: Marks, version: Version) -> Marked:
    """Mark what was delivered, with all that a push does before."""
    kind = await marking.kind_for("k", version, await marking.look("k", version))
    return await marking.mark("k", version, kind, await marking.last_look("k", version, kind))


def put(s3: S3Server, opened: Bucket, body: bytes = b"x", **arguments: Any) -> None:
    s3.client().put_object(Bucket=opened.name, Key="k", Body=body, **arguments)


async def version_of(opened: Bucket) -> Version:
    version = await opened.head("k")
    assert version is not None
    return version


@pytest.mark.integration
@ALL
async def test_what_is_marked_is_synced_until_it_is_overwritten(s3: S3Server, opened: Bucket, mode: MarkMode) -> None:
    """By whatever process looks."""
    put(s3, opened)
    marking = marks_of(opened, mode)
    assert not await is_synced(marking, await version_of(opened))
    assert await mark(marking, await version_of(opened)) == "marked"
    assert await is_synced(marks_of(opened, mode), await version_of(opened))
    assert not await is_synced(Marks(opened, mode, "another"), await version_of(opened))
    assert not await is_synced(marks_of(opened, "none"), await version_of(opened))
    put(s3, opened, b"another")
    assert not await is_synced(marks_of(opened, mode), await version_of(opened))
    assert s3.objects(opened.name) == {"k": b"another"}


@pytest.mark.integration
async def test_a_metadata_mark_on_another_version_is_refused(s3: S3Server, opened: Bucket) -> None:
    """Overwritten since it was sent, or gone: nothing is marked."""
    put(s3, opened)
    sent = await version_of(opened)
    put(s3, opened, b"another")
    assert await mark(marks_of(opened, "metadata"), sent) == "overwritten"
    assert (await version_of(opened)).metadata == {}
    s3.client().delete_object(Bucket=opened.name, Key="k")
    assert await marks_of(opened, "metadata").mark("k", sent, "metadata", Look()) in ("gone", "overwritten")
    with pytest.raises(Overwritten):
        await mark(marks_of(opened, "metadata"), sent)
    assert s3.objects(opened.name) == {}


@pytest.mark.integration
async def test_a_tag_on_another_version_is_no_mark(s3: S3Server, opened: Bucket) -> None:
    """S3 has no condition for tags: the tag names the version that was sent."""
    put(s3, opened)
    sent = await version_of(opened)
    put(s3, opened, b"another")
    assert await mark(marks_of(opened, "tag"), sent) == "marked"
    assert not await is_synced(marks_of(opened, "tag"), await version_of(opened))


@pytest.mark.integration
@ALL
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
    assert await mark(marks_of(opened, mode), await version_of(opened)) == "marked"
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
    version = await version_of(opened)
    with pytest.raises(StorageError, match="mark='metadata'"):
        await mark(marks_of(opened, "tag"), version)
    with pytest.raises(StorageError, match="mark='metadata'"):  # nor where nobody has looked before
        await marks_of(opened, "tag").mark("k", version, "tag", Look())
    assert len(s3.client().get_object_tagging(Bucket=opened.name, Key="k")["TagSet"]) == 10


@pytest.mark.integration
@BOTH
async def test_a_first_mark_that_is_refused_ends_the_run_and_a_later_one_fails_its_object(
    s3: S3Server, opened: Bucket, kind: Kind
) -> None:
    """Where none was taken, none will be, and all would be delivered again and again; the error names permissions."""
    put(s3, opened)
    refuses = True

    @s3.before
    def refuse(request: S3Request) -> tuple[int, str] | None:
        marking = request.operation in ("CopyObject", "PutObjectTagging")
        return (403, "AccessDenied") if marking and refuses else None

    marking = marks_of(opened, kind)
    version = await version_of(opened)
    with pytest.raises(ConfigurationError, match=r"s3:PutObject.*choose another mark"):
        await marking.mark("k", version, kind, Look())
    refuses = False
    assert await marking.mark("k", version, kind, Look()) == "marked"
    refuses = True
    with pytest.raises(S3Refused):
        await marking.mark("k", await version_of(opened), kind, Look())


@pytest.mark.integration
@pytest.mark.parametrize("mode", ["auto", "metadata"])
async def test_a_large_object_is_marked_by_a_tag(
    s3: S3Server, opened: Bucket, mode: MarkMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CopyObject takes 5 GiB. Metadata and tags stay; where S3 knows no tags, the object fails before its delivery."""
    monkeypatch.setattr(marks, "MAX_COPY", 0)
    put(s3, opened, Metadata={"theirs": "1"}, Tagging="team=a")
    sent = await version_of(opened)
    assert await mark(marks_of(opened, mode), sent) == "marked"
    version = await version_of(opened)
    assert version.metadata == {"theirs": "1"}
    assert await is_synced(marks_of(opened, mode), version)
    tags = s3.client().get_object_tagging(Bucket=opened.name, Key="k")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {
        "team": "a",
        TAG: Naming(opened.name, NAMING.destination).tag_added_to("k", sent, {}),
    }
    s3.before(lambda request: (501, "NotImplemented") if request.operation == "PutObjectTagging" else None)
    with pytest.raises(StorageError, match=r"larger than CopyObject takes.*501 NotImplemented"):
        await marks_of(opened, mode).kind_for("k", version, Look())
    assert not [request for request in s3.requests if request.operation == "CopyObject"]
    assert s3.unfinished_uploads(opened.name) == []
