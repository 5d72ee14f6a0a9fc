"""A process of its own that runs one transfer and says how much its memory grew: started by ``test_resources.py``."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
from botocore.config import Config

from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.pull import PullSettings, pull
from airflow_provider_sftp_s3.engine.push import PushSettings, push
from airflow_provider_sftp_s3.engine.s3 import Bucket
from airflow_provider_sftp_s3.engine.sftp import SftpServer, SftpSession


def peak() -> int:
    """Return the most memory that this process has held, in bytes."""
    # ru_maxrss begins with what the parent held when it forked; the kernel's own high-water mark does not.
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


async def transfer(job: dict[str, Any], path: str, prefix: str) -> dict[str, Any]:
    """Run one pull or push of what is beneath ``path`` or under ``prefix``."""
    options = TransferOptions()
    login = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "eu-central-1"}
    session = boto3.Session(**login)
    client = session.client("s3", endpoint_url=job["s3"], config=Config(s3={"addressing_style": "path"}))
    ignore = lambda *_: None  # noqa: E731
    watcher: Any = SimpleNamespace(outcome=ignore, progress=ignore, notice=ignore)
    async with (
        Bucket(job["bucket"], client, session, options) as bucket,
        SftpSession(SftpServer(**job["sftp"]), options) as sftp,
    ):
        if job["direction"] == "pull":
            settings = PullSettings(sftp_path=path, s3_prefix=prefix, min_age=0)
            return (await pull(settings, sftp, bucket, options, watcher)).as_dict()
        push_settings = PushSettings(sftp_path=path, s3_prefix=prefix, s3_keys=job["keys"] or None, mark="none")
        return (await push(push_settings, sftp, bucket, options, watcher)).as_dict()


def main() -> None:
    """Read the job from stdin; print the report and the growth as JSON."""
    job = json.load(sys.stdin)
    warm_up = {**job, "keys": job["warm_up_keys"]}
    asyncio.run(transfer(warm_up, job["warm_up"], ""))
    before = peak()
    report = asyncio.run(transfer(job, job["path"], ""))
    print(json.dumps({"report": report, "before": before, "growth": peak() - before}))  # noqa: T201


if __name__ == "__main__":
    main()
