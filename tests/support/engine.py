"""The engine against test servers, with no Airflow: one call a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
