"""S3ToSftpOperator: push S3 objects to an SFTP server; and what finds those that are not pushed yet."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_sftp_s3._s3_events import Landed, landed
from airflow_provider_sftp_s3.engine.paths import directory_prefix
from airflow_provider_sftp_s3.engine_thread import EngineThread
from airflow_provider_sftp_s3.transfers.base import TransferOperator, fails_for_good, truth
from airflow_provider_sftp_s3.transfers.templates import TemplatedOperator, label_of

if TYPE_CHECKING:
    from airflow_provider_sftp_s3._compat import Context
    from airflow_provider_sftp_s3.engine.model import ObjectEntry
    from airflow_provider_sftp_s3.engine.options import TransferOptions

#: Keys in one list of unsynced objects: some megabytes of XCom, which lies in Airflow's database.
MAX_KEYS = 100_000


class S3ToSftpOperator(TransferOperator):
    """
    Push S3 objects to an SFTP server, each whole or not at all, and mark them as synced.

    A file is written under a temporary name beside its target, checked, and renamed over it: a reader there never
    sees half a file. The mark is bound to the bytes that were sent; an object that is overwritten loses it and is
    pushed again. One object's failure leaves the others alone and fails the task in the end; the retry reads the
    marks and pushes what is left.

    .. code-block:: python

        S3ToSftpOperator(
            task_id="push",
            s3_bucket="my-bucket",
            s3_prefix="outbound/partner/",
            sftp_path="/inbox",
        )

    :param s3_bucket: bucket to read from. (templated)
    :param s3_prefix: directory in the bucket. (templated)
    :param s3_keys: a key, or a list of keys, to push. None: every unsynced object under the prefix. (templated)
    :param sftp_path: target directory; must exist, the directories beneath it are made. (templated)
    :param strip_regex: removed once from the key to give the path beneath `sftp_path`. None: the prefix is removed.
        Where it makes one path of two keys of a run, the second fails, in the run's retries, too; a later run pushes it
        in place of the first. (templated)
    :param mark: how a pushed object is marked: ``metadata`` (``synced=true``, by a copy of the object onto itself),
        ``tag``, or ``none``, which pushes everything every time.
    :param sftp_conn_id: Airflow connection of type `sftp`. (templated)
    :param aws_conn_id: Airflow connection of type `aws`; None: boto3's own way to find credentials. (templated)
    :param include: glob or list of globs of objects to take. One with a ``/`` is matched against the key without its
        prefix, where ``**`` stands for any directories; else against the name. (templated)
    :param exclude: glob or list of globs of objects to leave, likewise. It wins over `include`. (templated)
    :param max_files: push at most so many objects in one run; the rest waits for the next.
    :param max_bytes: push at most so many bytes in one run. A larger object goes alone.
    :param dry_run: list what would be done, touch nothing. (templated)
    :param options: :class:`~airflow_provider_sftp_s3.engine.options.TransferOptions`, or a dict of its fields.
    :return: the report, JSON: direction, transferred, bytes, seconds, skipped, failed, failures, targets, purged.
    :raises AirflowFailException: at once, with no retries, where a setting, a credential or a directory is wrong.
    :raises TransferError: something failed; the report is in XCom under ``report``.
    """

    template_fields: Sequence[str] = (
        "s3_bucket",
        "s3_prefix",
        "s3_keys",
        "sftp_path",
        "strip_regex",
        "sftp_conn_id",
        "aws_conn_id",
        "include",
        "exclude",
        "dry_run",
    )
    _lists = ("s3_keys", "include", "exclude")
    ui_color = "#f0e6d5"
    direction = "push"

    def __init__(
        self,
        *,
        s3_bucket: str,
        sftp_path: str,
        s3_prefix: str = "",
        s3_keys: str | list[str] | None = None,
        strip_regex: str | None = None,
        mark: str = "metadata",
        sftp_conn_id: str = "sftp_default",
        aws_conn_id: str | None = "aws_default",
        include: str | list[str] = "*",
        exclude: str | list[str] | None = None,
        max_files: int | None = None,
        max_bytes: int | None = None,
        dry_run: bool | str = False,
        options: TransferOptions | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.s3_bucket = s3_bucket
        self.sftp_path = sftp_path
        self.s3_prefix = s3_prefix
        self.s3_keys = s3_keys
        self.strip_regex = strip_regex
        self.mark = mark
        self.sftp_conn_id = sftp_conn_id
        self.aws_conn_id = aws_conn_id
        self.include = include
        self.exclude = exclude
        self.max_files = max_files
        self.max_bytes = max_bytes
        self.dry_run = dry_run
        self.options = options

    @property
    def batch(self) -> str:
        """What a mapped task is called in Airflow's UI, by ``map_index_template="{{ task.batch }}"``."""
        return label_of(self.s3_keys)

    @fails_for_good
    def execute(self, context: Context) -> dict[str, Any]:
        """Push once and return the report."""
        from airflow_provider_sftp_s3.engine.push import PushSettings, push

        ti = context["ti"]
        instance = f"{ti.dag_id}\n{ti.task_id}\n{ti.run_id}\n{ti.map_index}"
        settings = PushSettings(
            sftp_path=self.sftp_path,
            s3_prefix=self.s3_prefix,
            s3_keys=self.s3_keys,
            include=self.include,
            exclude=self.exclude,
            strip_regex=self.strip_regex,
            mark=self.mark,
            max_files=self.max_files,
            max_bytes=self.max_bytes,
            dry_run=truth("dry_run", self.dry_run),
            owner=hashlib.sha256(instance.encode()).hexdigest()[:8],
            clean_up=ti.try_number > 1,
            retried_since=context["dag_run"].start_date if ti.try_number > 1 else None,
        )
        return self.transfer(context, lambda *places: push(settings, *places))


class S3ListUnsyncedOperator(TemplatedOperator):
    """
    List the objects under a prefix that have not been pushed, in batches for a mapped :class:`S3ToSftpOperator`.

    The list stays in this task's XCom: push tasks that are retried find their keys there.

    :param s3_bucket: bucket to look into. (templated)
    :param s3_prefix: directory in the bucket. (templated)
    :param include: glob or list of globs, as for S3ToSftpOperator. (templated)
    :param exclude: glob or list of globs, as for S3ToSftpOperator. (templated)
    :param mark: which mark says that an object is synced, as for S3ToSftpOperator.
    :param aws_conn_id: Airflow connection of type `aws`. (templated)
    :param batch_files: objects in a batch, at most.
    :param max_batches: batches, at most; Airflow maps over 1,024 (`max_map_length`). What is over that, or over 100,000
        keys in all, since they live in XCom, waits for the next run.
    :return: a list of lists of keys.
    :raises AirflowFailException: at once, with no retries, where a setting, a credential or the bucket is wrong.
    """

    template_fields: Sequence[str] = ("s3_bucket", "s3_prefix", "include", "exclude", "aws_conn_id")
    ui_color = "#f0f0e0"

    def __init__(
        self,
        *,
        s3_bucket: str,
        s3_prefix: str = "",
        include: str | list[str] = "*",
        exclude: str | list[str] | None = None,
        mark: str = "metadata",
        aws_conn_id: str | None = "aws_default",
        batch_files: int = 1000,
        max_batches: int = 1000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.s3_bucket = s3_bucket
        self.s3_prefix = s3_prefix
        self.include = include
        self.exclude = exclude
        self.mark = mark
        self.aws_conn_id = aws_conn_id
        self.batch_files = batch_files
        self.max_batches = max_batches

    @fails_for_good
    def execute(self, context: Context) -> list[list[str]]:
        """Return the keys of the unsynced objects in batches."""
        return self._unsynced_in_batches(None)

    def _unsynced_in_batches(self, s3_keys: list[str] | None) -> list[list[str]]:
        batches = unsynced_batches(
            s3_bucket=self.s3_bucket,
            s3_prefix=self.s3_prefix,
            s3_keys=s3_keys,
            include=self.include,
            exclude=self.exclude,
            mark=self.mark,
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
    value and errors are those of :class:`S3ListUnsyncedOperator`.
    """

    @fails_for_good
    def execute(self, context: Context) -> list[list[str]]:
        """Return the keys of the unsynced objects in batches."""
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
                for message in (event.extra.get("payload") or {}).get("message_batch", ()):
                    try:
                        yield from landed(message["Body"])
                    except ValueError as wrong:
                        self.log.warning("message %r is left out: %s", message.get("MessageId"), wrong)


def unsynced_batches(
    *,
    s3_bucket: str,
    s3_prefix: str = "",
    s3_keys: list[str] | None = None,
    include: str | list[str] = "*",
    exclude: str | list[str] | None = None,
    mark: str = "metadata",
    aws_conn_id: str | None = "aws_default",
    batch_files: int = 1000,
    max_batches: int = 1000,
) -> list[list[str]]:
    """
    Return the keys of unsynced objects in batches: what :class:`S3ListUnsyncedOperator` returns, with its arguments.

    :param s3_keys: look at these keys only, with no listing.
    :raises ConfigurationError: a setting, a credential or the bucket is wrong.
    """
    from airflow_provider_sftp_s3.engine.ledger import Ledger
    from airflow_provider_sftp_s3.engine.options import TransferOptions
    from airflow_provider_sftp_s3.engine.push import PushSettings, unsynced
    from airflow_provider_sftp_s3.hooks.s3_store import bucket_of

    settings = PushSettings(
        sftp_path="/", s3_prefix=s3_prefix, s3_keys=s3_keys, include=include, exclude=exclude, mark=mark
    )
    options = TransferOptions()
    limit = min(batch_files * max_batches, MAX_KEYS)
    notice = logging.getLogger(__name__).warning
    bucket = bucket_of(aws_conn_id, s3_bucket, options)

    async def first() -> list[str]:
        keys: list[str] = []
        found: AsyncGenerator[ObjectEntry]
        ledger = Ledger(bucket, directory_prefix(s3_prefix))
        async with bucket, contextlib.aclosing(unsynced(settings, bucket, options, ledger, notice)) as found:
            await bucket.check()
            if s3_keys is None:
                await ledger.load()
            async for entry in found:
                keys.append(entry.key)
                if len(keys) >= limit:
                    break
            await ledger.save()
        return keys

    keys = EngineThread().run(first)
    return [keys[start : start + batch_files] for start in range(0, len(keys), batch_files)]
