"""When a task is tried again, as the log says it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.transfers.retries import next_try, shown, waits
from tests.support.airflow_env import warnings_of_ours_only

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("airflow_home")]

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def task(delay: float = 60, most: float | None = 3600, backoff: Any = True) -> Any:
    longest = None if most is None else timedelta(seconds=most)
    return SimpleNamespace(
        retry_delay=timedelta(seconds=delay), max_retry_delay=longest, retry_exponential_backoff=backoff
    )


def ti(try_number: int = 1, max_tries: int = 7) -> Any:
    return SimpleNamespace(try_number=try_number, max_tries=max_tries)


@given(
    st.floats(0, 100_000),
    st.none() | st.floats(1, 100_000),
    st.booleans(),
    st.integers(1, 100),
    st.text(st.characters(codec="ascii"), max_size=5),
)
def test_airflow_begins_the_next_try_within_what_is_said(
    delay: float, most: float | None, backoff: bool, try_number: int, run: str
) -> None:
    """Whatever its hash is of."""
    with warnings_of_ours_only():
        from airflow.models.taskinstance import TaskInstance

        # What its scheduler has of `True`: 3.2 made a factor of the flag.
        factor = 2.0 if hasattr(TaskInstance, "retry_delay_override") and backoff else backoff
        instance: Any = SimpleNamespace(
            **dict.fromkeys(("dag_id", "task_id", "logical_date", "execution_date", "run_id"), run),
            task=task(delay, most, factor),
            try_number=try_number,
            end_date=NOW,
            retry_delay_override=None,
            log=logging.getLogger("a test's"),
        )
        begins = TaskInstance.next_retry_datetime(instance) - NOW
    soonest, latest = waits(task(delay, most, backoff), try_number)
    # A whole second is what Airflow makes of a backoff.
    assert soonest <= begins <= latest + timedelta(seconds=2)


def test_the_log_says_between_what_and_what() -> None:
    assert next_try(task(), ti(3), NOW) == ("3 of 8", "4 min to 8 min", "12:04:00")
    assert next_try(task(backoff=False), ti(1), NOW) == ("1 of 8", "1 min", "12:01:00")
    assert next_try(task(), ti(7), NOW) == ("7 of 8", "1 h", "13:00:00")


def test_after_the_last_try_nothing_is_said() -> None:
    assert next_try(task(), ti(8), NOW) is None
    assert next_try(task(), ti(1, 0), NOW) is None
    own_policy = task()
    own_policy.retry_policy = object()
    assert next_try(own_policy, ti(), NOW) is None, "Airflow 3.3 asks it, and we do not know what it says"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (1.5, "1.5 s"), (60, "1 min"), (90, "1.5 min"), (3600, "1 h"), (86_400, "24 h")]
)
def test_a_time_is_written_as_people_do(seconds: float, text: str) -> None:
    assert shown(timedelta(seconds=seconds)) == text
