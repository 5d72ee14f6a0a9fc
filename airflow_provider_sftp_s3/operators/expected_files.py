"""Whether files have come that were to come by now."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow_provider_sftp_s3._compat import AirflowFailException, AirflowSkipException
from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.globs import Globs
from airflow_provider_sftp_s3.engine.model import seconds_of
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.paths import directory_prefix, printable
from airflow_provider_sftp_s3.engine_thread import EngineThread
from airflow_provider_sftp_s3.hooks.sftp_s3 import fails_for_good
from airflow_provider_sftp_s3.transfers.templates import TemplatedOperator

if TYPE_CHECKING:
    from airflow_provider_sftp_s3._compat import Context

#: Names of what has come that are said.
MAX_NAMES = 10


class ExpectedFilesOperator(TemplatedOperator):
    """
    Fail where fewer objects than expected have come under a prefix since the time before.

    The times are those of a cron expression. A run by schedule in whose interval none of them lies is skipped; one that
    was started by hand looks at the last one. What has come until the task looks counts, late or not.

    :param s3_bucket: bucket to look into. (templated)
    :param s3_prefix: directory in the bucket. (templated)
    :param files: a glob of what is expected: with a ``/`` it is matched against the key without its prefix, else
        against the name. (templated)
    :param at_least: how many there must be.
    :param cron: the times by which they must be there.
    :param timezone: of these times.
    :param aws_conn_id: Airflow connection of type `aws`. (templated)
    :param extra_args: as for S3ToSftpOperator. (templated)
    :return: `files`, how many there are, and the `first` of them.
    :raises AirflowFailException: fewer have come; it is not retried.
    """

    template_fields: Sequence[str] = ("s3_bucket", "s3_prefix", "files", "aws_conn_id", "extra_args")
    _lists = ()
    _places = ("s3_bucket", "s3_prefix", "files")
    ui_color = "#f0e0f0"

    def __init__(
        self,
        *,
        s3_bucket: str,
        files: str,
        cron: str,
        s3_prefix: str = "",
        at_least: int = 1,
        timezone: str = "UTC",
        aws_conn_id: str | None = "aws_default",
        extra_args: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.s3_bucket = s3_bucket
        self.s3_prefix = s3_prefix
        self.files = files
        self.at_least = at_least
        self.cron = cron
        self.timezone = timezone
        self.aws_conn_id = aws_conn_id
        self.extra_args = extra_args

    @fails_for_good
    def execute(self, context: Context) -> dict[str, Any]:
        """Look, and return what has come."""
        self.refuse_none()
        since, due = self._times(context)
        found = sorted(EngineThread().run(lambda: self._come_since(since)))
        place = f"s3://{self.s3_bucket}/{self.s3_prefix}"
        came = f"{len(found)} of {self.at_least} expected files {self.files!r} have come under {place!r} since {since}"
        if len(found) < self.at_least:
            there = f": {', '.join(map(printable, found[:MAX_NAMES]))}" if found else ""
            raise AirflowFailException(f"{came}, and were to be there by {due}{there}")
        self.log.info("%s", came)
        return {"files": len(found), "first": found[:MAX_NAMES]}

    def _times(self, context: Context) -> tuple[datetime, datetime]:
        """
        Return the time before the last one, and the last one.

        :raises AirflowSkipException: it is not this run's.
        """
        from croniter import croniter  # type: ignore[import-untyped]

        run = context["dag_run"]
        start, end = context.get("data_interval_start"), context.get("data_interval_end") or run.start_date
        zone = ZoneInfo(self.timezone)
        # By the clock on the wall: where it is put back, croniter and Airflow do not mean the same by one time of it.
        until = end.astimezone(zone).replace(tzinfo=None)
        times = croniter(self.cron, until + timedelta(seconds=1))
        due, since = times.get_prev(datetime), times.get_prev(datetime)
        by_schedule = start is not None and str(getattr(run.run_type, "value", run.run_type)) != "manual"
        if by_schedule and due <= start.astimezone(zone).replace(tzinfo=None):
            raise AirflowSkipException(f"nothing of {self.files!r} is due at {until}: the last time was {due}")
        return since.replace(tzinfo=zone), due.replace(tzinfo=zone)

    async def _come_since(self, since: datetime) -> list[str]:
        """Return the keys, beneath the prefix, of what has come."""
        from airflow_provider_sftp_s3.engine.unsynced import reason_to_skip
        from airflow_provider_sftp_s3.hooks.s3_bucket import bucket_of

        prefix, globs = directory_prefix(self.s3_prefix), Globs(self.files)
        bucket = bucket_of(self.aws_conn_id, self.s3_bucket, TransferOptions())
        bucket.send_along(self.extra_args, "push")
        found = []
        async with bucket:
            await bucket.check()
            async with contextlib.aclosing(bucket.list(prefix)) as entries:
                async for entry in entries:
                    if reason_to_skip(entry.key, prefix, globs):
                        continue
                    written = seconds_of(entry.modified)
                    if written is None:
                        raise ConfigurationError(
                            f"{bucket.uri_of(printable(entry.key))}: S3 does not say when it was written, so nobody "
                            "can say what has come: remove expected_files"
                        )
                    if written > since.timestamp():
                        found.append(entry.key.removeprefix(prefix))
        return found
