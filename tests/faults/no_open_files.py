"""A process that may open no more files asks for something: see ``test_resources.py``. Prints what it fails with."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys

import boto3

from airflow_provider_sftp_s3.engine.errors import SftpS3Error
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer, connect

#: Nothing is there, and nothing gets as far.
NOWHERE = "http://127.0.0.1:9"
SMALL, LARGE = b"x", b"x" * 100_000


async def main(to: str) -> None:
    session = boto3.Session("key", "secret", region_name="eu-central-1")
    options = TransferOptions(idle_timeout=0.5, conn_timeout=0.5)
    async with Bucket("bucket", session.client("s3", endpoint_url=NOWHERE), session, options) as bucket:
        if to == "obstore":  # its threads are there, and it is a connection that it cannot have
            with contextlib.suppress(SftpS3Error):
                await bucket.put("key", [LARGE], {})
            await asyncio.sleep(2)  # until its threads have closed what they had open
        # Each gets the lowest number that is free, so that none is free below the last one.
        *_, last = [os.open(os.devnull, os.O_RDONLY) for _ in range(100)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        try:
            if to == "asyncssh":
                await connect(SftpServer(host="127.0.0.1", port=9, username="u", verify_host_key=False), 30, 1)
            else:
                await bucket.put("key", [SMALL if to == "aiohttp" else LARGE], {})
        except SftpS3Error as error:
            print(f"{type(error).__name__}: {error}")  # noqa: T201


asyncio.run(main(sys.argv[1]))
