"""
A process of its own that runs one operator, as a worker does: to be killed.

Each is forked off a server that has imported Airflow and this package, and never used them: Airflow takes seconds to
import, and a process that has used obstore must not be forked.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from datetime import UTC, datetime
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import psutil
from botocore.loaders import JSONFileLoader

from tests.support.airflow_env import airflow_connections, warnings_of_ours_only

with warnings_of_ours_only():
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    # What the operators import when they run.
    from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator
    from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator

OPERATORS: dict[str, type[SftpTreeToS3Operator | S3ToSftpOperator]] = {
    "pull": SftpTreeToS3Operator,
    "push": S3ToSftpOperator,
}

# botocore reads and parses a megabyte of JSON for each client, each of which has a loader of its own.
_read = cache(JSONFileLoader().load_file)
JSONFileLoader.load_file = lambda _, path: _read(path)
with airflow_connections(warm_up={"conn_type": "aws", "login": "a", "password": "b"}), warnings_of_ours_only():
    S3Hook("warm_up", region_name="eu-central-1").get_client_type().close()

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def _execute(job: dict[str, Any], answer: Connection, go: Connection) -> None:
    """Run an operator's ``execute``, and send what it returns or how it fails."""
    with Path(os.devnull).open("w") as nowhere:  # its log goes the same way to each of them
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    os.environ |= {f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in job["connections"].items()}
    ti = SimpleNamespace(
        **{"dag_id": "faults", "task_id": "transfer", "run_id": "run", "map_index": -1},
        try_number=job["try_number"],
        xcom_push=lambda **_: None,
    )
    context = {"ti": ti, "dag_run": SimpleNamespace(start_date=datetime.fromtimestamp(job["started"], UTC))}
    with warnings_of_ours_only():
        operator = OPERATORS[job["direction"]](task_id="transfer", **job["arguments"])
        go.recv()
        try:
            answer.send(operator.execute(context))
        except BaseException as failed:
            answer.send(f"{type(failed).__name__}: {failed}")
            raise SystemExit(1) from None


class OperatorRun:
    """
    One run of an operator in a process, which begins with :meth:`go`; killed at the end of the block if it still runs.

    :param direction: "pull" or "push".
    :param arguments: the operator's.
    :param connections: conn_id -> what ``airflow_connection()`` of a test server returns.
    :param started: when the Dag run began, seconds since 1970.
    """

    def __init__(
        self,
        direction: str,
        arguments: dict[str, Any],
        connections: dict[str, Any],
        *,
        try_number: int = 1,
        started: float = 0.0,
    ) -> None:
        job = {
            **{"direction": direction, "arguments": arguments, "connections": connections},
            **{"try_number": try_number, "started": started},
        }
        self._answer, answer = _context.Pipe(duplex=False)
        go, self._go = _context.Pipe(duplex=False)
        self._process = _context.Process(target=_execute, args=(job, answer, go), daemon=True)
        self._process.start()
        answer.close()
        go.close()

    def go(self) -> None:
        """Let it begin."""
        self._go.send(None)

    def kill(self) -> None:
        """Kill it, if it still runs."""
        self._process.kill()

    def pause(self) -> None:
        """Let it stand still, as a suspended machine does."""
        psutil.Process(self._process.pid).suspend()

    def resume(self) -> None:
        """Let it go on after :meth:`pause`, as if nothing had been."""
        psutil.Process(self._process.pid).resume()

    def ended(self, seconds: float) -> bool:
        """Wait for its end for so long at most, and say whether it has ended."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    @property
    def killed(self) -> bool:
        """Whether it was killed before it had ended by itself."""
        self._process.join()
        if self._process.exitcode != -signal.SIGKILL:
            return False
        try:
            self._answer.recv()
        except EOFError:
            return True
        return False

    def report(self, seconds: float = 60.0) -> dict[str, Any]:
        """Return the report of a run that succeeds within so many seconds."""
        answer = self.answer(seconds)
        assert isinstance(answer, dict), answer
        return answer

    def answer(self, seconds: float = 60.0) -> dict[str, Any] | str:
        """Return the report, or the error as text, of a run that ends within so many seconds."""
        assert self._answer.poll(seconds), "the run does not end"
        answer: dict[str, Any] | str = self._answer.recv()
        self._process.join()
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._answer.close()
        self._go.close()
