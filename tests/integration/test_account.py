"""Pulls, pushes and marks in a company's AWS account: every request keeps its rules, or the run says what to set."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import boto3
import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, TransferError
from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from airflow_provider_sftp_s3.engine.pull import pull
from airflow_provider_sftp_s3.engine.push import push
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.settings import PullSettings, PushSettings
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support import account
from tests.support.account import Rule
from tests.support.engine import Engine, server_of
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

#: One request of ours, one of obstore, and parts.
SIZES = {"small.csv": 5, "middle.csv.gz": 100_000, "large": 9 * MiB}
OWNER = "123456789012"
KEY = "0" * 32

ENCRYPTED = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key"}
ACL = {"ACL": "bucket-owner-full-control"}
RULES: dict[str, tuple[Rule, dict[str, Any], dict[str, Any]]] = {
    "encryption": (
        lambda s3: account.demands(s3, "x-amz-server-side-encryption", values=("aws:kms",)),
        *(ENCRYPTED, {}),
    ),
    "acl": (lambda s3: account.demands(s3, "x-amz-acl", values=("bucket-owner-full-control",)), ACL, ACL),
    "object lock": (account.object_lock, {}, {}),
    "owner": (
        lambda s3: account.everywhere(s3, "x-amz-expected-bucket-owner", OWNER),
        *({"ExpectedBucketOwner": OWNER}, {"ExpectedBucketOwner": OWNER}),
    ),
    "requester pays": (
        lambda s3: account.everywhere(s3, "x-amz-request-payer", "requester"),
        *({"RequestPayer": "requester"}, {"RequestPayer": "requester"}),
    ),
}


@pytest.fixture
def engine(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> Engine:
    for directory in ("in", "out"):
        (sftp_server.root / directory).mkdir()
    account.signs_all(s3)
    return Engine(sftp_server, s3, bucket, TransferOptions(idle_timeout=10))


def lay_out(engine: Engine) -> dict[str, bytes]:
    contents = {name: hashlib.sha256(name.encode()).digest() * (size // 32 + 1) for name, size in SIZES.items()}
    contents = {name: content[: SIZES[name]] for name, content in contents.items()}
    for name, content in contents.items():
        (engine.sftp.root / "in" / name).write_bytes(content)
    return contents


def written(engine: Engine) -> list[S3Request]:
    return [request for request in engine.s3.requests if request.operation in account.WRITES]


async def connected(
    engine: Engine,
    settings: PullSettings | PushSettings,
    extra_args: dict[str, Any] | None = None,
    session: boto3.Session | None = None,
    **config: Any,
) -> None:
    """Run with what a connection says: `extra_args`, and fields of its ``config_kwargs``."""
    session = session or engine.s3.session()
    opened = Bucket(engine.bucket, engine.s3.client(session, **config), session, engine.options, extra_args=extra_args)
    async with SftpSession(server_of(engine.sftp), engine.options) as sftp, opened as bucket:
        if isinstance(settings, PullSettings):
            await pull(settings, sftp, bucket, engine.options, engine.seen)
        else:
            await push(settings, sftp, bucket, engine.options, engine.seen)


def settings(engine: Engine, kind: Any, **more: Any) -> Any:
    engine.sftp.refresh()
    own = {"min_age": 0} if kind is PullSettings else {}
    return kind(sftp_path=engine.sftp.path("in" if own else "out"), **own, **more)


def keep(engine: Engine, rule: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Have the account keep a rule, or all of them, and return the extra arguments of a pull and a push for that."""
    names = list(RULES) if rule == "all" else [rule]
    for name in names:
        RULES[name][0](engine.s3)
    of_pull = {key: value for name in names for key, value in RULES[name][1].items()}
    return of_pull, {key: value for name in names for key, value in RULES[name][2].items()}


@pytest.mark.parametrize("rule", [*RULES, "all"])
async def test_a_rule_is_kept(engine: Engine, rule: str) -> None:
    """On every way to S3: small, middle and in parts, listed, read and marked."""
    contents = lay_out(engine)
    of_pull, of_push = keep(engine, rule)
    report = await engine.pull(extra_args=of_pull)
    assert report.transferred == 3
    assert engine.s3.objects(engine.bucket) == contents
    engine.s3.requests.clear()
    report = await engine.push(extra_args=of_push, destination="another")
    assert report.transferred == 3
    assert {name: (engine.sftp.root / "out" / name).read_bytes() for name in contents} == contents
    assert {request.operation for request in written(engine)} == {"CopyObject"}  # the marks


@pytest.mark.parametrize("rule", [*RULES, "all"])
@pytest.mark.parametrize("away", [{"after_transfer": "move", "sent_prefix": "sent"}, {"after_transfer": "delete"}])
async def test_a_rule_is_kept_where_objects_are_taken_away(engine: Engine, away: dict[str, Any], rule: str) -> None:
    """By the object of our own that this is tried on, and by the copies of a move."""
    contents = lay_out(engine)
    of_pull, of_push = keep(engine, rule)
    await engine.pull(s3_prefix="from", extra_args=of_pull)
    report = await engine.push(s3_prefix="from", extra_args=of_push, destination="another", **away)
    assert report.transferred == 3
    assert {name: (engine.sftp.root / "out" / name).read_bytes() for name in contents} == contents
    left = engine.s3.objects(engine.bucket)
    del left["from/.sftp-s3/probe"]
    assert left == ({f"sent/{name}": content for name, content in contents.items()} if "sent_prefix" in away else {})


@pytest.mark.parametrize("rule", ["encryption", "acl", "owner", "requester pays"])
async def test_a_pull_without_it_ends_with_one_error(engine: Engine, rule: str) -> None:
    """And not with one for each file; nothing has moved."""
    contents = lay_out(engine)
    RULES[rule][0](engine.s3)
    with pytest.raises(ConfigurationError, match="403 AccessDenied") as refused:
        await engine.pull()
    assert "extra_args" in str(refused.value)
    assert {path.name for path in (engine.sftp.root / "in").iterdir() if path.is_file()} == set(contents)
    assert not list((engine.sftp.root / "in/.done").iterdir())


@pytest.mark.parametrize("calculation", ["when_supported", "when_required"])
async def test_checksums_go_as_the_client_says(engine: Engine, calculation: str) -> None:
    """Of each object and part; a bucket with Object Lock needs them, and says so."""
    lay_out(engine)
    account.object_lock(engine.s3)
    if calculation == "when_supported":
        await connected(engine, settings(engine, PullSettings), request_checksum_calculation=calculation)
        return
    with pytest.raises(ConfigurationError, match="request_checksum_calculation"):
        await connected(engine, settings(engine, PullSettings), request_checksum_calculation=calculation)
    sent = [request.headers for request in written(engine)]
    assert not any(name.startswith("x-amz-checksum-") for headers in sent for name in headers)


async def test_what_objects_are_stored_with(engine: Engine) -> None:
    """By whichever client, and the type by the name."""
    lay_out(engine)
    given = {
        **ENCRYPTED,
        "StorageClass": "STANDARD_IA",
        "Metadata": {"team": "red"},
        "Tagging": "a=b",
        "CacheControl": "no-store",
    }
    await engine.pull(extra_args=given)
    client = engine.s3.client()
    types = {}
    for name in SIZES:
        head = client.head_object(Bucket=engine.bucket, Key=name)
        assert head["Metadata"]["team"] == "red"
        assert head["Metadata"]["synced"] == "true"
        assert (head["StorageClass"], head["CacheControl"]) == ("STANDARD_IA", "no-store")
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "key")
        tags = client.get_object_tagging(Bucket=engine.bucket, Key=name)["TagSet"]
        assert tags == [{"Key": "a", "Value": "b"}]
        types[name] = head["ContentType"]
    assert types["small.csv"] == "text/csv"
    assert types["middle.csv.gz"] == "application/gzip"


async def test_a_type_that_is_given_is_not_guessed(engine: Engine) -> None:
    """It is for all objects of the run."""
    lay_out(engine)
    await engine.pull(extra_args={"ContentType": "text/x-own"})
    client = engine.s3.client()
    assert {client.head_object(Bucket=engine.bucket, Key=name)["ContentType"] for name in SIZES} == {"text/x-own"}


async def test_a_mark_repeats_the_acl(engine: Engine) -> None:
    """S3 does not show it, and the copy would lose it."""
    engine.s3.client().put_object(Bucket=engine.bucket, Key="a", Body=b"x", ACL="public-read")
    await engine.push(extra_args={"ACL": "public-read"})
    *_, mark = written(engine)
    assert (mark.operation, mark.key, mark.headers["x-amz-acl"]) == ("CopyObject", "a", "public-read")


async def test_customer_keys_are_the_connections(engine: Engine) -> None:
    """They go with each request that touches the bytes, both ways, and with the mark twice."""
    contents = lay_out(engine)
    given = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY}
    await connected(engine, settings(engine, PullSettings), given)
    assert engine.s3.objects(engine.bucket) == contents
    await connected(engine, settings(engine, PushSettings, destination="another"), given)
    key = base64.b64encode(KEY.encode()).decode()
    name = "server-side-encryption-customer-key"
    for request in engine.s3.requests:
        touches = (*account.WRITES, "UploadPart", "GetObject", "HeadObject")
        assert (request.headers.get(f"x-amz-{name}") == key) == (request.operation in touches), request
        assert (f"x-amz-copy-source-{name}" in request.headers) == (request.operation == "CopyObject")


async def test_what_a_connection_says_is_sent_and_the_operator_wins(engine: Engine) -> None:
    """Name by name."""
    lay_out(engine)
    given = settings(engine, PullSettings, extra_args={"StorageClass": "STANDARD"})
    await connected(engine, given, {"StorageClass": "STANDARD_IA", "CacheControl": "no-store"})
    for request in written(engine):
        assert request.headers["cache-control"] == "no-store"
        assert request.headers["x-amz-storage-class"] == "STANDARD"


# ------------------------------------------------------------------------------------------------ on the way from S3


def flipped(times: int) -> Callable[[S3Request, bytes], bytes]:
    """Change one bit of what is read, so often: not always the same one."""
    done = 0

    def flip(request: S3Request, body: bytes) -> bytes:
        nonlocal done
        if request.operation != "GetObject" or done >= times:
            return body
        done += 1
        return body[: done - 1] + bytes([body[done - 1] ^ 1]) + body[done:]

    return flip


@pytest.mark.parametrize("checksum", ["CRC32", "SHA256", "ETag"])
async def test_a_bit_that_is_flipped_is_read_again(engine: Engine, s3: S3Server, checksum: str) -> None:
    """Nobody at the partner ever sees it."""
    more = {} if checksum == "ETag" else {"ChecksumAlgorithm": checksum}
    client = engine.s3.client(request_checksum_calculation="when_required")
    client.put_object(Bucket=engine.bucket, Key="a", Body=b"some bytes", **more)
    s3.rewrite(flipped(2))
    report = await engine.push()
    assert report.transferred == 1
    assert (engine.sftp.root / "out" / "a").read_bytes() == b"some bytes"
    assert engine.s3.counts()["GET", "GetObject"] == 3


async def test_what_never_comes_as_it_is_fails_and_is_not_published(engine: Engine, s3: S3Server) -> None:
    """With both sums, and nothing is left at the partner."""
    client = engine.s3.client()
    client.put_object(Bucket=engine.bucket, Key="a", Body=b"some bytes", ChecksumAlgorithm="CRC32")
    s3.rewrite(flipped(100))
    with pytest.raises(TransferError, match="what came is not what S3 has: its CRC32 is "):
        await engine.push()
    assert list((engine.sftp.root / "out").iterdir()) == []


async def test_etags_that_are_no_md5s_do_no_harm(engine: Engine, s3: S3Server) -> None:
    """They only look so: the log says once that nothing is compared."""
    client = engine.s3.client(request_checksum_calculation="when_required")
    for key in "abc":
        client.put_object(Bucket=engine.bucket, Key=key, Body=key.encode())
    s3.rewrite(lambda request, body: body + b"!" if request.operation == "GetObject" else body)
    report = await engine.push(mark="none")
    assert report.transferred == 3
    assert [notice for notice in engine.seen.notices if "ETags" in notice]
    assert len([notice for notice in engine.seen.notices if "ETags" in notice]) == 1


# ------------------------------------------------------------------------------------------------ clocks and tokens


@pytest.mark.parametrize("kind", [PullSettings, PushSettings])
@pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "files"])
@pytest.mark.parametrize("minutes", [20, -20])
async def test_a_clock_that_is_wrong_ends_the_run_at_once(
    engine: Engine, kind: Any, is_empty: bool, minutes: int
) -> None:
    """With both clocks, also where there is nothing to do: the next day there may be."""
    contents = {} if is_empty else lay_out(engine)
    engine.s3.client().put_object(Bucket=engine.bucket, Key="out/a", Body=b"x")
    prefix = "nothing" if is_empty else "out"
    account.keeps_time(engine.s3, timedelta(minutes=minutes))
    with pytest.raises(ConfigurationError, match="the clock of this machine is wrong"):
        await connected(engine, settings(engine, kind, s3_prefix=prefix))
    assert {path.name for path in (engine.sftp.root / "in").iterdir()} == set(contents)
    assert list((engine.sftp.root / "out").iterdir()) == []


async def test_a_clock_that_is_a_little_wrong_is_no_matter(engine: Engine) -> None:
    contents = lay_out(engine)
    account.keeps_time(engine.s3, timedelta(minutes=10))
    await connected(engine, settings(engine, PullSettings))
    await connected(engine, settings(engine, PushSettings, destination="another"))
    assert {name: (engine.sftp.root / "out" / name).read_bytes() for name in contents} == contents


PUSHES: dict[str, dict[str, Any]] = {
    "metadata": {"mark": "metadata"},
    "tag": {"mark": "tag"},
    "move": {"after_transfer": "move", "sent_prefix": "sent"},
    "delete": {"after_transfer": "delete"},
}


@pytest.mark.parametrize("after", [2, 5])
@pytest.mark.parametrize("push", PUSHES)
async def test_a_token_that_expires_is_renewed_wherever_it_does(engine: Engine, push: str, after: int) -> None:
    """While an account keeps all its other rules: small, middle and in parts, delivered and marked, or taken away."""
    contents = lay_out(engine)
    of_pull, of_push = keep(engine, "all")
    rotation = account.Rotation(engine.s3, after)
    for way in (
        settings(engine, PullSettings, s3_prefix="from", extra_args=of_pull),
        settings(engine, PushSettings, s3_prefix="from", extra_args=of_push, destination="another", **PUSHES[push]),
    ):
        rotation.left = after
        await connected(engine, way, session=rotation.session())
        assert rotation.left < 0, "the old one was good for the whole run"
    assert {name: (engine.sftp.root / "out" / name).read_bytes() for name in contents} == contents
    left = {key for key in engine.s3.objects(engine.bucket) if ".sftp-s3/" not in key}
    assert left == {
        *(f"from/{name}" for name in contents if "mark" in PUSHES[push]),
        *(f"sent/{name}" for name in contents if push == "move"),
    }
    assert isinstance(engine.s3, S3Server)
    assert engine.s3.unfinished_uploads(engine.bucket) == []


@pytest.mark.parametrize("after", [4])
@pytest.mark.parametrize("push", PUSHES)
async def test_a_token_that_expires_for_good_loses_nothing(engine: Engine, push: str, after: int) -> None:
    """The run fails, and says why; the next one, with another token, brings what is left, and marks it."""
    contents = lay_out(engine)
    rotation = account.Rotation(engine.s3, after, renewed=False)
    for way in (
        settings(engine, PullSettings, s3_prefix="from"),
        settings(engine, PushSettings, s3_prefix="from", destination="another", **PUSHES[push]),
    ):
        rotation.left = after
        with pytest.raises((TransferError, ConfigurationError), match="expired"):
            await connected(engine, way, session=rotation.session())
        rotation.left = 1000
        await connected(engine, way, session=rotation.session())
    assert {name: (engine.sftp.root / "out" / name).read_bytes() for name in contents} == contents
    again = settings(engine, PushSettings, s3_prefix="from", destination="another", **PUSHES[push])
    engine.seen.outcomes.clear()
    await connected(engine, again)
    assert [each for each in engine.seen.outcomes if each.status == "transferred"] == []


@pytest.mark.parametrize(
    ("kind", "denied"),
    [
        (PullSettings, "PutObject"),
        (PullSettings, "CreateMultipartUpload"),
        (PullSettings, "UploadPart"),
        (PullSettings, "CompleteMultipartUpload"),
        (PushSettings, "ListObjectsV2"),
        (PushSettings, "GetObject"),
        (PushSettings, "CopyObject"),
        (PushSettings, "PutObjectTagging"),
    ],
)
async def test_a_permission_that_is_denied_is_said_and_nothing_is_lost(engine: Engine, kind: Any, denied: str) -> None:
    """A file is moved, and an object marked, only where all that it takes was allowed."""
    contents = lay_out(engine)
    if kind is PushSettings:
        await engine.pull()
    account.denies(engine.s3, denied)
    mark = {} if kind is PullSettings else {"destination": "another", "mark": "tag" if "Tagging" in denied else "auto"}
    with pytest.raises((TransferError, ConfigurationError), match="AccessDenied"):
        await connected(engine, settings(engine, kind, **mark))
    engine.s3._before.clear()
    there = {path.name for path in (engine.sftp.root / "in").iterdir() if path.is_file()}
    if kind is PullSettings:
        assert there | set(engine.s3.objects(engine.bucket)) == set(contents)
        assert there.isdisjoint(engine.s3.objects(engine.bucket))
    else:
        await engine.push(destination="another")
        assert {name: (engine.sftp.root / "out" / name).read_bytes() for name in contents} == contents
