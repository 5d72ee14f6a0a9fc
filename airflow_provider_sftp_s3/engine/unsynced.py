"""What there is to push: the objects under a prefix that have not been pushed yet."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import NamedTuple

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import FileError, NameRefused
from airflow_provider_sftp_s3.engine.globs import Globs
from airflow_provider_sftp_s3.engine.limits import connections_left
from airflow_provider_sftp_s3.engine.model import ObjectEntry, Stat, seconds_of
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.order import Bounds
from airflow_provider_sftp_s3.engine.rename import KeyPaths
from airflow_provider_sftp_s3.engine.s3 import marks
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.ledger import Fact, Ledger
from airflow_provider_sftp_s3.engine.settings import PushSettings, check_mark
from airflow_provider_sftp_s3.engine.triggers import Beside


def reason_to_skip(
    key: str, prefix: str, globs: Globs, sent: str | None = None, beside: Beside | None = None
) -> str | None:
    """
    Return why an object is not pushed, judged by its key alone; None where it may be.

    :param sent: the prefix that pushed objects are moved beneath.
    :param beside: tells what stands beside files, and is none itself; None: nothing does.
    """
    if key.endswith("/"):
        return "folder marker"
    if paths.is_state(key):
        return "ours"
    if sent and key.startswith(sent):
        return "sent"
    if beside is not None and (kind := beside.kind_of(posixpath.basename(key))):
        return kind
    return globs.reason_to_skip(key.removeprefix(prefix))


class Unknown:
    """Objects that a listing shows, and that S3 does not know when it is asked for them."""

    def __init__(self) -> None:
        self._count = 0
        self._first = ""

    def note(self, label: str) -> None:
        """Take note of one."""
        self._count += 1
        self._first = min(self._first, label) if self._first else label  # they are asked for many at once

    def tell(self, notice: Callable[[str], None]) -> None:
        """Give `notice` a line about them, if there are any."""
        if self._count:
            notice(
                f"S3 lists {self._count} objects that it does not know when it is asked for them, the first: "
                f"{self._first}. They were deleted meanwhile, or it lists names otherwise than it takes them"
            )


class Unsynced(NamedTuple):
    """
    An object that a push would take.

    :param path: where beneath `sftp_path` it would come to; None: nowhere, or nobody knows yet.
    :param is_refused: its key, or what the push makes of it, can be no path: it never goes.
    """

    entry: ObjectEntry
    path: bytes | None = None
    is_refused: bool = False

    @property
    def key(self) -> str:
        """Its key."""
        return self.entry.key


def _unsynced(entry: ObjectEntry, key_paths: KeyPaths, stat: Stat) -> Unsynced:
    """Return an object with its path. :raises FileError: it cannot be found out."""
    try:
        return Unsynced(entry, paths.path_beneath(b"", key_paths.of(entry.key, stat)))
    except NameRefused:
        return Unsynced(entry, is_refused=True)


async def unsynced(
    settings: PushSettings,
    bucket: Bucket,
    options: TransferOptions,
    ledger: Ledger,
    notice: Callable[[str], None] | None = None,
    listing: AsyncGenerator[ObjectEntry] | None = None,
) -> AsyncGenerator[Unsynced]:
    """
    Yield the objects under the prefix, or of the keys, that a push would take, in their order, many asked at once.

    One that is refused, or cannot be looked at, is yielded too: the push is where that is seen.

    :param notice: is told once, in the end, of objects that were listed and that S3 does not know.
    :param listing: the objects to look at, where these are not all under the prefix; in S3's order.
    """
    unknown = Unknown()
    mark = check_mark(settings.mark)
    learned = ledger.note if settings.keys is None else None
    marking = marks.Marks(bucket, mark, settings.destination, for_good=True, learned=learned)
    prefix = paths.directory_prefix(settings.s3_prefix)
    globs = Globs(settings.include, settings.exclude)
    bounds = Bounds(settings.min_size, settings.max_size, settings.max_age, bucket.now)
    beside = Beside.of(settings)
    key_paths = KeyPaths(prefix, settings.strip_regex, settings.rename_to, options.idle_timeout)

    async def if_unsynced(entry: ObjectEntry) -> Unsynced | None:
        """Return the object as S3 has it now, None where there is nothing to push."""
        try:
            paths.check_segments(entry.key)
            if settings.mark == "none" and entry.size >= 0 and "mtime" not in key_paths.needs:
                return _unsynced(entry, key_paths, Stat(entry.size))
            version = await bucket.head(entry.key)
            if version is None:
                if settings.keys is None:
                    unknown.note(bucket.uri_of(paths.printable(entry.key)))
                return None
            if version.is_archived or bounds.reason_to_skip(version.size, seconds_of(version.modified)):
                return None
            if (await marking.look(entry.key, version)).reason:
                return None
            return _unsynced(version.as_listed(entry.key), key_paths, version.stat)
        except NameRefused:
            return Unsynced(entry, is_refused=True)
        except FileError:
            return Unsynced(entry)

    async def candidates() -> AsyncGenerator[tuple[ObjectEntry, Fact | None]]:
        for key in settings.keys or ():
            yield ObjectEntry(key), None

    at_once = min(options.concurrency, connections_left())
    asked: list[asyncio.Task[Unsynced | None]] = []
    try:
        listed = candidates() if settings.keys is not None else ledger.along(listing or bucket.list(prefix))
        async with contextlib.aclosing(listed) as entries:
            async for entry, fact in entries:
                if reason_to_skip(entry.key, prefix, globs, beside=beside) or marking.reason_by(fact):
                    continue
                if entry.size >= 0 and bounds.reason_to_skip(entry.size, seconds_of(entry.modified)):
                    continue
                asked.append(asyncio.create_task(if_unsynced(entry)))
                if len(asked) >= at_once and (found := await asked.pop(0)):
                    yield found
        while asked:
            if found := await asked.pop(0):
                yield found
        if notice is not None:
            unknown.tell(notice)
    finally:
        for answer in asked:
            answer.cancel()
        key_paths.close()


async def others_in(
    directory: str, settings: PushSettings, bucket: Bucket, options: TransferOptions
) -> AsyncGenerator[str]:
    """
    Yield the keys in a directory, and beneath it, that a push would take and that are not among its `s3_keys`.

    :param directory: with no slash at its end; "" is the whole bucket.
    :raises ConnectionFailed: they cannot be listed.
    """
    given = frozenset(settings.keys or ())
    ledger = Ledger(bucket, paths.directory_prefix(settings.s3_prefix))

    async def others() -> AsyncGenerator[ObjectEntry]:
        async with contextlib.aclosing(bucket.list(directory and f"{directory}/")) as entries:
            async for entry in entries:
                if entry.key not in given:
                    yield entry

    async def behind(first: ObjectEntry, rest: AsyncGenerator[ObjectEntry]) -> AsyncGenerator[ObjectEntry]:
        yield first
        async for entry in rest:
            yield entry

    async with contextlib.aclosing(others()) as listing:
        first = await anext(listing, None)
        if first is None:
            return
        with contextlib.closing(ledger):
            if settings.mark != "none":
                await ledger.load()
            all_keys = replace(settings, s3_keys=None)
            found = unsynced(all_keys, bucket, options, ledger, listing=behind(first, listing))
            async with contextlib.aclosing(found) as entries:
                async for each in entries:
                    yield each.key
