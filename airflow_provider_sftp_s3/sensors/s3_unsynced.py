"""The sensor that waits for objects that are not pushed yet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor

from airflow_provider_sftp_s3._compat import (
    AIRFLOW_2,
    AirflowSkipException,
    Context,
    PokeReturnValue,
)
from airflow_provider_sftp_s3.engine.settings import PushSettings
from airflow_provider_sftp_s3.hooks.arguments import judge
from airflow_provider_sftp_s3.hooks.sftp_s3 import fails_for_good
from airflow_provider_sftp_s3.operators.s3_unsynced import selected, unsynced_batches
from airflow_provider_sftp_s3.transfers.templates import TemplatedOperator


class S3UnsyncedSensor(TemplatedOperator, S3KeySensor):
    """
    Wait for objects under a prefix that are not marked as pushed, and list them: an S3KeySensor with another check.

    A plain S3KeySensor with a `check_fn` lists the whole prefix into memory before it asks, takes a `[` in the prefix
    for a pattern, and makes hours of retries of a bucket that does not exist.

    Objects that can never go, since their keys can be no path, do not end the wait: where there is nothing else, they
    are listed at its end.

    :param wait: how long after the end of a run's data interval an object may still come; then the task is skipped.
        So a backfilled day with no objects ends at once, while today's run gives a late partner time.
    :param mark: as for S3ToSftpOperator. (templated)
    :param destination: as for S3ListUnsyncedOperator. (templated)
    :param include: as for S3ToSftpOperator. (templated)
    :param exclude: as for S3ToSftpOperator. (templated)
    :param last: as for S3ToSftpOperator: all objects beneath the directory of one are in one batch with it, though that
        be larger than `batch_files`. (templated)
    :param min_size: as for S3ToSftpOperator. (templated)
    :param max_size: as for S3ToSftpOperator. (templated)
    :param max_age: as for S3ToSftpOperator. (templated)
    :param order: as for S3ToSftpOperator.
    :param trigger_file: as for S3ToSftpOperator: with it, all objects of a directory are in one batch, though that be
        larger than `batch_files`. (templated)
    :param checksum_file: as for S3ToSftpOperator: objects of such names are not listed. (templated)
    :param strip_regex: as for S3ListUnsyncedOperator. (templated)
    :param rename_to: as for S3ListUnsyncedOperator.
    :param extra_args: as for S3ToSftpOperator. (templated)
    :param batch_files: as for S3ListUnsyncedOperator. (templated)
    :param max_batches: as for S3ListUnsyncedOperator. (templated)
    :return: a list of lists of keys, as S3ListUnsyncedOperator.
    :raises AirflowSkipException: nothing has come. (On Airflow 2 an empty list is returned: what is mapped over it is
        skipped.)
    :raises AirflowFailException: a setting, a credential or the bucket is wrong.
    """

    template_fields = (
        "bucket_name",
        "bucket_key",
        "aws_conn_id",
        "include",
        "exclude",
        "last",
        "mark",
        "destination",
        "batch_files",
        "max_batches",
        "min_size",
        "max_size",
        "max_age",
        "trigger_file",
        "checksum_file",
        "strip_regex",
        "extra_args",
    )
    _places = ("bucket_name", "bucket_key", "include")

    def __init__(
        self,
        *,
        wait: timedelta,
        mark: str = "auto",
        destination: str = "sftp_default",
        include: str | list[str] = "*",
        exclude: str | list[str] | None = None,
        last: str | list[str] | None = None,
        min_size: int | str | None = None,
        max_size: int | str | None = None,
        max_age: timedelta | float | str | None = None,
        order: str | None = None,
        trigger_file: str | None = None,
        checksum_file: str | None = None,
        strip_regex: str | None = None,
        rename_to: str | None = None,
        extra_args: dict[str, Any] | None = None,
        batch_files: int | str = 1000,
        max_batches: int | str = 1000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait = wait
        self.mark = mark
        self.destination = destination
        self.include = include
        self.exclude = exclude
        self.last = last
        self.min_size = min_size
        self.max_size = max_size
        self.max_age = max_age
        self.order = order
        self.trigger_file = trigger_file
        self.checksum_file = checksum_file
        self.strip_regex = strip_regex
        self.rename_to = rename_to
        self.extra_args = extra_args
        self.batch_files = batch_files
        self.max_batches = max_batches

    @classmethod
    def judge(cls, arguments: Mapping[str, Any]) -> None:
        """Look at the arguments. :raises ConfigurationError: one is not allowed; the message names it."""
        names = {"bucket_name": "s3_bucket", "bucket_key": "s3_prefix"}
        # Airflow's own `verify` of a sensor is about certificates.
        judge(PushSettings, {names.get(name, name): value for name, value in arguments.items() if name != "verify"})

    def execute(self, context: Context) -> Any:
        """Poke until there is something, and return it."""
        return super(S3KeySensor, self).execute(context)  # S3KeySensor itself drops what poke() has found

    @fails_for_good
    def poke(self, context: Context) -> PokeReturnValue:
        """List the unsynced objects, if there are any."""
        self.refuse_none()
        # A run that was started with no logical date has no interval.
        due = context.get("data_interval_end") or context["dag_run"].start_date
        is_over = datetime.now(UTC) >= due + self.wait
        batches = unsynced_batches(
            s3_bucket=self.bucket_name,
            s3_prefix=self.bucket_key,
            selection=selected(self),
            aws_conn_id=self.aws_conn_id,
            batch_files=self.batch_files,
            max_batches=self.max_batches,
            if_all_refused=is_over,
        )
        if batches:
            return PokeReturnValue(is_done=True, xcom_value=batches)
        if is_over:
            place = f"s3://{self.bucket_name}/{self.bucket_key}"
            nothing = f"no unsynced object under {place!r} within {self.wait} after {due}"
            if AIRFLOW_2:
                # Its backfill would end the run as failed: what is mapped over a skipped task has no list to map over.
                self.log.info("%s", nothing)
                return PokeReturnValue(is_done=True, xcom_value=[])
            raise AirflowSkipException(nothing)
        return PokeReturnValue(is_done=False)
