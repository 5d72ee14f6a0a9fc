"""
What saves round trips to a far-away server, where that is safe: with OpenSSH's own.

A large file is written in several sessions of one connection; and what need not wait for an answer does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from asyncssh import SFTPFailure

from airflow_provider_sftp_s3.engine.errors import TransferError
from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from airflow_provider_sftp_s3.engine.sftp import file
from airflow_provider_sftp_s3.engine.sftp.connection import Channel
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.conftest import require
from tests.support.engine import Engine
from tests.support.faulty_sftp import ReadsAreShort
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault, OpenSshServer, Proceed, Request

pytestmark = pytest.mark.integration

LARGE = os.urandom(48 * MiB + 4321)
SMALL = b"small"
OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, MKDIR, EXTENDED = 3, 4, 5, 6, 7, 8, 14, 200


@pytest.fixture(autouse=True)
def _far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every round trip for a long one."""
    monkeypatch.setattr(file, "FAR", 0.0)


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
    """Do that to one of many sessions in the midst of a transfer within the block, which waits for it there."""
    done, over = threading.Event(), threading.Event()

    def run() -> None:
        while not done.is_set() and not over.is_set():
            with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):  # gone while it is looked at
                leaves = [process for process in server._processes() if not process.children()]
                parts = [path for path in (server.root / "out").iterdir() if path.name.endswith(".part")]
                if len(leaves) >= file.SESSIONS and any(path.stat().st_size > 16 * MiB for path in parts):
                    do(max(leaves, key=psutil.Process.create_time))
                    done.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        with waiting_in_the_midst(done.is_set):
            yield
    finally:
        over.set()
        thread.join()
    assert done.is_set(), "the transfer was over before that could be done"


@contextlib.contextmanager
def waiting_in_the_midst(until: Callable[[], bool]) -> Iterator[None]:
    """Have large files stop half-way, within the block, until something is so; for a minute at most."""
    write_all, deadline = file.RemoteFile.write_all, time.monotonic() + 60

    async def held(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        sent = 0
        async for chunk in chunks:
            yield chunk
            sent += len(chunk)
            while sent > len(LARGE) // 2 and not until() and time.monotonic() < deadline:  # noqa: ASYNC110 - processes are looked at
                await asyncio.sleep(0.01)

    async def write_held(self: Any, chunks: AsyncIterator[bytes], *rest: Any, **more: Any) -> Any:
        return await write_all(self, held(chunks), *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file.RemoteFile, "write_all", write_held)
        yield


@pytest.mark.slow
async def test_it_is_written_in_several_sessions(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    """OpenSSH: eight sessions, one file, every byte in its place."""
    with openssh(tmp_path) as server:
        engine = engine_for(server, s3, bucket)
        with waiting_in_the_midst(lambda: sessions(server) == file.SESSIONS):
            report = await engine.push("out")
        assert report.transferred == 2
        check(server)
        assert sessions(server) == file.SESSIONS


@pytest.mark.slow
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


@pytest.mark.slow
async def test_a_session_that_hangs(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    """It costs the file no more than ``idle_timeout``; the next run brings it."""
    with openssh(tmp_path) as server:
        engine = engine_for(server, s3, bucket)
        engine.options = TransferOptions(idle_timeout=2.0)
        started = time.monotonic()
        with to_the_newest_session(server, psutil.Process.suspend), pytest.raises(TransferError, match="idle_timeout"):
            await engine.push("out")
        assert time.monotonic() - started < 60, "which is the default"
        engine.options = TransferOptions()
        report = await engine.push("out")
        assert report.transferred >= 1
        check(server)


@pytest.mark.slow
async def test_a_server_that_may_not_share_files(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """Any server but OpenSSH's own: each file is opened once."""
    report = await engine_for(sftp_server, s3, bucket).push("/out")
    assert report.transferred == 2
    check(sftp_server)
    assert sftp_server.requests["OPEN"] == 2


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The kinds of the requests that were sent, those that left together in one list."""
    sent: list[list[int]] = []
    send = Channel._send

    def note_and_send(channel: Channel, pieces: Sequence[bytes | memoryview]) -> None:
        kinds, at, data = [], 0, b"".join(pieces)
        while at < len(data):
            length, kind = struct.unpack_from(">IB", data, at)
            kinds.append(kind)
            at += 4 + length
        sent.append(kinds)
        send(channel, pieces)

    monkeypatch.setattr(Channel, "_send", note_and_send)
    return sent


def left_together(sent: list[list[int]], *wanted: int) -> bool:
    """Say whether requests of these kinds left together, one right after the other, whatever else went along."""
    return any(
        tuple(kinds[at : at + len(wanted)]) == wanted for kinds in sent for at in range(len(kinds) - len(wanted) + 1)
    )


@pytest.mark.parametrize(("is_openssh", "known"), [(True, True), (True, False), (False, True), (False, False)])
async def test_a_small_file_is_closed_while_it_is_read(
    sftp_server: AsyncsshServer,
    s3: S3Server,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    sent: list[list[int]],
    is_openssh: bool,
    known: bool,
) -> None:
    """
    READ and CLOSE leave together, so the next file can be opened a round trip earlier.

    With OpenSSH only, and once it is known that a file is there still after it was closed.
    """
    monkeypatch.setattr(Channel, "is_openssh", is_openssh)
    monkeypatch.setattr(SftpSession, "outlive_close", lambda session, path: known)
    (sftp_server.root / "in" / ".done").mkdir(parents=True)
    (sftp_server.root / "in" / "small").write_bytes(SMALL)
    report = await Engine(sftp_server, s3, bucket).pull("/in")
    assert report.transferred == 1
    assert s3.objects(bucket) == {"small": SMALL}
    (with_read,) = [kinds for kinds in sent if READ in kinds]
    assert with_read == [FSTAT, READ, READ, FSTAT, CLOSE][: 5 if is_openssh and known else 4]


async def test_answers_that_leave_something_out(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A file that was closed before it was read to its end is read again, all of it; later ones stay open.

    Its size is known, and behind it one byte is asked for, as of any file: no more memory is held for it.
    """
    monkeypatch.setattr(Channel, "is_openssh", True)
    files = {f"{number}.bin": os.urandom(1000 + number) for number in range(20)}
    (sftp_server.root / "in").mkdir()
    for name, data in files.items():
        (sftp_server.root / "in" / name).write_bytes(data)
    behind: list[int] = []

    class Seen(ReadsAreShort):
        async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
            if request.name == "READ" and request.offset >= len(files[Path(request.path).name]):
                behind.append(request.length)
            return await super().answer(server, request, proceed)

    sftp_server.fault = Seen(300)
    report = await Engine(sftp_server, s3, bucket, TransferOptions(concurrency=1)).pull("/in")
    assert report.transferred == len(files)
    assert s3.objects(bucket) == files
    assert sftp_server.requests["OPEN"] == len(files) + 1
    assert set(behind) == {1}


async def test_what_does_not_wait(tmp_path: Path, s3: S3Server, bucket: str, sent: list[list[int]]) -> None:
    """OpenSSH: size, fsync and CLOSE of a file are asked for with its last bytes, ``.done`` while it is opened."""
    with openssh(tmp_path) as server:
        await engine_for(server, s3, bucket).push("out", s3_keys="small")
        assert left_together(sent, WRITE, FSTAT, EXTENDED, CLOSE)
        sent.clear()
        (server.root / "in").mkdir()
        (server.root / "in" / "large").write_bytes(LARGE)
        assert (await Engine(server, s3, bucket).pull("in")).transferred == 1
        first, *_, last = [kinds for kinds in sent if READ in kinds]
        assert left_together(sent, OPEN, EXTENDED)  # whether it could be moved
        requests = [kind for kinds in sent for kind in kinds]
        assert requests.index(MKDIR) < requests.index(READ)
        assert [kind for kind in first if kind != MKDIR][:2] == [FSTAT, READ]
        assert last[-3:] == [READ, READ, FSTAT]
        assert left_together(sent, EXTENDED, LSTAT)
        assert s3.objects(bucket)["large"] == LARGE
        assert (server.root / "in" / ".done" / "large").read_bytes() == LARGE


@pytest.mark.slow
async def test_other_servers_are_waited_for(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, sent: list[list[int]]
) -> None:
    """What is done to a file, or with it, is asked for when what comes before has been answered."""
    (sftp_server.root / "in").mkdir()
    (sftp_server.root / "in" / "large").write_bytes(LARGE)
    await engine_for(sftp_server, s3, bucket).push("/out", s3_keys="small")
    await Engine(sftp_server, s3, bucket).pull("/in")
    assert [WRITE] in sent
    assert [MKDIR] in sent
    assert not [kinds for kinds in sent if EXTENDED in kinds and {MKDIR, LSTAT, FSTAT, CLOSE} & {*kinds}]
    assert not [kinds for kinds in sent if READ in kinds and kinds[-1] == FSTAT]


class FirstWriteFails(Fault):
    """The others succeed: the file has its size, and a hole."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "WRITE" and request.offset == 0:
            raise SFTPFailure("write error")
        return await proceed()


async def test_a_write_that_fails_behind_which_all_was_asked_for(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Size, fsync and CLOSE are answered well: the file is not published all the same, and not marked."""
    monkeypatch.setattr(Channel, "is_openssh", True)
    (sftp_server.root / "out").mkdir()
    s3.client().put_object(Bucket=bucket, Key="k", Body=LARGE[: 1 * MiB])
    engine = Engine(sftp_server, s3, bucket)
    sftp_server.fault = FirstWriteFails()
    with pytest.raises(TransferError, match="write error"):
        await engine.push("/out")
    assert not list((sftp_server.root / "out").iterdir())
    sftp_server.fault = Fault()
    assert (await engine.push("/out")).transferred == 1
    assert (sftp_server.root / "out" / "k").read_bytes() == LARGE[: 1 * MiB]


async def test_a_done_directory_that_cannot_be_made(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    """The move that was asked for along with it fails, and the error says what could not be made."""
    with openssh(tmp_path) as server:
        (server.root / "in").mkdir()
        (server.root / "in" / "small").write_bytes(SMALL)
        name = "d" * 300
        with pytest.raises(TransferError, match=f"{name}': the server says"):
            await Engine(server, s3, bucket).pull("in", done_dir=name)
        assert (server.root / "in" / "small").read_bytes() == SMALL
        assert (await Engine(server, s3, bucket).pull("in")).transferred == 1
        assert (server.root / "in" / ".done" / "small").read_bytes() == SMALL


async def test_a_done_directory_that_is_removed_meanwhile(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    """It was there when the tree was listed: it is made again, and the file moved into it."""
    with openssh(tmp_path) as server:
        (server.root / "in" / ".done").mkdir(parents=True)
        (server.root / "in" / "small").write_bytes(SMALL)
        s3.before(lambda request: (server.root / "in" / ".done").rmdir() if request.operation == "PutObject" else None)
        assert (await Engine(server, s3, bucket).pull("in")).transferred == 1
        assert (server.root / "in" / ".done" / "small").read_bytes() == SMALL
