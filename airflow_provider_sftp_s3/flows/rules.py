"""Fields of a flow that are fine by themselves and do not go together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from typing import Any

from airflow_provider_sftp_s3._compat import (
    AssetWatcher,
)
from airflow_provider_sftp_s3.engine.paths import directory_prefix
from airflow_provider_sftp_s3.engine.triggers import is_of_a_run
from airflow_provider_sftp_s3.flows import values
from airflow_provider_sftp_s3.flows.values import CONTINUOUS
from airflow_provider_sftp_s3.operators.s3_events import ACCESS_POINT


def _is_cron(schedule: str | None) -> bool:
    return schedule not in (None, "@once", CONTINUOUS)


def _takes_away(flow: Mapping[str, Any]) -> bool:
    """Say whether a push moves or deletes what it has delivered, as far as that is written plainly."""
    return bool(flow["direction"] == "push" and flow.get("after_transfer") in ("move", "delete"))


def _keeps(flow: Mapping[str, Any]) -> bool:
    """Say whether a pull leaves the files where they are, as far as that is written plainly."""
    after = flow.get("after_transfer", "move")
    return after == "keep" or values.is_template(after)


def _sends_what_was_sent(flow: Mapping[str, Any]) -> bool:
    """Say whether one of a push's two prefixes is inside the other, as far as they are written plainly."""
    prefixes = [flow.get(name, "") for name in ("s3_prefix", "sent_prefix")]
    if "sent_prefix" not in flow or any(map(values.is_template, prefixes)):
        return False
    one, other = map(directory_prefix, prefixes)
    return one.startswith(other) or other.startswith(one)


#: What stands beside files.
BESIDE = ("trigger_file", "checksum_file")


def _is_beside_a_taken_name(name: str, flow: Mapping[str, Any]) -> bool:
    return name in flow and flow["direction"] == "push" and flow.get("on_conflict") in ("rename", "wait")


def _is_not_listed_beside(name: str, flow: Mapping[str, Any]) -> bool:
    others = flow.get("on_conflict") == "rename" or "sftp_paths" in flow or flow.get("follow_links", False)
    return name in flow and flow["direction"] == "pull" and bool(others)


def _is_last_of_given_files(flow: Mapping[str, Any]) -> bool:
    others = "sftp_paths" in flow or flow.get("follow_links", False)
    return "last" in flow and flow["direction"] == "pull" and bool(others)


def _is_sqs(flow: Mapping[str, Any]) -> bool:
    return flow.get("trigger") == "sqs"


@dataclass(frozen=True)
class Rule:
    """Fields that are fine by themselves and do not go together. The message stands under `field`."""

    field: str
    broken: Callable[[Mapping[str, Any]], bool]
    message: str


def wait_of(flow: Mapping[str, Any]) -> timedelta:
    """Return for how long a push waits for its first object."""
    unset = timedelta(days=1) if flow["schedule"] == CONTINUOUS else timedelta(hours=1)
    wait: timedelta = flow.get("wait_timeout", unset)
    return wait


RULES = (
    Rule(
        "catchup",
        lambda flow: flow["catchup"] and flow["start_date"] is None,
        "true needs to know the first day. Allowed: false, or add a start_date",
    ),
    Rule(
        "catchup",
        lambda flow: flow["catchup"] and not _is_cron(flow["schedule"]),
        "true needs times to catch up with. Allowed: false, or make the schedule a cron expression or '@daily'",
    ),
    Rule(
        "end_date",
        lambda flow: (
            flow["end_date"] is not None and flow["start_date"] is not None and flow["end_date"] <= flow["start_date"]
        ),
        "it is not after start_date, and no run would ever begin. Allowed: a later date",
    ),
    Rule(
        "max_retry_delay",
        lambda flow: flow["max_retry_delay"] is not None and flow["max_retry_delay"] < flow["retry_delay"],
        "it is shorter than retry_delay. Allowed: as long, or longer",
    ),
    Rule(
        "dagrun_timeout",
        lambda flow: (
            flow["direction"] == "push"
            and not _is_sqs(flow)
            and flow["dagrun_timeout"] is not None
            and flow["dagrun_timeout"] <= wait_of(flow)
        ),
        "each run in which no object comes would fail, since it waits for one for wait_timeout (1h; with "
        "'@continuous' 1d). Allowed: longer than that, or set wait_timeout",
    ),
    Rule(
        "schedule",
        lambda flow: flow["direction"] == "pull" and flow["schedule"] == CONTINUOUS,
        f"'{CONTINUOUS}' would log in to the SFTP server again and again with no pause. "
        "Allowed for a pull: a cron expression such as '*/5 * * * *', a preset, or none",
    ),
    Rule(
        "follow_links",
        lambda flow: flow.get("follow_links", False) and not _keeps(flow),
        "true would move or delete links, and not their files. Allowed here: false, or add 'after_transfer: keep'",
    ),
    Rule(
        "mark",
        lambda flow: flow["schedule"] == CONTINUOUS and flow.get("mark") == "none",
        f"none leaves every object unsynced, and '{CONTINUOUS}' would push them again and again. "
        "Allowed here: auto, metadata or tag",
    ),
    Rule(
        "mark",
        lambda flow: _takes_away(flow) and flow.get("mark", "auto") != "auto",
        "what is moved or deleted is not marked. Allowed with 'after_transfer: move' or delete: leave it out",
    ),
    Rule(
        "sent_prefix",
        lambda flow: (
            flow["direction"] == "push"
            and not values.is_template(flow.get("after_transfer", ""))
            and (flow.get("after_transfer") == "move") != ("sent_prefix" in flow)
        ),
        "'after_transfer: move' and sent_prefix, the place to move to, need each other. Allowed: both, or none",
    ),
    Rule(
        "sent_prefix",
        _sends_what_was_sent,
        "it and s3_prefix overlap, and what was sent would be sent again. Allowed: two prefixes of which neither is "
        "inside the other, such as outbound/ and sent/; an empty s3_prefix is the whole bucket",
    ),
    *(
        Rule(
            name,
            partial(_is_beside_a_taken_name, name),
            "a file that is there has, or awaits, one of the same name. Allowed with 'on_conflict: replace' or fail",
        )
        for name in BESIDE
    ),
    *(
        Rule(
            name,
            partial(_is_not_listed_beside, name),
            "a file and what stands beside it have one name for each other, in one directory that is listed. Allowed "
            "without sftp_paths, follow_links and 'on_conflict: rename'",
        )
        for name in BESIDE
    ),
    Rule(
        "parallelism",
        lambda flow: flow["parallelism"] > 1 and is_of_a_run(flow.get("trigger_file", "{name}")),
        "a trigger without {name} or {stem} is for all files of a directory, and no task may be ahead of another one. "
        "Allowed with such a trigger_file: 1",
    ),
    Rule(
        "last",
        _is_last_of_given_files,
        "the others of a directory are found where it is listed as a whole. Allowed without sftp_paths, follow_links",
    ),
    Rule(
        "parallelism",
        lambda flow: flow["parallelism"] > 1 and "last" in flow,
        "what is last waits for all files of its directory, and no other task may have some. Allowed with last: 1",
    ),
    Rule(
        "dry_run",
        lambda flow: flow["schedule"] == CONTINUOUS and bool(flow.get("dry_run")),
        f"it leaves every object unsynced, and '{CONTINUOUS}' would start run after run. Allowed here: false",
    ),
    Rule(
        "expected_files",
        lambda flow: "expected_files" in flow and _takes_away(flow),
        "what is moved or deleted is there no more to be counted. Allowed with 'after_transfer: keep' only",
    ),
    Rule(
        "expected_files",
        lambda flow: "expected_files" in flow and len(flow["name"]) > 241,
        "their Dag is called <name>_expected, and Airflow takes 250 characters. Allowed: a shorter name",
    ),
    Rule(
        "trigger",
        lambda flow: _is_sqs(flow) and AssetWatcher is None,
        "sqs needs Airflow 3.0 or newer. Allowed on this one: leave it out, and set the schedule to '@continuous'",
    ),
    Rule(
        "trigger",
        lambda flow: _is_sqs(flow) and AssetWatcher is not None and find_spec("aiobotocore") is None,
        "sqs needs aiobotocore: install airflow-provider-sftp-s3[sqs]. Allowed without: leave it out",
    ),
    Rule(
        "queue_url",
        lambda flow: _is_sqs(flow) != ("queue_url" in flow),
        "'trigger: sqs' and queue_url need each other. Allowed: both, or none",
    ),
    Rule(
        "schedule",
        lambda flow: _is_sqs(flow) and not _is_cron(flow["schedule"]),
        "'trigger: sqs' needs times too: a message that is lost must not be an object that is lost. "
        "Allowed here: a cron expression, or a preset such as '@hourly'",
    ),
    Rule(
        "s3_bucket",
        lambda flow: _is_sqs(flow) and bool(ACCESS_POINT.search(flow["s3_bucket"])),
        "'trigger: sqs' with an access point: S3's events name the bucket, and none would be taken for one of this "
        "flow's. Allowed here: the bucket's own name",
    ),
    Rule(
        "s3_prefix",
        lambda flow: _is_sqs(flow) and values.is_template(flow.get("s3_prefix", "")),
        "a run that was started by an event has no date. Allowed with 'trigger: sqs': a prefix with no template",
    ),
    Rule(
        "sent_prefix",
        lambda flow: _is_sqs(flow) and values.is_template(flow.get("sent_prefix", "")),
        "a run that was started by an event has no date. Allowed with 'trigger: sqs': a prefix with no template",
    ),
    Rule(
        "aws_conn_id",
        lambda flow: _is_sqs(flow) and values.is_template(flow.get("aws_conn_id") or ""),
        "Airflow renders no templates in a trigger. Allowed with 'trigger: sqs': none, or the id of a connection",
    ),
    Rule(
        "wait_timeout",
        lambda flow: _is_sqs(flow) and "wait_timeout" in flow,
        "with 'trigger: sqs' no run waits. Allowed here: leave it out",
    ),
)
