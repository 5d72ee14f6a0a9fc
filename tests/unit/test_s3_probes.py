"""What kind of mark is safe on a store, found out without a change to anything of a user's."""

from __future__ import annotations

import asyncio
import posixpath

import pytest

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, Overwritten
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.probes import Kind, Probes, probe_name
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from tests.support.s3_server import S3Server

KINDS = pytest.mark.parametrize("kind", ["metadata", "tag"])
OPERATIONS = {"metadata": "CopyObject", "tag": "PutObjectTagging"}


@pytest.mark.unit
@pytest.mark.parametrize("key", ["k", "d/k", "d/" * 500 + "k", "ü/" * 340 + "k"])
def test_a_probe_goes_beneath_a_state_directory_and_fits(key: str) -> None:
    """Beside the object, as far as there is room; never twice to one name."""
    name = probe_name(key)
    assert paths.is_state(name)
    assert len(name.encode()) <= paths.MAX_KEY_BYTES
    beside, _, _ = name.rpartition(f"{paths.STATE}/")
    assert f"{posixpath.dirname(key)}/".startswith(beside)
    assert probe_name(key) != name


@pytest.mark.integration
@KINDS
async def test_a_store_that_lacks_nothing_is_asked_once(s3: S3Server, opened: Bucket, kind: Kind) -> None:
    """By however many at once; and it has no other objects than before."""
    s3.client().put_object(Bucket=opened.name, Key="d/k", Body=b"x", Metadata={"theirs": "1"})
    probes = Probes(opened)
    assert probes.known(kind) is None
    s3.requests.clear()
    assert await asyncio.gather(*(probes.lack(kind, "d/k", {}) for _ in range(5))) == [""] * 5
    asked = [request.key for request in s3.requests if request.operation == OPERATIONS[kind]]
    assert len(asked) == {"metadata": 2, "tag": 1}[kind]
    assert all(key.startswith(f"d/{paths.STATE}/") for key in asked)
    assert probes.known(kind) == ""
    assert s3.objects(opened.name) == {"d/k": b"x"}


@pytest.mark.integration
@pytest.mark.parametrize("condition", ["If-Match", "x-amz-copy-source-if-match"])
async def test_a_condition_that_is_ignored_is_what_the_store_lacks(
    s3: S3Server, opened: Bucket, condition: str
) -> None:
    """What it has made of the probe is removed."""
    s3.client().put_object(Bucket=opened.name, Key="k", Body=b"x")
    s3.unenforced.add(condition.lower())
    assert f"the condition {condition} does not hold" in await Probes(opened).lack("metadata", "k", {})
    assert s3.objects(opened.name) == {"k": b"x"}


@pytest.mark.integration
@KINDS
async def test_what_an_answer_means(s3: S3Server, opened: Bucket, kind: Kind) -> None:
    """Not known to the store: it lacks that. Not allowed: somebody has to. And a conflict says nothing."""
    s3.client().put_object(Bucket=opened.name, Key="k", Body=b"x")
    answer = (501, "NotImplemented")
    s3.before(lambda request: answer if request.operation == OPERATIONS[kind] else None)
    assert "501 NotImplemented" in await Probes(opened).lack(kind, "k", {})
    answer = (403, "AccessDenied")
    probes = Probes(opened)
    with pytest.raises(ConfigurationError, match=r"s3:PutObject.*choose another mark"):
        await probes.lack(kind, "k", {})
    assert probes.known(kind) is None
    answer = (409, "OperationAborted")
    with pytest.raises(S3Refused):
        await probes.lack(kind, "k", {})
    assert probes.known(kind) is None


@pytest.mark.integration
@KINDS
async def test_an_object_that_is_gone_says_nothing_about_the_store(s3: S3Server, opened: Bucket, kind: Kind) -> None:
    """Another one has to be asked about."""
    probes = Probes(opened)
    with pytest.raises(Overwritten):
        await probes.lack(kind, "gone", {})
    assert probes.known(kind) is None
    s3.client().put_object(Bucket=opened.name, Key="k", Body=b"x")
    assert await probes.lack(kind, "k", {}) == ""
