"""SftpS3Hook: pull and push from a function of one's own, such as a ``@task``. The operators run on it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from airflow_provider_sftp_s3._compat import AirflowFailException, BaseHook
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, TransferError
from airflow_provider_sftp_s3.engine.log import LogObserver, log_end
from airflow_provider_sftp_s3.engine.observer import Several
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.settings import PullSettings, PushSettings
from airflow_provider_sftp_s3.engine_thread import EngineThread, taking_turns
from airflow_provider_sftp_s3.hooks.arguments import settings_of

if TYPE_CHECKING:
    import logging

    from airflow_provider_sftp_s3.engine.model import Report
    from airflow_provider_sftp_s3.engine.observer import Observer
    from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
    from airflow_provider_sftp_s3.engine.s3.endpoint import Endpoint
    from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer

P = ParamSpec("P")
T = TypeVar("T")


def fails_for_good(execute: Callable[P, T]) -> Callable[P, T]:
    """Have what nobody but a user can mend fail at once, with no retries."""

    @functools.wraps(execute)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return execute(*args, **kwargs)
        except ConfigurationError as wrong:
            raise AirflowFailException(str(wrong)) from None

    return wrapped


class SftpS3Hook(BaseHook):
    """
    Pull and push between the server of an `sftp` connection and the buckets of an `aws` connection.

    .. code-block:: python

        @task
        def pull_and_count():
            report = SftpS3Hook("partner_sftp").pull(sftp_path="/outgoing", s3_bucket="example-inbound")
            return report["transferred"]

    Arguments, report, log and errors are those of the operators. What an operator does besides is not done here: no
    asset events, no lineage, and no report in XCom but what you return. Nor does a retry know that it is one: it moves
    what is left, and leaves the temporary files and the multipart uploads of a killed try to their own end.

    A transfer runs in a thread of its own while the call waits. So it may be called from any thread, several times at
    once, and from code in a running event loop, which then stands still: there, ``await asyncio.to_thread(hook.pull,
    sftp_path=...)`` lets the others go on.

    :param sftp_conn_id: Airflow connection of type `sftp`.
    :param aws_conn_id: Airflow connection of type `aws`; None: boto3's own way to find credentials.
    """

    def __init__(self, sftp_conn_id: str = "sftp_default", aws_conn_id: str | None = "aws_default") -> None:
        super().__init__()
        self.sftp_conn_id = sftp_conn_id
        self.aws_conn_id = aws_conn_id
        #: the server of the connection, once a transfer has read it
        self.server: SftpServer | None = None
        #: where the bucket is, likewise
        self.endpoint: Endpoint | None = None
        self._engines: set[EngineThread] = set()

    @fails_for_good
    def pull(
        self,
        *,
        sftp_path: str,
        s3_bucket: str,
        s3_prefix: str = "",
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
    ) -> dict[str, Any]:
        """
        Pull a tree once, as :class:`~airflow_provider_sftp_s3.transfers.sftp_tree_to_s3.SftpTreeToS3Operator` does.

        :param sftp_path: directory to pull, recursively; must exist.
        :param s3_bucket: bucket to write to.
        :param s3_prefix: directory in the bucket; the tree's own structure follows it.
        :param sftp_paths: a file, or a list of files, beneath `sftp_path` to pull instead of the whole tree. One that
            is missing fails. None: the tree.
        :param include: glob or list of globs of files to take. One with a ``/`` is matched against the path relative
            to `sftp_path`, where ``**`` stands for any directories; else against the name.
        :param exclude: glob or list of globs of files to leave, likewise. It wins over `include`.
        :param last: glob or list of globs, likewise, of files that go after all others of their directory, and of those
            beneath it. One that is young, fails or is over a cap holds them back. None: each goes when it can.
        :param min_age: leave files alone whose mtime is younger, as a timedelta or in seconds. 0 takes all.
        :param after_transfer: ``move`` a file into `done_dir`, ``delete`` it, or ``keep`` it where it is and skip what
            S3 already has with the same size and ``mtime`` metadata.
        :param done_dir: name of the done directory inside each directory. With the day, as in ``.done/{date}``, files
            go into a directory of today (UTC, by S3's clock) in there.
        :param done_conflict: what becomes of an older file of the same name in there: ``replace`` it, or ``rename`` it
            to ``<name>.<its mtime>``.
        :param trigger_file: a file beside each one, or beside several, that says that they are whole: ``{name}.ok``,
            ``{stem}.done``, ``_SUCCESS``. A file is taken only with a trigger that is not older; a trigger goes to S3,
            and is moved, after all files that it tells of, and stays where one of them does. None: no triggers.
        :param checksum_file: the file beside each one that has its sum, ``{name}.sha256`` or ``{name}.md5``, as
            coreutils write it. A file is taken only with it, and fails, and stays, where its sum is another one; it
            goes to S3, and is moved, after its file. None: there are none.
        :param retention: purge done files this long after their transfer, as a timedelta or in seconds. None or 0:
            never.
        :param max_files: transfer at most so many files; the rest waits for the next call.
        :param max_bytes: transfer at most so many bytes. A larger file goes alone.
        :param min_size: leave smaller files alone, in bytes.
        :param max_size: leave larger files alone, in bytes.
        :param max_age: leave files alone that were changed longer ago than this, as a timedelta or in seconds.
        :param order: ``oldest``: begin with those that were changed first; with `max_files` the oldest go.
        :param dry_run: list what would be done, touch nothing.
        :param shard: which part of the tree to pull: ``2/8`` is the second of eight. None: the whole tree.
        :param follow_links: with ``after_transfer="keep"``: pull what symbolic links lead to, too.
        :param rename_to: the key beneath `s3_prefix`, such as ``{dir}/{stem}_{mtime:%Y%m%d}{suffix}``. Of two files
            that come to one key the second fails. None: the name is kept.
        :param on_conflict: what becomes of a file whose key is another object's: ``replace`` that one, ``rename`` the
            file to ``{stem}.{mtime}{suffix}``, ``skip`` it, or ``fail``.
        :param destination: whom the mark of a pulled object names as having it already. None: `sftp_conn_id`.
        :param extra_args: what each object is stored with, by the names of boto3's ExtraArgs, such as
            ``{"ServerSideEncryption": "aws:kms", "ACL": "bucket-owner-full-control"}``. Over those of the aws
            connection, ``service_config.s3.extra_args``, where customer keys belong.
        :param receipts: a prefix such as ``s3://bucket/receipts/``, outside `s3_prefix`: what became of each file is
            written there, a line of JSON each, beneath the day and a directory of this call's own.
        :param options: :class:`~airflow_provider_sftp_s3.engine.options.TransferOptions`, or a dict of its fields.
        :return: the report, JSON: direction, transferred, bytes, seconds, skipped, failed, failures, targets, purged,
            left (how many files the next run has to do: what failed, is young, or over a cap), more_left (whether there
            are more than were counted), oldest_age (seconds since the oldest of these was changed; None: not known),
            recovered (0), total (files and bytes that were moved), receipt (the URI of the receipts).
        :raises AirflowFailException: a setting, a credential or a directory is wrong: Airflow does not retry the task.
        :raises TransferError: something failed; its `report` says what was done all the same.
        :raises ConnectionFailed: the server or S3 cannot be reached; nothing was moved.
        """
        arguments = {
            "sftp_path": sftp_path,
            "s3_prefix": s3_prefix,
            "sftp_paths": sftp_paths,
            "include": include,
            "exclude": exclude,
            "last": last,
            "min_age": min_age,
            "after_transfer": after_transfer,
            "done_dir": done_dir,
            "done_conflict": done_conflict,
            "trigger_file": trigger_file,
            "checksum_file": checksum_file,
            "retention": retention,
            "max_files": max_files,
            "max_bytes": max_bytes,
            "min_size": min_size,
            "max_size": max_size,
            "max_age": max_age,
            "order": order,
            "dry_run": dry_run,
            "shard": shard,
            "follow_links": follow_links,
            "rename_to": rename_to,
            "on_conflict": on_conflict,
            "destination": destination,
            "extra_args": extra_args,
            "receipts": receipts,
            "sftp_conn_id": self.sftp_conn_id,
        }
        return self.transfer(settings_of(PullSettings, arguments), s3_bucket, options).as_dict()

    @fails_for_good
    def push(
        self,
        *,
        s3_bucket: str,
        sftp_path: str,
        s3_prefix: str = "",
        s3_keys: str | list[str] | None = None,
        strip_regex: str | None = None,
        rename_to: str | None = None,
        on_conflict: str = "replace",
        mark: str = "auto",
        after_transfer: str = "keep",
        sent_prefix: str | None = None,
        temp_name: str | None = ".{id}.part",
        verify: str = "size",
        trigger_file: str | None = None,
        checksum_file: str | None = None,
        file_mode: int | str | None = None,
        preserve_mtime: bool = False,
        destination: str | None = None,
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
    ) -> dict[str, Any]:
        """
        Push objects once, as :class:`~airflow_provider_sftp_s3.transfers.s3_to_sftp.S3ToSftpOperator` does.

        :param s3_bucket: bucket to read from.
        :param sftp_path: target directory; must exist, the directories beneath it are made.
        :param s3_prefix: directory in the bucket.
        :param s3_keys: a key, or a list of keys, to push. None: every unsynced object under the prefix.
        :param strip_regex: removed once from the key to give the path beneath `sftp_path`. None: the prefix is
            removed. Where it makes one path of two keys of a run, the second fails.
        :param rename_to: the path beneath `sftp_path`, made of what is left of the key, as for :meth:`pull`.
        :param on_conflict: what becomes of an object whose path is a file's already: ``replace`` that one, ``rename``
            the new one to ``{stem}.{mtime}{suffix}``, let it ``wait`` until the partner has taken the old one away, or
            ``fail``.
        :param mark: how a pushed object is marked: ``metadata``, ``tag``, ``auto``, which takes the first of these that
            is safe on the store, or ``none``, which pushes everything every time.
        :param after_transfer: what becomes of a pushed object: ``keep`` it, and mark it; ``move`` it beneath
            `sent_prefix`, or ``delete`` it, on a store that heeds the conditions of a DELETE and of a copy.
        :param sent_prefix: directory in the bucket for ``move``, neither inside `s3_prefix` nor around it.
        :param temp_name: how a file is called until it is whole, such as ``tmp/{id}``; None: it is written straight to
            its name.
        :param verify: ``size``: a file counts as delivered when the server says that it has the right size; ``none``:
            when the server has said OK to everything.
        :param trigger_file: an empty file beside each pushed one, or beside several, that says that they are whole:
            ``{name}.ok``, ``{stem}.done``, ``_SUCCESS``, by the name of the object. An old one is taken away before new
            data comes, and a new one made after the last file that it tells of. Objects of such names are not pushed.
            None: no triggers.
        :param checksum_file: write the sum of each file into one beside it, ``{name}.sha256`` or ``{name}.md5``, as
            coreutils do. An old one is taken away before new data comes. Objects of such names are not pushed. None:
            write none.
        :param file_mode: the permissions of pushed files, such as ``0o640`` or ``"0640"``. A file that does not get
            them fails. None: the server's own.
        :param preserve_mtime: give a pushed file the ``mtime`` metadata of its object, else its ``LastModified``.
        :param destination: whom marks name, and whose marks count. None: `sftp_conn_id`.
        :param include: glob or list of globs of objects to take. One with a ``/`` is matched against the key without
            its prefix, where ``**`` stands for any directories; else against the name.
        :param exclude: glob or list of globs of objects to leave, likewise. It wins over `include`.
        :param last: glob or list of globs, likewise, of objects that go after all others of their directory, and of
            those beneath it. One that fails, waits or is over a cap holds them back, and with `s3_keys` one that is not
            pushed and is none of them. None: each goes when it can.
        :param max_files: push at most so many objects; the rest waits for the next call.
        :param max_bytes: push at most so many bytes. A larger object goes alone.
        :param min_size: leave smaller objects alone, in bytes.
        :param max_size: leave larger objects alone, in bytes.
        :param max_age: leave objects alone that were changed longer ago than this, by S3's ``LastModified``, as a
            timedelta or in seconds.
        :param order: ``oldest``: begin with those that were changed first; with `max_files` the oldest go.
        :param dry_run: list what would be done, touch nothing.
        :param extra_args: of the requests that read, mark or move an object: RequestPayer, ExpectedBucketOwner and ACL,
            which a mark by metadata, or a move, has to repeat. Over those of the aws connection,
            ``service_config.s3.extra_args``.
        :param receipts: a prefix such as ``s3://bucket/receipts/``, outside `s3_prefix`: what became of each file is
            written there, a line of JSON each, beneath the day and a directory of this call's own.
        :param options: :class:`~airflow_provider_sftp_s3.engine.options.TransferOptions`, or a dict of its fields.
        :return: the report, as of :meth:`pull`.
        :raises AirflowFailException: as :meth:`pull`.
        :raises TransferError: as :meth:`pull`.
        :raises ConnectionFailed: as :meth:`pull`.
        """
        arguments = {
            "sftp_path": sftp_path,
            "s3_prefix": s3_prefix,
            "s3_keys": s3_keys,
            "strip_regex": strip_regex,
            "rename_to": rename_to,
            "on_conflict": on_conflict,
            "mark": mark,
            "after_transfer": after_transfer,
            "sent_prefix": sent_prefix,
            "temp_name": temp_name,
            "verify": verify,
            "trigger_file": trigger_file,
            "checksum_file": checksum_file,
            "file_mode": file_mode,
            "preserve_mtime": preserve_mtime,
            "destination": destination,
            "sftp_conn_id": self.sftp_conn_id,
            "include": include,
            "exclude": exclude,
            "last": last,
            "max_files": max_files,
            "max_bytes": max_bytes,
            "min_size": min_size,
            "max_size": max_size,
            "max_age": max_age,
            "order": order,
            "dry_run": dry_run,
            "extra_args": extra_args,
            "receipts": receipts,
        }
        return self.transfer(settings_of(PushSettings, arguments), s3_bucket, options).as_dict()

    def transfer(
        self,
        settings: PullSettings | PushSettings,
        s3_bucket: str,
        options: TransferOptions | dict[str, Any] | None = None,
        log: logging.Logger | None = None,
        observer: Observer | None = None,
    ) -> Report:
        """
        Open what the connections describe, do what the settings say, and return the report: the operators' way in.

        :param s3_bucket: name of the bucket.
        :param options: :class:`~airflow_provider_sftp_s3.engine.options.TransferOptions`, or a dict of its fields.
        :param log: where to log files, progress and the summary; None: the hook's own log.
        :param observer: is told of each file, too, in another thread.
        :raises ConfigurationError: somebody has to change something first. Where that shows in the middle of a run,
            the error has the report.
        :raises TransferError: something failed; the error has the report.
        :raises ConnectionFailed: the server or S3 cannot be reached.
        """
        from airflow_provider_sftp_s3.engine.api import transfer_between
        from airflow_provider_sftp_s3.hooks.s3_bucket import bucket_of
        from airflow_provider_sftp_s3.hooks.sftp_server import SftpSessionHook

        log = log or self.log
        server, given = SftpSessionHook(self.sftp_conn_id).read(TransferOptions.of(options))
        self.server = server
        promised: Future[Bucket] = Future()

        async def bucket() -> Bucket:
            return await asyncio.shield(asyncio.wrap_future(promised))

        async def work() -> Report:
            with LogObserver(log, settings.receipts is not None and not settings.dry_run) as logged:
                watched = Several(logged, observer) if observer else logged
                return await transfer_between(settings, server, bucket, given, watched)

        engine = EngineThread()
        self._engines.add(engine)
        try:
            try:
                wait = engine.start(work)
                # boto3 takes as long to begin as a login does: at the same time.
                with taking_turns:
                    opened = bucket_of(self.aws_conn_id, s3_bucket, given)
                self.endpoint = opened.endpoint
                promised.set_result(opened)
            except BaseException:
                engine.stop()
                raise
            report = wait()
        except (ConfigurationError, TransferError) as failed:
            if failed.report is not None:
                log_end(log, failed.report)
            raise
        finally:
            self._engines.discard(engine)
        log_end(log, report)
        return report

    def stop(self) -> None:
        """
        Stop the transfers of this hook: files are closed, unfinished ones removed, connections ended.

        May be called from any thread and by a signal's handler; the calls that wait raise SftpS3Error. Takes 10 s at
        most for each.
        """
        for engine in tuple(self._engines):
            engine.stop()
