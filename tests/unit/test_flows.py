"""What may stand in flows.yaml, what the errors say, and what Dags come of it."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3._compat import AIRFLOW_2
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.flows import FlowsFileError, values
from airflow_provider_sftp_s3.flows.dag import build, flow_dag
from airflow_provider_sftp_s3.flows.fields import FIELDS, RUN_FIELDS, TASK_FIELDS
from airflow_provider_sftp_s3.flows.file import check_flows, load_flows
from airflow_provider_sftp_s3.flows.params import CHANGEABLE
from airflow_provider_sftp_s3.flows.settings import FlowError, FlowsError, parse_flow

pytestmark = pytest.mark.unit

DAGS = Path(__file__).parents[2] / "dags"
PULL = {"name": "in", "direction": "pull", "sftp_path": "/outgoing", "s3_bucket": "a-bucket"}
PUSH = {"name": "out", "direction": "push", "sftp_path": "/incoming", "s3_bucket": "a-bucket"}
MOVE = {"after_transfer": "move", "sent_prefix": "sent"}
SQS = PUSH | {"trigger": "sqs", "queue_url": "https://sqs.eu-central-1.amazonaws.com/123456789012/in"}
SQS |= {"schedule": "@hourly"}
#: Texts that are of use in one field or another.
ODD = (
    *("0", "1", "5s", "100%", "10d", "500 MB", "true", "none", "", "*", "in/", "/", "..", ".done", "{{ ds }}", "{{"),
    *("keep", "move", "delete", "rename", "wait", "skip", "tag", "@daily", "@continuous", "0 6 * * *", "2026-01-31"),
    *("{name}.ok", "{stem}.done", "_SUCCESS", "{name}.md5", "{dir}/{name}", ".{id}", "tmp/{id}", "s3://a-bucket/a/"),
    *("0640", "(", "{# a", "900000000d", "0001-01-01", "9999-12-31", "0 0 30 2 *"),
    *("arn:aws:s3:eu-central-1:123456789012:accesspoint/a", "a..b", "UTC", "Europe/Berlin", "a/../b", "a\0b", "\ud800"),
)


def rendered(dag: Any, field: str, task: Any = None, **form: Any) -> Any:
    """Return a field of the task that transfers as Airflow renders it, with what is filled into the trigger form."""
    task = task or next(each for each in dag.tasks if each.task_id in ("pull", "push"))
    template = task.partial_kwargs[field] if hasattr(task, "partial_kwargs") else getattr(task, field)
    params = {name: dag.params[name] for name in dag.params} | form
    return dag.get_template_env().from_string(template).render(params=params, ds="2026-01-31")


def lister(dag: Any) -> Any:
    """Return the task that lists what is to be pushed."""
    return dag.get_task("wait_for_objects" if AIRFLOW_2 else "list_unsynced")


def problems_of(settings: Any) -> str:
    with pytest.raises(FlowError) as caught:
        parse_flow(settings)
    return str(caught.value)


# -- Errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "field", "value", "allowed"),
    [
        (PULL, "direction", "sideways", "pull (SFTP to S3) or push (S3 to SFTP)"),
        (PULL, "schedule", "hourly", "a cron expression of five fields such as '0 6 * * *'"),
        (PULL, "schedule", "@fortnightly", "'@daily'"),
        (PULL, "schedule", "61 * * * *", "a cron expression of five fields"),
        (PULL, "schedule", "* * * * * *", "a cron expression of five fields"),
        (PULL, "schedule", "12:30", "a cron expression of five fields"),
        (PULL, "schedule", "0 0 30 2 *", "there is no such day. Allowed: none, a cron expression"),
        (PULL, "schedule", "0 0 31 4,6,9,11 *", "there is no such day"),
        (PULL, "schedule", 750, "a cron expression of five fields"),
        (PULL, "start_date", "last week", "a date such as 2024-01-31"),
        (PULL, "start_date", "2024-02-30", "in the flow's timezone where no zone is given"),
        (PULL, "start_date", 20240131, "a date such as 2024-01-31"),
        (PULL, "start_date", "0001-01-01", "in some time zone there is no such date. Allowed: a date"),
        (PUSH, "wait_timeout", "900000000d", "that is more than 100 years. Allowed: seconds, or numbers with units"),
        (PULL, "catchup", "perhaps", "true or false"),
        (PULL, "catchup", 1, "true or false"),
        (PULL, "retries", "-1", "a whole number from 0 to 100"),
        (PULL, "retries", "2.5", "a whole number from 0 to 100"),
        (PULL, "retries", True, "a whole number from 0 to 100"),
        (PULL, "retry_delay", "5 minutes", "'1h30m'"),
        (PULL, "tags", ["x" * 101], "a text of up to 100 characters"),
        (PULL, "tags", [7], "a text of up to 100 characters"),
        (PULL, "tags", ["a\0b"], "it has a NUL in it. Allowed: a text of up to 100 characters"),
        (PULL, "tags", "\ud83d", "it has half of a character in it"),
        (PULL, "description", "a\0b", "it has a NUL in it. Allowed: a text of up to 1000 characters"),
        (PULL, "owner", "a \ude00", "it has half of a character in it"),
        (PULL, "sftp_path", "", "a directory on the SFTP server"),
        (PULL, "sftp_path", ["/a", "/b"], "a directory on the SFTP server"),
        (PULL, "sftp_path", "/in/{{ ds }", "a directory on the SFTP server"),
        (PULL, "s3_bucket", "s3://a-bucket", "a bucket's name, with no s3://"),
        (PULL, "s3_bucket", "a-bucket/prefix", "a bucket's name, with no s3:// and no prefix"),
        (PULL, "s3_bucket", "arn:aws:s3:::a-bucket", "that is 'a-bucket'. Allowed: a bucket's name"),
        (PUSH, "s3_bucket", "data--euc1-az1--x-s3", "a directory bucket (S3 Express One Zone), which is not supported"),
        (PUSH, "s3_bucket", "arn:aws:s3::123456789012:accesspoint/a.mrap", "a multi-region access point, which is"),
        (PULL, "s3_bucket", "arn:aws:s3-outposts:eu-central-1:123456789012:outpost/op-1/accesspoint/a", "s3-outposts"),
        (PULL, "s3_prefix", "/inbound", "a prefix such as inbound/partner/"),
        (PULL, "s3_prefix", "a//b", "a prefix such as inbound/partner/"),
        (PULL, "s3_prefix", "{% if %}", "a prefix such as inbound/partner/"),
        (PULL, "sftp_conn_id", "", "the id of an Airflow connection"),
        (PULL, "aws_conn_id", 5, "the id of an Airflow connection"),
        (PULL, "include", "", "a glob such as '*.csv'"),
        (PULL, "include", [], "a list of globs"),
        (PULL, "exclude", {"a": "b"}, "a list of globs"),
        (PULL, "max_files", "0", "a whole number above 0"),
        (PULL, "max_files", "many", "a whole number above 0"),
        (PULL, "max_bytes", "10 parsecs", "'10GiB'"),
        (PULL, "max_bytes", "0", "above 0"),
        (PULL, "max_bytes", "0.3B", "a whole number of bytes"),
        (PULL, "dry_run", "maybe", "true or false"),
        (PULL, "options", "fast", "a mapping of concurrency, memory_budget"),
        (PULL, "options", {"concurency": 8}, "did you mean 'concurrency'?"),
        (PULL, "options", {"concurrency": "2000"}, "from 1 to 1024"),
        (PULL, "options", {"idle_timeout": "0s"}, "idle_timeout must be a number of seconds above 0"),
        (PULL, "min_age", "-5", "seconds, or numbers with units"),
        (PULL, "min_age", "2M", "(w, d, h, m, s)"),
        (PULL, "min_age", "", "seconds, or numbers with units"),
        (PULL, "min_age", float("nan"), "seconds, or numbers with units"),
        (PULL, "after_transfer", "archive", "move, delete or keep"),
        (PULL, "done_dir", "done/files", "not a path"),
        (PULL, "done_dir", "..", "not a path"),
        (PULL, "retention", "a month", "never, or seconds"),
        (PULL, "follow_links", "maybe", "true or false"),
        (PULL, "rename_to", "../{name}", "segment '..'"),
        (PUSH, "rename_to", "{{ ds }}/{name}", "no Jinja template"),
        (PULL, "on_conflict", "wait", "replace, rename, skip or fail"),
        (PUSH, "on_conflict", "skip", "replace, rename, wait or fail"),
        (PULL, "done_conflict", "fail", "replace or rename"),
        (PUSH, "file_mode", "rw-r-----", "a mode of three octal digits such as 0640"),
        (PUSH, "file_mode", "1777", "a mode of three octal digits such as 0640"),
        (PUSH, "preserve_mtime", "maybe", "true or false"),
        (PUSH, "trigger_file", "done/{name}", "its only words are {name} and {stem}"),
        (PUSH, "checksum_file", "{stem}.sha256", "'{name}.sha256' or '{name}.md5'"),
        (PULL, "checksum_file", "{name}.sha1", "'{name}.sha256' or '{name}.md5'"),
        (PUSH, "strip_regex", "^(outbound", "a regular expression"),
        (PUSH, "strip_regex", "a{99999999999}", "a regular expression"),
        (PULL, "include", "{#*.csv", "no valid template: Missing end of comment tag. Allowed: a glob"),
        (PULL, "s3_prefix", "{# a", "no valid template: Missing end of comment tag"),
        (PUSH, "mark", "etag", "auto, metadata, tag or none"),
        (PUSH, "after_transfer", "archive", "move, delete or keep"),
        (PUSH, "sent_prefix", "a//b", "a prefix such as sent/partner/"),
        (PUSH, "temp_name", "{name}.tmp", "a name with {id} in it"),
        (PUSH, "temp_name", {"id": None}, "'tmp/{id}' (in quotes), or none"),
        (PUSH, "verify", "md5", "size or none"),
        (PULL, "parallelism", "half", "a whole number from 1 to 1000"),
        (PUSH, "parallelism", 0, "a whole number from 1 to 1000"),
        (PUSH, "batch_files", "1e3", "a whole number from 1 to 10000"),
        (PUSH, "poke_interval", "0.5", "1 second or more"),
        (PUSH, "wait_timeout", "a while", "seconds, or numbers with units"),
        (SQS, "trigger", "sns", "sqs: run on S3's own events"),
        (SQS, "queue_url", "arn:aws:sqs:eu-central-1:123456789012:in", "the URL of the SQS queue"),
    ],
)
def test_a_wrong_value_is_named_with_its_flow_its_field_and_what_is_allowed(
    base: dict[str, Any], field: str, value: Any, allowed: str
) -> None:
    message = problems_of(base | {field: value})
    assert message.startswith(f"flow {base['name']!r}: {field}: {value!r} is not allowed")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("strip_regex", "(" * 5000 + ")" * 5000, "no valid regular expression"),
        ("include", "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "no valid template: it is nested too deep"),
        ("mark", "x" * 10**6, "Allowed: auto, metadata, tag or none"),
    ],
)
def test_a_value_without_measure_is_cut_in_its_error(field: str, value: str, said: str) -> None:
    """It names its field as any other does."""
    message = problems_of(PUSH | {field: value})
    assert message.startswith(f"flow 'out': {field}: {value[:20]!r}"[:-1])
    assert said in message
    assert len(message) < 1500


def test_a_list_without_end_is_an_error_of_its_field() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert "flow 'in': include: a list that is nested too deep is not allowed" in problems_of(
        PULL | {"include": nested}
    )


@pytest.mark.parametrize("name", ["a flow", "", "x" * 251, "a/b", 7, ["a"], "{{ ds }}"])
def test_a_flow_with_no_usable_name_is_named_by_its_position(name: Any) -> None:
    with pytest.raises(FlowError, match=r"^flow number 3: name: .*Allowed: the Dag's id: 1 to 250 letters"):
        parse_flow(PULL | {"name": name}, position=3)


@pytest.mark.parametrize(
    "bucket",
    [
        "arn:aws:s3:eu-central-1:123456789012:accesspoint/mine",
        "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/mine",
        "mine-abcdefghijklmnopqrstuvwxyz0123use1b-s3alias",
        "{{ var.value.bucket }}",
    ],
)
def test_an_access_point_is_taken_as_a_bucket(bucket: str) -> None:
    """By ARN and by alias, in both directions; what a template gives is judged in the run."""
    assert flow_dag(PULL | {"s3_bucket": bucket}).get_task("pull").partial_kwargs["s3_bucket"] == bucket
    assert flow_dag(PUSH | {"s3_bucket": bucket}).get_task("wait_for_objects").bucket_name == bucket


@pytest.mark.parametrize("field", ["name", "direction", "sftp_path", "s3_bucket"])
def test_a_missing_field_is_named_with_what_is_allowed(field: str) -> None:
    message = problems_of({name: value for name, value in PULL.items() if name != field})
    assert f": {field}: missing. Allowed: " in message


def test_every_problem_of_a_flow_is_told_at_once() -> None:
    message = problems_of({"name": "in", "direction": "pull", "retries": "x", "min_age": "y"})
    assert {line.split(": ")[1] for line in message.splitlines()} == {"sftp_path", "s3_bucket", "retries", "min_age"}


def test_a_misspelt_field_gets_a_suggestion() -> None:
    message = problems_of(PULL | {"shedule": "@daily"})
    assert "flow 'in': shedule: there is no such field. Did you mean 'schedule'?\n" in message


def test_a_field_of_any_name_is_said_in_a_line_that_a_database_takes() -> None:
    assert r"flow 'in': a\nb\x00\ud83d: there is no such field" in problems_of(PULL | {"a\nb\0\ud83d": "1"})


def test_the_fields_that_there_are_are_listed_once() -> None:
    """However many are unknown, of however many flows."""
    several = [PULL | {"zzz": "1", "yyy": "1"}, PULL | {"xxx": "1"}, PUSH | {"zzz": "1"}]
    errors = []
    for settings in several:
        with pytest.raises(FlowError) as caught:
            parse_flow(settings)
        errors.append(caught.value)
    assert str(errors[0]).splitlines()[:2] == [
        "flow 'in': zzz: there is no such field",
        "flow 'in': yyy: there is no such field",
    ]
    assert str(errors[0]).splitlines()[2].startswith("Fields of a pull: name, direction, schedule, ")
    assert [line.split(": ")[0] for line in str(FlowsError.of(errors)).splitlines()] == [
        *["flow 'in'"] * 3,
        "flow 'out'",
        "Fields of a pull",
        "Fields of a push",
    ]


@pytest.mark.parametrize(
    ("base", "field", "other"), [(PULL, "batch_files", "push"), (PUSH, "retention", "pull"), (PUSH, "min_age", "pull")]
)
def test_a_field_of_the_other_direction_is_refused(base: dict[str, Any], field: str, other: str) -> None:
    message = problems_of(base | {field: "1"})
    assert f"{field}: only a {other} flow has this field\nFields of a {base['direction']}: name, " in message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (PULL | {"schedule": "@daily", "catchup": "true"}, "catchup: true needs to know the first day"),
        (PULL | {"catchup": True, "start_date": "2024-01-01"}, "catchup: true needs times to catch up with"),
        (
            PUSH | {"catchup": True, "start_date": "2024-01-01", "schedule": "@continuous"},
            "catchup: true needs times to catch up with",
        ),
        (PULL | {"schedule": "@continuous"}, "schedule: '@continuous' would log in to the SFTP server again and again"),
        (PUSH | {"schedule": "@continuous", "mark": "none"}, "mark: none leaves every object unsynced"),
        (PUSH | {"schedule": "@continuous", "dry_run": "yes"}, "dry_run: it leaves every object unsynced"),
        (PUSH | {"trigger": "sqs", "schedule": "@daily"}, "queue_url: 'trigger: sqs' and queue_url need each other"),
        (PUSH | {"queue_url": "https://sqs/1/in"}, "queue_url: 'trigger: sqs' and queue_url need each other"),
        (SQS | {"schedule": None}, "schedule: 'trigger: sqs' needs times too"),
        (SQS | {"schedule": "@continuous"}, "schedule: 'trigger: sqs' needs times too"),
        (SQS | {"s3_prefix": "out/{{ ds }}/"}, "s3_prefix: a run that was started by an event has no date"),
        (
            SQS | {"s3_bucket": "arn:aws:s3:eu-central-1:123456789012:accesspoint/mine"},
            "s3_bucket: 'trigger: sqs' with an access point",
        ),
        (
            SQS | {"s3_bucket": "mine-abcdefghijklmnopqrstuvwxyz0123use1b-s3alias"},
            "s3_bucket: 'trigger: sqs' with an access point",
        ),
        (SQS | {"aws_conn_id": "{{ var.value.aws }}"}, "aws_conn_id: Airflow renders no templates in a trigger"),
        (PULL | {"follow_links": True}, "follow_links: true would move or delete links"),
        (PUSH | {"after_transfer": "delete", "mark": "tag"}, "mark: what is moved or deleted is not marked"),
        (PUSH | {"after_transfer": "move"}, "sent_prefix: 'after_transfer: move' and sent_prefix"),
        (PUSH | {"sent_prefix": "sent"}, "sent_prefix: 'after_transfer: move' and sent_prefix"),
        (PUSH | MOVE, "sent_prefix: it and s3_prefix overlap"),
        (PUSH | MOVE | {"s3_prefix": "sent"}, "sent_prefix: it and s3_prefix overlap"),
        (PUSH | MOVE | {"s3_prefix": "sent/a/"}, "sent_prefix: it and s3_prefix overlap"),
        (SQS | MOVE | {"s3_prefix": "a", "sent_prefix": "{{ ds }}"}, "sent_prefix: a run that was started by an event"),
        (SQS | {"wait_timeout": "1h"}, "wait_timeout: with 'trigger: sqs' no run waits"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str) -> None:
    text = problems_of(settings)
    assert f"flow {settings['name']!r}: {message}" in text
    assert "Allowed" in text


# -- Values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("90", 90),
        (90, 90),
        ("0", 0),
        ("1.5", 1.5),
        ("90s", 90),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("7d", 7 * 86400),
        ("2w", 14 * 86400),
        ("1w2d3h4m5s", 604800 + 2 * 86400 + 3 * 3600 + 4 * 60 + 5),
        ("0.5h", 1800),
        (" 10 m ", 600),
        (timedelta(minutes=3), 180),
    ],
)
def test_durations_are_seconds_or_numbers_with_units(value: Any, seconds: float) -> None:
    assert values.duration(value).total_seconds() == seconds


@given(st.lists(st.integers(0, 1000), min_size=5, max_size=5), st.booleans())
def test_a_duration_is_the_sum_of_its_parts(numbers: list[int], spaced: bool) -> None:
    """However many units a duration has, and with or without spaces between them."""
    text = (" " if spaced else "").join(f"{number}{unit}" for number, unit in zip(numbers, "wdhms", strict=True))
    weeks, days, hours, minutes, seconds = numbers
    expected = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    assert values.duration(text) == expected


@given(st.text() | st.from_regex(r"\A[0-9.wdhms -]*\Z") | st.floats() | st.integers() | st.none() | st.binary())
def test_a_duration_is_taken_or_refused_and_never_negative(value: Any) -> None:
    with contextlib.suppress(values.NotAllowed):
        assert values.duration(value) >= timedelta(0)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("1048576", 1048576),
        (7, 7),
        ("500 MB", 500_000_000),
        ("10GiB", 10 * 2**30),
        ("1.5 KiB", 1536),
        ("2tb", 2 * 10**12),
        ("12 B", 12),
    ],
)
def test_sizes_are_bytes_or_numbers_with_units(value: Any, size: int) -> None:
    assert values.size(value) == size


@given(st.integers(1, 10**6), st.sampled_from(["B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"]))
def test_a_size_is_its_number_times_its_unit(number: int, unit: str) -> None:
    factor = (1024 if "i" in unit else 1000) ** " KMGT".index(unit[0].upper().replace("B", " "))
    assert values.size(f"{number}{unit}") == values.size(f"{number} {unit.lower()}") == number * factor


@given(st.text() | st.from_regex(r"\A[0-9.kKmMgGiB ]*\Z") | st.floats() | st.integers() | st.none())
def test_a_size_is_taken_or_refused_and_above_zero(value: Any) -> None:
    with contextlib.suppress(values.NotAllowed):
        assert values.size(value) > 0


@pytest.mark.parametrize(
    "value",
    [
        "2024-01-31",
        "2024-01-31T00:00:00",
        "2024-01-31T01:00:00+01:00",
        date(2024, 1, 31),
        datetime(2024, 1, 31),
        datetime(2024, 1, 31, tzinfo=UTC),
    ],
)
def test_dates_with_no_zone_are_in_that_of_the_flow(value: Any) -> None:
    assert parse_flow(PULL | {"start_date": value})["start_date"] == datetime(2024, 1, 31, tzinfo=UTC)
    in_berlin = parse_flow(PULL | {"start_date": value, "timezone": "Europe/Berlin"})["start_date"]
    has_zone = (isinstance(value, datetime) and value.tzinfo) or (isinstance(value, str) and "+" in value)
    assert in_berlin == datetime(2024, 1, 31 if has_zone else 30, 0 if has_zone else 23, tzinfo=UTC)


@pytest.mark.parametrize("value", [True, "true", "yes", "on", "True", "ON"])
def test_booleans_are_yamls_words(value: Any) -> None:
    assert values.boolean(value) is True


@given(
    st.sampled_from(sorted(FIELDS["push"])), st.none() | st.text() | st.integers() | st.lists(st.text()) | st.binary()
)
def test_whatever_stands_in_a_field_is_taken_or_a_flow_error(field: str, value: Any) -> None:
    try:
        parse_flow(PUSH | {field: value})
    except FlowError as error:
        assert f": {field}: " in str(error) or f": {field} must be " in str(error)  # noqa: PT017


@given(
    st.sampled_from([(base, field) for base in (PULL, PUSH) for field in FIELDS[base["direction"]]]),
    st.text() | st.sampled_from(ODD) | st.integers(-1, 10) | st.lists(st.text(), max_size=2),
)
def test_what_the_settings_let_pass_makes_a_dag(place: tuple[dict[str, Any], str], value: Any) -> None:
    """The file of import errors reads the settings only: a flow that its Dag alone refuses would be gone unsaid."""
    base, field = place
    try:
        flow = parse_flow(base | {field: value})
    except FlowError:
        return
    build(flow)


# -- Dags --------------------------------------------------------------------------------------------------------------


def test_a_pull_flow_is_one_mapped_task_with_the_flows_arguments() -> None:
    dag = flow_dag(
        PULL
        | {
            "schedule": "*/5  * * * *",
            "s3_prefix": "in/",
            "include": "*.csv",
            "exclude": ["a*", "b*"],
            "min_age": "2m",
            "retention": "7d",
            "after_transfer": "keep",
            "done_dir": ".got",
            "max_files": "10",
            "max_bytes": "1GiB",
            "min_size": "1kB",
            "max_size": "5GiB",
            "max_age": "30d",
            "order": "oldest",
            "dry_run": "yes",
            "options": {"concurrency": "8", "memory_budget": "64MiB", "part_size": "8MiB", "conn_timeout": "30s"},
            "sftp_conn_id": "partner",
            "aws_conn_id": "none",
            "retries": "2",
            "retry_delay": "30s",
            "tags": "one",
        }
    )
    assert (dag.dag_id, dag.task_ids, set(dag.tags)) == ("in", ["pull", "update_asset"], {"one", "sftp-s3"})
    task = dag.get_task("pull")
    assert task.expand_input.value == {"shard": ["1/1"]}
    pull = SimpleNamespace(**task.partial_kwargs)
    assert pull.s3_bucket == "a-bucket"
    assert [rendered(dag, name) for name in ("sftp_path", "s3_prefix", "dry_run")] == ["/outgoing", "in/", "True"]
    assert (rendered(dag, "include"), pull.exclude) == ("['*.csv']", ["a*", "b*"])
    assert (pull.min_age, pull.retention) == (timedelta(minutes=2), timedelta(days=7))
    assert (pull.after_transfer, pull.done_dir) == ("keep", ".got")
    assert (rendered(dag, "max_files"), pull.max_bytes) == ("10", 2**30)
    assert (pull.min_size, pull.max_size, pull.order) == (1000, 5 * 2**30, "oldest")
    assert pull.max_age == timedelta(days=30)
    assert TransferOptions.of(pull.options) == TransferOptions(
        concurrency=8, memory_budget=64 * 2**20, part_size=8 * 2**20, conn_timeout=30.0
    )
    assert (pull.sftp_conn_id, pull.aws_conn_id) == ("partner", None)
    assert (task.retries, task.retry_delay) == (2, timedelta(seconds=30))
    assert dag.doc_md.startswith("On the schedule `*/5 * * * *` (UTC), pulls `*.csv` but `a*` but `b*` in `/outgoing`")


def test_what_a_flow_does_not_say_is_left_to_the_operators() -> None:
    from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator

    pull = flow_dag(PULL).get_task("pull")
    alone = SftpTreeToS3Operator(task_id="pull", sftp_path="/outgoing", s3_bucket="a-bucket")
    given = set(FIELDS["pull"]) & set(vars(alone)) & set(pull.partial_kwargs)
    assert {"sftp_path", "s3_bucket"} <= given
    assert given - {*RUN_FIELDS, *CHANGEABLE} <= {"s3_bucket", *TASK_FIELDS}
    for name in given - {*RUN_FIELDS, *CHANGEABLE}:
        assert pull.partial_kwargs[name] == getattr(alone, name), name


def test_a_pull_flow_with_parallelism_is_one_task_per_shard() -> None:
    from airflow.configuration import conf

    dag = flow_dag(PULL | {"parallelism": "20", "min_age": "2m", "retries": 1})
    pull = dag.get_task("pull")
    assert pull.expand_input.value == {"shard": [f"{number}/20" for number in range(1, 21)]}
    assert pull.partial_kwargs["min_age"] == timedelta(minutes=2)
    assert pull.partial_kwargs["sftp_path"] == "{{ params.sftp_path or '/outgoing' }}"
    assert pull.retries == 1
    assert pull.map_index_template == "{{ task.shard }}"
    assert dag.max_active_tasks == 20, "or Airflow would run fewer at a time"
    assert flow_dag(PULL | {"parallelism": 2}).max_active_tasks == conf.getint("core", "max_active_tasks_per_dag")


def test_the_event_is_that_of_tasks_before_it() -> None:
    from airflow_provider_sftp_s3._compat import AirflowFailException

    update = flow_dag(PULL | {"parallelism": 2}).get_task("update_asset")
    update.transfers = "pul"
    with pytest.raises(AirflowFailException, match="transfers: there is no task 'pul' upstream of 'update_asset'"):
        update.execute({})


def test_links_are_followed_where_a_template_may_keep_files() -> None:
    """What it gives is judged when the task runs."""
    pull = flow_dag({**PULL, "follow_links": True, "after_transfer": "{{ params.after }}"}).get_task("pull")
    given = pull.partial_kwargs
    assert (given["follow_links"], given["after_transfer"]) == (True, "{{ params.after }}")


def test_what_a_template_may_make_fit_is_not_refused() -> None:
    """What it gives is judged when the task runs; what is written plainly is judged with the defaults."""
    moving = {"after_transfer": "{{ params.after }}", "sent_prefix": "sent/", "s3_prefix": "out/"}
    assert flow_dag(PUSH | moving).get_task("push").partial_kwargs["sent_prefix"] == "sent/"
    assert flow_dag(PUSH | {"after_transfer": "{{ params.after }}", "mark": "tag"})
    assert "sent_prefix: it and s3_prefix overlap" in problems_of(PUSH | moving | {"s3_prefix": "sent/a"})
    given = flow_dag(PULL | {"min_age": "{{ params.age }}", "max_age": "20s"}).get_task("pull").partial_kwargs
    assert (given["min_age"], given["max_age"]) == ("{{ params.age }}", timedelta(seconds=20))
    for young in ({}, {"min_age": "20s"}):
        assert "max_age (20.0 s) must be more than min_age" in problems_of(PULL | {"max_age": "20s"} | young)


def test_tags_that_are_one_to_mysql_are_one() -> None:
    """It would take no flow of the file."""
    assert values.tags(["Orders", "orders", "SFTP-S3 ", "b"]) == ["sftp-s3", "Orders", "b"]


def test_a_push_flow_says_how_files_are_called_until_they_are_whole() -> None:
    """None is a name, too: their own."""
    for written, expected in (("none", None), ("tmp/{id}", "tmp/{id}")):
        push = flow_dag({**PUSH, "temp_name": written, "verify": "none"}).get_task("push")
        assert (push.partial_kwargs["temp_name"], push.partial_kwargs["verify"]) == (expected, "none")


def test_a_push_flow_waits_lists_and_pushes_batches() -> None:
    dag = flow_dag(PUSH | {"schedule": "@continuous", "parallelism": "3", "batch_files": 50, "poke_interval": "30s"})
    wait, listing, push = dag.get_task("wait_for_objects"), lister(dag), dag.get_task("push")
    assert listing.downstream_task_ids == {"push"}
    assert (wait.mode, wait.poke_interval, wait.deferrable) == ("reschedule", 30, False)
    if wait is not listing:
        assert wait.downstream_task_ids == {"list_unsynced"}
        assert (wait.batch_files, wait.max_batches) == (1, 1), "one is enough to ring"
    assert (rendered(dag, "batch_files", listing), rendered(dag, "max_batches", listing)) == ("50", "1000")
    assert push.max_active_tis_per_dag == 3
    assert push.map_index_template == "{{ task.batch }}", "bounded, see test_templates.py"
    assert (push.retries, push.retry_delay) == (7, timedelta(minutes=1)), "two hours in all, and soon at first"
    assert dag.max_active_runs == 1
    held_back = dag.get_task("wait_after_failure")
    assert (held_back.mode, held_back.poke_interval, held_back.wait) == ("reschedule", 30, timedelta(seconds=15 * 30))
    assert (held_back.trigger_rule, held_back.upstream_task_ids) == ("one_failed", {"push"})
    assert not dag.max_consecutive_failed_dag_runs, "one object that fails would hold up all others"


@pytest.mark.parametrize("parallelism", [1, 4])
@pytest.mark.parametrize("flow", [PULL, PUSH])
def test_a_task_of_its_own_sends_the_event_of_all(flow: dict[str, Any], parallelism: int) -> None:
    dag = flow_dag(flow | {"parallelism": parallelism})
    transfers = dag.get_task(flow["direction"])
    assert not transfers.partial_kwargs.get("outlets")
    assert transfers.downstream_task_ids == {"update_asset"}
    assert [alias.name for alias in dag.get_task("update_asset").outlets] == [flow["name"]]


@pytest.mark.parametrize("flow", [PULL, PUSH])
def test_a_flow_that_is_changed_keeps_its_tasks(flow: dict[str, Any]) -> None:
    """Or a run that is under way would lose some, and others would come in between: Airflow ends them with no word."""

    def shape(**changed: Any) -> set[tuple[str, bool, frozenset[str]]]:
        tasks = flow_dag(flow | changed).tasks
        return {(each.task_id, hasattr(each, "expand_input"), frozenset(each.upstream_task_ids)) for each in tasks}

    own = {"max_files": 5, "retries": 0, "schedule": "@daily", "include": "*.csv", "dry_run": True, "destination": "x"}
    for name, value in {**own, "parallelism": 4, "rename_to": "{name}", "trigger_file": "{name}.ok"}.items():
        assert shape(**{name: value}) == shape(), name


def test_the_sensor_is_an_s3_key_sensor() -> None:
    from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor

    assert isinstance(flow_dag(PUSH).get_task("wait_for_objects"), S3KeySensor)


@pytest.mark.parametrize(
    ("capped", "batches"),
    [
        ({"max_files": 3000}, (3100, 1)),
        ({"max_bytes": "1GiB"}, (1000, 1)),
        ({"max_files": 5, "batch_files": 2}, (105, 1)),
        ({"max_files": "{{ 3 * 2 }}"}, (106, 1)),
        ({"max_files": "{{ '' }}"}, (1000, 1)),
    ],
)
def test_a_push_with_a_cap_is_one_task_so_that_the_cap_is_the_runs(
    capped: dict[str, Any], batches: tuple[int, int]
) -> None:
    dag = flow_dag(PUSH | capped)
    listing = lister(dag)
    assert (int(rendered(dag, "batch_files", listing)), listing.max_batches) == batches


@pytest.mark.parametrize("capped", [{"max_files": 5}, {"max_bytes": "1GiB"}, {}])
def test_where_objects_wait_a_cap_does_not_cut_the_list(capped: dict[str, Any]) -> None:
    """What waits takes no cap: the push has to know of those behind it."""
    dag = flow_dag(PUSH | {"on_conflict": "wait", "batch_files": 70} | capped)
    listing = lister(dag)
    if capped:
        assert (rendered(dag, "batch_files", listing), listing.max_batches) == ("100000", 1)
    else:
        assert (rendered(dag, "batch_files", listing), rendered(dag, "max_batches", listing)) == ("70", "1000")
        form = {"max_files": 5}
        assert rendered(dag, "batch_files", listing, **form) == "100000"
        assert rendered(dag, "max_batches", listing, **form) == "1"


@pytest.mark.parametrize("parallelism", [1, 3])
def test_a_continuous_flow_in_which_objects_wait_ends_no_sooner(parallelism: int) -> None:
    """By a sensor that holds no worker; no other flow has it."""
    continuous = PUSH | {"schedule": "@continuous", "poke_interval": "5m", "parallelism": parallelism}
    dag = flow_dag(continuous | {"on_conflict": "wait"})
    waits = dag.get_task("wait_for_partner")
    assert (waits.mode, waits.poke_interval, waits.interval) == ("reschedule", 300, timedelta(minutes=5))
    assert waits.upstream_task_ids == {"push"}
    for other in (continuous, PUSH | {"on_conflict": "wait", "schedule": "@hourly"}):
        assert "wait_for_partner" not in flow_dag(other).task_ids


def test_what_becomes_of_a_file_reaches_the_operators() -> None:
    """As it is written, modes in octal digits."""
    own = {"rename_to": "{dir}/{stem}_{mtime:%Y}{suffix}", "on_conflict": "rename"}
    pull = flow_dag(PULL | own | {"done_conflict": "rename"}).get_task("pull").partial_kwargs
    assert {name: pull[name] for name in own} == own
    assert pull["done_conflict"] == "rename"
    push = flow_dag(PUSH | own | {"file_mode": "0640", "preserve_mtime": "true"}).get_task("push").partial_kwargs
    assert {name: push[name] for name in own} == own
    assert (push["file_mode"], push["preserve_mtime"]) == (0o640, True)


@pytest.mark.parametrize(
    ("own", "field"),
    [
        *(({"trigger_file": "{name}.ok", "on_conflict": mode}, "trigger_file") for mode in ("rename", "wait")),
        *(({"checksum_file": "{name}.md5", "on_conflict": mode}, "checksum_file") for mode in ("rename", "wait")),
        *(({"trigger_file": name, "parallelism": 2}, "parallelism") for name in ("_SUCCESS", "{{ ds }}.ok")),
        ({"last": "_SUCCESS", "parallelism": 2}, "parallelism: what is last waits for all files"),
        ({"last": []}, "last"),
    ],
)
def test_what_is_announced_does_not_go_with_everything(own: dict[str, Any], field: str) -> None:
    with pytest.raises(FlowError, match=field):
        flow_dag(PUSH | own)


@pytest.mark.parametrize(
    ("own", "field"),
    [
        ({"on_conflict": "rename"}, "trigger_file"),
        ({"sftp_paths": ["a"]}, "trigger_file"),
        ({"follow_links": True, "after_transfer": "keep"}, "trigger_file"),
        ({"trigger_file": "_SUCCESS", "parallelism": 2}, "parallelism"),
    ],
)
def test_triggers_of_a_pull_do_not_go_with_everything(own: dict[str, Any], field: str) -> None:
    flow_dag(PULL | {"trigger_file": "{name}.ok", "parallelism": 2})
    with pytest.raises(FlowError, match=field):
        flow_dag(PULL | {"trigger_file": "{name}.ok"} | own)


@pytest.mark.parametrize(
    "own", [{"on_conflict": "rename"}, {"sftp_paths": ["a"]}, {"follow_links": True, "after_transfer": "keep"}]
)
def test_checksum_files_of_a_pull_do_not_go_with_everything(own: dict[str, Any]) -> None:
    flow_dag(PULL | {"checksum_file": "{name}.md5", "parallelism": 2})
    with pytest.raises(FlowError, match="checksum_file"):
        flow_dag(PULL | {"checksum_file": "{name}.md5"} | own)


@pytest.mark.parametrize(
    ("own", "field"),
    [
        ({"last": "_SUCCESS", "parallelism": 2}, "parallelism"),
        ({"last": "_SUCCESS", "sftp_paths": ["a"]}, "last"),
        ({"last": "_SUCCESS", "follow_links": True, "after_transfer": "keep"}, "last"),
    ],
)
def test_last_files_of_a_pull_do_not_go_with_everything(own: dict[str, Any], field: str) -> None:
    assert flow_dag(PULL | {"last": "_SUCCESS"}).get_task("pull").partial_kwargs["last"] == ["_SUCCESS"]
    with pytest.raises(FlowError, match=field):
        flow_dag(PULL | own)


@pytest.mark.parametrize(
    "own",
    [{"trigger_file": "{stem}.ok"}, {"checksum_file": "{name}.sha256"}, {"last": ["_SUCCESS", "{{ ds }}"]}],
)
def test_what_goes_with_files_reaches_what_lists_the_objects(own: dict[str, Any]) -> None:
    """Which has to know them for what they are; with triggers, or last ones, it keeps a directory together."""
    dag = flow_dag(PUSH | {**own, "parallelism": 1 if "last" in own else 2})
    for name, value in own.items():
        assert dag.get_task("push").partial_kwargs[name] == value
        for task in set(dag.task_ids) - {"push", "update_asset"}:
            assert getattr(dag.get_task(task), name) == value, task


def test_there_are_never_more_batches_than_airflow_maps_over() -> None:
    from airflow.configuration import conf

    dag = flow_dag(PUSH | {"batch_files": "1"})
    assert int(rendered(dag, "max_batches", lister(dag))) <= conf.getint("core", "max_map_length")


@pytest.mark.parametrize(("schedule", "wait"), [("@continuous", timedelta(days=1)), ("@daily", timedelta(hours=1))])
def test_how_long_a_push_waits_depends_on_its_schedule(schedule: str, wait: timedelta) -> None:
    sensor = flow_dag(PUSH | {"schedule": schedule}).get_task("wait_for_objects")
    assert sensor.wait == wait
    assert sensor.timeout > wait.total_seconds()
    assert flow_dag(PUSH | {"wait_timeout": "6h"}).get_task("wait_for_objects").wait == timedelta(hours=6)


@pytest.mark.parametrize("base", [PULL, PUSH])
def test_the_trigger_form_begins_with_the_flows_own_values(base: dict[str, Any]) -> None:
    own = {"s3_prefix": "day/{{ ds }}/", "sftp_path": r"/it's\{{ ds }}\"ü", "dry_run": False}
    dag = flow_dag(base | own)
    assert {name: dag.params[name] for name in dag.params} == own | {"include": ["*"], "max_files": None}
    assert (rendered(dag, "include"), rendered(dag, "max_files")) == ("['*']", "None")
    assert rendered(dag, "s3_prefix") == "day/2026-01-31/"
    assert rendered(dag, "sftp_path") == r"/it's\2026-01-31\"ü"
    assert rendered(dag, "dry_run") == "False"


@pytest.mark.parametrize("own", ["in/", "in/{{ ds }}/", ""])
def test_what_the_trigger_form_says_is_taken_as_it_is_and_nothing_is_the_flows_own(own: str) -> None:
    dag = flow_dag(PULL | {"s3_prefix": own})
    assert rendered(dag, "s3_prefix", s3_prefix="it's # other") == "it's # other"
    for nothing in (None, ""):
        assert dag.params.get_param("s3_prefix").resolve(nothing) == nothing
        assert rendered(dag, "s3_prefix", s3_prefix=nothing) == own.replace("{{ ds }}", "2026-01-31")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("s3_prefix", "{{ conn.aws_default.password }}"),
        ("s3_prefix", "in/{{ ds }}/deeper/"),
        ("s3_prefix", "a\n{% x %}"),
        ("sftp_path", "/{{ var.value.secret }}"),
        ("sftp_path", 7),
        ("dry_run", "yes"),
        ("dry_run", None),
    ],
)
def test_the_trigger_form_refuses_other_types_and_templates_that_are_not_the_flows(field: str, value: Any) -> None:
    """Whoever may start a run may not read every connection."""
    dag = flow_dag(PUSH | {"s3_prefix": "in/{{ ds }}/"})
    with pytest.raises(Exception, match=r"does not match|is not of type"):  # its class is another one on Airflow 2
        dag.params.get_param(field).resolve(value)


def test_a_templated_dry_run_can_be_overruled() -> None:
    dag = flow_dag(PULL | {"dry_run": "{{ ds == '2026-01-31' }}"})
    assert rendered(dag, "dry_run") == "True"
    param = dag.params.get_param("dry_run")
    assert rendered(dag, "dry_run", dry_run=param.resolve(False)) == "False"


@pytest.mark.skipif(AIRFLOW_2, reason="nothing outside of Airflow 2 starts a run")
def test_a_flow_with_a_queue_runs_on_its_messages_and_on_its_schedule() -> None:
    dag = flow_dag(SQS | {"poke_interval": "20s", "aws_conn_id": "none"})
    assert sorted(dag.task_ids) == ["list_unsynced", "push", "update_asset"]
    assert type(dag.timetable).__name__ == "AssetOrTimeSchedule"
    assert type(dag.timetable.timetable).__name__ == "CronDataIntervalTimetable"
    (asset,) = dag.timetable.asset_condition.objects
    (watcher,) = asset.watchers
    _, arguments = watcher.trigger.serialize()
    wanted = {"sqs_queue": SQS["queue_url"], "aws_conn_id": None, "region_name": "eu-central-1", "waiter_delay": 20}
    assert wanted.items() <= arguments.items()
    assert dag.doc_md.startswith("On the schedule `@hourly` (UTC) and as S3's events come, pushes everything in")


@pytest.mark.skipif(AIRFLOW_2, reason="nothing outside of Airflow 2 starts a run")
def test_a_queue_needs_airflow_3_and_aiobotocore(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_sftp_s3.flows import rules

    monkeypatch.setattr(rules, "find_spec", lambda _: None)
    assert "trigger: sqs needs aiobotocore: install airflow-provider-sftp-s3[sqs]" in problems_of(SQS)
    monkeypatch.setattr(rules, "AssetWatcher", None)
    assert "flow 'out': trigger: sqs needs Airflow 3.0 or newer" in problems_of(SQS)


def test_a_cron_schedule_has_the_data_intervals_of_airflow_2() -> None:
    """On every version, so that the run at midnight has the `ds` of the day that is over."""
    assert type(flow_dag(PUSH | {"schedule": "@daily"}).timetable).__name__ == "CronDataIntervalTimetable"


@pytest.mark.parametrize("schedule", [None, "none", "None", ""])
def test_a_flow_with_no_schedule_runs_by_hand(schedule: str | None) -> None:
    dag = flow_dag(PUSH | {"schedule": schedule})
    assert type(dag.timetable).__name__ == "NullTimetable"
    assert dag.doc_md.startswith("When started by hand, pushes everything in `s3://a-bucket/` that is not synced to")


def test_retries_wait_longer_and_longer_up_to_an_hour_or_what_the_flow_says() -> None:
    push = flow_dag(PUSH).get_task("push")
    assert push.retry_exponential_backoff
    assert push.max_retry_delay == timedelta(hours=1)
    assert flow_dag(PUSH | {"retry_delay": "3h"}).get_task("push").max_retry_delay == timedelta(hours=3)


def test_nothing_is_caught_up_unless_asked_for() -> None:
    dag = flow_dag(PULL | {"schedule": "@daily"})
    assert dag.catchup is False
    assert dag.start_date < datetime.now(UTC)


# -- The file ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "flows.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


GOOD = "- {name: %s, direction: pull, sftp_path: /outgoing, s3_bucket: a-bucket}\n"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("- {name: bad, direction: up}\n", "flows.yaml, line 2: flow 'bad': direction: 'up' is not allowed. Allowed: "),
        ("- just text\n", "flows.yaml, line 2: flow number 2: 'just text' is no flow. Allowed: "),
        ("-\n", "flows.yaml, line 2: flow number 2: None is no flow. Allowed: "),
        (
            GOOD % "one",
            "flows.yaml, line 2: flow 'one': name: 'one' is not allowed: a flow above has it. Allowed: a name",
        ),
        (
            "- name: bad\n  direction: pull\n  s3_prefix: {{ ds }}\n",
            "flow 'bad': line 4, `s3_prefix: {{ ds }}`: found unhashable key. A value that begins with { must stand in "
            "quotes: s3_prefix: '{{ ds }}'",
        ),
        (
            "- name: bad\n  s3_bucket: a\n  s3_bucket: b\n",
            "flow 'bad': line 4, `s3_bucket: b`: 's3_bucket' stands there twice. Remove one",
        ),
        (
            "- name: bad\n  tags: !secret x\n",
            "flow 'bad': line 3, `tags: !secret x`: could not determine a constructor",
        ),
        (f"- name: bad\n  include: {'[' * 3000}{']' * 3000}\n", "flow 'bad': include: lists or mappings stand within"),
        (
            f"- name: bad\n  options: {'{a: ' * 3000}{'}' * 3000}\n",
            "flow 'bad': options: lists or mappings stand within",
        ),
        (f"- name: bad\n  ? {'[' * 300}{']' * 300}\n  : a\n", "flow 'bad': lists or mappings stand within"),
        (
            f"- name: bad\n  include: {'[' * 100}&z a{']' * 100}\n  exclude: [*z]\n",
            "flow 'bad': include: lists or mappings stand within",
        ),
        (
            "- name: bad\n  include:\n  - &a0 [x]\n"
            + "".join(f"  - &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)),
            "flow 'bad': include: with its aliases (*) written out it has more than 1000000 characters",
        ),
        (
            "- name: bad\n  k0: &m0 {a: b}\n"
            + "".join(f"  k{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}\n" for n in range(1, 12)),
            "with its aliases (*) written out it has more than 1000000 characters",
        ),
        (
            "- name: bad\n  include:\n  - &a0 [x]\n" + "".join(f"  - &a{n} [*a{n - 1}]\n" for n in range(1, 300)),
            "flow 'bad': include: lists or mappings stand within",
        ),
        ("- name: bad\n  include: &c [*c]\n", "flow 'bad': include: an alias (*) stands within what it stands for"),
        ("- name: bad\n  retries: !!int abc\n", "flow 'bad': retries: 'abc' is not allowed. Allowed: a whole number"),
        ("- name: bad\n  start_date: !!timestamp 2026-99-99\n", "flow 'bad': start_date: '2026-99-99' is not allowed"),
        ("- name: bad\n  retries: !!float [a]\n", "line 3, `retries: !!float [a]`: expected a scalar node"),
        ("- name: bad\n  include: !!set {a, b}\n", "could not determine a constructor for the tag"),
    ],
)
def test_a_broken_flow_leaves_its_neighbours(
    write: Callable[[str], Path], broken: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(GOOD % "one" + broken + GOOD % "two")
    logged: list[str] = []
    monkeypatch.setattr(logging.Logger, "handle", lambda _, record: logged.append(record.getMessage()))
    flows = load_flows(path)
    assert sorted(flows.dags) == ["one", "two"]
    (error,) = flows.errors
    assert message in str(error)
    assert any(str(error) in line for line in logged)
    with pytest.raises(FlowsError) as caught:
        check_flows(path)
    assert str(caught.value) == str(error)


def test_what_airflow_itself_refuses_is_its_flows_error_too(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_sftp_s3.flows import dag

    def refuse(*_: Any) -> None:
        raise RuntimeError("no such pool")

    monkeypatch.setattr(dag, "_add_push", refuse)
    loaded = load_flows(write(GOOD % "one" + "- {name: bad, direction: push, sftp_path: /in, s3_bucket: a-bucket}\n"))
    assert sorted(loaded.dags) == ["one"]
    assert [str(error) for error in loaded.errors] == ["flows.yaml, line 2: flow 'bad': RuntimeError: no such pool"]


def test_each_broken_flow_is_told(write: Callable[[str], Path]) -> None:
    path = write("- {name: bad, direction: up}\n" + GOOD % "one" + "- {name: worse, direction: down}\n")
    with pytest.raises(FlowsError, match=r"(?s)line 1: flow 'bad': direction: .*line 3: flow 'worse': direction: "):
        check_flows(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no flow. Allowed: a list of flows, each of which begins '- name: ...'"),
        ("# nothing but a comment\n", "holds no flow"),
        ("[]\n", "holds no flow"),
        ("name: in\ndirection: pull\n", "is no list. Allowed: a list of flows"),
        ("just text\n", "is no list"),
        ("[{name: in\n", "is no YAML: line 1"),
        ("defaults: {retries: @5}\nflows:\n- name: in\n", "is no YAML: line 1"),
        ("defaults: [a]\nflows:\n- name: in\n", "line 1: defaults: a mapping of fields and values is wanted"),
        ("defaults: {a: b, a: c}\nflows:\n- name: in\n", "'a' stands there twice. Remove one"),
        (
            "defaults:\n  retries: many\nflows:\n- name: in\n",
            "defaults: retries: 'many' is not allowed. Allowed: a whole",
        ),
        (
            "defaults: {retries: !!int abc}\nflows:\n- name: in\n",
            "defaults: retries: 'abc' is not allowed. Allowed: a whole",
        ),
        ("defaults:\n  name: x\nflows:\n- name: in\n", "defaults: name: there is no such field"),
        ("defaults:\n  retires: 2\nflows:\n- name: in\n", "there is no such field. Did you mean 'retries'?"),
        ("defaults:\n  retries: 2\n", "holds no flow"),
        ("defaults:\n  retries: 2\nflows:\n  name: in\n", "is no list"),
    ],
)
def test_a_file_of_no_use_says_at_which_line_and_what_to_change(
    write: Callable[[str], Path], text: str, message: str
) -> None:
    path = write(text)
    with pytest.raises(FlowsFileError) as caught:
        load_flows(path)
    assert path.name in str(caught.value)
    assert message in str(caught.value)
    check_flows(path)  # which leaves this to the other Dag file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "- name: in\n  schedule: @daily   # at midnight\n",
            "line 2, `schedule: @daily   # at midnight`: found character '@' that cannot start any token. "
            "A value that begins with @ must stand in quotes: schedule: '@daily'",
        ),
        ("- name: in\n  schedule: * * * * *\n", "must stand in quotes: schedule: '* * * * *'"),
        ("- name: in\n  include: *.csv\n", "must stand in quotes: include: '*.csv'"),
        ("- name: in\n  include: *it's\n", 'must stand in quotes: include: "*it\'s"'),
        ("- name: in\n  s3_prefix: {{ ds }}/x\n", "must stand in quotes: s3_prefix: '{{ ds }}/x'"),
        ("- name: in\n  strip_regex: [a-z]+/\n", "must stand in quotes: strip_regex: '[a-z]+/'"),
        ("- name: in\n  sftp_path: a: b\n", "A value with ': ' in it must stand in quotes"),
        ("- name: in\n\tdirection: pull\n", "line 2, `direction: pull`: found character '\\t'"),
        ("- name: in\n  sftp_path: 'open\n", "Look at the indentation, the quotes and the brackets"),
        ("- name: in\n---\n- name: out\n", "but found another document"),
        (f"- name: in\n  schedule: @{'x' * 3000}\n", "x... (and 2511 more)`: found character '@'"),
    ],
)
def test_an_entry_that_is_no_yaml_says_at_which_line_and_what_to_change(
    write: Callable[[str], Path], text: str, message: str
) -> None:
    """It takes nothing but itself off the list."""
    neighbours = (GOOD % "one", GOOD % "two")
    path = write(neighbours[0] + text + neighbours[1])
    message = message.replace("line 1,", "line 2,") if message.startswith("line 1") else message
    flows = load_flows(path)
    assert sorted(flows.dags) == ["one", "two"]
    assert message.replace("line 2,", "line 3,") in str(flows.error)
    assert flows.error
    assert "flow 'in': line" in str(flows.error)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(FlowsFileError, match=r"flows\.yaml cannot be read: No such file .*Allowed: a list of flows"):
        load_flows(tmp_path / "flows.yaml")


def test_a_file_that_is_not_utf_8_says_so(tmp_path: Path) -> None:
    (tmp_path / "flows.yaml").write_bytes("- name: caf\xe9\n".encode("latin-1"))
    with pytest.raises(FlowsFileError, match="is not UTF-8"):
        load_flows(tmp_path / "flows.yaml")


def test_plain_values_are_the_text_they_look_like(write: Callable[[str], Path]) -> None:
    """Where YAML would have made a boolean, an octal, a date, a sexagesimal number and a float of them."""
    path = write(
        "- {name: 1.10, direction: pull, sftp_path: 2024-01-31, s3_bucket: 0123, s3_prefix: 1:30, tags: [on, 010]}\n"
    )
    flows = load_flows(path)
    assert flows.errors == []
    dag = flows.dags["1.10"]
    assert dag.get_task("pull").partial_kwargs["s3_bucket"] == "0123"
    assert (rendered(dag, "sftp_path"), rendered(dag, "s3_prefix")) == ("2024-01-31", "1:30")
    assert set(flows.dags["1.10"].tags) == {"on", "010", "sftp-s3"}


def test_flows_can_share_settings_by_yamls_merge_key(write: Callable[[str], Path]) -> None:
    path = write(
        "- &first {name: one, direction: pull, sftp_path: /a, s3_bucket: a-bucket, retries: 1}\n"
        "- {<<: *first, name: two, sftp_path: /b}\n"
        "- {<<: *first, name: three}\n"
    )
    flows = load_flows(path)
    assert flows.errors == []
    assert {name: rendered(dag, "sftp_path") for name, dag in flows.dags.items()} == {
        "one": "/a",
        "two": "/b",
        "three": "/a",
    }


# -- The Dag files -----------------------------------------------------------------------------------------------------

_LOAD = """
import json, sys, warnings

def load(folder):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bag = DagBag(folder)
    return {
        "dags": {dag_id: dag.fileloc for dag_id, dag in bag.dags.items()},
        "errors": bag.import_errors,
        "warnings": [str(one) for one in caught if "sftp_s3" in one.filename],
        "modules": [name for name in ("asyncssh", "obstore", "aiobotocore") if name in sys.modules],
    }

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
print(json.dumps([load(folder) for folder in sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Airflow makes of three folders with our Dag files, in a process that has imported nothing else before."""
    folders = {
        "examples": DAGS,
        "one broken": tmp_path_factory.mktemp("broken"),
        "missing": tmp_path_factory.mktemp("no"),
    }
    for folder in list(folders.values())[1:]:
        for file in DAGS.glob("*.py"):
            (folder / file.name).write_bytes(file.read_bytes())
    (folders["one broken"] / "flows.yaml").write_text(GOOD % "one" + "- {name: bad, direction: up}\n")
    command = [sys.executable, "-c", _LOAD, *map(str, folders.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(zip(folders, json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_the_examples_load_as_they_are(loaded: dict[str, Any]) -> None:
    """With no error, no warning, and none of the libraries that only a transfer needs."""
    bag = loaded["examples"]
    assert sorted(bag["dags"]) == ["partner_pull", "partner_push", "partner_push_daily"]
    assert {Path(file).name for file in bag["dags"].values()} == {"sftp_s3_flows.py"}
    assert (bag["errors"], bag["warnings"], bag["modules"]) == ({}, [], [])


def test_a_broken_flow_is_an_import_error_of_the_file_that_has_no_dags(loaded: dict[str, Any]) -> None:
    """Of the file with the Dags it must not be one: Airflow would take all of them off the schedule."""
    bag = loaded["one broken"]
    assert list(bag["dags"]) == ["one"]
    ((file, error),) = bag["errors"].items()
    assert Path(file).name == "sftp_s3_flows_check.py"
    assert "flow 'bad': direction: 'up' is not allowed. Allowed: pull (SFTP to S3) or push (S3 to SFTP)" in error


def test_a_file_of_no_use_is_one_import_error(loaded: dict[str, Any]) -> None:
    ((file, error),) = loaded["missing"]["errors"].items()
    assert Path(file).name == "sftp_s3_flows.py"
    assert "flows.yaml cannot be read: No such file or directory. Allowed: a list of flows" in error
