"""`expected_files` of a flow: a Dag of its own that fails with what is missing."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from airflow_provider_sftp_s3._compat import AirflowFailException, AirflowSkipException
from airflow_provider_sftp_s3.flows.expected import SUFFIX, build_expected, schedule_of, static_prefix
from airflow_provider_sftp_s3.flows.file import load_flows
from airflow_provider_sftp_s3.flows.settings import FlowError, parse_flow
from airflow_provider_sftp_s3.operators.expected_files import ExpectedFilesOperator
from tests.support.airflow_env import airflow_connections, run_dag, warnings_of_ours_only, xcom
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.integration

FLOW = {"name": "in", "direction": "pull", "sftp_path": "/out", "s3_bucket": "a-bucket", "s3_prefix": "in/"}


def expecting(*several: dict[str, Any], **more: Any) -> dict[str, Any]:
    return parse_flow(FLOW | {"expected_files": list(several)} | more)


# -- What may be written -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "says"),
    [
        ([], "a list of"),
        ("orders_*.csv", "a list of"),
        ({"files": "a"}, "by is missing"),
        ({"by": "06:00"}, "files is missing"),
        ({"files": "a", "by": "6 am"}, "by is a time such as '06:00', not '6 am'"),
        ({"files": "a", "by": "24:00"}, "by is a time"),
        ({"files": "a", "by": "06:00", "days": "weekdays"}, "days are such as mon-fri"),
        ({"files": "a", "by": "06:00", "days": ""}, "days are such as mon-fri or mon,thu, not ''"),
        ({"files": "a", "by": "06:00", "at_least": 0}, "at_least"),
        ({"files": "a", "by": "06:00", "at_least": "some"}, "at_least is a whole number above 0"),
        ({"files": "a", "by": "06:00", "until": "07:00"}, "there is no 'until'"),
    ],
)
def test_what_is_not_allowed_is_said(expected: Any, says: str) -> None:
    with pytest.raises(FlowError, match=r"expected_files: .*") as refused:
        parse_flow(FLOW | {"expected_files": expected})
    assert says in str(refused.value)


def test_what_takes_away_cannot_be_counted() -> None:
    push = {"name": "o", "direction": "push", "sftp_path": "/in", "s3_bucket": "a-bucket", "s3_prefix": "out/"}
    expected = {"expected_files": [{"files": "*", "by": "06:00"}]}
    with pytest.raises(FlowError, match="expected_files: what is moved or deleted"):
        parse_flow(push | expected | {"after_transfer": "delete"})
    assert parse_flow(push | expected)
    with pytest.raises(FlowError, match=r"expected_files: .*a shorter name"):
        parse_flow(push | expected | {"name": "n" * 242})


def test_the_schedule_has_all_times() -> None:
    flow = expecting({"files": "a", "by": "06:00", "days": "mon-fri"})
    assert schedule_of(flow["expected_files"]) == "0 6 * * mon-fri"
    flow = expecting({"files": "a", "by": "6:00", "days": "mon-fri"}, {"files": "b", "by": "18:30"})
    assert schedule_of(flow["expected_files"]) == "0,30 6,18 * * *"
    flow = expecting({"files": "a", "by": "06:00", "days": 0})
    assert schedule_of(flow["expected_files"]) == "0 6 * * 0", "sundays"


@pytest.mark.parametrize(
    ("prefix", "static"),
    [
        ("in/", "in/"),
        ("in/{{ ds }}/", "in/"),
        ("in/day={{ ds }}", "in/"),
        ("{{ ds }}/x", ""),
        ("a/b/{% if x %}c{% endif %}", "a/b/"),
    ],
)
def test_a_prefix_with_a_template_is_looked_at_above_it(prefix: str, static: str) -> None:
    assert static_prefix(prefix) == static


# -- The Dag -----------------------------------------------------------------------------------------------------------

YAML = """
- name: orders
  direction: pull
  sftp_path: /out
  s3_bucket: a-bucket
  s3_prefix: in/
  timezone: Europe/Berlin
  pool: partner
  expected_files:
  - {files: "orders_*.csv", at_least: 2, by: 06:00, days: mon-fri}
  - {files: "*.ok", by: 08:30}
"""


def test_it_is_a_dag_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the flow's own settings for tasks; asked for by its name, it is the only one that is made."""
    from airflow_provider_sftp_s3.flows import file

    (tmp_path / "flows.yaml").write_text(YAML)
    with warnings_of_ours_only():
        dags = load_flows(tmp_path / "flows.yaml").dags
    assert list(dags) == ["orders", "orders_expected"]
    first, second = dags["orders_expected"].tasks
    assert (first.files, first.at_least, first.cron) == ("orders_*.csv", 2, "0 6 * * mon-fri")
    assert (second.s3_prefix, second.timezone, second.pool, second.retries) == ("in/", "Europe/Berlin", "partner", 7)
    assert '"orders_*.csv"' in dags["orders_expected"].doc_md
    assert "sftp-s3" in dags["orders_expected"].tags
    for name in dags:
        monkeypatch.setattr(file, "get_parsing_context", lambda name=name: SimpleNamespace(dag_id=name))
        with warnings_of_ours_only():
            assert list(load_flows(tmp_path / "flows.yaml").dags) == [name]


@pytest.mark.parametrize("order", [1, -1])
def test_no_other_flow_has_its_name(tmp_path: Path, order: int) -> None:
    other = "- {name: Orders_expected, direction: pull, sftp_path: /o2, s3_bucket: a-bucket, s3_prefix: in2/}\n"
    (tmp_path / "flows.yaml").write_text("".join([YAML, other][::order]))
    with warnings_of_ours_only():
        flows = load_flows(tmp_path / "flows.yaml")
    assert len(flows.errors) == 1
    assert "a flow above has it, but for upper and lower case" in str(flows.error)


# -- What it looks at --------------------------------------------------------------------------------------------------


def times(cron: str, end: datetime, start: datetime | None = None, run_type: str = "scheduled") -> Any:
    """Return since when a run looks, and by when, as text in the task's own time."""
    with warnings_of_ours_only():
        task = ExpectedFilesOperator(task_id="e", s3_bucket="a-bucket", files="*", cron=cron, timezone="Europe/Berlin")
    run = SimpleNamespace(run_type=run_type, start_date=end)
    return [
        f"{each:%a %d %H:%M}"
        for each in task._times({"dag_run": run, "data_interval_start": start, "data_interval_end": end})
    ]


def test_it_looks_back_to_the_time_before() -> None:
    """Over the weekend, where that is none of its days; a run that is late looks at the same time."""
    monday = datetime(2026, 2, 2, 5, 0, tzinfo=UTC)  # 06:00 in Berlin
    assert times("0 6 * * mon-fri", monday, monday - timedelta(days=3)) == ["Fri 30 06:00", "Mon 02 06:00"]
    late = monday + timedelta(minutes=7)
    assert times("0 6 * * mon-fri", late, None, "manual") == ["Fri 30 06:00", "Mon 02 06:00"]


def test_what_is_not_due_is_skipped() -> None:
    """In a run for another time of the day; not in one that was started by hand."""
    later = datetime(2026, 2, 2, 7, 30, tzinfo=UTC)
    six = later - timedelta(hours=2, minutes=30)
    with pytest.raises(AirflowSkipException, match="is due"):
        times("0 6 * * *", later, six)
    assert times("0 6 * * *", later, six, "manual") == ["Sun 01 06:00", "Mon 02 06:00"]


@pytest.mark.parametrize("day", [datetime(2026, 3, 29), datetime(2026, 10, 25)])
def test_each_time_is_due_in_one_run_though_the_clocks_change(day: datetime) -> None:
    """By Airflow's own timetable: each of the days around has one run that is not skipped."""
    from airflow.timetables.interval import CronDataIntervalTimetable

    for hour in (1, 2, 3, 6):
        timetable = CronDataIntervalTimetable(f"0,30 {hour},12 * * *", timezone="Europe/Berlin")
        start = day.replace(tzinfo=ZoneInfo("Europe/Berlin")) - timedelta(days=2)
        ends, moment = [], start.astimezone(UTC)
        for _ in range(16):
            moment = datetime.fromtimestamp(_next(timetable, moment).timestamp(), UTC)
            ends.append(moment)
        due = []
        for before, end in itertools.pairwise(ends):
            try:
                due.append(times(f"30 {hour} * * *", end, before)[1])
            except AirflowSkipException:
                continue
        days = [text.split()[1] for text in due]
        assert days == [f"{start + timedelta(days=number):%d}" for number in range(4)], (hour, due)


def _next(timetable: Any, moment: datetime) -> Any:
    import pendulum

    return timetable._get_next(pendulum.instance(moment))


@pytest.fixture
def looked(s3: S3Server, bucket: str, airflow_home: Path) -> Iterator[Any]:
    with airflow_connections(aws_default=s3.airflow_connection()):

        def look(files: str, at_least: int = 1, prefix: str = "in/", **more: Any) -> Any:
            with warnings_of_ours_only():
                task = ExpectedFilesOperator(
                    **dict[str, Any](
                        task_id="e", s3_bucket=bucket, s3_prefix=prefix, files=files, at_least=at_least, **more
                    ),
                    cron=f"0 {(datetime.now(UTC) - timedelta(hours=1)).hour} * * *",
                )
                run = SimpleNamespace(run_type="manual", start_date=datetime.now(UTC))
                return task.execute({"dag_run": run})

        yield look


def test_it_counts_what_has_come(looked: Any, s3: S3Server, bucket: str) -> None:
    """By name or by path; folder markers and what is ours are no files; what is older does not count."""
    client = s3.client()
    for key in (
        "in/orders_1.csv",
        "in/sub/orders_2.csv",
        "in/orders.txt",
        "in/x/",
        "in/.sftp-s3/orders_9.csv",
        "orders_3.csv",
    ):
        client.put_object(Bucket=bucket, Key=key, Body=b"1")
    client.close()
    assert looked("orders_*.csv", 2) == {"files": 2, "first": ["orders_1.csv", "sub/orders_2.csv"]}
    assert looked("sub/*")["files"] == 1
    assert looked("*", 3)["files"] == 3
    with pytest.raises(
        AirflowFailException,
        match=r"2 of 3 expected files 'orders_\*.csv' have come under .*: orders_1.csv, sub/orders_2.csv",
    ):
        looked("orders_*.csv", 3)
    s3.rewrite(lambda request, body: re.sub(rb"(<LastModified>)\d+", rb"\g<1>2020", body))
    with pytest.raises(AirflowFailException, match="0 of 1 expected files"):
        looked("orders_*.csv")


def test_a_listing_is_asked_for_as_the_flow_asks_for_objects(looked: Any, s3: S3Server, bucket: str) -> None:
    """A bucket whose requester pays shows nothing to others."""
    flow = expecting(
        {"files": "a", "by": "06:00"}, extra_args={"RequestPayer": "requester", "ServerSideEncryption": "AES256"}
    )
    (task,) = build_expected(flow).tasks
    assert task.extra_args == {"RequestPayer": "requester"}
    s3.requests.clear()
    with pytest.raises(AirflowFailException, match="0 of 1"):
        looked("a", extra_args=task.extra_args)
    assert {request.headers.get("x-amz-request-payer") for request in s3.requests} == {"requester"}


def test_what_is_missing_fails_at_once(s3: S3Server, bucket: str, airflow_home: Path, tmp_path: Path) -> None:
    """In its Dag, with no retries; the flow's other expectation has come."""
    client = s3.client()
    client.put_object(Bucket=bucket, Key="in/a.ok", Body=b"")
    client.close()
    name = f"orders_{uuid.uuid4().hex}"
    (tmp_path / "flows.yaml").write_text(
        YAML.replace("a-bucket", bucket).replace("orders\n", f"{name}\n").replace("  pool: partner\n", "")
    )
    with airflow_connections(aws_default=s3.airflow_connection()), warnings_of_ours_only():
        dag = load_flows(tmp_path / "flows.yaml").dags[name + SUFFIX]
        state, tasks = run_dag(dag)
    assert state == "failed"
    assert [
        (tasks[f"expected_{number}", -1].state, tasks[f"expected_{number}", -1].try_number) for number in (1, 2)
    ] == [
        ("failed", 1),
        ("success", 1),
    ]
    assert xcom(tasks["expected_2", -1]) == {"files": 1, "first": ["a.ok"]}
