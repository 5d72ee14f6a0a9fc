"""Probes: which kind of mark a store is safe for, and that asking changes nothing of a user's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, Overwritten
from airflow_provider_sftp_s3.engine.paths import MAX_KEY_BYTES
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.names import probe_name
from airflow_provider_sftp_s3.engine.s3.probes import Kind, Probes, TagsUnreadable, put_tags
from tests.support.s3_server import S3Request, S3Server

BOTH = pytest.mark.parametrize("kind", ["metadata", "tag"])
KEY = "dir/k"


@pytest.fixture
async def probes(s3: S3Server, opened: Bucket) -> AsyncIterator[Probes]:
    """Of a bucket with one object in it."""
    s3.client().put_object(Bucket=opened.name, Key=KEY, Body=b"x", Tagging="team=a")
    s3.requests.clear()
    probes = Probes(opened)
    yield probes
    probes.end()


def writes_of(s3: S3Server) -> list[S3Request]:
    return [request for request in s3.requests if request.method not in ("GET", "HEAD")]


@pytest.mark.integration
@BOTH
async def test_on_aws_each_kind_is_safe_and_nothing_is_left(
    s3: S3Server, opened: Bucket, probes: Probes, kind: Kind
) -> None:
    """The user's object is read at most: all that is written goes beneath .sftp-s3/, and comes to nothing."""
    assert probes.known(kind) is None
    assert await probes.lack(kind, KEY, {}) == ""
    assert probes.known(kind) == ""
    assert s3.objects(opened.name) == {KEY: b"x"}
    assert writes_of(s3)
    assert all(request.key.startswith("dir/.sftp-s3/probe-") for request in writes_of(s3))
    assert not [request for request in s3.requests if request.method == "DELETE"]


@pytest.mark.integration
@pytest.mark.parametrize("condition", ["If-Match", "x-amz-copy-source-if-match"])
async def test_a_store_that_ignores_a_condition_is_not_safe_for_metadata(
    s3: S3Server, opened: Bucket, probes: Probes, condition: str
) -> None:
    """Either of the two; what it has made of the probe is removed. Tags need no condition."""
    s3.unenforced.add(condition.lower())
    assert f"though the condition {condition} does not hold" in await probes.lack("metadata", KEY, {})
    assert s3.objects(opened.name) == {KEY: b"x"}
    assert [request.operation for request in writes_of(s3)][-2:] == ["CopyObject", "DeleteObject"]
    assert await probes.lack("tag", KEY, {}) == ""


@pytest.mark.integration
async def test_a_store_that_makes_an_object_of_tags_is_not_safe_for_them(
    s3: S3Server, opened: Bucket, probes: Probes
) -> None:
    """As rclone's does: an object marked there would be lost."""

    @s3.before
    def make_an_object(request: S3Request) -> None:
        if request.operation == "PutObjectTagging":
            s3.client().put_object(Bucket=request.bucket, Key=request.key, Body=b"<Tagging/>")

    assert "makes an object of the tags" in await probes.lack("tag", KEY, {})
    assert s3.objects(opened.name) == {KEY: b"x"}


@pytest.mark.integration
@BOTH
async def test_a_store_that_does_not_know_the_request_is_not_safe(s3: S3Server, probes: Probes, kind: Kind) -> None:
    """The answer is part of what is said of it."""
    operation = {"metadata": "CopyObject", "tag": "PutObjectTagging"}[kind]
    s3.before(lambda request: (400, "InvalidRequest") if request.operation == operation else None)
    assert "answers 400 InvalidRequest" in await probes.lack(kind, KEY, {})


@pytest.mark.integration
async def test_an_object_whose_tags_are_not_shown_says_nothing_of_the_store(
    s3: S3Server, opened: Bucket, probes: Probes
) -> None:
    """As a Ceph gateway answers of one that was uploaded in parts with tags: its own mark fails, and no other's."""
    s3.client().put_object(Bucket=opened.name, Key="odd", Body=b"x")
    s3.rewrite(lambda request, body: b"" if (request.method, request.key) == ("GET", "odd") else body)
    asked = [probes.lack("tag", key, {}) for key in ("odd", KEY, KEY)]
    odd, *others = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(odd, TagsUnreadable)
    assert "s3://" in str(odd)
    assert others == ["", ""]


@pytest.mark.integration
@BOTH
async def test_many_who_ask_at_once_are_one_probe(s3: S3Server, probes: Probes, kind: Kind) -> None:
    """And so are those who ask later."""
    assert await asyncio.gather(*(probes.lack(kind, KEY, {}) for _ in range(5))) == [""] * 5
    assert await probes.lack(kind, KEY, {}) == ""
    assert len(s3.requests) == 2


@pytest.mark.integration
@BOTH
async def test_what_is_not_allowed_ends_the_run_with_what_to_allow(s3: S3Server, probes: Probes, kind: Kind) -> None:
    """Nothing is known of the store then."""
    s3.before(lambda request: (403, "AccessDenied"))
    with pytest.raises(ConfigurationError, match=rf"mark='{kind}'.*s3:PutObject.*choose another mark"):
        await probes.lack(kind, KEY, {})
    assert probes.known(kind) is None


@pytest.mark.integration
@BOTH
async def test_an_object_that_is_gone_says_nothing_of_the_store(probes: Probes, kind: Kind) -> None:
    """Another one is asked about, and the answer holds for all."""
    with pytest.raises(Overwritten, match="was deleted"):
        await probes.lack(kind, "gone", {})
    assert probes.known(kind) is None
    assert await probes.lack(kind, KEY, {}) == ""


@pytest.mark.integration
async def test_tags_are_set_in_place_of_those_that_are_there(s3: S3Server, opened: Bucket, probes: Probes) -> None:
    """S3 has no way to add one."""
    await put_tags(opened, KEY, {"a": "1", "b": "2"})
    tags = s3.client().get_object_tagging(Bucket=opened.name, Key=KEY)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"a": "1", "b": "2"}


@pytest.mark.unit
@pytest.mark.parametrize(
    ("key", "beside"),
    [
        ("k", ""),
        ("a/b/k", "a/b/"),
        ("a/" + "b" * 1000 + "/k", "a/"),
        ("ü" * 511 + "/k", ""),
        ("a/b/" + "k" * 1020, "a/b/"),
    ],
    ids=["top", "directory", "no room", "no room in bytes", "long name"],
)
def test_a_probe_goes_beside_the_key_where_there_is_room(key: str, beside: str) -> None:
    """Permissions are often given by prefix. No two probes have one name."""
    name = probe_name(key)
    assert name.startswith(f"{beside}.sftp-s3/probe-")
    assert len(name.encode()) <= MAX_KEY_BYTES
    assert probe_name(key) != name
