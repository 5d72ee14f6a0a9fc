"""
The values of a flow's fields, from what YAML or Python gives: text, or the thing itself.

Each function returns what operators and Dags take, and raises :class:`NotAllowed` for what the field does not allow.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_provider_sftp_s3.engine.checksum_files import check_checksum_file
from airflow_provider_sftp_s3.engine.done_dir import DoneDir
from airflow_provider_sftp_s3.engine.globs import Globs
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.paths import directory_prefix
from airflow_provider_sftp_s3.engine.rename import check_rename_to
from airflow_provider_sftp_s3.engine.settings import check_bucket_name, check_file_mode
from airflow_provider_sftp_s3.engine.temporary import check_temp_name
from airflow_provider_sftp_s3.engine.triggers import check_trigger_file
from airflow_provider_sftp_s3.hooks import quantities
from airflow_provider_sftp_s3.hooks.arguments import mode

CONTINUOUS = "@continuous"
#: The longest duration: several of them can be added up, and to a date.
MOST = timedelta(days=36_525)
PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")


class Plain(str):
    """A text of YAML that stands there with no quotes: where any value may stand, it can be a number."""

    __slots__ = ()


class NotAllowed(ValueError):
    """The value is not allowed. The message, if any, says more than the field's list of what is."""


def text(value: Any, *, pattern: str = "(?s:.+)") -> str:
    """Return text that matches `pattern`, or a template, which nobody can judge before it is rendered."""
    if not isinstance(value, str):
        raise NotAllowed
    _check_characters(value)
    if is_template(value):
        from jinja2 import Environment, TemplateSyntaxError

        try:
            Environment(autoescape=False).parse(value)  # noqa: S701 - nothing is rendered
        except TemplateSyntaxError as error:
            raise NotAllowed(f"no valid template: {error.message}") from None
        except RecursionError:
            raise NotAllowed("no valid template: it is nested too deep") from None
    elif not re.fullmatch(pattern, value):
        raise NotAllowed
    return str(value)


def _check_characters(value: str) -> None:
    """Raise NotAllowed where no database takes a text: that of one flow would keep the others of its file out, too."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotAllowed("it has half of a character in it") from None
    if "\0" in value:
        raise NotAllowed("it has a NUL in it")


def is_template(value: str) -> bool:
    """Say whether Jinja makes something else of a text; ``{#`` begins a comment."""
    return "{{" in value or "{%" in value or "{#" in value


def plain(value: Any, *, pattern: str) -> str:
    """Return text that matches `pattern`, where templates are not rendered."""
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
        raise NotAllowed
    _check_characters(value)
    return str(value)


def or_template(parse: Callable[[Any], Any], value: Any) -> Any:
    """Return a template as it is, which the task judges once it is rendered, and what `parse` makes of other values."""
    return text(value) if isinstance(value, str) and is_template(value) else parse(value)


def texts(value: Any, *, least: int = 1) -> list[str]:
    """Return a list of texts from one text or several."""
    several = [text(one) for one in (value if isinstance(value, list | tuple | set) else [value])]
    if len(several) < least:
        raise NotAllowed
    return several


def tags(value: Any) -> list[str]:
    several = texts(value, least=0)
    if any(len(tag) > 100 for tag in several):
        raise NotAllowed
    kept: dict[str, str] = {}
    for tag in ("sftp-s3", *several):
        kept.setdefault(tag.strip().lower(), tag)  # to MySQL two that differ in case only are one, and an error
    return list(kept.values())


def choice(value: Any, *, among: tuple[str, ...]) -> str:
    if value not in among:
        raise NotAllowed
    return str(value)


def boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.lower() not in ("true", "false", "yes", "no", "on", "off"):
        raise NotAllowed
    return value.lower() in ("true", "yes", "on")


def count(value: Any, *, low: int, high: float = math.inf) -> int:
    """Return a whole number from `low` to `high`."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise NotAllowed
    return value


def duration(value: Any, *, least: timedelta = timedelta(0)) -> timedelta:
    """Return a duration of at least `least`: from seconds, a text such as "90", "90s", "1h30m", "7d", or as it is."""
    try:
        found = quantities.duration(value)
    except ValueError:
        raise NotAllowed from None
    if found < least:
        raise NotAllowed
    if found > MOST:
        raise NotAllowed("that is more than 100 years")
    return found


def size(value: Any) -> int:
    """Return a number of bytes above 0: from a whole number, or a text such as "1048576", "500 MB", "10GiB"."""
    try:
        return quantities.size(value)
    except ValueError:
        raise NotAllowed from None


def instant(value: Any) -> datetime:
    """Return a time, from a time, a date, or the text of one; with no zone where none is given."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise NotAllowed from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time.min)
    if not isinstance(value, datetime):
        raise NotAllowed
    if value.year == 1:
        raise NotAllowed("in some time zone there is no such date")
    return value


def timezone(value: Any) -> str:
    """Return the name of a time zone as it is."""
    name = plain(value, pattern=r"[A-Za-z0-9_+/-]+")
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise NotAllowed from None
    return name


def zone(name: str) -> tzinfo:
    """Return the time zone of a name that :func:`timezone` has let pass."""
    return UTC if name == "UTC" else ZoneInfo(name)


#: What a role may be allowed to do with a Dag, and with its runs.
ACTIONS = {
    "DAGs": ("can_read", "can_edit", "can_delete"),
    "DAG Runs": ("can_read", "can_create", "can_delete", "menu_access"),
}


def access_control(value: Any) -> dict[str, dict[str, set[str]]]:
    """Return what each role may do: from a list of actions on the Dag, or a mapping of DAGs, DAG Runs to lists."""
    if not isinstance(value, Mapping) or not value:
        raise NotAllowed
    roles = {}
    for role, given in value.items():
        resources = given if isinstance(given, Mapping) else {"DAGs": given}
        roles[text(role)] = {
            name: {choice(action, among=ACTIONS[choice(name, among=tuple(ACTIONS))]) for action in texts(actions)}
            for name, actions in resources.items()
        }
    return roles


def executor(value: Any) -> str:
    """Return the name of an executor that this Airflow is configured with. Another one would break the Dag file."""
    from airflow.executors.executor_loader import ExecutorLoader

    name = plain(value, pattern=r"[^\x00-\x1f\x7f]{1,250}")
    configured = ExecutorLoader.get_executor_names()
    if not any(name in (each.alias, each.module_path, each.module_path.rpartition(".")[2]) for each in configured):
        known = ", ".join(str(each.alias or each.module_path) for each in configured)
        raise NotAllowed(f"this Airflow is configured with {known}")
    return name


def schedule(value: Any) -> str:
    """Return a preset as it is, or a cron expression with single spaces."""
    from croniter import croniter  # type: ignore[import-untyped]

    words = value.split() if isinstance(value, str) else []
    expression = " ".join(words)
    if expression in ("@once", CONTINUOUS, *PRESETS):
        return expression
    # croniter also takes seconds and years; a slip of the finger would start a run every second.
    if len(words) != 5 or not croniter.is_valid(expression):
        raise NotAllowed
    try:
        croniter(expression, datetime(2024, 1, 1)).get_next()
    except ValueError:  # Airflow would take it, and never begin a run
        raise NotAllowed("there is no such day") from None
    return expression


def prefix(value: Any) -> str:
    value = text(value, pattern="(?s:.*)")
    if not is_template(value):
        directory_prefix(value)
    return str(value)


def bucket(value: Any) -> str:
    value = text(value)
    if not is_template(value):
        check_bucket_name(value)
    return str(value)


def done_dir(value: Any) -> str:
    DoneDir.of(value)
    return str(value)


def temp_name(value: Any) -> str:
    check_temp_name(value)
    return str(value)


def rename_to(value: Any) -> str:
    check_rename_to(value)
    return str(value)


def trigger_file(value: Any) -> str:
    value = text(value)
    if not is_template(value):
        check_trigger_file(value)
    return str(value)


def checksum_file(value: Any) -> str:
    value = text(value)
    if not is_template(value):
        check_checksum_file(value)
    return str(value)


def file_mode(value: Any) -> int:
    found = mode("file_mode", value)
    check_file_mode(found)
    return int(found)


def regex(value: Any) -> str:
    value = text(value)
    if not is_template(value):
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise NotAllowed(f"no valid regular expression: {error}") from None
    return str(value)


def options(value: Any) -> dict[str, Any]:
    """Return the fields of TransferOptions as numbers; that class itself judges them."""
    if not isinstance(value, Mapping):
        raise NotAllowed
    given = dict(value)
    for name, raw in given.items():
        try:
            given[name] = _OPTIONS[name](raw)
        except (KeyError, NotAllowed):
            continue  # an unknown name, or a value that is no number: reported from below, as it was written
    TransferOptions.of(given)
    return given


def mapping(value: Any) -> dict[str, Any]:
    """Return a mapping of names; what may stand there, the operator judges."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise NotAllowed
    return dict(value)


def _seconds(value: Any) -> float:
    return duration(value).total_seconds()


_OPTIONS: dict[str, Callable[[Any], float]] = {
    "concurrency": lambda value: count(value, low=1),
    "memory_budget": size,
    "part_size": size,
    "conn_timeout": _seconds,
    "idle_timeout": _seconds,
    "file_timeout": _seconds,
}


@dataclass(frozen=True)
class Expected:
    """
    Files that must have come by a time of certain days.

    :param files: a glob, or a template of one.
    :param days: as the fifth field of a cron expression.
    """

    files: str
    at_least: int
    by: time
    days: str

    @property
    def cron(self) -> str:
        return f"{self.by.minute} {self.by.hour} * * {self.days}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as flows.yaml has it."""
        return {"files": self.files, "at_least": self.at_least, "by": f"{self.by:%H:%M}", "days": self.days}


def expected_files(value: Any) -> list[Expected]:
    """Return what is expected, from a list of mappings of files, at_least, by and days, or from one of them."""
    several = [value] if isinstance(value, Mapping) else value
    if not isinstance(several, list | tuple) or not several:
        raise NotAllowed
    return [_expected(one) for one in several]


def _expected(value: Any) -> Expected:
    from croniter import croniter

    if not isinstance(value, Mapping):
        raise NotAllowed
    if unknown := set(value) - {"files", "at_least", "by", "days"}:
        raise NotAllowed(f"there is no {sorted(map(str, unknown))[0]!r}: there are files, at_least, by and days")
    if lacking := [name for name in ("files", "by") if value.get(name) is None]:
        raise NotAllowed(f"{lacking[0]} is missing")
    hour = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", str(value["by"]), re.ASCII)
    if hour is None:
        raise NotAllowed(f"by is a time such as '06:00', not {value['by']!r}")
    days = str("*" if value.get("days") is None else value["days"]).lower()
    if not re.fullmatch(r"[a-z0-9,*-]+", days, re.ASCII) or not croniter.is_valid(f"0 0 * * {days}"):
        raise NotAllowed(f"days are such as mon-fri or mon,thu, not {value['days']!r}")
    try:
        at_least = count(1 if value.get("at_least") is None else value["at_least"], low=1)
    except NotAllowed:
        raise NotAllowed(f"at_least is a whole number above 0, not {value['at_least']!r}") from None
    files = text(value["files"])
    if not is_template(files):
        Globs(files)
    return Expected(files, at_least, time(int(hour[1]), int(hour[2])), days)


def unless(words: tuple[str, ...], parse: Callable[[Any], Any], value: Any) -> Any:
    """Return None for one of `words`, else what `parse` makes of the value."""
    return None if isinstance(value, str) and value.lower() in words else parse(value)
