"""The sensor that ends a run in which every object waits for the partner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_sftp_s3._compat import BaseSensorOperator, Context
from airflow_provider_sftp_s3.engine.model import WAITS


class PartnerSensor(BaseSensorOperator):
    """
    Wait until a run has taken `interval`, where its pushes have moved nothing and some objects wait for the partner.

    For a `@continuous` Dag with ``on_conflict="wait"``, whose next run begins as soon as one has ended. To be used with
    ``mode="reschedule"``, so that no worker waits along.

    :param transfers: task id of the pushes, which must be upstream of this task.
    :param interval: how long a run takes at least, from its beginning on.
    """

    def __init__(self, *, transfers: str, interval: timedelta, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.transfers = transfers
        self.interval = interval

    def poke(self, context: Context) -> bool:
        """Say whether the run may end."""
        reports = list(reports_in(context["ti"].xcom_pull(task_ids=[self.transfers])))
        all_wait = not any(report["transferred"] for report in reports) and any(
            report["skipped"].get(WAITS) for report in reports
        )
        began = context["dag_run"].start_date
        return not all_wait or datetime.now(UTC) >= began + self.interval


def reports_in(pulled: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the reports of mapped tasks, however Airflow's versions nest them."""
    if isinstance(pulled, Mapping):
        yield pulled
    elif pulled is not None and not isinstance(pulled, str):
        for each in pulled:
            yield from reports_in(each)
