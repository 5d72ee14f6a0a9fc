"""What an operator on duty has of a transfer: its receipts, the end of its log, metrics, events and buttons."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_sftp_s3._compat import AIRFLOW_2, DAG, AssetAlias
from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.log import LogObserver, log_end
from airflow_provider_sftp_s3.engine.model import Outcome, Report
from airflow_provider_sftp_s3.engine.s3.endpoint import Endpoint
from airflow_provider_sftp_s3.flows.dag import flow_dag
from airflow_provider_sftp_s3.get_provider_info import get_provider_info
from airflow_provider_sftp_s3.transfers import links
from airflow_provider_sftp_s3.transfers.links import console_url
from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator
from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator
from tests.support.airflow_env import run_dag, warnings_of_ours_only, xcom
from tests.support.faulty_sftp import OpenIsRefused, RefusesFirstTries
from tests.support.otlp import Collector
from tests.support.receipts import objects_in
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

DIRECTIONS = ("pull", "push")


class World:
    """A server with files in ``/in``, a bucket with objects under ``from/``, and Dags between them."""

    def __init__(self, sftp: AsyncsshServer, s3: S3Server, bucket: str) -> None:
        self.sftp, self.s3, self.bucket = sftp, s3, bucket
        for name in ("in", "out"):
            (sftp.root / name).mkdir()

    def sources(self, direction: str, *names: str) -> None:
        client = self.s3.client()
        for name in names:
            if direction == "pull":
                (self.sftp.root / "in" / name).write_bytes(b"contents")
            else:
                client.put_object(Bucket=self.bucket, Key=f"from/{name}", Body=b"contents")
        client.close()

    def arguments(self, direction: str) -> dict[str, Any]:
        if direction == "pull":
            return {"sftp_path": "/in", "s3_bucket": self.bucket, "s3_prefix": "to/", "min_age": 0}
        return {"sftp_path": "/out", "s3_bucket": self.bucket, "s3_prefix": "from/"}

    def operator(self, direction: str, **arguments: Any) -> Any:
        kind: Any = SftpTreeToS3Operator if direction == "pull" else S3ToSftpOperator
        return kind(task_id="transfer", **self.arguments(direction) | arguments)

    def run(self, direction: str, **arguments: Any) -> tuple[str, Any]:
        """Run one operator in a Dag of its own; return the run's state and the task."""
        with DAG(f"duty_{uuid.uuid4().hex}", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
            self.operator(direction, **arguments)
        state, tasks = run_dag(dag)
        return state, tasks["transfer", -1]


@pytest.fixture
def world(sftp_server: AsyncsshServer, s3: S3Server, bucket: str, default_connections: None) -> World:
    return World(sftp_server, s3, bucket)


# -- Receipts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_receipts_are_called_by_the_task(world: World, direction: str) -> None:
    """By its Dag, the day of its run, the run, the task, its map index and the try; a retry adds to them."""
    world.sources(direction, "a", "b")
    names = ("READ",) if direction == "pull" else ("WRITE",)
    world.sftp.fault = RefusesFirstTries(names, lambda path: path.endswith("/in/a") or direction == "push")
    receipts = f"s3://{world.bucket}/books/"
    state, task = world.run(direction, receipts=receipts, retries=1, retry_delay=timedelta(0))
    report = xcom(task)
    assert (state, task.try_number) == ("success", 2)
    day = (getattr(task.dag_run, "logical_date", None) or task.dag_run.start_date).astimezone(UTC)
    place = f"dag_id={task.dag_id}/date={day:%Y-%m-%d}/{quote(task.run_id, safe='')}/"
    assert report["receipt"] == f"{receipts}{place}"
    told = objects_in(world.s3, world.bucket, f"books/{place}transfer--1-")
    assert list(told) == ["1-1.jsonl.gz", "2-1.jsonl.gz"]
    lines = [line for lines in told.values() for line in lines if line["status"] == "transferred"]
    assert sorted(line["source"].rpartition("/")[2] for line in lines) == ["a", "b"]
    assert report["total"] == {"files": 2, "bytes": 16}


def test_receipts_beneath_the_prefix_are_an_import_error(world: World) -> None:
    with pytest.raises(ConfigurationError, match=r"receipts 's3://.*neither may be inside the other"):
        world.operator("pull", receipts=f"s3://{world.bucket}/to/receipts/")
    world.operator("pull", receipts="{{ var.value.books }}")


# -- The log -----------------------------------------------------------------------------------------------------------


class Lines(logging.Handler):
    """What is logged at INFO and above."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.seen: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((record.levelname, record.getMessage()))


@pytest.fixture
def lines() -> Iterator[Lines]:
    log = logging.getLogger("a test's")
    log.setLevel(logging.INFO)
    handler = Lines()
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_failure_has_no_traceback_of_ours(world: World, direction: str) -> None:
    """What Airflow prints, and gives to callbacks, is its own frames, one of ours, and the message: nothing chained."""
    world.sources(direction, "a")
    world.sftp.fault = OpenIsRefused(path=lambda path: True)
    errors: list[BaseException] = []
    arguments = {"on_failure_callback": lambda context: errors.append(context["exception"])}
    for wrong, kind in (({}, "TransferError"), ({"sftp_path": "/nowhere"}, "AirflowFailException")):
        state, _ = world.run(direction, **arguments, **wrong)
        error = errors.pop()
        assert (state, type(error).__name__) == ("failed", kind)
        frames = [
            frame.name
            for frame in traceback.extract_tb(error.__traceback__)
            if "airflow_provider_sftp_s3" in frame.filename
        ]
        assert len(frames) == 1, frames
        shown = "".join(traceback.format_exception(error))
        assert "During handling" not in shown
        assert "direct cause" not in shown
    world.sftp.stop()
    world.run(direction, **arguments)
    assert type(errors[0]).__name__ == "ConnectionFailed"
    assert "During handling" not in "".join(traceback.format_exception(errors[0]))


def test_failures_stand_at_the_end_with_their_times(lines: Lines) -> None:
    """No more than 25 of them, after the summary; names are spelled out."""
    report = Report("pull")
    for number in range(30):
        report.add(Outcome(f"sftp://h/{number}\x1b", "failed", reason="no"))
    log_end(logging.getLogger("a test's"), report)
    assert lines.seen[0][1].startswith("pull: 0 transferred")
    said = [text for level, text in lines.seen if level == "ERROR"]
    for number, text in enumerate(said[:25]):
        assert re.fullmatch(rf"failed at \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ 'sftp://h/{number}\\x1b': no", text)
    assert said[25:] == ["and 5 more failed, see above"]


async def test_each_of_many_files_is_a_line_with_its_time(lines: Lines) -> None:
    """Though many are one message."""
    with LogObserver(logging.getLogger("a test's")) as observer:
        for number in range(70):
            observer.outcome(Outcome(f"s{number}", "transferred", "t"))
    texts = [text for _, message in lines.seen for text in message.split("\n")]
    assert len(texts) == 70
    assert all(re.match(r"transferred 's\d+'", text) for text in texts[:25])
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{3}Z transferred 's\d+'", text) for text in texts[25:])


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_with_receipts_the_log_has_failures_and_the_summary_only(world: World, direction: str, lines: Lines) -> None:
    """And says where the receipts are."""
    from airflow_provider_sftp_s3.hooks.arguments import settings_of
    from airflow_provider_sftp_s3.hooks.sftp_s3 import SftpS3Hook
    from airflow_provider_sftp_s3.transfers.base import SETTINGS

    world.sources(direction, "a", "b")
    log = logging.getLogger("a test's")
    for receipts in (f"s3://{world.bucket}/books/", None):
        arguments = world.arguments(direction) | {"receipts": receipts, "mark": "none", "after_transfer": "keep"}
        settings = settings_of(SETTINGS[direction], arguments)
        with warnings_of_ours_only():
            report = SftpS3Hook().transfer(settings, world.bucket, None, log)
        told = [text for _, text in lines.seen if text.startswith("transferred")]
        if receipts:
            assert told == []
            assert lines.seen[-2:] == [("INFO", report.summary()), ("INFO", f"receipt: {report.receipt}")]
        elif direction == "push":
            assert len(told) == 2


# -- Asset events ------------------------------------------------------------------------------------------------------


class _Told:
    """Returns what its alias's events say."""

    def execute(self, context: Any) -> Any:
        super().execute(context)  # type: ignore[misc]
        alias = context["outlet_events"][AssetAlias("told")]
        events = getattr(alias, "asset_alias_events", None) or getattr(alias, "dataset_alias_events", None) or []
        return [event.extra if hasattr(event, "extra") else event["extra"] for event in events]


class _Pull(_Told, SftpTreeToS3Operator):
    pass


def test_an_event_says_what_was_moved(world: World) -> None:
    world.sources("pull", "a", "b")
    with DAG(f"duty_{uuid.uuid4().hex}", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        receipts = f"s3://{world.bucket}/books/"
        _Pull(task_id="transfer", outlets=[AssetAlias("told")], receipts=receipts, **world.arguments("pull"))
    _, tasks = run_dag(dag)
    (extra,) = xcom(tasks["transfer", -1])
    assert extra.pop("receipt").startswith(f"{receipts}dag_id={dag.dag_id}/")
    assert extra == {"files": 2, "bytes": 16}


def test_what_mapped_tasks_have_moved_is_one_event(world: World) -> None:
    """Of all of them; and ``update_asset`` returns it."""
    world.sources("pull", *"abcdefgh")
    flow = {"name": f"duty_{uuid.uuid4().hex}", "direction": "pull", "parallelism": 3, "retries": 0}
    with warnings_of_ours_only():
        dag = flow_dag(flow | world.arguments("pull") | {"receipts": f"s3://{world.bucket}/books/"})
    state, tasks = run_dag(dag)
    assert state == "success"
    moved = xcom(tasks["update_asset", -1])
    assert (moved["files"], moved["bytes"]) == (8, 64)
    assert moved["receipt"].startswith(f"s3://{world.bucket}/books/dag_id={dag.dag_id}/")
    assert sum(xcom(tasks["pull", index])["total"]["files"] for index in range(3)) == 8


# -- Metrics -----------------------------------------------------------------------------------------------------------

RUNS_AN_OPERATOR = """
import sys
from datetime import datetime, UTC
from types import SimpleNamespace
from airflow_provider_sftp_s3 import SftpTreeToS3Operator
from tests.support.airflow_env import start_metrics
start_metrics()
ti = SimpleNamespace(
    dag_id="partner.in ü", task_id="pull", run_id="r", map_index=-1, try_number=1, xcom_push=lambda **_: None
)
context = {"ti": ti, "dag_run": SimpleNamespace(start_date=datetime.now(UTC))}
SftpTreeToS3Operator(task_id="pull", sftp_path="/in", s3_bucket=sys.argv[1], min_age=0).execute(context)
"""


MONITORING = (Path(__file__).parents[2] / "docs/monitoring.md").read_text()
#: The metrics that the page names.
NAMES = re.findall(r"^\| `(\w+)` \|", MONITORING, re.M)


def example(of: str) -> dict[str, str]:
    """Return the settings of [metrics] that the page has for StatsD or OpenTelemetry (``statsd``, ``otel``)."""
    blocks = re.findall(r"^```ini\n(.*?)^```", MONITORING, re.DOTALL | re.MULTILINE)
    (settings,) = [block for block in blocks if f"{of}_on" in block]
    return dict(re.findall(r"^(\w+) = (.*)$", settings, re.MULTILINE))


def transfer_with_metrics(world: World, environment: dict[str, str], metrics: dict[str, str]) -> None:
    """Run a pull, of which one file of three fails, in a process of its own, with these settings of [metrics]."""
    world.sources("pull", "a", "b", "bad")
    world.sftp.fault = OpenIsRefused(path=lambda path: path.endswith("bad"))
    settings = {f"AIRFLOW__METRICS__{name.upper()}": value for name, value in metrics.items()}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUNS_AN_OPERATOR, world.bucket],
        env=os.environ | environment | settings | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert "TransferError: 1 failed" in done.stderr


def test_the_metrics_of_the_page_are_sent(world: World) -> None:
    """With its settings, to a socket that listens as StatsD does: a datagram each, all that the page names."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(60)
        here = {"statsd_host": "127.0.0.1", "statsd_port": str(listening.getsockname()[1])}
        transfer_with_metrics(world, {}, example("statsd") | here)
        came: dict[str, str] = {}
        while not {f"airflow.sftp_s3.{name}" for name in ("seconds", "pull.partner_in__.seconds")} <= came.keys():
            name, _, value = listening.recv(65536).decode().partition(":")
            came[name] = value
    for own in ("", "pull.partner_in__."):
        mine = {name: came[f"airflow.sftp_s3.{own}{name}"] for name in NAMES}
        assert mine.pop("seconds").endswith("|ms")
        assert float(mine.pop("oldest_age").removesuffix("|g")) < 3600
        assert mine == {"files": "2|c", "bytes": "16|c", "failed": "1|c", "left": "1|g"}


@pytest.mark.parametrize("by", ["environment", "settings"])
def test_the_metrics_of_the_page_are_sent_by_opentelemetry(world: World, by: str) -> None:
    """
    With its settings, to what listens as a collector does: all that the page names, as what was added since.

    A task's process is over long before the minute is after which OpenTelemetry sends by itself. Before Airflow 3.2
    only its settings tell where the collector is, later the environment does, too.
    """
    (block,) = re.findall(r"^```sh\n(OTEL_.*?)^```", MONITORING, re.DOTALL | re.MULTILINE)
    environment = dict(re.findall(r"^(\w+)=(.*)$", block, re.MULTILINE))
    with Collector() as collector:
        metrics = example("otel")
        if by == "settings":
            environment.pop("OTEL_EXPORTER_OTLP_ENDPOINT")
            metrics |= {"otel_host": "127.0.0.1", "otel_port": str(collector.port)}
        else:
            environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{collector.port}"
            metrics = {"otel_on": metrics["otel_on"]}
        transfer_with_metrics(world, environment, metrics)
    tagged = collector.values(dag_id="partner.in ü", direction="pull")
    named = collector.values()
    for found, own in ((tagged, ""), (named, "pull.partner_in__.")):
        mine = {name: found[f"airflow.sftp_s3.{own}{name}"] for name in NAMES}
        seconds, age = mine.pop("seconds"), mine.pop("oldest_age")
        assert (seconds.kind, age.kind) == ("timer", "gauge")
        assert 0 < seconds.value < 600_000
        assert 0 <= age.value < 3600
        assert {name: (metric.kind, metric.value) for name, metric in mine.items()} == {
            **{"files": ("counter", 2), "bytes": ("counter", 16), "failed": ("counter", 1), "left": ("gauge", 1)}
        }
        assert all(metric.is_delta for metric in mine.values() if metric.kind == "counter")


def test_no_collector_holds_up_a_task(monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    """One that takes a connection and says no more: the task waits for it as long as it should, and no longer."""
    from opentelemetry import metrics as opentelemetry

    from airflow_provider_sftp_s3.transfers import metrics

    given_up = threading.Event()
    silent = SimpleNamespace(force_flush=lambda _: given_up.wait(60))
    monkeypatch.setattr(opentelemetry, "get_meter_provider", lambda: silent)
    monkeypatch.setattr(metrics, "PATIENCE", 0.1)
    began = time.monotonic()
    metrics.tell(Report("pull"), "a", logging.getLogger("a test's"))
    assert time.monotonic() - began < 30
    assert lines.seen == []
    given_up.set()


def test_metrics_that_cannot_be_sent_fail_no_task(monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    from airflow_provider_sftp_s3.transfers import metrics

    def refuses(*_: Any, **__: Any) -> None:
        raise OSError("no route")

    monkeypatch.setattr(metrics, "stats", lambda: SimpleNamespace(incr=refuses))
    metrics.tell(Report("pull"), "a", logging.getLogger("a test's"))
    assert lines.seen == [("WARNING", "no metrics of this transfer: no route")]


# -- Buttons -----------------------------------------------------------------------------------------------------------


def test_airflow_knows_the_buttons() -> None:
    """By the provider's info, which it must have to show them; both operators have them."""
    named = {f"{each.__module__}.{type(each).__name__}" for each in S3ToSftpOperator.operator_extra_links}
    assert named == set(get_provider_info()["extra-links"])
    assert SftpTreeToS3Operator.operator_extra_links == S3ToSftpOperator.operator_extra_links
    with warnings_of_ours_only():
        from airflow.providers_manager import ProvidersManager

        assert named <= set(ProvidersManager().extra_links_class_names)


@pytest.mark.parametrize("fails", [False, True])
def test_the_buttons_lead_to_the_prefix_and_to_the_receipts(
    world: World, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a task that has failed, too: it is the one that is looked at."""
    monkeypatch.setattr(links, "console_url", lambda _, bucket, prefix: f"https://console/{bucket}?{prefix}")
    world.sources("pull", "a", "b")
    world.sftp.fault = OpenIsRefused(path=lambda path: fails and path.endswith("/in/b"))
    state, task = world.run("pull", receipts=f"s3://{world.bucket}/books/", retries=0)
    assert state == ("failed" if fails else "success")
    for link, leads_to in zip(
        SftpTreeToS3Operator.operator_extra_links, ("to/", f"books/dag_id={task.dag_id}/"), strict=True
    ):
        # Airflow 3 asks for it in the worker, when the task ends, and keeps it.
        url = link.get_link(None, ti_key=task.key) if AIRFLOW_2 else xcom(task, link.xcom_key)
        assert url.startswith(f"https://console/{world.bucket}?{leads_to}")


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (
            ("https://b.s3.eu-central-1.amazonaws.com", "eu-central-1"),
            "https://console.aws.amazon.com/s3/buckets/b?prefix=a%2F%C3%BC%26%2F&region=eu-central-1",
        ),
        (
            ("https://s3.cn-north-1.amazonaws.com.cn/b", "cn-north-1"),
            "https://console.amazonaws.cn/s3/buckets/b?prefix=a%2F%C3%BC%26%2F&region=cn-north-1",
        ),
        (
            ("https://b.s3.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            "https://console.amazonaws-us-gov.com/s3/buckets/b?prefix=a%2F%C3%BC%26%2F&region=us-gov-west-1",
        ),
        (("http://127.0.0.1:9000/b", "eu-central-1"), ""),
        (("https://amazonaws.com.example.com", "x"), ""),
    ],
)
def test_the_console_is_that_of_the_partition(endpoint: tuple[str, str], url: str) -> None:
    """No other store has one."""
    assert console_url(Endpoint(*endpoint), "b", "a/ü&/") == url
    assert console_url(Endpoint(*endpoint), "arn:aws:s3:::accesspoint/x", "") == ""
