"""What is tried under each Airflow: run by its venv's own Python, which has nothing but Airflow and the wheel.

    python -I inside.py REPOSITORY RESULTS < connections.json

Writes a JSON line to the file RESULTS for each check: its name, and what is wrong, or null.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

PROVIDER = "airflow-provider-sftp-s3"
PACKAGE = "airflow_provider_sftp_s3"
REPOSITORY = Path(sys.argv[1])
DAGS = REPOSITORY / "dags"

# The modules of the tests that are used here; they import nothing but the standard library and what Airflow needs.
sys.path.append(str(REPOSITORY / "tests" / "support"))
if TYPE_CHECKING:
    from tests.support import airflow_env, otlp
else:
    import airflow_env
    import otlp

#: Task instances of the operators' Dags, for the check that comes last.
ran: dict[str, Any] = {}
#: The SFTP server's connection.
SFTP: dict[str, Any] = {}
#: Takes the metrics of all Dags.
COLLECTOR = otlp.Collector()

TEST_CONNECTIONS = """
import sys
from airflow_provider_sftp_s3.__main__ import main

for connection in sys.argv[1:]:
    print(connection, main(["test-connection", connection]))
"""


def listed() -> None:
    """`airflow providers list` shows the wheel's version, and what it says of itself passes Airflow's own schema."""
    import airflow
    import jsonschema

    from airflow_provider_sftp_s3.get_provider_info import get_provider_info

    here = sysconfig.get_path("purelib")
    assert get_provider_info.__code__.co_filename.startswith(here), "the package was not imported from the wheel"
    # Airflow 3 splits `airflow` over two packages; the schema lies in the core's.
    (schema,) = (found for place in airflow.__path__ if (found := Path(place, "provider_info.schema.json")).exists())
    jsonschema.validate(get_provider_info(), json.loads(schema.read_text()))
    command = [str(Path(sys.executable).with_name("airflow")), "providers", "list", "--output", "json"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=400)
    print(answer.stdout, answer.stderr)
    assert not answer.returncode, f"airflow providers list ended with {answer.returncode}"
    providers = json.loads(answer.stdout[answer.stdout.index("[{") :])  # Airflow 2 logs in front of it
    shown = {provider["package_name"]: provider["version"] for provider in providers}.get(PROVIDER)
    assert shown == version(PROVIDER), f"airflow providers list shows {shown}"


def parsed() -> None:
    """The example Dags have no import error, and nothing warns about a line of ours."""
    import yaml

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bag = _example_dags()
    assert not bag.import_errors, bag.import_errors
    wanted = {flow["name"] for flow in yaml.safe_load((DAGS / "flows.yaml").read_text())}
    assert set(bag.dags) == wanted, f"found the Dags {sorted(bag.dags)}"
    for warning in caught:
        print(f"{warning.filename}:{warning.lineno}: {warning.category.__name__}: {warning.message}")
    ours = [str(warning.message) for warning in caught if PACKAGE in warning.filename or str(DAGS) in warning.filename]
    assert not ours, ours


def page() -> None:
    """The plugin is loaded, with no complaint: with the page where Airflow can show one, and else with nothing."""
    from airflow import plugins_manager

    (plugin,) = [each for each in plugins_manager.get_plugin_info() if each["name"] == "sftp_s3"]
    can_show = tuple(int(part) for part in version("apache-airflow").split(".")[:2]) >= (3, 1)
    views = [view["href"] for view in plugin.get("external_views", [])]
    apps = [app["url_prefix"] for app in plugin.get("fastapi_apps", [])]
    assert (views, apps) == ((["sftp-s3/"], ["/sftp-s3"]) if can_show else ([], [])), (views, apps)


def pull() -> None:
    """SftpTreeToS3Operator in a Dag, whose first try fails. The engine knows this asyncssh well enough."""
    from airflow_provider_sftp_s3.engine.sftp.packets import PacketReceiver
    from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator

    with _deals_with_packets(PacketReceiver):
        _run_operator("pull", SftpTreeToS3Operator, sftp_path="/pull", s3_bucket="pull")


def push() -> None:
    """S3ToSftpOperator in a Dag, whose first try fails. The engine knows this asyncssh well enough."""
    from airflow_provider_sftp_s3.engine.sftp.packets import PacketSender
    from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator

    with _deals_with_packets(PacketSender):
        _run_operator("push", S3ToSftpOperator, s3_bucket="push", s3_prefix="out", sftp_path="/push")


def retry() -> None:
    """The first try of both failed, and the second mended it."""
    tries = {name: instance.try_number for name, instance in ran.items()}
    assert tries == {"pull": 2, "push": 2}, f"tries: {tries}"


def metrics() -> None:
    """OpenTelemetry has been sent what both operators have moved in their two tries, by Dag and direction."""
    for name, files in (("pull", 3), ("push", 2)):
        mine = [each for each in COLLECTOR.came if each.tags == {"dag_id": f"matrix_{name}", "direction": name}]
        sums = {each.name: 0.0 for each in mine}
        for each in mine:
            sums[each.name] += each.value
        found = {what: sums.get(f"airflow.sftp_s3.{what}") for what in ("files", "failed")}
        assert found == {"files": files, "failed": 1}, f"{name}: {found} of {mine}"
        # Before 3.1 a process has each gauge once, whatever its tags; a task of a scheduler's has a process of its own.
        more = ("bytes", "left", "oldest_age", "seconds") if name == "pull" else ("bytes",)
        assert {f"airflow.sftp_s3.{what}" for what in more} <= sums.keys(), mine


def connections() -> None:
    """`test-connection` finds those of the environment, of the database and of a secrets backend."""
    from airflow.models import Connection
    from airflow.utils.session import create_session

    fields = {name: SFTP[name] for name in ("conn_type", "host", "port", "login", "password")}
    with create_session() as session:
        session.add(Connection(conn_id="in_database", extra=json.dumps(SFTP["extra"]), **fields))
    secrets = Path("secrets.json").absolute()
    secrets.write_text(json.dumps({"in_secrets": SFTP}))
    environment = os.environ | {
        "AIRFLOW_CONN_IN_ENVIRONMENT": json.dumps(SFTP),
        "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(secrets)}),
        "AIRFLOW__METRICS__OTEL_ON": "False",
    }
    where = ("in_environment", "in_database", "in_secrets")
    command = [sys.executable, "-c", TEST_CONNECTIONS, *where, "nowhere"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment)
    print(answer.stdout, answer.stderr)
    ends = {
        connection: line for line in answer.stdout.splitlines() for connection in where if line == f"{connection} 0"
    }
    assert set(ends) == set(where), answer.stdout + answer.stderr
    assert "there is no connection 'nowhere'" in answer.stderr, answer.stderr


def flows() -> None:
    """The Dags of dags/flows.yaml: a pull, and a push with its sensor and its mapped task; and a pull by two tasks."""
    from airflow_provider_sftp_s3.flows.dag import flow_dag

    own = {
        "owner": "matrix",
        "pool": "default_pool",
        "queue": "default",
        "priority_weight": 2,
        "end_date": "2040-01-01",
    }
    own |= {"execution_timeout": "1h", "dagrun_timeout": "2h", "max_retry_delay": "1h", "timezone": "Europe/Berlin"}
    shared = {"name": "shared", "direction": "pull", "sftp_path": "/shared", "s3_bucket": "shared", "parallelism": 2}
    shared |= own
    examples = _example_dags().dags
    dags = {"shared": flow_dag(shared)} | {name: examples[name] for name in ("partner_pull", "partner_push")}
    assert {(task.owner, task.priority_weight) for task in dags["shared"].tasks} == {("matrix", 2)}
    for name, dag in dags.items():
        for task in dag.tasks:
            task.retries = 0  # what is broken should not wait for five minutes to show that it still is
        state, instances = airflow_env.run_dag(dag)
        assert state == "success", f"{name}: {state}, {[(each.task_id, each.state) for each in instances.values()]}"


def form() -> None:
    """What a flow's trigger form says holds for one run; what it does not take is told."""
    form = {"s3_prefix": "by-hand/", "sftp_path": "/by_hand"}
    for conf in ({"dry_run": True}, {}):
        state, _ = airflow_env.run_dag(_example_dags().dags["partner_push"], run_conf=form | conf)
        assert state == "success", f"{conf}: {state}"
    param = _example_dags().dags["partner_push_daily"].params.get_param("s3_prefix")
    said = ""
    try:
        param.resolve("{{ conn.sftp_default.password }}")
    except Exception as refused:
        said = str(refused)
    assert "does not match" in said, f"a template in the form is not refused: {said}"


def backfill() -> None:
    """Ten days of dags/flows.yaml's dated push; two of them have no objects.

    Airflow 2's command runs them itself. Airflow 3's needs a scheduler: here, each day's run goes by itself.
    """
    if _airflow_2():
        _example_dags().dags["partner_push_daily"].sync_to_db()  # as a scheduler would have done
        command = [str(Path(sys.executable).with_name("airflow")), "dags", "backfill", "partner_push_daily"]
        command += ["--start-date", "2026-01-01", "--end-date", "2026-01-10", "--subdir", str(DAGS)]
        # The executor that runs tasks in this process: a process for each would take minutes.
        environment = os.environ | {"AIRFLOW__CORE__EXECUTOR": "DebugExecutor", "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS)}
        answer = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment)
        print(answer.stdout, answer.stderr)
        assert not answer.returncode, f"airflow dags backfill ended with {answer.returncode}"
        states = _run_states("partner_push_daily")
        assert states == ["success"] * 10, f"its ten runs ended as {states}"
        return
    for day in range(1, 11):
        dag = _example_dags().dags["partner_push_daily"]
        state, _ = airflow_env.run_dag(dag, logical_date=datetime(2026, 1, day, tzinfo=UTC))
        assert state == "success", f"day {day}: {state}"


def assets() -> None:
    """The flows' assets have had their events: of what was moved, and of nothing else."""
    from airflow.utils.session import create_session

    try:
        from airflow.models.asset import AssetEvent, AssetModel  # 3.0

        of_event = AssetEvent.asset_id == AssetModel.id
    except ImportError:  # 2.x
        from airflow.models.dataset import DatasetEvent as AssetEvent
        from airflow.models.dataset import DatasetModel as AssetModel

        of_event = AssetEvent.dataset_id == AssetModel.id
    with create_session() as session:
        uris = [uri for (uri,) in session.query(AssetModel.uri).join(AssetEvent, of_event)]
    found = [uri.rstrip("/") for uri in uris]  # Airflow itself puts a slash behind a bucket with no prefix
    print(found)
    server = f"sftp://{SFTP['host']}:{SFTP['port']}"
    wanted = {"s3://example-inbound/partner": 1, "s3://shared": 1, f"{server}/incoming": 9, f"{server}/by_hand": 1}
    if not _airflow_2():  # which records no event for a Dag that it has not in its database
        wanted |= {"s3://pull": 1, f"{server}/push": 1}
    assert {uri: found.count(uri) for uri in found} == wanted, f"found {found}"


def _airflow_2() -> bool:
    return version("apache-airflow").startswith("2.")


def _run_states(dag_id: str) -> list[str]:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        return [str(state) for (state,) in session.query(DagRun._state).filter_by(dag_id=dag_id)]


def _example_dags() -> Any:
    try:
        from airflow.dag_processing.dagbag import DagBag  # 3.2
    except ImportError:
        from airflow.models.dagbag import DagBag
    return DagBag(dag_folder=str(DAGS))


@contextlib.contextmanager
def _deals_with_packets(which: Any) -> Iterator[None]:
    """Make sure that the engine itself makes or takes packets within the block."""
    from unittest.mock import patch

    with patch.object(which, "_packet", autospec=True, side_effect=which._packet) as dealt_with:
        yield
    assert dealt_with.called, (
        f"asyncssh {version('asyncssh')} does all itself, and is slower. If it was not tried yet, add it to TRIED in "
        "engine/sftp/packets.py and to matrix/rows.py, and run tests/integration/test_ssh_packets.py with it, then this"
    )


def _run_operator(name: str, operator: Callable[..., Any], **arguments: Any) -> None:
    from airflow_provider_sftp_s3._compat import DAG, AssetAlias

    dag_id = f"matrix_{name}"
    arguments |= {"retries": 2, "retry_delay": timedelta(seconds=1), "outlets": [AssetAlias(dag_id)]}
    with DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        operator(task_id=name, **arguments)
    # `airflow dags test` of Airflow 2 does not put the Dag, nor the alias, into the database: the task must not mind.
    state, instances = airflow_env.run_dag(dag, registered=not _airflow_2())
    ran[name] = instances[name, -1]
    assert state == "success", f"{state} after {ran[name].try_number} tries"


@contextlib.contextmanager
def reported(check: Callable[[], None], results: Path) -> Iterator[None]:
    """Write down how the block ended; an exception ends the block and no more."""
    print(f"\n=== {check.__name__}: {check.__doc__}", flush=True)
    problem = None
    try:
        yield
    except Exception as failed:
        traceback.print_exc()
        problem = f"{type(failed).__name__}: {failed}"
    with results.open("a") as file:
        file.write(json.dumps({"check": check.__name__, "problem": problem}) + "\n")


def main() -> None:
    """Run all checks, whatever becomes of the others."""
    results = Path(sys.argv[2])
    given = json.load(sys.stdin)
    SFTP.update(given["sftp_default"])
    os.chdir(airflow_env.configure())
    os.environ |= {
        "AIRFLOW__METRICS__OTEL_ON": "True",
        "AIRFLOW__METRICS__OTEL_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__OTEL_PORT": str(COLLECTOR.port),
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
    }
    airflow_env.make_database()
    airflow_env.start_metrics()
    with COLLECTOR, airflow_env.airflow_connections(**given):
        # parsed() before the others, since a module warns when it is first imported.
        for check in (parsed, listed, page, pull, push, retry, metrics, connections, flows, form, backfill, assets):
            with reported(check, results):
                check()


main()
