"""What needs all of Airflow: its scheduler, its triggerer, its API and its command line, in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from demo.standalone import AirflowError
from tests.support.airflow_system import AirflowSystem
from tests.support.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server
from tests.support.sftp_servers import AsyncsshServer
from tests.support.trees import tree

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DAGS = Path(__file__).parents[2] / "dags"
DAYS = [f"2026-01-{day:02}" for day in range(1, 11)]
EMPTY_DAYS = {"2026-01-04", "2026-01-10"}
#: The objects of the ten days.
DATED = {
    f"{day}/{name}": f"{name} of {day}".encode() for day in DAYS if day not in EMPTY_DAYS for name in ("a", "sub/b")
}
#: Every character that an event's key is encoded for, and what looks encoded already.
NASTY = "events/a b+c&d=ü%2F%20?#'\"📦.txt"

CONSUMERS = """
from airflow.sdk import DAG, Asset
from airflow.providers.standard.operators.empty import EmptyOperator

for name, uri in {assets!r}.items():
    with DAG(name, schedule=[Asset(uri)]) as dag:
        EmptyOperator(task_id="consume")
    globals()[name] = dag
"""


class World(NamedTuple):
    airflow: AirflowSystem
    sftp: AsyncsshServer
    s3: S3Server
    client: Any
    sqs: Any
    queue: str
    bucket: str

    def put(self, key: str, body: bytes = b"content") -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def pushed(self, directory: str) -> dict[str, bytes]:
        return tree(self.sftp.local(directory))

    def has(self, directory: str, names: set[str]) -> bool:
        """Say whether there are files of these names. While a run goes on there are others, which come and go."""
        return all((self.sftp.local(directory) / name).exists() for name in names)

    def marked(self, prefix: str) -> list[str]:
        """Return the key of each push under a prefix, as often as it was pushed. Probes are of names of our own."""
        copies = (request for request in self.s3.requests if request.operation == "CopyObject")
        return sorted(copy.key for copy in copies if copy.key.startswith(prefix) and "/.sftp-s3/" not in copy.key)


def sqs_client(endpoint: str) -> Any:
    credentials = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    return boto3.client("sqs", endpoint_url=endpoint, region_name=REGION, **credentials)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, _s3_of_the_session: S3Server) -> Iterator[World]:
    """Everything runs, the Dags are unpaused, and nothing has been moved yet."""
    s3 = _s3_of_the_session
    directory = tmp_path_factory.mktemp("system")
    # Another door into the same moto: SQS makes its callers wait, and S3's door lets in one at a time.
    door = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    door.start()
    host, port = door.get_host_and_port()
    sqs_url = f"http://{host}:{port}"
    bucket, client, sqs = s3.new_bucket(), s3.client(), sqs_client(sqs_url)
    queue = sqs.create_queue(QueueName=bucket)["QueueUrl"]
    try:
        with AsyncsshServer(directory / "sftp") as sftp:
            for name in ("dated", "events", "by_hand", "outgoing", "elsewhere"):
                sftp.local(f"/{name}").mkdir()
            assets = {"after_pull": f"s3://{bucket}/in", "after_push": f"sftp://{sftp.host}:{sftp.port}/events"}
            once = {"s3_bucket": bucket, "retries": 0, "options": {"conn_timeout": "2m"}}  # of a busy machine
            push = {"direction": "push", "mark": "metadata", **once}
            pull = {"direction": "pull", "min_age": 0, **once}
            flows = [
                {**push, "name": "dated", "sftp_path": "/dated", "s3_prefix": "dated/{{ ds }}/"}
                | {"strip_regex": "^dated/", "schedule": "@daily", "start_date": "2026-01-01", "wait_timeout": 0},
                {**push, "name": "events", "sftp_path": "/events", "s3_prefix": "events/", "schedule": "@yearly"}
                | {"trigger": "sqs", "queue_url": queue, "poke_interval": 1, "exclude": "*.tmp"},
                {**pull, "name": "pulled", "sftp_path": "/outgoing", "s3_prefix": "in/"},
            ]
            files = {path.name: path.read_text() for path in DAGS.glob("*.py")}
            files |= {"flows.yaml": yaml.safe_dump(flows), "consumers.py": CONSUMERS.format(assets=assets)}
            aws = s3.airflow_connection(service_config={"sqs": {"endpoint_url": sqs_url}})
            connections = {"sftp_default": sftp.airflow_connection(), "aws_default": aws}
            airflow = AirflowSystem(directory, connections, files)
            try:
                client.put_object(Bucket=bucket, Key="events/before", Body=b"no event tells of it")
                for name, body in DATED.items():
                    client.put_object(Bucket=bucket, Key=f"dated/{name}", Body=body)
                client.put_object(Bucket=bucket, Key="dated/2026-01-11/a", Body=b"a day that is not asked for")
                s3.requests.clear()
                airflow.command("db", "migrate")
                airflow.command("dags", "reserialize")
                days = ("--from-date", DAYS[0], "--to-date", DAYS[-1])
                airflow.command("backfill", "create", "--dag-id", "dated", *days)
                airflow.start()
                dags = [*(str(flow["name"]) for flow in flows), *assets]
                airflow.wait(lambda: airflow.has_dags(dags) and airflow.unpause(dags))
                yield World(airflow, sftp, s3, client, sqs, queue, bucket)
            finally:
                airflow.stop()
    finally:
        client.close()
        sqs.close()
        door.stop()
        s3.reset()


def test_a_backfill_of_ten_days_pushes_each_days_objects_once(world: World) -> None:
    """And ends the days that have none as skipped, with no wait."""

    def all_ended() -> list[dict[str, Any]] | None:
        runs = [run for run in world.airflow.runs("dated") if run["run_type"] == "backfill"]
        return runs if len(runs) == 10 and all(run["state"] in ("success", "failed") for run in runs) else None

    runs = world.airflow.wait(all_ended)
    assert {run["logical_date"][:10] for run in runs} == set(DAYS)
    assert {run["state"] for run in runs} == {"success"}
    assert world.pushed("/dated") == DATED
    assert world.marked("dated/") == sorted(f"dated/{name}" for name in DATED)
    for run in runs:
        waited = world.airflow.tasks("dated", run["dag_run_id"])["wait_for_objects", -1]
        assert waited == ("skipped" if run["logical_date"][:10] in EMPTY_DAYS else "success")


def test_what_the_trigger_form_says_holds_for_one_run(world: World) -> None:
    """The date of a run that has none is in no template that is rendered."""
    world.put("corrected/x", b"1")
    form = {"s3_prefix": "corrected/", "sftp_path": "/by_hand"}
    assert world.airflow.run("dated", **form, dry_run=True) == "success"
    assert world.pushed("/by_hand") == {}
    assert world.airflow.run("dated", **form) == "success"
    assert world.pushed("/by_hand") == {"corrected/x": b"1"}


@pytest.mark.parametrize(
    "wrong",
    [{"dry_run": "perhaps"}, {"s3_prefix": 7}, {"sftp_path": ["/a"]}, {"s3_prefix": "{{ conn.aws_default.password }}"}],
)
def test_what_the_trigger_form_does_not_take_is_told(world: World, wrong: dict[str, Any]) -> None:
    with pytest.raises(AirflowError) as told:
        world.airflow.trigger("pulled", **wrong)
    assert "answered with 400" in str(told.value)
    assert next(iter(wrong)) in str(told.value)


def test_a_pull_updates_its_asset_if_it_has_moved_something(world: World) -> None:
    asset = f"s3://{world.bucket}/in"
    assert world.airflow.run("pulled") == "success"
    assert world.airflow.events_of(asset) == 0

    (world.sftp.local("/outgoing") / "a.csv").write_bytes(b"1")
    assert world.airflow.run("pulled", dry_run=True) == "success"
    assert world.airflow.events_of(asset) == 0

    assert world.airflow.run("pulled") == "success"
    assert world.airflow.events_of(asset) == 1
    (run,) = world.airflow.wait(lambda: world.airflow.runs("after_pull"))
    assert world.airflow.end_of("after_pull", run["dag_run_id"]) == "success"

    (world.sftp.local("/outgoing") / "b.csv").write_bytes(b"2")
    assert world.airflow.run("pulled", s3_prefix="other/") == "success"
    assert world.airflow.events_of(asset) == 1
    assert world.airflow.events_of(f"s3://{world.bucket}/other") == 1


def test_an_object_that_lands_is_pushed_as_its_event_comes(world: World) -> None:
    """The schedule has had its run, and has none for the rest of the year."""
    airflow = world.airflow
    airflow.wait(lambda: world.has("/events", {"before"}))  # of the scheduled run, which needs no event
    assert world.pushed("/events") == {"before": b"no event tells of it"}

    arn = world.sqs.get_queue_attributes(QueueUrl=world.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    told = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}]}
    world.client.put_bucket_notification_configuration(Bucket=world.bucket, NotificationConfiguration=told)
    world.sqs.send_message(QueueUrl=world.queue, MessageBody="this is not JSON")
    names = [NASTY, *(f"events/many/{number:02}" for number in range(30))]
    for name in (*names, "events/a.tmp", "not-ours/b", "events/gone"):
        world.put(name, name.encode())
    world.client.delete_object(Bucket=world.bucket, Key="events/gone")

    wanted = {name.removeprefix("events/"): name.encode() for name in names}
    airflow.wait(lambda: world.has("/events", set(wanted)))
    assert sorted({run["run_type"] for run in airflow.runs("events")}) == ["asset_triggered", "scheduled"]
    assert len(airflow.runs("events")) < len(names)  # one run takes many events

    uri = f"sftp://{world.sftp.host}:{world.sftp.port}/events"
    airflow.wait(lambda: airflow.runs("after_push"))
    assert airflow.events_of(uri) >= 1
    # The marks have told of themselves too. Once nothing is left, nothing was pushed twice.
    airflow.wait(lambda: all(run["state"] == "success" for run in airflow.runs("events")))
    assert world.pushed("/events") == wanted | {"before": b"no event tells of it"}
    assert world.marked("events/") == sorted({*names, "events/before"})
    assert world.marked("not-ours/") == []
