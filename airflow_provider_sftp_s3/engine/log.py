"""The log of a run: a line a file, how far it is, and what the user should know."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_sftp_s3.engine.model import Outcome, Report
    from airflow_provider_sftp_s3.engine.observer import Progress


#: Files of a run that are logged one by one, and of those after them how many are one message, and for how long the
#: first of these waits for the others.
LOG_SINGLY = 25
LOG_LINES = 100
LOG_SECONDS = 0.5
#: Failures that are said once more in the end.
LOG_FAILURES = 25


class LogObserver:
    """
    Writes a run to a log: a line per file, how far it is, and what the user should know. To be used in a `with` block.

    Of a run with many files what went well is logged some files at a time, a line each: Airflow 3 takes 0.25 ms for a
    message, most of the time of a small file.

    :param log: a logger of the standard library's kind, such as a task's.
    :param briefly: what went well is told elsewhere.
    """

    def __init__(self, log: logging.Logger, briefly: bool = False) -> None:
        self._log = log
        self._briefly = briefly
        self._lines: list[str] = []
        self._logged = 0
        self._second = 0
        self._clock = ""

    def __enter__(self) -> LogObserver:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()

    def outcome(self, outcome: Outcome) -> None:
        """Log one file. Names stand as repr: they can hold escape sequences."""
        if self._briefly and outcome.status in ("transferred", "purged", "recovered"):
            return
        if outcome.status == "transferred":
            self._add(
                f"transferred {outcome.source!r} -> {outcome.target!r}, "
                f"{outcome.bytes} bytes in {outcome.seconds:.3f} s"
            )
        elif outcome.status == "failed":
            self._flush()
            self._log.error("failed %r: %s", outcome.source, outcome.reason)
        elif outcome.status == "recovered":
            self._add(f"{outcome.reason}: {outcome.source!r} -> {outcome.target!r}, {outcome.bytes} bytes")
        elif outcome.status == "purged":
            self._add(f"purged {outcome.source!r}")
        elif outcome.target:
            self._add(f"{outcome.reason}: {outcome.source!r} -> {outcome.target!r}")
        else:
            self._log.debug("skipped %r: %s", outcome.source, outcome.reason)

    def progress(self, progress: Progress) -> None:
        """Log how far the run is."""
        self._flush()
        self._log.info("%s", progress)

    def remark(self, message: str) -> None:
        """Log what explains the run."""
        self._flush()
        self._log.info("%s", message)

    def notice(self, message: str) -> None:
        """Log what the user should know once."""
        self._flush()
        self._log.warning("%s", message)

    def _add(self, line: str) -> None:
        if self._logged >= LOG_SINGLY:
            if not self._lines:
                asyncio.get_running_loop().call_later(LOG_SECONDS, self._flush)
            line = f"{self._time()}Z {line}"  # the log's own time is that of the last one
        self._lines.append(line)
        self._logged += 1
        if self._logged <= LOG_SINGLY or len(self._lines) == LOG_LINES:
            self._flush()

    def _time(self) -> str:
        """Return the time of day, UTC, to the millisecond."""
        now = time.time()
        if int(now) != self._second:
            self._second = int(now)
            self._clock = time.strftime("%H:%M:%S", time.gmtime(now))
        return f"{self._clock}.{int(now % 1 * 1000):03}"

    def _flush(self) -> None:
        if self._lines:
            self._log.info("%s", "\n".join(self._lines))
            self._lines.clear()


def log_end(log: logging.Logger, report: Report) -> None:
    """Log what a run has done, and then once more what failed and why: a person looks at the end of a log."""
    log.info("%s", report.summary())
    if report.receipt:
        log.info("receipt: %s", report.receipt)
    for failure in report.failures[:LOG_FAILURES]:
        log.error("failed at %s %r: %s", failure["time"], failure["source"], failure["error"])
    if report.failed > LOG_FAILURES:
        log.error("and %d more failed, see above", report.failed - LOG_FAILURES)
