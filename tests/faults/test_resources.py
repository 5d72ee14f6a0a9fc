"""Memory, handles and parts are bounded, whatever the files: by their bounds, not by time."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from airflow_provider_sftp_s3.engine.errors import StorageError
from airflow_provider_sftp_s3.engine.limits import Budget
from airflow_provider_sftp_s3.engine.options import GiB, MiB, TransferOptions
from airflow_provider_sftp_s3.engine.s3.upload import Uploads
from tests.faults import table
from tests.faults.harness import (
    bucket_of,
    check_pull,
    check_push,
    put_objects,
    run_pull,
    run_push,
    write_tree,
)
from tests.faults.hollow_s3 import HollowS3
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault, OpenSshServer, Proceed, Request, SftpServer

pytestmark = pytest.mark.faults

GROWTH = 200 * MiB
"""What a process may take at its peak beyond an interpreter with Airflow imported."""
SHARE = min(table.LONG, 1)
"""What a shorter run does of the longest: the memory that a large file takes shows in its first GiB, and what many take
at once in their first 32 MiB, which is twice what is read ahead of one."""
EACH = max(round(100 * SHARE), 32)
RUNS = max(round(250 * SHARE), 120)
"""How many runs a process has that is to leak nothing."""
WARM = 25
"""After so many its memory grows no more by what it keeps for the next one."""
WORKS = {
    "10,000 small files": {f"{n:05}": 1000 + n for n in range(10_000)},
    f"64 files of {EACH} MiB": {f"{n:02}": EACH * MiB for n in range(64)},
    "200 files of 5 MiB": {f"{n:03}": 5 * MiB for n in range(200)},
}
PULLS = WORKS | {"one file of 20 GiB": {"large": max(round(20 * SHARE), 1) * GiB}}
PUSHES = WORKS | {"one file of 5 GiB": {"large": max(round(5 * SHARE), 1) * GiB}}


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[SftpServer]:
    """A server whose memory is not that of the process that transfers."""
    kind = OpenSshServer if OpenSshServer.available() else AsyncsshServer
    with kind(tmp_path / "sftp") as server:
        yield server


async def measure(direction: str, sftp: SftpServer, s3: HollowS3, runs: int = 1, **job: Any) -> dict[str, Any]:
    """Run transfers of the directory ``work`` in a process of their own, and return what it says of them."""
    job = {
        "direction": direction,
        "runs": runs,
        "path": sftp.path("work"),
        "after_transfer": "move",
        "keys": None,
        "s3": s3.url,
        "bucket": s3.bucket,
        "sftp": {
            "host": sftp.host,
            "port": sftp.port,
            "username": sftp.username,
            "private_key": sftp.client_key_text,
            "host_key": sftp.host_key,
        },
    } | job
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", "tests.faults.measured_run"),
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        answer, _ = await asyncio.wait_for(process.communicate(json.dumps(job).encode()), 1800)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    result: dict[str, Any] = json.loads(answer.splitlines()[-1])
    return result


class TestMemory:
    """A process that transfers takes no more than 200 MiB for it, whatever it transfers."""

    @pytest.mark.parametrize("work", PULLS)
    async def test_a_pull_is_bounded(self, sftp: SftpServer, work: str) -> None:
        """Every byte arrives, and the memory stays within bounds."""
        files = PULLS[work]
        place = sftp.root / "work"
        place.mkdir()
        for name, size in files.items():
            with (place / name).open("wb") as file:
                file.write(name.encode())  # so that no two are the same
                file.truncate(size)  # sparse: they cost no disk
            os.utime(place / name, (10**9, 10**9))
        with HollowS3() as s3:
            measured = await measure("pull", sftp, s3)
        assert measured["report"]["transferred"] == len(files)
        assert measured["growth"] <= GROWTH, f"took {measured['growth'] / MiB:.0f} MiB"
        for name, size in files.items():
            parts = s3.taken[name]
            assert sum(part for part, _ in parts) == size
            starts = [name.encode(), *[b""] * (len(parts) - 1)]
            assert parts == [(part, _digest(start, part)) for start, (part, _) in zip(starts, parts, strict=True)]
            assert all(part >= 5 * MiB for part, _ in parts[:-1])
            assert (place / ".done" / name).stat().st_size == size
        assert not s3._parts, "a multipart upload was not completed"

    @pytest.mark.parametrize("work", PUSHES)
    async def test_a_push_is_bounded(self, sftp: SftpServer, work: str) -> None:
        """Every byte arrives, and the memory stays within bounds."""
        files = PUSHES[work]
        place = sftp.root / "work"
        place.mkdir()
        with HollowS3(files) as s3, kept_sparse(place):
            measured = await measure("push", sftp, s3, keys=list(files))
        assert measured["report"]["transferred"] == len(files)
        assert measured["growth"] <= GROWTH, f"took {measured['growth'] / MiB:.0f} MiB"
        assert {file.name: file.stat().st_size for file in place.iterdir()} == files


@functools.cache
def _digest(start: bytes, size: int) -> str:
    """Return the MD5 of ``size`` bytes: ``start`` and zeros."""
    digest = hashlib.md5(start)
    for offset in range(len(start), size, MiB):
        digest.update(bytes(min(MiB, size - offset)))
    return digest.hexdigest()


@contextlib.contextmanager
def kept_sparse(place: Path) -> Iterator[None]:
    """Turn what is written into the files of a directory, zeros all of them, into holes: gigabytes cost no disk."""
    over = threading.Event()

    def punch() -> None:
        while not over.wait(0.5):
            for file in [file for file in place.iterdir() if _is_large(file)]:
                subprocess.run(["fallocate", "--dig-holes", file], stderr=subprocess.DEVNULL)

    thread = threading.Thread(target=punch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _is_large(file: Path) -> bool:
    try:
        return file.stat().st_blocks * 512 > MiB
    except FileNotFoundError:  # it has got its own name meanwhile
        return False


class TestEndurance:
    """Runs without number in one process, as a worker has them."""

    @pytest.mark.parametrize("direction", ["pull", "push"])
    async def test_many_runs_leak_nothing(self, sftp: SftpServer, direction: str) -> None:
        """
        As many descriptors and threads after all runs as after the first 25, and at most 16 MiB more of memory.

        What a run has let go of may take a moment to go: what leaks is there after each of the last ones.
        """
        files = {f"{n}": 1000 for n in range(3)}
        write_tree(sftp.root, {f"work/{name}": bytes(size) for name, size in files.items()})
        with HollowS3(files) as s3:
            measured = await measure(direction, sftp, s3, RUNS, keys=list(files), after_transfer="keep")
        first = measured["holding"][math.ceil(WARM * 10 / RUNS) - 1]  # it is looked at ten times
        last = {name: min(held[name] for held in measured["holding"][-3:]) for name in first}
        assert measured["report"]["transferred"] == len(files), "each run has as much to do as the first one"
        assert last["descriptors"] <= first["descriptors"]
        assert last["threads"] <= first["threads"]
        assert last["memory"] - first["memory"] <= 16 * MiB


class TestOpenFiles:
    """The system lets a process open so many files, connections among them: a run keeps to that, or says so."""

    FILES: ClassVar = {f"{n:03}": 40_000 if n % 2 else 4_000 for n in range(400)}  # by one client to S3, and the other

    @pytest.mark.parametrize("direction", ["pull", "push"])
    async def test_few_open_files_are_enough(self, sftp: SftpServer, direction: str) -> None:
        """256, as on macOS: every file arrives."""
        place = sftp.root / "work"
        place.mkdir()
        if direction == "pull":
            write_tree(place, {name: os.urandom(size) for name, size in self.FILES.items()})
        with HollowS3(self.FILES) as s3:
            keys = list(self.FILES) if direction == "push" else None
            measured = await measure(direction, sftp, s3, keys=keys, open_files=256)
        assert measured["report"]["transferred"] == len(self.FILES)

    @pytest.mark.parametrize("to", ["aiohttp", "obstore", "asyncssh", "the threads of obstore"])
    def test_where_none_is_left_the_limit_is_named(self, to: str) -> None:
        """Whichever library meets it: the limit, and what else to change."""
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.faults.no_open_files", to],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"USER": "somebody"},  # else asyncssh looks for it in a file
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ran.returncode == 0, ran.stderr
        kind, _, said = ran.stdout.partition(": ")
        assert kind == ("ConnectionFailed" if to == "asyncssh" else "StorageError")
        assert "the system opens no more files and connections for this process, which may have" in said
        assert "raise that limit (ulimit -n), or set a lower concurrency in options" in said

    async def test_a_panic_of_obstore_fails_its_file(self, s3: S3Server, bucket: str) -> None:
        """As it does where none is left for its threads. It is no Exception, and must not end the run."""
        panic = type("PanicException", (BaseException,), {})
        async with bucket_of(s3, bucket, TransferOptions()) as place:
            assert isinstance(place.uploads, Uploads)
            with pytest.raises(StorageError, match="key: the system opens no more"), place.uploads._errors("key"):
                raise panic("Unable to build Tokio runtime: Os { code: 24, kind: TooManyOpenFiles }")
            with pytest.raises(asyncio.CancelledError), place.uploads._errors("key"):
                raise asyncio.CancelledError


class CountsFiles(Fault):
    """
    Notes the most files, and the most bytes of files, that are open for transfer at once.

    The first OPEN takes so long that all that may come beside it wait behind it by then.
    """

    def __init__(self, size: int, first: float = 1.0, linger: float = 0.02) -> None:
        self.size = size
        self.first = first
        self.linger = linger
        self.open = 0
        self.peak = 0

    @property
    def peak_bytes(self) -> int:
        return self.peak * self.size

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "OPEN":
            self.open += 1
            await asyncio.sleep(self.linger if self.peak else self.first)
            self.peak = max(self.peak, self.open)
        result = await proceed()
        # A directory's handle is closed too: it has no path that holds a file's name.
        if request.name == "CLOSE" and ("file" in request.path or ".part" in request.path):
            self.open -= 1
        return result


class TestBounds:
    """What is in flight at once."""

    FILES: ClassVar = {f"file{n}": bytes([n]) * 1000 for n in range(30)}

    @pytest.mark.parametrize("concurrency", [1, 3, 10])
    async def test_concurrency_is_never_exceeded(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, concurrency: int
    ) -> None:
        """The server sees as many open files as `concurrency`, and no more."""
        write_tree(sftp_server.root, self.FILES)
        sftp_server.fault = counter = CountsFiles(1000)
        ran = await run_pull(sftp_server, s3, bucket, concurrency=concurrency)
        assert check_pull(sftp_server.root, s3, bucket, self.FILES, ran) == set(self.FILES)
        assert counter.peak == concurrency
        out = sftp_server.root / "out"
        out.mkdir()
        sftp_server.fault = counter = CountsFiles(1000)
        ran = await run_push(sftp_server, s3, bucket, "/out", mark="none", concurrency=concurrency)
        assert len(ran.transferred) == len(self.FILES)
        assert counter.peak == concurrency

    @pytest.mark.parametrize("pulls", [True, False], ids=["pull", "push"])
    async def test_the_byte_budget_is_never_exceeded(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, pulls: bool
    ) -> None:
        """20 files of 2 MiB under a budget of 16 MiB: never more than 8 are open, and the budget comes back whole."""
        size, budget = 2 * MiB, 16 * MiB
        files = {f"file{n}": bytes([n]) * size for n in range(20)}
        budgets: list[Budget] = []
        lowest: list[int] = []
        take = Budget.take

        async def watched(self: Budget, share: int) -> None:
            await take(self, share)
            if self not in budgets:
                budgets.append(self)
            lowest.append(self.free)

        monkeypatch.setattr(Budget, "take", watched)
        sftp_server.fault = counter = CountsFiles(size)
        options: dict[str, Any] = {"memory_budget": budget, "concurrency": 20}
        if pulls:
            write_tree(sftp_server.root, files)
            ran = await run_pull(sftp_server, s3, bucket, **options)
            assert check_pull(sftp_server.root, s3, bucket, files, ran) == set(files)
        else:
            put_objects(s3, bucket, files)
            ran = await run_push(sftp_server, s3, bucket, **options)
            assert check_push(sftp_server.root, bucket, files, ran) == set(files)
        assert counter.peak > 1, "several at once, as far as the budget goes"
        assert counter.peak_bytes <= budget
        assert min(lowest) >= 0
        assert [each.free for each in budgets] == [budget]

    async def test_a_file_larger_than_the_budget_goes_all_the_same(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
    ) -> None:
        """The smallest budget moves a file that is larger than it, beside small ones, in both directions."""
        files = {"file large": os.urandom(18 * MiB), "file small": b"s"}
        write_tree(sftp_server.root, files)
        ran = await run_pull(sftp_server, s3, bucket, memory_budget=16 * MiB)
        assert check_pull(sftp_server.root, s3, bucket, files, ran) == set(files)
        (sftp_server.root / "out").mkdir()
        ran = await run_push(sftp_server, s3, bucket, "/out", mark="none", memory_budget=16 * MiB)
        assert check_push(sftp_server.root / "out", bucket, files, ran) == set(files)


class TestParts:
    """S3's bounds on multipart uploads: at most 10,000 parts, each but the last of 5 MiB or more."""

    @pytest.mark.parametrize("part_size", [5 * MiB, 8 * MiB, 64 * MiB])
    @pytest.mark.parametrize(
        "size",
        [
            *(1, 5 * MiB, 8 * MiB + 1, 100 * GiB + 1, 1024 * GiB - 1, 5 * 1024 * GiB - 1, 5 * 1024 * GiB),
            *(10_000 * 5 * MiB, *(10_000 * 8 * MiB + more for more in (-1, 0, 1, 9_999))),
        ],
    )
    def test_part_sizes_hold_up_to_5_tib(self, size: int, part_size: int) -> None:
        """Every size up to S3's largest object fits into 10,000 parts within S3's bounds, no smaller than was asked."""
        options = TransferOptions(part_size=part_size, memory_budget=256 * MiB)
        part = options.part_size_for(size)
        assert part_size <= part <= 5 * GiB
        assert math.ceil(size / part) <= 10_000

    @pytest.mark.parametrize("extra", [-1, 0, 1])
    async def test_parts_on_the_wire(self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, extra: int) -> None:
        """About 15 MiB in parts of 5 MiB: each but the last has exactly the size, and the last is not empty."""
        files = {"file": os.urandom(15 * MiB + extra)}
        write_tree(sftp_server.root, files)
        ran = await run_pull(sftp_server, s3, bucket)
        assert check_pull(sftp_server.root, s3, bucket, files, ran) == set(files)
        parts = {
            int(request.query["partNumber"]): int(request.headers["content-length"])
            for request in s3.requests
            if request.operation == "UploadPart"
        }
        sizes = [parts[number] for number in sorted(parts)]
        assert sum(sizes) == 15 * MiB + extra
        assert all(size == 5 * MiB for size in sizes[:-1])
        assert 0 < sizes[-1] <= 5 * MiB
