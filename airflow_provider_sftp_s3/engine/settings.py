"""What a run moves, and where to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.checksum_files import check_checksum_file
from airflow_provider_sftp_s3.engine.done_dir import DoneDir
from airflow_provider_sftp_s3.engine.errors import (
    ConfigurationError,
)
from airflow_provider_sftp_s3.engine.globs import Globs, Patterns
from airflow_provider_sftp_s3.engine.model import MarkMode, Moved
from airflow_provider_sftp_s3.engine.rename import check_rename_to
from airflow_provider_sftp_s3.engine.temporary import TEMP_NAME, check_temp_name
from airflow_provider_sftp_s3.engine.triggers import TriggerNames, check_trigger_file, is_of_a_run

AfterTransfer = Literal["move", "delete", "keep"]
#: How a pushed file is looked at before it counts as delivered.
Verify = Literal["size", "none"]
#: What becomes of a file whose name at the target is taken.
PullConflict = Literal["replace", "rename", "skip", "fail"]
DoneConflict = Literal["replace", "rename"]
PushConflict = Literal["replace", "rename", "wait", "fail"]

#: Whom marks name where nobody is named: what Airflow's own SFTP connection is called.
DESTINATION = "sftp_default"

#: What a bucket may be called: the oldest ones are longer than today's 63 characters.
_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,255}|arn:[a-z-]+:[a-z0-9-]+:[a-z0-9-]*:\d*:\S+")
#: What has a name as a bucket, and works otherwise.
_NOT_SUPPORTED = {
    "a directory bucket (S3 Express One Zone)": r"--xa?-s3$|^arn:[^:]*:s3express:",
    "a multi-region access point": r"^arn:[^:]*:s3::|\.mrap$",
    "of s3-object-lambda": r"--ol-s3$|^arn:[^:]*:s3-object-lambda:",
    "of s3-outposts": r"--op-s3$|^arn:[^:]*:s3-outposts:",
}


class TaskTry(NamedTuple):
    """
    Which try of which task a run is, in Airflow's words: its receipts and dated done directories are called by it.

    :param date: of the Dag run, in UTC, like ``2026-01-31``.
    :param map_index: -1 where the task is not mapped.
    :param number: of the try, from 1.
    """

    dag_id: str
    date: str
    run_id: str
    task_id: str
    map_index: int
    number: int


@dataclass(frozen=True, kw_only=True)
class PullSettings:
    """
    What a pull moves and where to; the operator's docstring explains each.

    With a `shard`, each of several pulls lists the whole tree, takes only its own files and keeps to `max_files` and
    `max_bytes` by itself. Their reports add up to that of one pull.

    :param retried_since: on a retry, when the Dag run began: multipart uploads that earlier tries have left since then
        are aborted.
    :param task_try: what receipts and a dated `done_dir` are called by; None: by today, and receipts by 16 hex digits.
    :param earlier: on a retry with no receipts, what the tries before it have moved; None: nobody knows.
    :raises ConfigurationError: a value is not allowed; the message names the argument and what is.
    """

    sftp_path: str
    s3_prefix: str | None = ""
    include: str | Iterable[str] | None = "*"
    exclude: str | Iterable[str] | None = None
    last: str | Iterable[str] | None = None
    min_age: float = 30.0
    after_transfer: AfterTransfer = "move"
    done_dir: str = ".done"
    done_conflict: DoneConflict = "replace"
    trigger_file: str | None = None
    checksum_file: str | None = None
    retention: float | None = None
    max_files: int | None = None
    max_bytes: int | None = None
    min_size: int | None = None
    max_size: int | None = None
    max_age: float | None = None
    order: str | None = None
    dry_run: bool = False
    shard: str | None = None
    follow_links: bool = False
    sftp_paths: str | Iterable[str] | None = None
    rename_to: str | None = None
    on_conflict: PullConflict = "replace"
    destination: str = DESTINATION
    extra_args: Mapping[str, Any] | None = None
    receipts: str | None = None
    retried_since: datetime | None = None
    task_try: TaskTry | None = None
    earlier: Moved | None = None

    def __post_init__(self) -> None:
        _check_both(self)
        check_choice("on_conflict", self.on_conflict, PullConflict)
        if self.sftp_paths is not None:
            object.__setattr__(self, "sftp_paths", _texts("sftp_paths", "a path or a list of paths", self.sftp_paths))
        check_choice("done_conflict", self.done_conflict, DoneConflict)
        if not isinstance(self.follow_links, bool):
            raise ConfigurationError(f"follow_links must be true or false, not {self.follow_links!r}")
        if self.follow_links and self.after_transfer != "keep":
            raise ConfigurationError(
                'follow_links needs after_transfer="keep": to move or delete a link is not to move or delete its file'
            )
        paths.Shard.of(self.shard)
        _check_awaited(self)
        check_seconds("min_age", self.min_age)
        check_seconds("retention", self.retention or 0)
        if self.max_age is not None and self.max_age <= self.min_age:
            raise ConfigurationError(
                f"max_age ({self.max_age} s) must be more than min_age ({self.min_age} s): no file would be taken"
            )
        DoneDir.of(self.done_dir)

    @property
    def done(self) -> DoneDir:
        """Where files are moved: those that are removed then are not kept by days."""
        done = DoneDir.of(self.done_dir)
        return done if self.after_transfer == "move" else done._replace(is_dated=False)


@dataclass(frozen=True, kw_only=True)
class PushSettings:
    """
    What a push moves and where to; the operator's docstring explains each.

    :param owner: 8 hex digits that the temporary files of this task instance, and of no other, begin with.
    :param clean_up: True on a retry: what earlier tries of the same task left is removed.
    :param retried_since: on a retry, when the Dag run began: what was delivered since then, an earlier try delivered.
    :param task_try: what receipts are called by; None: by the day, and 16 hex digits.
    :param earlier: on a retry with no receipts, what the tries before it have moved; None: nobody knows.
    :raises ConfigurationError: a value is not allowed; the message names the argument and what is.
    """

    sftp_path: str
    s3_prefix: str | None = ""
    s3_keys: str | Iterable[str] | None = None
    include: str | Iterable[str] | None = "*"
    exclude: str | Iterable[str] | None = None
    last: str | Iterable[str] | None = None
    strip_regex: str | None = None
    rename_to: str | None = None
    on_conflict: PushConflict = "replace"
    file_mode: int | None = None
    preserve_mtime: bool = False
    mark: str = "auto"
    after_transfer: AfterTransfer = "keep"
    sent_prefix: str | None = None
    temp_name: str | None = TEMP_NAME
    verify: Verify = "size"
    trigger_file: str | None = None
    checksum_file: str | None = None
    destination: str = DESTINATION
    max_files: int | None = None
    max_bytes: int | None = None
    min_size: int | None = None
    max_size: int | None = None
    max_age: float | None = None
    order: str | None = None
    dry_run: bool = False
    extra_args: Mapping[str, Any] | None = None
    receipts: str | None = None
    owner: str = "0" * 8
    clean_up: bool = False
    retried_since: datetime | None = None
    task_try: TaskTry | None = None
    earlier: Moved | None = None

    def __post_init__(self) -> None:
        _check_both(self)
        check_mark(self.mark)
        _check_sent(self)
        check_choice("on_conflict", self.on_conflict, PushConflict)
        check_file_mode(self.file_mode)
        if not isinstance(self.preserve_mtime, bool):
            raise ConfigurationError(f"preserve_mtime must be true or false, not {self.preserve_mtime!r}")
        if self.temp_name is not None:
            check_temp_name(self.temp_name)
        check_choice("verify", self.verify, Verify)
        _check_announced(self)
        if self.s3_keys is not None and not isinstance(self.s3_keys, str):
            object.__setattr__(self, "s3_keys", _texts("s3_keys", "a key or a list of keys", self.s3_keys))
        if self.strip_regex is not None:
            try:
                re.compile(self.strip_regex)
            except (re.error, TypeError, OverflowError, RecursionError) as wrong:
                raise ConfigurationError(
                    f"strip_regex is no regular expression: {self.strip_regex!r}: {wrong}"
                ) from None

    @property
    def keys(self) -> tuple[str, ...] | None:
        """The keys that were given, each once, in their order; None: all under the prefix."""
        if self.s3_keys is None:
            return None
        return (self.s3_keys,) if isinstance(self.s3_keys, str) else tuple(dict.fromkeys(self.s3_keys))


def _check_both(settings: PullSettings | PushSettings) -> None:
    """Check what both directions have, and keep the globs as tuples: an iterator could be read once."""
    check_sftp_path(settings.sftp_path)
    paths.directory_prefix(settings.s3_prefix)
    check_choice("after_transfer", settings.after_transfer, AfterTransfer)
    globs = Globs(settings.include, settings.exclude)
    object.__setattr__(settings, "include", globs.include)
    object.__setattr__(settings, "exclude", globs.exclude)
    if settings.last is not None:
        object.__setattr__(settings, "last", Patterns("last", settings.last).patterns or None)
    if settings.rename_to is not None:
        check_rename_to(settings.rename_to)
    check_destination(settings.destination)
    check_caps(settings.max_files, settings.max_bytes)
    _check_bounds(settings)
    if settings.receipts is not None:
        parse_receipts(settings.receipts)
    if settings.order not in (None, "oldest"):
        raise ConfigurationError(f"order must be 'oldest', or None for the order of the names, not {settings.order!r}")


def _check_bounds(settings: PullSettings | PushSettings) -> None:
    for name, size in (("min_size", settings.min_size), ("max_size", settings.max_size)):
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
            raise ConfigurationError(f"{name} must be a whole number of bytes, or None for no bound, not {size!r}")
    if settings.min_size is not None and settings.max_size is not None and settings.min_size > settings.max_size:
        raise ConfigurationError(
            f"min_size ({settings.min_size}) is larger than max_size ({settings.max_size}): nothing would be taken"
        )
    if settings.max_age is not None:
        check_seconds("max_age", settings.max_age)


def check_seconds(name: str, seconds: object) -> None:
    """Raise ConfigurationError where `seconds` is no length of time."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
        raise ConfigurationError(f"{name} must be 0 seconds or more, not {seconds!r}")


def _check_sent(settings: PushSettings) -> None:
    """Check what a push does with the objects that it has delivered."""
    if settings.after_transfer != "keep" and settings.mark != "auto":
        raise ConfigurationError(
            f"mark={settings.mark!r} does not go with after_transfer={settings.after_transfer!r}: what is taken away "
            "is not marked. Leave mark out, or set after_transfer='keep'"
        )
    if (settings.after_transfer == "move") != (settings.sent_prefix is not None):
        raise ConfigurationError(
            "after_transfer='move' and sent_prefix, where the objects are moved to, need each other: give both, or none"
        )
    if settings.sent_prefix is None:
        return
    prefix = paths.directory_prefix(settings.s3_prefix)
    sent = paths.directory_prefix(settings.sent_prefix, "sent_prefix")
    if paths.is_state(sent):
        raise ConfigurationError(f"sent_prefix {sent!r}: this provider uses objects of that name itself")
    if sent.startswith(prefix) or prefix.startswith(sent):
        raise ConfigurationError(
            f"sent_prefix {sent!r} and s3_prefix {prefix!r}: neither may be inside the other (an empty one is the "
            "whole bucket), or what was sent would be sent again. Write them like 'outbound/' and 'sent/'"
        )


def _check_beside(settings: PullSettings | PushSettings) -> tuple[str, ...]:
    """Check what stands beside files by itself. Return the names of its arguments, where they are given."""
    trigger, checksum = settings.trigger_file, settings.checksum_file
    if trigger is not None:
        check_trigger_file(trigger)
    if checksum is not None:
        check_checksum_file(checksum)
    if trigger is not None and checksum is not None and trigger.endswith(checksum.removeprefix("{name}")):
        raise ConfigurationError(
            f"trigger_file={trigger!r} and checksum_file={checksum!r} would be one file: give the trigger another name"
        )
    given = {"trigger_file": trigger, "checksum_file": checksum}
    return tuple(name for name, value in given.items() if value is not None)


def _check_announced(settings: PushSettings) -> None:
    """Check what goes with the trigger files and checksum files of a push."""
    for name in _check_beside(settings):
        if settings.on_conflict not in ("replace", "fail"):
            raise ConfigurationError(
                f"{name} does not go with on_conflict={settings.on_conflict!r}: a file that is there has, or awaits, "
                "one of the same name. Set on_conflict to 'replace' or 'fail'"
            )
        _check_temp_name_beside(settings, name)
    directory = (settings.rename_to or "").rpartition("/")[0]
    if settings.trigger_file and directory != directory.replace("{size}", "").replace("{mtime", ""):
        raise ConfigurationError(
            f"trigger_file does not go with rename_to={settings.rename_to!r}: which files share a trigger has to be "
            "known beforehand, so make no directory of {size} or {mtime}"
        )


def _check_temp_name_beside(settings: PushSettings, argument: str) -> None:
    """Raise ConfigurationError where an unfinished file would have the name of a trigger, or of a checksum file."""
    template = getattr(settings, argument)
    unfinished = (settings.temp_name or "").rpartition("/")[2].replace("{id}", "0" * 16).replace("{name}", "a")
    if unfinished and TriggerNames(template, argument).is_trigger(unfinished):
        raise ConfigurationError(
            f"{argument}={template!r} does not go with temp_name={settings.temp_name!r}: the partner would take a file "
            "that is not whole for one that says so. Give unfinished files another ending, such as '.{id}.part'"
        )


def _check_awaited(settings: PullSettings) -> None:
    """Check what goes with the trigger files, the checksum files and the last files of a pull."""
    beside = _check_beside(settings)
    for name in (*beside, *(["last"] if settings.last is not None else ())):
        if settings.sftp_paths is not None or settings.follow_links:
            other = "sftp_paths" if settings.sftp_paths is not None else "follow_links"
            raise ConfigurationError(f"{name} does not go with {other}: such files are looked for in whole directories")
    if settings.last is not None and paths.Shard.of(settings.shard).count > 1:
        raise ConfigurationError(
            "last does not go with a shard: a last file waits for all files of its directory, and no other task may "
            "have some of them"
        )
    for name in beside:
        if settings.on_conflict == "rename":
            raise ConfigurationError(
                f"{name} does not go with on_conflict='rename': two files would share one of them in S3. Use rename_to"
            )
        if "{" in (settings.rename_to or "").rpartition("/")[0].replace("{dir}", ""):
            raise ConfigurationError(
                f"{name} does not go with rename_to={settings.rename_to!r}: what stands beside a file stays in its "
                "directory, so make directories of {dir} only"
            )
    if (
        settings.trigger_file is not None
        and paths.Shard.of(settings.shard).count > 1
        and is_of_a_run(settings.trigger_file)
    ):
        raise ConfigurationError(
            "trigger_file without {name} or {stem} does not go with a shard: it tells of all files of a directory"
        )


def _texts(name: str, what: str, given: object) -> tuple[str, ...]:
    """Return one text, or several, as a tuple. :raises ConfigurationError: something else is among them."""
    lone = isinstance(given, (str, Mapping)) or not isinstance(given, Iterable)
    several: tuple[Any, ...] = (given,) if lone else tuple(given)  # type: ignore[arg-type]
    for each in several:
        if not isinstance(each, str):
            raise ConfigurationError(f"{name}: {each!r} is no text: there must be {what}")
    return several


def check_choice(name: str, value: object, among: object) -> None:
    """Raise ConfigurationError where `value` is none of the values of a Literal."""
    if value not in get_args(among):
        raise ConfigurationError(f"{name} must be one of {', '.join(get_args(among))}, not {value!r}")


def check_file_mode(mode: object) -> None:
    """Raise ConfigurationError where `mode` is no mode of a file."""
    if mode is None or (isinstance(mode, int) and not isinstance(mode, bool) and 0 <= mode <= 0o777):
        return
    raise ConfigurationError(
        f"file_mode must be a mode from 0 to 0o777, such as 0o640 or '0640', or None for the server's own, not {mode!r}"
    )


def parse_receipts(place: object) -> tuple[str, str]:
    """
    Return the bucket and the prefix of ``s3://bucket/prefix/``.

    :raises ConfigurationError: it is written otherwise.
    """
    bucket, slash, prefix = place.removeprefix("s3://").partition("/") if isinstance(place, str) else ("", "", "")
    if not isinstance(place, str) or not place.startswith("s3://") or not bucket or not (slash and prefix):
        raise ConfigurationError(f"receipts must be a prefix such as 's3://bucket/receipts/', not {place!r}")
    if bucket.startswith("arn:"):  # which has a slash of its own
        raise ConfigurationError(f"receipts {place!r}: name an access point by its alias here, and not by its ARN")
    check_bucket_name(bucket, "receipts: the bucket")
    prefix = paths.directory_prefix(prefix, "receipts")
    if paths.is_state(prefix):
        raise ConfigurationError(f"receipts {place!r}: this provider uses objects of that name itself")
    return bucket, prefix


def check_receipts(settings: PullSettings | PushSettings, bucket: str) -> None:
    """
    Make sure that no run takes receipts for files.

    :param bucket: that the settings are about.
    :raises ConfigurationError: they would be beneath a prefix that is moved from, or to.
    """
    if settings.receipts is None:
        return
    name, prefix = parse_receipts(settings.receipts)
    places = [("s3_prefix", settings.s3_prefix), ("sent_prefix", getattr(settings, "sent_prefix", None))]
    for argument, value in places if name == bucket else ():
        if value is None and argument != "s3_prefix":
            continue
        place = paths.directory_prefix(value, argument)
        overlap = place.startswith(prefix) or prefix.startswith(place)
        if overlap:
            raise ConfigurationError(
                f"receipts {settings.receipts!r} and {argument} {place!r}: neither may be inside the other (an empty "
                f"one is the whole bucket {bucket!r}), or receipts would be taken for files. Write them to a prefix, "
                "or a bucket, of their own"
            )


def check_sftp_path(path: object) -> None:
    """Raise ConfigurationError where `path` cannot be a directory's path."""
    if not isinstance(path, str) or not path or "\0" in path:
        raise ConfigurationError(f"sftp_path must be the path of a directory on the server, not {path!r}")


def check_bucket_name(name: object, called: str = "s3_bucket") -> None:
    """
    Make sure that `name` may be a bucket's, or the alias or ARN of an access point. S3 judges the rest.

    :param called: what the error calls it.
    :raises ConfigurationError: it is none, or of a kind that is not supported.
    """
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{called} must be the name of a bucket, not {name!r}")
    if not _BUCKET.fullmatch(name):
        raise ConfigurationError(f"{called} {name!r} is no bucket's name")
    if found := re.fullmatch(r"arn:[^:]*:s3:::(.*)", name):
        raise ConfigurationError(f"{called} {name!r} is no bucket's name: that is {found[1]!r}")
    for kind, pattern in _NOT_SUPPORTED.items():
        if re.search(pattern, name):
            raise bucket_not_supported(name, kind, called)


def bucket_not_supported(name: str, what: str, called: str = "s3_bucket") -> ConfigurationError:
    """Return the error for what is called like a bucket, and is none."""
    return ConfigurationError(
        f"{called} {name!r} is {what}, which is not supported: name a bucket, or an access point of one"
    )


def check_caps(max_files: int | None, max_bytes: int | None) -> None:
    """Raise ConfigurationError where a cap is not None or a whole number above 0."""
    for name, cap in (("max_files", max_files), ("max_bytes", max_bytes)):
        if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int) or cap < 1):
            raise ConfigurationError(f"{name} must be a whole number above 0, or None for no cap, not {cap!r}")


def check_destination(name: object) -> None:
    """Raise ConfigurationError where `name` cannot be a destination's."""
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise ConfigurationError(f"destination must be a name, such as the SFTP connection's id, not {name!r}")


def check_mark(mode: str) -> MarkMode:
    """Return `mode`. :raises ConfigurationError: it is not one of the modes."""
    if mode not in get_args(MarkMode):
        raise ConfigurationError(f"mark must be one of {', '.join(get_args(MarkMode))}, not {mode!r}")
    return mode  # type: ignore[return-value]
