"""
What saves round trips to a far-away server, where that is safe: with OpenSSH's own.

A large file is written in several sessions of one connection; a small one is closed while it is read.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from airflow_provider_sftp_s3.engine import sftp
from airflow_provider_sftp_s3.engine.errors import TransferError
from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from airflow_provider_sftp_s3.engine.ssh import Channel
from tests.conftest import require
from tests.support.engine import Engine
from tests.support.faulty_sftp import ReadsAreShort
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer, OpenSshServer

pytestmark = pytest.mark.integration

LARGE = os.urandom(48 * MiB + 4321)
SMALL = b"small"
CLOSE, READ, FSTAT = 4, 5, 8


@pytest.fixture(autouse=True)
def _far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every round trip for a long one."""
    monkeypatch.setattr(sftp, "FAR", 0.0)


def openssh(tmp_path: Path, config: str = "") -> OpenSshServer:
    require(OpenSshServer.available(), OpenSshServer.missing())
    return OpenSshServer(tmp_path / "sftp", config=f"LogLevel VERBOSE\n{config}")


def engine_for(server: AsyncsshServer | OpenSshServer, s3: S3Server, bucket: str) -> Engine:
    (server.root / "out").mkdir()
    client = s3.client()
    for key, data in {"large": LARGE, "small": SMALL}.items():
        client.put_object(Bucket=bucket, Key=key, Body=data)
    return Engine(server, s3, bucket)


def check(server: AsyncsshServer | OpenSshServer) -> None:
    """Both files are there, whole, and nothing else is."""
    found = {path.name: path.read_bytes() for path in (server.root / "out").iterdir()}
    assert found.keys() == {"large", "small"}
    assert found["small"] == SMALL
    assert found["large"] == LARGE  # pytest takes minutes to compare dictionaries of megabytes that differ


def sessions(server: OpenSshServer) -> int:
    return len(re.findall("Starting session: .*sftp", server.log.read_text()))


@contextlib.contextmanager
def to_the_newest_session(server: OpenSshServer, do: Callable[[psutil.Process], None]) -> Iterator[None]:
    """Do that to one of many sessions in the midst of a transfer within the block."""
    done = threading.Event()

    def run() -> None:
        deadline = time.monotonic() + 30
        while not done.is_set() and time.monotonic() < deadline:
            with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):  # gone while it is looked at
                leaves = [process for process in server._processes() if not process.children()]
                parts = [path for path in (server.root / "out").iterdir() if path.name.endswith(".part")]
                if len(leaves) >= sftp.SESSIONS and any(path.stat().st_size > 16 * MiB for path in parts):
                    do(max(leaves, key=psutil.Process.create_time))
                    done.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert done.is_set(), "the transfer was over before that could be done"


async def test_it_is_written_in_several_sessions(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    """OpenSSH: eight sessions, one file, every byte in its place."""
    with openssh(tmp_path) as server:
        report = await engine_for(server, s3, bucket).push("out")
        assert report.transferred == 2
        check(server)
        assert sessions(server) == sftp.SESSIONS


async def test_a_server_that_allows_one_session(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    """The file goes by the one there is."""
    with openssh(tmp_path, "MaxSessions 1") as server:
        report = await engine_for(server, s3, bucket).push("out")
        assert report.transferred == 2
        check(server)
        assert sessions(server) == 1


async def test_a_session_that_dies(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    """The file is begun again, and arrives whole; its unfinished part is gone."""
    with openssh(tmp_path) as server:
        engine = engine_for(server, s3, bucket)
        with to_the_newest_session(server, psutil.Process.kill):
            report = await engine.push("out")
        assert report.transferred == 2
        check(server)


async def test_a_session_that_hangs(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    """It costs the file no more than ``idle_timeout``; the next run brings it."""
    with openssh(tmp_path) as server:
        engine = engine_for(server, s3, bucket)
        engine.options = TransferOptions(idle_timeout=2.0)
        started = time.monotonic()
        with to_the_newest_session(server, psutil.Process.suspend), pytest.raises(TransferError, match="idle_timeout"):
            await engine.push("out")
        assert time.monotonic() - started < 2.0 + 15.0
        report = await engine.push("out")
        assert report.transferred >= 1
        check(server)


async def test_a_server_that_may_not_share_files(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """Any server but OpenSSH's own: each file is opened once."""
    report = await engine_for(sftp_server, s3, bucket).push("/out")
    assert report.transferred == 2
    check(sftp_server)
    assert sftp_server.requests["OPEN"] == 2


@pytest.mark.parametrize("is_openssh", [True, False])
async def test_a_small_file_is_closed_while_it_is_read(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, is_openssh: bool
) -> None:
    """READ and CLOSE leave together, so the next file can be opened a round trip earlier; with OpenSSH only."""
    sent: list[list[int]] = []
    send = Channel._send

    def note_and_send(channel: Channel, data: bytes) -> None:
        kinds, at = [], 0
        while at < len(data):
            length, kind = struct.unpack_from(">IB", data, at)
            kinds.append(kind)
            at += 4 + length
        sent.append(kinds)
        send(channel, data)

    monkeypatch.setattr(Channel, "_send", note_and_send)
    monkeypatch.setattr(Channel, "is_openssh", is_openssh)
    (sftp_server.root / "in").mkdir()
    (sftp_server.root / "in" / "small").write_bytes(SMALL)
    report = await Engine(sftp_server, s3, bucket).pull("/in")
    assert report.transferred == 1
    assert s3.objects(bucket) == {"small": SMALL}
    (with_read,) = [kinds for kinds in sent if READ in kinds]
    assert with_read == [FSTAT, READ, FSTAT, CLOSE][: 4 if is_openssh else 3]


async def test_answers_that_leave_something_out(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was closed before it was read to its end is read again, all of it; later ones stay open."""
    monkeypatch.setattr(Channel, "is_openssh", True)
    files = {f"{number}.bin": os.urandom(1000 + number) for number in range(20)}
    (sftp_server.root / "in").mkdir()
    for name, data in files.items():
        (sftp_server.root / "in" / name).write_bytes(data)
    sftp_server.fault = ReadsAreShort(300)
    report = await Engine(sftp_server, s3, bucket, TransferOptions(concurrency=1)).pull("/in")
    assert report.transferred == len(files)
    assert s3.objects(bucket) == files
    assert sftp_server.requests["OPEN"] == len(files) + 1
