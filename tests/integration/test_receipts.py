"""Receipts: a line for each file, in S3, whatever becomes of the run."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.api import transfer_between
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, PlaceMissing, TransferError
from airflow_provider_sftp_s3.engine.model import Moved, Report
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.s3 import receipts
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.checksums import crc32_of
from airflow_provider_sftp_s3.engine.settings import PullSettings, PushSettings, TaskTry
from tests.faults.harness import settles
from tests.support.engine import Recorder, server_of
from tests.support.faulty_sftp import OpenIsRefused
from tests.support.receipts import lines_in, objects_in
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault

pytestmark = pytest.mark.integration

DIRECTIONS = ("pull", "push")
FIELDS = [
    *("time", "direction", "status", "source", "target", "size", "mtime", "etag", "version_id", "checksum"),
    *("seconds", "try", "error"),
]
"""Of a line, as documented: whoever keeps books reads them."""
OF_THE_RUN = "receipts/dag_id=a%2Fdag/date=2026-01-31/manual__2026-01-31T06%3A00%3A00%2B00%3A00/"


class Ends:
    """A server with files in ``in``, a bucket with objects under ``from/``, and runs between them."""

    def __init__(self, sftp: AsyncsshServer, s3: S3Server, bucket: str) -> None:
        self.sftp, self.s3, self.bucket = sftp, s3, bucket
        self.client = s3.client()
        self.seen = Recorder()
        self.options = TransferOptions()
        for name in ("in", "out"):
            (sftp.root / name).mkdir()

    def sources(self, direction: str, *names: str) -> None:
        for name in names:
            if direction == "pull":
                (self.sftp.root / "in" / name).write_bytes(b"contents")
            else:
                self.client.put_object(Bucket=self.bucket, Key=f"from/{name}", Body=b"contents")

    async def run(self, direction: str, *, number: int = 1, task: str = "move", index: int = -1, **more: Any) -> Report:
        """Run one try of a task."""
        of_the_task: dict[str, Any] = {
            "receipts": f"s3://{self.bucket}/receipts/",
            "task_try": TaskTry("a/dag", "2026-01-31", "manual__2026-01-31T06:00:00+00:00", task, index, number),
            "retried_since": datetime.now(UTC) - timedelta(hours=1) if number > 1 else None,
        }
        settings: PullSettings | PushSettings
        if direction == "pull":
            settings = PullSettings(**dict[str, Any](sftp_path="/in", s3_prefix="to/", min_age=0) | of_the_task | more)
        else:
            settings = PushSettings(**{"sftp_path": "/out", "s3_prefix": "from/"} | of_the_task | more)

        async def bucket() -> Bucket:
            session = self.s3.session()
            return Bucket(self.bucket, self.s3.client(session), session, self.options)

        return await transfer_between(settings, server_of(self.sftp), bucket, self.options, self.seen)

    def lines(self) -> list[dict[str, Any]]:
        return lines_in(self.s3, self.bucket)

    def told(self) -> Counter[tuple[str, str]]:
        """How often each file was told of, and as what."""
        return Counter((line["source"].rpartition("/")[2], line["status"]) for line in self.lines())

    def arrived(self, direction: str) -> set[str]:
        if direction == "pull":
            return {key.removeprefix("to/") for key in self.s3.objects(self.bucket) if key.startswith("to/")}
        return {file.name for file in (self.sftp.root / "out").iterdir()}


@pytest.fixture
def ends(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> Iterator[Ends]:
    ends = Ends(sftp_server, s3, bucket)
    yield ends
    ends.client.close()


def is_receipt(request: S3Request) -> bool:
    return request.operation == "PutObject" and "/receipts/" in f"/{request.key}"


def refuses_after_the_first(ends: Ends, status: int, code: str) -> None:
    """Have S3 take one receipt, and no more."""
    seen: list[S3Request] = []

    def refuse(request: S3Request) -> tuple[int, str] | None:
        if is_receipt(request):
            seen.append(request)
        return (status, code) if is_receipt(request) and len(seen) > 1 else None

    ends.s3.before(refuse)


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_each_file_is_a_line(ends: Ends, direction: str) -> None:
    """With all that is known of it, in one object, whose name says which try of which task has moved it."""
    ends.client.put_bucket_versioning(Bucket=ends.bucket, VersioningConfiguration={"Status": "Enabled"})
    ends.sources(direction, "a", "b")
    before = time.time()
    report = await ends.run(direction)
    assert list(objects_in(ends.s3, ends.bucket)) == [f"{OF_THE_RUN.removeprefix('receipts/')}move--1-1-1.jsonl.gz"]
    assert report.receipt == f"s3://{ends.bucket}/{OF_THE_RUN}"
    lines = sorted(ends.lines(), key=lambda line: str(line["source"]))
    assert [list(line) for line in lines] == [FIELDS] * 2
    for line, name in zip(lines, "ab", strict=True):
        at_server, in_s3 = f"sftp://{ends.sftp.host}:{ends.sftp.port}", f"s3://{ends.bucket}"
        ways = {
            "pull": (f"{at_server}/in/{name}", f"{in_s3}/to/{name}"),
            "push": (f"{in_s3}/from/{name}", f"{at_server}/out/{name}"),
        }
        assert (line["source"], line["target"]) == ways[direction]
        assert (line["direction"], line["status"], line["size"], line["try"]) == (direction, "transferred", 8, 1)
        assert line["error"] is None
        assert abs(datetime.fromisoformat(line["time"]).timestamp() - before) < 60
        assert abs(line["mtime"] - before) < 60
        assert 0 < line["seconds"] < 60
        # A mark by metadata is a copy, with a version of its own: the line has the one that was sent.
        key = f"{'to' if direction == 'pull' else 'from'}/{name}"
        head = ends.client.head_object(Bucket=ends.bucket, Key=key, VersionId=line["version_id"])
        assert head["ETag"] == f'"{line["etag"]}"'
        if direction == "pull":
            assert line["checksum"] == f"CRC32:{crc32_of(b'contents')}"


async def test_large_files_have_an_etag(ends: Ends) -> None:
    """By obstore in one request, in parts, and in parts of our own."""
    sizes = {"one": 10**6, "parts": 6 * 2**20, "own": 6 * 2**20}
    ends.options = TransferOptions(part_size=5 * 2**20)
    for name, size in sizes.items():
        (ends.sftp.root / "in" / name).write_bytes(bytes(size))
        await ends.run("pull", extra_args={"ACL": "private"} if name == "own" else None)
    heads = [ends.client.head_object(Bucket=ends.bucket, Key=f"to/{name}") for name in sizes]
    assert [f'"{line["etag"]}"' for line in ends.lines()] == [head["ETag"] for head in heads]


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_what_every_run_repeats_is_no_line(ends: Ends, direction: str) -> None:
    """And a run that moves nothing writes nothing; nor does a dry run."""
    ends.sources(direction, "a", "b.tmp")
    assert (await ends.run(direction, dry_run=True)).receipt is None
    assert ends.lines() == []
    keep: dict[str, Any] = {"after_transfer": "keep", "exclude": "*.tmp"}
    await ends.run(direction, **keep)
    assert ends.told() == {("a", "transferred"): 1}
    before = ends.s3.objects(ends.bucket)
    report = await ends.run(direction, **keep)
    assert sum(report.skipped.values()) == 2
    assert report.receipt is None
    assert ends.s3.objects(ends.bucket) == before


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_a_failure_is_a_line_with_its_error(ends: Ends, direction: str) -> None:
    ends.sources(direction, "good", "bad")
    ends.sftp.fault = OpenIsRefused(path=lambda path: direction == "push" or path.endswith("bad"))
    with pytest.raises(TransferError) as failed:
        await ends.run(direction)
    bad = [line for line in ends.lines() if line["status"] == "failed" and line["source"].endswith("/bad")]
    assert len(bad) == 1
    assert (bad[0]["target"], bad[0]["size"]) == (None, None)
    assert bad[0]["error"] in [each["error"] for each in failed.value.report.failures]
    assert failed.value.report.receipt == f"s3://{ends.bucket}/{OF_THE_RUN}"


async def test_a_skip_that_passes_is_a_line(ends: Ends) -> None:
    """One that the next run will not repeat: a young file, one that went away."""
    ends.sources("pull", "young")
    await ends.run("pull", min_age=1000)
    await ends.run("push", s3_keys=["from/nothing"])
    ends.sources("pull", "gone")
    ends.sftp.fault = Vanishes()
    await ends.run("pull", include="gone")
    reasons = {line["source"].rpartition("/")[2]: line["error"] for line in ends.lines()}
    assert reasons == {"young": "young", "nothing": "deleted", "gone": "gone"}
    assert {line["status"] for line in ends.lines()} == {"skipped"}


class Vanishes(Fault):
    """A file is gone when it is opened."""

    async def answer(self, server: AsyncsshServer, request: Any, proceed: Any) -> Any:
        if request.name == "OPEN" and request.path.endswith("/gone"):
            (server.root / "in/gone").unlink()
        return await proceed()


# -- What cannot be written --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_nothing_is_moved_where_s3_takes_no_receipts(ends: Ends, direction: str) -> None:
    """The very first one is refused before a byte of a file is read or written."""
    ends.sources(direction, "a", "b")
    ends.s3.before(lambda request: (403, "AccessDenied") if is_receipt(request) else None)
    with pytest.raises(ConfigurationError, match=r"receipts: S3 does not take .*AccessDenied.*s3:PutObject"):
        await ends.run(direction)
    assert ends.arrived(direction) == set()
    assert ends.sftp.requests["READ"] == ends.sftp.requests["WRITE"] == 0
    with pytest.raises(PlaceMissing, match="receipts: there is no bucket 'nowhere'"):
        await ends.run(direction, receipts="s3://nowhere/receipts/")
    assert ends.arrived(direction) == set()


@pytest.mark.parametrize("status", [403, 503])
@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_no_file_is_lost_for_a_receipt(ends: Ends, direction: str, status: int) -> None:
    """All files are moved, the run fails and says why, and the retry tells of them."""
    ends.sources(direction, "a", "b")
    ends.options = TransferOptions(idle_timeout=2)  # for so long S3 is asked again
    refuses_after_the_first(ends, status, "SlowDown" if status == 503 else "AccessDenied")
    with pytest.raises(
        TransferError, match=r"no file failed, but 2 lines of the receipts .* could not be written"
    ) as failed:
        await ends.run(direction)
    assert (failed.value.report.transferred, failed.value.report.failed) == (2, 0)
    assert ends.arrived(direction) == {"a", "b"}
    assert ends.lines() == []
    ends.s3._before.clear()
    ends.options = TransferOptions()
    report = await ends.run(direction, number=2)
    assert (report.transferred, report.recovered, report.total) == (0, 2, Moved(2, 16))
    assert ends.told() == {("a", "recovered"): 1, ("b", "recovered"): 1}
    assert {line["size"] for line in ends.lines()} == {8}


async def test_an_outage_at_the_beginning_is_waited_for(ends: Ends) -> None:
    """A first write that may succeed later holds up nothing."""
    ends.sources("pull", "a")
    ends.options = TransferOptions(idle_timeout=4)  # for so long S3 is asked again
    outage = [True]
    ends.s3.before(lambda request: (503, "SlowDown") if is_receipt(request) and outage else None)
    ends.s3.after(lambda request: outage.clear() if request.key == "to/a" else None)
    assert (await ends.run("pull")).transferred == 1
    assert ends.told() == {("a", "transferred"): 1}


async def test_failures_are_said_though_receipts_fail_too(ends: Ends) -> None:
    """The files' own error is raised, the receipts' is a notice."""
    ends.sources("pull", "a")
    ends.sftp.fault = OpenIsRefused(path=lambda path: True)
    refuses_after_the_first(ends, 403, "AccessDenied")
    with pytest.raises(TransferError, match="1 failed"):
        await ends.run("pull")
    assert [notice for notice in ends.seen.notices if "1 lines of the receipts" in notice]


# -- Parts -------------------------------------------------------------------------------------------------------------


async def test_no_object_has_more_than_so_many_lines(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "MAX_LINES", 4)
    names = [f"{number:02}" for number in range(10)]
    ends.sources("pull", *names)
    await ends.run("pull")
    objects = objects_in(ends.s3, ends.bucket)
    assert sum(map(len, objects.values())) == 10
    assert max(map(len, objects.values())) == 4
    assert ends.told() == {(name, "transferred"): 1 for name in names}


def holds(ends: Ends, name: str) -> threading.Event:
    """Have S3 take a file of this name only once the event is set."""
    go = threading.Event()

    def hold(request: S3Request) -> None:
        if request.key == f"to/{name}":
            go.wait(60)

    ends.s3.before(hold)
    return go


async def test_no_line_waits_for_the_end(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one file takes its time, the line of another is there after a while."""
    monkeypatch.setattr(receipts, "MAX_SECONDS", 0.05)
    ends.sources("pull", "early", "late")
    go = holds(ends, "late")
    run = asyncio.create_task(ends.run("pull"))
    assert await settles(ends.lines, 60)
    assert ends.told() == {("early", "transferred"): 1}
    go.set()
    await run
    assert ends.told() == {("early", "transferred"): 1, ("late", "transferred"): 1}


async def test_a_run_that_is_stopped_writes_what_it_has(ends: Ends) -> None:
    ends.sources("pull", "early", "late")
    go = holds(ends, "late")
    run = asyncio.create_task(ends.run("pull"))
    assert await settles(lambda: ends.seen.outcomes, 60)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    go.set()
    assert ends.told() == {("early", "transferred"): 1}


# -- Tries -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_a_retry_knows_what_the_tries_before_it_have_moved(ends: Ends, direction: str) -> None:
    """And no other task: not another one, nor one of the same name that is mapped, nor another part of it."""
    ends.sources(direction, "a", "b", "c")
    ends.sftp.fault = OpenIsRefused(path=lambda path: direction == "pull" and path.endswith("/c"))
    only: dict[str, Any] = {"exclude": "c"} if direction == "push" else {}
    if direction == "pull":
        with pytest.raises(TransferError):
            await ends.run(direction)
    else:
        await ends.run(direction, **only)
    ends.sftp.fault = Fault()
    report = await ends.run(direction, number=2)
    assert (report.transferred, report.recovered, report.total) == (1, 0, Moved(3, 24))
    assert "with earlier tries 3 transferred (24 bytes)" in report.summary()
    assert report.as_dict()["total"] == {"files": 3, "bytes": 24}
    for other in ({"task": "other"}, {"index": 1}, {"task": "move-", "index": 1}, {"task": "mov"}):
        assert (await ends.run("push", number=2, s3_prefix="nothing/", **other)).total == Moved()
    third = await ends.run(direction, number=3)
    assert third.receipt == report.receipt
    assert (third.transferred, third.recovered, third.total) == (0, 0, Moved(3, 24))


async def test_the_same_try_again_writes_over_nothing(ends: Ends) -> None:
    """A Dag that is tried out by hand may have the same run and the same try twice."""
    for name in "ab":
        ends.sources("pull", name)
        await ends.run("pull")
    assert [re.split(r"[/.]", key)[-3] for key in objects_in(ends.s3, ends.bucket)] == ["move--1-1-1", "move--1-1-2"]
    assert ends.told() == {("a", "transferred"): 1, ("b", "transferred"): 1}


async def test_where_nobody_knows_the_report_says_so(ends: Ends) -> None:
    """With no receipts, and where those of earlier tries cannot be read; the run goes on."""
    ends.sources("pull", "a")
    await ends.run("pull")
    without = await ends.run("pull", number=2, receipts=None)
    assert without.as_dict()["total"] is None
    assert "what earlier tries have moved is not known" in without.summary()
    (key,) = (key for key in ends.s3.objects(ends.bucket) if key.startswith("receipts/"))
    ends.client.put_object(Bucket=ends.bucket, Key=key, Body=b"garbled")
    ends.sources("pull", "b")
    garbled = await ends.run("pull", number=2)
    assert (garbled.transferred, garbled.as_dict()["total"]) == (1, None)
    assert [notice for notice in ends.seen.notices if notice.startswith("what earlier tries of this task have moved")]
    ends.s3.before(
        lambda request: (403, "AccessDenied") if request.query.get("prefix", "").startswith("receipts/") else None
    )
    ends.sources("pull", "c")
    assert (await ends.run("pull", number=3)).as_dict()["total"] is None
    ends.client.delete_object(Bucket=ends.bucket, Key=key)
    assert ends.told() == {("b", "transferred"): 1, ("c", "transferred"): 1}


async def test_what_others_have_stored_is_not_recovered(ends: Ends) -> None:
    """Nor what an earlier run has pulled, what another shard has, and what is still to be moved away."""
    ends.client.put_object(Bucket=ends.bucket, Key="to/others", Body=b"")
    ends.sources("pull", "a", "again")
    await ends.run("pull", receipts=None)
    ends.sources("pull", "again")
    more: dict[str, Any] = {"exclude": "again"}
    shards = [await ends.run("pull", number=2, shard=f"{number}/2", index=number, **more) for number in (1, 2)]
    assert sorted(report.recovered for report in shards) == [0, 1]
    assert ends.told()["a", "recovered"] == 1
    assert {name for name, status in ends.told() if status == "recovered"} == {"a"}


async def test_in_another_bucket(ends: Ends) -> None:
    """With the same connection; there are no extra_args of the transfer."""
    other = ends.s3.new_bucket("books")
    ends.sources("pull", "a")
    report = await ends.run(
        "pull", receipts=f"s3://{other}/x", extra_args={"StorageClass": "STANDARD_IA"}, task_try=None
    )
    assert re.fullmatch(rf"s3://{other}/x/date=\d{{4}}-\d\d-\d\d/[0-9a-f]{{16}}/", report.receipt or "")
    assert [line["status"] for line in lines_in(ends.s3, other, "x/")] == ["transferred"]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("s3://{bucket}/to/", "neither may be inside the other"),
        ("s3://{bucket}/to/receipts/", "neither may be inside the other"),
        ("s3://{bucket}/to/../receipts/", "receipts"),
        ("s3://{bucket}", "receipts must be a prefix"),
        ("receipts/", "receipts must be a prefix"),
        (5, "receipts must be a prefix"),
        ("s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/mine/receipts/", "name an access point by its alias"),
        ("s3://two words/receipts/", "receipts: the bucket 'two words' is no bucket's name"),
        ("s3://{bucket}/.sftp-s3/", "uses objects of that name itself"),
    ],
)
async def test_a_place_that_cannot_be(ends: Ends, place: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        await ends.run("pull", receipts=place.format(bucket=ends.bucket) if isinstance(place, str) else place)
