"""Where the work is done: OpenSSH's sshd, an S3 server, and distance between, each in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.store import S3Store

from tests.support.ports import free_port
from tests.support.s3_server import ACCESS_KEY, REGION, SECRET_KEY, RcloneS3Server, S3Endpoint
from tests.support.sftp_servers import OpenSshServer

#: rclone opens a connection for each transfer at once; sshd's defaults would turn most of them away. An account for
#: SFTP has no shell: with one, rclone's default is to run `md5sum` in it for every file, which takes far longer.
SSHD_CONFIG = "MaxStartups 1000\nMaxSessions 1000\nForceCommand internal-sftp"


class MemoryS3Server(S3Endpoint):
    """``benchmarks/s3_server.py`` in a process of its own."""

    def __init__(self) -> None:
        self.port = free_port()

    def __enter__(self) -> MemoryS3Server:
        self._process = _python("benchmarks.s3_server", self.port)
        _await(self.port)
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._process)

    def drop(self, bucket: str) -> None:
        """Remove a bucket with all that is in it."""
        client = self.client()
        client.delete_bucket(Bucket=bucket)
        client.close()


class RcloneS3(RcloneS3Server):
    """``rclone serve s3``, which keeps user metadata in memory and objects as files."""

    def drop(self, bucket: str) -> None:
        """Remove a bucket with all that is in it."""
        self.stop()
        shutil.rmtree(self.root / bucket)
        self.start()


@dataclass
class Place:
    """The servers of one run, and where their files are."""

    root: Path
    sftp: OpenSshServer
    s3: MemoryS3Server | RcloneS3

    @contextlib.contextmanager
    def at_distance(self, round_trip: float) -> Iterator[int]:
        """Give the port at which the SFTP server is `round_trip` seconds away."""
        if not round_trip:
            yield self.sftp.port
            return
        port = free_port()
        proxy = _python("benchmarks.far", port, self.sftp.port, round_trip)
        try:
            _await(port)
            yield port
        finally:
            _end(proxy)


@contextlib.contextmanager
def place(root: Path, s3: str) -> Iterator[Place]:
    """
    Start the servers beneath `root`, which is emptied before and after.

    :param s3: ``memory`` or ``rclone``.
    """
    shutil.rmtree(root, ignore_errors=True)
    store = MemoryS3Server() if s3 == "memory" else RcloneS3(root / "s3")
    try:
        with OpenSshServer(root / "sftp", config=SSHD_CONFIG) as sftp, store:
            yield Place(root, sftp, store)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def ceiling(server: S3Endpoint) -> str:
    """Return how fast the S3 server is when a client does nothing else."""
    bucket, small, large = server.new_bucket(), bytes(4096), bytes(64 << 20)
    store = S3Store(
        bucket,
        endpoint=server.url,
        region=REGION,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        client_options={"allow_http": True},
    )

    async def per_second(times: int, at_once: int, request: Callable[[int], Awaitable[object]]) -> float:
        todo = iter(range(times))

        async def worker() -> None:
            for number in todo:
                await request(number)

        before = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(at_once)))
        return times / (time.perf_counter() - before)

    async def get(key: str) -> None:
        async for _ in (await obstore.get_async(store, key)).stream():
            pass

    async def measure() -> str:
        put = await per_second(
            3000, 32, lambda number: obstore.put_async(store, f"s{number}", small, use_multipart=False)
        )
        got = await per_second(3000, 32, lambda number: get(f"s{number}"))
        put_large = 64 * await per_second(8, 1, lambda number: obstore.put_async(store, f"l{number}", large))
        got_large = 64 * await per_second(8, 1, lambda number: get(f"l{number}"))
        return f"{put:,.0f} PUT/s and {got:,.0f} GET/s of 4 KiB, {put_large:,.0f} and {got_large:,.0f} MiB/s of 64 MiB"

    return asyncio.run(measure())


def _python(module: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", module, *map(str, arguments)])


def _await(port: int, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
