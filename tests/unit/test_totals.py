"""What the tries of a task have moved together, by Airflow's `task_state_store`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.model import Moved
from airflow_provider_sftp_s3.transfers.totals import moved_before, remember

pytestmark = pytest.mark.unit


class Store(dict[str, Any]):
    """As Airflow's, for one task."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


class Broken:
    def get(self, key: str) -> Any:
        raise RuntimeError("down")

    set = get


def context(number: int, store: Any) -> Any:
    return {"ti": SimpleNamespace(try_number=number), **({} if store is None else {"task_state_store": store})}


def test_each_try_knows_those_before_it() -> None:
    store = Store()
    assert moved_before(context(1, store)) == Moved()
    remember(context(1, store), Moved(5, 50))
    assert moved_before(context(2, store)) == Moved(5, 50)
    remember(context(2, store), Moved(6, 60))
    assert moved_before(context(3, store)) == Moved(6, 60)


def test_after_one_that_was_killed_nobody_knows() -> None:
    """It has left nothing, and neither does the one after it, which does not know either."""
    store = Store()
    remember(context(1, store), Moved(5, 50))
    assert moved_before(context(3, store)) is None
    remember(context(3, store), None)
    assert moved_before(context(4, store)) is None


@pytest.mark.parametrize("store", [None, Broken(), Store(sftp_s3_moved="else")])
def test_where_airflow_remembers_nothing_nobody_knows(store: Any) -> None:
    """And nothing fails for that: Airflow before 3.3, or one whose API is down."""
    assert moved_before(context(2, store)) is None
    remember(context(2, store), Moved(1, 1))
    assert moved_before(context(1, store)) == Moved()
