"""The retry queue: DESIGN.md's table of six states and eight events, driven through the real push operators.

An object is "on the error queue" while a push task instance that failed, and awaits its retry, holds its key.
The table is held three ways:

* cell by cell, each from its own state, one try of the operator after the other;
* by a hypothesis state machine over several objects, several held tasks, and a server that comes and goes;
* from end to end in Dags, where Airflow itself does the retries.

``RETRY_TABLE_EXAMPLES=500`` lets the state machine search longer than ``make slow`` does, and at random.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
from asyncssh import SFTPPermissionDenied
from botocore.loaders import JSONFileLoader
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, TransferError
from airflow_provider_sftp_s3.operators.s3_unsynced import S3ListUnsyncedOperator
from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator
from tests.support.airflow_env import airflow_connections, run_dag, warnings_of_ours_only, xcom
from tests.support.faulty_sftp import RENAMES
from tests.support.retry_table import (
    DELETE,
    OVERWRITE,
    PUSH_FAILS,
    PUSH_SKIPS,
    PUSH_WORKS,
    PUT,
    RETRY_FAILS,
    RETRY_SKIPS,
    RETRY_WORKS,
    STATES,
    TABLE,
)
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer, CutConnection, Fault, Proceed, Request

pytestmark = pytest.mark.integration

PREFIX = "outbound/"
KEYS = tuple(f"{PREFIX}{name}" for name in ("a.txt", "dir/b c+d%2F.bin", "dir/sub/ü.csv"))


# ------------------------------------------------------------------------------------------- a flow, and what it runs


@dataclass
class Partner(Fault):
    """The other side: refuses some files, or cuts the line, or goes down, when a file is about to get its name."""

    refused: set[str] = field(default_factory=set)
    cuts: bool = False
    dies: bool = False

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name in RENAMES:
            if self.dies:
                server._stopping.set()
            if self.cuts or self.dies:
                raise CutConnection
            if request.target in self.refused:
                raise SFTPPermissionDenied("not now")
        return await proceed()


@dataclass
class PushTask:
    """A task instance of S3ToSftpOperator, with the keys that XCom holds for it. Stands for ``ti`` in the context."""

    keys: list[str]
    run_id: str
    try_number: int = 0
    dag_id: str = "flow"
    task_id: str = "push"
    map_index: int = -1
    xcom: dict[str, Any] = field(default_factory=dict)
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When its Dag run began."""
    transferred: int = 0
    """How many objects the last try says that it has transferred."""

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcom[key] = value

    @property
    def context(self) -> Any:
        """What Airflow gives an operator, as far as ours look into it."""
        return {"ti": self, "dag_run": SimpleNamespace(start_date=self.begun)}


class Flow:
    """One push flow: a bucket, a directory on the server, and the push tasks that failed and await their retry."""

    def __init__(self, s3: S3Server, sftp: AsyncsshServer, mark: str) -> None:
        self.s3 = s3
        self.sftp = sftp
        self.mark = mark
        self.bucket = s3.new_bucket()
        self.client = s3.client()
        self.target = sftp.root / self.bucket
        self.target.mkdir()
        self.partner = sftp.fault = Partner()
        self.held: list[PushTask] = []
        self.is_up = True
        self._runs = itertools.count(1)
        self._overwrites: dict[str, bytes] = {}
        s3.before(self._overwrite_before_the_mark)

    # --- what happens to it

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def go_down(self) -> None:
        self.sftp.stop()
        self.is_up = False

    def come_up(self) -> None:
        if not self.is_up:
            self.sftp.start()
            self.is_up = True

    def overwrite_before_the_mark(self, key: str, body: bytes) -> None:
        """Have `key` overwritten the next time it is about to be marked: after its bytes were sent."""
        self._overwrites[key] = body

    def _overwrite_before_the_mark(self, request: S3Request) -> None:
        marking = request.operation in ("CopyObject", "PutObjectTagging") and request.bucket == self.bucket
        if marking and (body := self._overwrites.pop(request.key, None)) is not None:
            self.put(request.key, body)

    # --- the operators

    @property
    def _options(self) -> dict[str, Any]:
        # A refused connection is tried again for conn_timeout: no use where the test knows that it will be refused.
        return {"conn_timeout": 1 if self.partner.dies else 60 if self.is_up else 0.2}

    def push(self, *keys: str) -> PushTask:
        """Start a push task and try it once. It is held when that failed."""
        task = PushTask(list(keys), f"run-{next(self._runs)}")
        self.attempt(task)
        return task

    #: of all runs, in which Airflow's tries find when theirs began
    _dag_run = SimpleNamespace(start_date=datetime(2026, 1, 1, tzinfo=UTC))

    def attempt(self, task: PushTask) -> bool:
        """Run the task's next try, and say whether it succeeded. A failed task is held, a successful one is not."""
        task.try_number += 1
        task.xcom.clear()  # as Airflow does at the start of each try
        operator = S3ToSftpOperator(
            task_id=task.task_id,
            s3_bucket=self.bucket,
            s3_prefix=PREFIX,
            s3_keys=task.keys,
            sftp_path=self.sftp.path(self.bucket),
            mark=self.mark,
            options=self._options,
        )
        try:
            with warnings_of_ours_only():
                task.transferred = operator.execute(task.context)["transferred"]
        except (TransferError, ConnectionFailed):  # any other error is one that Airflow would not retry, or a bug
            task.transferred = task.xcom.get("report", {"transferred": 0})["transferred"]
            if task not in self.held:
                self.held.append(task)
            return False
        if task in self.held:
            self.held.remove(task)
        return True

    def unsynced(self) -> list[str]:
        """Return the keys that the flow's own listing task finds."""
        operator = S3ListUnsyncedOperator(
            task_id="list", s3_bucket=self.bucket, s3_prefix=PREFIX, mark=self.mark, batch_files=2
        )
        with warnings_of_ours_only():
            batches = operator.execute({})
        return [key for batch in batches for key in batch]

    # --- what is so

    def exists(self, key: str) -> bool:
        return key in self.s3.objects(self.bucket)

    def is_marked(self, key: str) -> bool:
        """Say whether the object has a valid mark, spelled out here as it stands in users' buckets by now."""
        place = {"Bucket": self.bucket, "Key": key}
        name = hashlib.sha256(f"1\0{self.bucket}\0{key}\0sftp_default".encode()).hexdigest()[:16]
        head = self.client.head_object(**place)
        if self.mark == "metadata":
            return bool({"synced": "true", "synced-to": name}.items() <= head["Metadata"].items())
        tags = {tag["Key"]: tag["Value"] for tag in self.client.get_object_tagging(**place)["TagSet"]}
        return tags.get("sftp-s3-synced") == f"{head['ETag'][1:-1]}:{name}"

    def state(self, key: str) -> int:
        """Return the number of the state that `key` is in."""
        exists = self.exists(key)
        return STATES[exists, exists and self.is_marked(key), any(key in task.keys for task in self.held)]

    def arrived(self, key: str) -> bytes | None:
        """Return what the partner has of an object."""
        file = self.target / key.removeprefix(PREFIX)
        return file.read_bytes() if file.exists() else None

    def unfinished(self) -> list[str]:
        """Return the temporary files that the partner has."""
        return [file.name for file in self.target.rglob(".*")]


@pytest.fixture(autouse=True)
def _quick_boto(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of tries make hundreds of S3 clients: parse botocore's files once, and look at no stack for a name."""
    monkeypatch.setattr(JSONFileLoader, "load_file", staticmethod(cache(JSONFileLoader().load_file)))
    monkeypatch.setattr(AwsGenericHook, "_find_operator_class_name", staticmethod(lambda _: "operator"))


@pytest.fixture
def flow_of(
    s3: S3Server, sftp_server: AsyncsshServer, airflow_home: Path, patient: None
) -> Iterator[Callable[[str], Flow]]:
    """Makes flows between the two servers, each with a bucket and directory of its own, given how they mark."""
    connections = {
        "sftp_default": sftp_server.airflow_connection(),
        "aws_default": s3.airflow_connection(),
    }
    with airflow_connections(**connections):
        yield lambda mark: Flow(s3, sftp_server, mark)


# ------------------------------------------------------------------------------------------------------- cell by cell

REACH: dict[int, tuple[str, ...]] = {
    1: (),
    2: (PUT, PUSH_FAILS, DELETE),
    3: (PUT,),
    4: (PUT, PUSH_FAILS),
    5: (PUT, PUSH_WORKS),
    6: (PUT, PUSH_FAILS, PUSH_WORKS),
}
"""Events that lead from the first state to each other one."""


def happens(flow: Flow, key: str, event: str, body: bytes) -> None:
    """Let one of the table's events happen, and make sure that it is the one it is called."""
    if event in (PUT, OVERWRITE):
        assert flow.exists(key) == (event == OVERWRITE)
        flow.put(key, body)
    elif event == DELETE:
        flow.delete(key)
    elif event in (PUSH_WORKS, PUSH_FAILS):
        with server(flow, up=event == PUSH_WORKS):
            assert (flow.push(key) not in flow.held) == (event == PUSH_WORKS)
    else:
        (task,) = flow.held
        flow.sftp.requests.clear()
        with server(flow, up=event != RETRY_FAILS):
            assert flow.attempt(task) == (event != RETRY_FAILS)
        assert (flow.sftp.requests["WRITE"] > 0) == (event == RETRY_WORKS)


@contextmanager
def server(flow: Flow, up: bool) -> Iterator[None]:
    """Let the server be up or down for a while; up afterwards."""
    if not up:
        flow.go_down()
    try:
        yield
    finally:
        flow.come_up()


def test_the_table_is_complete() -> None:
    """The cells below are those of the table in sftp-lambda's description: no event of it is forgotten."""
    rows = {1: "3-------", 2: "4---1---", 3: "-354---1", 4: "-464-542", 5: "-3-----1", 6: "-4--5--2"}
    events = (PUT, OVERWRITE, PUSH_WORKS, PUSH_FAILS, RETRY_SKIPS, RETRY_WORKS, RETRY_FAILS, DELETE)
    cells = {
        (state, event): int(after)
        for state, row in rows.items()
        for event, after in zip(events, row, strict=True)
        if after != "-"
    }
    assert cells == TABLE


@pytest.mark.parametrize("mark", ["metadata", "tag"])
@pytest.mark.parametrize(("state", "event"), TABLE, ids=lambda value: str(value).replace(" ", "_"))
def test_each_event_leads_to_the_state_in_the_table(
    flow_of: Callable[[str], Flow], mark: str, state: int, event: str
) -> None:
    """From every state, every event that can happen there leads where the table says, and no further event is needed
    to bring the newest bytes to the partner than the held retry, or one more run."""
    flow, key = flow_of(mark), KEYS[1]
    for number, before in enumerate(REACH[state]):
        happens(flow, key, before, b"version %d" % number)
    assert flow.state(key) == state
    happens(flow, key, event, b"newest")
    assert flow.state(key) == TABLE[state, event]
    for task in tuple(flow.held):
        assert flow.attempt(task)
    for unsynced in flow.unsynced():
        flow.push(unsynced)
    if flow.exists(key):
        assert flow.state(key) == 5
        assert flow.arrived(key) == flow.s3.objects(flow.bucket)[key]
    else:
        assert flow.state(key) == 1


# ------------------------------------------------------------------------------------------------- the state machine

REACHED: Counter[tuple[int, str]] = Counter()
"""How often the state machine has come by each cell of the table."""
FAILURES: Counter[str] = Counter()
"""How often an object was not pushed, by what was wrong with the partner."""

PARTNERS = st.sampled_from(["well", "down", "dying", "cutting", "choosy"])
BODIES = st.sampled_from(["new", "same as ever", "empty", "large"])


class RetryTable(RuleBasedStateMachine):
    """Several objects and several held tasks at once. The model is what ought to be; the flow is what is."""

    flow: Flow

    def __init__(self) -> None:
        super().__init__()
        self.flow = self.new_flow()
        self.newest: dict[str, bytes] = {}
        self.synced: set[str] = set()
        self.arrived: dict[str, bytes] = {}
        self._bodies = itertools.count()

    def new_flow(self) -> Flow:
        raise NotImplementedError

    # --- users of the bucket

    @initialize(keys=st.sets(st.sampled_from(KEYS)))
    def begin(self, keys: set[str]) -> None:
        """Some objects are there before the flow is first run."""
        for key in sorted(keys):
            self.store(key, "new")

    @rule(key=st.sampled_from(KEYS), body=BODIES)
    def store(self, key: str, body: str) -> None:
        """Somebody puts an object, new or over an old one."""
        event = OVERWRITE if key in self.newest else PUT
        with self.cells({key: event}):
            self.newest[key] = self.body(body)
            self.synced.discard(key)
            self.flow.put(key, self.newest[key])

    @precondition(lambda self: self.newest)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """Somebody deletes an object."""
        key = data.draw(st.sampled_from(sorted(self.newest)))
        with self.cells({key: DELETE}):
            del self.newest[key]
            self.synced.discard(key)
            self.flow.delete(key)

    # --- the flow

    @precondition(lambda self: self.newest)
    @rule(key=st.sampled_from(KEYS), partner=PARTNERS)
    def push_event(self, key: str, partner: str) -> None:
        """A run pushes one object, as the S3 event of its arrival made sftp-lambda do."""
        self.partner_becomes(partner)
        self.run([key])

    @precondition(lambda self: self.newest.keys() - self.synced)
    @rule(partner=PARTNERS)
    def run_flow(self, partner: str) -> None:
        """A run of the flow: it lists what is unsynced, and pushes that in one task."""
        self.partner_becomes(partner)
        keys = self.flow.unsynced()
        assert keys == sorted(self.newest.keys() - self.synced)
        self.run(keys)

    @precondition(lambda self: self.flow.held)
    @rule(data=st.data(), partner=PARTNERS)
    def retry(self, data: st.DataObject, partner: str) -> None:
        """A held task has its next try."""
        self.partner_becomes(partner)
        task = self.flow.held[data.draw(st.integers(0, len(self.flow.held) - 1))]
        self.run(task.keys, task)

    @rule(key=st.sampled_from(KEYS), body=BODIES)
    def overwrite_during_a_push(self, key: str, body: str) -> None:
        """An object is overwritten after its bytes were sent, and before it is marked."""
        self.partner_becomes("well")
        if key not in self.newest or key in self.synced:
            self.store(key, "new")
        sent, self.newest[key] = self.newest[key], self.body(body)
        self.flow.overwrite_before_the_mark(key, self.newest[key])
        task = self.flow.push(key)
        assert task not in self.flow.held
        if self.flow.mark == "metadata":  # the mark is refused, and the new version taken at once
            self.synced.add(key)
            self.arrived[key] = self.newest[key]
        else:  # the tag names other bytes: the next run takes the new version
            self.arrived[key] = sent
            if sent == self.newest[key]:
                self.synced.add(key)

    # --- the model

    def body(self, kind: str) -> bytes:
        if kind == "new":
            return b"version %d" % next(self._bodies)
        return {"same as ever": b"same", "empty": b"", "large": b"large" * 30_000}[kind]

    def remote(self, key: str) -> str:
        return self.flow.sftp.path(self.flow.bucket, key.removeprefix(PREFIX))

    def works(self, key: str) -> bool:
        """Say whether the partner would take this object now."""
        partner = self.flow.partner
        return self.flow.is_up and not (partner.cuts or partner.dies) and self.remote(key) not in partner.refused

    def partner_becomes(self, what: str) -> None:
        """Have the server be well, or down, go down in the next file, break the line in every one, or refuse some."""
        if what == "down" and self.flow.is_up:
            self.flow.go_down()
        elif what != "down":
            self.flow.come_up()
        self.flow.partner.cuts = what == "cutting"
        self.flow.partner.dies = what == "dying"
        self.flow.partner.refused = {self.remote(key) for key in KEYS[:2]} if what == "choosy" else set()

    def trouble(self) -> str:
        """Say what is wrong with the partner."""
        if not self.flow.is_up:
            return "down"
        return "dying" if self.flow.partner.dies else "cutting" if self.flow.partner.cuts else "choosy"

    def model_state(self, key: str) -> int:
        held = any(key in task.keys for task in self.flow.held)
        return STATES[key in self.newest, key in self.synced, held]

    def run(self, keys: list[str], task: PushTask | None = None) -> None:
        """Run a new push task, or the next try of a held one, and have the model do the same."""
        events: dict[str, str] = {}
        for key in keys:
            if self.flow.is_up and (key not in self.newest or key in self.synced):
                events[key] = RETRY_SKIPS if task else PUSH_SKIPS
            elif self.works(key):
                events[key] = RETRY_WORKS if task else PUSH_WORKS
            else:
                events[key] = RETRY_FAILS if task else PUSH_FAILS
                FAILURES[self.trouble()] += 1
        works = [key for key, event in events.items() if event in (PUSH_WORKS, RETRY_WORKS)]
        fails = not {PUSH_FAILS, RETRY_FAILS}.isdisjoint(events.values())
        # With more keys in a task, or more tasks with a key, an object's state depends on what becomes of the others.
        others = {key for other in self.flow.held if other is not task for key in other.keys}
        simple = len(keys) == 1 and (not task or keys[0] not in others)
        with self.cells(events if simple else {}):
            for key in works:
                self.synced.add(key)
                self.arrived[key] = self.newest[key]
            if task:
                self.flow.attempt(task)
            else:
                task = self.flow.push(*keys)
        if self.flow.partner.dies:
            self.partner_becomes("down")
        assert (task in self.flow.held) == fails
        assert task.transferred == len(works)

    @contextmanager
    def cells(self, events: dict[str, str]) -> Iterator[None]:
        """Hold what happens in the block to the table's cells for these events."""
        before = {key: self.model_state(key) for key in events}
        yield
        for key, event in events.items():
            cell = before[key], event
            if cell in TABLE:
                assert self.model_state(key) == TABLE[cell], cell
                REACHED[cell] += 1
            else:  # no cell of the table: a push of what is pushed or gone, or a retry that cannot even log in
                assert event in (PUSH_SKIPS, PUSH_FAILS, RETRY_FAILS), cell

    @invariant()
    def the_model_and_the_world_agree(self) -> None:
        """Every object is in its state, and the partner has what was pushed to it, whole."""
        for key in KEYS:
            assert self.flow.state(key) == self.model_state(key), key
            assert self.flow.arrived(key) == self.arrived.get(key), key
            if key in self.synced:
                assert self.arrived[key] == self.newest[key], key

    def teardown(self) -> None:
        """Once the partner is well again, the held retries and one more run bring everything there."""
        self.partner_becomes("well")
        for task in tuple(self.flow.held):
            assert self.flow.attempt(task)
        assert not self.flow.held
        if keys := self.flow.unsynced():
            assert self.flow.push(*keys) not in self.flow.held
        stored = self.flow.s3.objects(self.flow.bucket)
        assert stored == self.newest
        for key in KEYS:
            assert self.flow.state(key) == (5 if key in stored else 1)
            if key in stored:
                assert self.flow.arrived(key) == stored[key]
        assert not self.flow.unfinished()
        self.flow.client.close()


@pytest.mark.parametrize("examples", [2, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mark", ["metadata", "tag"])
def test_no_order_of_events_leads_out_of_the_table(flow_of: Callable[[str], Flow], mark: str, examples: int) -> None:
    """Whatever happens to several objects in whatever order, each is in the state that the table says, and in the end
    the partner has the newest bytes of all of them."""

    class Machine(RetryTable):
        def new_flow(self) -> Flow:
            return flow_of(mark)

    wanted = int(os.environ.get("RETRY_TABLE_EXAMPLES", 0))
    REACHED.clear()
    FAILURES.clear()
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=wanted or examples,
            stateful_step_count=20,
            derandomize=not wanted,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    # Not all cells: which ones so few examples come by is hypothesis's choice. The test above goes through each.
    if examples < 10:
        return
    assert len(REACHED) >= len(TABLE) * 2 // 3, TABLE.keys() - REACHED.keys()
    assert FAILURES.keys() == {"down", "dying", "cutting", "choosy"}


# -------------------------------------------------------------------------------------------- Airflow does the retries


@dataclass(frozen=True)
class Story:
    """What happens to an object between the tries of the Airflow task that pushes it."""

    between: tuple[tuple[str, ...], ...]
    """The events after each failed try. ``up``: the server comes up. ``another run``: one that pushes the object."""
    states: tuple[int, ...]
    """The state after each event of the table, the failed tries among them."""
    end: dict[str, Any]
    """What stands in the report of the last try."""


TRANSFERRED = {"transferred": 1, "skipped": {}}
STORIES = {
    "works at once": Story((), (3, 5), TRANSFERRED),
    "works at its retry": Story((("up",),), (3, 4, 5), TRANSFERRED),
    "fails again": Story(((), ("up",)), (3, 4, 4, 5), TRANSFERRED),
    "overwritten": Story(((OVERWRITE, "up"),), (3, 4, 4, 5), TRANSFERRED),
    "deleted": Story(((DELETE, "up"),), (3, 4, 2, 1), {"transferred": 0, "skipped": {"deleted": 1}}),
    "deleted and put again": Story(((DELETE, PUT, "up"),), (3, 4, 2, 4, 5), TRANSFERRED),
    "pushed by another run": Story(
        (("up", "another run"),), (3, 4, 6, 5), {"transferred": 0, "skipped": {"synced": 1}}
    ),
    "pushed by another run and overwritten": Story((("up", "another run", OVERWRITE),), (3, 4, 6, 4, 5), TRANSFERRED),
    "pushed by another run and deleted": Story(
        (("up", "another run", DELETE),), (3, 4, 6, 2, 1), {"transferred": 0, "skipped": {"deleted": 1}}
    ),
}


def push_dag(flow: Flow, **push: Any) -> Any:
    """Return a Dag that lists what is unsynced and pushes it in mapped tasks, as a flow's does."""
    from airflow_provider_sftp_s3._compat import DAG

    places: dict[str, Any] = {"s3_bucket": flow.bucket, "s3_prefix": PREFIX, "mark": flow.mark}
    with DAG(f"retry_{flow.bucket}_{next(flow._runs)}", schedule=None, start_date=datetime(2024, 1, 1)) as dag:
        batches = S3ListUnsyncedOperator(task_id="list", batch_files=2, **places)
        S3ToSftpOperator.partial(
            task_id="push",
            **places,
            sftp_path=flow.sftp.path(flow.bucket),
            options={"conn_timeout": 0.2},
            retry_delay=timedelta(0),
            **push,
        ).expand(s3_keys=batches.output)
    return dag


@pytest.mark.parametrize("mark", ["metadata", pytest.param("tag", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", STORIES)
def test_airflow_retries_go_through_the_table(flow_of: Callable[[str], Flow], mark: str, name: str) -> None:
    """A push task that Airflow itself retries walks the table's states, whatever happens to its object meanwhile."""
    story, flow, key = STORIES[name], flow_of(mark), KEYS[1]
    flow.put(key, b"first")
    states = [flow.state(key)]
    between = iter(story.between)

    def is_up_for_retry(context: Any) -> None:
        flow.held[:] = [PushTask([key], "the task that Airflow holds")]
        states.append(flow.state(key))
        for event in next(between):
            if event == "up":
                flow.come_up()
                continue
            if event == "another run":
                flow.push(key)
            elif event == DELETE:
                flow.delete(key)
            else:
                flow.put(key, b"newest")
            states.append(flow.state(key))

    if story.between:
        flow.go_down()
    state, instances = run_dag(push_dag(flow, retries=5, on_retry_callback=is_up_for_retry))
    flow.held.clear()
    states.append(flow.state(key))
    pushed = instances["push", 0]
    assert (state, pushed.state) == ("success", "success")
    assert pushed.try_number == len(story.between) + 1
    assert tuple(states) == story.states
    assert story.end.items() <= xcom(pushed).items()
    if flow.exists(key):
        assert flow.arrived(key) == flow.s3.objects(flow.bucket)[key]


def test_a_retry_has_the_keys_of_its_first_try(flow_of: Callable[[str], Flow]) -> None:
    """What the queue holds is a task's own keys: an object that arrives between its tries waits for the next run."""
    flow = flow_of("metadata")
    flow.put(KEYS[0], b"a")

    def is_up_for_retry(context: Any) -> None:
        flow.put(KEYS[1], b"b")
        flow.come_up()

    flow.go_down()
    state, instances = run_dag(push_dag(flow, retries=2, on_retry_callback=is_up_for_retry))
    assert state == "success"
    assert xcom(instances["list", -1]) == [[KEYS[0]]]
    assert {key: flow.state(key) for key in KEYS[:2]} == {KEYS[0]: 5, KEYS[1]: 3}
    run_dag(push_dag(flow))
    assert flow.state(KEYS[1]) == 5


def test_the_retry_pushes_only_what_its_first_try_could_not(flow_of: Callable[[str], Flow]) -> None:
    """Of a batch with one bad object the others are pushed by the first try, and skipped by the retry."""
    flow = flow_of("metadata")
    for key in KEYS[:2]:
        flow.put(key, b"x")
    flow.partner.refused = {flow.sftp.path(flow.bucket, KEYS[1].removeprefix(PREFIX))}
    states: list[int] = []

    def is_up_for_retry(context: Any) -> None:
        flow.held[:] = [PushTask(list(KEYS[:2]), "the task that Airflow holds")]
        states.extend(flow.state(key) for key in KEYS[:2])
        flow.partner.refused.clear()

    state, instances = run_dag(push_dag(flow, retries=1, on_retry_callback=is_up_for_retry))
    flow.held.clear()
    assert state == "success"
    assert states == [6, 4]
    assert xcom(instances["push", 0])["skipped"] == {"synced": 1}
    assert [flow.state(key) for key in KEYS[:2]] == [5, 5]


@pytest.mark.parametrize("mark", ["metadata", "tag"])
def test_when_the_retries_are_used_up_the_next_run_takes_over(flow_of: Callable[[str], Flow], mark: str) -> None:
    """A task that has failed for good holds and marks nothing: the next run pushes its objects."""
    flow = flow_of(mark)
    for key in KEYS:
        flow.put(key, key.encode())
    flow.go_down()
    state, instances = run_dag(push_dag(flow, retries=1))
    assert state == "failed"
    assert {(ti.state, ti.try_number) for (task, _), ti in instances.items() if task == "push"} == {("failed", 2)}
    assert [flow.state(key) for key in KEYS] == [3, 3, 3]
    flow.come_up()
    state, instances = run_dag(push_dag(flow, retries=1))
    assert state == "success"
    assert sorted(key for batch in xcom(instances["list", -1]) for key in batch) == sorted(KEYS)
    assert [flow.state(key) for key in KEYS] == [5, 5, 5]
    assert [flow.arrived(key) for key in KEYS] == [key.encode() for key in KEYS]
