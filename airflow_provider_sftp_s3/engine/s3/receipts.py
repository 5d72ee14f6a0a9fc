"""
Receipts: what became of each file of a run, kept in S3 as JSON lines, packed by gzip.

An object holds up to 10,000 lines, and no line waits for longer than a minute. The first object is written empty before
the first byte of a run is moved: where S3 does not take it, nothing is moved that nobody would be told of. After that,
no file waits for its line and none fails for it. What cannot be written is tried again; what could not be written in
the end is the run's failure, and not the files'. What a killed try had not written yet is lost: its retry says
``recovered`` of those files, see :meth:`Receipts.tells_of`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import urllib.parse
import zlib
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, PlaceMissing, SftpS3Error, StorageError
from airflow_provider_sftp_s3.engine.model import Moved, Outcome
from airflow_provider_sftp_s3.engine.observer import Progress
from airflow_provider_sftp_s3.engine.options import MiB
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from airflow_provider_sftp_s3.engine.settings import TaskTry
from airflow_provider_sftp_s3.engine.tasks import cancel_all, forget

#: Lines of an object, and seconds that a line waits for others.
MAX_LINES = 10_000
MAX_SECONDS = 60.0
#: Objects that wait for S3 to take them. What comes while there are so many is counted, and not kept.
MAX_WAITING = 100
#: Bytes of a receipt that is read, packed.
MAX_PACKED = 64 * MiB
#: Seconds that a run which is stopped has to write down what it has done.
STOP_SECONDS = 3.0

#: Why a file is skipped that the next run will not meet again, or not for that reason: there is a line of it.
PASSING = frozenset({"gone", "deleted", "young", "left by an earlier run, now deleted"})
_GZIP = 31
_REST = re.compile(r"(\d+)-(\d+)\.jsonl\.gz")


def line_of(outcome: Outcome, direction: str, number: int, now: float) -> dict[str, object]:
    """
    Return the line of one file.

    :param number: of the try.
    :param now: what time it is, in seconds since 1970.
    """
    moved = outcome.status in ("transferred", "recovered")
    return {
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "direction": direction,
        "status": outcome.status,
        "source": outcome.source,
        "target": outcome.target or None,
        "size": outcome.bytes if moved else None,
        "mtime": None if outcome.changed is None else int(outcome.changed),
        "etag": outcome.stored.etag or None,
        "version_id": outcome.stored.version_id or None,
        "checksum": outcome.stored.checksum or None,
        "seconds": round(outcome.seconds, 3) if outcome.seconds else None,
        "try": number,
        "error": outcome.reason or None,
    }


class _Part(NamedTuple):
    """An object that waits to be written: its number, and the lines in it."""

    number: int
    packed: bytes
    lines: int


class Receipts:
    """
    Writes the receipts of one run: an observer of it, to be used in an ``async with`` block, and loaded first.

    :param bucket: that they are kept in.
    :param prefix: as :func:`paths.directory_prefix` gives it.
    :param unique: what stands in the place of the Dag run where there is none.
    """

    def __init__(
        self, bucket: Bucket, prefix: str, task_try: TaskTry | None, direction: Literal["pull", "push"], unique: str
    ) -> None:
        self._bucket = bucket
        self._direction = direction
        self._try = task_try
        self._number = task_try.number if task_try else 1
        if task_try is None:
            self._directory, self._stem = f"{prefix}date={datetime.now(UTC):%Y-%m-%d}/{unique}/", ""
        else:
            self._directory, self._stem = f"{prefix}{directory_of(task_try)}", stem_of(task_try)
        #: what earlier tries have moved; None: nobody knows
        self.earlier: Moved | None = Moved()
        #: why they are not known, for a notice
        self.unread = ""
        #: files that this try, where it is not the first one, or earlier ones have told of
        self._told: set[int] | None = None
        self._begun: asyncio.Task[None] | None = None
        self._is_written = False
        self._next_number = 1
        self._lines: list[bytes] = []
        self._full = asyncio.Event()
        self._waiting: deque[_Part] = deque()
        self._writing = asyncio.Lock()
        self._regularly: asyncio.Task[None] | None = None
        self._dropped = 0
        self._refused: StorageError | None = None

    @property
    def place(self) -> str | None:
        """The URI of the directory in which the receipts of the run are; None: this task has written none."""
        return self._bucket.uri_of(self._directory) if self._is_written else None

    # --- what earlier tries have told

    async def load(self) -> None:
        """
        Read what earlier tries of the same task have told. Where that cannot be read, nobody knows.

        :raises ConfigurationError: there is no such bucket.
        """
        if self._try is None:
            return
        is_retry = self._number > 1
        stem = self._directory + self._stem
        try:
            found = [entry.key async for entry in self._bucket.list(stem)]
            parts = [(key, each) for key in found if (each := _REST.fullmatch(key.removeprefix(stem)))]
            # The same try again: a Dag that is tried out by hand has the same run twice.
            taken = [int(each[2]) for _, each in parts if int(each[1]) == self._number]
            self._next_number = max(taken, default=0) + 1
            if is_retry:
                self._told, self._is_written = set(), bool(parts)
                for key, each in parts:
                    if int(each[1]) < self._number:
                        await self._read(key)
        except PlaceMissing:
            raise self._no_bucket() from None
        except (SftpS3Error, zlib.error, ValueError) as failed:
            if is_retry:
                self.earlier = None
                self.unread = f"what earlier tries of this task have moved is not known: {paths.reason_of(failed)}"

    async def _read(self, key: str) -> None:
        download = await self._bucket.get(key)
        if download is None or self.earlier is None or self._told is None:
            return
        files, moved = self.earlier
        with contextlib.closing(download):
            if download.version.size > MAX_PACKED:
                raise ValueError(f"{key} is no receipt: it is too large")
            packed = b"".join([chunk async for chunk in download.chunks()])
        for line in await asyncio.to_thread(_lines_in, packed):
            if line["status"] in ("transferred", "recovered"):
                self._told.add(hash(line["source"]))
                files += 1
                moved += int(str(line["size"] or 0))
        self.earlier = Moved(files, moved)

    def tells_of(self, source: str) -> bool:
        """
        Say whether an earlier try has told that it has moved a file, or this one what has become of it.

        Where nobody knows what earlier tries have told, they have told of it: there are no lines on suspicion.
        """
        return self.earlier is None or (self._told is not None and hash(source) in self._told)

    # --- before the first byte

    async def begin(self) -> None:
        """
        Make sure that S3 takes the receipts; to be called before a file is moved. Asks once a run.

        :raises ConfigurationError: it does not.
        """
        if self._begun is None:
            self._begun = asyncio.create_task(self._begin())
            self._begun.add_done_callback(forget)
        if not self._begun.done() or self._begun.exception() is not None:
            await asyncio.shield(self._begun)

    async def _begin(self) -> None:
        first = _Part(self._next_number, zlib.compress(b"", wbits=_GZIP), 0)  # the first lines take its place
        try:
            await self._put(first)
        except StorageError as refused:
            if isinstance(refused, S3Refused) and not refused.passes:
                raise ConfigurationError(
                    f"receipts: S3 does not take {self._uri_of(first)}, and no file is moved that has no receipt: "
                    f"{refused}. Allow s3:PutObject beneath the prefix, with KMS kms:GenerateDataKey, too; what a "
                    "policy of another bucket demands, an encryption setting or an ACL, goes into "
                    "service_config.s3.extra_args of the aws connection; or leave receipts out"
                ) from None
            # It may pass. The lines wait for that.
        except PlaceMissing:
            raise self._no_bucket() from None
        self._regularly = asyncio.create_task(self._write_regularly())
        self._regularly.add_done_callback(forget)

    # --- lines

    def outcome(self, outcome: Outcome) -> None:
        """Take the outcome of one file."""
        if outcome.status == "skipped" and outcome.reason not in PASSING:
            return
        if self._told is not None:
            self._told.add(hash(outcome.source))
        line = line_of(outcome, self._direction, self._number, self._bucket.now())
        self._lines.append(json.dumps(line).encode() + b"\n")
        if len(self._lines) >= MAX_LINES:
            self._full.set()

    def progress(self, progress: Progress) -> None:
        """Nothing of a run's progress is kept."""

    def remark(self, message: str) -> None:
        """Nor of what explains it."""

    def notice(self, message: str) -> None:
        """Nor of what the user should know of the run as a whole."""

    # --- writing

    async def __aenter__(self) -> Receipts:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        is_stopped = kind is not None and not issubclass(kind, Exception)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS if is_stopped else None):
                    await self._write()
        finally:
            cancel_all([task for task in (self._regularly, self._begun) if task is not None])

    @property
    def lost(self) -> str:
        """What could not be written, and why; "": nothing. To be asked in the end."""
        count = self._dropped + sum(part.lines for part in self._waiting) + len(self._lines)
        if not count:
            return ""
        why = self._refused or "there was no time left"
        return f"{count} lines of the receipts in {self._bucket.uri_of(self._directory)} could not be written: {why}"

    async def _write_regularly(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(MAX_SECONDS):
                    await self._full.wait()
            self._full.clear()
            await self._write()

    async def _write(self) -> None:
        """Write all lines that wait; what S3 does not take waits on."""
        async with self._writing:
            while self._lines:
                lines, self._lines = self._lines[:MAX_LINES], self._lines[MAX_LINES:]
                if len(self._waiting) >= MAX_WAITING:
                    self._dropped += len(lines)
                    continue
                packed = await asyncio.to_thread(zlib.compress, b"".join(lines), wbits=_GZIP)
                self._waiting.append(_Part(self._next_number, packed, len(lines)))
                self._next_number += 1
            while self._waiting:
                try:
                    await self._put(self._waiting[0])
                except StorageError as failed:
                    self._refused = failed
                    return
                self._waiting.popleft()

    async def _put(self, part: _Part) -> None:
        await self._bucket.put(self._key_of(part), [part.packed], {})
        self._is_written = True

    def _no_bucket(self) -> PlaceMissing:
        return PlaceMissing(f"receipts: there is no bucket {self._bucket.name!r}")

    def _key_of(self, part: _Part) -> str:
        own = f"{self._stem}{self._number}-" if self._try else ""
        return f"{self._directory}{own}{part.number}.jsonl.gz"

    def _uri_of(self, part: _Part) -> str:
        return self._bucket.uri_of(self._key_of(part))


def directory_of(task_try: TaskTry) -> str:
    """Return where the receipts of a Dag run are, beneath the prefix of all receipts."""
    dag_id, run_id = (urllib.parse.quote(each, safe="") for each in (task_try.dag_id, task_try.run_id))
    return f"dag_id={dag_id}/date={task_try.date}/{run_id}/"


def stem_of(task_try: TaskTry) -> str:
    """Return what the names of a task's receipts begin with. Two numbers follow, as they do in no other task's."""
    task = urllib.parse.quote(task_try.task_id, safe="")
    if task.endswith("-"):  # or its map index could be taken for another one's
        task = f"{task[:-1]}%2D"
    return f"{task}-{task_try.map_index}-"


def _lines_in(packed: bytes) -> list[dict[str, object]]:
    return list(_each_line(zlib.decompress(packed, wbits=_GZIP)))


def _each_line(text: bytes) -> Iterator[dict[str, object]]:
    for line in text.splitlines():
        found = json.loads(line)
        if not isinstance(found, dict) or not {"status", "source", "size"} <= found.keys():
            raise ValueError("a receipt has a line that is none")
        yield found
