"""SftpS3Hook in functions of one's own: in a task, in threads, beside a running event loop."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from airflow_provider_sftp_s3._compat import AIRFLOW_2, DAG, AirflowFailException
from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, SftpS3Error, TransferError
from airflow_provider_sftp_s3.hooks.sftp_s3 import SftpS3Hook
from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator
from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator
from tests.support.airflow_env import run_dag, warnings_of_ours_only, xcom
from tests.support.faulty_sftp import NeverAnswers, OpenIsRefused
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

DIRECTIONS = ("pull", "push")


class Ends:
    """A server with a file in ``/in``, and a bucket with an object under ``from/``."""

    def __init__(self, sftp: AsyncsshServer, s3: S3Server, bucket: str) -> None:
        self.sftp, self.s3, self.bucket = sftp, s3, bucket
        for name in ("in", "out"):
            (sftp.root / name).mkdir()
        (sftp.root / "in/a.txt").write_bytes(b"pulled")
        client = s3.client()
        client.put_object(Bucket=bucket, Key="from/b.txt", Body=b"pushed")
        client.close()

    def arguments(self, direction: str) -> dict[str, Any]:
        if direction == "pull":
            return {"sftp_path": "/in", "s3_bucket": self.bucket, "s3_prefix": "to/", "min_age": 0}
        return {"sftp_path": "/out", "s3_bucket": self.bucket, "s3_prefix": "from/"}

    def call(self, direction: str, hook: SftpS3Hook | None = None, **arguments: Any) -> dict[str, Any]:
        with warnings_of_ours_only():
            transfer: Callable[..., dict[str, Any]] = getattr(hook or SftpS3Hook(), direction)
            return transfer(**self.arguments(direction) | arguments)

    def have_both(self) -> bool:
        """Say whether both files are where they belong."""
        pulled = self.s3.objects(self.bucket).get("to/a.txt") == b"pulled"
        return pulled and (self.sftp.root / "out/b.txt").read_bytes() == b"pushed"


@pytest.fixture
def ends(sftp_server: AsyncsshServer, s3: S3Server, bucket: str, default_connections: None) -> Ends:
    return Ends(sftp_server, s3, bucket)


@pytest.mark.parametrize(
    ("method", "operator"), [(SftpS3Hook.pull, SftpTreeToS3Operator), (SftpS3Hook.push, S3ToSftpOperator)]
)
def test_its_arguments_are_the_operators(method: Callable[..., Any], operator: type) -> None:
    """Names, defaults and types; the connections are the hook's own."""
    of_the_operator = dict(inspect.signature(operator.__init__).parameters)  # type: ignore[misc]
    connections = {name: of_the_operator.pop(name) for name in ("sftp_conn_id", "aws_conn_id")}
    for name in ("self", "kwargs"):
        of_the_operator.pop(name)
    of_the_hook = dict(inspect.signature(method).parameters)
    of_the_hook.pop("self")
    assert of_the_hook == of_the_operator
    own = inspect.signature(SftpS3Hook).parameters
    assert {name: (each.default, each.annotation) for name, each in own.items()} == {
        name: (each.default, each.annotation) for name, each in connections.items()
    }
    documented = inspect.getdoc(method) or ""
    assert [name for name in of_the_hook if f":param {name}:" not in documented] == []


def test_every_argument_counts(ends: Ends) -> None:
    """Those that another test does not give: each changes what a run does."""
    for direction in DIRECTIONS:
        assert ends.call(direction, dry_run=True)["skipped"] == {"dry run": 1}
        assert ends.call(direction, include="x*")["skipped"] == {"not included": 1}
        assert ends.call(direction, exclude=["*.txt"])["skipped"] == {"excluded": 1}
        assert (
            ends.call(direction, max_bytes=1, max_files=1, options={"concurrency": 1}, dry_run=True)["transferred"] == 0
        )
        assert ends.call(direction, min_size=10**9)["skipped"] == {"too small": 1}
        assert ends.call(direction, max_size=1)["skipped"] == {"too large": 1}
        assert ends.call(direction, max_age=10**10, order="oldest", dry_run=True)["skipped"] == {"dry run": 1}
    assert ends.call("pull", min_age=10**9)["transferred"] == 0
    assert ends.call("pull", after_transfer="keep")["transferred"] == 1
    (ends.sftp.root / "in/link.txt").symlink_to("a.txt")
    assert ends.call("pull", after_transfer="keep", follow_links=True)["transferred"] == 1
    (ends.sftp.root / "in/link.txt").unlink()
    assert ends.call("pull", after_transfer="keep")["transferred"] == 0
    assert {ends.call("pull", shard=f"{n}/2", dry_run="true")["skipped"].get("dry run", 0) for n in (1, 2)} == {0, 1}
    assert ends.call("pull", done_dir="sent")["transferred"] == 1
    assert (ends.sftp.root / "in/sent/a.txt").exists()
    os.utime(ends.sftp.root / "in/sent/a.txt", (10**9, 10**9))
    assert ends.call("pull", done_dir="sent", retention=1)["purged"] == 1
    assert ends.call("push", s3_keys="from/b.txt", strip_regex="^from/b", mark="none")["targets"][0].endswith(
        "/out/.txt"
    )
    assert ends.call("push", temp_name="tmp/{id}", verify="none")["transferred"] == 1
    assert (ends.sftp.root / "out/tmp").is_dir()


def test_in_a_task(ends: Ends) -> None:
    """What it returns is the report of the operator, but for the seconds."""
    if AIRFLOW_2:
        from airflow.decorators import task
    else:
        from airflow.sdk import task

    with DAG("by_hook", schedule=None, start_date=datetime(2026, 1, 1)) as dag:

        @task  # type: ignore[untyped-decorator]
        def pull() -> dict[str, Any]:
            return SftpS3Hook("sftp_default", "aws_default").pull(**ends.arguments("pull"))

        @task(retries=2)  # type: ignore[untyped-decorator]
        def typo() -> None:
            SftpS3Hook().push(**ends.arguments("push"), mark="sticker")

        pull()
        typo()
        SftpTreeToS3Operator(task_id="operator", dry_run=True, **ends.arguments("pull"))
    state, instances = run_dag(dag)
    assert (state, instances["typo", -1].state, instances["typo", -1].try_number) == ("failed", "failed", 1)
    report = xcom(instances["pull", -1])
    assert report.pop("seconds") > 0
    assert report == {
        **{"direction": "pull", "transferred": 1, "bytes": 6, "skipped": {}, "failed": 0, "failures": []},
        **{"targets": [f"s3://{ends.bucket}/to/a.txt"], "purged": 0, "left": 0, "more_left": False, "oldest_age": None},
        **{"recovered": 0, "total": {"files": 1, "bytes": 6}, "receipt": None},
    }
    assert set(report) | {"seconds"} == set(xcom(instances["operator", -1]))


def test_in_threads_at_once(ends: Ends) -> None:
    """Of one hook."""
    hook = SftpS3Hook()
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda direction: ends.call(direction, hook), DIRECTIONS))
    assert [report["transferred"] for report in reports] == [1, 1]
    assert ends.have_both()


async def test_within_a_running_event_loop(ends: Ends) -> None:
    """Which waits, and goes on as it was."""
    for direction in DIRECTIONS:
        assert ends.call(direction)["transferred"] == 1
    assert ends.have_both()
    await asyncio.sleep(0)


async def test_beside_a_running_event_loop(ends: Ends) -> None:
    """In a thread of it: others go on while the server says nothing, and a hook can be stopped."""
    ends.sftp.fault = NeverAnswers(("READ", "WRITE"))
    hook = SftpS3Hook()
    asked = asyncio.create_task(
        asyncio.to_thread(ends.call, "pull", hook, options={"idle_timeout": 3600, "conn_timeout": 3600})
    )
    while not ends.sftp.requests["READ"]:
        assert not asked.done()
        await asyncio.sleep(0.01)
    await asyncio.to_thread(hook.stop)
    with pytest.raises(SftpS3Error, match="stopped from outside"):
        await asked
    assert ends.s3.objects(ends.bucket).keys() == {"from/b.txt"}
    hook.stop()  # once more, with nothing to stop


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_errors_are_the_operators(ends: Ends, direction: str) -> None:
    """What only a user can mend is not retried; another failure has the report; a server that is down is its own."""
    for wrong in ({"max_files": 0}, {"sftp_path": "/nowhere"}, {"s3_bucket": ""}, {"options": {"nonsense": 1}}):
        with pytest.raises(AirflowFailException, match=next(iter(wrong))):
            ends.call(direction, **wrong)
    with pytest.raises(AirflowFailException, match="sftp_conn_id"):
        ends.call(direction, SftpS3Hook("nobody"))
    ends.sftp.fault = OpenIsRefused(path=lambda path: True)
    with pytest.raises(TransferError) as failed:
        ends.call(direction)
    assert failed.value.report.as_dict()["failed"] == 1
    ends.sftp.stop()
    with pytest.raises(ConnectionFailed):
        ends.call(direction, options={"conn_timeout": 0.2})
