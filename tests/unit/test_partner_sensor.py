"""The sensor that ends a run in which all objects wait: when it does, by what the pushes have reported."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.model import WAITS
from tests.support.airflow_env import warnings_of_ours_only

pytestmark = pytest.mark.unit

ALL_WAIT = {"transferred": 0, "skipped": {WAITS: 3, "synced": 1}}
SOME_WAIT = {"transferred": 1, "skipped": {WAITS: 3}}
NOTHING = {"transferred": 0, "skipped": {"synced": 1}}


@pytest.mark.parametrize(
    ("pulled", "waits"),
    [
        ([ALL_WAIT], True),
        ([[ALL_WAIT, NOTHING]], True),
        (ALL_WAIT, True),
        ([SOME_WAIT], False),
        ([ALL_WAIT, SOME_WAIT], False),
        ([NOTHING], False),
        ([], False),
        ([None], False),
        (None, False),
    ],
)
def test_it_waits_where_nothing_was_moved_and_something_waits(pulled: Any, waits: bool) -> None:
    """Until the run is as old as its interval; however XCom gives the reports of mapped tasks."""
    with warnings_of_ours_only():
        from airflow_provider_sftp_s3.sensors.partner import PartnerSensor

        sensor = PartnerSensor(task_id="wait", transfers="push", interval=timedelta(minutes=2))
    for age, over in ((timedelta(minutes=1), False), (timedelta(minutes=3), True)):
        asked: list[Any] = []

        def pull(task_ids: Any, asked: list[Any] = asked) -> Any:
            asked.append(task_ids)
            return pulled

        context = {
            "ti": SimpleNamespace(xcom_pull=pull),
            "dag_run": SimpleNamespace(start_date=datetime.now(UTC) - age),
        }
        assert sensor.poke(context) == (over or not waits)
        assert asked == [["push"]]
