"""
A flow's settings -> a Dag.

A flow is one direction between one SFTP directory and one S3 prefix. Flows are written in YAML, with no Python, and
share nothing: a wrong one must not stop its neighbours, and must be seen.

In Airflow those two wishes collide. A Dag file that raises loses all its Dags, and a file that has an import error, by
whatever trick while some of its Dags load, has *all* its Dags taken off the schedule (`DagModel.has_import_errors`, in
2.10 to 3.3). So two Dag files read the same flows.yaml:

* `dags/sftp_s3_flows.py` defines the Dags of the good flows: :func:`load_flows`.
* `dags/sftp_s3_flows_check.py` defines none, and raises what is wrong with the others: :func:`check_flows`.

Each broken flow is thus an import error like every other, in the UI's red banner, in `airflow dags list-import-errors`
and in monitoring, with the words that say what to change. It has no Dag meanwhile: its runs stay as they are and go on
once the flow is mended. A stand-in Dag that fails with the message would have replaced their tasks.
"""

from __future__ import annotations

import difflib
import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor

from airflow_provider_sftp_s3 import _flow_values as values
from airflow_provider_sftp_s3._compat import (
    AIRFLOW_2,
    DAG,
    AirflowSkipException,
    Asset,
    AssetAlias,
    AssetOrTimeSchedule,
    AssetWatcher,
    Context,
    CronDataIntervalTimetable,
    Param,
    PokeReturnValue,
)
from airflow_provider_sftp_s3._flow_values import CONTINUOUS, PRESETS
from airflow_provider_sftp_s3._flow_yaml import EntryError, FlowsFileError, read_entries
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.transfers.assets import UpdateAssetOperator
from airflow_provider_sftp_s3.transfers.base import fails_for_good
from airflow_provider_sftp_s3.transfers.s3_to_sftp import (
    S3ListAnnouncedOperator,
    S3ListUnsyncedOperator,
    S3ToSftpOperator,
    unsynced_batches,
)
from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator
from airflow_provider_sftp_s3.transfers.templates import TemplatedOperator

__all__ = ["FlowError", "Flows", "FlowsError", "FlowsFileError", "check_flows", "flow_dag", "load_flows", "parse_flow"]

log = logging.getLogger(__name__)

#: Longest time between two tries of a task: the exponential backoff grows up to here.
MAX_RETRY_DELAY = timedelta(hours=1)
#: `@continuous` starts the next run as soon as one has failed, and a flow that fails at once (a wrong password) would
#: do so for ever. Airflow pauses it after so many failures in a row; with the default retries and a server that is
#: down, that is after more than two days.
CONTINUOUS_FAILURES = 30

# -- Fields: all the words of flows.yaml -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """
    One field of a flow.

    :param parse: makes the value of what YAML or Python gives; raises ValueError.
    :param allowed: what may be written there, for the error's reader.
    :param required: whether it must be there.
    :param default: of fields that are the flow's own; the operators know the defaults of their arguments.
    """

    parse: Callable[[Any], Any]
    allowed: str
    required: bool = False
    default: Any = None


DURATION = "seconds, or numbers with units such as '90s', '1h30m', '7d' (w, d, h, m, s)"
GLOBS = "a glob such as '*.csv' (in quotes), or a list of globs; templates, too"
CONNECTION = "the id of an Airflow connection; a template, too"

#: What makes a Dag of it.
RUN_FIELDS = {
    "name": Field(
        partial(values.plain, pattern=r"[\w.-]{1,250}"),
        "the Dag's id: 1 to 250 letters, digits, '_', '-' and '.'",
        required=True,
    ),
    "direction": Field(
        partial(values.choice, among=("pull", "push")), "pull (SFTP to S3) or push (S3 to SFTP)", required=True
    ),
    "schedule": Field(
        partial(values.unless, ("none", ""), values.schedule),
        "none, a cron expression of five fields such as '0 6 * * *', a preset ('@once', "
        + ", ".join(repr(preset) for preset in PRESETS)
        + f"), or for a push '{CONTINUOUS}'; all but none in quotes",
    ),
    "start_date": Field(
        values.instant, "a date such as 2024-01-31 or 2024-01-31T06:00:00+01:00, UTC where no zone is given"
    ),
    "catchup": Field(values.boolean, "true or false", default=False),
    "retries": Field(partial(values.count, low=0, high=100), "a whole number from 0 to 100", default=5),
    "retry_delay": Field(values.duration, DURATION, default=timedelta(minutes=5)),
    "tags": Field(values.tags, "a text of up to 100 characters, or a list of them", default=["sftp-s3"]),
}
#: Arguments of both operators.
TRANSFER_FIELDS = {
    "sftp_path": Field(values.text, "a directory on the SFTP server such as /outgoing; a template, too", required=True),
    "s3_bucket": Field(
        partial(values.text, pattern=r"[A-Za-z0-9._-]{3,255}|arn:.+"),
        "a bucket's name, with no s3:// and no prefix; a template, too",
        required=True,
    ),
    "s3_prefix": Field(values.prefix, "a prefix such as inbound/partner/, '' for the whole bucket; a template, too"),
    "sftp_conn_id": Field(values.text, CONNECTION),
    "aws_conn_id": Field(
        partial(values.unless, ("none",), values.text), f"none (credentials as boto3 finds them), or {CONNECTION}"
    ),
    "include": Field(values.texts, GLOBS),
    "exclude": Field(partial(values.texts, least=0), GLOBS),
    "max_files": Field(partial(values.count, low=1), "a whole number above 0"),
    "max_bytes": Field(values.size, "a whole number of bytes above 0, or one with a unit such as '500 MB', '10GiB'"),
    "dry_run": Field(values.boolean_or_template, "true or false; a template, too"),
    "options": Field(values.options, "a mapping of " + ", ".join(TransferOptions.__dataclass_fields__)),
}
PULL_FIELDS = {
    "min_age": Field(values.duration, DURATION),
    "after_transfer": Field(partial(values.choice, among=("move", "delete", "keep")), "move, delete or keep"),
    "done_dir": Field(values.directory_name, "a directory's name such as .done, not a path"),
    "retention": Field(partial(values.unless, ("none", "never"), values.duration), f"never, or {DURATION}"),
}
PUSH_FIELDS = {
    "strip_regex": Field(values.regex, "a regular expression (in single quotes); a template, too"),
    "mark": Field(partial(values.choice, among=("metadata", "tag", "none")), "metadata, tag or none"),
}
#: Of the Dag as a whole.
PARALLELISM = {
    "parallelism": Field(partial(values.count, low=1, high=1000), "a whole number from 1 to 1000", default=1),
}
PUSH_RUN_FIELDS = {
    "batch_files": Field(partial(values.count, low=1, high=10_000), "a whole number from 1 to 10000", default=1000),
    "trigger": Field(
        partial(values.choice, among=("sqs",)), "sqs: run on S3's own events, besides the schedule; or leave it out"
    ),
    "queue_url": Field(
        partial(values.plain, pattern=r"https?://[^\s/]+/\S+"),
        "the URL of the SQS queue that S3's events go to, such as https://sqs.eu-central-1.amazonaws.com/123456789012/in",
    ),
    "poke_interval": Field(
        partial(values.duration, least=timedelta(seconds=1)),
        f"1 second or more: {DURATION}",
        default=timedelta(minutes=1),
    ),
    "wait_timeout": Field(values.duration, DURATION),
}
FIELDS = {
    "pull": RUN_FIELDS | TRANSFER_FIELDS | PULL_FIELDS | PARALLELISM,
    "push": RUN_FIELDS | TRANSFER_FIELDS | PUSH_FIELDS | PARALLELISM | PUSH_RUN_FIELDS,
}
ALL_FIELDS = FIELDS["pull"] | FIELDS["push"]


def _is_cron(schedule: str | None) -> bool:
    return schedule not in (None, "@once", CONTINUOUS)


def _is_sqs(flow: Mapping[str, Any]) -> bool:
    return flow.get("trigger") == "sqs"


@dataclass(frozen=True)
class Rule:
    """Fields that are fine by themselves and do not go together. The message stands under `field`."""

    field: str
    broken: Callable[[Mapping[str, Any]], bool]
    message: str


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
        "schedule",
        lambda flow: flow["direction"] == "pull" and flow["schedule"] == CONTINUOUS,
        f"'{CONTINUOUS}' would log in to the SFTP server again and again with no pause. "
        "Allowed for a pull: a cron expression such as '*/5 * * * *', a preset, or none",
    ),
    Rule(
        "mark",
        lambda flow: flow["schedule"] == CONTINUOUS and flow.get("mark") == "none",
        f"none leaves every object unsynced, and '{CONTINUOUS}' would push them again and again. "
        "Allowed here: metadata or tag",
    ),
    Rule(
        "dry_run",
        lambda flow: flow["schedule"] == CONTINUOUS and bool(flow.get("dry_run")),
        f"it leaves every object unsynced, and '{CONTINUOUS}' would start run after run. Allowed here: false",
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
        "s3_prefix",
        lambda flow: _is_sqs(flow) and values.is_template(flow.get("s3_prefix", "")),
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

# -- Settings ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a flow: in which field, and what to write there."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class FlowError(ValueError):
    """
    A flow that makes no Dag.

    :param flow: its name or, where it has no usable one, its position in the file.
    :param problems: everything that is wrong with it.
    :param where: file and line, where they are known.
    """

    def __init__(self, flow: str | int, problems: Iterable[Problem], where: str = "") -> None:
        self.flow, self.problems, self.where = flow, tuple(problems), where
        start = f"{where}: " if where else ""
        called = repr(flow) if isinstance(flow, str) else f"number {flow}"
        super().__init__("\n".join(f"{start}flow {called}: {problem}" for problem in self.problems))


class FlowsError(ValueError):
    """Some flows of a file make no Dag. The message holds that of each."""


def parse_flow(settings: Any, *, position: int = 1, where: str = "") -> dict[str, Any]:
    """
    Return a flow's settings, checked and converted; an operator's argument that is not set is left out.

    :param settings: the fields as in flows.yaml, as text or as Python values. None stands for "not set".
    :param position: names the flow, from 1, where its name cannot.
    :param where: file and line, for the error.
    :raises FlowError: naming the flow and, for everything wrong, the field, the value and what is allowed.
    """
    if not isinstance(settings, Mapping):
        found = Problem("", f"{settings!r} is no flow. Allowed: fields with values, the first of them '- name: ...'")
        raise FlowError(position, [found], where)
    direction = settings.get("direction")
    fields = FIELDS.get(direction, ALL_FIELDS) if isinstance(direction, str) else ALL_FIELDS
    flow: dict[str, Any] = {}
    problems = [_unknown_field(name, direction, fields) for name in settings if name not in fields]
    for name, known in fields.items():
        raw = settings.get(name)
        if raw is not None:
            try:
                flow[name] = known.parse(raw)
            except ValueError as error:
                reason = f": {error}" if str(error) else ""
                problems.append(Problem(name, f"{raw!r} is not allowed{reason}. Allowed: {known.allowed}"))
        elif known.required:
            problems.append(Problem(name, f"missing. Allowed: {known.allowed}"))
        elif name in RUN_FIELDS or known.default is not None:
            flow[name] = known.default
    if not problems:
        problems = [Problem(rule.field, rule.message) for rule in RULES if rule.broken(flow)]
    if problems:
        raise FlowError(flow.get("name", position), problems, where)
    return flow


def _unknown_field(name: Any, direction: Any, fields: Mapping[str, Field]) -> Problem:
    if name in ALL_FIELDS:
        other = "push" if direction == "pull" else "pull"
        return Problem(name, f"only a {other} flow has this field. Allowed in a {direction}: {', '.join(fields)}")
    near = difflib.get_close_matches(str(name), fields, 1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return Problem(str(name), f"there is no such field. {hint}Allowed: {', '.join(fields)}")


# -- Dags --------------------------------------------------------------------------------------------------------------


class S3UnsyncedSensor(TemplatedOperator, S3KeySensor):  # type: ignore[misc]  # Airflow is untyped here
    """
    Wait for objects under a prefix that are not marked as pushed, and list them: an S3KeySensor with another check.

    A plain S3KeySensor with a `check_fn` lists the whole prefix into memory before it asks, takes a `[` in the prefix
    for a pattern, and makes hours of retries of a bucket that does not exist.

    :param wait: how long after the end of a run's data interval an object may still come; then the task is skipped.
        So a backfilled day with no objects ends at once, while today's run gives a late partner time.
    :param mark: as for S3ToSftpOperator.
    :param include: as for S3ToSftpOperator. (templated)
    :param exclude: as for S3ToSftpOperator. (templated)
    :param batch_files: as for S3ListUnsyncedOperator.
    :param max_batches: as for S3ListUnsyncedOperator.
    :return: a list of lists of keys, as S3ListUnsyncedOperator.
    :raises AirflowSkipException: nothing has come. (On Airflow 2 an empty list is returned: what is mapped over it is
        skipped.)
    :raises AirflowFailException: a setting, a credential or the bucket is wrong.
    """

    template_fields = ("bucket_name", "bucket_key", "aws_conn_id", "include", "exclude")

    def __init__(
        self,
        *,
        wait: timedelta,
        mark: str = "metadata",
        include: str | list[str] = "*",
        exclude: str | list[str] | None = None,
        batch_files: int = 1000,
        max_batches: int = 1000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait = wait
        self.mark = mark
        self.include = include
        self.exclude = exclude
        self.batch_files = batch_files
        self.max_batches = max_batches

    def execute(self, context: Context) -> Any:
        """Poke until there is something, and return it."""
        return super(S3KeySensor, self).execute(context)  # S3KeySensor itself drops what poke() has found

    @fails_for_good
    def poke(self, context: Context) -> PokeReturnValue:
        """List the unsynced objects, if there are any."""
        batches = unsynced_batches(
            s3_bucket=self.bucket_name,
            s3_prefix=self.bucket_key,
            mark=self.mark,
            include=self.include,
            exclude=self.exclude,
            aws_conn_id=self.aws_conn_id,
            batch_files=self.batch_files,
            max_batches=self.max_batches,
        )
        if batches:
            return PokeReturnValue(is_done=True, xcom_value=batches)
        # A run that was started with no logical date has no interval.
        due = context.get("data_interval_end") or context["dag_run"].start_date
        if datetime.now(UTC) >= due + self.wait:
            place = f"s3://{self.bucket_name}/{self.bucket_key}"
            nothing = f"no unsynced object under {place!r} within {self.wait} after {due}"
            if AIRFLOW_2:
                # Its backfill would end the run as failed: what is mapped over a skipped task has no list to map over.
                self.log.info("%s", nothing)
                return PokeReturnValue(is_done=True, xcom_value=[])
            raise AirflowSkipException(nothing)
        return PokeReturnValue(is_done=False)


def flow_dag(settings: Mapping[str, Any]) -> DAG:
    """
    Return the Dag of one flow.

    :param settings: as for :func:`parse_flow`.
    :raises FlowError: as there.
    """
    return _dag(parse_flow(settings))


def _dag(flow: Mapping[str, Any]) -> DAG:
    schedule = flow["schedule"]
    limits = {"max_consecutive_failed_dag_runs": CONTINUOUS_FAILURES} if schedule == CONTINUOUS else {}
    dag = DAG(
        dag_id=flow["name"],
        doc_md=_sentence(flow),
        schedule=_timetable(flow) if _is_cron(schedule) else schedule,
        start_date=flow["start_date"] or datetime(2024, 1, 1, tzinfo=UTC),
        catchup=flow["catchup"],
        max_active_runs=1,  # two at a time would transfer the same files
        tags=flow["tags"],
        params=_params(flow),
        default_args={
            "retries": flow["retries"],
            "retry_delay": flow["retry_delay"],
            "retry_exponential_backoff": True,
            "max_retry_delay": max(MAX_RETRY_DELAY, flow["retry_delay"]),
        },
        **limits,
    )
    add_tasks = _add_pull if flow["direction"] == "pull" else _add_push
    outlets = [AssetAlias(flow["name"])]
    at_once = flow["parallelism"] > 1
    transfers = add_tasks(dag, {**flow, **_templates(flow)}, [] if at_once else outlets)
    if at_once:
        update = UpdateAssetOperator(task_id="update_asset", transfers=transfers.task_id, outlets=outlets, dag=dag)
        update.set_upstream(transfers)
    # Airflow's own limit, 16 unless configured, would be a lower parallelism than what the flow says.
    dag.max_active_tasks = max(dag.max_active_tasks, flow["parallelism"])
    return dag


def _timetable(flow: Mapping[str, Any]) -> Any:
    # Spelled out, since a bare cron expression means something else on Airflow 3 than on 2: there, the run that
    # starts at midnight has the new day's `ds`, and would push what was there of that day at midnight.
    times = CronDataIntervalTimetable(flow["schedule"], timezone="UTC")
    return AssetOrTimeSchedule(timetable=times, assets=[_queue(flow)]) if _is_sqs(flow) else times


def _queue(flow: Mapping[str, Any]) -> Asset:
    """Return the asset that has an event whenever there are messages in the queue. Flows may share a queue."""
    from airflow.providers.amazon.aws.triggers.sqs import SqsSensorTrigger

    region = re.match(r"https://sqs\.([a-z0-9-]+)\.amazonaws\.", flow["queue_url"])
    trigger = SqsSensorTrigger(
        sqs_queue=flow["queue_url"],
        aws_conn_id=flow.get("aws_conn_id", "aws_default"),
        region_name=region and region[1],
        max_messages=10,  # all that SQS gives at a time
        num_batches=10,
        waiter_delay=math.ceil(flow["poke_interval"].total_seconds()),
    )
    return Asset(flow["queue_url"], watchers=[AssetWatcher(name=flow["queue_url"], trigger=trigger)])


#: What can be changed for one run: field -> its name in the trigger form, and the value of a flow that does not set it.
CHANGEABLE = {"s3_prefix": ("S3 prefix", ""), "sftp_path": ("SFTP directory", ""), "dry_run": ("Dry run", False)}


def _params(flow: Mapping[str, Any]) -> dict[str, Param]:
    """Return the fields of the Dag's trigger form, which begins with the flow's own values."""
    params = {}
    for name, (title, unset) in CHANGEABLE.items():
        own = flow.get(name, unset)
        if isinstance(own, bool):
            touches_nothing = "List what would be done, touch nothing."
            params[name] = Param(own, title=title, type="boolean", description=touches_nothing)
            continue
        # Whoever may start a run may not read every connection and variable: only the flow's own templates are
        # rendered. Another one would be taken for the name of a directory, and find nothing.
        allowed = r"^(?![\s\S]*\{[{%])"
        params[name] = Param(
            own,
            title=title,
            # With no null, the form would not take an empty prefix.
            type=["null", "string", "boolean"] if name == "dry_run" else ["null", "string"],
            pattern=rf"{allowed}|^{re.escape(own)}$" if values.is_template(own) else allowed,
            description="For this run only. Empty: as the flow says. No templates but the flow's own.",
        )
    return params


def _templates(flow: Mapping[str, Any]) -> dict[str, str]:
    """Return templates of the fields in the trigger form: what the run was given, or else the flow's own value."""
    templates = {}
    for name, (_, unset) in CHANGEABLE.items():
        own = flow.get(name, unset)
        if isinstance(own, bool):
            templates[name] = f"{{{{ params.{name} }}}}"
        elif values.is_template(own):
            unchanged = f"params.{name} in (none, '', {own!r})"
            templates[name] = f"{{% if {unchanged} %}}{own}{{% else %}}{{{{ params.{name} }}}}{{% endif %}}"
        else:
            templates[name] = f"{{{{ params.{name} or {own!r} }}}}"
    return templates


def _add_pull(dag: DAG, flow: Mapping[str, Any], outlets: Sequence[AssetAlias]) -> Any:
    """Add the tasks of a pull, and return the one that transfers, with these outlets."""
    arguments = {"task_id": "pull", "dag": dag, "outlets": outlets}
    arguments |= _set(flow, *TRANSFER_FIELDS, *PULL_FIELDS)
    shards = flow["parallelism"]
    if shards == 1:
        return SftpTreeToS3Operator(**arguments)
    return SftpTreeToS3Operator.partial(map_index_template="{{ task.shard }}", **arguments).expand(
        shard=[f"{number}/{shards}" for number in range(1, shards + 1)]
    )


def _add_push(dag: DAG, flow: Mapping[str, Any], outlets: Sequence[AssetAlias]) -> Any:
    """Add the tasks of a push, and return the one that transfers, with these outlets."""
    batches = _batches(flow)
    where = _set(flow, "s3_bucket", "s3_prefix", *LISTING_FIELDS)
    if _is_sqs(flow):
        # It does not wait: it would hold up the runs that events start.
        listed = S3ListAnnouncedOperator(task_id="list_unsynced", dag=dag, **where, **batches)
    elif AIRFLOW_2:
        # What lists must be the Dag's first task: this backfill never maps over the result of a later one
        # (BackfillJobRunner looks for it under a try_number that it has since increased).
        listed = _waited_for(dag, flow, **batches)
    else:
        listed = S3ListUnsyncedOperator(task_id="list_unsynced", dag=dag, **where, **batches)
        listed.set_upstream(_waited_for(dag, flow, batch_files=1, max_batches=1))
    return S3ToSftpOperator.partial(
        task_id="push",
        dag=dag,
        outlets=outlets,
        max_active_tis_per_dag=flow["parallelism"],
        map_index_template="{{ task.batch }}",
        **_set(flow, *TRANSFER_FIELDS, *PUSH_FIELDS),
    ).expand(s3_keys=listed.output)


def _waited_for(dag: DAG, flow: Mapping[str, Any], **batches: Any) -> S3UnsyncedSensor:
    wait = flow.get("wait_timeout", timedelta(days=1) if flow["schedule"] == CONTINUOUS else timedelta(hours=1))
    return S3UnsyncedSensor(
        task_id="wait_for_objects",
        bucket_name=flow["s3_bucket"],
        bucket_key=flow["s3_prefix"],
        wait=wait,
        mode="reschedule",
        poke_interval=flow["poke_interval"].total_seconds(),
        # A failure, and so later than `wait`, which is none.
        timeout=(wait + 2 * flow["poke_interval"]).total_seconds(),
        deferrable=False,  # whatever operators.default_deferrable says: the trigger would not know the check
        dag=dag,
        **_set(flow, *LISTING_FIELDS),
        **batches,
    )


#: Which objects are there to push.
LISTING_FIELDS = ("include", "exclude", "mark", "aws_conn_id")


def _batches(flow: Mapping[str, Any]) -> dict[str, Any]:
    """Return how to cut the list: a run with a cap is one push task, since each task keeps to the cap by itself."""
    if "max_files" in flow or "max_bytes" in flow:
        return {"batch_files": flow.get("max_files", flow["batch_files"]), "max_batches": 1}
    return {"batch_files": flow["batch_files"]}


def _set(flow: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return those of the fields that are set, so that the operators' defaults stand for the others."""
    return {name: flow[name] for name in names if name in flow}


def _sentence(flow: Mapping[str, Any]) -> str:
    """Say what the flow does: the Dag's documentation in Airflow's UI."""
    schedule = flow["schedule"]
    others = {None: "When started by hand", "@once": "Once", CONTINUOUS: "As soon as an object lands"}
    when = others.get(schedule, f"On the schedule `{schedule}` (UTC)")
    if _is_sqs(flow):
        when += " and as S3's events come"
    server = f"`{flow['sftp_path']}` on the SFTP server of connection `{flow.get('sftp_conn_id', 'sftp_default')}`"
    bucket = f"`s3://{flow['s3_bucket']}/{flow.get('s3_prefix', '')}`"
    include = flow.get("include", ["*"])
    which = "everything" if include == ["*"] else " and ".join(f"`{glob}`" for glob in include)
    which += "".join(f" but `{glob}`" for glob in flow.get("exclude", []))
    if flow["direction"] == "pull":
        then = {
            "move": f"moves each file into `{flow.get('done_dir', '.done')}` beside it",
            "delete": "deletes each file there",
            "keep": "leaves each file there",
        }[flow.get("after_transfer", "move")]
        does = f"pulls {which} in {server} to {bucket} and {then}"
    else:
        mark = flow.get("mark", "metadata")
        then = "marks nothing" if mark == "none" else f"marks each object as synced in its {mark}"
        does = f"pushes {which} in {bucket} that is not synced to {server} and {then}"
    return f"{when}, {does}.\n\nMade from the flow `{flow['name']}` of a flows.yaml."


# -- The file ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flows:
    """What a flows.yaml has given: the good flows' Dags by name, and the errors of the others."""

    dags: dict[str, DAG] = field(default_factory=dict)
    errors: list[FlowError] = field(default_factory=list)


def load_flows(path: str | Path) -> Flows:
    """
    Return the Dags of the flows in a YAML file, and the errors of those that make none.

    For a Dag file, where Airflow looks for Dags among the global names::

        globals().update(load_flows(Path(__file__).with_name("flows.yaml")).dags)

    A second one beside it should call :func:`check_flows`, or the errors stand in the Dag processor's log only.

    :raises FlowsFileError: the file is missing, empty, no YAML, or no list.
    """
    path = Path(path)
    flows = Flows()
    for position, entry in enumerate(read_entries(path), 1):
        where = f"{path.name}, line {entry.line}"
        try:
            flow = parse_flow(entry.read(), position=position, where=where)
            name = flow["name"]
            if name in flows.dags:
                taken = Problem("name", f"{name!r} is not allowed: a flow above has it. Allowed: a name of its own")
                raise FlowError(name, [taken], where)
            flows.dags[name] = _dag(flow)
        except FlowError as wrong:
            flows.errors.append(wrong)
        except EntryError as unreadable:
            flows.errors.append(FlowError(entry.name or position, [Problem("", str(unreadable))], where))
        except Exception as unforeseen:  # Airflow's own objections: they, too, are this one flow's
            found = Problem("", f"{type(unforeseen).__name__}: {unforeseen}")
            flows.errors.append(FlowError(entry.name or position, [found], where))
    for error in flows.errors:
        log.error("%s", error)
    return flows


def check_flows(path: str | Path) -> None:
    """
    Raise what is wrong with the flows of a file, if anything is.

    A file of which nothing can be used is not reported: the Dag file that calls :func:`load_flows` fails by itself.

    :raises FlowsError: with the message of every flow that makes no Dag.
    """
    try:
        errors = load_flows(path).errors
    except FlowsFileError:
        return
    if errors:
        raise FlowsError("\n".join(str(error) for error in errors))
