"""S3ToSftpOperator: push S3 objects to an SFTP server."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_sftp_s3.transfers.base import TransferOperator
from airflow_provider_sftp_s3.transfers.templates import label_of

if TYPE_CHECKING:
    from airflow_provider_sftp_s3._compat import Context
    from airflow_provider_sftp_s3.engine.options import TransferOptions


class S3ToSftpOperator(TransferOperator):
    """
    Push S3 objects to an SFTP server, each whole or not at all, and mark them as synced, or take them away.

    A file is written under a temporary name beside its target, checked, and renamed over it: a reader there never
    sees half a file. Drop boxes that allow no such thing need `temp_name` or `verify`. The mark is bound to the bytes
    that were sent; an object that is overwritten loses it and is pushed again. One object's failure leaves the others
    alone and fails the task in the end; the retry reads the marks and pushes what is left.

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
        If it makes one path of two keys of a run, the second fails, in the run's retries, too; a later run pushes it in
        place of the first. (templated)
    :param rename_to: the path beneath `sftp_path`, made of what is left of the key, as for a pull. ``{mtime}`` is the
        ``mtime`` metadata of a pulled object, else its ``LastModified``. None: the name is kept.
    :param on_conflict: what to do if the partner has a file of an object's path already. ``replace`` that file;
        ``rename`` the new one, to ``{stem}.{mtime}{suffix}``; ``wait``, with the object unmarked, until the partner has
        taken the old one away; or ``fail``. A push does not recognise a file that an earlier try has delivered and not
        marked.
    :param file_mode: the permissions of pushed files, such as ``0o640`` or ``"0640"``. A file that does not get them
        fails. None: the server's own.
    :param preserve_mtime: give a pushed file the ``mtime`` metadata of its object, else its ``LastModified``. If the
        server refuses that, the log says so once.
    :param mark: how a pushed object is marked: ``metadata`` (``synced=true``, by a copy of the object onto itself),
        ``tag``, ``auto``, the first of these two that is safe on the S3 store, or ``none``, which pushes everything
        every time. (templated)
    :param after_transfer: what becomes of a pushed object. ``keep``: it stays, and is marked. ``move``: it goes beneath
        `sent_prefix`, by its key without `s3_prefix`, over an older one. ``delete``: it is deleted. These two set no
        marks. They need an S3 store that heeds If-Match of a DELETE, and for ``move`` of a copy. If it does not, or S3
        does not allow it, the task fails before it delivers anything. (templated)
    :param sent_prefix: directory in the bucket for ``move``, neither inside `s3_prefix` nor around it. (templated)
    :param temp_name: the name of a file until it is whole. It has ``{id}`` in it, which stands for 16 hex digits, and
        perhaps ``{name}``, the file's own name. ``tmp/{id}`` is in a directory beneath `sftp_path`, which is made if it
        is missing. None: the file has its own name at once, and a reader may see half of it.
    :param verify: when a file counts as delivered. ``size``: when the server says that it has the right size. ``none``:
        when the server has said OK to everything, for servers that let nobody look.
    :param trigger_file: an empty file beside each pushed one, or beside several, that says that they are whole:
        ``{name}.ok``, ``{stem}.done``, ``_SUCCESS``, by the name of the object. An old one is taken away before new
        data comes, and a new one made after the last file that it tells of. Objects of such names are not pushed. None:
        no triggers. (templated)
    :param checksum_file: write the sum of each file into one beside it, ``{name}.sha256`` or ``{name}.md5``, as
        coreutils do. An old one is taken away before new data comes. Objects of such names are not pushed. None:
        write none. (templated)
    :param destination: the name under which marks know the partner. An object that only other partners have is pushed
        all the same. None: `sftp_conn_id`. Give the same to all operators whose connections lead to one partner.
        (templated)
    :param sftp_conn_id: Airflow connection of type `sftp`. (templated)
    :param aws_conn_id: Airflow connection of type `aws`; None: boto3's own way to find credentials. (templated)
    :param include: glob or list of globs of objects to take. One with a ``/`` is matched against the key without its
        prefix, where ``**`` stands for any directories; else against the name. (templated)
    :param exclude: glob or list of globs of objects to leave, likewise. It wins over `include`. (templated)
    :param last: glob or list of globs, likewise, of objects that go after all others of their directory, and of those
        beneath it. One that fails, waits or is over a cap holds them back; what is skipped for another reason does not.
        With `s3_keys`, one that is not pushed and is none of them does, too. None: each goes when it can. (templated)
    :param max_files: push at most so many objects in one run; the rest waits for the next. (templated)
    :param max_bytes: push at most so many bytes in one run. A larger object goes alone. (templated)
    :param min_size: leave smaller objects alone, in bytes. (templated)
    :param max_size: leave larger objects alone, in bytes. (templated)
    :param max_age: leave objects alone that were changed longer ago than this, by S3's ``LastModified``, as a
        timedelta or in seconds. (templated)
    :param order: ``oldest``: begin with those that were changed first; with `max_files` the oldest go.
    :param dry_run: list what would be done, touch nothing. (templated)
    :param extra_args: arguments of the requests that read, mark or move an object: RequestPayer, ExpectedBucketOwner,
        and ACL, which a mark by metadata, or a move, has to repeat. They count before those of the aws connection,
        ``service_config.s3.extra_args``. (templated)
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
        "s3_bucket",
        "s3_prefix",
        "s3_keys",
        "sftp_path",
        "strip_regex",
        "sent_prefix",
        "trigger_file",
        "checksum_file",
        "destination",
        "sftp_conn_id",
        "aws_conn_id",
        "include",
        "exclude",
        "last",
        "dry_run",
        "mark",
        "max_files",
        "max_bytes",
        "min_size",
        "max_size",
        "max_age",
        "after_transfer",
        "extra_args",
        "receipts",
    )
    _lists = ("s3_keys", "include", "exclude", "last")
    _places = ("sftp_path", "s3_bucket", "s3_prefix", "s3_keys", "include", "strip_regex", "sent_prefix")
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
        rename_to: str | None = None,
        on_conflict: str = "replace",
        file_mode: int | str | None = None,
        preserve_mtime: bool = False,
        mark: str = "auto",
        after_transfer: str = "keep",
        sent_prefix: str | None = None,
        temp_name: str | None = ".{id}.part",
        verify: str = "size",
        trigger_file: str | None = None,
        checksum_file: str | None = None,
        destination: str | None = None,
        sftp_conn_id: str = "sftp_default",
        aws_conn_id: str | None = "aws_default",
        include: str | list[str] = "*",
        exclude: str | list[str] | None = None,
        last: str | list[str] | None = None,
        max_files: int | str | None = None,
        max_bytes: int | str | None = None,
        min_size: int | str | None = None,
        max_size: int | str | None = None,
        max_age: timedelta | float | str | None = None,
        order: str | None = None,
        dry_run: bool | str = False,
        extra_args: dict[str, Any] | None = None,
        receipts: str | None = None,
        options: TransferOptions | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.s3_bucket = s3_bucket
        self.sftp_path = sftp_path
        self.s3_prefix = s3_prefix
        self.s3_keys = s3_keys
        self.strip_regex = strip_regex
        self.rename_to = rename_to
        self.on_conflict = on_conflict
        self.file_mode = file_mode
        self.preserve_mtime = preserve_mtime
        self.mark = mark
        self.after_transfer = after_transfer
        self.sent_prefix = sent_prefix
        self.temp_name = temp_name
        self.verify = verify
        self.trigger_file = trigger_file
        self.checksum_file = checksum_file
        self.destination = destination
        self.sftp_conn_id = sftp_conn_id
        self.aws_conn_id = aws_conn_id
        self.include = include
        self.exclude = exclude
        self.last = last
        self.max_files = max_files
        self.max_bytes = max_bytes
        self.min_size = min_size
        self.max_size = max_size
        self.max_age = max_age
        self.order = order
        self.dry_run = dry_run
        self.extra_args = extra_args
        self.receipts = receipts
        self.options = options

    @property
    def batch(self) -> str:
        """What a mapped task is called in Airflow's UI, by ``map_index_template="{{ task.batch }}"``."""
        return label_of(self.s3_keys)

    def _of_the_task(self, context: Context) -> dict[str, Any]:
        """Return the settings that are the task's own: what names its temporary files, and if there are old ones."""
        ti = context["ti"]
        instance = f"{ti.dag_id}\n{ti.task_id}\n{ti.run_id}\n{ti.map_index}"
        owner = hashlib.sha256(instance.encode()).hexdigest()[:8]
        return {**super()._of_the_task(context), "owner": owner, "clean_up": ti.try_number > 1}
