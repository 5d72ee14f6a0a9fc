"""Push, against every real SFTP server: what objects become there, and how they are marked."""

from __future__ import annotations

import asyncio
import datetime
import os
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, PlaceMissing, TransferError
from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from airflow_provider_sftp_s3.engine.s3 import marks
from airflow_provider_sftp_s3.engine.s3.ledger import Ledger
from airflow_provider_sftp_s3.engine.s3.names import TAG
from airflow_provider_sftp_s3.engine.settings import DESTINATION, PushSettings
from airflow_provider_sftp_s3.engine.unsynced import unsynced
from tests.support.engine import Engine, store
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer, CutConnection, Fault, Proceed, Request
from tests.support.trees import tree

pytestmark = pytest.mark.integration

MARKS = pytest.mark.parametrize("mark", ["metadata", "tag"])


@pytest.fixture
def outbox(engine: Engine) -> Path:
    return engine.sftp.root / "out"


@MARKS
async def test_unsynced_objects_arrive_and_are_marked(engine: Engine, outbox: Path, mark: str) -> None:
    """Missing subdirectories are made; the next run finds nothing to do."""
    objects = {
        "p/a.txt": b"alpha",
        "p/x/y/z.bin": os.urandom(3 * MiB),
        "p/x/empty": b"",
        "p/with space + % # ümläut 😀.txt": b"odd",
    }
    store(engine, objects)
    store(engine, {"other/b.txt": b"not ours", "p2/c.txt": b"not ours"})
    report = await engine.push(s3_prefix="p", mark=mark)
    assert tree(outbox) == {key.removeprefix("p/"): content for key, content in objects.items()}
    assert (report.transferred, report.failed, report.bytes) == (4, 0, sum(map(len, objects.values())))
    assert report.skipped == {}
    assert (await engine.push(s3_prefix="p", mark=mark)).skipped == {"synced": 4}
    engine.s3.client().delete_object(Bucket=engine.bucket, Key="p/a.txt")
    assert engine.s3.objects(engine.bucket)["p/x/y/z.bin"] == objects["p/x/y/z.bin"], "a mark leaves the bytes alone"


async def test_a_large_object_arrives_whole(engine: Engine, outbox: Path) -> None:
    """In many pieces, which are put together as they were."""
    content = os.urandom(23 * MiB + 17)
    store(engine, {"big.bin": content})
    await engine.push()
    assert tree(outbox) == {"big.bin": content}


@MARKS
async def test_an_overwritten_object_is_pushed_again(engine: Engine, outbox: Path, mark: str) -> None:
    """An overwrite loses the mark, and the partner's file is replaced."""
    store(engine, {"a.txt": b"one"})
    await engine.push(mark=mark)
    store(engine, {"a.txt": b"two"})
    assert (await engine.push(mark=mark)).transferred == 1
    assert tree(outbox) == {"a.txt": b"two"}


async def test_given_keys_are_pushed_and_no_others(engine: Engine, outbox: Path) -> None:
    """One key or a list; each once."""
    store(engine, {"a.txt": b"a", "b.txt": b"b", "c.txt": b"c"})
    assert (await engine.push(s3_keys="b.txt")).transferred == 1
    report = await engine.push(s3_keys=["a.txt", "a.txt", "b.txt", "gone.txt"])
    assert (report.transferred, report.skipped) == (1, {"synced": 1, "deleted": 1})
    assert set(tree(outbox)) == {"a.txt", "b.txt"}


async def test_no_keys_given_is_not_all_keys(fast: Engine) -> None:
    """An empty list, as XCom may bring it, pushes nothing."""
    store(fast, {"a.txt": b"a"})
    assert (await fast.push(s3_keys=[])).transferred == 0


async def test_sftp_lambdas_mark_is_honoured(fast: Engine) -> None:
    """`synched=true`, with no hash: who comes from sftp-lambda does not push everything again."""
    store(fast, {"a.txt": b"a"}, Metadata={"synched": "true"})
    for mark in ("metadata", "tag"):
        assert (await fast.push(mark=mark)).skipped == {"synced by sftp-lambda": 1}


@MARKS
async def test_a_copy_to_another_key_is_pushed(fast: Engine, mark: str) -> None:
    """Metadata and tags travel along with a copy; the mark does not count there."""
    store(fast, {"a.txt": b"a"})
    await fast.push(mark=mark)
    source = {"Bucket": fast.bucket, "Key": "a.txt"}
    fast.s3.client().copy_object(Bucket=fast.bucket, Key="b.txt", CopySource=source)
    report = await fast.push(mark=mark)
    assert (report.transferred, report.skipped) == (1, {"synced": 1})
    assert set(tree(fast.sftp.root / "out")) == {"a.txt", "b.txt"}


async def test_a_copy_to_another_bucket_is_pushed(fast: Engine, s3: S3Server) -> None:
    """A replica has the same key and metadata, and its own partner."""
    store(fast, {"a.txt": b"a"})
    await fast.push()
    source, fast.bucket = {"Bucket": fast.bucket, "Key": "a.txt"}, s3.new_bucket()
    s3.client().copy_object(Bucket=fast.bucket, Key="a.txt", CopySource=source)
    assert (await fast.push()).transferred == 1


async def test_without_marks_everything_goes_every_time(fast: Engine) -> None:
    """And nothing in S3 is touched."""
    store(fast, {"a.txt": b"a"}, Metadata={"mine": "1"})
    fast.s3.requests.clear()
    for _ in range(2):
        assert (await fast.push(mark="none")).transferred == 1
    assert {request.method for request in fast.s3.requests} <= {"GET", "HEAD"}
    assert fast.s3.client().head_object(Bucket=fast.bucket, Key="a.txt")["Metadata"] == {"mine": "1"}


@MARKS
async def test_a_mark_keeps_what_the_user_has_put_on_the_object(fast: Engine, mark: str) -> None:
    """Metadata, content headers, storage class, encryption, redirect and tags."""
    expires = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    store(
        fast,
        {"a.csv": b"a;b"},
        Metadata={"owner": "me", "note": "keep"},
        ContentType="text/csv",
        CacheControl="no-cache",
        ContentDisposition="attachment",
        ContentLanguage="de",
        ContentEncoding="identity",
        Expires=expires,
        StorageClass="STANDARD_IA",
        WebsiteRedirectLocation="/elsewhere",
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId="alias/mine",
        Tagging="team=blue&cost=1",
    )
    client = fast.s3.client()
    before = client.head_object(Bucket=fast.bucket, Key="a.csv")
    await fast.push(mark=mark)
    after = client.head_object(Bucket=fast.bucket, Key="a.csv")
    tags = client.get_object_tagging(Bucket=fast.bucket, Key="a.csv")["TagSet"]
    kept = set(before) - {"ResponseMetadata", "LastModified", "Metadata", "ETag", "TagCount"}
    assert {"Expires", "StorageClass", "WebsiteRedirectLocation", "SSEKMSKeyId", "ContentLanguage"} <= kept
    assert {name: after.get(name) for name in kept} == {name: before[name] for name in kept}
    assert after["Metadata"].items() >= {"owner": "me", "note": "keep"}.items()
    assert [tag for tag in tags if tag["Key"] != TAG] == [
        {"Key": "team", "Value": "blue"},
        {"Key": "cost", "Value": "1"},
    ]
    assert (after["Metadata"].get("synced") == "true") == (mark == "metadata")


@pytest.mark.parametrize("mark", ["auto", "metadata"])
async def test_an_object_over_the_copy_bound_is_marked_by_a_tag(
    fast: Engine, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    """CopyObject ends at 5 GiB. The next run sees it, and nothing of the object is rewritten."""
    monkeypatch.setattr(marks, "MAX_COPY", MiB)
    store(fast, {"big": b"x" * 2 * MiB, "small": b"s"}, Metadata={"mine": "1"}, Tagging="a=b%3Dc")
    client = fast.s3.client()
    before = client.head_object(Bucket=fast.bucket, Key="big")
    assert (await fast.push(mark=mark)).transferred == 2
    after = client.head_object(Bucket=fast.bucket, Key="big")
    assert (after["LastModified"], after["Metadata"]) == (before["LastModified"], {"mine": "1"})
    assert client.head_object(Bucket=fast.bucket, Key="small")["Metadata"]["synced"] == "true"
    tags = client.get_object_tagging(Bucket=fast.bucket, Key="big")["TagSet"]
    assert [tag["Key"] for tag in tags] == ["a", TAG]
    assert (await fast.push(mark=mark)).skipped == {"synced": 2}


async def test_ten_tags_are_the_end_of_tag_marks(fast: Engine) -> None:
    """S3 takes no eleventh: the file is there, the task fails and says what to use instead."""
    store(fast, {"a.txt": b"a"}, Tagging="&".join(f"t{number}=x" for number in range(10)))
    with pytest.raises(TransferError, match="use mark='metadata'"):
        await fast.push(mark="tag")


@MARKS
async def test_an_overwrite_during_the_push_is_taken_again(fast: Engine, mark: str) -> None:
    """Between the read and the mark: what ends up at the server are the newest bytes, and only they are marked."""
    assert isinstance(fast.s3, S3Server)
    store(fast, {"a.txt": b"one"})
    steps = {"metadata": "CopyObject", "tag": "PutObjectTagging"}
    overwritten = False

    def overwrite(request: S3Request) -> None:
        nonlocal overwritten
        if (request.operation, request.key) == (steps[mark], "a.txt") and not overwritten:
            overwritten = True
            store(fast, {"a.txt": b"two!"})

    fast.s3.before(overwrite)
    first = await fast.push(mark=mark)
    assert overwritten
    if mark == "tag":  # a tag has no condition: it names the ETag that was sent, and the next run sees that it is none
        assert first.transferred == 1
        assert (await fast.push(mark=mark)).transferred == 1
    assert tree(fast.sftp.root / "out") == {"a.txt": b"two!"}
    assert (await fast.push(mark=mark)).skipped == {"synced": 1}


async def test_an_object_overwritten_all_the_time_fails_and_waits(fast: Engine) -> None:
    """After three versions; unmarked, so that the next run takes it up."""
    assert isinstance(fast.s3, S3Server)
    store(fast, {"a.txt": b"0"})
    versions = iter(range(1, 4))

    def overwrite(request: S3Request) -> None:
        if (request.operation, request.key) == ("CopyObject", "a.txt") and (version := next(versions, None)):
            store(fast, {"a.txt": str(version).encode()})

    fast.s3.before(overwrite)
    with pytest.raises(TransferError, match="overwritten 3 times"):
        await fast.push()
    assert (await fast.push()).transferred == 1
    assert tree(fast.sftp.root / "out") == {"a.txt": b"3"}


async def test_the_newest_bytes_win_over_a_mark_that_another_run_has_set(fast: Engine) -> None:
    """Ours were older and came later: they are replaced, though the newer ones are marked already."""
    assert isinstance(fast.s3, S3Server)
    store(fast, {"a.txt": b"older"})
    done = False

    def another_run(request: S3Request) -> None:
        nonlocal done
        if (request.operation, request.key) == ("CopyObject", "a.txt") and not done:
            done = True
            metadata = marks.Naming(fast.bucket, DESTINATION).metadata("a.txt")
            store(fast, {"a.txt": b"newer"}, Metadata=metadata)

    fast.s3.before(another_run)
    await fast.push()
    assert tree(fast.sftp.root / "out") == {"a.txt": b"newer"}


async def test_a_deletion_during_the_push_is_no_failure(fast: Engine) -> None:
    """The partner has the file; there is nothing left to mark."""
    assert isinstance(fast.s3, S3Server)
    store(fast, {"a.txt": b"a"})

    def delete(request: S3Request) -> None:
        if (request.operation, request.key) == ("CopyObject", "a.txt"):
            fast.s3.client().delete_object(Bucket=fast.bucket, Key="a.txt")

    fast.s3.before(delete)
    assert (await fast.push()).transferred == 1


async def test_folder_markers_are_skipped(fast: Engine) -> None:
    """What S3's console makes for a folder is no file, with contents or without."""
    store(fast, {"p/": b"", "p/x/": b"", "p/x/a.txt": b"a", "p/odd/": b"contents"})
    report = await fast.push(s3_prefix="p/")
    assert (report.transferred, report.skipped) == (1, {"folder marker": 3})


async def test_include_exclude_and_strip(fast: Engine) -> None:
    """Patterns see the key without its prefix; strip_regex is removed once from the key."""
    store(fast, {"p/2024-01-01/a.csv": b"1", "p/2024-01-01/b.tmp": b"2", "p/x/c.csv": b"3"})
    report = await fast.push(s3_prefix="p", include="*.csv", exclude="x/*", strip_regex=r"^p/\d{4}-\d\d-\d\d/")
    assert tree(fast.sftp.root / "out") == {"a.csv": b"1"}
    assert report.skipped == {"excluded": 1, "not included": 1}


#: Two keys of one path, the first of them in the order of a listing.
FIRST, SECOND = "p/2024-01-01/a.csv", "p/2024-01-02/a.csv"
DATED = {"s3_prefix": "p", "strip_regex": r"^p/\d{4}-\d\d-\d\d/"}


async def two_of_one_name(engine: Engine, **settings: Any) -> TransferError:
    """Push, and return how that failed: the second key, naming the first, and nothing else."""
    with pytest.raises(TransferError) as error:
        await engine.push(**DATED, **settings)
    (failure,) = error.value.report.failures
    assert failure["source"].endswith(SECOND)
    assert FIRST in failure["error"]
    assert "strip_regex" in failure["error"]
    return error.value


@pytest.mark.slow
@pytest.mark.parametrize("mark", ["metadata", "tag", "none"])
@pytest.mark.parametrize("given", [True, False], ids=["keys", "prefix"])
@pytest.mark.parametrize("concurrency", [1, 64])
async def test_two_keys_of_one_path(fast: Engine, mark: str, given: bool, concurrency: int) -> None:
    """The first is delivered; the second fails, naming the first, in each try of the run. A later run pushes it."""
    fast.options = TransferOptions(concurrency=concurrency)
    began = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    store(fast, {FIRST: b"first", SECOND: b"second", "p/2024-01-02/b.csv": b"other"})
    keys = {"s3_keys": [FIRST, SECOND, "p/2024-01-02/b.csv"]} if given else {}
    assert (await two_of_one_name(fast, mark=mark, **keys)).report.transferred == 2
    delivered = {"a.csv": b"first", "b.csv": b"other"}
    assert tree(fast.sftp.root / "out") == delivered
    if given or mark != "tag":
        again = {"clean_up": True, "owner": "ab" * 4, "retried_since": began}
        await two_of_one_name(fast, mark=mark, **keys, **again)
        assert tree(fast.sftp.root / "out") == delivered
    if mark != "none":
        assert (await fast.push(**DATED, mark=mark)).transferred == 1
        assert tree(fast.sftp.root / "out")["a.csv"] == b"second"


async def test_a_dry_run_tells_of_two_keys_of_one_path(fast: Engine) -> None:
    """As the run itself would; nothing is written."""
    store(fast, {FIRST: b"first", SECOND: b"second"})
    error = await two_of_one_name(fast, dry_run=True)
    assert error.report.skipped == {"dry run": 1}
    assert tree(fast.sftp.root / "out") == {}


async def test_a_key_that_comes_again_to_its_own_path_is_no_other_key(
    fast: Engine, sftp_server: AsyncsshServer
) -> None:
    """Where the connection is lost under it, the same key is pushed again in the same run."""
    store(fast, {FIRST: b"first" * 1000})

    class CutsOnce(Fault):
        cuts = 0

        async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
            if request.name == "WRITE" and not self.cuts:
                self.cuts += 1
                raise CutConnection
            return await proceed()

    sftp_server.fault = fault = CutsOnce()
    report = await fast.push(**DATED)
    assert fault.cuts == 1
    assert (report.transferred, report.failed) == (1, 0)


async def test_a_name_whose_first_key_is_gone_is_free(fast: Engine) -> None:
    """Deleted after it was listed."""
    store(fast, {SECOND: b"second"})
    report = await fast.push(**DATED, s3_keys=[FIRST, SECOND])
    assert (report.transferred, report.skipped) == (1, {"deleted": 1})


@pytest.mark.slow
async def test_the_oldest_go_first(fast: Engine) -> None:
    """By S3's time of change, with a cap; of given keys too."""
    for given in (False, True):
        store(fast, {"a.txt": b"1"})
        await asyncio.sleep(1.1)  # S3 tells the time in seconds
        store(fast, {"b.txt": b"2"})
        await asyncio.sleep(1.1)
        store(fast, {"a.txt": b"3"})
        keys: dict[str, Any] = {"s3_keys": ["a.txt", "b.txt"]} if given else {}
        report = await fast.push(order="oldest", max_files=1, **keys)
        assert [target.rpartition("/")[2] for target in report.targets] == ["b.txt"]
        await fast.push()


async def test_sizes_and_ages_outside_the_bounds_stay(fast: Engine) -> None:
    """They are skipped with the reason, by a listing and of given keys, and are not marked."""
    files = {"small": b"1", "good": b"12345", "large": b"1234567890"}
    store(fast, files)
    skipped = {"too small": 1, "too large": 1}
    bounds: dict[str, Any] = {"min_size": 2, "max_size": 9}
    assert (await fast.push(s3_keys=list(files), dry_run=True, **bounds)).skipped == {**skipped, "dry run": 1}
    report = await fast.push(s3_keys=list(files), **bounds)
    assert (report.transferred, report.skipped) == (1, skipped)
    assert (await fast.push(**bounds)).skipped == {**skipped, "synced": 1}
    await asyncio.sleep(1.1)
    assert (await fast.push(max_age=1.0)).skipped["too old"] >= 2
    assert (await fast.push(max_age=600.0)).transferred == 2


async def test_caps(fast: Engine) -> None:
    """The rest waits for the next run, given keys included."""
    keys = [f"{number}.txt" for number in range(6)]
    store(fast, dict.fromkeys(keys, b"12345"))
    report = await fast.push(max_files=2)
    assert (report.transferred, report.left, report.more_left) == (2, 4, False)
    assert 0 <= (report.oldest_age if report.oldest_age is not None else -1) < 600
    report = await fast.push(max_bytes=12)
    assert (report.transferred, report.left) == (2, 2), "what is synced behind the cap is not left"
    left = [key for key in keys if not (fast.sftp.root / "out" / key).exists()]
    report = await fast.push(s3_keys=left, max_bytes=5)
    assert (report.transferred, report.left) == (1, 1)


async def test_dry_run(fast: Engine) -> None:
    """Lists what would go where; nothing is written, made or marked."""
    store(fast, {"p/x/a.txt": b"a"})
    fast.s3.requests.clear()
    report = await fast.push(s3_prefix="p", dry_run=True)
    assert {request.method for request in fast.s3.requests} <= {"GET", "HEAD"}
    assert report.targets == [f"sftp://{fast.sftp.host}:{fast.sftp.port}/out/x/a.txt"]
    assert (report.transferred, report.skipped) == (0, {"dry run": 1})
    assert report.left == 1
    assert report.oldest_age is not None
    assert list((fast.sftp.root / "out").iterdir()) == []
    assert fast.s3.client().head_object(Bucket=fast.bucket, Key="p/x/a.txt")["Metadata"] == {}


async def test_a_dry_run_delivers_nothing_that_comes_while_it_looks(fast: Engine) -> None:
    """It is not there for the first request, and would be for the next one."""
    store(fast, {"p/a.txt": b"a"})
    assert isinstance(fast.s3, S3Server)
    fast.s3.before(lambda request: (404, "NoSuchKey") if request.operation == "HeadObject" else None)
    assert (await fast.push(s3_prefix="p", dry_run=True)).skipped == {"deleted": 1}
    assert list((fast.sftp.root / "out").iterdir()) == []


async def test_a_failed_object_leaves_the_others_alone(engine: Engine, outbox: Path) -> None:
    """One target is a directory, so that the rename fails; its siblings arrive and are marked, it is not."""
    store(engine, {"a.txt": b"a", "taken": b"t", "z.txt": b"z"})
    (outbox / "taken").mkdir()
    (outbox / "taken" / "inside").write_bytes(b"the partner's")
    with pytest.raises(TransferError, match="taken") as failed:
        await engine.push()
    report = failed.value.report
    assert (report.transferred, report.failed) == (2, 1)
    assert report.failures[0]["source"] == f"s3://{engine.bucket}/taken"
    assert tree(outbox) == {"a.txt": b"a", "z.txt": b"z", "taken/inside": b"the partner's"}
    (outbox / "taken" / "inside").unlink()
    (outbox / "taken").rmdir()
    report = await engine.push()
    assert (report.transferred, report.skipped) == (1, {"synced": 2})
    assert tree(outbox) == {"a.txt": b"a", "z.txt": b"z", "taken": b"t"}


@pytest.mark.parametrize("key", ["p/../x", "p//x", "p/a\x01b", "p/./x", "p/" + "n" * 256, "p/.0123456789abcdef.part"])
async def test_a_hostile_key_is_refused_and_its_siblings_go(fast: Engine, key: str) -> None:
    """With a reason; exclude silences it."""
    store(fast, {key: b"hostile", "p/good.txt": b"good"})
    with pytest.raises(TransferError) as failed:
        await fast.push(s3_prefix="p")
    assert failed.value.report.transferred == 1
    assert tree(fast.sftp.root) == {"out/good.txt": b"good"}
    report = await fast.push(s3_prefix="p", include="good.txt")
    assert (report.failed, report.skipped) == (0, {"synced": 1, "not included": 1})


async def test_a_retry_removes_what_its_earlier_tries_left(fast: Engine) -> None:
    """Its own only: another task's unfinished file, and the partner's files, are left alone."""
    out = fast.sftp.root / "out"
    (out / "sub").mkdir()
    store(fast, {"sub/a.txt": b"a", "b.txt": b"b"})
    mine = [out / ".0123abcd89abcdef.part", out / "sub" / ".0123abcd00000000.part"]
    others = [out / ".ffffffff00000000.part", out / "sub" / ".0123abcd.part", out / "partner.part"]
    for path in mine + others:
        path.write_bytes(b"half")
    await fast.push(owner="0123abcd")
    assert all(path.exists() for path in mine + others), "a first try has nothing to clean up"
    await fast.push(owner="0123abcd", clean_up=True)
    assert not any(path.exists() for path in mine)
    assert all(path.exists() for path in others)


async def test_a_missing_target_is_a_wrong_setting(fast: Engine) -> None:
    """sftp_path is not made: a slip of the pen must not become a directory."""
    with pytest.raises(PlaceMissing, match="sftp_path"):
        await fast.push("nowhere")


@pytest.mark.parametrize("settings", [{}, {"s3_keys": ["a"]}])
async def test_a_missing_bucket_is_a_wrong_setting(fast: Engine, settings: dict[str, Any]) -> None:
    """Found before the first object, also with given keys."""
    fast.bucket = "no-such-bucket"
    with pytest.raises(PlaceMissing, match="no-such-bucket"):
        await fast.push(**settings)
    assert not [request for request in fast.s3.requests if request.operation == "GetObject"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mark": "pencil"}, "mark must be one of auto, metadata, tag, none, not 'pencil'"),
        ({"strip_regex": "("}, "strip_regex is no regular expression"),
        ({"s3_keys": [1]}, "is no text: there must be a key or a list of keys"),
        ({"s3_keys": 1}, "is no text: there must be a key or a list of keys"),
        ({"s3_keys": {"a": 1}}, "is no text: there must be a key or a list of keys"),
        ({"include": 5}, "include must be a glob"),
        ({"s3_prefix": 5}, "s3_prefix must be a text"),
        ({"max_files": -1}, "max_files"),
        ({"s3_prefix": "../x"}, "s3_prefix"),
    ],
)
async def test_a_wrong_setting_is_named(fast: Engine, settings: dict[str, Any], message: str) -> None:
    """With what is allowed."""
    with pytest.raises(ConfigurationError, match=message):
        await fast.push(**settings)


@MARKS
async def test_unsynced_lists_what_a_push_would_take(fast: Engine, mark: str) -> None:
    """In the order of the keys, over more than one page of S3's listing; folder markers and synced ones not."""
    store(fast, {"p/a": b"", "p/b": b"", "p/dir/": b"", "p/c//odd": b""})
    await fast.push(s3_keys=["p/a"], mark=mark)
    settings = PushSettings(sftp_path="/", s3_prefix="p", mark=mark)
    async with fast.opened_bucket() as bucket:
        found = [entry.key async for entry in unsynced(settings, bucket, fast.options, Ledger(bucket, "p/"))]
    assert found == ["p/b", "p/c//odd"]


@pytest.mark.slow
async def test_many_objects_over_several_pages(fast: Engine) -> None:
    """S3 lists 1,000 keys at a time."""
    client = fast.s3.client()
    await asyncio.gather(
        *(
            asyncio.to_thread(client.put_object, Bucket=fast.bucket, Key=f"{number:04}", Body=b"x")
            for number in range(1005)
        )
    )
    assert (await fast.push(mark="none")).transferred == 1005
    assert len(tree(fast.sftp.root / "out")) == 1005
