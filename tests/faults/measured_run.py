"""A process of its own that runs transfers and says what they cost and what they left: see ``test_resources.py``."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def peak() -> int:
    """Return the most memory that this process has held, in bytes."""
    # ru_maxrss begins with what the parent held when it forked; the kernel's own high-water mark does not.
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


async def transfer(job: dict[str, Any]) -> dict[str, Any]:
    """Run one pull or push, and return its report."""
    # Imported here, as the operators do it: what that costs is part of the measure.
    import boto3
    from botocore.config import Config

    from airflow_provider_sftp_s3.engine.options import TransferOptions
    from airflow_provider_sftp_s3.engine.pull import pull
    from airflow_provider_sftp_s3.engine.push import push
    from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
    from airflow_provider_sftp_s3.engine.settings import PullSettings, PushSettings
    from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer
    from airflow_provider_sftp_s3.engine.sftp.session import SftpSession

    options = TransferOptions()
    login = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "eu-central-1"}
    session = boto3.Session(**login)
    client = session.client("s3", endpoint_url=job["s3"], config=Config(s3={"addressing_style": "path"}))
    ignore = lambda *_: None  # noqa: E731
    watcher: Any = SimpleNamespace(outcome=ignore, progress=ignore, notice=ignore, remark=ignore)
    async with (
        Bucket(job["bucket"], client, session, options) as bucket,
        SftpSession(SftpServer(**job["sftp"]), options) as sftp,
    ):
        if job["direction"] == "pull":
            settings = PullSettings(sftp_path=job["path"], min_age=0, after_transfer=job["after_transfer"])
            report = await pull(settings, sftp, bucket, options, watcher)
        else:
            push_settings = PushSettings(sftp_path=job["path"], s3_keys=job["keys"], mark="none")
            report = await push(push_settings, sftp, bucket, options, watcher)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, f"tasks are left: {left}"
    return report.as_dict()


def held() -> dict[str, int]:
    """Return what this process holds now: file descriptors, threads, and bytes of memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "memory": pages * resource.getpagesize(),
    }


def main() -> None:
    """Read the job from stdin; print its last report, the growth, and what was held after each tenth of the runs."""
    job = json.load(sys.stdin)
    import airflow_provider_sftp_s3.transfers.s3_to_sftp
    import airflow_provider_sftp_s3.transfers.sftp_tree_to_s3  # noqa: F401 - Airflow is not what is measured
    from airflow_provider_sftp_s3.engine_thread import EngineThread

    if allowed := job.get("open_files"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    before = peak()
    holding = []
    for number in range(1, job["runs"] + 1):
        report = EngineThread().run(lambda: transfer(job))
        if number % max(job["runs"] // 10, 1) == 0:
            holding.append(held())
    print(json.dumps({"report": report, "growth": peak() - before, "holding": holding}))  # noqa: T201


if __name__ == "__main__":
    main()
