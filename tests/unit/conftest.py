"""What the unit tests of the engine share: its two ends, each alone against a real server that starts in a moment."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support import unhurried
from tests.support.engine import Engine, server_of
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    unhurried.give_time(monkeypatch)


@pytest.fixture
async def session(sftp_server: AsyncsshServer) -> AsyncIterator[SftpSession]:
    """A session on asyncssh's server."""
    options = TransferOptions(conn_timeout=60)
    async with SftpSession(server_of(sftp_server), options) as session:
        yield session


@pytest.fixture
async def opened(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> AsyncIterator[Bucket]:
    """The test's bucket, as the engine sees it."""
    options = TransferOptions(conn_timeout=60)
    async with Engine(sftp_server, s3, bucket, options).opened_bucket() as opened:
        yield opened
