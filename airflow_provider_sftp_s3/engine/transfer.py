"""What both directions share: the settings that are checked alike, and how a run begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Generic, Literal, TypeVar

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import (
    ConfigurationError,
    ConnectionFailed,
    FailedForGood,
    PlaceMissing,
    SftpS3Error,
    TransferError,
)
from airflow_provider_sftp_s3.engine.lasts import Lasts
from airflow_provider_sftp_s3.engine.limits import Caps
from airflow_provider_sftp_s3.engine.model import Moved, Outcome, Report
from airflow_provider_sftp_s3.engine.observer import Observer
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.run import Item, Run
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.receipts import Receipts
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.tasks import forget

T = TypeVar("T", bound=Item)


class Transfer(ABC, Generic[T]):
    """
    One run in one direction.

    :param sftp_path: the directory on the server that it works in.
    :param s3_prefix: the directory in the bucket.
    :param receipts: is told of each file, as an observer; None: there are none.
    :param retried_since: on a retry, when the Dag run began.
    :raises ConfigurationError: `s3_prefix` is no directory.
    """

    def __init__(
        self,
        direction: Literal["pull", "push"],
        sftp_path: str,
        s3_prefix: str | None,
        caps: Caps,
        session: SftpSession,
        bucket: Bucket,
        options: TransferOptions,
        observer: Observer,
        receipts: Receipts | None = None,
        retried_since: datetime | None = None,
    ) -> None:
        self.root = (sftp_path.rstrip("/") or "/").encode()
        self.prefix = paths.directory_prefix(s3_prefix)
        self.session = session
        session.notice = observer.notice
        bucket.trust.notice = observer.notice
        self.bucket = bucket
        self.options = options
        self.observer = observer
        self.receipts = receipts
        self._since = "" if retried_since is None else f"{retried_since.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"
        self.report = Report(direction, Moved() if retried_since is None else None)
        if receipts is not None:
            self.report.earlier = receipts.earlier
            if receipts.unread:
                observer.notice(receipts.unread)
        for remark in bucket.remarks:
            observer.remark(remark)
        self._run: Run[T] = Run(self.report, observer, options, caps)
        #: the files that go after all others, where there are such
        self._lasts: Lasts[T] | None = None

    async def run(self) -> Report:
        """
        Make sure that both places are there, do the work, and return the report.

        :raises ConfigurationError: nothing can work until somebody changes something. Where work had begun, the error
            has the report of what was done.
        :raises ConnectionFailed: the server or S3 cannot be reached; nothing was moved.
        :raises TransferError: something failed; the error has the report of what was done all the same.
        """
        checking = asyncio.create_task(self.bucket.check())
        checking.add_done_callback(forget)  # the server's error comes first
        try:
            is_there = await self._is_there()
            await checking
        finally:
            checking.cancel()
            await asyncio.wait({checking})
        if not is_there:
            raise PlaceMissing(f"sftp_path: there is no directory {paths.printable(self.root)!r} on the server")
        if limit := self.session.short_requests:
            self.observer.notice(f"the server takes requests of no more than {limit} bytes: large files will be slow")
        if self.receipts is None:
            return await self._transferred()
        try:
            async with self.receipts:
                report = await self._transferred()
        except SftpS3Error:
            if self.receipts.lost:
                self.observer.notice(self.receipts.lost)
            raise
        finally:
            self.report.receipt = self.receipts.place
        if self.receipts.lost:
            raise TransferError(
                f"no file failed, but {self.receipts.lost}. The retry writes anew what it can find out", self.report
            )
        return report

    async def _transferred(self) -> Report:
        try:
            await self._work_and_date()
        except ConnectionFailed as lost:
            raise TransferError(f"{lost}; {self.report.summary()}", self.report) from lost
        except ConfigurationError as wrong:
            wrong.report = self.report
            raise
        if self.report.failed:
            first = self.report.failures[0]
            stopped = f"{self._run.stopped}; " if self._run.stopped else ""
            if self.report.failed_for_good == self.report.failed:
                raise FailedForGood(
                    f"{self.report.failed} failed, and a retry would end in the same way, the first: "
                    f"{first['source']}: {first['error']}; {self.report.summary()}",
                    self.report,
                )
            raise TransferError(
                f"{self.report.failed} failed, the first: {first['source']}: {first['error']}; {stopped}"
                f"{self.report.summary()}",
                self.report,
            )
        return self.report

    async def _is_there(self) -> bool:
        """Say whether the directory on the server is there."""
        return await self.session.is_directory(self.root)

    async def _work_and_date(self) -> None:
        try:
            await self._work()
        finally:
            if self.report.oldest_left is not None:
                self.report.oldest_age = max(self.bucket.now() - self.report.oldest_left, 0.0)

    @abstractmethod
    async def _work(self) -> None:
        """List and transfer."""

    async def _transfer_all(
        self,
        found: AsyncGenerator[T | Outcome],
        transfer: Callable[[T], Awaitable[Outcome]],
        is_left: Callable[[T], Awaitable[bool]] | None = None,
    ) -> None:
        """Transfer all that is found, as :meth:`Run.transfer_all` does, and the last files after all others."""
        settled: Callable[[T, bool], None] | None = None
        if self._lasts is not None:
            found, settled = self._lasts.after_others(found), self._lasts.settled
        async with contextlib.aclosing(found) as files:
            await self._run.transfer_all(files, transfer, is_left, settled)

    async def _before_the_first_byte(self) -> None:
        """Make sure that S3 takes the receipts, if there are to be some; once a run. Raises as :meth:`run` does."""
        if self.receipts is not None:
            await self.receipts.begin()

    def _is_recovered(self, label: str, modified: str | None) -> bool:
        """
        Say whether an earlier try has moved a file that S3 has since `modified`, and has not told of it.

        :param modified: as :class:`ObjectEntry` has it; None: since this Dag run began, that is certain.
        """
        if not self._since or (modified is not None and modified < self._since):
            return False
        return self.receipts is None or not self.receipts.tells_of(label)

    def _moved(self, count: int) -> None:
        self._run.progress.moved_bytes += count
