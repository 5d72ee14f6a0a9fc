"""
The ledger of a prefix with many objects, with neither network nor S3: ``python -m benchmarks.ledger 10000000``.

A listing is made up as it is read, and what the ledger writes lies on the disk. Each run finds one new object at the
end, by the very code that the operators list with. It prints a line of JSON for each: what S3 was asked, and the most
memory that the process has had until then, above what it has before the first run.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from airflow_provider_sftp_s3.engine.model import ObjectEntry
from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, Version
from airflow_provider_sftp_s3.engine.s3.ledger import Ledger
from airflow_provider_sftp_s3.engine.s3.marks import Naming
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from airflow_provider_sftp_s3.engine.settings import PushSettings
from airflow_provider_sftp_s3.engine.unsynced import unsynced

PREFIX = "in/"
SETTINGS = PushSettings(sftp_path="/", s3_prefix=PREFIX, destination="partner")
KEYS_ON_A_PAGE = 1000


class MadeUpBucket:
    """A bucket whose objects are numbers, and all marked but for the last one. One in `changed` is newer each time."""

    def __init__(self, count: int, directory: Path) -> None:
        self.name = "bucket"
        self.requests = SimpleNamespace(ask=self._ask)
        self.asked: Counter[str] = Counter()
        self.written = 0
        self.now = time.time
        #: the number of a run, from 0 on
        self.run = 0
        self._count = count
        self._directory = directory
        self._naming = Naming(self.name, SETTINGS.destination)

    async def list(self, prefix: str) -> AsyncGenerator[ObjectEntry]:
        for number in range(self._count):
            if number % KEYS_ON_A_PAGE == 0:
                self.asked["LIST"] += 1
            yield self._entry(number)

    def _entry(self, number: int) -> ObjectEntry:
        day, second = divmod(number, 86_400)
        version = self.run if number % 100 == 0 and self.run == 2 else 0
        etag = hashlib.md5(f"{number} {version}".encode(), usedforsecurity=False).hexdigest()
        hour, minute = second // 3600, second // 60 % 60
        modified = f"2026-01-31T{hour:02}:{minute:02}:{second % 60:02}"
        return ObjectEntry(f"{PREFIX}{day:04}/orders-{number:09}.csv", 1, f'"{etag}"', modified)

    async def head(self, key: str) -> Version:
        self.asked["HEAD"] += 1
        number = int(key[-13:-4])
        entry = self._entry(number)
        metadata = self._naming.metadata(key) if number < self._count - 1 else {}
        date = f"Sat, 31 Jan 2026 {entry.modified[11:]} GMT"
        return Version(entry.etag, 1, metadata, {}, 0, date)

    async def get(self, key: str) -> Any:
        self.asked["GET"] += 1
        path = self._path(key)
        if not path.exists():
            return None

        async def chunks() -> AsyncGenerator[bytes]:
            yield path.read_bytes()

        return SimpleNamespace(
            version=Version("", path.stat().st_size, {}, {}, 0, ""), chunks=chunks, close=lambda: None
        )

    async def put(self, key: str, data: Sequence[bytes], metadata: dict[str, str]) -> None:
        self.asked["PUT"] += 1
        self.written += sum(map(len, data))
        self._path(key).write_bytes(b"".join(data))

    async def _ask(self, method: str, key: str, query: str = "") -> Any:
        self.asked[f"{method} {query}"] += 1
        raise S3Refused("there is nothing", 404, "NoSuchKey", "")

    def uri_of(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def _path(self, key: str) -> Path:
        return self._directory / key.replace("/", ":")


async def list_unsynced(made_up: MadeUpBucket) -> list[str]:
    """Return the keys that a push would take, as the operators find them."""
    bucket = cast(Bucket, made_up)
    ledger = Ledger(bucket, PREFIX)
    await ledger.load()
    found = [entry.key async for entry in unsynced(SETTINGS, bucket, TransferOptions(), ledger)]
    await ledger.save()
    ledger.close()
    return found


def peak() -> int:
    """Return the most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(count: int) -> None:
    """Let three runs list `count` objects."""
    before = peak()
    with tempfile.TemporaryDirectory() as directory:
        made_up = MadeUpBucket(count, Path(directory))
        for run, name in enumerate(("no ledger yet", "nothing has changed", "one in a hundred has changed")):
            made_up.run = run
            made_up.asked.clear()
            made_up.written = 0
            started, used = time.monotonic(), time.process_time()
            found = asyncio.run(list_unsynced(made_up))
            result = {
                "run": name,
                "objects": count,
                "unsynced": len(found),
                "requests": dict(made_up.asked),
                "written_mib": round(made_up.written / MiB, 1),
                "seconds": round(time.monotonic() - started, 1),
                "cpu_seconds": round(time.process_time() - used, 1),
                "memory_mib": round((peak() - before) / MiB, 1),
            }
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
