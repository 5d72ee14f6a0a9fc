"""What is to be done: the rows of the table, how each is laid out, and how it is verified."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import obstore
from obstore.store import S3Store

from benchmarks.servers import Place
from tests.support.s3_server import ACCESS_KEY, REGION, SECRET_KEY

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
#: How old every file is: older than `min_age`, and than everything that is in S3.
AGE = 7200


@dataclass(frozen=True)
class Floor:
    """How many times as fast as a peer's better setting this project must be."""

    rclone: float | None = None
    official: float | None = None


@dataclass(frozen=True)
class Work:
    """
    One row of the table.

    :param files: how many are to be moved, of `size` bytes each, spread over `directories`.
    :param old: how many more are there that have been moved before.
    :param round_trip: seconds between the client and the SFTP server.
    :param arguments: of our operator, besides the places.
    :param sample: how many files the official operators get to move; their time is scaled to all.
    """

    name: str
    direction: Literal["pull", "push", "list"]
    files: int
    size: int
    directories: int = 1
    old: int = 0
    round_trip: float = 0.0
    arguments: dict[str, Any] = field(default_factory=dict)
    floor: Floor = Floor()
    sample: int = 0
    #: a file's path by its number, where it is not ``d<directory>/f<number>.dat``
    path_of: Callable[[int], str] | None = None

    @property
    def bytes(self) -> int:
        return self.files * self.size

    @property
    def marks(self) -> bool:
        return self.direction == "push" and self.arguments.get("mark") != "none"

    def names(self, count: int | None = None) -> list[str]:
        """Return the relative paths of the files to move, or of the first so many."""
        if self.path_of:
            return [self.path_of(number) for number in range(count or self.files)]
        return [f"d{number % self.directories:03}/f{number:06}.dat" for number in range(count or self.files)]

    def old_names(self) -> list[str]:
        """Return the relative paths of the files that have been moved before."""
        return [f"d{number % self.directories:03}/old{number:06}.dat" for number in range(self.old)]

    def shortened(self) -> Work:
        """Return less of the same: a fifth of the files, a tenth of the old ones, a quarter of a lone file."""
        if self.files == 1:
            return replace(self, name=f"1/4 of {self.name}", size=self.size // 4)
        files = self.files if self.old else self.files // 5
        share = "1/10" if self.old else "1/5"
        return replace(self, name=f"{share} of {self.name}", files=files, old=self.old // 10, sample=self.sample // 5)


def _deep(number: int) -> str:
    """Return the path of one of 5,115 files in a binary tree of 1,023 directories, 10 levels deep."""
    node, steps = number % 1023 + 1, []
    while node > 1:
        steps.append("ab"[node % 2])
        node //= 2
    return "/".join(["top", *reversed(steps), f"f{number}.dat"])


NONE = {"mark": "none"}
TAG = {"mark": "tag"}
KEEP = {"after_transfer": "keep"}

ROWS = [
    Work("5,000 x 4 KiB, pull", "pull", 5000, 4 * KiB, 50, floor=Floor(1.5, 20), sample=500),
    Work("5,000 x 4 KiB, push marked", "push", 5000, 4 * KiB, 50, floor=Floor(1.0, 10), sample=500),
    Work("5,000 x 4 KiB, push tagged", "push", 5000, 4 * KiB, 50, arguments=TAG, sample=500),
    Work("5,000 x 4 KiB, push mark=none", "push", 5000, 4 * KiB, 50, arguments=NONE, floor=Floor(1.5, 20), sample=500),
    Work("200 x 5 MiB, pull", "pull", 200, 5 * MiB, 4, floor=Floor(1.0, 3), sample=20),
    Work("200 x 5 MiB, push", "push", 200, 5 * MiB, 4, floor=Floor(0.8, 3), sample=20),
    Work("1 GiB, pull", "pull", 1, GiB, floor=Floor(1.2, 2), sample=1),
    Work("1 GiB, push", "push", 1, GiB, floor=Floor(0.8, 2), sample=1),
    Work("500 x 4 KiB at 40 ms, pull", "pull", 500, 4 * KiB, 5, round_trip=0.04, floor=Floor(8, 50), sample=100),
    Work("500 x 4 KiB at 40 ms, push", "push", 500, 4 * KiB, 5, round_trip=0.04, floor=Floor(5, 50), sample=100),
    Work("200 MiB at 40 ms, pull", "pull", 1, 200 * MiB, round_trip=0.04, floor=Floor(3), sample=1),
    Work("200 MiB at 40 ms, push", "push", 1, 200 * MiB, round_trip=0.04, floor=Floor(3), sample=1),
    Work("100 new of 100,000, pull keep", "pull", 100, 4 * KiB, 100, 99_900, arguments=KEEP, floor=Floor(1.0)),
    Work("100 new, 100,000 in .done, pull", "pull", 100, 4 * KiB, 100, 100_000, floor=Floor(1.0)),
    Work("100 new of 100,000, push", "push", 100, 4 * KiB, 100, 99_900, floor=Floor(1.0)),
    Work("list 10 levels, 5,115 files", "list", 5115, 16, arguments={"dry_run": True}, path_of=_deep),
]


class Scene:
    """
    One row's files and objects, laid out once; each run begins with :meth:`prepare` and ends with :meth:`verify`.

    Files are hard links to one set of seeds, whose contents differ.
    """

    def __init__(self, work: Work, place: Place) -> None:
        self.work = work
        self._place = place
        self._seeds = place.root / "seeds"
        self.tree = place.sftp.root / "tree"
        self.old_bucket = place.s3.new_bucket()
        self.bucket = self.old_bucket
        self._lay_out()

    # --- once a row

    def _lay_out(self) -> None:
        random.seed(5)
        when = time.time() - AGE
        block = random.randbytes(min(self.work.size, 16 * MiB))
        for number, name in enumerate(self.work.names()):
            seed = self._seeds / name
            seed.parent.mkdir(parents=True, exist_ok=True)
            with seed.open("wb") as file:
                file.write(f"{number:016}".encode()[: self.work.size])
                while (missing := self.work.size - file.tell()) > 0:
                    file.write(block[:missing])
            os.utime(seed, (when, when))
        self.tree.mkdir()
        if self.work.old:
            self._lay_out_old(int(when))

    def _lay_out_old(self, when: int) -> None:
        """Lay out what has been moved before: a file on the SFTP server and an object, of one size and mtime."""
        done = ".done/" if self.work.direction == "pull" and self.work.arguments.get("after_transfer") != "keep" else ""
        names = self.work.old_names()
        content = b"old" + bytes(13)
        if self.work.direction == "push":
            when += 2 * AGE  # later than the object's own date: what rclone --update goes by
        first: Path | None = None
        for name in names:
            directory, _, base = name.rpartition("/")
            place = self.tree / directory / (done + base)
            if first is None:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
                os.utime(place, (when, when))
                first = place
                continue
            try:
                os.link(first, place)
            except FileNotFoundError:
                place.parent.mkdir(parents=True, exist_ok=True)
                os.link(first, place)
            except OSError:  # tmpfs has no bound here, other file systems do
                shutil.copy2(first, place)
        from airflow_provider_sftp_s3.engine.s3.marks import Naming

        self._put(
            ((name, content) for name in names),
            lambda key: {"mtime": str(when), **Naming(self.old_bucket, "sftp_default").metadata(key)},
        )

    # --- once a run

    def prepare(self, count: int | None = None) -> None:
        """Put the files, or the first so many, where they are to be moved from."""
        names = self.work.names(count)
        if not self.work.old:
            self.bucket = self._place.s3.new_bucket()
            shutil.rmtree(self.tree)
            self.tree.mkdir()
        if self.work.direction == "push":
            self._put(((name, (self._seeds / name).read_bytes()) for name in names), lambda _: {})
            return
        when = time.time() - AGE
        for name in names:
            file = self.tree / name
            file.parent.mkdir(parents=True, exist_ok=True)
            os.link(self._seeds / name, file)
            os.utime(file, (when, when))

    def verify(self, done: bool, marked: bool, count: int | None = None) -> None:
        """
        Compare every byte that arrived with its seed.

        :param done: the files must have been moved into ``.done``.
        :param marked: the objects must carry a mark.
        """
        names = self.work.names(count)
        if self.work.direction == "list":
            return
        if self.work.direction == "push":
            for name in names:
                if not _same_files(self._seeds / name, self.tree / name):
                    raise WrongError(f"{name} did not arrive as it was")
        else:
            self._each(names, self._verify_object)
        if done:
            for name in names:
                file = self.tree / name
                if file.exists() or not (file.parent / ".done" / file.name).exists():
                    raise WrongError(f"{name} was not moved into .done")
        if marked:
            self._each(names, self._verify_mark)

    def clean_up(self) -> None:
        """Take away what :meth:`prepare` and the run have made."""
        if not self.work.old:
            self._place.s3.drop(self.bucket)
            shutil.rmtree(self.tree)
            self.tree.mkdir()
            return
        client = self._place.s3.client()
        for name in self.work.names():
            file = self.tree / name
            for place in (file, file.parent / ".done" / file.name):
                place.unlink(missing_ok=True)
            client.delete_object(Bucket=self.bucket, Key=name)
        client.close()

    def close(self) -> None:
        """Take the row away."""
        self._place.s3.drop(self.old_bucket)
        shutil.rmtree(self.tree)
        shutil.rmtree(self._seeds)

    # --- S3, many at once

    @property
    def _store(self) -> S3Store:
        return S3Store(
            self.bucket,
            endpoint=self._place.s3.url,
            region=REGION,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            client_options={"allow_http": True},
        )

    def _put(self, objects: Iterable[tuple[str, bytes]], metadata: Callable[[str], dict[str, str]]) -> None:
        store = self._store

        async def put(item: tuple[str, bytes]) -> None:
            key, data = item
            await obstore.put_async(store, key, data, attributes=metadata(key), chunk_size=64 * MiB)

        self._each(objects, put)

    async def _verify_object(self, name: str) -> None:
        with (self._seeds / name).open("rb") as seed:
            async for chunk in (await obstore.get_async(self._store_of_loop, name)).stream(min_chunk_size=4 * MiB):
                if seed.read(len(chunk)) != chunk:
                    raise WrongError(f"{name} did not arrive as it was")
            if seed.read(1):
                raise WrongError(f"{name} arrived cut")

    async def _verify_mark(self, name: str) -> None:
        found = await obstore.get_async(self._store_of_loop, name, options={"head": True})
        if self.work.arguments.get("mark") == "tag":
            return  # obstore has no call for tags; the tests look
        if "synced" not in {str(key).lower() for key in found.attributes}:
            raise WrongError(f"{name} has no mark")

    def _each(self, items: Iterable[Any], work: Callable[[Any], Awaitable[None]]) -> None:
        self._store_of_loop = self._store

        async def run() -> None:
            todo = iter(items)

            async def worker() -> None:
                for item in todo:
                    await work(item)

            async with asyncio.TaskGroup() as group:
                for _ in range(16 if self.work.size < MiB else 2):
                    group.create_task(worker())

        asyncio.run(run())


class WrongError(Exception):
    """What arrived is not what was sent."""


def _same_files(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while chunk := first.read(4 * MiB):
            if chunk != second.read(4 * MiB):
                return False
    return True
