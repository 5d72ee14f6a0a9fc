"""The sensor that holds the next run back where one has failed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_sftp_s3._compat import Context
from airflow_provider_sftp_s3.engine.model import WAITS
from airflow_provider_sftp_s3.engine.paths import printable
from airflow_provider_sftp_s3.operators.s3_unsynced import selected, unsynced_batches
from airflow_provider_sftp_s3.sensors.partner import reports_in
from airflow_provider_sftp_s3.sensors.s3_unsynced import S3UnsyncedSensor


class FailureSensor(S3UnsyncedSensor):
    """
    Wait until there is something to push besides what the run has failed to push, or the run has taken `wait`.

    For a `@continuous` Dag, whose next run begins as soon as one has ended: one object that can never go would ring
    again and again, and a wrong setting be tried again and again. New objects do not wait. To be used with
    ``mode="reschedule"``, so that no worker waits along, and ``trigger_rule="one_failed"``.

    :param transfers: task id of the pushes, which must be upstream of this task.
    :param wait: how long a run takes at most, from its beginning on, before it no longer holds back the next.
    """

    def __init__(self, *, transfers: str, wait: timedelta, **kwargs: Any) -> None:
        super().__init__(wait=wait, **kwargs)
        self.transfers = transfers

    def poke(self, context: Context) -> bool:
        """Say whether the next run has something else to do."""
        if datetime.now(UTC) >= context["dag_run"].start_date + self.wait:
            return True
        ti = context["ti"]
        failed = list(reports_in(ti.xcom_pull(task_ids=[self.transfers], key="report")))
        if not failed:
            return False  # nothing was tried: a setting is wrong, or one side cannot be reached
        reports = [*failed, *reports_in(ti.xcom_pull(task_ids=[self.transfers]))]
        known: int = sum(report["failed"] + report["skipped"].get(WAITS, 0) for report in reports)
        named = {failure["source"] for report in failed for failure in report["failures"]}
        batches = unsynced_batches(
            s3_bucket=self.bucket_name,
            s3_prefix=self.bucket_key,
            selection=selected(self),
            aws_conn_id=self.aws_conn_id,
            batch_files=known + 1,
            max_batches=1,
            if_all_refused=False,
        )
        others = [key for batch in batches for key in batch if f"s3://{self.bucket_name}/{printable(key)}" not in named]
        return len(others) > known - len(named)
