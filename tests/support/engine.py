"""The engine against test servers, with no Airflow: one call a run."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_sftp_s3.engine.errors import TransferError
from airflow_provider_sftp_s3.engine.model import Outcome, Report
from airflow_provider_sftp_s3.engine.observer import Progress
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.pull import pull
from airflow_provider_sftp_s3.engine.push import push
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.settings import PullSettings, PushSettings
from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support.s3_server import HookedS3
from tests.support.sftp_servers import SftpServer as TestSftpServer


@dataclass
class Recorder:
    """An observer that keeps what it is told."""

    outcomes: list[Outcome] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    progresses: list[str] = field(default_factory=list)

    def outcome(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def progress(self, progress: Progress) -> None:
        self.progresses.append(str(progress))

    def remark(self, message: str) -> None:
        self.remarks.append(message)

    def notice(self, message: str) -> None:
        self.notices.append(message)


def server_of(server: TestSftpServer) -> SftpServer:
    """Return how the engine reaches a test server."""
    return SftpServer(
        host=server.host,
        port=server.port,
        username=server.username,
        password=server.password,
        private_key=None if server.password else Path(server.client_key).read_text(),
        host_key=server.host_key,
    )


@dataclass
class Engine:
    """Runs pulls and pushes between one SFTP server and one bucket."""

    sftp: TestSftpServer
    s3: HookedS3
    bucket: str
    options: TransferOptions = field(default_factory=TransferOptions)
    seen: Recorder = field(default_factory=Recorder)

    async def pull(self, path: str = "in", **settings: Any) -> Report:
        """Pull `path` beneath the server's root into the bucket. All ages are taken unless `min_age` is given."""
        self.sftp.refresh()
        wanted = PullSettings(**{"sftp_path": self.sftp.path(path), "min_age": 0, **settings})
        async with SftpSession(server_of(self.sftp), self.options) as session, self.opened_bucket() as bucket:
            return await pull(wanted, session, bucket, self.options, self.seen)

    async def push(self, path: str = "out", **settings: Any) -> Report:
        """Push the bucket to `path` beneath the server's root."""
        self.sftp.refresh()
        wanted = PushSettings(**{"sftp_path": self.sftp.path(path), **settings})
        async with SftpSession(server_of(self.sftp), self.options) as session, self.opened_bucket() as bucket:
            return await push(wanted, session, bucket, self.options, self.seen)

    def opened_bucket(self) -> Bucket:
        session = self.s3.session()
        return Bucket(self.bucket, self.s3.client(session), session, self.options)


def engine_on(server: TestSftpServer, s3: HookedS3, bucket: str, options: TransferOptions) -> Engine:
    """Return an engine whose server has the two directories that it uses if it is told no other: `in` and `out`."""
    for directory in ("in", "out"):
        (server.root / directory).mkdir()
    return Engine(server, s3, bucket, options)


async def report_of(run: Awaitable[Report]) -> Report:
    """Return the report of a run, in which files may fail."""
    try:
        return await run
    except TransferError as failed:
        return failed.report


@functools.cache
def client_of(s3: HookedS3) -> Any:
    """Return one client for all tests of a server: to make one takes longer than many of them do."""
    return s3.client()


def store(engine: Engine, objects: Mapping[str, bytes], **arguments: Any) -> None:
    """Put objects into the bucket, each with these arguments of PutObject."""
    client = engine.s3.client()
    for key, content in objects.items():
        client.put_object(Bucket=engine.bucket, Key=key, Body=content, **arguments)
    client.close()


def objects_of(engine: Engine) -> dict[str, bytes]:
    """Return what is in the bucket, but for what is ours."""
    found = engine.s3.objects(engine.bucket)
    return {key: found[key] for key in found if ".sftp-s3/" not in key}
