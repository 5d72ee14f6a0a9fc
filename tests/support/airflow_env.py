"""An Airflow for tests: configured before it is imported, its database made when first needed, Dags run in memory.

Works on Airflow 2.10 to 3.3. Nothing here imports Airflow before it is used.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import inspect
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def configure() -> Path:
    """Point Airflow at an empty home of its own, by environment variables; return that home.

    To be called before Airflow is first imported, once per process. The home goes away when the process ends.
    """
    if "airflow" in sys.modules:
        raise RuntimeError("Airflow was imported before the tests could configure it")
    home = Path(tempfile.mkdtemp(prefix="airflow-home-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    (home / "dags").mkdir()
    for name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_", "AWS_"))]:
        del os.environ[name]
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        # The defaults, 5 s and 30 s, are few on a busy machine.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=120",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        # Without it botocore may wait for a metadata service that is not there.
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return home


def make_database() -> None:
    """Make the tables of the configured database: 2.5 s in this process, 7 s by the ``airflow`` command."""
    with warnings_of_ours_only():
        from airflow.utils import db

        db.upgradedb()


@contextlib.contextmanager
def warnings_of_ours_only() -> Iterator[None]:
    """Let Airflow warn itself, which differs by version; a warning about this package's code stays an error.

    So does a ResourceWarning, since what is never closed may be ours.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", ResourceWarning)
        warnings.filterwarnings("error", module="airflow_provider_sftp_s3")
        yield


def run_dag(dag: Any, *, registered: bool = True, **options: Any) -> tuple[str, dict[tuple[str, int], Any]]:
    """Run a Dag made in memory with ``dag.test()``, retries and mapped tasks included.

    :param dag: the Dag; its id should be new for each call.
    :param registered: False, on Airflow 2: it is run as ``airflow dags test`` does, with nothing of it in the database.
    :param options: arguments of ``dag.test()``; those that the installed version lacks are left out.
    :returns: the run's state (``success``, ``failed``), and its task instances by (task id, map index; -1: unmapped).
    """
    known = inspect.signature(dag.test).parameters
    with warnings_of_ours_only():
        if registered:
            _register(dag)
        _share_api_server()
        run = dag.test(**{name: value for name, value in options.items() if name in known})
        instances = {(ti.task_id, ti.map_index): ti for ti in run.get_task_instances()}
    return str(getattr(run.state, "value", run.state)), instances


def start_metrics() -> None:
    """Have metrics go where the settings say, as what runs a task does from Airflow 3.2 on: before, all code did."""
    with contextlib.suppress(ImportError):
        from airflow.sdk.observability import stats
        from airflow.sdk.observability.metrics import stats_utils

        if hasattr(stats, "initialize"):  # 3.3
            stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)
        else:
            stats.Stats.initialize(factory=stats_utils.get_stats_factory(stats.Stats))


def _register(dag: Any) -> None:
    """Put the Dag into the database, which ``dag.test()`` takes for granted, each version in its way."""
    try:
        try:
            from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db  # 3.2 and later
        except ImportError:
            from airflow.models.dagbag import DagBag, sync_bag_to_db  # 3.1
        from airflow.dag_processing.bundles.manager import DagBundlesManager

        DagBundlesManager().sync_bundles_to_db()
        bag = DagBag(os.devnull)
        bag.dags[dag.dag_id] = dag
        sync_bag_to_db(bag, "dags-folder", None)
    except ImportError:
        if hasattr(dag, "sync_to_db"):  # 2.x
            dag.sync_to_db()
        else:  # 3.0
            from airflow.dag_processing.bundles.manager import DagBundlesManager
            from airflow.models.dag import DAG

            DagBundlesManager().sync_bundles_to_db()
            DAG.bulk_write_to_db("dags-folder", None, [DAG.from_sdk_dag(dag)])


def _share_api_server() -> None:
    """Let the tasks of ``dag.test()`` share an API server, as from Airflow 3.3 on: before, each made one, in 4 s."""
    with contextlib.suppress(ImportError):  # 2.x has none
        from airflow.sdk.execution_time import supervisor

        if not hasattr(supervisor.in_process_api_server, "cache_clear"):
            supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)


def xcom(instance: Any, key: str = "return_value") -> Any:
    """Return what a task instance of :func:`run_dag` left in XCom under ``key``, or None."""
    with warnings_of_ours_only():
        return instance.xcom_pull(task_ids=instance.task_id, key=key, map_indexes=instance.map_index)


@contextlib.contextmanager
def airflow_connections(**connections: dict[str, Any]) -> Iterator[None]:
    """Give Airflow these connections, by id, for the time of the block.

    :param connections: conn_id -> what ``airflow_connection()`` of a test server returns.
    """
    variables = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in connections.items()}
    before = {name: os.environ.get(name) for name in variables}
    os.environ |= variables
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
