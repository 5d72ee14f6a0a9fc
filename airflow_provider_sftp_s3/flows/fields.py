"""
The fields of a flow: all the words of flows.yaml.

Those that are arguments of the operators are explained there; here are the flow's own, for docs/fields.md:

:param name: the name of the Dag. A flow that gets another name is another Dag.
:param direction: which way the files go.
:param schedule: when runs begin. With ``@continuous`` a push waits for its first object, and the next run begins when
    one has ended. Without a schedule, runs are started by hand only.
:param start_date: the first day that a run is about. With `catchup`, all days since then have their runs.
:param end_date: the last day that a run is about.
:param timezone: the zone of the cron expression, and of dates that name no zone.
:param catchup: whether the runs since `start_date` that were not made are made when the Dag is unpaused.
:param retries: how many tries follow the first one.
:param retry_delay: the time between the first try and the second; it doubles with each further try.
:param max_retry_delay: the longest time between two tries. If it is not given: an hour, or `retry_delay` if that is
    longer.
:param tags: tags of the Dag, besides ``sftp-s3``.
:param description: the description of the Dag.
:param dagrun_timeout: how long a run may take as a whole. For a push that waits for objects, it must be longer than
    `wait_timeout`.
:param access_control: which roles may do what with the Dag. If a role does not exist, Airflow shows an error for all
    flows of the file.
:param owner: the owner of each task.
:param pool: the pool of each task. Tasks in a pool that does not exist wait for ever: make it first.
:param pool_slots: how many slots of the pool a task takes.
:param queue: the queue of each task: it says which workers take the task.
:param priority_weight: the priority of each task.
:param execution_timeout: how long a try of a task may take.
:param executor: the executor of each task, if Airflow has several.
:param notify: who is told of each task that has failed, has succeeded, or is tried again.
:param parallelism: how many tasks transfer at a time, each with a connection of its own. Those of a pull share the
    tree, and each lists all of it. Those of a push take one batch each.
:param expected_files: which files must be in S3 at which time of which days. A second Dag, ``<name>_expected``, looks
    then, and fails if there are too few.
:param batch_files: how many objects a task of a push takes, at most.
:param trigger: with ``sqs``, a run begins when S3's events come, and also on the schedule. Airflow 3.0 and later.
:param queue_url: the address of the SQS queue to which S3's events come.
:param poke_interval: how long a push that waits pauses between two looks: into the prefix or, with `trigger`, into the
    queue.
:param wait_timeout: how long a run waits for its first object before it ends as skipped. If it is not given: an hour,
    or a day with ``@continuous``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.flows import events, values
from airflow_provider_sftp_s3.flows.values import CONTINUOUS, PRESETS
from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator
from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator


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
SIZE = "a whole number of bytes above 0, or one with a unit such as '500 MB', '10GiB'"
GLOBS = "a glob such as '*.csv' (in quotes), or a list of globs; templates, too"
DATE = "a date such as 2024-01-31 or 2024-01-31T06:00:00+01:00, in the flow's timezone where no zone is given"
CONNECTION = "the id of an Airflow connection; a template, too"
#: What makes a Dag of it.
RUN_FIELDS = {
    "name": Field(
        partial(values.plain, pattern=r"[\w.-]{1,250}"),
        "the Dag's id: 1 to 250 letters from a to z and A to Z, digits, '_', '-' and '.'",
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
    "start_date": Field(values.instant, DATE),
    "end_date": Field(values.instant, DATE),
    "timezone": Field(values.timezone, "the name of a time zone such as Europe/Berlin", default="UTC"),
    "catchup": Field(values.boolean, "true or false", default=False),
    "retries": Field(partial(values.count, low=0, high=100), "a whole number from 0 to 100", default=7),
    "retry_delay": Field(values.duration, DURATION, default=timedelta(minutes=1)),
    "max_retry_delay": Field(partial(values.duration, least=timedelta(seconds=1)), f"1 second or more: {DURATION}"),
    "tags": Field(values.tags, "a text of up to 100 characters, or a list of them", default=["sftp-s3"]),
    "description": Field(partial(values.plain, pattern=r"(?s:.{1,1000})"), "a text of up to 1000 characters"),
    "dagrun_timeout": Field(partial(values.duration, least=timedelta(seconds=1)), f"1 second or more: {DURATION}"),
    "access_control": Field(
        values.access_control,
        "a mapping of roles to lists of can_read, can_edit and can_delete, or to a mapping of DAGs, DAG Runs to lists",
    ),
}


_LABEL = partial(values.plain, pattern=r"[^\x00-\x1f\x7f]{1,250}")
#: Airflow's own, of each task.
TASK_FIELDS = {
    "owner": Field(_LABEL, "a name of up to 250 characters"),
    "pool": Field(_LABEL, "the name of an Airflow pool, up to 250 characters"),
    "pool_slots": Field(partial(values.count, low=1, high=1000), "a whole number from 1 to 1000"),
    "queue": Field(_LABEL, "the name of a queue, up to 250 characters"),
    "priority_weight": Field(partial(values.count, low=1, high=1_000_000), "a whole number from 1 to 1000000"),
    "execution_timeout": Field(partial(values.duration, least=timedelta(seconds=1)), f"1 second or more: {DURATION}"),
    "executor": Field(values.executor, "an executor that [core] executor names"),
    "notify": Field(
        events.notify,
        f"a mapping of {', '.join(events.CALLBACKS)} to lists of notifiers, each a dotted path or, with arguments, "
        "{a.dotted.path: {argument: value}}",
    ),
}


#: Arguments of both operators.
TRANSFER_FIELDS = {
    "sftp_path": Field(values.text, "a directory on the SFTP server such as /outgoing; a template, too", required=True),
    "s3_bucket": Field(
        values.bucket,
        "a bucket's name, with no s3:// and no prefix; a template, too",
        required=True,
    ),
    "s3_prefix": Field(values.prefix, "a prefix such as inbound/partner/, '' for the whole bucket; a template, too"),
    "sftp_conn_id": Field(values.text, CONNECTION),
    "destination": Field(
        values.text, "a name for the partner, where it is not the one of sftp_conn_id; a template, too"
    ),
    "aws_conn_id": Field(
        partial(values.unless, ("none",), values.text), f"none (credentials as boto3 finds them), or {CONNECTION}"
    ),
    "include": Field(values.texts, GLOBS),
    "exclude": Field(partial(values.texts, least=0), GLOBS),
    "last": Field(values.texts, GLOBS),
    "max_files": Field(
        partial(values.or_template, partial(values.count, low=1)), "a whole number above 0; a template, too"
    ),
    "max_bytes": Field(partial(values.or_template, values.size), f"{SIZE}; a template, too"),
    "min_size": Field(partial(values.or_template, values.size), f"{SIZE}; a template, too"),
    "max_size": Field(partial(values.or_template, values.size), f"{SIZE}; a template, too"),
    "max_age": Field(partial(values.or_template, values.duration), f"{DURATION}; a template, too"),
    "order": Field(partial(values.choice, among=("oldest",)), "oldest: begin with the oldest; or leave it out"),
    "rename_to": Field(
        values.rename_to,
        "a path beneath the target such as '{dir}/{stem}_{mtime:%Y%m%d}{suffix}' (in quotes); its words are {dir}, "
        "{stem}, {suffix}, {name}, {size}, {mtime} and {mtime:%Y%m%d}",
    ),
    "trigger_file": Field(
        values.trigger_file,
        "the name of an empty file such as '{name}.ok', '{stem}.done' (in quotes) or _SUCCESS; a template, too",
    ),
    "checksum_file": Field(
        values.checksum_file,
        "'{name}.sha256' or '{name}.md5' (in quotes); a template, too",
    ),
    "extra_args": Field(
        values.mapping,
        "a mapping of names of boto3's ExtraArgs, such as {ServerSideEncryption: 'aws:kms'}; templates, too",
    ),
    "receipts": Field(
        partial(values.text, pattern=r"s3://[^/]+/.+"),
        "a prefix such as s3://bucket/receipts/, outside every s3_prefix and sent_prefix; a template, too",
    ),
    "dry_run": Field(partial(values.or_template, values.boolean), "true or false; a template, too"),
    "options": Field(values.options, "a mapping of " + ", ".join(TransferOptions.__dataclass_fields__)),
}


AFTER_TRANSFER = Field(
    partial(values.or_template, partial(values.choice, among=("move", "delete", "keep"))),
    "move, delete or keep; a template, too",
)


PULL_FIELDS = {
    "min_age": Field(partial(values.or_template, values.duration), f"{DURATION}; a template, too"),
    "after_transfer": AFTER_TRANSFER,
    "done_dir": Field(
        partial(values.or_template, values.done_dir),
        "a directory's name such as .done, not a path, or the name and the day, .done/{date}; a template, too",
    ),
    "follow_links": Field(values.boolean, "true or false"),
    "on_conflict": Field(
        partial(values.choice, among=("replace", "rename", "skip", "fail")), "replace, rename, skip or fail"
    ),
    "sftp_paths": Field(
        partial(values.texts, least=0), "a path of a file beneath sftp_path, or a list of paths; templates, too"
    ),
    "done_conflict": Field(partial(values.choice, among=("replace", "rename")), "replace or rename"),
    "retention": Field(
        partial(values.or_template, partial(values.unless, ("none", "never"), values.duration)),
        f"never, or {DURATION}; a template, too",
    ),
}


PUSH_FIELDS = {
    "strip_regex": Field(values.regex, "a regular expression (in single quotes); a template, too"),
    "mark": Field(
        partial(values.or_template, partial(values.choice, among=("auto", "metadata", "tag", "none"))),
        "auto, metadata, tag or none; a template, too",
    ),
    "after_transfer": AFTER_TRANSFER,
    "sent_prefix": Field(values.prefix, "a prefix such as sent/partner/; a template, too"),
    "temp_name": Field(
        partial(values.unless, ("none",), values.temp_name),
        "a name with {id} in it such as '.{id}.part', '{id}-{name}' or 'tmp/{id}' (in quotes), or none",
    ),
    "on_conflict": Field(
        partial(values.choice, among=("replace", "rename", "wait", "fail")), "replace, rename, wait or fail"
    ),
    "file_mode": Field(values.file_mode, "a mode of three octal digits such as 0640"),
    "preserve_mtime": Field(values.boolean, "true or false"),
    "verify": Field(partial(values.choice, among=("size", "none")), "size or none"),
}


#: Of the Dag as a whole.
PARALLELISM = {
    "expected_files": Field(
        values.expected_files,
        "a list of {files: 'orders_*.csv', at_least: 1, by: '06:00', days: mon-fri}; files is a glob, a template, too",
    ),
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
    "pull": RUN_FIELDS | TASK_FIELDS | TRANSFER_FIELDS | PULL_FIELDS | PARALLELISM,
    "push": RUN_FIELDS | TASK_FIELDS | TRANSFER_FIELDS | PUSH_FIELDS | PARALLELISM | PUSH_RUN_FIELDS,
}


ALL_FIELDS = FIELDS["pull"] | FIELDS["push"]
#: What transfers, and judges the arguments that it is given.
OPERATORS: dict[str, Any] = {"pull": SftpTreeToS3Operator, "push": S3ToSftpOperator}
#: Which objects are there to push.
LISTING_FIELDS = (
    *("include", "exclude", "last", "min_size", "max_size", "max_age", "order"),
    *("trigger_file", "checksum_file", "strip_regex", "rename_to", "mark", "aws_conn_id", "extra_args"),
)
