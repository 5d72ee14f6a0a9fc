"""Airflow's own fields of a flow: where each lands, and when a run begins."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3._compat import BaseNotifier
from airflow_provider_sftp_s3.flows.dag import flow_dag
from airflow_provider_sftp_s3.flows.fields import FIELDS
from airflow_provider_sftp_s3.flows.file import load_flows
from airflow_provider_sftp_s3.flows.settings import FlowError
from tests.support.airflow_env import warnings_of_ours_only

pytestmark = pytest.mark.unit

PULL = {"name": "in", "direction": "pull", "sftp_path": "/outgoing", "s3_bucket": "a-bucket"}
PUSH = {"name": "out", "direction": "push", "sftp_path": "/incoming", "s3_bucket": "a-bucket"}
FLOWS = [PULL, PULL | {"parallelism": 3}, PUSH, PUSH | {"parallelism": 3}]


def problems_of(settings: Any) -> str:
    with pytest.raises(FlowError) as caught:
        flow_dag(settings)
    return str(caught.value)


class Told(BaseNotifier):  # type: ignore[misc]
    """A notifier that keeps what it has sent, rendered as Airflow renders it: in place."""

    template_fields = ("message",)
    sent: list[tuple[str, int]] = []  # noqa: RUF012 - that is what it is for

    def __init__(self, *, message: str, level: int = 0) -> None:
        super().__init__()
        self.message = message
        self.level = level

    def notify(self, context: Any) -> None:
        self.sent.append((self.message, self.level))


class Fussy(BaseNotifier):  # type: ignore[misc]
    """One that cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("no token")


TOLD = f"{__name__}.Told"


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("checksum_file", "{name}.sha1", ""),
        ("trigger_file", "ok/{name}", ": it is in the file's own directory"),
        ("rename_to", "../{name}", ": it has the segment '..'"),
        ("temp_name", "{name}.tmp", ": its last part has {id} once"),
        ("file_mode", "999", ""),
    ],
)
def test_a_value_and_what_is_allowed_are_said_once(field: str, value: str, why: str) -> None:
    """Though the engine, which judges it, says both, too."""
    said = problems_of(PUSH | {field: value})
    assert f"{field}: {value!r} is not allowed{why}" in said
    assert said.count(value) == said.count("Allowed: ") == 1
    assert "must be" not in said


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(
    ("field", "value", "attribute", "wanted"),
    [
        ("pool", "partner a", "pool", "partner a"),
        ("pool_slots", "2", "pool_slots", 2),
        ("queue", "sftp", "queue", "sftp"),
        ("priority_weight", "7", "priority_weight", 7),
        ("execution_timeout", "2h", "execution_timeout", timedelta(hours=2)),
        ("max_retry_delay", "10m", "max_retry_delay", timedelta(minutes=10)),
        ("owner", "data platform", "owner", "data platform"),
    ],
)
def test_what_is_of_a_task_lands_on_each(
    flow: dict[str, Any], field: str, value: str, attribute: str, wanted: Any
) -> None:
    """Mapped ones and the last one, too."""
    dag = flow_dag(flow | {field: value})
    assert {task.task_id: getattr(task, attribute) for task in dag.tasks} == dict.fromkeys(dag.task_ids, wanted)


@pytest.mark.parametrize("flow", FLOWS)
def test_an_executor_lands_on_each_task_and_another_one_is_refused(flow: dict[str, Any]) -> None:
    """Airflow would refuse the whole Dag file for it."""
    from airflow.executors.executor_loader import ExecutorLoader

    (configured,) = ExecutorLoader.get_executor_names()
    dag = flow_dag(flow | {"executor": configured.alias})
    assert {task.executor for task in dag.tasks} == {configured.alias}
    assert f"executor: 'Nobodys' is not allowed: this Airflow is configured with {configured.alias}. Allowed: " in (
        problems_of(flow | {"executor": "Nobodys"})
    )


@pytest.mark.parametrize("flow", FLOWS)
def test_what_is_of_the_dag_lands_there(flow: dict[str, Any]) -> None:
    own = {"description": "Orders — from A", "dagrun_timeout": "5h", "end_date": "2030-01-01", "tags": ["partner"]}
    with warnings_of_ours_only():  # Airflow 3 imports what it has deprecated
        dag = flow_dag(flow | own | {"access_control": {"Ops": ["can_read"], "Dev": {"DAG Runs": "can_create"}}})
    assert dag.description.splitlines()[0] == "Orders — from A"
    assert dag.dagrun_timeout == timedelta(hours=5)
    assert dag.end_date == datetime(2030, 1, 1, tzinfo=UTC)
    assert set(dag.tags) == {"sftp-s3", "partner"}
    assert dag.access_control == {"Ops": {"DAGs": {"can_read"}}, "Dev": {"DAG Runs": {"can_create"}}}


@pytest.mark.parametrize(
    ("base", "field", "value", "says"),
    [
        (PULL, "pool", "", "the name of an Airflow pool"),
        (PULL, "pool", ["a"], "the name of an Airflow pool"),
        (PULL, "pool_slots", "0", "a whole number from 1 to 1000"),
        (PULL, "queue", "a\nb", "the name of a queue"),
        (PULL, "priority_weight", "high", "a whole number from 1 to 1000000"),
        (PULL, "execution_timeout", "0", "1 second or more"),
        (PULL, "dagrun_timeout", "soon", "1 second or more"),
        (PULL, "owner", "", "a name of up to 250 characters"),
        (PULL, "description", "", "a text of up to 1000 characters"),
        (PULL, "timezone", "Berlin", "the name of a time zone such as Europe/Berlin"),
        (PULL, "timezone", "../etc/passwd", "the name of a time zone"),
        (PULL, "timezone", "{{ x }}", "the name of a time zone"),
        (PULL, "end_date", "never", "a date such as 2024-01-31"),
        (PULL, "access_control", {"Ops": ["can_fly"]}, "lists of can_read, can_edit and can_delete"),
        (PULL, "access_control", {"Ops": {"Pools": ["can_read"]}}, "lists of can_read, can_edit and can_delete"),
        (PULL, "access_control", "Ops", "a mapping of roles"),
        (PULL, "notify", TOLD, "a mapping of on_failure, on_success, on_retry"),
        (PULL, "notify", {"on_fire": [TOLD]}, "a mapping of on_failure, on_success, on_retry"),
        (PULL, "notify", {"on_failure": ["nowhere.at.all"]}, "there is no nowhere.at.all here: No module named"),
        (PULL, "notify", {"on_failure": [f"{__name__}.Nobody"]}, f"there is no {__name__}.Nobody here"),
        (PULL, "notify", {"on_failure": ["datetime.datetime"]}, "datetime.datetime is no notifier"),
        (PULL, "notify", {"on_failure": [{TOLD: {"massage": "x"}}]}, "Told does not take these arguments: TypeError"),
        (PULL, "notify", {"on_failure": [{TOLD: ["x"]}]}, "the arguments of"),
        (PULL, "notify", {"on_failure": [{TOLD: {}, "a.b": {}}]}, "a notifier is one dotted path"),
        (
            PULL,
            "notify",
            {"on_failure": [f"{__name__}.Fussy"]},
            "does not take these arguments: RuntimeError: no token",
        ),
    ],
)
def test_a_wrong_value_is_named(base: dict[str, Any], field: str, value: Any, says: str) -> None:
    message = problems_of(base | {field: value})
    assert message.startswith(f"flow 'in': {field}: {value!r} is not allowed")
    assert says in message


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (PULL | {"start_date": "2026-01-02", "end_date": "2026-01-02"}, "end_date: it is not after start_date"),
        (PULL | {"retry_delay": "2h", "max_retry_delay": "1h"}, "max_retry_delay: it is shorter than retry_delay"),
        (PUSH | {"dagrun_timeout": "1h"}, "dagrun_timeout: each run in which no object comes would fail"),
        (PUSH | {"schedule": "@continuous", "dagrun_timeout": "2h"}, "dagrun_timeout: each run in which no object"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(settings: dict[str, Any], says: str) -> None:
    assert says in problems_of(settings)


def test_a_run_may_take_longer_than_it_waits() -> None:
    assert flow_dag(PUSH | {"dagrun_timeout": "1h", "wait_timeout": "30m"}).dagrun_timeout == timedelta(hours=1)


# -- Notifiers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", FLOWS)
def test_who_is_told_is_told_of_each_task_and_each_time_anew(flow: dict[str, Any]) -> None:
    """A notifier renders its templates in place: the second message must not be the first one once more."""
    message = {TOLD: {"message": "{{ task }} failed", "level": 3}}
    dag = flow_dag(flow | {"notify": {"on_failure": [message, message], "on_retry": [message]}})
    Told.sent.clear()
    for task in dag.tasks:
        assert not task.on_success_callback
        assert len(task.on_failure_callback) == 2
        (callback,) = task.on_retry_callback
        callback({"task": task.task_id, "dag": dag})
    assert Told.sent == [(f"{task_id} failed", 3) for task_id in dag.task_ids]


def test_the_arguments_in_a_file_are_what_yaml_makes_of_them(tmp_path: Path) -> None:
    """A notifier's own arguments have types of their own: with no quotes, 3 is a number."""
    path = tmp_path / "flows.yaml"
    notify = f"{{on_success: [{{{TOLD}: {{message: '007', level: 3}}}}]}}"
    path.write_text(f"- {{name: in, direction: pull, sftp_path: /a, s3_bucket: a-bucket, notify: {notify}}}\n")
    flows = load_flows(path)
    assert flows.errors == []
    Told.sent.clear()
    for callback in flows.dags["in"].get_task("pull").on_success_callback:
        callback({"dag": flows.dags["in"]})
    assert Told.sent == [("007", 3)]


# -- Times -------------------------------------------------------------------------------------------------------------


def intervals(dag: Any, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """Return the data intervals of the runs that Airflow's scheduler makes of a Dag, those that are caught up."""
    times = dag.timetable
    if not hasattr(times, "next_dagrun_info"):  # 3.2: what a Dag file has only describes one
        from airflow.timetables.interval import CronDataIntervalTimetable

        times = CronDataIntervalTimetable(dag.timetable.expression, timezone=dag.timetable.timezone)
    import pendulum
    from airflow.timetables.base import TimeRestriction

    restriction = TimeRestriction(pendulum.instance(since), pendulum.instance(until), catchup=True)
    found, last = [], None
    while info := times.next_dagrun_info(last_automated_data_interval=last, restriction=restriction):
        last = info.data_interval
        found.append((last.start, last.end))
    return found


@pytest.mark.parametrize(
    ("change", "hours", "begins"),
    [
        ("2026-03-29", 23, ["26T23", "27T23", "28T23", "29T22", "30T22", "31T22"]),
        ("2026-10-25", 25, ["22T22", "23T22", "24T22", "25T23", "26T23", "27T23"]),
    ],
)
def test_a_day_in_a_time_zone_is_a_day_there_over_the_changes_of_summer_time(
    change: str, hours: int, begins: list[str]
) -> None:
    """Caught up and backfilled: a run for each day, none missing and none twice, on all versions the same."""
    changing = datetime.fromisoformat(change).replace(tzinfo=UTC)
    flow = PUSH | {"schedule": "@daily", "timezone": "Europe/Berlin", "start_date": "2026-01-01", "catchup": True}
    dag = flow_dag(flow)
    assert dag.timezone.name == "Europe/Berlin"
    found = intervals(dag, changing - timedelta(days=3), changing + timedelta(days=3))
    assert all(end == next_start for (_, end), (next_start, _) in itertools.pairwise(found))
    lengths = [(end - start).total_seconds() / 3600 for start, end in found]
    assert lengths.count(hours) == 1
    assert set(lengths) == {24.0, float(hours)}
    # `ds` is the date of these: the same on every Airflow.
    assert [f"{start.astimezone(UTC):%dT%H}" for start, _ in found] == begins
    # What a flow writes to have the day there: `ds` is that of the run's beginning in UTC, on 2.x and 3.x.
    template = "{{ data_interval_start.in_timezone('Europe/Berlin').strftime('%Y-%m-%d') }}"
    days = [dag.get_template_env().from_string(template).render(data_interval_start=start) for start, _ in found]
    assert days == sorted(set(days))
    assert change in days


@pytest.mark.parametrize(("schedule", "local"), [("30 2 * * *", "02:30"), ("0 6 * * *", "06:00")])
def test_a_time_of_day_is_one_there(schedule: str, local: str) -> None:
    """In winter as in summer; one that is skipped in spring still has its run."""
    from zoneinfo import ZoneInfo

    flow = PULL | {"schedule": schedule, "timezone": "Europe/Berlin", "start_date": "2026-01-01"}
    for change in ("2026-03-29", "2026-10-25"):
        changing = datetime.fromisoformat(change).replace(tzinfo=UTC)
        found = intervals(flow_dag(flow), changing - timedelta(days=3), changing + timedelta(days=4))
        ends = [end.astimezone(ZoneInfo("Europe/Berlin")) for _, end in found]
        assert len({end.date() for end in ends}) == len(ends) == 7
        assert sum(f"{end:%H:%M}" == local for end in ends) >= 6


def test_the_time_zone_is_utc_unless_the_flow_says() -> None:
    for own, zone in (({}, "UTC"), ({"timezone": "Asia/Tokyo"}, "Asia/Tokyo")):
        dag = flow_dag(PULL | {"schedule": "@daily"} | own)
        assert f"({zone})" in dag.doc_md
        assert dag.timezone.name == zone
        (first, _), *_ = intervals(dag, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC))
        assert f"{first:%H}" == ("00" if zone == "UTC" else "15")


# -- What Airflow's UI shows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", FLOWS)
def test_every_flow_is_described(flow: dict[str, Any]) -> None:
    """By the sentence, where it has no description of its own, and by its places; and it has the tag."""
    dag = flow_dag(flow)
    assert dag.description.rpartition("\n")[0] == dag.doc_md.partition("\n\n")[0].replace("`", "")
    assert "sftp-s3" in dag.tags


@pytest.mark.parametrize("direction", ["pull", "push"])
def test_the_documentation_has_all_settings(direction: str) -> None:
    """Those that are set as they are, the others with the defaults that count; and each field once."""
    chosen = {
        **{"retry_delay": "90m", "tags": "x", "exclude": ["*.tmp"], "max_files": 5},
        **{"options": {"concurrency": 3}, "start_date": "2026-01-31", "receipts": "s3://books/all/"},
        **{"access_control": {"Ops": ["can_read"]}, "include": "{{ ds }}`*|<b>\u2028"},
    }
    with warnings_of_ours_only():
        dag = flow_dag((PULL if direction == "pull" else PUSH) | chosen)
    said, unsaid = (
        dict(re.findall(r"^    (\w+): (.*)$", part, re.MULTILINE)) for part in dag.doc_md.split("What it does not say")
    )
    assert said | {"name": "", "sftp_path": ""} == {
        **{"name": "", "sftp_path": "", "direction": f'"{direction}"', "s3_bucket": '"a-bucket"'},
        **{"retry_delay": '"1h30m"', "tags": '["sftp-s3", "x"]', "exclude": '["*.tmp"]', "max_files": "5"},
        **{"options": '{"concurrency": 3}', "start_date": '"2026-01-31T00:00:00+00:00"'},
        **{"receipts": '"s3://books/all/"', "access_control": '{"Ops": {"DAGs": ["can_read"]}}'},
        "include": '["{{ ds }}`*|<b>\\u2028"]',
    }
    assert set(said).isdisjoint(unsaid)
    assert set(said) | set(unsaid) == set(FIELDS[direction])
    assert (unsaid["retries"], unsaid["sftp_conn_id"], unsaid["after_transfer"]) == (
        *("7", '"sftp_default"'),
        '"move"' if direction == "pull" else '"keep"',
    )
    assert unsaid["pool"] == "not set"


@pytest.mark.parametrize(("base", "name"), [(PULL, "aws_conn_id"), (PULL, "retention"), (PUSH, "temp_name")])
def test_what_a_flow_says_it_has_none_of_is_no_default(base: dict[str, Any], name: str) -> None:
    """``none`` is said, and the default that it stands against is not."""
    said, _, unsaid = flow_dag(base | {name: "none"}).doc_md.partition("What it does not say")
    assert f"\n    {name}: none\n" in said
    assert f"\n    {name}:" not in unsaid


def test_the_documentation_has_no_secret() -> None:
    """Arguments of a notifier are where one could be."""
    dag = flow_dag(PULL | {"notify": {"on_failure": [{TOLD: {"message": "token-1234"}}]}})
    assert "1234" not in dag.doc_md
    assert f'notify: {{"on_failure": ["{TOLD}"]}}' in dag.doc_md
