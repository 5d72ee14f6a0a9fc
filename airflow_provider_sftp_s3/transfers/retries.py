"""When Airflow tries a task again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

#: Seconds that Airflow lets a growing delay grow to.
MOST = 24 * 3600.0


class NextTry(NamedTuple):
    """
    When the next try of a task begins.

    :param failed: the number of the try before it, of how many.
    :param wait: how long from now, perhaps from and to.
    :param soonest: the time of day before which it does not begin, in UTC.
    """

    failed: str
    wait: str
    soonest: str


def next_try(task: Any, ti: Any, now: datetime | None = None) -> NextTry | None:
    """
    Return when the next try of a task that is about to fail begins; None: there is none, or nobody can say.

    :param now: when this one ends.
    """
    most = getattr(ti, "max_tries", None)
    if most is None or ti.try_number > most or getattr(task, "retry_policy", None) is not None:
        return None
    soonest, latest = waits(task, ti.try_number)
    begins = (now or datetime.now(UTC)) + soonest
    between = f"{shown(soonest)} to {shown(latest)}" if latest > soonest else shown(soonest)
    return NextTry(f"{ti.try_number} of {most + 1}", between, f"{begins:%H:%M:%S}")


def waits(task: Any, try_number: int) -> tuple[timedelta, timedelta]:
    """
    Return how long Airflow waits after this try, at least and at most.

    Which it is within these bounds, Airflow takes from a hash (`TaskInstance.next_retry_datetime` of 2.10 to 3.3), so
    that many tasks do not come back at once.
    """
    delay, most = _seconds(task.retry_delay), _seconds(task.max_retry_delay)
    backoff = task.retry_exponential_backoff
    factor = 2.0 if backoff is True else float(backoff or 1)
    if factor == 1:
        return timedelta(seconds=delay), timedelta(seconds=delay)
    least = max(delay * factor ** min(try_number - 1, 50), 1.0)
    bound = min(most or MOST, MOST)
    return timedelta(seconds=min(least, bound)), timedelta(seconds=min(2 * least, bound))


def _seconds(value: Any) -> float:
    return float(value.total_seconds() if isinstance(value, timedelta) else value or 0)


def shown(time: timedelta) -> str:
    """Return a time as people write it: `45 s`, `2 min`, `1.5 h`."""
    seconds = time.total_seconds()
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
