"""The Dags of flows, run as Airflow runs them, against an SFTP server and an S3 API."""

from __future__ import annotations

import threading
import time
import uuid
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3 import flows
from airflow_provider_sftp_s3._compat import AIRFLOW_2, BaseNotifier
from tests.support import trees
from tests.support.airflow_env import airflow_connections, run_dag, warnings_of_ours_only, xcom
from tests.support.faulty_sftp import RENAMES, RefusesFirstTries
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("default_connections")]

PUSH_TASKS = ("wait_for_objects", "list_unsynced", "push", "update_asset")
A_DAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def incoming(sftp_server: AsyncsshServer) -> Path:
    """The directory that pushes go to, as it lies on this machine."""
    directory = sftp_server.local("/incoming")
    directory.mkdir()
    return directory


def run_flow(
    direction: str, bucket: str, *, at: datetime | None = None, run_conf: dict[str, Any] | None = None, **fields: Any
) -> tuple[str, dict[Any, Any]]:
    """Run a flow's Dag once, `at` a logical date (now), `run_conf` in its form; each run is of a Dag of its own."""
    flow = {"name": f"flow_{uuid.uuid4().hex}", "direction": direction, "s3_bucket": bucket, "retries": 0, **fields}
    with warnings_of_ours_only():
        dag = flows.flow_dag(flow)
    when = at or datetime.now(UTC)
    return run_dag(
        dag, logical_date=when, execution_date=when, run_conf=run_conf
    )  # the second is its name on Airflow 2


def states(instances: dict[Any, Any]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for (task_id, _), instance in instances.items():
        found.setdefault(task_id, set()).add(str(getattr(instance.state, "value", instance.state)))
    return found


def put(s3: S3Server, bucket: str, **objects: bytes) -> None:
    with_slashes = {key.replace("__", "/"): body for key, body in objects.items()}
    client = s3.client()
    for key, body in with_slashes.items():
        client.put_object(Bucket=bucket, Key=key, Body=body)
    client.close()


def test_done_files_are_kept_by_the_dag_runs_day(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """In UTC, whenever it runs."""
    tree = sftp_server.local("/outgoing")
    for day in (30, 31):
        trees.put(tree, {"a.csv": f"{day}".encode()})
        state, _ = run_flow(
            "pull",
            bucket,
            at=datetime(2026, 1, day, 23, 30, tzinfo=timezone(timedelta(hours=-1))),
            sftp_path="/outgoing",
            min_age="0",
            done_dir=".done/{date}",
        )
        assert state == "success"
    assert trees.tree(tree) == {".done/2026-01-31/a.csv": b"30", ".done/2026-02-01/a.csv": b"31"}


def test_a_pull_flow_moves_a_tree_into_the_bucket(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    tree = sftp_server.local("/outgoing")
    (tree / "sub").mkdir(parents=True)
    (tree / "a.csv").write_bytes(b"one")
    (tree / "sub" / "b.csv").write_bytes(b"two")
    (tree / "c.tmp").write_bytes(b"not yet")

    state, tasks = run_flow(
        "pull", bucket, sftp_path="/outgoing", s3_prefix="in", include="*.csv", min_age="0", schedule="@hourly"
    )

    assert state == "success"
    assert s3.objects(bucket) == {"in/a.csv": b"one", "in/sub/b.csv": b"two"}
    assert trees.tree(tree) == {".done/a.csv": b"one", "sub/.done/b.csv": b"two", "c.tmp": b"not yet"}
    assert xcom(tasks["pull", 0])["transferred"] == 2


def test_a_pull_flow_with_parallelism_shares_the_tree_among_its_tasks(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    tree = sftp_server.local("/outgoing")
    (tree / "sub").mkdir(parents=True)
    content = {name: name.encode() for name in ("a", "b", "sub/c", "sub/{{ ds }}", "sub/ü 1", "f", "g", "h")}
    for name, body in content.items():
        (tree / name).write_bytes(body)

    state, tasks = run_flow("pull", bucket, sftp_path="/outgoing", parallelism=3, min_age=0)

    assert state == "success"
    assert s3.objects(bucket) == content
    reports = {tasks["pull", index].rendered_map_index: xcom(tasks["pull", index]) for index in range(3)}
    assert sorted(reports) == ["1/3", "2/3", "3/3"]
    assert sum(report["transferred"] for report in reports.values()) == len(content)
    assert all(report["transferred"] for report in reports.values())


@pytest.mark.parametrize(
    "then",
    [
        {"mark": "metadata"},
        pytest.param({"mark": "tag"}, marks=pytest.mark.slow),
        pytest.param({"after_transfer": "delete"}, marks=pytest.mark.slow),
        pytest.param({"after_transfer": "move", "sent_prefix": "sent/{{ dag.dag_id }}"}, marks=pytest.mark.slow),
    ],
    ids=["metadata", "tag", "delete", "move"],
)
def test_a_push_flow_pushes_what_is_unsynced_and_the_next_run_finds_nothing(
    s3: S3Server, bucket: str, incoming: Path, then: dict[str, str]
) -> None:
    put(s3, bucket, out__a=b"1", out__sub__b=b"2", out__c=b"3", elsewhere=b"4")
    flow: dict[str, Any] = {
        "sftp_path": "/incoming",
        "s3_prefix": "out",
        "schedule": "@continuous",
        "batch_files": 2,
        **then,
    }

    state, tasks = run_flow("push", bucket, **flow)

    assert state == "success"
    assert trees.tree(incoming) == {"a": b"1", "sub/b": b"2", "c": b"3"}
    batches = [xcom(tasks["push", index]) for index in (0, 1)]
    assert sorted(report["transferred"] for report in batches) == [1, 2]
    left = len([key for key in s3.objects(bucket) if key.startswith("out/") and ".sftp-s3/" not in key])
    assert left == (3 if "mark" in then else 0)
    assert len([key for key in s3.objects(bucket) if key.startswith("sent/")]) == (3 if "sent_prefix" in then else 0)

    state, tasks = run_flow("push", bucket, wait_timeout=0, **flow)
    assert state == "success"
    assert states(tasks) == {task: {"skipped"} for task in (*PUSH_TASKS, "wait_after_failure")}


def test_what_came_from_one_partner_goes_to_two_others_and_not_back(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Each gets it once, by its own flow and kind of mark; a file that is new then, too."""
    partners = {name: sftp_server.airflow_connection() for name in ("partner_b", "partner_c")}
    for name in ("outgoing", "b", "c", "back"):
        sftp_server.local(f"/{name}").mkdir()
    to = {
        "b": {"sftp_conn_id": "partner_b", "mark": "metadata"},
        "c": {"sftp_conn_id": "partner_c", "destination": "c", "mark": "tag"},
        "back": {"sftp_conn_id": "sftp_default"},
    }
    brought: dict[str, bytes] = {}
    with airflow_connections(**partners):
        for name, body in (("one", b"1"), ("two", b"22")):
            (sftp_server.local("/outgoing") / name).write_bytes(body)
            brought[name] = body
            assert run_flow("pull", bucket, sftp_path="/outgoing", s3_prefix="p", min_age=0)[0] == "success"
            for _ in brought:
                for directory, fields in to.items():
                    flow: dict[str, Any] = {"sftp_path": f"/{directory}", "s3_prefix": "p", "wait_timeout": 0, **fields}
                    assert run_flow("push", bucket, **flow)[0] == "success"
                    expected = {} if directory == "back" else brought
                    assert trees.tree(sftp_server.local(f"/{directory}")) == expected
    times = [
        request.key for request in s3.requests if request.operation == "GetObject" and ".sftp-s3" not in request.key
    ]
    assert sorted(times) == ["p/one", "p/one", "p/two", "p/two"], (
        "an object was delivered twice, or to whom it came from"
    )


def test_a_push_flow_waits_until_an_object_lands(s3: S3Server, bucket: str, incoming: Path) -> None:
    timer = threading.Timer(2.5, put, [s3, bucket], {"out__late": b"here"})
    timer.start()
    try:
        state, _ = run_flow(
            "push", bucket, sftp_path="/incoming", s3_prefix="out/", poke_interval=1, schedule="@continuous"
        )
    finally:
        timer.join()
    assert state == "success"
    assert trees.tree(incoming) == {"late": b"here"}


def test_a_push_flow_takes_an_overwritten_object_again(s3: S3Server, bucket: str, incoming: Path) -> None:
    flow: dict[str, Any] = {"sftp_path": "/incoming", "wait_timeout": 0}
    put(s3, bucket, a=b"old")
    run_flow("push", bucket, **flow)
    put(s3, bucket, a=b"new")
    run_flow("push", bucket, **flow)
    assert trees.tree(incoming) == {"a": b"new"}


def test_a_date_in_the_prefix_is_the_day_that_is_over(s3: S3Server, bucket: str, incoming: Path) -> None:
    """The run of a day takes that day's objects and no other's."""
    put(s3, bucket, **{"out/2026-02-28/x": b"28", "out/2026-03-01/y": b"1", "out/2026-03-02/z": b"2"})
    state, tasks = run_flow(
        "push",
        bucket,
        at=A_DAY,
        schedule="@daily",
        start_date="2026-01-01",
        catchup=True,
        sftp_path="/incoming",
        s3_prefix="out/{{ ds }}/",
        strip_regex="^out/",
    )
    assert state == "success"
    assert trees.tree(incoming) == {"2026-03-01/y": b"1"}
    assert xcom(tasks["list_unsynced", -1]) == [["out/2026-03-01/y"]]


def test_a_day_long_past_with_no_objects_ends_at_once_as_skipped(s3: S3Server, bucket: str, incoming: Path) -> None:
    put(s3, bucket, **{"out/2026-03-02/z": b"2"})
    started = time.monotonic()
    state, tasks = run_flow(
        "push", bucket, at=A_DAY, schedule="@daily", sftp_path="/incoming", s3_prefix="out/{{ ds }}/", wait_timeout="7d"
    )
    assert state == "success"
    assert states(tasks) == {task: {"skipped"} for task in PUSH_TASKS}
    assert time.monotonic() - started < 1800


def test_excluded_objects_and_folder_markers_ring_no_bell(s3: S3Server, bucket: str, incoming: Path) -> None:
    """Or a `@continuous` flow would start run after run over them."""
    put(s3, bucket, **{"out/": b"", "out/sub/": b"", "out/a.tmp": b"1"})
    _, tasks = run_flow("push", bucket, sftp_path="/incoming", s3_prefix="out", exclude="*.tmp", wait_timeout=0)
    assert states(tasks)["wait_for_objects"] == {"skipped"}


def test_a_bucket_that_does_not_exist_fails_at_once(s3: S3Server, incoming: Path) -> None:
    """Not after hours of retries, and not as "nothing has come"."""
    started = time.monotonic()
    state, tasks = run_flow("push", "no-such-bucket", sftp_path="/incoming", retries=5, retry_delay="1h")
    assert state == "failed"
    assert states(tasks)["wait_for_objects"] == {"failed"}
    assert tasks["wait_for_objects", -1].try_number == 1
    assert time.monotonic() - started < 1800


def test_a_failed_push_is_tried_again_with_its_keys(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, incoming: Path
) -> None:
    put(s3, bucket, a=b"1", b=b"2")
    sftp_server.fault = RefusesFirstTries(("OPEN",))
    state, tasks = run_flow("push", bucket, sftp_path="/incoming", retries=5, retry_delay=1)
    assert state == "success"
    assert tasks["push", 0].try_number == 2
    assert trees.tree(incoming) == {"a": b"1", "b": b"2"}


def test_objects_that_can_never_go_hold_nobody_up(
    s3: S3Server, bucket: str, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their task fails at once, in its first try, with all others pushed; and they ring for nobody before the end."""
    monkeypatch.setattr("airflow_provider_sftp_s3.flows.dag.FAILURE_POKES", 1)
    never = ["0" * 300, "00//x", "../up"]
    put(s3, bucket, a=b"1", z=b"2", **dict.fromkeys(never, b"never"))
    flow: dict[str, Any] = {"sftp_path": "/incoming", "retries": 5, "retry_delay": "1h", "schedule": "@continuous"}
    flow["poke_interval"] = 1

    state, tasks = run_flow("push", bucket, max_files=2, **flow)
    assert (state, states(tasks)["push"], tasks["push", 0].try_number) == ("failed", {"failed"}, 1), (
        "said behind the cap"
    )
    assert len(xcom(tasks["push", 0], "report")["failures"]) == 3
    assert trees.tree(incoming) == {"a": b"1", "z": b"2"}, "max_files are those that can go"

    put(s3, bucket, m=b"3")
    state, tasks = run_flow("push", bucket, **flow)
    assert (state, states(tasks)["push"], tasks["push", 0].try_number) == ("failed", {"failed"}, 1)
    assert trees.tree(incoming) == {"a": b"1", "m": b"3", "z": b"2"}
    assert len(xcom(tasks["push", 0], "report")["failures"]) == 3

    timer = threading.Timer(2.5, put, [s3, bucket], {"late": b"here"})
    timer.start()
    try:
        started = time.monotonic()
        state, tasks = run_flow("push", bucket, **flow)
    finally:
        timer.join()
    assert time.monotonic() - started > 2
    assert trees.tree(incoming) == {"a": b"1", "m": b"3", "z": b"2", "late": b"here"}

    state, tasks = run_flow("push", bucket, wait_timeout=0, **flow)
    assert (state, states(tasks)["push"]) == ("failed", {"failed"}), "not green over what it has left behind"


def test_what_the_server_refuses_does_not_starve_others_of_a_cap(
    s3: S3Server, bucket: str, incoming: Path, sftp_server: AsyncsshServer
) -> None:
    """However many stand before them in the listing, and in each run."""
    put(s3, bucket, **{f"0/{number}": b"never" for number in range(3)}, z=b"1")
    (incoming / "0").write_bytes(b"a file where a directory is to be")
    state, tasks = run_flow("push", bucket, sftp_path="/incoming", max_files=1, retries=0)
    assert (state, xcom(tasks["push", 0], "report")["failed"]) == ("failed", 3)
    assert (incoming / "z").read_bytes() == b"1"


def test_a_continuous_flow_that_has_failed_goes_on_with_what_is_new(
    s3: S3Server, bucket: str, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with nothing else for a while: what fails would fail again and again, and somebody be told each time."""
    put(s3, bucket, **{"0/a": b"never", "0/b": b"never", "z": b"1"})
    (incoming / "0").write_bytes(b"a file where a directory is to be")
    flow: dict[str, Any] = {"schedule": "@continuous", "poke_interval": 1}

    def run(sftp_path: str) -> tuple[str, set[str], float]:
        started = time.monotonic()
        state, tasks = run_flow("push", bucket, sftp_path=sftp_path, **flow)
        return state, states(tasks)["wait_after_failure"], time.monotonic() - started

    looks: list[S3Request] = []

    @s3.before
    def come_at_the_third_look_after_the_push(request: S3Request) -> None:
        if request.operation == "ListObjectsV2" and "max-keys" not in request.query and (incoming / "z").exists():
            looks.append(request)
            if len(looks) == 3:
                put(s3, bucket, late=b"here")

    monkeypatch.setattr("airflow_provider_sftp_s3.flows.dag.FAILURE_POKES", 600)
    state, held_back, _ = run("/incoming")
    assert (state, held_back) == ("failed", {"success"})
    assert 3 <= len(looks) < 10
    assert (incoming / "z").read_bytes() == b"1"

    monkeypatch.setattr("airflow_provider_sftp_s3.flows.dag.FAILURE_POKES", 4)
    for sftp_path, says in (("/incoming", "nothing else is there"), ("/incomin", "a wrong setting lets nothing go")):
        if sftp_path == "/incomin":
            put(s3, bucket, more=b"2")
        state, held_back, seconds = run(sftp_path)
        assert (state, held_back) == ("failed", {"success"}), says
        assert seconds > 4, says
    (incoming / "0").unlink()
    state, held_back, _ = run("/incoming")
    assert (state, held_back) == ("success", {"skipped"})
    assert trees.tree(incoming) == {"0/a": b"never", "0/b": b"never", "z": b"1", "late": b"here", "more": b"2"}


def test_two_keys_that_come_to_one_path_in_two_batches_are_one_batchs(
    s3: S3Server, bucket: str, incoming: Path
) -> None:
    """There the second fails; else it would be written over the first, and both would count as pushed."""
    put(s3, bucket, **{"a/x": b"first", "a/y": b"1", "b/w": b"2", "b/x": b"second", "b/z": b"3"})
    state, tasks = run_flow("push", bucket, sftp_path="/incoming", strip_regex="^[ab]/", batch_files=2, parallelism=4)
    assert state == "failed"
    assert trees.tree(incoming) == {"x": b"first", "y": b"1", "w": b"2", "z": b"3"}
    (failed,) = [task for (name, _), task in tasks.items() if name == "push" and task.state == "failed"]
    (failure,) = xcom(failed, "report")["failures"]
    assert failure["source"].endswith("/b/x")
    assert "strip_regex makes the same path of this key and of 'a/x'" in failure["error"]


def test_what_is_last_goes_in_one_task_with_all_that_it_waits_for(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, incoming: Path
) -> None:
    """Though the batches be smaller; in the try in which the last of them goes."""
    put(s3, bucket, **{"out/a/1": b"1", "out/a/_SUCCESS": b"", "out/a/b/2": b"2", "out/a/b/3": b"3", "out/z": b"4"})
    sftp_server.fault = RefusesFirstTries(RENAMES, lambda path: path.endswith("/2"))
    flow: dict[str, Any] = {"sftp_path": "/incoming", "s3_prefix": "out", "retries": 5, "retry_delay": 1}
    state, tasks = run_flow("push", bucket, last="_SUCCESS", batch_files=1, **flow)
    assert state == "success"
    pushes = {index: task.try_number for (name, index), task in tasks.items() if name == "push"}
    assert pushes == {0: 2, 1: 1}
    assert set(trees.tree(incoming)) == {"a/1", "a/b/2", "a/b/3", "a/_SUCCESS", "z"}


def test_names_made_of_mtimes_are_told_apart_by_those_of_pulled_objects(
    s3: S3Server, bucket: str, incoming: Path
) -> None:
    client = s3.client()
    for key, mtime in (("a/x", "1000000000"), ("b/x", "1000000000"), ("c/x", "1100000000")):
        client.put_object(Bucket=bucket, Key=key, Body=key.encode(), Metadata={"mtime": mtime})
    client.close()
    state, _ = run_flow(
        "push", bucket, sftp_path="/incoming", rename_to="{name}.{mtime}", batch_files=1, mark="none", schedule=None
    )
    assert state == "failed"
    assert trees.tree(incoming) == {"x.1000000000": b"a/x", "x.1100000000": b"c/x"}


def test_a_name_that_no_database_takes_is_left_out_by_itself(s3: S3Server, bucket: str) -> None:
    """PostgreSQL refuses a whole list for a NUL in it, or for half a character."""
    from airflow_provider_sftp_s3.operators.s3_unsynced import unsynced_batches

    put(s3, bucket, good=b"1")
    selection = {"s3_keys": ["half \ud800", "nul \0", "tab \t", "good"]}
    assert unsynced_batches(s3_bucket=bucket, selection=selection) == [["good", "tab \t"]]


def test_a_cap_holds_for_the_run_and_the_rest_waits_for_the_next(s3: S3Server, bucket: str, incoming: Path) -> None:
    put(s3, bucket, a=b"1", b=b"2", c=b"3")
    flow: dict[str, Any] = {"sftp_path": "/incoming", "max_files": 2, "batch_files": 1}
    run_flow("push", bucket, **flow)
    assert len(trees.tree(incoming)) == 2
    run_flow("push", bucket, **flow)
    assert trees.tree(incoming) == {"a": b"1", "b": b"2", "c": b"3"}


def test_a_key_that_looks_like_a_template_is_no_template(s3: S3Server, bucket: str, incoming: Path) -> None:
    put(s3, bucket, **{"{{ ds }}.csv": b"1", "[x]*.csv": b"2", "{% no %}": b"3"})
    state, _ = run_flow("push", bucket, sftp_path="/incoming")
    assert state == "success"
    assert trees.tree(incoming) == {"{{ ds }}.csv": b"1", "[x]*.csv": b"2", "{% no %}": b"3"}


def test_a_prefix_with_brackets_is_a_name_and_no_pattern(s3: S3Server, bucket: str, incoming: Path) -> None:
    put(s3, bucket, **{"out[1]/a": b"1", "out1/b": b"2"})
    run_flow("push", bucket, sftp_path="/incoming", s3_prefix="out[1]/")
    assert trees.tree(incoming) == {"a": b"1"}


class Told(BaseNotifier):
    """A notifier that keeps what it has sent."""

    template_fields = ("message",)
    sent: list[str] = []  # noqa: RUF012 - that is what it is for

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message

    def notify(self, context: Any) -> None:
        self.sent.append(self.message)


def test_airflows_own_fields_hold_in_a_run_and_who_is_to_be_told_is_told(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, incoming: Path
) -> None:
    """Of each mapped task of a push: of its retry, and of its end."""
    put(s3, bucket, a=b"1", b=b"2")
    sftp_server.fault = RefusesFirstTries(("OPEN",))
    Told.sent.clear()
    told = {f"{__name__}.Told": {"message": "{{ ti.task_id }} {{ ti.try_number }}"}}
    state, tasks = run_flow(
        "push",
        bucket,
        sftp_path="/incoming",
        retries=3,
        retry_delay=1,
        max_retry_delay=1,
        owner="data platform",
        priority_weight=7,
        execution_timeout="10m",
        dagrun_timeout="2h",
        notify={"on_retry": [told], "on_success": [told]},
        timezone="Europe/Berlin",
        schedule="@daily",
        description="to a partner",
    )
    assert state == "success"
    assert trees.tree(incoming) == {"a": b"1", "b": b"2"}
    pushed = tasks["push", 0]
    assert (pushed.try_number, pushed.priority_weight) == (2, 2 * 7), "that of the task after it counts, too"
    assert [message for message in Told.sent if message.startswith("push")] == ["push 1", "push 2"]


def test_the_trigger_form_says_what_one_run_takes(s3: S3Server, bucket: str, incoming: Path) -> None:
    """In a push, of what is listed as well as of what is pushed."""
    put(s3, bucket, **{"a.csv": b"1", "b.csv": b"2", "c.csv": b"3", "d.xml": b"4"})
    form = {"include": ["*.csv", "*.txt"], "max_files": 2}
    state, tasks = run_flow("push", bucket, sftp_path="/incoming", run_conf=form)
    assert state == "success"
    listed = xcom(tasks["list_unsynced", -1] if not AIRFLOW_2 else tasks["wait_for_objects", -1])
    assert listed == [["a.csv", "b.csv", "c.csv"]], "one more, for where the server refuses another"
    assert sorted(trees.tree(incoming)) == ["a.csv", "b.csv"]
    run_flow("push", bucket, sftp_path="/incoming", include="*.csv", max_files=1)
    assert sorted(trees.tree(incoming)) == ["a.csv", "b.csv", "c.csv"]


def test_numbers_and_choices_may_be_templates(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    tree = sftp_server.local("/outgoing")
    tree.mkdir()
    for name in ("a", "b"):
        (tree / name).write_bytes(b"1")
    state, _ = run_flow(
        "pull",
        bucket,
        sftp_path="/outgoing",
        min_age="{{ 0 }}s",
        max_files="{{ 1 }}",
        max_bytes="{{ 10 }} MB",
        after_transfer="{{ 'move' }}",
        done_dir="{{ '.got' }}",
        retention="{{ 7 }}d",
    )
    assert state == "success"
    assert sorted(trees.tree(tree)) in [[".got/a", "b"], [".got/b", "a"]]


def test_a_list_of_keys_is_cut_by_its_bytes(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are in XCom, where an emoji is twelve; the rest waits for the next run."""
    from airflow_provider_sftp_s3.operators import s3_unsynced

    put(s3, bucket, **{f"{number}😀": b"1" for number in range(4)})
    monkeypatch.setattr(s3_unsynced, "MAX_BYTES", 2 * len('"0\\ud83d\\ude00", '))
    assert s3_unsynced.unsynced_batches(s3_bucket=bucket, selection={}, batch_files=1) == [["0😀"], ["1😀"]]
