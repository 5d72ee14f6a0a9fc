"""What speed is made of and does not vary: requests per file and bytes held, counted by the servers."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.options import KiB, MiB, TransferOptions
from airflow_provider_sftp_s3.engine.sftp import file
from airflow_provider_sftp_s3.engine.sftp.protocol import MAX_REQUEST, SAFE_REQUEST, SftpProtocol
from tests.support.engine import Engine
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault, Proceed, Request

pytestmark = pytest.mark.integration

#: Files of a first run and of a second: what the second asks for more is what its further files cost.
FEW, MANY = 2, 10
SMALL = b"x" * 4 * KiB

Counts = Counter[str]


@pytest.fixture
def engine(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> Engine:
    return Engine(sftp_server, s3, bucket)


async def each_costs(engine: Engine, run: Callable[[int], Awaitable[None]]) -> tuple[Mapping[str, float], Any]:
    """Return what each file costs of SFTP and of S3, by the request's name. `run` moves so many new files."""
    assert isinstance(engine.sftp, AsyncsshServer)

    asked = engine.sftp.requests

    async def counted(files: int) -> tuple[Counts, Counts]:
        await run(files)
        return Counter(asked), Counter(request.operation for request in engine.s3.requests)

    few, many = await counted(FEW), await counted(MANY)
    sftp, s3 = (
        {name: (more[name] - less[name]) / (MANY - FEW) for name in more if more[name] != less[name]}
        for less, more in zip(few, many, strict=True)
    )
    return sftp, s3


@pytest.mark.parametrize("after_transfer", ["move", "delete"])
async def test_pull_of_a_small_file(engine: Engine, after_transfer: str) -> None:
    """
    At most nine SFTP requests, its own move and stamp included, and one to S3.

    OPEN, FSTAT, READ of its bytes, READ of its end, FSTAT, CLOSE, RENAME, LSTAT, and SETSTAT or REMOVE. The first of a
    run, or all that are begun before its answers are there, are looked at before and after the RENAME, and after the
    REMOVE: whether what is answered with OK is done. With OpenSSH's own server none is.
    """
    engine.options = TransferOptions(concurrency=1)
    inbox = engine.sftp.root / "in"
    (inbox / ".done").mkdir(parents=True)

    async def run(files: int) -> None:
        for number in range(files):
            (inbox / f"{files}-{number}").write_bytes(SMALL)
        start_counting(engine)
        assert (await engine.pull(after_transfer=after_transfer)).transferred == files

    sftp, s3 = await each_costs(engine, run)
    assert sum(sftp.values()) <= 9, sftp
    assert sftp["READ"] == 2
    assert s3 == {"PutObject": 1}


async def test_pull_of_a_file_that_s3_has(engine: Engine) -> None:
    """With ``keep``, a file that is there already costs one request to S3, and none beyond the listing."""
    inbox = engine.sftp.root / "in"
    inbox.mkdir()

    async def run(files: int) -> None:
        for number in range(files):
            (inbox / f"{number}").write_bytes(SMALL)
        await engine.pull(after_transfer="keep")
        start_counting(engine)
        assert (await engine.pull(after_transfer="keep")).skipped == {"unchanged": files}

    sftp, s3 = await each_costs(engine, run)
    assert sum(sftp.values()) == 0, sftp
    assert sum(s3.values()) <= 1, s3


@pytest.mark.parametrize(("mark", "s3_requests"), [("metadata", 2), ("tag", 3), ("none", 1)])
async def test_s3_requests_of_a_push(engine: Engine, mark: str, s3_requests: int) -> None:
    """The GET of the object, and what its mark takes."""
    _, s3 = await each_costs(engine, pushing(engine, mark))
    assert s3["GetObject"] == 1
    assert sum(s3.values()) <= s3_requests, s3


@pytest.mark.parametrize("mark", ["metadata", "tag", "none"])
async def test_sftp_requests_of_a_push(engine: Engine, mark: str) -> None:
    """At most seven for a small file in a directory that is there, and three looks around the first RENAME of a run."""
    engine.options = TransferOptions(concurrency=1)
    sftp, _ = await each_costs(engine, pushing(engine, mark))
    assert sum(sftp.values()) <= 7, sftp
    assert sftp["WRITE"] == 1


def pushing(engine: Engine, mark: str) -> Callable[[int], Awaitable[None]]:
    """Return what pushes so many new objects of one directory."""
    (engine.sftp.root / "out" / "d").mkdir(parents=True)
    client = engine.s3.client()

    async def run(files: int) -> None:
        keys = [f"d/{files}-{number}" for number in range(files)]
        for key in keys:
            client.put_object(Bucket=engine.bucket, Key=key, Body=SMALL)
        start_counting(engine)
        assert (await engine.push(mark=mark, s3_keys=keys)).transferred == files

    return run


def start_counting(engine: Engine) -> None:
    assert isinstance(engine.sftp, AsyncsshServer)
    engine.sftp.requests.clear()
    engine.s3.requests.clear()


class CountsReads(Fault):
    """Counts the bytes that it hands out."""

    handed_out = 0

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        if request.name == "READ":
            self.handed_out += len(result[0])
        return result


@pytest.mark.slow
@pytest.mark.parametrize(
    "files", [{"large": 48 * MiB}, {f"{number:02}": 4 * MiB for number in range(12)}], ids=["one", "many"]
)
async def test_a_pull_holds_no_more_than_its_budget(tmp_path: Path, s3: S3Server, bucket: str, files: Any) -> None:
    """However long S3 takes, no more is read than ``memory_budget`` above what S3 has."""
    budget, taken, most = 16 * MiB, 0, 0
    reads = CountsReads()
    counting = threading.Lock()

    def wait_for_the_reader(request: S3Request) -> None:
        """Take nothing until no more is read: a run that is slow here holds less, and none holds more."""
        nonlocal taken, most
        before = -1
        while before != reads.handed_out:
            before = reads.handed_out
            time.sleep(0.1)
        with counting:  # requests come in threads
            most = max(most, reads.handed_out - taken)
            taken += int(request.headers.get("content-length", 0))

    with AsyncsshServer(tmp_path / "sftp", fault=reads) as sftp:
        (sftp.root / "in").mkdir()
        for name, size in files.items():
            (sftp.root / "in" / name).write_bytes(bytes(size))
        engine = Engine(sftp, s3, bucket, TransferOptions(memory_budget=budget, part_size=5 * MiB))
        s3.before(wait_for_the_reader)
        assert (await engine.pull()).transferred == len(files)
    assert reads.handed_out == sum(files.values())
    assert 0 < most <= budget, f"{most / MiB:.1f} MiB were held"


def most_unanswered(monkeypatch: pytest.MonkeyPatch, method: str) -> list[int]:
    """
    Return a list of how many bytes were on their way whenever a request was made.

    It is the engine that is looked at: asyncssh's server looks at one request of a session at a time.

    :param method: "read" or "write" of the engine's ``SftpProtocol``.
    """
    unanswered: list[int] = []
    on_their_way = 0
    make = getattr(SftpProtocol, method)

    def made(self: SftpProtocol, handle: bytes, offset: int, what: Any, path: bytes) -> Any:
        nonlocal on_their_way
        size = what if method == "read" else sum(map(len, what))

        def answered(_: object) -> None:
            nonlocal on_their_way
            on_their_way -= size

        on_their_way += size
        unanswered.append(on_their_way)
        answer = make(self, handle, offset, what, path)
        answer.add_done_callback(answered)
        return answer

    monkeypatch.setattr(SftpProtocol, method, made)
    return unanswered


@pytest.mark.parametrize("size", [7 * MiB, 40 * MiB], ids=["in one request to S3", "multipart"])
async def test_a_near_server_is_asked_for_little_ahead(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Whatever the file's size, and its contents arrive."""
    monkeypatch.setattr(file, "FAR", float("inf"))  # a busy machine may seem far away
    unanswered = most_unanswered(monkeypatch, "read")
    data = random.randbytes(size)
    (engine.sftp.root / "in").mkdir()
    (engine.sftp.root / "in" / "f").write_bytes(data)
    assert (await engine.pull()).transferred == 1
    assert engine.s3.objects(engine.bucket)["f"] == data
    assert SAFE_REQUEST < max(unanswered) <= file.NEAR_WINDOW + 1, "one byte more shows where the file ends"


class AnswersLate(Fault):
    """Answers no WRITE before something is so, for 20 s in all: else it may be quicker than S3 is."""

    def __init__(self, until: Callable[[], bool]) -> None:
        self._until = until
        self._deadline = time.monotonic() + 20

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        while request.name == "WRITE" and not self._until() and time.monotonic() < self._deadline:  # noqa: ASYNC110 - no loop of ours
            await asyncio.sleep(0.01)
        return await proceed()


async def test_many_writes_of_a_file_are_on_their_way_at_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, s3: S3Server
) -> None:
    """None waits for the answer to the one before."""
    assert isinstance(engine.sftp, AsyncsshServer)
    unanswered = most_unanswered(monkeypatch, "write")
    engine.sftp.fault = AnswersLate(lambda: max(unanswered) >= 4 * MAX_REQUEST)
    data = random.randbytes(7 * MiB)
    (engine.sftp.root / "out").mkdir()
    s3.client().put_object(Bucket=engine.bucket, Key="f", Body=data)
    assert (await engine.push()).transferred == 1
    assert (engine.sftp.root / "out" / "f").read_bytes() == data
    assert max(unanswered) >= 4 * MAX_REQUEST
