"""What monitoring is told of a transfer, by Airflow's own metrics."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_sftp_s3._compat import flush_stats, stats

if TYPE_CHECKING:
    from airflow_provider_sftp_s3.engine.model import Report

_INVALID = re.compile(r"[^A-Za-z0-9_-]")
#: Seconds that a task waits at its end, at most, for a collector that does not answer.
PATIENCE = 10.0


def tell(report: Report, dag_id: str, log: logging.Logger) -> None:
    """
    Send the metrics of one try. Never raises: the files have been moved.

    Each goes out as ``sftp_s3.<metric>`` with the tags `dag_id` and `direction`, for whoever takes tags, and once more
    as ``sftp_s3.<direction>.<dag_id>.<metric>``, since plain StatsD knows none. ``.`` and all that Airflow allows no
    metric become ``_`` in there.
    """
    tags = {"dag_id": dag_id, "direction": report.direction}
    own = f"{report.direction}.{_INVALID.sub('_', dag_id)}."
    try:
        to = stats()
        for name, among in ((own, {}), ("", tags)):
            more = {"tags": among} if among else {}
            to.incr(f"sftp_s3.{name}files", report.transferred, **more)
            to.incr(f"sftp_s3.{name}bytes", report.bytes, **more)
            to.incr(f"sftp_s3.{name}failed", report.failed, **more)
            to.gauge(f"sftp_s3.{name}left", report.left, **more)
            to.gauge(f"sftp_s3.{name}oldest_age", report.oldest_age or 0, **more)
            to.timing(f"sftp_s3.{name}seconds", timedelta(seconds=report.seconds), **more)
        flush_stats(PATIENCE)
    except Exception as failed:  # whatever a backend for metrics raises
        log.warning("no metrics of this transfer: %s", failed)
