"""What lists the objects that are not pushed yet, in batches for mapped pushes."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.paths import directory_prefix, printable
from airflow_provider_sftp_s3.engine.settings import PushSettings
from airflow_provider_sftp_s3.engine_thread import EngineThread
from airflow_provider_sftp_s3.hooks.arguments import judge, settings_of, whole_number
from airflow_provider_sftp_s3.hooks.sftp_s3 import fails_for_good
from airflow_provider_sftp_s3.operators.batches import (
    MAX_BYTES,
    MAX_KEYS,
    by_path,
    in_groups,
    whole_directories,
    with_last_ones,
)
from airflow_provider_sftp_s3.operators.s3_events import ACCESS_POINT, Landed, landed
from airflow_provider_sftp_s3.transfers.templates import TemplatedOperator

if TYPE_CHECKING:
    from airflow_provider_sftp_s3._compat import Context


#: Keys of objects that can never go which one list has at most, so that a push tells of them.
MAX_REFUSED = 100


class S3ListUnsyncedOperator(TemplatedOperator):
    """
    List the objects under a prefix that have not been pushed, in batches for a mapped :class:`S3ToSftpOperator`.

    The list stays in this task's XCom: push tasks that are retried find their keys there.

    :param s3_bucket: bucket to look into. (templated)
    :param s3_prefix: directory in the bucket. (templated)
    :param include: glob or list of globs, as for S3ToSftpOperator. (templated)
    :param exclude: glob or list of globs, as for S3ToSftpOperator. (templated)
    :param last: as for S3ToSftpOperator: all objects beneath the directory of one are in one batch with it, though that
        be larger than `batch_files`. (templated)
    :param min_size: as for S3ToSftpOperator. (templated)
    :param max_size: as for S3ToSftpOperator. (templated)
    :param max_age: as for S3ToSftpOperator. (templated)
    :param order: as for S3ToSftpOperator.
    :param trigger_file: as for S3ToSftpOperator: with it, all objects of a directory are in one batch, though that be
        larger than `batch_files`. (templated)
    :param checksum_file: as for S3ToSftpOperator: objects of such names are not listed. (templated)
    :param strip_regex: as for S3ToSftpOperator: keys that it makes one path of are in one batch, where the second
        fails. (templated)
    :param rename_to: as for S3ToSftpOperator, likewise.
    :param mark: as for S3ToSftpOperator: with ``none``, all objects are listed. (templated)
    :param destination: whom the objects are pushed to: the push's `destination` or, where it has none, its
        `sftp_conn_id`. (templated)
    :param aws_conn_id: Airflow connection of type `aws`. (templated)
    :param extra_args: as for S3ToSftpOperator. (templated)
    :param batch_files: objects in a batch, at most. (templated)
    :param max_batches: batches, at most; Airflow maps over 1,024 (`max_map_length`). What is over that, or over 100,000
        keys or 8 MB of them, since they live in XCom, waits for the next run. (templated)
    :return: a list of lists of keys. Those that can be no path, and so never go, are the last, 100 of them at most, and
        take the place of no other.
    :raises AirflowFailException: at once, with no retries, where a setting, a credential or the bucket is wrong.
    """

    template_fields: Sequence[str] = (
        "s3_bucket",
        "s3_prefix",
        "include",
        "exclude",
        "last",
        "mark",
        "aws_conn_id",
        "destination",
        "batch_files",
        "max_batches",
        "min_size",
        "max_size",
        "max_age",
        "trigger_file",
        "checksum_file",
        "strip_regex",
        "extra_args",
    )
    ui_color = "#f0f0e0"

    def __init__(
        self,
        *,
        s3_bucket: str,
        s3_prefix: str = "",
        include: str | list[str] = "*",
        exclude: str | list[str] | None = None,
        last: str | list[str] | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        max_age: timedelta | float | None = None,
        order: str | None = None,
        trigger_file: str | None = None,
        checksum_file: str | None = None,
        strip_regex: str | None = None,
        rename_to: str | None = None,
        mark: str = "auto",
        destination: str = "sftp_default",
        aws_conn_id: str | None = "aws_default",
        extra_args: dict[str, Any] | None = None,
        batch_files: int | str = 1000,
        max_batches: int | str = 1000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.s3_bucket = s3_bucket
        self.s3_prefix = s3_prefix
        self.include = include
        self.exclude = exclude
        self.last = last
        self.min_size = min_size
        self.max_size = max_size
        self.max_age = max_age
        self.order = order
        self.trigger_file = trigger_file
        self.checksum_file = checksum_file
        self.strip_regex = strip_regex
        self.rename_to = rename_to
        self.mark = mark
        self.destination = destination
        self.aws_conn_id = aws_conn_id
        self.extra_args = extra_args
        self.batch_files = batch_files
        self.max_batches = max_batches

    @classmethod
    def judge(cls, arguments: Mapping[str, Any]) -> None:
        """Look at the arguments. :raises ConfigurationError: one is not allowed; the message names it."""
        judge(PushSettings, arguments)

    @fails_for_good
    def execute(self, context: Context) -> list[list[str]]:
        """Return the keys of the unsynced objects in batches."""
        self.refuse_none()
        return self._unsynced_in_batches(None)

    def _unsynced_in_batches(self, s3_keys: list[str] | None) -> list[list[str]]:
        batches = unsynced_batches(
            s3_bucket=self.s3_bucket,
            s3_prefix=self.s3_prefix,
            selection={**selected(self), "s3_keys": s3_keys},
            aws_conn_id=self.aws_conn_id,
            batch_files=self.batch_files,
            max_batches=self.max_batches,
        )
        place = f"s3://{self.s3_bucket}/{self.s3_prefix}"
        self.log.info("%d unsynced objects under %r", sum(map(len, batches)), place)
        return batches


class S3ListAnnouncedOperator(S3ListUnsyncedOperator):
    """
    List the unsynced objects that S3's own events tell of, where such events have started the run.

    A run that was started by its schedule or by hand lists the prefix, and finds what no event told of: a message
    is received once, and lost if Airflow ends in that moment.

    Its Dag is scheduled on an asset whose watcher has the Amazon provider's ``SqsSensorTrigger``. Arguments, return
    value and errors are those of :class:`S3ListUnsyncedOperator`; `s3_bucket` is the bucket's own name.
    """

    @classmethod
    def judge(cls, arguments: Mapping[str, Any]) -> None:
        """Look at the arguments. :raises ConfigurationError: one is not allowed; the message names it."""
        super().judge(arguments)
        if ACCESS_POINT.search(arguments.get("s3_bucket", "")):
            raise ConfigurationError(
                f"s3_bucket {arguments['s3_bucket']!r} is an access point: S3's events name the bucket, and none would "
                "be taken for one of this prefix. Give the bucket's own name"
            )

    @fails_for_good
    def execute(self, context: Context) -> list[list[str]]:
        """Return the keys of the unsynced objects in batches."""
        self.refuse_none()
        self.judge({"s3_bucket": self.s3_bucket})
        if not context["triggering_asset_events"]:
            return self._unsynced_in_batches(None)
        prefix = directory_prefix(self.s3_prefix)
        keys = dict.fromkeys(
            found.key
            for found in self._announced(context)
            if found.bucket == self.s3_bucket and found.key.startswith(prefix)
        )
        self.log.info("S3's events tell of %d objects under %r", len(keys), f"s3://{self.s3_bucket}/{prefix}")
        return self._unsynced_in_batches(list(keys))

    def _announced(self, context: Context) -> Iterator[Landed]:
        for events in context["triggering_asset_events"].values():
            for event in events:
                for message in _messages(event.extra):
                    try:
                        yield from landed(_inside(message, "Body"))
                    except ValueError as wrong:
                        self.log.warning("message %r is left out: %s", _inside(message, "MessageId"), wrong)


def _messages(extra: Any) -> list[Any]:
    """Return the messages that an event has of SqsSensorTrigger: none where somebody else has made it."""
    batch = _inside(_inside(extra, "payload"), "message_batch")
    return batch if isinstance(batch, list) else []


def _inside(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def _fits_into_xcom(key: str) -> bool:
    """Say whether PostgreSQL takes a text in JSON: with NUL, or half of a character, it refuses all of the list."""
    with contextlib.suppress(UnicodeEncodeError):
        return b"\0" not in key.encode()
    return False


def _size_as_json(key: str) -> int:
    return len(json.dumps(key)) + len(", ")


#: Arguments of a push that say which objects it takes, and how S3 is asked for them.
SELECTION = (
    *("include", "exclude", "last", "min_size", "max_size", "max_age", "order"),
    *("trigger_file", "checksum_file", "strip_regex", "rename_to", "mark", "destination", "extra_args"),
)


def selected(task: Any) -> dict[str, Any]:
    """Return the :data:`SELECTION` of an operator or a sensor."""
    return {name: getattr(task, name) for name in SELECTION}


def unsynced_batches(
    *,
    s3_bucket: str,
    s3_prefix: str = "",
    selection: Mapping[str, Any],
    aws_conn_id: str | None = "aws_default",
    batch_files: int | str = 1000,
    max_batches: int | str = 1000,
    if_all_refused: bool = True,
) -> list[list[str]]:
    """
    Return the keys of unsynced objects in batches: what :class:`S3ListUnsyncedOperator` returns, with its arguments.

    :param selection: those that say which objects; with `s3_keys` among them, only these keys are looked at.
    :param if_all_refused: whether objects that can never go are listed where there are no others.
    :raises ConfigurationError: a setting, a credential or the bucket is wrong.
    """
    batch_files = _number_above_0("batch_files", batch_files)
    max_batches = _number_above_0("max_batches", max_batches)
    from airflow_provider_sftp_s3.engine.lasts import LastNames
    from airflow_provider_sftp_s3.engine.model import seconds_of
    from airflow_provider_sftp_s3.engine.options import TransferOptions
    from airflow_provider_sftp_s3.engine.order import by_age
    from airflow_provider_sftp_s3.engine.s3.ledger import Ledger
    from airflow_provider_sftp_s3.engine.unsynced import Unsynced, unsynced
    from airflow_provider_sftp_s3.hooks.s3_bucket import bucket_of

    settings = settings_of(PushSettings, {"sftp_path": "/", "s3_prefix": s3_prefix, **selection})
    options = TransferOptions()
    lasts = LastNames(settings.last, directory_prefix(s3_prefix)) if settings.last is not None else None
    together = settings.trigger_file is not None or lasts is not None
    limit = MAX_KEYS if together else min(batch_files * max_batches, MAX_KEYS)
    notice = logging.getLogger(__name__).warning
    bucket = bucket_of(aws_conn_id, s3_bucket, options)
    bucket.send_along(settings.extra_args, "push")

    async def first() -> tuple[list[Unsynced], list[str]]:
        entries: list[Unsynced] = []
        refused: list[str] = []
        size = 0
        ledger = Ledger(bucket, directory_prefix(s3_prefix))
        async with bucket:
            await bucket.check()
            with contextlib.closing(ledger):
                if settings.keys is None and settings.mark != "none":
                    await ledger.load()
                async with contextlib.aclosing(unsynced(settings, bucket, options, ledger, notice)) as found:
                    async for entry in found:
                        if entry.is_refused:
                            if _fits_into_xcom(entry.key):
                                refused.append(entry.key)
                            else:
                                notice(f"{printable(entry.key)!r} is left out: no database takes such a name in a list")
                            continue
                        entries.append(entry)
                        size += _size_as_json(entry.key)
                        if not settings.order and (len(entries) >= limit or size >= MAX_BYTES):
                            break
                if entries:  # they will be moved
                    await ledger.save()
        if settings.order:
            entries.sort(key=lambda each: by_age(seconds_of(each.entry.modified), each.key))
        entries = entries[:limit]
        sizes = itertools.accumulate(_size_as_json(each.key) for each in entries)
        fit = [each for each, up_to in zip(entries, sizes, strict=True) if up_to <= MAX_BYTES or each is entries[0]]
        return fit, refused[:MAX_REFUSED]

    entries, refused = EngineThread().run(first)
    keys = [each.key for each in entries]
    if together and keys:
        is_cut = len(keys) == limit or sum(map(_size_as_json, keys)) >= MAX_BYTES
        if is_cut and settings.trigger_file is not None:
            keys = whole_directories(keys)
        group_of: Callable[[str], str] = posixpath.dirname if settings.trigger_file is not None else str
        if lasts is not None:
            group_of = with_last_ones(filter(lasts.is_last, keys), group_of)
        batches = in_groups(keys, batch_files, group_of)[:max_batches]
    else:
        batches = [keys[start : start + batch_files] for start in range(0, len(keys), batch_files)]
    if settings.strip_regex is not None or settings.rename_to is not None:
        batches = by_path(batches, {each.key: each.path for each in entries})
    if refused and (batches or if_all_refused):
        batches = [*batches[:-1], [*(batches[-1] if batches else ()), *refused]]
    return batches


def _number_above_0(name: str, value: int | str) -> int:
    number = whole_number(name, value)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ConfigurationError(f"{name} must be a whole number above 0, not {value!r}")
    return number
