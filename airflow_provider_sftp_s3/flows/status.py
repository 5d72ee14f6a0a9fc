"""What waits to be moved by a flow, with nothing touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

from airflow_provider_sftp_s3._compat import AirflowException
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, SftpS3Error, TransferError
from airflow_provider_sftp_s3.engine.model import Outcome
from airflow_provider_sftp_s3.engine.observer import Progress
from airflow_provider_sftp_s3.engine.paths import printable, printable_lines
from airflow_provider_sftp_s3.flows.plan import look
from airflow_provider_sftp_s3.hooks.quantities import units_of

#: What a look at what waits is not to keep to: it moves nothing, and purges nothing.
NOT_HEEDED = ("max_files", "max_bytes", "retention", "order")


@dataclass(frozen=True)
class Waiting:
    """
    What a flow has to do.

    :param files: that a run would move now, or is to leave for a later one, since they are young.
    :param bytes: of those that it would move now.
    :param oldest_age: seconds since the oldest of them was changed; None: there is none, or nobody knows.
    :param error: why it cannot do it, or could not be looked at.
    :param behind: it cannot, or the oldest one is older than was asked for.
    """

    flow: str
    direction: str
    source: str
    target: str
    files: int = 0
    bytes: int = 0
    oldest_age: float | None = None
    error: str = ""
    behind: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return asdict(self)


class _Counter:
    """An observer that adds up what would be moved."""

    def __init__(self) -> None:
        self.bytes = 0

    def outcome(self, outcome: Outcome) -> None:
        if outcome.left:
            self.bytes += outcome.bytes

    def progress(self, progress: Progress) -> None: ...

    def remark(self, message: str) -> None: ...

    def notice(self, message: str) -> None: ...


def waiting(flow: Mapping[str, Any], day: date, older_than: timedelta | None) -> Waiting:
    """
    Return what waits for a flow on the side that it moves from. Connections and S3 are those of a run.

    :param flow: its settings. Caps do not count.
    :param day: templates know the run of this day, in the flow's time zone.
    :param older_than: the flow is behind where a file that waits is older than this.
    """
    heeded = {name: value for name, value in flow.items() if name not in NOT_HEEDED}
    server = f"{flow.get('sftp_conn_id', 'sftp_default')}:{flow['sftp_path']}"
    bucket = f"s3://{flow['s3_bucket']}/{flow.get('s3_prefix', '')}"
    ways = (server, bucket) if flow["direction"] == "pull" else (bucket, server)
    about = (flow["name"], flow["direction"], *ways)
    counter = _Counter()
    error = ""
    try:
        report = look(heeded, day, counter)
    except (TransferError, ConfigurationError) as failed:
        if failed.report is None:
            return Waiting(*about, error=str(failed), behind=True)
        report, error = failed.report, str(failed)
    except (SftpS3Error, AirflowException) as failed:
        return Waiting(*about, error=str(failed), behind=True)
    late = older_than is not None and (report.oldest_age or 0) > older_than.total_seconds()
    return Waiting(*about, report.left, counter.bytes, report.oldest_age, error, bool(error) or late)


def table(several: list[Waiting]) -> str:
    """Return a line a flow, those that are behind first, and the error of each beneath it."""
    rows = [("FLOW", "", "FILES", "BYTES", "OLDEST", "FROM", "TO")]
    for each in several:
        age = "-" if each.oldest_age is None else " ".join(units_of(int(each.oldest_age))[:2])
        state = "BEHIND" if each.behind else "ok"
        rows.append(
            (each.flow, state, str(each.files), str(each.bytes), age, printable(each.source), printable(each.target))
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row, flow in zip(rows, [None, *several], strict=True):
        cells = [
            cell.rjust(width) if column in (2, 3, 4) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
        if flow is not None and flow.error:
            lines.append(f"    {printable_lines(flow.error)}")
    return "\n".join(lines)
