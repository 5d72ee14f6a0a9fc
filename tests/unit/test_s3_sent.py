"""What was delivered is moved or deleted as the version that was sent, and only where the store heeds conditions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, NameRefused, Overwritten, StorageError
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, Version
from airflow_provider_sftp_s3.engine.s3.marks import MAX_COPY
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from airflow_provider_sftp_s3.engine.s3.sent import Sent
from tests.support.s3_server import S3Request, S3Server

pytestmark = pytest.mark.integration

EACH = pytest.mark.parametrize("how", ["move", "delete"])
KEY = "out/d/f"
PLACE = "sent/d/f"
PROBE = "out/.sftp-s3/probe"


class Ours:
    """One object in a bucket, and what takes it away."""

    def __init__(self, s3: S3Server, bucket: Bucket, how: str, body: bytes = b"v1", **put: Any) -> None:
        self.s3, self.bucket = s3, bucket
        self.client = s3.client()
        self.notices: list[str] = []
        self.sent = Sent(bucket, "out/", "sent/" if how == "move" else None, self.notices.append)
        self.put(body, **put)
        s3.requests.clear()

    def put(self, body: bytes, key: str = KEY, **arguments: Any) -> None:
        self.client.put_object(Bucket=self.bucket.name, Key=key, Body=body, **arguments)

    async def version(self, key: str = KEY) -> Version:
        version = await self.bucket.head(key)
        assert version is not None
        return version

    @property
    def objects(self) -> dict[str, bytes]:
        return {key: data for key, data in self.s3.objects(self.bucket.name).items() if ".sftp-s3/" not in key}


def asked(s3: S3Server) -> list[str]:
    return [request.operation for request in s3.requests]


def versioned(ours: Ours, status: str) -> None:
    if status != "off":
        ours.client.put_bucket_versioning(Bucket=ours.bucket.name, VersioningConfiguration={"Status": status})


@EACH
@pytest.mark.parametrize("versioning", ["off", "Enabled", "Suspended"])
async def test_the_version_that_was_delivered_is_taken_away(
    s3: S3Server, opened: Bucket, how: str, versioning: str
) -> None:
    """In a versioned bucket, too, where it stays behind a delete marker."""
    ours = Ours(s3, opened, how)
    versioned(ours, versioning)
    version = await ours.version()
    await ours.sent.check(KEY, version)
    await ours.sent.last_look(KEY, version)
    assert await ours.sent.take_away(KEY, version) == "taken"
    assert ours.objects == ({PLACE: b"v1"} if how == "move" else {})
    assert ours.notices == []


@EACH
@pytest.mark.parametrize("versioning", ["off", "Enabled", "Suspended"])
async def test_what_was_overwritten_stays(s3: S3Server, opened: Bucket, how: str, versioning: str) -> None:
    """By bytes of the same size, at the last moment: the DELETE is about the current version."""
    ours = Ours(s3, opened, how)
    versioned(ours, versioning)
    version = await ours.version()

    @s3.before
    def overwrite(request: S3Request) -> None:
        if request.operation == "DeleteObject":
            ours.put(b"v2")

    assert await ours.sent.take_away(KEY, version) == "overwritten"
    assert ours.objects[KEY] == b"v2"
    with pytest.raises(Overwritten):
        await ours.sent.last_look(KEY, version)


async def test_a_move_copies_no_version_but_the_one_that_was_delivered(s3: S3Server, opened: Bucket) -> None:
    """It was overwritten before the copy: nothing of it comes beneath the sent prefix."""
    ours = Ours(s3, opened, "move")
    version = await ours.version()
    ours.put(b"v2")
    assert await ours.sent.take_away(KEY, version) == "overwritten"
    assert ours.objects == {KEY: b"v2"}


async def test_a_copy_is_as_the_object_was(s3: S3Server, opened: Bucket) -> None:
    """Headers, metadata, tags, storage class; and it takes the place of an older one of the same name."""
    kept: dict[str, Any] = {"ContentType": "text/csv", "CacheControl": "no-store", "ContentEncoding": "gzip"}
    kept |= {"StorageClass": "STANDARD_IA", "WebsiteRedirectLocation": "/elsewhere"}
    ours = Ours(s3, opened, "move", Metadata={"mine": "1"}, Tagging="team=a&x=y", **kept)
    ours.put(b"older", PLACE)
    assert await ours.sent.take_away(KEY, await ours.version()) == "taken"
    copy = ours.client.get_object(Bucket=opened.name, Key=PLACE)
    assert copy["Body"].read() == b"v1"
    assert copy["Metadata"] == {"mine": "1"}
    assert {name: copy[name] for name in kept} == kept
    tags = ours.client.get_object_tagging(Bucket=opened.name, Key=PLACE)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "a", "x": "y"}


async def test_a_store_that_loses_tags_in_a_copy_keeps_the_object(s3: S3Server, opened: Bucket) -> None:
    """As a Ceph gateway does: what the copy has not got would be gone."""
    ours = Ours(s3, opened, "move", Tagging="team=a")

    @s3.after
    def lose(request: S3Request) -> None:
        if request.operation == "CopyObject":
            ours.client.delete_object_tagging(Bucket=opened.name, Key=request.key)

    with pytest.raises(StorageError, match=r"does not show all of its tags.*after_transfer='delete'"):
        await ours.sent.take_away(KEY, await ours.version())
    assert ours.objects[KEY] == b"v1"


async def test_an_answer_that_does_not_show_the_copy_is_none(s3: S3Server, opened: Bucket) -> None:
    """200 alone is not done: the object stays."""
    ours = Ours(s3, opened, "move")
    s3.rewrite(lambda request, body: b"" if request.operation == "CopyObject" else body)
    with pytest.raises(StorageError, match="CopyObjectResult"):
        await ours.sent.take_away(KEY, await ours.version())
    assert ours.objects[KEY] == b"v1"


class TestProbes:
    """What the store heeds is found out on an object of our own."""

    @EACH
    async def test_on_aws_they_are_up_to_four_requests_and_then_fewer(
        self, s3: S3Server, opened: Bucket, how: str
    ) -> None:
        """One small object of our own is left, and no version or event in the runs after the first."""
        ours = Ours(s3, opened, how)
        version = await ours.version()
        s3.requests.clear()
        await asyncio.gather(*(ours.sent.check(KEY, version) for _ in range(5)))
        first = ["HeadObject", "PutObject", "CopyObject", "DeleteObject"]
        if how == "delete":
            first.remove("CopyObject")
        assert asked(s3) == first
        assert all(".sftp-s3/" in request.key for request in s3.requests)
        assert set(s3.objects(opened.name)) == {KEY, PROBE}
        s3.requests.clear()
        again = Ours(s3, opened, how)
        await again.sent.check(KEY, version)
        assert asked(s3) == [each for each in first if each != "PutObject"]
        assert set(s3.objects(opened.name)) == {KEY, PROBE}

    @EACH
    @pytest.mark.parametrize("versioning", ["off", "Enabled", "Suspended"])
    async def test_a_store_that_ignores_the_condition_of_a_delete(
        self, s3: S3Server, opened: Bucket, how: str, versioning: str
    ) -> None:
        """Said with what is left, and nothing of the user's was touched."""
        ours = Ours(s3, opened, how)
        versioned(ours, versioning)
        s3.unenforced.add("DeleteObject if-match")
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=rf"'{how}' is not safe.*If-Match does not hold.*'keep'"):
                await ours.sent.check(KEY, await ours.version())
        assert ours.objects == {KEY: b"v1"}

    async def test_a_store_that_ignores_the_condition_of_a_copy(self, s3: S3Server, opened: Bucket) -> None:
        """It may delete, and not move. What it has made of the probe is removed."""
        ours = Ours(s3, opened, "move")
        s3.unenforced.add("x-amz-copy-source-if-match")
        with pytest.raises(ConfigurationError, match=r"copies an object though.*What is left: after_transfer='delete'"):
            await ours.sent.check(KEY, await ours.version())
        assert set(s3.objects(opened.name)) == {KEY, PROBE}
        await Ours(s3, opened, "delete").sent.check(KEY, await ours.version())

    @pytest.mark.parametrize("answer", [(404, "NoSuchKey"), (501, "NotImplemented"), (400, "InvalidRequest")])
    async def test_an_answer_that_is_no_412_is_no_condition(
        self, s3: S3Server, opened: Bucket, answer: tuple[int, str]
    ) -> None:
        """404 least of all, of an object that is there: some stores say so whatever the condition."""
        ours = Ours(s3, opened, "delete")
        s3.before(lambda request: answer if request.operation == "DeleteObject" else None)
        with pytest.raises(ConfigurationError, match=f"answers {answer[0]} {answer[1]} to a DELETE"):
            await ours.sent.check(KEY, await ours.version())

    @pytest.mark.parametrize("operation", ["HeadObject", "PutObject", "CopyObject", "DeleteObject"])
    async def test_a_right_that_is_missing_is_named_before_anything_is_delivered(
        self, s3: S3Server, opened: Bucket, operation: str
    ) -> None:
        ours = Ours(s3, opened, "move")
        version = await ours.version()
        s3.before(lambda request: (403, "AccessDenied") if request.operation == operation else None)
        with pytest.raises(ConfigurationError, match=r"be moved.*403.*s3:DeleteObject and s3:GetObject.*'keep'"):
            await ours.sent.check(KEY, version)

    async def test_an_outage_says_nothing_of_the_store(self, s3: S3Server, opened: Bucket) -> None:
        """The next object asks again."""
        ours = Ours(s3, opened, "delete")
        version = await ours.version()
        down = True
        opened.requests.patience = 0.1
        s3.before(lambda _: (503, "SlowDown") if down else None)
        with pytest.raises(S3Refused):
            await ours.sent.check(KEY, version)
        down = False
        await ours.sent.check(KEY, version)

    async def test_the_probe_is_beside_the_object_where_there_is_no_prefix(self, s3: S3Server, opened: Bucket) -> None:
        """Permissions are often given by prefix. It is written with the encryption that the objects have."""
        ours = Ours(s3, opened, "delete", ServerSideEncryption="aws:kms", SSEKMSKeyId="key")
        ours.sent = Sent(opened, "", None, ours.notices.append)
        await ours.sent.check(KEY, await ours.version())
        assert set(s3.objects(opened.name)) == {KEY, "out/d/.sftp-s3/probe"}
        (put,) = [request for request in s3.requests if request.operation == "PutObject"]
        assert put.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "key"
        ours.sent.end()


class TestBeforeTheDelivery:
    """What cannot be moved is known before it is delivered."""

    async def test_too_large_for_a_copy(self, s3: S3Server, opened: Bucket) -> None:
        ours = Ours(s3, opened, "move")
        large = (await ours.version())._replace(size=MAX_COPY + 1)
        with pytest.raises(StorageError, match=r"5 GiB.*after_transfer='delete' copies nothing"):
            await ours.sent.check(KEY, large)
        await Ours(s3, opened, "delete").sent.check(KEY, large)

    @pytest.mark.parametrize(
        ("key", "message"), [("other/f", "not under s3_prefix 'out/'"), ("out/" + "ü" * 510, "would have 1025 bytes")]
    )
    async def test_no_name_beneath_the_sent_prefix(self, s3: S3Server, opened: Bucket, key: str, message: str) -> None:
        ours = Ours(s3, opened, "move")
        with pytest.raises(NameRefused, match=message):
            await ours.sent.check(key, await ours.version())

    async def test_no_etag(self, s3: S3Server, opened: Bucket) -> None:
        """A DELETE with no condition takes whatever is there."""
        ours = Ours(s3, opened, "delete")
        for etag in ("", '""'):
            with pytest.raises(StorageError, match="no ETag"):
                await ours.sent.check(KEY, (await ours.version())._replace(etag=etag))


class TestAnswers:
    """What S3 may say to a DELETE and to a copy."""

    @EACH
    async def test_one_that_is_gone_is_gone(self, s3: S3Server, opened: Bucket, how: str) -> None:
        """Somebody has deleted it. Of a delete that is worth a notice: nobody knows which version that was."""
        ours = Ours(s3, opened, how)
        version = await ours.version()
        ours.client.delete_object(Bucket=opened.name, Key=KEY)
        assert await ours.sent.take_away(KEY, version) == "gone"
        assert len(ours.notices) == (how == "delete")

    @EACH
    async def test_a_delete_whose_answer_was_lost(self, s3: S3Server, opened: Bucket, how: str) -> None:
        """The second one finds nothing."""
        ours = Ours(s3, opened, how)
        lost = 0

        @s3.after
        def lose(request: S3Request) -> tuple[int, str] | None:
            nonlocal lost
            if request.operation == "DeleteObject" and not lost:
                lost += 1
                return 500, "InternalError"
            return None

        assert await ours.sent.take_away(KEY, await ours.version()) == "gone"
        assert ours.objects == ({PLACE: b"v1"} if how == "move" else {})

    @EACH
    async def test_a_conflict_is_tried_again(self, s3: S3Server, opened: Bucket, how: str) -> None:
        """409: another request about the object was under way."""
        ours = Ours(s3, opened, how)
        conflicts = 0

        @s3.before
        def conflict(request: S3Request) -> tuple[int, str] | None:
            nonlocal conflicts
            if request.operation == "DeleteObject" and not conflicts:
                conflicts += 1
                return 409, "ConditionalRequestConflict"
            return None

        assert await ours.sent.take_away(KEY, await ours.version()) == "taken"

    @EACH
    async def test_a_store_that_contradicts_itself_ends_the_run(self, s3: S3Server, opened: Bucket, how: str) -> None:
        """412 to the ETag that it shows: every object would be delivered again and again."""
        ours = Ours(s3, opened, how)
        version = await ours.version()
        s3.before(lambda r: (412, "PreconditionFailed") if r.operation == "DeleteObject" else None)
        with pytest.raises(ConfigurationError, match="shows the same ETag"):
            await ours.sent.take_away(KEY, version)
        assert ours.objects[KEY] == b"v1"

    @pytest.mark.parametrize("later", [False, True], ids=["the first one", "a later one"])
    async def test_a_refusal_ends_the_run_unless_others_were_taken_away(
        self, s3: S3Server, opened: Bucket, later: bool
    ) -> None:
        ours = Ours(s3, opened, "delete")
        if later:
            assert await ours.sent.take_away(KEY, await ours.version()) == "taken"
            ours.put(b"v1")
        version = await ours.version()
        s3.before(lambda request: (403, "AccessDenied") if request.operation == "DeleteObject" else None)
        with pytest.raises(S3Refused if later else ConfigurationError, match="403"):
            await ours.sent.take_away(KEY, version)


class TestAnotherRun:
    """What another run has moved meanwhile is newer than what was delivered here, or it is not."""

    async def moved_by_another(self, ours: Ours, body: bytes) -> None:
        ours.put(body)
        other = Sent(ours.bucket, "out/", "sent/", ours.notices.append)
        assert await other.take_away(KEY, await ours.version()) == "taken"

    async def test_newer_bytes_have_moved_on(self, s3: S3Server, opened: Bucket) -> None:
        ours = Ours(s3, opened, "move")
        version = await ours.version()
        await self.moved_by_another(ours, b"v2")
        assert await ours.sent.has_newer(KEY, version)
        assert await ours.sent.take_away(KEY, version) == "moved on"
        moved = await ours.version(PLACE)
        await ours.sent.check(PLACE, moved)
        assert await ours.sent.take_away(PLACE, moved) == "taken"
        assert await ours.sent.take_away(PLACE, version) == "overwritten"
        assert ours.objects == {PLACE: b"v2"}

    async def test_the_same_bytes_have_not(self, s3: S3Server, opened: Bucket) -> None:
        ours = Ours(s3, opened, "move")
        version = await ours.version()
        await self.moved_by_another(ours, b"v1")
        assert await ours.sent.take_away(KEY, version) == "gone"

    async def test_nor_have_older_ones(self, s3: S3Server, opened: Bucket) -> None:
        """They were sent before this version was put; then somebody has deleted it."""
        ours = Ours(s3, opened, "move")
        await self.moved_by_another(ours, b"v0")
        ours.put(b"v1")
        later = "Fri, 01 Jan 2100 00:00:00 GMT"
        version = (await ours.version())._replace(last_modified=later)
        ours.client.delete_object(Bucket=opened.name, Key=KEY)
        assert await ours.sent.take_away(KEY, version) == "gone"

    async def test_of_a_delete_nobody_knows(self, s3: S3Server, opened: Bucket) -> None:
        ours = Ours(s3, opened, "delete")
        assert not await ours.sent.has_newer(KEY, await ours.version())
