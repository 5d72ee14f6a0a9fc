"""What a flow would move, and where to, with nothing touched."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.model import Report
from airflow_provider_sftp_s3.engine.observer import Observer
from airflow_provider_sftp_s3.engine.settings import PullSettings, PushSettings
from airflow_provider_sftp_s3.flows.dag import build
from airflow_provider_sftp_s3.flows.fields import PULL_FIELDS, PUSH_FIELDS, TRANSFER_FIELDS
from airflow_provider_sftp_s3.flows.values import zone
from airflow_provider_sftp_s3.hooks.arguments import settings_of
from airflow_provider_sftp_s3.hooks.sftp_s3 import SftpS3Hook
from airflow_provider_sftp_s3.transfers.templates import is_open, with_lists


def plan(flow: Mapping[str, Any], day: date, log: logging.Logger) -> Report:
    """
    Log what a run of a flow would do, and return the report. Connections and S3 are those of a run.

    :param flow: its settings.
    :param day: templates know the run of this day, in the flow's time zone.
    :param log: gets a line a file.
    :raises ConfigurationError: a setting is wrong, or needs more than a day to be known.
    :raises SftpS3Error: the server or S3 cannot be reached or read.
    """
    return _look(flow, day, log=log)


def look(flow: Mapping[str, Any], day: date, observer: Observer) -> Report:
    """Tell an observer what a run of a flow would do, and return the report. Else as :func:`plan`."""
    silent = logging.Logger("status")
    silent.addHandler(logging.NullHandler())
    return _look(flow, day, log=silent, observer=observer)


def _look(flow: Mapping[str, Any], day: date, *, log: logging.Logger, observer: Observer | None = None) -> Report:
    kind = PullSettings if flow["direction"] == "pull" else PushSettings
    names = [*TRANSFER_FIELDS, *(PULL_FIELDS if flow["direction"] == "pull" else PUSH_FIELDS)]
    arguments = _rendered(flow, {name: flow[name] for name in names if name in flow}, day)
    connection = arguments.setdefault("sftp_conn_id", "sftp_default")
    settings = settings_of(kind, arguments | {"dry_run": True})
    hook = SftpS3Hook(connection, arguments.get("aws_conn_id", "aws_default"))
    return hook.transfer(settings, arguments["s3_bucket"], arguments.get("options"), log, observer)


def _rendered(flow: Mapping[str, Any], arguments: dict[str, Any], day: date) -> dict[str, Any]:
    """Return arguments as a run of that day renders them, as far as that takes no more than the day."""
    if not any(is_open(value) for value in arguments.values()):
        return arguments
    import jinja2
    import pendulum

    start = pendulum.instance(datetime(day.year, day.month, day.day, tzinfo=zone(flow["timezone"])))
    dag = build(flow)
    environment = dag.get_template_env()
    environment.undefined = jinja2.StrictUndefined
    known = {
        "ds": f"{start.in_timezone('UTC'):%Y-%m-%d}",
        "ds_nodash": f"{start.in_timezone('UTC'):%Y%m%d}",
        "logical_date": start,
        "data_interval_start": start,
        "data_interval_end": start + timedelta(days=1),
        "params": {name: dag.params[name] for name in dag.params},
        "dag": dag,
    }

    def render(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [render(name, one) for one in value]
        if isinstance(value, Mapping):
            return {key: render(name, one) for key, one in value.items()}
        if not isinstance(value, str) or not is_open(value):
            return value
        try:
            return environment.from_string(value).render(known)
        except jinja2.TemplateError as error:
            raise ConfigurationError(
                f"{name}: {value!r} cannot be rendered here: {error}. Known are {', '.join(known)}"
            ) from None

    return {name: with_lists(value, render(name, value)) for name, value in arguments.items()}
