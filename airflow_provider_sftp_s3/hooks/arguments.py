"""The arguments of a transfer, as operators and hook take them -> the engine's settings. Imports no library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any, TypeVar

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.settings import PullSettings, PushSettings, check_bucket_name

Settings = TypeVar("Settings", bound="PullSettings | PushSettings")

#: What the settings have of the task that runs, and not from an argument.
OF_THE_TASK = ("owner", "clean_up", "retried_since")


def settings_of(kind: type[Settings], arguments: Mapping[str, Any], **of_the_task: Any) -> Settings:
    """
    Return the settings that arguments of an operator or of the hook stand for.

    :param arguments: by name; durations as timedelta or in seconds, flags as text, too. One that is not there has the
        settings' own default; one that is no setting is left alone. A `destination` of None is the `sftp_conn_id`.
    :param of_the_task: those of :data:`OF_THE_TASK` that are known.
    :raises ConfigurationError: a value is not allowed; the message names the argument.
    """
    values = {name: arguments[name] for name in names_of(kind) if name in arguments}
    for name in ("min_age", "retention"):
        if name in values:
            values[name] = seconds(name, values[name])
    if values.get("min_age", 0) is None:
        values["min_age"] = 0
    if values.get("destination") is None:
        values.pop("destination", None)
        if arguments.get("sftp_conn_id") is not None:
            values["destination"] = arguments["sftp_conn_id"]
    if "dry_run" in values:
        values["dry_run"] = truth("dry_run", values["dry_run"])
    return kind(**values, **of_the_task)


def names_of(kind: type[Settings]) -> tuple[str, ...]:
    """Return the names of the arguments that become settings."""
    return tuple(field.name for field in fields(kind) if field.name not in OF_THE_TASK)


def judge(kind: type[PullSettings | PushSettings], arguments: Mapping[str, Any]) -> None:
    """
    Look at some of a transfer's arguments, before there is a run.

    :param arguments: those whose values are known.
    :raises ConfigurationError: one is not allowed; the message names it.
    """
    settings_of(kind, {"sftp_path": "/", **_stand_ins(arguments), **arguments})
    TransferOptions.of(arguments.get("options"))
    if "s3_bucket" in arguments:
        check_bucket_name(arguments["s3_bucket"])


def _stand_ins(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return values for prefixes that are not known yet: of a push that moves, they are judged together."""
    if arguments.get("after_transfer") != "move":
        return {}
    return {name: f"<{name}>/" for name in ("s3_prefix", "sent_prefix")}


def seconds(name: str, value: timedelta | float | None) -> float | None:
    """Return a duration argument in seconds. :raises ConfigurationError: it is none."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    raise ConfigurationError(f"{name} must be a timedelta or a number of seconds, not {value!r}")


def truth(name: str, value: object) -> bool:
    """Return a templated flag as a bool: a template renders to text. :raises ConfigurationError: it is none."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("true", "1", "yes"):
        return True
    if text in ("false", "0", "no", "", "none"):
        return False
    raise ConfigurationError(f"{name} must be true or false, not {value!r}")
