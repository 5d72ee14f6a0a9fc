"""A flow's settings -> its Dag."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_sftp_s3._compat import (
    AIRFLOW_2,
    DAG,
    Asset,
    AssetAlias,
    AssetOrTimeSchedule,
    AssetWatcher,
    CronDataIntervalTimetable,
    apply_policies,
    has_policies,
)
from airflow_provider_sftp_s3.flows.docs import description, doc_of
from airflow_provider_sftp_s3.flows.fields import LISTING_FIELDS, PULL_FIELDS, PUSH_FIELDS, TASK_FIELDS, TRANSFER_FIELDS
from airflow_provider_sftp_s3.flows.params import _batches, _params, _templates
from airflow_provider_sftp_s3.flows.rules import _is_cron, _is_sqs, wait_of
from airflow_provider_sftp_s3.flows.settings import parse_flow
from airflow_provider_sftp_s3.flows.values import CONTINUOUS, zone
from airflow_provider_sftp_s3.operators.assets import UpdateAssetOperator
from airflow_provider_sftp_s3.operators.s3_unsynced import (
    S3ListAnnouncedOperator,
    S3ListUnsyncedOperator,
)
from airflow_provider_sftp_s3.sensors.failure import FailureSensor
from airflow_provider_sftp_s3.sensors.partner import PartnerSensor
from airflow_provider_sftp_s3.sensors.s3_unsynced import S3UnsyncedSensor
from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator
from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator

#: Longest time between two tries of a task: the exponential backoff grows up to here.
MAX_RETRY_DELAY = timedelta(hours=1)
#: `@continuous` starts the next run as soon as one has failed, and a flow that fails at once (a wrong setting, one
#: object that can never go) would do so for ever: for so many poke intervals the next run begins only if there is
#: something else to push. Airflow's own way, to pause a Dag after some failures in a row, holds up all for one object.
FAILURE_POKES = 15


def flow_dag(settings: Mapping[str, Any]) -> DAG:
    """
    Return the Dag of one flow.

    :param settings: as for :func:`parse_flow`.
    :raises FlowError: as there.
    """
    return build(parse_flow(settings))


def build(flow: Mapping[str, Any]) -> DAG:
    """
    Return the Dag of a flow's settings.

    :raises Exception: Airflow or a cluster policy refuses it. One that a policy refuses later on is an import error of
        its Dag file, which takes all the others with it.
    """
    if has_policies():
        apply_policies(_dag(flow))  # one of its own: they may change what they look at, and Airflow will apply them
    return _dag(flow)


def _dag(flow: Mapping[str, Any]) -> DAG:
    schedule = flow["schedule"]
    dag = DAG(
        dag_id=flow["name"],
        doc_md=doc_of(flow),
        schedule=_timetable(flow) if _is_cron(schedule) else schedule,
        start_date=flow["start_date"] or datetime(2024, 1, 1, tzinfo=zone(flow["timezone"])),
        end_date=flow["end_date"],
        catchup=flow["catchup"],
        max_active_runs=1,  # two at a time would transfer the same files
        tags=flow["tags"],
        params=_params(flow),
        default_args={
            "retries": flow["retries"],
            "retry_delay": flow["retry_delay"],
            "retry_exponential_backoff": True,
            "max_retry_delay": flow["max_retry_delay"] or max(MAX_RETRY_DELAY, flow["retry_delay"]),
            **_set(flow, *(name for name in TASK_FIELDS if name != "notify")),
            **flow.get("notify", {}),
        },
        description=description(flow),
        dagrun_timeout=flow["dagrun_timeout"],
        access_control=flow["access_control"],
    )
    add_tasks = _add_pull if flow["direction"] == "pull" else _add_push
    # The same tasks, and mapped ones, whatever the settings: a flow may be changed while a run of it is under way, and
    # Airflow ends a task that its Dag has no more, with nothing said.
    templated = {**flow, **_templates(flow)}
    if flow["direction"] == "push":
        templated["batches"] = _batches(flow)
    transfers = add_tasks(dag, templated)
    outlets = [AssetAlias(flow["name"])]
    update = UpdateAssetOperator(
        task_id="update_asset", transfers=transfers.task_id, whole=True, outlets=outlets, dag=dag
    )
    update.set_upstream(transfers)
    if schedule == CONTINUOUS:
        held_back = _looking(
            FailureSensor,
            dag,
            templated,
            task_id="wait_after_failure",
            transfers=transfers.task_id,
            wait=FAILURE_POKES * flow["poke_interval"],
            timeout=((FAILURE_POKES + 2) * flow["poke_interval"]).total_seconds(),
            trigger_rule="one_failed",
        )
        held_back.set_upstream(transfers)
    if schedule == CONTINUOUS and flow.get("on_conflict") == "wait":
        # The next run begins at once, and would log in to the partner's server again and again.
        interval = flow["poke_interval"]
        waits = PartnerSensor(
            task_id="wait_for_partner",
            dag=dag,
            transfers=transfers.task_id,
            interval=interval,
            mode="reschedule",
            poke_interval=interval.total_seconds(),
            timeout=(3 * interval).total_seconds(),
        )
        waits.set_upstream(transfers)
    # Airflow's own limit, 16 unless configured, would be a lower parallelism than what the flow says.
    dag.max_active_tasks = max(dag.max_active_tasks, flow["parallelism"])
    return dag


def _timetable(flow: Mapping[str, Any]) -> Any:
    # Spelled out, since a bare cron expression means something else on Airflow 3 than on 2: there, the run that
    # starts at midnight has the new day's `ds`, and would push what was there of that day at midnight.
    times = CronDataIntervalTimetable(flow["schedule"], timezone=flow["timezone"])
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


def _add_pull(dag: DAG, flow: Mapping[str, Any]) -> Any:
    """Add the tasks of a pull, and return the one that transfers."""
    shards = flow["parallelism"]
    return SftpTreeToS3Operator.partial(
        task_id="pull",
        dag=dag,
        map_index_template="{{ task.shard }}",
        **_set(flow, *TRANSFER_FIELDS, *PULL_FIELDS),
    ).expand(shard=[f"{number}/{shards}" for number in range(1, shards + 1)])


def _add_push(dag: DAG, flow: Mapping[str, Any]) -> Any:
    """Add the tasks of a push, and return the one that transfers."""
    batches = flow["batches"]
    where = {**_set(flow, "s3_bucket", "s3_prefix", *LISTING_FIELDS), "destination": _destination(flow)}
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
        max_active_tis_per_dag=flow["parallelism"],
        map_index_template="{{ task.batch }}",
        **_set(flow, *TRANSFER_FIELDS, *PUSH_FIELDS),
    ).expand(s3_keys=listed.output)


def _waited_for(dag: DAG, flow: Mapping[str, Any], **batches: Any) -> S3UnsyncedSensor:
    wait = wait_of(flow)
    # A failure, and so later than `wait`, which is none.
    timeout = (wait + 2 * flow["poke_interval"]).total_seconds()
    return _looking(S3UnsyncedSensor, dag, flow, task_id="wait_for_objects", wait=wait, timeout=timeout, **batches)


def _looking(kind: type[S3UnsyncedSensor], dag: DAG, flow: Mapping[str, Any], **arguments: Any) -> S3UnsyncedSensor:
    """Return a sensor that looks, each poke interval, at what is to be pushed."""
    return kind(
        bucket_name=flow["s3_bucket"],
        bucket_key=flow["s3_prefix"],
        mode="reschedule",
        poke_interval=flow["poke_interval"].total_seconds(),
        deferrable=False,  # whatever operators.default_deferrable says: the trigger would not know the check
        dag=dag,
        destination=_destination(flow),
        **_set(flow, *LISTING_FIELDS),
        **arguments,
    )


def _destination(flow: Mapping[str, Any]) -> str:
    """Return whom the marks of a flow name, as its push does by itself."""
    return str(flow.get("destination", flow.get("sftp_conn_id", "sftp_default")))


def _set(flow: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return those of the fields that are set, so that the operators' defaults stand for the others."""
    return {name: flow[name] for name in names if name in flow}
