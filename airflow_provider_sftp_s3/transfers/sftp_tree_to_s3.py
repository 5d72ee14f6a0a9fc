"""SftpTreeToS3Operator: pull a tree from an SFTP server into S3."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_sftp_s3.transfers.base import TransferOperator

if TYPE_CHECKING:
    from airflow_provider_sftp_s3.engine.options import TransferOptions


class SftpTreeToS3Operator(TransferOperator):
    """
    Pull a directory tree from an SFTP server into an S3 bucket, and move each file away once S3 has it.

    Any number of files goes over one connection, many at once. A file is moved into ``.done`` beside it (or deleted,
    or kept) only after S3 has answered that the object is complete, so that a crash at any moment loses nothing: the
    next run does what is left. One file's failure leaves the others alone and fails the task in the end.

    .. code-block:: python

        SftpTreeToS3Operator(
            task_id="pull",
            sftp_path="/outbox",
            s3_bucket="my-bucket",
            s3_prefix="inbound/partner/",
            retention=timedelta(days=7),
        )

    :param sftp_path: directory to pull, recursively; must exist. (templated)
    :param s3_bucket: bucket to write to. (templated)
    :param s3_prefix: directory in the bucket; the tree's own structure follows it. (templated)
    :param sftp_conn_id: Airflow connection of type `sftp`. (templated)
    :param aws_conn_id: Airflow connection of type `aws`; None: boto3's own way to find credentials. (templated)
    :param sftp_paths: a file, or a list of files, beneath `sftp_path` to pull instead of the whole tree. No directory
        is listed then. A file that is missing fails, unless an earlier try of the Dag run has pulled it. None: the
        whole tree. (templated)
    :param include: glob or list of globs of files to take. One with a ``/`` is matched against the path relative to
        `sftp_path`, where ``**`` stands for any directories; else against the name. (templated)
    :param exclude: glob or list of globs of files to leave, likewise. It wins over `include`. (templated)
    :param last: glob or list of globs, likewise, of files that go after all others of their directory, and of those
        beneath it. One that is young, fails or is over a cap holds them back; what is skipped for another reason does
        not. None: each goes when it can. (templated)
    :param min_age: leave files alone that were changed more recently than this, as a timedelta or in seconds: somebody
        may still be writing them. 0 takes all. (templated)
    :param after_transfer: ``move`` a file into `done_dir`, ``delete`` it, or ``keep`` it where it is and skip what S3
        already has with the same size and ``mtime`` metadata. (templated)
    :param done_dir: name of the done directory inside each directory. With the day, as in ``.done/{date}``, each Dag
        run's files go into a directory of its day (UTC) in there. (templated)
    :param done_conflict: what becomes of an older file of the same name in the done directory. ``replace`` it, or
        ``rename`` it to ``<name>.<its mtime>``.
    :param trigger_file: a file beside each one, or beside several, that says that they are whole: ``{name}.ok``,
        ``{stem}.done``, ``_SUCCESS``. A file is taken only with a trigger that is not older. A trigger goes to S3, and
        is moved, after all its files; it stays if one of them stays. None: no triggers. (templated)
    :param checksum_file: the file beside each one that has its sum, ``{name}.sha256`` or ``{name}.md5``, as
        coreutils write it. A file is taken only with it. A file with another sum fails, and stays. The checksum file
        goes to S3, and is moved, after its file. None: no checksum files. (templated)
    :param retention: purge done files this long after their transfer, as a timedelta or in seconds; with a dated
        `done_dir`, this long after their day. None or 0: never.
        (templated)
    :param max_files: transfer at most so many files in one run; the rest waits for the next. Each shard counts its own.
        (templated)
    :param max_bytes: transfer at most so many bytes in one run. A larger file goes alone. Each shard counts its own.
        (templated)
    :param min_size: leave smaller files alone, in bytes. (templated)
    :param max_size: leave larger files alone, in bytes. (templated)
    :param max_age: leave files alone that were changed longer ago than this, as a
        timedelta or in seconds. (templated)
    :param order: ``oldest``: begin with those that were changed first; with `max_files` the oldest go.
    :param dry_run: list what would be done, touch nothing. (templated)
    :param shard: which part of the tree to pull, so that mapped tasks on several workers share a large one: ``2/8`` is
        the second of eight. Each file, done ones too, is in exactly one. Every task lists the whole tree, over a
        connection of its own. None: the whole tree. (templated)
    :param follow_links: with ``after_transfer="keep"``: pull what symbolic links lead to, wherever that is on the
        server, under the links' own names. A link to a directory that it is in is skipped, and so is a broken one.
        False: all links are skipped.
    :param rename_to: the key beneath `s3_prefix`, such as ``{dir}/{stem}_{mtime}{suffix}``. The words ``{dir}``,
        ``{stem}``, ``{suffix}``, ``{name}``, ``{size}``, ``{mtime}`` and ``{mtime:%Y%m%d}`` (in UTC) are replaced; all
        else stays as it is. No Jinja: a retry must give the same name. If two files of a run come to one key, the
        second fails. None: the name is kept.
    :param on_conflict: what to do if S3 has another object of a file's key. ``replace`` that object; ``rename`` the
        file, to ``{stem}.{mtime}{suffix}``; ``skip`` it: it stays where it is; or ``fail``. An object with the file's
        size, and its ``mtime`` in the metadata, was stored by this pull and is no conflict.
    :param destination: the name under which marks know the partner: a push to it does not send back what came from it.
        None: `sftp_conn_id`. Give the same to all operators whose connections lead to one partner. (templated)
    :param extra_args: what each object is stored with, by the names of boto3's ExtraArgs, such as
        ``{"ServerSideEncryption": "aws:kms", "ACL": "bucket-owner-full-control"}``. They count before those of the aws
        connection, ``service_config.s3.extra_args``, where customer keys belong. (templated)
    :param receipts: a prefix such as ``s3://bucket/receipts/``, under which a line of JSON is written for each file. It
        must be outside every prefix that files are moved from or to. None: nothing is written. (templated)
    :param options: :class:`~airflow_provider_sftp_s3.engine.options.TransferOptions`, or a dict of its fields.
    :return: the report, JSON: direction, transferred, bytes, seconds, skipped, failed, failures, targets, purged,
        left (how many files the next run has to do: what failed, is young, or over a cap), more_left (whether there
        are more than were counted), oldest_age (seconds since the oldest of these was changed; None: not known),
        recovered (files that an earlier try has moved and not told of), total (files and bytes of this try and those
        before it; None: not known, as without `receipts` on a retry), receipt (the URI of the Dag run's receipts).
    :raises AirflowFailException: at once, with no retries, where a setting, a credential or a directory is wrong.
    :raises TransferError: something failed; the report is in XCom under ``report``.
    """

    template_fields: Sequence[str] = (
        "sftp_path",
        "s3_bucket",
        "s3_prefix",
        "sftp_conn_id",
        "aws_conn_id",
        "sftp_paths",
        "trigger_file",
        "checksum_file",
        "include",
        "exclude",
        "last",
        "dry_run",
        "shard",
        "destination",
        "min_age",
        "after_transfer",
        "done_dir",
        "retention",
        "max_files",
        "max_bytes",
        "min_size",
        "max_size",
        "max_age",
        "extra_args",
        "receipts",
    )
    _lists = ("sftp_paths", "include", "exclude", "last")
    _places = ("sftp_path", "s3_bucket", "s3_prefix", "sftp_paths", "include", "shard", "min_age")
    ui_color = "#d5e8f0"
    direction = "pull"

    def __init__(
        self,
        *,
        sftp_path: str,
        s3_bucket: str,
        s3_prefix: str = "",
        sftp_conn_id: str = "sftp_default",
        aws_conn_id: str | None = "aws_default",
        sftp_paths: str | list[str] | None = None,
        include: str | list[str] = "*",
        exclude: str | list[str] | None = None,
        last: str | list[str] | None = None,
        min_age: timedelta | float | str = timedelta(seconds=30),
        after_transfer: str = "move",
        done_dir: str = ".done",
        done_conflict: str = "replace",
        trigger_file: str | None = None,
        checksum_file: str | None = None,
        retention: timedelta | float | str | None = None,
        max_files: int | str | None = None,
        max_bytes: int | str | None = None,
        min_size: int | str | None = None,
        max_size: int | str | None = None,
        max_age: timedelta | float | str | None = None,
        order: str | None = None,
        dry_run: bool | str = False,
        shard: str | None = None,
        follow_links: bool = False,
        rename_to: str | None = None,
        on_conflict: str = "replace",
        destination: str | None = None,
        extra_args: dict[str, Any] | None = None,
        receipts: str | None = None,
        options: TransferOptions | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sftp_path = sftp_path
        self.s3_bucket = s3_bucket
        self.s3_prefix = s3_prefix
        self.sftp_conn_id = sftp_conn_id
        self.aws_conn_id = aws_conn_id
        self.sftp_paths = sftp_paths
        self.include = include
        self.exclude = exclude
        self.last = last
        self.min_age = min_age
        self.after_transfer = after_transfer
        self.done_dir = done_dir
        self.done_conflict = done_conflict
        self.trigger_file = trigger_file
        self.checksum_file = checksum_file
        self.retention = retention
        self.max_files = max_files
        self.max_bytes = max_bytes
        self.min_size = min_size
        self.max_size = max_size
        self.max_age = max_age
        self.order = order
        self.dry_run = dry_run
        self.shard = shard
        self.follow_links = follow_links
        self.rename_to = rename_to
        self.on_conflict = on_conflict
        self.destination = destination
        self.extra_args = extra_args
        self.receipts = receipts
        self.options = options

    def _is_named_by_its_run(self) -> bool:
        return super()._is_named_by_its_run() or "{date}" in str(self.done_dir)
