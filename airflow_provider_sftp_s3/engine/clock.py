"""What time it is by S3's clock: the worker's may be wrong, and what is purged too early is gone."""

from __future__ import annotations

import time
from datetime import UTC, datetime

#: Seconds by which the clock of this machine may differ from S3's. S3 itself allows 15 minutes:
#: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (RequestTimeTooSkewed).
MAX_SKEW = 300.0


class Clock:
    """
    S3's time, carried on from one of its answers by the monotonic clock.

    :param now: S3's time, in seconds since 1970.
    """

    def __init__(self, now: float) -> None:
        self._start = now - time.monotonic()
        self._skew = time.time() - now

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return self._start + time.monotonic()

    @property
    def is_right(self) -> bool:
        """Whether this machine's clock said about the same."""
        return abs(self._skew) <= MAX_SKEW

    def __str__(self) -> str:
        """Both times, for a user who has to set a clock."""
        now = self.now()
        return f"{_utc(now + self._skew)}, and S3 says {_utc(now)}"


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
