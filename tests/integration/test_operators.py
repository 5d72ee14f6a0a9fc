"""The operators inside Dags: what they return, how they fail, what Airflow retries, and what they log."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncssh
import pytest

from airflow_provider_sftp_s3._compat import DAG, AirflowFailException, AirflowTaskTimeout, BaseOperator
from airflow_provider_sftp_s3.engine import log, run
from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, SftpS3Error, TransferError
from airflow_provider_sftp_s3.hooks.sftp_s3 import SftpS3Hook
from airflow_provider_sftp_s3.operators.s3_unsynced import S3ListUnsyncedOperator
from airflow_provider_sftp_s3.sensors.s3_unsynced import S3UnsyncedSensor
from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator
from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator
from tests.support.airflow_env import airflow_connections, run_dag, warnings_of_ours_only, xcom
from tests.support.faulty_sftp import RENAMES, NeverAnswers, ReadsTrickle, RefusesFirstTries
from tests.support.s3_server import SECRET_KEY, S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault
from tests.support.trees import tree

pytestmark = pytest.mark.integration

DIRECTIONS = ("pull", "push")
OPERATORS: dict[str, Any] = {"pull": SftpTreeToS3Operator, "push": S3ToSftpOperator}
REPORT = {
    *("direction", "transferred", "bytes", "seconds", "skipped"),
    *("failed", "failures", "targets", "purged", "left", "more_left", "oldest_age"),
    *("recovered", "total", "receipt"),
}
"""The report's fields, as documented: users' Dags read them."""


# ------------------------------------------------------------------------------------------------------------- support


@dataclass
class Ended:
    """A Dag run with one task that matters, when it is over."""

    state: str
    instances: dict[tuple[str, int], Any]
    errors: list[BaseException]
    """What each failed try ended with."""

    @property
    def task(self) -> Any:
        return self.instances["transfer", -1]

    @property
    def report(self) -> Any:
        """What the task returned."""
        return xcom(self.task)

    @property
    def failed_report(self) -> Any:
        """What the task left under the key ``report``."""
        return xcom(self.task, "report")


_DAGS = count(1)


@dataclass
class World:
    """A server with the directories ``in`` and ``out``, a bucket, and Airflow connections to both."""

    sftp: AsyncsshServer
    s3: S3Server
    bucket: str

    def __post_init__(self) -> None:
        self.client = self.s3.client()
        for name in ("in", "out"):
            (self.sftp.root / name).mkdir()

    # --- files at both ends

    def file(self, name: str, contents: bytes = b"contents") -> Path:
        """Make a file to pull."""
        file = self.sftp.root / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents)
        return file

    def object(self, key: str, contents: bytes = b"contents") -> None:
        """Make an object to push."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=contents)

    def source(self, direction: str, name: str, contents: bytes = b"contents") -> None:
        """Make a file or an object, as the direction wants it."""
        if direction == "pull":
            self.file(name, contents)
        else:
            self.object(f"from/{name}", contents)

    def arrived(self, direction: str) -> dict[str, bytes]:
        """Return what stands at the other end by name."""
        if direction == "pull":
            return {key.removeprefix("to/"): body for key, body in self.s3.objects(self.bucket).items()}
        return tree(self.sftp.root / "out")

    # --- operators

    def operator(self, direction: str, **arguments: Any) -> BaseOperator:
        """Return a pull of ``in`` to ``to/``, or a push of ``from/`` to ``out``; arguments win over these."""
        if direction == "pull":
            places: dict[str, Any] = {"sftp_path": "/in", "s3_prefix": "to/", "min_age": 0}
            return SftpTreeToS3Operator(**{"task_id": "transfer", "s3_bucket": self.bucket} | places | arguments)
        places = {"sftp_path": "/out", "s3_prefix": "from/"}
        return S3ToSftpOperator(**{"task_id": "transfer", "s3_bucket": self.bucket} | places | arguments)

    def run(self, direction: str, *, dag: dict[str, Any] | None = None, **arguments: Any) -> Ended:
        """
        Run one operator in a Dag of its own.

        :param dag: arguments of the Dag.
        """
        errors: list[BaseException] = []
        after_a_failure = arguments.pop("on_retry_callback", lambda context: None)

        def failed(context: Any) -> None:
            errors.append(context["exception"])
            if context["ti"].state != "failed":
                after_a_failure(context)

        with new_dag(**dag or {}) as made:
            self.operator(
                direction,
                **{"retry_delay": timedelta(0), "on_retry_callback": failed, "on_failure_callback": failed},
                **arguments,
            )
        return Ended(*run_dag(made), errors)


def new_dag(**arguments: Any) -> Any:
    return DAG(f"operators_{next(_DAGS)}", **{"schedule": None, "start_date": datetime(2024, 1, 1), **arguments})


@pytest.fixture
def world(sftp_server: AsyncsshServer, s3: S3Server, bucket: str, default_connections: None) -> World:
    return World(sftp_server, s3, bucket)


@dataclass
class TaskLog(logging.Handler):
    """What is logged, by Airflow 3's structlog and by the standard library."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)
    """Level, logger, message."""

    def __post_init__(self) -> None:
        super().__init__(logging.DEBUG)

    __hash__ = logging.Handler.__hash__

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelname.lower(), record.name, record.getMessage()))

    def processor(self, logger: Any, method: str, event: Any) -> Any:
        """Take a line on its way through structlog."""
        name = event.get("logger_name") or getattr(logger, "name", "")
        self.lines.append((method, str(name), f"{event['event']} {event.get('exc_info') or ''}".strip()))
        return event

    def of_operators(self, level: str) -> list[str]:
        """Return what the operators said at a level."""
        return [text for of, name, text in self.lines if of == level and "airflow_provider_sftp_s3" in name]


@pytest.fixture
def task_log(airflow_home: Path) -> Iterator[TaskLog]:
    """Everything that is logged during the test, at the levels that Airflow has by default."""
    log = TaskLog()
    loggers = [logging.getLogger(), logging.getLogger("airflow.task")]  # the second does not propagate on Airflow 2
    try:
        import structlog

        processors = structlog.get_config()["processors"]
    except ImportError:
        processors = []
    processors.insert(0, log.processor)
    for logger in loggers:
        logger.addHandler(log)
    yield log
    processors.remove(log.processor)
    for logger in loggers:
        logger.removeHandler(log)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is so that happens in another thread; fail where it never does."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ------------------------------------------------------------------------------------------------------------- reports


def test_a_pull_returns_its_report(world: World) -> None:
    """The return value has the documented fields and no others, survives JSON, and says what was done."""
    world.file("a.txt", b"12345")
    world.file("sub/b.txt", b"123")
    ended = world.run("pull", exclude="*.tmp")
    assert ended.state == "success"
    report = ended.report
    assert set(report) == REPORT
    assert json.loads(json.dumps(report)) == report
    assert report.pop("seconds") > 0
    assert sorted(report.pop("targets")) == [f"s3://{world.bucket}/to/a.txt", f"s3://{world.bucket}/to/sub/b.txt"]
    assert report == {
        **{"direction": "pull", "transferred": 2, "bytes": 8},
        **{"skipped": {}, "failed": 0, "failures": [], "purged": 0},
        **{"left": 0, "more_left": False, "oldest_age": None},
        **{"recovered": 0, "total": {"files": 2, "bytes": 8}, "receipt": None},
    }
    assert world.arrived("pull") == {"a.txt": b"12345", "sub/b.txt": b"123"}
    assert sorted(str(f.relative_to(world.sftp.root)) for f in world.sftp.root.rglob("*") if f.is_file()) == [
        "in/.done/a.txt",
        "in/sub/.done/b.txt",
    ]


def test_a_push_returns_its_report(world: World) -> None:
    """The return value has the documented fields and no others, survives JSON, and says what was done."""
    world.object("from/a.txt", b"12345")
    world.object("from/sub/b.txt", b"123")
    world.object("from/sub/", b"")
    ended = world.run("push")
    assert ended.state == "success"
    report = ended.report
    assert set(report) == REPORT
    assert json.loads(json.dumps(report)) == report
    assert report.pop("seconds") > 0
    server = f"sftp://{world.sftp.host}:{world.sftp.port}"
    assert sorted(report.pop("targets")) == [f"{server}/out/a.txt", f"{server}/out/sub/b.txt"]
    assert report == {
        **{"direction": "push", "transferred": 2, "bytes": 8},
        **{"skipped": {"folder marker": 1}, "failed": 0, "failures": [], "purged": 0},
        **{"left": 0, "more_left": False, "oldest_age": None},
        **{"recovered": 0, "total": {"files": 2, "bytes": 8}, "receipt": None},
    }
    assert world.arrived("push") == {"a.txt": b"12345", "sub/b.txt": b"123"}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_run_with_nothing_to_do_succeeds(world: World, direction: str) -> None:
    """No files is no failure: the report has zeros."""
    report = world.run(direction).report
    assert (report["transferred"], report["failed"], report["bytes"], report["targets"]) == (0, 0, 0, [])


# --------------------------------------------------------------------------------------------------- files that fail


def refusal(direction: str, name: str, tries: int | None) -> Fault:
    """Return a fault that refuses one file in the direction's own way, in so many tries."""
    names = ("OPEN",) if direction == "pull" else RENAMES
    return RefusesFirstTries(names, path=lambda path: path.endswith(f"/{name}"), tries=tries)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_failed_file_fails_the_task_and_not_its_siblings(world: World, direction: str) -> None:
    """One refused file: the others arrive, the task fails and returns nothing, and the report in XCom names it."""
    for name in ("a.txt", "bad.txt", "z.txt"):
        world.source(direction, name)
    world.sftp.fault = refusal(direction, "bad.txt", None)
    ended = world.run(direction)
    assert (ended.state, ended.task.state) == ("failed", "failed")
    assert ended.report is None
    (error,) = ended.errors
    assert isinstance(error, TransferError)
    assert not isinstance(error, AirflowFailException)
    report = ended.failed_report
    assert set(report) == REPORT
    assert json.loads(json.dumps(report)) == report
    assert (report["transferred"], report["failed"]) == (2, 1)
    (failure,) = report["failures"]
    assert set(failure) == {"time", "source", "error"}
    assert failure["source"].endswith("/bad.txt")
    assert "refused by the test" in failure["error"]
    assert failure["source"] in str(error)
    assert set(world.arrived(direction)) == {"a.txt", "z.txt"}
    if direction == "pull":
        assert (world.sftp.root / "in/bad.txt").exists()


def test_marks_that_are_refused_fail_at_once_and_the_report_says_what_was_delivered(world: World) -> None:
    """No retry, which would deliver again; the report is in XCom, as that of other failures. The probes may pass."""
    for name in ("a.txt", "b.txt"):
        world.source("push", name)
    refused = {f"from/{name}" for name in ("a.txt", "b.txt")}
    world.s3.before(
        lambda request: (403, "AccessDenied") if request.operation == "CopyObject" and request.key in refused else None
    )
    ended = world.run("push", retries=3)
    assert (ended.state, ended.task.state) == ("failed", "failed")
    (error,) = ended.errors
    assert isinstance(error, AirflowFailException)
    assert "s3:PutObject" in str(error)
    (delivered,) = world.arrived("push")
    report = ended.failed_report
    assert set(report) == REPORT
    assert (report["transferred"], report["failed"]) == (0, 1)
    (failure,) = report["failures"]
    assert failure["source"] == f"s3://{world.bucket}/from/{delivered}"
    assert "was delivered" in failure["error"]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_airflow_retries_what_failed_and_only_that(world: World, direction: str) -> None:
    """Once the server has stopped refusing a file, the next try moves it and nothing else, and the task succeeds."""
    for name in ("a.txt", "bad.txt", "z.txt"):
        world.source(direction, name, name.encode())
    world.sftp.fault = refusal(direction, "bad.txt", 2)
    ended = world.run(direction, retries=5)
    assert (ended.state, ended.task.try_number) == ("success", 3)
    assert [type(error) for error in ended.errors] == [TransferError] * 2
    assert ended.report["transferred"] == 1
    assert ended.report["targets"][0].endswith("/bad.txt")
    assert ended.failed_report is None
    assert world.arrived(direction) == {name: name.encode() for name in ("a.txt", "bad.txt", "z.txt")}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_last_try_says_what_all_of_them_have_moved(world: World, direction: str) -> None:
    """From Airflow 3.3 on, with no receipts. A try before them in which the server was down has moved nothing."""
    for name in ("a.txt", "bad.txt", "z.txt"):
        world.source(direction, name, b"1234")
    world.sftp.fault = refusal(direction, "bad.txt", 2)
    world.sftp.stop()
    starts = iter([world.sftp.start])
    ended = world.run(
        direction, retries=5, options={"conn_timeout": 0.2}, on_retry_callback=lambda _: next(starts, int)()
    )
    knows = find_spec("airflow.models.task_state_store") is not None
    assert (ended.state, ended.task.try_number) == ("success", 4)
    assert (ended.report["transferred"], ended.report["recovered"]) == (1, 0 if knows else ended.report["recovered"])
    assert ended.report["total"] == ({"files": 3, "bytes": 12} if knows else None)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_server_that_is_down_is_tried_as_often_as_retries_say(world: World, direction: str) -> None:
    """A refused connection is worth a retry, and there are no more tries than asked for."""
    world.source(direction, "a.txt")
    world.sftp.stop()
    ended = world.run(direction, retries=2, options={"conn_timeout": 0.2})
    assert (ended.state, ended.task.try_number) == ("failed", 3)
    assert [type(error) for error in ended.errors] == [ConnectionFailed] * 3
    assert f"127.0.0.1:{world.sftp.port} cannot be reached" in str(ended.errors[0])


@pytest.mark.usefixtures("patient")
def test_the_log_says_when_the_next_try_comes(world: World, task_log: TaskLog) -> None:
    """While there is one."""
    world.sftp.stop()
    world.run("pull", retries=1, options={"conn_timeout": 0.2})
    (said,) = [line for line in task_log.of_operators("warning") if "has failed" in line]
    assert said.startswith("try 1 of 2 has failed; the next begins in 0 s, not before ")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_name_that_can_never_be_is_not_retried(world: World, direction: str) -> None:
    """Once nothing else has failed. The report is in XCom, as that of other failures."""
    never = "bad\tname" if direction == "pull" else "n" * 300
    for name in ("a.txt", "bad.txt", never):
        world.source(direction, name)
    world.sftp.fault = refusal(direction, "bad.txt", 1)
    ended = world.run(direction, retries=5)
    assert (ended.state, ended.task.try_number) == ("failed", 2)
    assert [type(error) for error in ended.errors] == [TransferError, AirflowFailException]
    assert "a retry would end in the same way" in str(ended.errors[1])
    assert (ended.failed_report["transferred"], ended.failed_report["failed"]) == (1, 1)
    assert set(world.arrived(direction)) == {"a.txt", "bad.txt"}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_an_s3_that_is_down_is_retried(world: World, direction: str) -> None:
    """S3 that cannot be reached is an error of the network, not of a setting."""
    world.source(direction, "a.txt")
    port = world.s3.port
    world.s3.stop()
    try:
        ended = world.run(
            direction, retries=1, options={"idle_timeout": 5}, on_retry_callback=lambda context: world.s3.start()
        )
        assert world.s3.port == port
    finally:
        world.s3.stop()
        world.s3.start()
    assert (ended.state, ended.task.try_number) == ("success", 2)
    assert [type(error) for error in ended.errors] == [ConnectionFailed]
    assert "S3 cannot be reached" in str(ended.errors[0])
    assert world.arrived(direction) == {"a.txt": b"contents"}


# ----------------------------------------------------------------------------------------- what only a user can mend

OTHER_KEY = " ".join(asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().split()[:2])

FOUND_OUT_BY_A_RUN = [
    ({"sftp_path": "/nowhere"}, ["sftp_path", "no directory", "'/nowhere'"]),
    ({"sftp_path": "/in/file"}, ["sftp_path", "no directory", "'/in/file'"]),
    ({"s3_bucket": "no-such-bucket-anywhere"}, ["s3_bucket", "no bucket", "'no-such-bucket-anywhere'"]),
    ({"sftp_conn_id": "nobody"}, ["sftp_conn_id", "nobody"]),
]
BOTH = [
    ({"sftp_path": ""}, ["sftp_path", "path of a directory", "''"]),
    ({"s3_bucket": ""}, ["s3_bucket", "name of a bucket", "''"]),
    ({"s3_bucket": "Not A Bucket!"}, ["s3_bucket", "'Not A Bucket!'"]),
    ({"s3_bucket": "arn:aws:s3:::a-bucket"}, ["s3_bucket", "that is 'a-bucket'"]),
    ({"s3_bucket": "data--euc1-az1--x-s3"}, ["s3_bucket", "a directory bucket"]),
    ({"s3_prefix": "a//b"}, ["s3_prefix", "'a//b'", "two in a row", "'inbound/partner/'"]),
    ({"s3_prefix": "/"}, ["s3_prefix", "leave it empty"]),
    ({"include": [""]}, ["include", "glob", "'*.csv'"]),
    ({"include": []}, ["include is an empty list"]),
    ({"exclude": [1]}, ["exclude", "glob", "'*.csv'"]),
    ({"max_files": 0}, ["max_files", "above 0", "None", "0"]),
    ({"max_bytes": -1}, ["max_bytes", "above 0", "None", "-1"]),
    ({"max_bytes": "five"}, ["max_bytes", "above 0", "'500 MB'", "'five'"]),
    ({"dry_run": "perhaps"}, ["dry_run", "true or false", "'perhaps'"]),
    ({"options": {"concurrency": 0}}, ["options", "concurrency", "from 1 to 1024", "0"]),
    ({"options": {"part_size": 1}}, ["options", "part_size", "5242880", "1"]),
    ({"options": {"conn_timeout": "soon"}}, ["options", "conn_timeout", "seconds", "'soon'"]),
    ({"options": {"concurency": 4}}, ["options", "'concurency'", "did you mean 'concurrency'?"]),
    ({"options": {"nonsense": 4}}, ["options", "'nonsense'", "there are concurrency, memory_budget"]),
    ({"options": 4}, ["options", "dict", "4"]),
]
PULL = [
    ({"after_transfer": "burn"}, ["after_transfer", "move, delete, keep", "'burn'"]),
    ({"done_dir": "done/today"}, ["done_dir", "a name", "'.done'", "not a path", "'done/today'"]),
    ({"done_dir": ""}, ["done_dir", "a name", "''"]),
    ({"done_dir": None}, ["done_dir", "a name", "None"]),
    ({"retention": timedelta(days=-1)}, ["retention", "0 seconds or more", "-86400"]),
    ({"retention": "a week"}, ["retention", "a duration", "'7d'", "'a week'"]),
    ({"min_age": -1}, ["min_age", "0 seconds or more", "-1"]),
    ({"shard": "3/2"}, ["shard", "'2/8'", "'3/2'"]),
    ({"follow_links": True, "after_transfer": "move"}, ["follow_links", 'after_transfer="keep"']),
    ({"follow_links": "yes"}, ["follow_links", "true or false", "'yes'"]),
    ({"rename_to": "{dir}/../{name}"}, ["rename_to", "a path beneath the target", "segment '..'"]),
    ({"on_conflict": "wait"}, ["on_conflict", "replace, rename, skip, fail", "'wait'"]),
    ({"done_conflict": "skip"}, ["done_conflict", "replace, rename", "'skip'"]),
]
PUSH = [
    ({"mark": "sticker"}, ["mark", "auto, metadata, tag, none", "'sticker'"]),
    ({"strip_regex": "["}, ["strip_regex", "regular expression", "'['"]),
    ({"temp_name": ".part"}, ["temp_name", "'.{id}.part'", "or None", "'.part'"]),
    ({"verify": "md5"}, ["verify", "size, none", "'md5'"]),
    ({"rename_to": "{{ ds }}"}, ["rename_to", "no Jinja template", "'{{ ds }}'"]),
    ({"on_conflict": "skip"}, ["on_conflict", "replace, rename, wait, fail", "'skip'"]),
    ({"file_mode": 640}, ["file_mode", "0o640", "'0640'", "640"]),
    ({"file_mode": "u=rw"}, ["file_mode", "octal digits", "'u=rw'"]),
    ({"preserve_mtime": "yes"}, ["preserve_mtime", "true or false", "'yes'"]),
    ({"s3_keys": ["from/a", 5]}, ["s3_keys", "a key or a list of keys", "5"]),
]


def _cases(both: list[Any], pull: list[Any], push: list[Any]) -> Iterator[Any]:
    for direction, cases in (("pull", both + pull), ("push", both + push)):
        for arguments, words in cases:
            yield pytest.param(direction, arguments, words, id=f"{direction}-{arguments}")


@pytest.mark.parametrize(
    ("direction", "arguments", "words"),
    list(
        _cases([*BOTH, ({"sftp_path": Path("/in")}, ["sftp_path", "path of a directory", "Path('/in')"])], PULL, PUSH)
    ),
)
def test_a_typo_is_an_import_error(direction: str, arguments: dict[str, Any], words: list[str]) -> None:
    """What is written plainly is judged where it is written: of an operator, and of one that is mapped over others."""
    good: dict[str, Any] = {"task_id": "transfer", "sftp_path": "/in", "s3_bucket": "bkt"}
    for make in (OPERATORS[direction], OPERATORS[direction].partial):
        with warnings_of_ours_only(), new_dag(), pytest.raises(ValueError, match=words[0]) as wrong:
            make(**good | arguments)
        for word in words:
            assert word in str(wrong.value)


@pytest.mark.parametrize(("direction", "arguments", "words"), list(_cases(FOUND_OUT_BY_A_RUN, [], [])))
def test_a_wrong_place_fails_at_once_and_says_what_to_change(
    world: World, direction: str, arguments: dict[str, Any], words: list[str]
) -> None:
    """No retry, no file touched, and a message that names the argument and what it was."""
    world.source(direction, "a.txt")
    world.file("file")
    ended = world.run(direction, retries=3, **arguments)
    assert (ended.state, ended.task.state, ended.task.try_number) == ("failed", "failed", 1)
    (error,) = ended.errors
    assert isinstance(error, AirflowFailException)
    for word in words:
        assert word in str(error)
    assert_nothing_moved(world, direction)


def assert_nothing_moved(world: World, direction: str) -> None:
    assert not {"a.txt", "file"} & set(world.arrived(direction))
    if direction == "pull":
        assert {path.name for path in (world.sftp.root / "in").rglob("*")} == {"a.txt", "file"}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_wrong_value_that_a_task_is_mapped_over_fails_at_once(world: World, direction: str) -> None:
    """It is known when the task runs: no retry, no file touched, and the same message as for a plain value."""
    world.source(direction, "a.txt")
    world.file("file")
    cases: list[Any] = [*BOTH, *(PULL if direction == "pull" else PUSH)]
    errors: dict[int, BaseException] = {}

    def failed(context: Any) -> None:
        errors[context["ti"].map_index] = context["exception"]

    good: dict[str, Any] = {"sftp_path": "/in" if direction == "pull" else "/out", "s3_bucket": world.bucket}
    with new_dag() as dag:
        OPERATORS[direction].partial(
            task_id="transfer", retries=3, retry_delay=timedelta(0), on_failure_callback=failed
        ).expand_kwargs([good | arguments for arguments, _ in cases])
    state, instances = run_dag(dag)
    assert state == "failed"
    for index, (_, words) in enumerate(cases):
        assert (instances["transfer", index].state, instances["transfer", index].try_number) == ("failed", 1)
        assert isinstance(errors[index], AirflowFailException)
        for word in words:
            assert word in str(errors[index])
    assert_nothing_moved(world, direction)


CONNECTIONS = [
    ({"password": "wrong"}, {}, ["refused user 'user'", "Check login, password and private_key"]),
    ({"login": "nobody"}, {}, ["refused user 'nobody'", "Check login"]),
    ({}, {"host_key": OTHER_KEY}, ["is not the host_key of the connection", "fingerprint SHA256:"]),
    ({}, {"host_key": None, "known_hosts": "/nowhere"}, ["is not known", "fingerprint SHA256:", '{"host_key": "ssh-']),
    ({"host": ""}, {}, ["'sftp_default' has no host"]),
]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("fields", "extra", "words"), CONNECTIONS, ids=lambda value: str(value)[:40])
def test_a_wrong_connection_fails_at_once_and_says_what_to_change(
    world: World, direction: str, fields: dict[str, Any], extra: dict[str, Any], words: list[str]
) -> None:
    """Wrong credentials, or a host key that is not the expected one, are no reason to try again."""
    world.source(direction, "a.txt")
    connection = world.sftp.airflow_connection(**extra) | fields
    with airflow_connections(sftp_default=connection):
        ended = world.run(direction, retries=3)
    assert (ended.state, ended.task.try_number) == ("failed", 1)
    (error,) = ended.errors
    assert isinstance(error, AirflowFailException)
    for word in words:
        assert word in str(error)
    assert world.arrived(direction) == {}


# ------------------------------------------------------------------------------------------------- templates and XCom


def test_templates_are_rendered(world: World) -> None:
    """Jinja works in every template field of both operators; a flag may come out of it as text."""
    world.file("day-2024-02-03/sub/a.txt", b"pulled")
    world.file("day-2024-02-03/sub/b.tmp", b"left")
    dag = {
        "params": {"day": "2024-02-03", "bucket": world.bucket, "conn": "sftp_default", "dry": "False", "no": "*.tmp"}
    }
    ended = world.run(
        "pull",
        dag=dag,
        sftp_path="/in/day-{{ params.day }}",
        s3_bucket="{{ params.bucket }}",
        s3_prefix="to/{{ params.day }}/",
        sftp_conn_id="{{ params.conn }}",
        aws_conn_id="{{ 'aws_default' }}",
        include=["{{ 'sub' }}/**"],
        exclude="{{ params.no }}",
        dry_run="{{ params.dry }}",
    )
    assert ended.report["targets"] == [f"s3://{world.bucket}/to/2024-02-03/sub/a.txt"]
    world.object("from/2024-02-03/a/x.csv", b"pushed")
    world.object("from/2024-02-03/a/x.tmp", b"left")
    ended = world.run(
        "push",
        dag=dag,
        s3_bucket="{{ params.bucket }}",
        s3_prefix="from/{{ params.day }}",
        sftp_path="/{{ 'out' }}",
        strip_regex="^from/{{ params.day }}/a/",
        sftp_conn_id="{{ params.conn }}",
        aws_conn_id="{{ 'aws_default' }}",
        include="{{ '*' }}",
        exclude=["{{ params.no }}"],
        dry_run="{{ params.dry }}",
    )
    assert ended.state == "success"
    assert world.arrived("push") == {"x.csv": b"pushed"}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("native", [False, True])
def test_a_list_to_exclude_may_come_from_a_template(world: World, direction: str, native: bool) -> None:
    """What is to stay stays."""
    for name in ("a.txt", "b.tmp", "secret, [1].csv"):
        world.source(direction, name)
    params = {"exclude": ["*.tmp", "secret, [[]1].*"]}
    ended = world.run(
        direction, dag={"params": params, "render_template_as_native_obj": native}, exclude="{{ params.exclude }}"
    )
    assert (ended.state, ended.report["skipped"]) == ("success", {"excluded": 2})
    assert set(world.arrived(direction)) == {"a.txt"}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_an_empty_list_to_include_fails_at_once(world: World, direction: str) -> None:
    """From a template, too: nothing is moved, nothing is retried, and the error says what takes all."""
    world.source(direction, "a.txt")
    ended = world.run(direction, dag={"params": {"include": []}}, include="{{ params.include }}", retries=2)
    assert ended.state == "failed"
    assert "include is an empty list" in str(ended.errors[0])
    assert len(ended.errors) == 1
    assert world.arrived(direction) == {}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dry_run", [True, "{{ params.dry }}"])
def test_a_dry_run_lists_and_touches_nothing(
    world: World, direction: str, dry_run: bool | str, task_log: TaskLog
) -> None:
    """Nothing changes at either end; targets and log say what a real run would do."""
    world.source(direction, "a.txt")
    world.source(direction, "sub/b.txt")
    world.s3.requests.clear()
    ended = world.run(direction, dag={"params": {"dry": True}}, dry_run=dry_run)
    report = ended.report
    assert (report["transferred"], report["skipped"]) == (0, {"dry run": 2})
    assert sorted(target.rpartition("/")[2] for target in report["targets"]) == ["a.txt", "b.txt"]
    changes = {"OPEN", "WRITE", "RENAME", "POSIX-RENAME", "REMOVE", "MKDIR", "SETSTAT", "FSETSTAT"}
    assert not changes & set(world.sftp.requests)
    assert {request.method for request in world.s3.requests} <= {"GET", "HEAD"}
    assert sum(line.startswith("dry run: ") for line in task_log.of_operators("info")) == 2
    assert world.run(direction).report["transferred"] == 2


class Keys(BaseOperator):
    """Returns keys, as a task before the push does."""

    def execute(self, context: Any) -> Any:
        return ["from/a.txt", "from/ü, 'b'.txt"]


def _xcom_forms(world: World, keys: Any) -> dict[str, Any]:
    return {
        "output": {"s3_keys": keys.output},
        "text": {"s3_keys": "{{ ti.xcom_pull(task_ids='keys') }}"},
        "one of them": {"s3_keys": "{{ ti.xcom_pull(task_ids='keys')[0] }}"},
    }


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("form", "arrives"),
    [("output", {"a.txt", "ü, 'b'.txt"}), ("text", {"a.txt", "ü, 'b'.txt"}), ("one of them", {"a.txt"})],
)
def test_keys_come_from_xcom(world: World, form: str, arrives: set[str], native: bool) -> None:
    """A list from a task before arrives as a list: by reference, and as text that Jinja has made of it."""
    for key in ("from/a.txt", "from/ü, 'b'.txt", "from/other.txt"):
        world.object(key)
    with new_dag(render_template_as_native_obj=native) as dag:
        keys = Keys(task_id="keys")
        keys >> world.operator("push", **_xcom_forms(world, keys)[form])
    state, _ = run_dag(dag)
    assert state == "success"
    assert set(world.arrived("push")) == arrives


class Choices(BaseOperator):
    """Returns an argument, as a task that asks somebody does."""

    def __init__(self, *, chosen: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.chosen = chosen

    def execute(self, context: Any) -> Any:
        return self.chosen


def test_numbers_and_choices_come_from_xcom_and_a_mapped_task_group(world: World) -> None:
    """By reference, of a group's own argument, and as text that Jinja has made of params."""
    try:
        from airflow.sdk import task_group
    except ImportError:
        from airflow.decorators import task_group

    for name in ("left/a", "left/b", "right/c", "right/d"):
        world.file(name)
    with new_dag(params={"days": 7}) as dag:
        most, after = Choices(task_id="most", chosen=1), Choices(task_id="after", chosen="move")

        @task_group  # type: ignore[untyped-decorator]
        def partner(directory: str) -> None:
            world.operator(
                "pull",
                sftp_path=directory,
                s3_prefix="to",
                max_files=most.output,
                max_bytes="{{ ti.xcom_pull(task_ids='most') }} MB",
                after_transfer=after.output,
                done_dir="{{ ti.xcom_pull(task_ids='after') }}d",
                retention="{{ params.days }}d",
            )

        partner.expand(directory=["/in/left", "/in/right"])
    state, instances = run_dag(dag)
    assert state == "success"
    reports = [xcom(instances["partner.transfer", index]) for index in (0, 1)]
    assert [(report["transferred"], report["left"]) for report in reports] == [(1, 1), (1, 1)]
    assert len(list(world.sftp.root.glob("in/*/moved/*"))) == 2


def test_keys_are_mapped_over(world: World) -> None:
    """With expand, each key is a task instance of its own: one fails and is retried alone."""
    for key in ("from/a.txt", "from/ü, 'b'.txt"):
        world.object(key)
    world.sftp.fault = refusal("push", "a.txt", 1)
    with new_dag() as dag:
        S3ToSftpOperator.partial(
            task_id="transfer",
            s3_bucket=world.bucket,
            s3_prefix="from/",
            sftp_path="/out",
            retries=2,
            retry_delay=timedelta(0),
        ).expand(s3_keys=Keys(task_id="keys").output)
    state, instances = run_dag(dag)
    assert state == "success"
    assert {index: ti.try_number for (task, index), ti in instances.items() if task == "transfer"} == {0: 2, 1: 1}
    assert [xcom(instances["transfer", index])["transferred"] for index in (0, 1)] == [1, 1]
    assert set(world.arrived("push")) == {"a.txt", "ü, 'b'.txt"}


def test_mapped_tasks_take_lists_from_templates_and_have_labels_that_fit(world: World) -> None:
    """Arguments of partial and of expand alike; a label of any template is cut to what Airflow's database holds."""
    names = ["a.txt", "b.tmp", "x" * 200 + "/" + "y" * 200 + ".txt"]
    for name in names:
        world.object(f"from/{name}")
    batches = [str([f"from/{name}" for name in names[:2]]), str([f"from/{names[2]}"])]
    with new_dag(params={"exclude": ["*.tmp"], "batches": batches}) as dag:
        S3ToSftpOperator.partial(
            task_id="transfer",
            s3_bucket=world.bucket,
            s3_prefix="from/",
            sftp_path="/out",
            exclude="{{ params.exclude }}",
            map_index_template="{{ task.s3_keys | first }}",
        ).expand(s3_keys=["{{ params.batches[0] }}", "{{ params.batches[1] }}"])
    state, instances = run_dag(dag)
    assert state == "success"
    assert set(world.arrived("push")) == {names[0], names[2]}
    labels = [instances["transfer", index].rendered_map_index for index in (0, 1)]
    assert labels == ["from/a.txt", f"from/{names[2]}"[:247] + "..."]


class Nothing(BaseOperator):
    """Returns nothing, as a task before the push does that has forgotten to."""

    def execute(self, context: Any) -> None:
        return None


@pytest.mark.parametrize("native", [False, True])
def test_a_task_before_that_returns_nothing_has_nothing_moved(world: World, native: bool) -> None:
    """By reference, as text that Jinja has made of it, in a list: the task fails at once, and names the argument."""
    template = "{{ ti.xcom_pull(task_ids='nothing') }}"
    names = {
        "push": ("s3_keys", "include", "s3_prefix", "strip_regex", "sftp_path", "s3_bucket"),
        "pull": ("include", "s3_prefix", "shard", "sftp_path", "s3_bucket"),
    }
    errors: dict[str, BaseException] = {}

    def failed(context: Any) -> None:
        errors[context["ti"].task_id] = context["exception"]

    for direction in DIRECTIONS:
        world.source(direction, "a.txt")
    with new_dag(render_template_as_native_obj=native) as dag:
        nothing = Nothing(task_id="nothing")
        for direction in DIRECTIONS:
            for name in names[direction]:
                values = [nothing.output, template, *([["x", template]] if name in ("s3_keys", "include") else [])]
                for number, value in enumerate(values):
                    given: dict[str, Any] = {name: value, "task_id": f"{direction}-{number}-{name}"}
                    nothing >> world.operator(direction, retries=2, on_failure_callback=failed, **given)
    state, instances = run_dag(dag)
    assert (state, len(errors)) == ("failed", len(instances) - 1)
    for task, error in errors.items():
        assert instances[task, -1].try_number == 1
        assert isinstance(error, AirflowFailException)
        assert str(error).startswith(f"{task.rpartition('-')[2]} is None")
    assert world.arrived("push") == {}
    assert (world.sftp.root / "in/a.txt").exists()


def test_a_batch_of_none_pushes_nothing(world: World) -> None:
    """Mapped over keys, where one of the batches is None. An argument of partial that is None is not given, as ever."""
    world.object("from/a.txt")
    world.object("from/b.txt")
    with new_dag() as dag:
        S3ToSftpOperator.partial(
            task_id="transfer", s3_bucket=world.bucket, s3_prefix="from/", sftp_path="/out", strip_regex=None
        ).expand_kwargs([{"s3_keys": None}, {"s3_keys": ["from/a.txt"]}])
    state, instances = run_dag(dag)
    assert state == "failed"
    assert [instances["transfer", index].state for index in (0, 1)] == ["failed", "success"]
    assert set(world.arrived("push")) == {"a.txt"}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("cap", [{"max_files": 2}, {"max_bytes": 25}])
def test_a_cap_leaves_the_rest_for_the_next_run(
    world: World, direction: str, cap: dict[str, Any], task_log: TaskLog
) -> None:
    """A run moves no more than it may, says so, and the runs after it move what is left."""
    for number in range(5):
        world.source(direction, f"{number}.txt", b"x" * 10)
    moved = []
    while report := world.run(direction, **cap).report["transferred"]:
        moved.append(report)
    assert moved == [2, 2, 1]
    assert len(world.arrived(direction)) == 5
    assert any("the rest waits for the next" in line for line in task_log.of_operators("warning"))


# ---------------------------------------------------------------------------------------------------- ended from above


HANGS = {"pull": NeverAnswers(("READ",)), "push": NeverAnswers(("WRITE",))}
PATIENT = {"idle_timeout": 3600, "conn_timeout": 3600}
"""With these no limit of ours ends anything during a test."""


def run_out_of_time_once(world: World, direction: str, is_up_for_retry: Callable[[Any], None]) -> Ended:
    """Run one operator. Airflow's own alarm, which ends a try at its limit, goes off once, as soon as that hangs."""
    main, over = threading.main_thread().ident, threading.Event()
    assert main is not None

    def ring() -> None:
        while not world.sftp.requests["READ"] + world.sftp.requests["WRITE"]:
            if over.wait(0.01):
                return
        signal.pthread_kill(main, signal.SIGALRM)

    clock = threading.Thread(target=ring)
    clock.start()
    try:
        return world.run(
            direction,
            retries=1,
            execution_timeout=timedelta(minutes=10),
            on_retry_callback=is_up_for_retry,
            options=PATIENT,
        )
    finally:
        over.set()
        clock.join()


def unfinished(world: World) -> list[str]:
    """Return the temporary files on the server."""
    return [file.name for file in world.sftp.root.rglob("*.part")]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_execution_timeout_ends_a_try_and_airflow_retries_it(world: World, direction: str) -> None:
    """A server that hangs for ever: Airflow's own limit ends the try, the connection is closed, the retry succeeds
    when the server is well, and nothing unfinished is left."""
    world.source(direction, "a.txt", b"x" * 100_000)
    world.sftp.fault = HANGS[direction]

    def is_up_for_retry(context: Any) -> None:
        eventually(lambda: world.sftp.connections == 0)
        assert world.arrived(direction) == {}
        world.sftp.fault = Fault()

    ended = run_out_of_time_once(world, direction, is_up_for_retry)
    assert [type(error) for error in ended.errors] == [AirflowTaskTimeout]
    assert (ended.state, ended.task.try_number) == ("success", 2)
    assert world.arrived(direction) == {"a.txt": b"x" * 100_000}
    assert unfinished(world) == []
    eventually(lambda: world.sftp.connections == 0)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_execution_timeout_leaves_a_file_without_its_end_to_the_retry(world: World, direction: str) -> None:
    """A server that answers nothing at all any more can be told to remove nothing: the retry does that."""
    world.source(direction, "a.txt", b"x" * 100_000)
    all_of_it = ("READ", "WRITE", "CLOSE", "REMOVE", "FSTAT")
    world.sftp.fault = NeverAnswers(all_of_it)
    left = []

    def is_up_for_retry(context: Any) -> None:
        left.extend(unfinished(world))
        world.sftp.fault = Fault()

    ended = run_out_of_time_once(world, direction, is_up_for_retry)
    assert (ended.state, ended.task.try_number) == ("success", 2)
    assert len(left) == (direction == "push")
    assert unfinished(world) == []
    assert world.arrived(direction) == {"a.txt": b"x" * 100_000}
    assert world.s3.unfinished_uploads(world.bucket) == []


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_on_kill_ends_the_transfer(world: World, direction: str) -> None:
    """Airflow's kill reaches a transfer that hangs: execute ends, connection and unfinished file are gone."""
    world.source(direction, "a.txt", b"x" * 100_000)
    world.sftp.fault = HANGS[direction]
    operator = world.operator(direction, options=PATIENT)
    main = threading.main_thread().ident
    assert main is not None

    def kill() -> None:
        eventually(lambda: world.sftp.requests["READ"] + world.sftp.requests["WRITE"] > 0)
        signal.pthread_kill(main, signal.SIGUSR1)

    with kills(operator):
        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(SftpS3Error, match="stopped from outside"), warnings_of_ours_only():
            operator.execute({"ti": SimpleNamespace(**TI)})
        killer.join()
    eventually(lambda: world.sftp.connections == 0)
    assert unfinished(world) == []
    assert world.arrived(direction) == {}
    operator.on_kill()  # once more, with nothing to kill


TI = {"dag_id": "dag", "task_id": "transfer", "run_id": "run", "map_index": -1, "try_number": 1}


@contextmanager
def kills(operator: BaseOperator) -> Iterator[None]:
    """Have a signal do what Airflow's own handler of SIGTERM does."""
    before = signal.signal(signal.SIGUSR1, lambda *_: operator.on_kill())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


# ---------------------------------------------------------------------------------------------------------------- logs


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_log_has_a_line_for_each_file_and_a_summary(world: World, direction: str, task_log: TaskLog) -> None:
    """One INFO line per transferred file with source, target, bytes and seconds; one summary; an ERROR per failure."""
    for name in ("a.txt", "bad.txt", "z.txt"):
        world.source(direction, name, b"12345")
    world.sftp.fault = refusal(direction, "bad.txt", None)
    world.run(direction)
    server, bucket = f"sftp://127.0.0.1:{world.sftp.port}", f"s3://{world.bucket}"
    ends = (f"{server}/in", f"{bucket}/to") if direction == "pull" else (f"{bucket}/from", f"{server}/out")
    lines = task_log.of_operators("info")
    files = [line for line in lines if line.startswith("transferred ")]
    expected = [
        rf"transferred '{re.escape(ends[0])}/{name}' -> '{re.escape(ends[1])}/{name}', 5 bytes in \d+\.\d+ s"
        for name in (r"a\.txt", r"z\.txt")
    ]
    assert len(files) == 2
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(expected, sorted(files), strict=True))
    (summary,) = [line for line in lines if line.startswith(f"{direction}: ")]
    assert re.match(rf"{direction}: 2 transferred \(10 bytes in \d+\.\d s, .* MiB/s\), .*, 1 failed", summary)
    assert lines[-1] == summary
    error, in_the_end = task_log.of_operators("error")
    assert error.startswith(f"failed '{ends[0]}/bad.txt': ")
    assert re.match(rf"failed at \S+Z '{ends[0]}/bad.txt': ", in_the_end)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_log_of_many_files_has_fewer_messages_than_lines(
    world: World, direction: str, task_log: TaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file has a line of its own all the same, once, and the summary comes last."""
    monkeypatch.setattr(log, "LOG_SINGLY", 3)
    monkeypatch.setattr(log, "LOG_LINES", 4)
    monkeypatch.setattr(log, "LOG_SECONDS", 600)
    names = {f"{number:02}.txt" for number in range(30)}
    for name in names:
        world.source(direction, name, b"12345")
    world.run(direction)
    messages = task_log.of_operators("info")
    lines = [line for message in messages for line in message.split("\n")]
    a_file = re.compile(r"(?:\d\d:\d\d:\d\d\.\d{3}Z )?transferred '\S+/(\S+)' -> ")
    assert sorted(found[1] for line in lines if (found := a_file.match(line))) == sorted(names)
    moved = [message for message in messages if a_file.match(message)]
    assert [message.count("\n") for message in moved[:4]] == [0, 0, 0, 3]
    assert len(moved) < len(names)
    assert messages[-1].startswith(f"{direction}: 30 transferred ")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_long_work_logs_its_progress(
    world: World, direction: str, task_log: TaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing else is to be said, a line tells how far the run is: files, bytes, rate and ETA."""
    assert run.PROGRESS_SECONDS <= 30
    monkeypatch.setattr(run, "PROGRESS_SECONDS", 0.05)
    world.source(direction, "a.txt", b"x" * 2_000)
    world.sftp.fault = ReadsTrickle() if direction == "pull" else SlowWrites()
    world.run(direction, options={"concurrency": 1})
    pattern = r"\d of 1 files(?: and counting)?, \d+ bytes moved at \d+\.\d MiB/s, \d+\.\d files/s, ETA \d+ s"
    progress = [line for line in task_log.of_operators("info") if re.fullmatch(pattern, line)]
    assert progress
    assert any(line.startswith("0 of 1 files") for line in progress)


class SlowWrites(Fault):
    """A WRITE takes its time."""

    async def answer(self, server: AsyncsshServer, request: Any, proceed: Any) -> Any:
        if request.name == "WRITE":
            await asyncio.sleep(1)
        return await proceed()


NASTY = "red\x1b[31m\x9b\u202ealert.txt"
"""Colours a terminal, in two ways, and turns its text around."""


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_names_cannot_write_into_a_terminal(world: World, direction: str, task_log: TaskLog) -> None:
    """A name with control characters is refused, its siblings are not, and log, report and error spell it out."""
    end = "\n" if direction == "pull" else ""  # moto stores no such key
    world.source(direction, NASTY + end)
    world.source(direction, "plain.txt")
    world.source(direction, "\u202etxt.exe")
    ended = world.run(direction)
    report = ended.failed_report
    assert (report["transferred"], report["failed"]) == (2, 1)
    assert "control character" in report["failures"][0]["error"]
    shown = [line for _, name, line in task_log.lines if "airflow_provider_sftp_s3" in name]
    shown += [*map(str, ended.errors), *report["failures"][0].values()]
    assert [text for text in shown if not text.isprintable()] == []
    spelled_out = (NASTY + end).encode("unicode_escape").decode()
    assert sum(spelled_out in text.replace(r"\\", "\\") for text in shown) >= 3


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_errors_cannot_write_into_a_terminal(world: World, direction: str, task_log: TaskLog) -> None:
    """What S3 says about a file is spelled out too, where its name is odd and allowed."""
    world.source(direction, "\u202ered.txt")
    world.s3.before(lambda request: (403, "AccessDenied") if request.key.endswith("red.txt") else None)
    ended = world.run(direction)
    assert ended.failed_report["failed"] == 1
    shown = [line for _, logger, line in task_log.lines if "airflow_provider_sftp_s3" in logger]
    shown += [*map(str, ended.errors), *ended.failed_report["failures"][0].values()]
    assert [text for text in shown if not text.isprintable()] == []


@pytest.mark.slow
def test_nothing_secret_is_logged_even_at_debug(world: World, tmp_path: Path) -> None:
    """With the log at DEBUG, neither it nor XCom holds contents, passwords, keys, passphrases or tokens."""
    key, password = world.sftp.client_key_text, world.sftp.password
    assert password
    encrypted = asyncssh.import_private_key(key).export_private_key(passphrase="passphrase-of-the-key").decode()
    token = "token-of-the-session"
    sftp = world.sftp.airflow_connection(private_key=encrypted, private_key_passphrase="passphrase-of-the-key")
    for direction in DIRECTIONS:
        world.source(direction, "small.txt", b"contents-of-a-small-file")
        world.source(direction, "large.bin", b"contents-of-a-large-file" * 300_000)
        world.source(direction, NASTY, b"contents-of-a-nasty-file")
    script = tmp_path / "run.py"
    script.write_text(IN_A_PROCESS_OF_ITS_OWN.format(bucket=world.bucket))
    with airflow_connections(
        sftp_default=sftp,
        aws_default=world.s3.airflow_connection(aws_session_token=token),
    ):
        done = subprocess.run(
            [sys.executable, str(script)],
            env=os.environ | {"AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG", "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    # Under dag.test() Airflow itself logs what it is asked to mask.
    log = "".join(line for line in done.stdout.splitlines(keepends=True) if "msg=MaskSecret(" not in line)
    assert done.returncode == 0, log
    assert "XCOM" in log
    assert "DEBUG" in log.upper()
    for file in ("small.txt", "large.bin"):
        assert log.count(f"transferred 'sftp://127.0.0.1:{world.sftp.port}/in/{file}'") == 1
    for secret in (
        *("contents-of-a", b"contents-of-a".hex(), password, SECRET_KEY, "passphrase-of-the-key", token),
        *key.splitlines()[1:-1],
        *encrypted.splitlines()[1:-1],
    ):
        assert secret not in log, secret
    assert "\x1b[31m" not in log


IN_A_PROCESS_OF_ITS_OWN = """
from datetime import datetime
from airflow_provider_sftp_s3._compat import DAG
from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator
from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator
from tests.support.airflow_env import run_dag, xcom

with DAG("nothing_to_hide", schedule=None, start_date=datetime(2024, 1, 1)) as dag:
    SftpTreeToS3Operator(
        task_id="pull",
        sftp_path="/in",
        s3_bucket="{bucket}",
        s3_prefix="to/",
        min_age=0,
        options=dict(part_size=5 << 20),
    )
    S3ToSftpOperator(task_id="push", s3_bucket="{bucket}", s3_prefix="from/", sftp_path="/out")
state, instances = run_dag(dag)
for instance in instances.values():
    report = xcom(instance, "report")
    assert report["transferred"] == 2 and report["failed"] == 1, report
    print("XCOM", report, xcom(instance))
"""


# ------------------------------------------------------------------------------------------------------------ partners


@pytest.mark.parametrize("mark", ["auto", "tag"])
def test_a_relay_both_ways(world: World, mark: str) -> None:
    """What comes from one partner goes to the other one, once, and not back: by operators, and by the hook."""
    there = {name: world.sftp.root / name for name in ("a_out", "b_out", "a_in", "b_in")}
    for directory in there.values():
        directory.mkdir()
    places: dict[str, Any] = {"s3_bucket": world.bucket, "s3_prefix": "p"}

    def relay() -> Any:
        with new_dag() as dag:
            pulls = [
                SftpTreeToS3Operator(
                    task_id=f"from_{name}", sftp_conn_id=name, sftp_path=f"/{name}_out", min_age=0, **places
                )
                for name in ("a", "b")
            ]
            found = {
                "a": S3ListUnsyncedOperator(task_id="list_a", destination="a", mark=mark, **places),
                "b": S3UnsyncedSensor(
                    task_id="wait_b",
                    destination="b",
                    mark=mark,
                    bucket_name=world.bucket,
                    bucket_key="p",
                    wait=timedelta(0),
                    poke_interval=0.1,
                ),
            }
            for name, listed in found.items():
                push = S3ToSftpOperator.partial(
                    task_id=f"to_{name}", sftp_conn_id=name, sftp_path=f"/{name}_in", mark=mark, **places
                )
                pulls >> listed
                push.expand(s3_keys=listed.output)
        return dag

    sent: dict[str, dict[str, bytes]] = {"a": {}, "b": {}}
    with airflow_connections(a=world.sftp.airflow_connection(), b=world.sftp.airflow_connection()):
        for number in range(3):
            if number < 2:  # in the third run there is nothing
                for name in sent:
                    sent[name][f"{name}{number}"] = body = f"{name}, {number}".encode()
                    (there[f"{name}_out"] / f"{name}{number}").write_bytes(body)
            state, tasks = run_dag(relay())
            assert state == "success"
            pushed = {
                task: xcom(tasks[task, 0])["transferred"] for task, index in tasks if "to_" in task and index == 0
            }
            assert pushed == ({"to_a": 1, "to_b": 1} if number < 2 else {})
            assert tree(there["b_in"]) == sent["a"]
            assert tree(there["a_in"]) == sent["b"]
        for name in sent:
            report = SftpS3Hook(name).push(sftp_path=f"/{name}_in", mark=mark, **places)
            assert report["skipped"] == {"synced": 4}
        (there["a_out"] / "a0").write_bytes(b"a, 0, and newer")
        SftpS3Hook("a").pull(sftp_path="/a_out", min_age=0, **places)
        assert SftpS3Hook("a").push(sftp_path="/a_in", mark=mark, **places)["transferred"] == 0
        assert SftpS3Hook("b").push(sftp_path="/b_in", mark=mark, **places)["transferred"] == 1
    assert tree(there["b_in"]) == {**sent["a"], "a0": b"a, 0, and newer"}
