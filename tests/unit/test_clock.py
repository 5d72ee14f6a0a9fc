"""S3's time, carried on."""

from __future__ import annotations

import time

import pytest

from airflow_provider_sftp_s3.engine.clock import MAX_SKEW, Clock

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("ahead", [-1e8, -MAX_SKEW - 10, -MAX_SKEW + 10, 0, MAX_SKEW - 10, MAX_SKEW + 10, 1e8])
def test_a_clock_that_differs_is_not_right(monkeypatch: pytest.MonkeyPatch, ahead: float) -> None:
    """And its text names both times."""
    now = int(time.time()) + 0.5
    monkeypatch.setattr(time, "time", lambda: now)
    s3 = now - ahead
    clock = Clock(s3)
    assert clock.is_right == (abs(ahead) < MAX_SKEW)
    assert abs(clock.now() - s3) < 60
    both = str(clock).split(", and S3 says ")
    assert len(both) == 2
    assert (both[0] == both[1]) == (ahead == 0)


def test_the_time_goes_on_whatever_becomes_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(1000.0)
    before = clock.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert clock.now() >= before >= 1000.0
