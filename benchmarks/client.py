"""
A process that runs operators as Airflow does, and says what they took: ``python -m benchmarks.client``, job on stdin.

It imports Airflow and what the operators import, then times `execute` alone. Memory is counted from the interpreter
with Airflow imported and nothing else, so that what the operators import counts.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.warm import warm

STARTED = time.monotonic()


def memory(line: str) -> int:
    """Return VmRSS or VmHWM of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(next(found for found in status.splitlines() if found.startswith(line)).split()[1]) * 1024


def cpu() -> float:
    """Return the CPU seconds of this process and its threads, in user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Read the job, do it, and print what it took as one line of JSON."""
    job = json.load(sys.stdin)
    from tests.support import airflow_env

    home = airflow_env.configure()
    os.environ |= job["environment"]
    import airflow

    # Parts of Airflow that every task has.
    from airflow.models.connection import Connection  # noqa: F401

    with contextlib.suppress(ImportError):  # Airflow 2
        import airflow.sdk.execution_time.supervisor

    airflow_only = memory("VmRSS")
    operators = _operators(job)
    imported = time.monotonic() - STARTED
    # A task's log goes to a file.
    log = logging.FileHandler(home / "task.log")
    log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    for handler in [*root.handlers]:
        root.removeHandler(handler)
    root.addHandler(log)
    root.setLevel(logging.INFO)
    result: dict[str, Any] = {"airflow": airflow.__version__, "imported": imported}
    if job.get("whole_task"):
        result |= _whole_task(operators[0], airflow_env)
    else:
        warm(job["root"], job["bytes"])
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        before_cpu, before = cpu(), time.perf_counter()
        reports = [operator.execute({"ti": _ti(operator.task_id)}) for operator in operators]
        result |= {
            "seconds": time.perf_counter() - before,
            "cpu": cpu() - before_cpu,
            "memory": memory("VmHWM") - airflow_only,
            "report": reports[-1],
        }
    log.flush()
    result["log_bytes"] = (home / "task.log").stat().st_size
    print("\n" + json.dumps(result))


def _operators(job: dict[str, Any]) -> list[Any]:
    """Make the operators, and import what they import when they are executed."""
    name = job["operator"]
    if name in ("SftpTreeToS3Operator", "S3ToSftpOperator"):
        import uvloop  # noqa: F401 - comes with Airflow 3

        import airflow_provider_sftp_s3.engine.api  # noqa: F401 - what `execute` imports
        from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator
        from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator

        kind: Any = SftpTreeToS3Operator if name == "SftpTreeToS3Operator" else S3ToSftpOperator
    else:
        from airflow.providers.amazon.aws.transfers.s3_to_sftp import S3ToSFTPOperator
        from airflow.providers.amazon.aws.transfers.sftp_to_s3 import SFTPToS3Operator

        kind = SFTPToS3Operator if name == "SFTPToS3Operator" else S3ToSFTPOperator
    return [kind(task_id=f"t{number}", **arguments) for number, arguments in enumerate(job["arguments"])]


def _ti(task_id: str) -> Any:
    return SimpleNamespace(
        dag_id="benchmark", task_id=task_id, run_id="run", map_index=-1, try_number=1, xcom_push=lambda **_: None
    )


def _whole_task(operator: Any, airflow_env: Any) -> dict[str, Any]:
    """Run the operator as the one task of a Dag, with a database of its own."""
    from datetime import UTC, datetime

    try:
        from airflow.sdk import DAG
    except ImportError:
        from airflow import DAG
    airflow_env.make_database()
    dag = DAG("benchmark", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None)
    operator.dag = dag
    before = time.perf_counter()
    state, instances = airflow_env.run_dag(dag)
    took = time.perf_counter() - before
    if state != "success":
        raise SystemExit(f"the Dag run ended as {state}")
    report = airflow_env.xcom(next(iter(instances.values())))
    return {"seconds": took, "report": report, "execute": report["seconds"]}


if __name__ == "__main__":
    main()
