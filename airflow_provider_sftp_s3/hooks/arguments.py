"""The arguments of a transfer, as operators and hook take them -> the engine's settings. Imports no library."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any, TypeVar

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.settings import PullSettings, PushSettings, check_bucket_name, check_receipts
from airflow_provider_sftp_s3.hooks import quantities

Settings = TypeVar("Settings", bound="PullSettings | PushSettings")

#: What the settings have of the task that runs, and not from an argument.
OF_THE_TASK = ("owner", "clean_up", "retried_since", "task_try", "earlier")


def settings_of(kind: type[Settings], arguments: Mapping[str, Any], **of_the_task: Any) -> Settings:
    """
    Return the settings that arguments of an operator or of the hook stand for.

    :param arguments: by name; durations as timedelta or in seconds; durations, numbers and flags as text, too, as
        templates give them. One that is not there has the settings' own default; one that is no setting is left alone.
        A `destination` of None is the `sftp_conn_id`.
    :param of_the_task: those of :data:`OF_THE_TASK` that are known.
    :raises ConfigurationError: a value is not allowed; the message names the argument.
    """
    values = {name: arguments[name] for name in names_of(kind) if name in arguments}
    for name, parse in _NUMBERS.items():
        if name in values:
            values[name] = parse(name, values[name])
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
    settings = settings_of(kind, {"sftp_path": "/", **_stand_ins(arguments), **arguments})
    if settings.extra_args:
        from airflow_provider_sftp_s3.engine.s3.extra_args import checked  # botocore's model takes time to read

        checked(settings.extra_args, "pull" if kind is PullSettings else "push")
    TransferOptions.of(arguments.get("options"))
    if "s3_bucket" in arguments:
        check_bucket_name(arguments["s3_bucket"])
        if "s3_prefix" in arguments:
            check_receipts(settings, arguments["s3_bucket"])


def _stand_ins(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return values for arguments that are not known yet, and are judged together with others: such as go with them."""
    stand_ins: dict[str, Any] = {"min_age": 0}
    if arguments.get("follow_links"):
        stand_ins["after_transfer"] = "keep"
    elif arguments.get("sent_prefix") is not None:
        stand_ins["after_transfer"] = "move"
    if {**stand_ins, **arguments}.get("after_transfer") == "move":
        stand_ins |= {name: f"<{name}>/" for name in ("s3_prefix", "sent_prefix")}
    return stand_ins


def seconds(name: str, value: timedelta | float | str | None) -> float | None:
    """Return a duration argument in seconds. :raises ConfigurationError: it is none."""
    if isinstance(value, str):
        try:
            return quantities.duration(value).total_seconds()
        except ValueError:
            raise ConfigurationError(
                f"{name} must be a duration such as '90', '1h30m' or '7d', not {value!r}"
            ) from None
    if isinstance(value, timedelta):
        return value.total_seconds()
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    raise ConfigurationError(f"{name} must be a timedelta or a number of seconds, not {value!r}")


def whole_number(name: str, value: Any) -> Any:
    """Return the number that a text is, and other values as they are. :raises ConfigurationError: it is none."""
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"\s*\d{1,18}\s*", value, re.ASCII):
        raise ConfigurationError(f"{name} must be a whole number above 0, not {value!r}")
    return int(value)


def _bytes(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return quantities.size(value)
    except ValueError:
        raise ConfigurationError(
            f"{name} must be bytes above 0, such as '1048576' or '500 MB', not {value!r}"
        ) from None


def _or_none(parse: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """Take a text of nothing for None: a template has no other way to say it."""
    return lambda name, value: None if value in ("", "None", "none", "never") else parse(name, value)


def mode(name: str, value: Any) -> Any:
    """Return the mode that a text is in octal digits, and other values as they are."""
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"\s*(?:0o)?[0-7]{3,4}\s*", value, re.ASCII):
        raise ConfigurationError(f"{name} must be a mode of three octal digits such as '0640', not {value!r}")
    return int(value.strip().removeprefix("0o"), 8)


#: What makes numbers of texts. No `min_age` is not told by nothing: files that are still written would be taken.
_NUMBERS = {
    "min_age": seconds,
    "retention": _or_none(seconds),
    "max_files": _or_none(whole_number),
    "max_bytes": _or_none(_bytes),
    "min_size": _or_none(_bytes),
    "max_size": _or_none(_bytes),
    "max_age": _or_none(seconds),
    "file_mode": mode,
}


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
