"""A process that stands still for longer than its time limits: by SIGSTOP, as on a machine that is suspended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.faults.harness import write_tree
from tests.faults.operator_run import OperatorRun
from tests.support.s3_server import S3Server
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
