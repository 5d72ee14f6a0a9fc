"""A pull or a push from one end to the other: opens server and bucket, runs the protocol, and closes both."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import boto3

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.log import LogObserver
from airflow_provider_sftp_s3.engine.observer import Observer, Several
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.pull import pull
from airflow_provider_sftp_s3.engine.push import push
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.receipts import Receipts
from airflow_provider_sftp_s3.engine.settings import (
    PullSettings,
    PushSettings,
    check_bucket_name,
    check_receipts,
    parse_receipts,
)
from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession

if TYPE_CHECKING:
    from airflow_provider_sftp_s3.engine.model import Report

log = logging.getLogger("airflow_provider_sftp_s3")


async def pull_tree(
    settings: PullSettings,
    server: SftpServer,
    bucket: str,
    *,
    session: boto3.Session | None = None,
    client: Any = None,
    options: TransferOptions | Mapping[str, Any] | None = None,
    observer: Observer | None = None,
) -> Report:
    """
    Pull a tree from an SFTP server into a bucket once, and return the report.

    To be called again after an error: what is done is not done twice, and what is left is done then.

    :param settings: what to pull, and where to in the bucket.
    :param server: where from, as whom, and how to know it.
    :param bucket: name of the bucket.
    :param session: the boto3 session that credentials and region come from; None: ``boto3.Session()``, which finds
        them as boto3 does.
    :param client: a boto3 S3 client of that session; endpoint, region and proxies are taken from it. None: the
        session's own.
    :param options: limits of time, memory and open files, or a dict of some of them; None: the defaults.
    :param observer: is told of each file. None: the log ``airflow_provider_sftp_s3``, a line a file at INFO.
    :raises ConfigurationError: nothing can work until somebody changes a setting, a credential or a place.
    :raises ConnectionFailed: the server or S3 cannot be reached; nothing was moved.
    :raises TransferError: something failed; its `report` says what was done all the same.
    """
    if not isinstance(settings, PullSettings):
        raise ConfigurationError(f"settings must be PullSettings, not a {type(settings).__name__}")
    return await _once(settings, server, bucket, session, client, options, observer)


async def push_objects(
    settings: PushSettings,
    server: SftpServer,
    bucket: str,
    *,
    session: boto3.Session | None = None,
    client: Any = None,
    options: TransferOptions | Mapping[str, Any] | None = None,
    observer: Observer | None = None,
) -> Report:
    """
    Push objects of a bucket to an SFTP server once, and return the report.

    Everything else is as for :func:`pull_tree`: parameters, errors, and what a second call does.
    """
    if not isinstance(settings, PushSettings):
        raise ConfigurationError(f"settings must be PushSettings, not a {type(settings).__name__}")
    return await _once(settings, server, bucket, session, client, options, observer)


async def _once(
    settings: PullSettings | PushSettings,
    server: SftpServer,
    name: str,
    session: boto3.Session | None,
    client: Any,
    options: TransferOptions | Mapping[str, Any] | None,
    observer: Observer | None,
) -> Report:
    check_bucket_name(name)
    if not isinstance(server, SftpServer):
        raise ConfigurationError(f"server must be SftpServer, not a {type(server).__name__}")
    session = session or boto3.Session()
    options = TransferOptions.of(options)

    async def bucket() -> Bucket:
        return Bucket(name, client or session.client("s3"), session, options)

    if observer is not None:
        return await transfer_between(settings, server, bucket, options, observer)
    with LogObserver(log, settings.receipts is not None and not settings.dry_run) as logged:
        return await transfer_between(settings, server, bucket, options, logged)


async def transfer_between(
    settings: PullSettings | PushSettings,
    server: SftpServer,
    bucket: Callable[[], Awaitable[Bucket]],
    options: TransferOptions,
    observer: Observer,
) -> Report:
    """
    Log in, do what the settings say, and close server and bucket; return and raise what :func:`pull_tree` does.

    :param bucket: is called once the login is done, and gives a bucket that may have been made meanwhile.
    """
    async with (
        SftpSession(server, options) as session,
        await bucket() as opened,
        _receipts_of(settings, opened) as receipts,
    ):
        observers = observer if receipts is None else Several(observer, receipts)
        if isinstance(settings, PullSettings):
            return await pull(settings, session, opened, options, observers, receipts)
        return await push(settings, session, opened, options, observers, receipts)


@contextlib.asynccontextmanager
async def _receipts_of(settings: PullSettings | PushSettings, bucket: Bucket) -> AsyncIterator[Receipts | None]:
    """
    Open the receipts that the settings want; None: none. A dry run has none.

    :raises ConfigurationError: they cannot be there.
    """
    if settings.receipts is None or settings.dry_run:
        yield None
        return
    check_receipts(settings, bucket.name)
    name, prefix = parse_receipts(settings.receipts)
    direction: Literal["pull", "push"] = "pull" if isinstance(settings, PullSettings) else "push"
    # In the same bucket they are stored as its other objects are, in another one as the connection says.
    async with contextlib.AsyncExitStack() as stack:
        own = bucket if name == bucket.name else await stack.enter_async_context(bucket.beside(name))
        receipts = Receipts(own, prefix, settings.task_try, direction, secrets.token_hex(8))
        await receipts.load()
        yield receipts
