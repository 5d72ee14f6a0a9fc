"""
Every difference between the supported Airflow versions (2.10 to 3.3), so that no other module has to know of one.

Each name is looked for at its newest place first. The older places still work on later versions, up to a point, but
import with a deprecation warning, and the warning lands in the log of everybody who parses a Dag.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import Any

try:  # 3.0
    from airflow.sdk import (
        DAG,
        Asset,
        AssetAlias,
        BaseNotifier,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Context,
        Param,
        PokeReturnValue,
        get_parsing_context,
    )
except ImportError:
    from airflow.datasets import Dataset as Asset
    from airflow.datasets import DatasetAlias as AssetAlias
    from airflow.models.baseoperator import BaseOperator
    from airflow.models.baseoperatorlink import BaseOperatorLink
    from airflow.models.dag import DAG
    from airflow.models.param import Param
    from airflow.notifications.basenotifier import BaseNotifier
    from airflow.sensors.base import BaseSensorOperator, PokeReturnValue
    from airflow.utils.context import Context
    from airflow.utils.dag_parsing_context import get_parsing_context

try:  # 3.2
    from airflow.sdk import AssetOrTimeSchedule, AssetWatcher
except ImportError:
    try:  # 3.0
        from airflow.sdk import AssetWatcher
        from airflow.timetables.assets import AssetOrTimeSchedule
    except ImportError:  # nothing outside of Airflow can start a run
        AssetOrTimeSchedule = AssetWatcher = None

AIRFLOW_2 = AssetWatcher is None

try:  # 3.1
    from airflow.sdk import BaseHook
except ImportError:
    from airflow.hooks.base import BaseHook

try:  # 3.2
    from airflow.sdk import CronDataIntervalTimetable
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSkipException,
        AirflowTaskTimeout,
    )
except ImportError:
    from airflow.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSkipException,
        AirflowTaskTimeout,
    )
    from airflow.timetables.interval import CronDataIntervalTimetable

try:  # 3.0
    from airflow.sdk.definitions._internal.mixins import ResolveMixin
except ImportError:
    from airflow.utils.mixins import ResolveMixin


def stats() -> Any:
    """Return what takes metrics: `incr`, `gauge` and `timing`."""
    try:
        from airflow.sdk.observability import stats as found  # 3.2
    except ImportError:
        from airflow.stats import Stats

        return Stats
    return found if hasattr(found, "incr") else found.Stats  # functions of the module since 3.3


def flush_stats(seconds: float) -> None:
    """
    Have OpenTelemetry, if metrics go there, send now what it has.

    By itself it does so once a minute, and before Airflow 3.1 what a task's process has when it ends is lost.

    :param seconds: the longest wait for a collector.
    """
    metrics = sys.modules.get("opentelemetry.metrics")
    flush = getattr(metrics.get_meter_provider(), "force_flush", None) if metrics else None
    if flush is not None:
        # Of its own time limits some are those of one attempt, and it makes several.
        sending = threading.Thread(target=flush, args=(seconds * 1000,), name="metrics", daemon=True)
        sending.start()
        sending.join(seconds)


def xcom_value(key: str, ti_key: Any) -> Any:
    """Return what a task instance has left in XCom; None: nothing."""
    try:
        from airflow.sdk.execution_time.xcom import XCom  # 3.0
    except ImportError:
        from airflow.models.xcom import XCom
    return XCom.get_value(key=key, ti_key=ti_key)


def is_unmapped(operator: BaseOperator) -> bool:
    """
    Say whether Airflow has made `operator` at run time, of a mapped one: its values are what was mapped over.

    May be asked in its `__init__`, where Airflow has no public word for it (2.10 to 3.3).
    """
    return bool(getattr(operator, "_BaseOperator__from_mapped", False))


def is_continuous(dag: DAG) -> bool:
    """Return whether the next run of a Dag begins as soon as one has ended. Its timetable's module differs."""
    return type(dag.timetable).__name__ == "ContinuousTimetable"


def has_policies() -> bool:
    """Say whether the installation has a cluster policy for Dags or tasks: one may refuse a Dag."""
    from airflow import settings

    manager = getattr(settings, "get_policy_plugin_manager", lambda: settings.POLICY_PLUGIN_MANAGER)()
    hooks = manager.hook
    return bool(hooks.dag_policy.get_hookimpls() or hooks.task_policy.get_hookimpls())


def apply_policies(dag: DAG) -> None:
    """
    Do to a Dag what Airflow does after it has read the Dag file; policies may change what they look at.

    :raises Exception: whatever a policy raises, but for the one that leaves a Dag out with no error.
    """
    from airflow import settings
    from airflow.exceptions import AirflowClusterPolicySkipDag

    with contextlib.suppress(AirflowClusterPolicySkipDag):
        settings.dag_policy(dag)
        for task in dag.tasks:
            settings.task_policy(task)


def can_record(alias: AssetAlias) -> bool:
    """
    Return whether Airflow can record an event for an asset alias.

    Airflow 2 only records one for an alias in its database, where a scheduler puts those of the Dags that it parses.
    An event for another one (`airflow dags test` with no scheduler before it) fails the task after its execute().
    """
    if not AIRFLOW_2:
        return True
    from airflow.models.dataset import DatasetAliasModel
    from airflow.utils.session import create_session

    with create_session() as session:
        return session.query(DatasetAliasModel).filter_by(name=alias.name).first() is not None


__all__ = [
    "AIRFLOW_2",
    "DAG",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "Asset",
    "AssetAlias",
    "AssetOrTimeSchedule",
    "AssetWatcher",
    "BaseHook",
    "BaseNotifier",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "Context",
    "CronDataIntervalTimetable",
    "Param",
    "PokeReturnValue",
    "ResolveMixin",
    "apply_policies",
    "can_record",
    "flush_stats",
    "get_parsing_context",
    "has_policies",
    "is_continuous",
    "is_unmapped",
    "stats",
    "xcom_value",
]
