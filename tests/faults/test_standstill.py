"""A process that stands still for longer than its time limits: by SIGSTOP, as on a machine that is suspended."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import pytest

from tests.faults.harness import read_tree, write_tree
from tests.faults.operator_run import OperatorRun
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault, Proceed, Request

pytestmark = pytest.mark.faults

IDLE = 2.0
FILES = {"a": b"a" * 100_000, "b": b"b"}


class PausesTheClient(Fault):
    """
    Lets the client stand still for longer than its `idle_timeout` while it waits for what it reads first.

    :param answers_first: the answer is on its way before the client goes on; else it comes a little later.
    """

    def __init__(self, run: OperatorRun, answers_first: bool) -> None:
        self._run: OperatorRun | None = run
        self._answers_first = answers_first

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name != "READ" or self._run is None:
            return await proceed()
        run, self._run = self._run, None
        run.pause()
        if self._answers_first:
            asyncio.get_running_loop().call_later(1.5 * IDLE, run.resume)
        else:
            await asyncio.sleep(1.5 * IDLE)
            run.resume()
            await asyncio.sleep(IDLE / 4)
        return await proceed()


@pytest.mark.parametrize("answers_first", [True, False])
def test_a_process_that_stood_still_goes_on(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, answers_first: bool
) -> None:
    """The server is not blamed for it: no file fails, and the connection is kept."""
    write_tree(sftp_server.root / "tree", FILES)
    arguments = {
        "sftp_path": "/tree",
        "s3_bucket": bucket,
        "options": {"idle_timeout": IDLE, "concurrency": 1},
    }
    connections = {"sftp_default": sftp_server.airflow_connection(), "aws_default": s3.airflow_connection()}
    with OperatorRun("pull", arguments, connections) as run:
        sftp_server.fault = PausesTheClient(run, answers_first)
        run.go()
        report = run.report()
    assert (report["transferred"], report["failed"]) == (len(FILES), 0)
    assert s3.objects(bucket) == FILES
    assert sftp_server.connections_total == 1


LARGE = {"large": os.urandom(6 * 2**20)}


@pytest.mark.parametrize(
    ("direction", "operation", "files", "settings", "answers_first"),
    [
        ("pull", "HeadObject", FILES, {"after_transfer": "keep"}, False),
        ("pull", "PutObject", FILES, {}, False),
        ("pull", "UploadPart", LARGE, {"part_size": 5 * 2**20}, False),
        ("pull", "CompleteMultipartUpload", LARGE, {"part_size": 5 * 2**20}, True),
        ("push", "ListObjectsV2", FILES, {"s3_prefix": "p/"}, False),
        ("push", "GetObject", LARGE, {"s3_prefix": "p/"}, True),
        ("push", "CopyObject", FILES, {"s3_prefix": "p/"}, True),
    ],
)
def test_a_standstill_is_not_held_against_s3(
    sftp_server: AsyncsshServer,
    s3: S3Server,
    bucket: str,
    direction: str,
    operation: str,
    files: dict[str, bytes],
    settings: dict[str, Any],
    answers_first: bool,
) -> None:
    """Whichever client carries the request, and whether its answer is there when the process goes on."""
    (sftp_server.root / "tree").mkdir()
    options = {"idle_timeout": IDLE, "part_size": settings.get("part_size", 8 * 2**20)}
    arguments = {"sftp_path": "/tree", "s3_bucket": bucket, "options": options}
    arguments |= {name: value for name, value in settings.items() if name != "part_size"}
    if direction == "pull":
        write_tree(sftp_server.root / "tree", files)
    else:
        client = s3.client()
        for name, content in files.items():
            client.put_object(Bucket=bucket, Key=f"p/{name}", Body=content)
        client.close()
    connections = {"sftp_default": sftp_server.airflow_connection(), "aws_default": s3.airflow_connection()}
    stood_still = threading.Event()
    with OperatorRun(direction, arguments, connections) as run:

        def stand_still(request: S3Request) -> None:
            if request.operation != operation or stood_still.is_set():
                return
            stood_still.set()
            run.pause()
            if answers_first:
                threading.Timer(1.5 * IDLE, run.resume).start()
            else:
                time.sleep(1.5 * IDLE)
                run.resume()
                time.sleep(IDLE / 4)

        s3.before(stand_still)
        run.go()
        report = run.report()
    assert stood_still.is_set()
    assert (report["transferred"], report["failed"]) == (len(files), 0)
    if direction == "pull":
        assert s3.objects(bucket) == files
    else:
        assert read_tree(sftp_server.root / "tree") == files
