"""How every run begins and ends, whatever it does in between: both places are there, and its report is never lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from airflow_provider_sftp_s3.engine.errors import (
    ConfigurationError,
    ConnectionFailed,
    PlaceMissing,
    TransferError,
)
from airflow_provider_sftp_s3.engine.limits import Caps
from airflow_provider_sftp_s3.engine.model import Outcome
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.run import Item
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.transfer import Transfer
from tests.support.engine import Recorder, server_of
from tests.support.faulty_sftp import ShortRequests
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

Work = Callable[["Does"], Awaitable[None]]


class Does(Transfer[Item]):
    """A run that does what it is given."""

    def __init__(self, work: Work, session: SftpSession, bucket: Bucket, path: str = "/", prefix: str = "p") -> None:
        self.seen = Recorder()
        options = TransferOptions()
        super().__init__("pull", path, prefix, Caps(None, None), session, bucket, options, self.seen)
        self._does = work

    async def _work(self) -> None:
        await self._does(self)


async def nothing(run: Does) -> None:
    """Do no work."""


async def never(run: Does) -> None:
    raise AssertionError("a place is missing, and the work has begun")


async def test_a_run_returns_its_report(session: SftpSession, opened: Bucket) -> None:
    """And keeps the root without a slash at its end, the prefix with one."""

    async def work(run: Does) -> None:
        run.report.add(Outcome("a", "transferred", "b", bytes=3))

    run = Does(work, session, opened, path="//", prefix="in")
    report = await run.run()
    assert (report.transferred, report.bytes) == (1, 3)
    assert (run.root, run.prefix) == (b"/", "in/")
    assert run.seen.notices == []


async def test_a_directory_that_is_not_there_ends_the_run_before_its_work(
    sftp_server: AsyncsshServer, session: SftpSession, opened: Bucket
) -> None:
    """So does a file of that name."""
    (sftp_server.root / "file").write_bytes(b"")
    for path in ("/gone", "/file"):
        with pytest.raises(PlaceMissing, match="sftp_path"):
            await Does(never, session, opened, path=path).run()


async def test_a_bucket_that_is_not_there_ends_the_run_before_its_work(
    s3: S3Server, session: SftpSession, opened: Bucket
) -> None:
    """However S3 says so."""
    s3.before(lambda request: (404, "NoSuchBucket") if not request.key else None)
    with pytest.raises(PlaceMissing, match="s3_bucket"):
        await Does(never, session, opened).run()


def test_a_prefix_that_is_no_directory_is_a_wrong_setting(session: SftpSession, opened: Bucket) -> None:
    """Before anything is asked of either side."""
    with pytest.raises(ConfigurationError, match="s3_prefix"):
        Does(never, session, opened, prefix="/a")


async def test_failures_fail_the_run_and_its_error_has_the_report(session: SftpSession, opened: Bucket) -> None:
    """The message has their number, and the first of them with its reason."""

    async def work(run: Does) -> None:
        run.report.add(Outcome("a", "failed", reason="first reason"))
        run.report.add(Outcome("b", "failed", reason="second reason"))
        run.report.add(Outcome("c", "transferred", "d"))

    run = Does(work, session, opened)
    with pytest.raises(TransferError, match="2 failed, the first: a: first reason") as failed:
        await run.run()
    assert failed.value.report is run.report


async def test_what_ends_the_work_half_way_has_the_report_too(session: SftpSession, opened: Bucket) -> None:
    """A connection that is lost for good is worth a retry; a setting that is wrong is not."""

    def lost(error: Exception) -> Work:
        async def work(run: Does) -> None:
            run.report.add(Outcome("c", "transferred", "d"))
            raise error

        return work

    with pytest.raises(TransferError, match="cut off; pull: 1 transferred") as failed:
        await Does(lost(ConnectionFailed("cut off")), session, opened).run()
    assert failed.value.report.transferred == 1
    with pytest.raises(ConfigurationError, match="no such mark") as wrong:
        await Does(lost(ConfigurationError("no such mark")), session, opened).run()
    assert wrong.value.report is not None
    assert wrong.value.report.transferred == 1


async def test_a_server_that_takes_short_requests_only_is_noticed(sftp_server: AsyncsshServer, opened: Bucket) -> None:
    """It works, and large files are slow: the log says why."""
    sftp_server.fault = ShortRequests(10_000)
    async with SftpSession(server_of(sftp_server), TransferOptions()) as session:
        run = Does(nothing, session, opened)
        await run.run()
    (notice,) = run.seen.notices
    assert "no more than" in notice
    assert "large files will be slow" in notice
