"""The Dag that looks whether the files of a flow have come: `expected_files`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow_provider_sftp_s3._compat import DAG, CronDataIntervalTimetable, apply_policies, has_policies
from airflow_provider_sftp_s3.flows.docs import shown
from airflow_provider_sftp_s3.flows.fields import TASK_FIELDS
from airflow_provider_sftp_s3.flows.values import Expected, is_template, zone
from airflow_provider_sftp_s3.operators.expected_files import ExpectedFilesOperator

#: What is appended to the name of the flow.
SUFFIX = "_expected"


def build_expected(flow: Mapping[str, Any]) -> DAG:
    """
    Return the Dag that looks for a flow's expected files: a task for each of them.

    :raises Exception: Airflow or a cluster policy refuses it.
    """
    if has_policies():
        apply_policies(_dag(flow))
    return _dag(flow)


def _dag(flow: Mapping[str, Any]) -> DAG:
    expected: list[Expected] = flow["expected_files"]
    prefix = static_prefix(flow.get("s3_prefix", ""))
    place = f"s3://{flow['s3_bucket']}/{prefix}"
    told = "\n".join(f"    {shown(each.as_dict())}" for each in expected)
    dag = DAG(
        dag_id=f"{flow['name']}{SUFFIX}",
        description=f"Fails where files that flow {flow['name']} expects have not come in time",
        doc_md=f"Looks under `{place}` at the times of the flow `{flow['name']}` ({flow['timezone']}):\n\n{told}\n",
        schedule=CronDataIntervalTimetable(schedule_of(expected), timezone=flow["timezone"]),
        start_date=flow["start_date"] or datetime(2024, 1, 1, tzinfo=zone(flow["timezone"])),
        end_date=flow["end_date"],
        catchup=False,
        max_active_runs=1,
        tags=flow["tags"],
        default_args={
            "retries": flow["retries"],
            "retry_delay": flow["retry_delay"],
            **{name: flow[name] for name in TASK_FIELDS if name != "notify" and name in flow},
            **flow.get("notify", {}),
        },
        access_control=flow["access_control"],
    )
    for number, each in enumerate(expected, 1):
        ExpectedFilesOperator(
            task_id=f"expected_{number}",
            dag=dag,
            s3_bucket=flow["s3_bucket"],
            s3_prefix=prefix,
            files=each.files,
            at_least=each.at_least,
            cron=each.cron,
            timezone=flow["timezone"],
            aws_conn_id=flow.get("aws_conn_id", "aws_default"),
            extra_args=_of_every_request(flow.get("extra_args")),
        )
    return dag


def _of_every_request(extra_args: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return those of a flow's arguments that a listing takes, too."""
    if not extra_args:
        return None
    from airflow_provider_sftp_s3.engine.s3.extra_args import OF_EVERY_REQUEST  # it takes time to import botocore

    return {name: extra_args[name] for name in OF_EVERY_REQUEST if name in extra_args} or None


def static_prefix(prefix: str) -> str:
    """Return the directory above the first template of a prefix: the days that it stands for are looked at together."""
    if not is_template(prefix):
        return prefix
    before = min(prefix.index(each) for each in ("{{", "{%", "{#") if each in prefix)
    return prefix[: prefix.rfind("/", 0, before) + 1]


def schedule_of(expected: list[Expected]) -> str:
    """Return a cron expression with all times in it. It may have more: what is not due is skipped."""
    minutes = sorted({each.by.minute for each in expected})
    hours = sorted({each.by.hour for each in expected})
    days = {each.days for each in expected}
    return " ".join(
        [",".join(map(str, minutes)), ",".join(map(str, hours)), "* *", days.pop() if len(days) == 1 else "*"]
    )
