"""
A flow of each kind on PostgreSQL, with names that databases mind, and flows that are changed while they run.

SQLite minds no name. MariaDB is not tried here: the scheduler of Airflow 3.2 and later sends it SQL that it does not
know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.conftest import require
from tests.distributed.databases import postgres_tools, postgresql
from tests.support.airflow_system import AirflowSystem
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault, Proceed, Request
from tests.support.trees import tree

pytestmark = pytest.mark.distributed

DAGS = Path(__file__).parents[2] / "dags"
#: 1,000 characters, in bytes more than a segment of a path takes: of four segments, and an emoji in each.
LONG = "/".join(f"📦{letter * 248}" for letter in "abcd")
NAMES = [LONG, "é😀 ü{{ ds }}'\"\\.csv", "plain"]
CONTENT = {name: name.encode() for name in NAMES}
#: As a URI it has more characters than Airflow takes: the files are moved, and no event is sent.
TOO_LONG = ("😀" * 60 + "/") * 3


#: Seconds between two looks for objects. After a failure the next run begins 15 times as long after the last one.
POKE = 3
#: Files of a tree whose flow is changed under its run.
MANY = 40
#: Dag files are read every three seconds.
OFTEN = {
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3",
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "1",
}


class SlowOpens(Fault):
    """A tree takes half a minute, by one task or by four."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "OPEN" and request.path.startswith(("/grows", "/shrinks")):
            await asyncio.sleep(0.7 if request.path.startswith("/grows") else 2.8)
        return await proceed()


class World(NamedTuple):
    airflow: AirflowSystem
    sftp: AsyncsshServer
    s3: S3Server
    bucket: str

    def pushed(self, directory: str) -> dict[str, bytes]:
        return tree(self.sftp.local(directory))

    def task(self, dag: str, task: str, index: int = -1) -> dict[str, Any]:
        """Return a task instance of the Dag's last run."""
        (run, *_) = self.airflow.runs(dag)
        found = self.airflow.get(f"dags/{dag}/dagRuns/{run['dag_run_id']}/taskInstances", limit=100)["task_instances"]
        return next(each for each in found if (each["task_id"], each["map_index"]) == (task, index))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All is unpaused, and nothing is moved yet."""
    for driver in ("psycopg2", "asyncpg"):
        require(find_spec(driver) is not None, f"{driver} is not installed")
    require(postgres_tools() is not None, "PostgreSQL is not installed")
    directory = tmp_path_factory.mktemp("postgresql")
    with (
        postgresql() as environment,
        S3Server() as s3,
        AsyncsshServer(directory / "sftp") as sftp,
        closing(s3.client()) as client,
    ):
        bucket = s3.new_bucket()
        for name in NAMES:
            for place in ("one", "shared", "far"):
                path = sftp.local(f"/{place}") / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(CONTENT[name])
            client.put_object(Bucket=bucket, Key=f"out/{name}", Body=CONTENT[name])
        for place in ("pushed", "kept up"):
            sftp.local(f"/{place}").mkdir()
        client.put_object(Bucket=bucket, Key="held/" + "n" * 300, Body=b"never")
        client.put_object(Bucket=bucket, Key="held/good", Body=b"good")
        pull: dict[str, Any] = {"direction": "pull", "s3_bucket": bucket, "retries": 0, "min_age": 0}
        push = {"direction": "push", "s3_bucket": bucket, "retries": 3, "batch_files": 2}
        flows = [
            pull | {"name": "one", "sftp_path": "/one", "s3_prefix": "in/😀/"},
            pull | {"name": "shared", "sftp_path": "/shared", "s3_prefix": "shared/", "parallelism": 2},
            pull | {"name": "far", "sftp_path": "/far", "s3_prefix": TOO_LONG, "include": "plain"},
            push | {"name": "out", "sftp_path": "/pushed", "s3_prefix": "out/", "parallelism": 2},
            push
            | {"name": "held", "sftp_path": "/kept up", "s3_prefix": "held/", "schedule": "@continuous"}
            | {"poke_interval": f"{POKE}s"},
        ]
        for name in ("grows", "shrinks"):
            flows.append(
                pull | {"name": name, "sftp_path": f"/{name}", "s3_prefix": name, "options": {"concurrency": 1}}
            )
            for number in range(MANY):
                path = sftp.local(f"/{name}") / f"{number}"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(b"x")
        flows[-1]["parallelism"] = 4
        sftp.fault = SlowOpens()
        flows[0]["expected_files"] = [{"files": "😀*", "by": "00:00"}]
        files = {path.name: path.read_text() for path in DAGS.glob("*.py")} | {"flows.yaml": yaml.safe_dump(flows)}
        connections = {"sftp_default": sftp.airflow_connection(), "aws_default": s3.airflow_connection()}
        airflow = AirflowSystem(directory, connections, files, environment={**environment, **OFTEN})
        try:
            airflow.command("db", "migrate")
            airflow.start()
            dags = [str(flow["name"]) for flow in flows] + ["one_expected"]
            airflow.wait(lambda: airflow.has_dags(dags) and airflow.unpause(dags))
            yield World(airflow, sftp, s3, bucket)
        finally:
            airflow.stop()


def test_a_pull(world: World) -> None:
    """Its report and its event have the names in them."""
    assert world.airflow.run("one") == "success"
    found = {key: body for key, body in world.s3.objects(world.bucket).items() if key.startswith("in/")}
    assert found == {f"in/😀/{name}": content for name, content in CONTENT.items()}
    report = world.airflow.xcom(world.task("one", "pull", 0), "return_value")
    assert sorted(target.rpartition("😀/")[2] for target in report["targets"] if "plain" in target) == ["plain"]
    assert report["transferred"] == 3
    assert world.airflow.events_of(f"s3://{world.bucket}/in/%F0%9F%98%80") == 1


def test_a_pull_by_two_tasks(world: World) -> None:
    assert world.airflow.run("shared") == "success"
    assert world.airflow.events_of(f"s3://{world.bucket}/shared") == 1
    assert world.task("shared", "pull", 1)["rendered_map_index"] == "2/2"


def test_an_asset_whose_name_is_too_long_costs_its_event_only(world: World) -> None:
    assert world.airflow.run("far") == "success"
    assert world.s3.objects(world.bucket)[f"{TOO_LONG}plain"] == b"plain"


def test_a_push(world: World) -> None:
    """Its keys lie in XCom, and the first of each batch is in the label of its task."""
    assert world.airflow.run("out") == "success"
    assert world.pushed("/pushed") == CONTENT
    listed = world.airflow.xcom(world.task("out", "list_unsynced"), "return_value")
    assert sorted(key for batch in listed for key in batch) == sorted(f"out/{name}" for name in NAMES)
    labels = [world.task("out", "push", index)["rendered_map_index"] for index in (0, 1)]
    assert all(len(label) <= 250 for label in labels)
    assert any("😀" in label or "📦" in label for label in labels)


def test_a_continuous_push_beside_what_can_never_go(world: World) -> None:
    """Its first run fails in its first try, with the other pushed; the next one begins a while later, and waits."""
    runs = world.airflow.wait(lambda: [run for run in world.airflow.runs("held") if run["state"] == "failed"])
    assert world.pushed("/kept up") == {"good": b"good"}
    tasks = world.airflow.get(f"dags/held/dagRuns/{runs[0]['dag_run_id']}/taskInstances")["task_instances"]
    assert {task["task_id"]: task["try_number"] for task in tasks}["push"] == 1
    world.airflow.wait(lambda: any(run["state"] == "running" for run in world.airflow.runs("held")))
    late = datetime.now(UTC)
    with closing(world.s3.client()) as client:
        client.put_object(Bucket=world.bucket, Key="held/late 😀", Body=b"late")
    world.airflow.wait(lambda: "late 😀" in world.pushed("/kept up"))
    times = [(run["start_date"], run["end_date"]) for run in world.airflow.runs("held") if run["end_date"]]
    lasted = [end - start for start, end in (map(datetime.fromisoformat, each) for each in times) if end < late]
    assert min(lasted) > timedelta(seconds=14 * POKE)
    assert world.airflow.pause("held")


def test_what_must_have_come(world: World) -> None:
    assert world.airflow.run("one_expected") in ("success", "failed")


@pytest.mark.parametrize(("name", "now"), [("grows", 4), ("shrinks", 1)])
def test_a_flow_that_is_changed_while_its_run_is_active(world: World, name: str, now: int) -> None:
    """More tasks come in between. Where some go, the run is green over nothing that they have left."""

    def pulled() -> int:
        return sum(key.startswith(f"{name}/") for key in world.s3.objects(world.bucket))

    run = world.airflow.trigger(name)
    world.airflow.wait(lambda: pulled() >= 4)
    file = world.airflow.home / "dags" / "flows.yaml"
    flows = yaml.safe_load(file.read_text())
    next(flow for flow in flows if flow["name"] == name)["parallelism"] = now
    fresh = file.with_suffix(".new")  # a task that begins meanwhile reads no half of it
    fresh.write_text(yaml.safe_dump(flows))
    fresh.replace(file)
    ended = world.airflow.end_of(name, run)
    assert ended == ("success" if pulled() == MANY else "failed")
    assert name == "shrinks" or ended == "success"
    if ended == "success":
        assert world.airflow.events_of(f"s3://{world.bucket}/{name}") == 1
    else:
        assert world.task(name, "update_asset")["state"] == "failed"
        world.sftp.fault = Fault()
        assert world.airflow.run(name) == "success"
        assert pulled() == MANY
