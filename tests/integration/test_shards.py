"""Several pulls of one tree at the same time, each of its own shard, as the tasks of one flow on several workers."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import TransferError
from airflow_provider_sftp_s3.engine.model import Report
from tests.support.engine import Engine, Recorder
from tests.support.faulty_sftp import MkdirIsRefused, RefusesFirstTries
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault, Proceed, RcloneSftpServer, Request, SftpServer
from tests.support.trees import WHEN, done, put, tree

pytestmark = pytest.mark.integration

ODD_NAMES = (
    *("ümläut 😀.txt", "a b", " ", "%2F", "+", "#", "back\\slash", "*", "[x]", "{{ ds }}", "-rf", "e\u0301", "x" * 255),
    *(".hidden", "...", "done", "~", "1/2", "sub/1/2", "sub/a b/%00", "sub/.done.txt"),
)


def shard_of(name: str, count: int) -> str:
    """Return the shard that a file of this relative path is in."""
    (number,) = [each for each in range(1, count + 1) if paths.Shard(each, count).holds(name.encode())]
    return f"{number}/{count}"


def some_of(shard: str, files: int) -> dict[str, bytes]:
    """Return so many files of one directory that all are in this shard."""
    count = int(shard.partition("/")[2])
    names = (f"{number}.txt" for number in range(1000) if shard_of(f"{number}.txt", count) == shard)
    return {name: name.encode() for name, _ in zip(names, range(files), strict=False)}


@dataclass
class Shards:
    """The engine, once per shard, each with an observer of its own."""

    sftp: SftpServer
    s3: S3Server
    bucket: str

    @property
    def inbox(self) -> Path:
        return self.sftp.root / "in"

    async def pull(self, shard: str, **settings: Any) -> Report:
        return await Engine(self.sftp, self.s3, self.bucket, seen=Recorder()).pull(shard=shard, **settings)

    async def pull_all(self, count: int, **settings: Any) -> list[Report]:
        """Pull all shards at the same time, and none of them fails."""
        ended = await self.pull_each(count, **settings)
        reports = [end for end in ended if isinstance(end, Report)]
        assert reports == ended
        return reports

    async def pull_each(self, count: int, **settings: Any) -> list[Report | TransferError]:
        """Pull all shards at the same time; one that fails is its error."""
        pulls = [self.pull(f"{number}/{count}", **settings) for number in range(1, count + 1)]
        ended: list[Report | TransferError] = []
        for result in await asyncio.gather(*pulls, return_exceptions=True):
            if not isinstance(result, Report | TransferError):
                raise result
            ended.append(result)
        return ended


def shards_at(sftp: SftpServer, s3: S3Server, bucket: str) -> Shards:
    (sftp.root / "in").mkdir()
    return Shards(sftp, s3, bucket)


@pytest.fixture
def shards(any_sftp_server: SftpServer, s3: S3Server, bucket: str) -> Shards:
    return shards_at(any_sftp_server, s3, bucket)


@pytest.fixture
def on_asyncssh(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> Shards:
    return shards_at(sftp_server, s3, bucket)


@pytest.mark.parametrize("after_transfer", ["move", "delete", "keep"])
async def test_all_shards_together_take_every_file_once(shards: Shards, after_transfer: str) -> None:
    """At the same time, and whatever the names; their reports add up to that of one pull."""
    files = {name: name.encode() for name in ODD_NAMES} | {f"d{n % 5}/{n}": b"%d" % n for n in range(60)}
    put(shards.inbox, files)
    (shards.inbox / "link").symlink_to("a b")
    reports = await shards.pull_all(4, after_transfer=after_transfer)
    assert shards.s3.objects(shards.bucket) == files
    assert sum(report.transferred for report in reports) == len(files)
    assert all(report.transferred for report in reports), "the work is spread"
    skipped = sum((report.skipped for report in reports), start=type(reports[0].skipped)())
    assert skipped == ({"link": 1} if shards.sftp.lists_links else {})
    puts = [request for request in shards.s3.requests if request.operation == "PutObject"]
    assert len(puts) == len(files), "and none of them twice"
    (shards.inbox / "link").unlink()
    if after_transfer == "delete" and isinstance(shards.sftp, RcloneSftpServer):
        return  # rclone's own view of a directory that one client failed to remove misses what another moves there
    assert tree(shards.inbox) == {"move": done(files), "delete": {}, "keep": files}[after_transfer]
    if after_transfer == "delete":
        assert not list(shards.inbox.rglob(".done"))


async def test_a_name_that_is_refused_fails_one_shard(shards: Shards) -> None:
    """Not all of them: somebody has to act once."""
    put(shards.inbox, {"a": b"a", "b": b"b", "c": b"c", "dir\x1b/in it": b""})
    bad = Path(os.fsdecode(os.fsencode(shards.inbox) + b"/\xff"))
    bad.write_bytes(b"bad")
    os.utime(bad, (WHEN, WHEN))
    ended = await shards.pull_each(3)
    failed = [end.report for end in ended if isinstance(end, TransferError)]
    reports = failed + [end for end in ended if isinstance(end, Report)]
    shown = isinstance(shards.sftp, RcloneSftpServer)  # control characters, as pictures of them: nothing to refuse
    assert sum(report.failed for report in failed) == (1 if shown else 2)
    assert sum(report.transferred for report in reports) == (4 if shown else 3)


async def test_done_files_are_purged_once(shards: Shards) -> None:
    """By the shard that they were in; links and directories are left alone."""
    files = {f"sub/{number}": b"" for number in range(20)} | {f"{number}": b"" for number in range(20)}
    put(shards.inbox, done(files))
    (shards.inbox / ".done" / "directory").mkdir()
    (shards.inbox / ".done" / "link").symlink_to(shards.inbox / "sub")
    reports = await shards.pull_all(3, retention=60)
    assert sum(report.purged for report in reports) == len(files)
    assert sum(sum(report.skipped.values()) for report in reports) == 0, "none was gone when its turn came"
    assert tree(shards.inbox) == {}
    assert sorted(path.name for path in (shards.inbox / ".done").iterdir()) == ["directory", "link"]


async def test_a_cap_is_each_shards_own(shards: Shards) -> None:
    put(shards.inbox, {f"{number}": b"" for number in range(40)})
    reports = await shards.pull_all(2, max_files=3)
    assert [report.transferred for report in reports] == [3, 3]


async def test_the_retry_of_one_shard_takes_what_it_left(on_asyncssh: Shards) -> None:
    """And nothing of the others, which have not run yet."""
    mine, others = some_of("2/3", 5), some_of("1/3", 5)
    put(on_asyncssh.inbox, mine | others)
    bad = tuple(f"/{name}" for name in sorted(mine)[:2])
    on_asyncssh.sftp.fault = RefusesFirstTries(("OPEN",), lambda path: path.endswith(bad))  # type: ignore[attr-defined]
    with pytest.raises(TransferError) as failed:
        await on_asyncssh.pull("2/3")
    assert (failed.value.report.transferred, failed.value.report.failed) == (3, 2)
    assert (await on_asyncssh.pull("2/3")).transferred == 2
    assert on_asyncssh.s3.objects(on_asyncssh.bucket) == mine
    assert tree(on_asyncssh.inbox) == done(mine) | others


@dataclass
class MkdirsMeet(Fault):
    """Both shards' MKDIR of one directory arrive before either is done."""

    met: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: int = 0

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "MKDIR":
            self.arrived += 1
            if self.arrived == 2:
                self.met.set()
            await self.met.wait()
        return await proceed()


async def test_two_shards_make_the_same_done_directory_at_once(on_asyncssh: Shards) -> None:
    files = some_of("1/2", 3) | some_of("2/2", 3)
    put(on_asyncssh.inbox, files)
    on_asyncssh.sftp.fault = fault = MkdirsMeet()  # type: ignore[attr-defined]
    reports = await on_asyncssh.pull_all(2)
    assert [report.transferred for report in reports] == [3, 3]
    assert fault.arrived == 2
    assert tree(on_asyncssh.inbox) == done(files)


async def test_a_done_directory_that_another_shard_removes_while_it_is_made_is_made_again(on_asyncssh: Shards) -> None:
    """MKDIR says that it is there, and when it is looked at it is gone: as if it could not be made."""
    files = some_of("2/2", 1)
    put(on_asyncssh.inbox, files)
    on_asyncssh.sftp.fault = MkdirIsRefused(times=1)  # type: ignore[attr-defined]
    assert (await on_asyncssh.pull("2/2")).transferred == 1
    assert tree(on_asyncssh.inbox) == done(files)


@dataclass
class Held(Fault):
    """Some requests wait until the test lets them go on.

    :param names: which requests.
    :param paths: ends of the paths that they are on, or of what they would be without ``.del``.
    """

    names: tuple[str, ...]
    paths: tuple[str, ...]
    arrived: bool = False
    free: bool = False

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name in self.names and request.path.removesuffix(".del").endswith(self.paths):
            self.arrived = True
            while not self.free:  # noqa: ASYNC110 - the test has another thread's loop
                await asyncio.sleep(0.01)
        return await proceed()

    async def until_one_arrives(self) -> None:
        """Return once the server, which answers a session's requests one by one, holds one."""
        deadline = time.monotonic() + 120
        while not self.arrived and time.monotonic() < deadline:  # noqa: ASYNC110 - the server has another thread's loop
            await asyncio.sleep(0.01)
        assert self.arrived


async def test_a_shard_at_its_end_purges_nothing_that_another_is_just_moving(on_asyncssh: Shards) -> None:
    """A file that is in .done and not stamped yet has its own old mtime, whichever shard its new path would be in."""
    first = some_of("1/2", 1)
    second = {name: b"" for name in some_of("2/2", 20) if shard_of(f".done/{name}", 2) == "1/2"}
    second = dict([second.popitem()])
    put(on_asyncssh.inbox, second)
    (on_asyncssh.inbox / ".done").mkdir()
    on_asyncssh.sftp.fault = held = Held(("SETSTAT",), tuple(f"/.done/{name}" for name in second))  # type: ignore[attr-defined]
    moving = asyncio.create_task(on_asyncssh.pull("2/2", retention=3600))
    await held.until_one_arrives()
    put(on_asyncssh.inbox, first)
    report = await on_asyncssh.pull("1/2", retention=3600)
    held.free = True
    assert (report.transferred, report.purged) == (1, 0)
    assert (await moving).transferred == len(second)
    assert tree(on_asyncssh.inbox) == done(first | second)
    assert all(time.time() - (on_asyncssh.inbox / name).stat().st_mtime < 600 for name in done(first | second))


async def test_a_shard_that_deletes_removes_no_directory_for_good_that_another_needs(on_asyncssh: Shards) -> None:
    """It is made again; and the last one leaves none behind."""
    first, second = some_of("1/2", 2), some_of("2/2", 2)
    put(on_asyncssh.inbox, first | second)
    held = Held(("RENAME", "POSIX-RENAME"), tuple(f"/{name}" for name in second))
    on_asyncssh.sftp.fault = held  # type: ignore[attr-defined]
    moving = asyncio.create_task(on_asyncssh.pull("2/2", after_transfer="delete"))
    await held.until_one_arrives()
    await on_asyncssh.pull("1/2", after_transfer="delete")
    assert not (on_asyncssh.inbox / ".done").exists()
    held.free = True
    assert (await moving).transferred == 2
    assert on_asyncssh.s3.objects(on_asyncssh.bucket) == first | second
    assert list(on_asyncssh.inbox.iterdir()) == []


@dataclass
class DoneDirectoryGoes(Fault):
    """Another shard removes its empty done directory right before this one looks into it."""

    gone: int = 0

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        place = server.local(request.path)
        if request.name == "OPENDIR" and place.name == ".done" and place.exists():
            place.rmdir()
            self.gone += 1
        return await proceed()


@pytest.mark.parametrize("given", [False, True], ids=["listed", "sftp_paths"])
async def test_what_is_beside_a_done_directory_that_has_just_gone_is_taken(on_asyncssh: Shards, given: bool) -> None:
    """It is the done directory that is gone, and not the directory with all of its files."""
    files = {f"{directory}{name}": b"1" for directory in ("", "sub/") for name in "ab"}
    put(on_asyncssh.inbox, files)
    for directory in ("", "sub"):
        (on_asyncssh.inbox / directory / ".done").mkdir()
    on_asyncssh.sftp.fault = goes = DoneDirectoryGoes()  # type: ignore[attr-defined]
    more: dict[str, Any] = {"sftp_paths": list(files)} if given else {}
    report = await on_asyncssh.pull("1/1", after_transfer="delete", **more)
    assert goes.gone == 2
    assert (report.transferred, dict(report.skipped)) == (len(files), {})
    assert on_asyncssh.s3.objects(on_asyncssh.bucket) == files
    assert list(on_asyncssh.inbox.rglob("*")) == [on_asyncssh.inbox / "sub"]


async def test_a_done_directory_that_another_shard_made_is_removed_too(on_asyncssh: Shards) -> None:
    """Where files are deleted: the one that made it could not, while it held another's file."""
    first, second = some_of("1/2", 1), some_of("2/2", 1)
    put(on_asyncssh.inbox, first)
    held = Held(("REMOVE",), tuple(f".{name}" for name in second))
    on_asyncssh.sftp.fault = making = Held(("REMOVE",), tuple(f".{name}" for name in first))  # type: ignore[attr-defined]
    maker = asyncio.create_task(on_asyncssh.pull("1/2", after_transfer="delete"))
    await making.until_one_arrives()
    put(on_asyncssh.inbox, second)
    on_asyncssh.sftp.fault = held  # type: ignore[attr-defined]
    moving = asyncio.create_task(on_asyncssh.pull("2/2", after_transfer="delete"))
    await held.until_one_arrives()
    making.free = True
    assert (await maker).transferred == 1
    assert (on_asyncssh.inbox / ".done").exists()
    held.free = True
    assert (await moving).transferred == 1
    assert list(on_asyncssh.inbox.iterdir()) == []
