"""
Two Celery workers share large trees, and one of them dies halfway.

The system is that of docker-compose.yaml; the tests run in the order in which they stand here.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from demo.story import BUCKET, OUTBOUND, OUTGOING, PULL, PUSH
from tests.conftest import require
from tests.distributed.databases import postgres_tools
from tests.distributed.system import SERVICES, System
from tests.support import compose
from tests.support.sftp_servers import OpenSshServer
from tests.support.trees import done, tree

pytestmark = pytest.mark.distributed

COUNT = 2000
#: Longer than what Airflow's database holds of a mapped task's label, which PostgreSQL minds, and SQLite does not; the
#: first of its batch.
LONG = "a" * 200 + "/" + "ü" * 100 + ".csv"
#: Names that are odd enough, and one file that goes up in parts.
FILES = {f"d{n % 40}/{n // 40} ü{{{{ ds }}}}%2F.csv": b"%d\n" % n * (n % 50) for n in range(COUNT - 2)} | {
    LONG: b"long",
    "large.bin": os.urandom(9 * 2**20),
}
FLOWS = """
- name: large_pull
  direction: pull
  schedule: none
  sftp_path: {sftp}/large-outgoing
  s3_bucket: large-inbound
  min_age: 0
  parallelism: 4
  retries: 5
  retry_delay: 1s

- name: large_push
  direction: push
  schedule: none
  s3_bucket: large-outbound
  sftp_path: {sftp}/large-incoming
  parallelism: 4
  batch_files: 125
  poke_interval: 1s
  retries: 5
  retry_delay: 1s
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    require(compose.available(), "compose is not installed (apt-get install docker-compose)")
    require(postgres_tools() is not None, "PostgreSQL is not installed (apt-get install postgresql)")
    require(shutil.which("redis-server") is not None, "Redis is not installed (apt-get install redis-server)")
    require(OpenSshServer.available(), "sshd is not installed (apt-get install openssh-server)")
    # As Ctrl-C does: else it would end this process alone, and leave the others behind.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with System(tmp_path_factory.mktemp("system"), FLOWS) as system:
        yield system
    signal.signal(signal.SIGTERM, before)


def objects(client: Any, bucket: str, prefix: str = "") -> dict[str, bytes]:
    """Return the objects under a prefix, and make sure that each is marked."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [found["Key"] for page in pages for found in page.get("Contents", ())]

    def read(key: str) -> bytes:
        answer = client.get_object(Bucket=bucket, Key=key)
        assert answer["Metadata"].get("synced") == "true", key
        body: bytes = answer["Body"].read()
        return body

    with ThreadPoolExecutor(8) as threads:
        return {key.removeprefix(prefix): body for key, body in zip(keys, threads.map(read, keys), strict=True)}


def run_state(system: System, dag: str) -> str | None:
    found = system.api("GET", f"dags/{dag}/dagRuns")["dag_runs"]
    return found[0]["state"] if found else None


def run_to_its_end(system: System, dag: str, what: str) -> None:
    system.until(lambda: run_state(system, dag) in ("success", "failed"), what)
    assert run_state(system, dag) == "success", system.tasks(dag)


def events(system: System, dag: str) -> list[str]:
    """Return the tasks that have sent an event of their Dag's asset."""
    found = system.api("GET", f"assets/events?source_dag_id={dag}")["asset_events"]
    return [event["source_task_id"] for event in found]


def test_the_demo_of_the_compose_file_runs(system: System) -> None:
    """Both flows, by themselves, with what `init` and `s3` have put there."""
    incoming, outgoing = system.sftp_root / "incoming", system.sftp_root / "outgoing"
    system.until(lambda: tree(outgoing) == done(OUTGOING), "all is pulled")
    system.until(lambda: tree(incoming) == OUTBOUND, "all is pushed")
    run_to_its_end(system, PUSH, "and marked")
    client = system.s3()
    assert objects(client, BUCKET, "in/") == OUTGOING
    assert objects(client, BUCKET, "out/") == OUTBOUND
    assert system.api("GET", "importErrors")["import_errors"] == []
    client.close()
    for dag in (PULL, PUSH):  # what follows is not to be disturbed by them
        system.api("PATCH", f"dags/{dag}", is_paused=True)


def test_init_leaves_what_is_there_alone(system: System) -> None:
    """As at the second `docker compose up`."""
    keys = {path: path.read_bytes() for path in system.keys.iterdir()}
    before = tree(system.sftp_root)
    system.run("init", system.services["init"]["command"])
    assert {path: path.read_bytes() for path in system.keys.iterdir()} == keys
    assert tree(system.sftp_root) == before
    for name in SERVICES:  # compose asks more than once, too: a busy worker answers a ping late
        system.until_healthy(name)


def half_then_kill(system: System, dag: str, task: str, moved: Callable[[], int], victim: str) -> None:
    """
    Kill a worker that has done some of the work, and has not done all of what it holds.

    S3 stands still meanwhile, so that nothing depends on who is faster.
    """
    with system.s3_paused():
        system.until(lambda: sum(system.running(dag, task).values()) == 4, "four tasks run")
        assert system.running(dag, task) == {"worker-1": 2, "worker-2": 2}
    system.until(lambda: moved() > COUNT * 0.3, "some is moved")
    with system.s3_paused():
        assert moved() < COUNT * 0.9
        system.until(lambda: system.running(dag, task)[victim], f"{victim} has a task that is not at its end")
        system.kill(victim)


def lost_tries(system: System, dag: str, task: str) -> int:
    """Return how many tries of a task were lost with their worker."""
    (count,) = system.query(
        f"select count(*) from task_instance_history where dag_id = '{dag}' and task_id = '{task}' and try_number = 1"
    )
    return int(count)


def test_a_pull_survives_the_loss_of_a_worker(system: System) -> None:
    """All of the tree is in S3 and in .done, each file once; worker-2's tasks are done again by worker-1."""
    outgoing = system.sftp_root / "large-outgoing"
    for name, content in FILES.items():
        (outgoing / name).parent.mkdir(parents=True, exist_ok=True)
        (outgoing / name).write_bytes(content)
    client = system.s3()
    client.create_bucket(
        Bucket="large-inbound", CreateBucketConfiguration={"LocationConstraint": client.meta.region_name}
    )
    with system.s3_paused():
        system.api("POST", "dags/large_pull/dagRuns", logical_date=None)
        system.until(lambda: sum(system.running("large_pull", "pull").values()) == 4, "all shards are begun")
    half_then_kill(system, "large_pull", "pull", lambda: sum(1 for _ in outgoing.glob("**/.done/*")), victim="worker-2")
    run_to_its_end(system, "large_pull", "worker-1 has done the rest")
    assert lost_tries(system, "large_pull", "pull") >= 1
    assert tree(outgoing) == done(FILES)
    assert objects(client, "large-inbound") == FILES
    assert events(system, "large_pull") == ["update_asset"], "one for all of them"
    client.close()
    system.start_service("worker-2")


def test_a_push_survives_the_loss_of_a_worker(system: System) -> None:
    """Every object is on the SFTP server, whole and marked, with nothing half beside it."""
    client = system.s3()
    client.create_bucket(
        Bucket="large-outbound", CreateBucketConfiguration={"LocationConstraint": client.meta.region_name}
    )
    with ThreadPoolExecutor(8) as threads:
        list(
            threads.map(
                lambda item: client.put_object(Bucket="large-outbound", Key=item[0], Body=item[1]), FILES.items()
            )
        )
    incoming = system.sftp_root / "large-incoming"
    incoming.mkdir()
    system.until_healthy("worker-2")

    def moved() -> int:
        return sum(path.suffix != ".part" for path in incoming.rglob("*") if path.is_file())

    system.api("POST", "dags/large_push/dagRuns", logical_date=None)
    system.until(moved, "the first batches are begun")
    half_then_kill(system, "large_push", "push", moved, victim="worker-1")
    run_to_its_end(system, "large_push", "worker-2 has done the rest")
    assert lost_tries(system, "large_push", "push") >= 1
    assert tree(incoming) == FILES
    assert objects(client, "large-outbound") == FILES
    (label,) = system.query(
        "select rendered_map_index from task_instance "
        "where dag_id = 'large_push' and task_id = 'push' and map_index = 0"
    )
    assert label == f"125 from {'a' * 120}…{'a' * 15}/{'ü' * 100}.csv"
    assert events(system, "large_push") == ["update_asset"]
    client.close()
