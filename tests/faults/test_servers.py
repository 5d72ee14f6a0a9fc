"""Lying and dying SFTP servers: what each is declared to lead to, and that nothing is lost whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import asyncssh
import pytest

from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, TransferError
from airflow_provider_sftp_s3.engine.options import MiB
from tests.conftest import require_openssh
from tests.faults.harness import (
    Acts,
    Together,
    check_nothing_open,
    check_pull,
    check_push,
    done_path,
    leftovers,
    marked_keys,
    put_objects,
    read_tree,
    run_pull,
    run_push,
    settles,
    write_tree,
)
from tests.support import faulty_sftp as faulty
from tests.support import sftp_servers
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer, CutConnection, Fault, OpenSshServer, Proceed, Request

pytestmark = [pytest.mark.faults, pytest.mark.loops]

VICTIM = "sub/victim"
FILES = {
    "a.txt": b"first",
    "empty": b"",
    "large.bin": os.urandom(6 * MiB + 17),
    "middle.bin": os.urandom(300_001),
    VICTIM: os.urandom(70_000),
    "sub/sibling": b"sibling",
    "sub/deep/z": b"last",
}
EVERY = frozenset(FILES)
ALL_BUT_VICTIM = EVERY - {VICTIM}
#: what a partner's directory holds already, of the same names, when a push begins
OLD = {"a.txt": b"the old a", VICTIM: b"the old victim", "large.bin": b"the old large one", "of theirs": b"not ours"}


def at_victim(path: str) -> bool:
    """Say whether a request is about the victim, as a source or as a target."""
    return path.endswith("/victim")


@dataclass(frozen=True)
class Case:
    """A misbehaviour and what it is declared to lead to.

    :param fault: makes it.
    :param moved: the files that are transferred all the same; None: it depends on the order, but not all are.
    :param error: how the run ends where not all are.
    :param options: of the run.
    :param leavings: the server does not let us remove temporary files, so some may remain.
    """

    fault: Callable[[], Fault]
    moved: frozenset[str] | None = EVERY
    error: type[Exception] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    leavings: bool = False


def fails(
    fault: Callable[[], Fault], moved: frozenset[str] | None = frozenset(), leavings: bool = False, **options: Any
) -> Case:
    """Declare a misbehaviour that fails files, which the report names."""
    return Case(fault, moved, TransferError, options, leavings)


def cut(*names: str) -> Case:
    """Declare a connection that is cut before such a request: it is opened again, and everything goes on."""
    return Case(lambda: faulty.ConnectionCutBefore(names))


def lost(*names: str, times: int = 1) -> Case:
    """Declare a request that is done, and its answer lost with the connection."""
    return Case(lambda: faulty.ReplyIsLost(names, times=times))


#: misbehaviour -> outcome of a pull
PULLS: dict[str, Case] = {
    "no fault": Case(Fault),
    "no posix-rename": Case(faulty.NoPosixRename),
    "no fsync": Case(faulty.NoFsync),
    "no limits": Case(faulty.NoLimits),
    "short reads": Case(lambda: faulty.ReadsAreShort(50_000)),
    "close fails": Case(faulty.CloseFails),  # of a file that has been read
    "setstat refused": Case(faulty.SetstatIsRefused),
    "rename refused": fails(faulty.RenameIsRefused),
    "rename refused, no posix-rename": fails(lambda: Together(faulty.NoPosixRename(), faulty.RenameIsRefused())),
    "rename of one refused": fails(lambda: faulty.RenameIsRefused(path=at_victim), ALL_BUT_VICTIM),
    "rename of one refused, no posix-rename": fails(
        lambda: Together(faulty.NoPosixRename(), faulty.RenameIsRefused(path=at_victim)), ALL_BUT_VICTIM
    ),
    "mkdir refused": fails(faulty.MkdirIsRefused),
    "mkdir of one refused": fails(
        lambda: faulty.MkdirIsRefused(path=lambda p: p == "/sub/.done"), EVERY - {VICTIM, "sub/sibling"}
    ),
    "open of one refused": fails(lambda: faulty.OpenIsRefused(path=at_victim), ALL_BUT_VICTIM),
    "open of one fails vaguely": fails(
        lambda: Acts(_fail, ("OPEN",), where=lambda r: at_victim(r.path), always=True), ALL_BUT_VICTIM
    ),
    "read of one refused": fails(lambda: faulty.Refuses(("READ",), path=at_victim), ALL_BUT_VICTIM),
    "fstat of one refused": Case(lambda: faulty.Refuses(("FSTAT",), path=at_victim)),
    "fstat refused": Case(lambda: faulty.Refuses(("FSTAT",))),
    "listing of one directory refused": fails(
        lambda: faulty.Refuses(("OPENDIR",), path=lambda p: p == "/sub/deep"), EVERY - {"sub/deep/z"}
    ),
    "10 handles": Case(lambda: faulty.AtMostOpenHandles(10)),
    "2 handles": Case(lambda: faulty.AtMostOpenHandles(2)),
    "1 handle": Case(lambda: faulty.AtMostOpenHandles(1)),
    "cut while reading": Case(lambda: faulty.ConnectionCutAfterReading(after=2 * MiB)),
    "cut twice while reading": Case(lambda: faulty.ConnectionCutAfterReading(after=2 * MiB, times=2)),
    "cut before anything": cut("OPENDIR"),
    "cut at opendir": cut("OPENDIR"),
    "cut at readdir": cut("READDIR"),
    "cut at open": cut("OPEN"),
    "cut at fstat": cut("FSTAT"),
    "cut at read": cut("READ"),
    "cut at close": cut("CLOSE"),
    "cut at mkdir": cut("MKDIR"),
    "cut at rename": cut("POSIX-RENAME"),
    "cut at lstat": cut("LSTAT"),
    "cut at setstat": cut("SETSTAT"),
    "reply of rename lost": lost("POSIX-RENAME"),
    "reply of rename lost twice": lost("POSIX-RENAME", times=2),
    "reply of rename lost, no posix-rename": Case(
        lambda: Together(faulty.NoPosixRename(), faulty.ReplyIsLost(("RENAME",)))
    ),
    "reply of mkdir lost": lost("MKDIR"),
    "reply of open lost": lost("OPEN"),
    "reply of close lost": lost("CLOSE"),
    "reply of setstat lost": lost("SETSTAT"),
    "listing without sizes": Case(lambda: faulty.ListingHasOtherAttributes(lambda name: {"size": None})),
    "listing without times": Case(lambda: faulty.ListingHasOtherAttributes(lambda name: {"mtime": None})),
    "listing with sizes too large": fails(
        lambda: faulty.ListingHasOtherAttributes(lambda name: {"size": 2**40}), leavings=False
    ),
    "listing with sizes of 0": Case(lambda: faulty.ListingHasOtherAttributes(lambda name: {"size": 0})),
    "listing with hostile names": fails(faulty.ListingIsHostile, EVERY),
}

#: misbehaviour -> outcome of a push
PUSHES: dict[str, Case] = {
    "no fault": Case(Fault),
    "no posix-rename": Case(faulty.NoPosixRename),
    "no fsync": Case(faulty.NoFsync),
    "no limits": Case(faulty.NoLimits),
    "setstat refused": Case(faulty.SetstatIsRefused),
    "every 4th write fails": fails(lambda: faulty.EveryNthWriteFails(4), None),
    "every write fails": fails(lambda: faulty.EveryNthWriteFails(1), frozenset({"empty"})),
    "disk full halfway": fails(lambda: faulty.DiskFull(after=MiB), None),
    "close fails": fails(faulty.CloseFails),
    "close of one fails": fails(lambda: Acts(_fail, ("CLOSE",), nth=3, after=True), None),
    "fsync fails": Case(lambda: faulty.Refuses(("FSYNC",))),
    "fstat fails": Case(lambda: faulty.Refuses(("FSTAT",))),
    "rename refused": fails(faulty.RenameIsRefused),
    "rename refused, no posix-rename": fails(lambda: Together(faulty.NoPosixRename(), faulty.RenameIsRefused())),
    "rename onto one refused": fails(lambda: faulty.RenameIsRefused(path=at_victim), ALL_BUT_VICTIM),
    "rename onto one refused once it is aside": fails(
        lambda: Together(faulty.NoPosixRename(), NewVictimIsRefused()), ALL_BUT_VICTIM
    ),
    "remove refused": Case(lambda: faulty.Refuses(("REMOVE",))),
    "cut twice at the remove of what could not be renamed": fails(
        lambda: Together(faulty.RenameIsRefused(path=at_victim), faulty.ConnectionCutBefore(("REMOVE",), times=2)),
        ALL_BUT_VICTIM,
    ),
    "remove and rename refused": fails(lambda: faulty.Refuses(("REMOVE", *faulty.RENAMES)), frozenset(), leavings=True),
    "mkdir refused": fails(faulty.MkdirIsRefused, EVERY - {"sub/deep/z"}),
    "open of all refused": fails(faulty.OpenIsRefused),
    "10 handles": Case(lambda: faulty.AtMostOpenHandles(10)),
    "2 handles": Case(lambda: faulty.AtMostOpenHandles(2)),
    "1 handle": Case(lambda: faulty.AtMostOpenHandles(1)),
    "no handle": fails(lambda: faulty.AtMostOpenHandles(0)),
    "cut at open, 1 handle": Case(lambda: Together(faulty.ConnectionCutBefore(("OPEN",)), faulty.AtMostOpenHandles(1))),
    "open of one fails vaguely": fails(
        lambda: Acts(_fail, ("OPEN",), where=lambda r: r.path.startswith("/sub/deep/"), always=True),
        EVERY - {"sub/deep/z"},
    ),
    "cut while writing": Case(lambda: faulty.ConnectionCutAfterWriting(after=2 * MiB)),
    "cut twice while writing": Case(lambda: faulty.ConnectionCutAfterWriting(after=2 * MiB, times=2)),
    "cut before anything": Case(lambda: faulty.ConnectionCutBefore(("STAT",)), frozenset(), ConnectionFailed),
    "cut at open": cut("OPEN"),
    "cut at write": cut("WRITE"),
    "cut at fstat": cut("FSTAT"),
    "cut at fsync": cut("FSYNC"),
    "cut at close": cut("CLOSE"),
    "cut at rename": cut("POSIX-RENAME"),
    "cut at mkdir": cut("MKDIR"),
    "reply of open lost": lost("OPEN"),
    "reply of write lost": lost("WRITE"),
    "reply of fsync lost": lost("FSYNC"),
    "reply of close lost": lost("CLOSE"),
    "reply of mkdir lost": lost("MKDIR"),
    "reply of rename lost": lost("POSIX-RENAME"),
    "reply of rename lost twice": lost("POSIX-RENAME", times=2),
    # One file at a time: where the connection is lost under several, it is chance where each of them stood.
    "reply of the rename into place lost, no posix-rename": Case(
        lambda: Together(
            faulty.NoPosixRename(), Acts(_cut, ("RENAME",), where=lambda r: at_victim(r.target), nth=2, after=True)
        ),
        options={"concurrency": 1},
    ),
    "reply of the rename aside lost, no posix-rename": Case(
        lambda: Together(
            faulty.NoPosixRename(), Acts(_cut, ("RENAME",), where=lambda r: at_victim(r.path), after=True)
        ),
        options={"concurrency": 1},
    ),
    "cut after the rename aside, no posix-rename": Case(
        lambda: Together(faulty.NoPosixRename(), Acts(_cut, ("RENAME",), where=lambda r: at_victim(r.target), nth=2)),
        options={"concurrency": 1},
    ),
    "reply of the rename aside lost, and then refused, no posix-rename": fails(
        lambda: Together(
            faulty.NoPosixRename(),
            Acts(_cut, ("RENAME",), where=lambda r: at_victim(r.path), after=True),
            NewVictimIsRefused(),
        ),
        ALL_BUT_VICTIM,
        concurrency=1,
    ),
    "reply of the remove of what was aside lost, no posix-rename": Case(
        lambda: Together(faulty.NoPosixRename(), faulty.ReplyIsLost(("REMOVE",))), options={"concurrency": 1}
    ),
}


def _cut(request: Request) -> None:
    raise CutConnection


def _fail(request: Request) -> None:
    raise asyncssh.SFTPFailure("failed by the test")


class NewVictimIsRefused(Fault):
    """A new file must not take the victim's name; the old one, which was moved aside, may have it back."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "RENAME" and at_victim(request.target):
            moving = server.local(request.path)
            if moving.is_file() and moving.read_bytes() == FILES[VICTIM]:
                raise asyncssh.SFTPPermissionDenied("refused by the test")
        return await proceed()


#: what the done directories hold already, of the same names, when a pull begins
DONE_BEFORE = {VICTIM: b"pulled last week", "a.txt": b"pulled last year"}


class TestTable:
    """Each misbehaviour of the tables above."""

    @pytest.mark.parametrize(
        ("name", "existing"),
        # where the done directories are there already, no MKDIR can fail
        [(name, existing) for name in PULLS for existing in (False, True) if not (existing and "mkdir" in name)],
    )
    async def test_a_pull_ends_as_declared(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, name: str, existing: bool
    ) -> None:
        """The declared files are in S3 and in .done, all others at their source; a run after the fault mends it all."""
        case = PULLS[name]
        before = DONE_BEFORE if existing else {}
        write_tree(sftp_server.root, FILES)
        write_tree(sftp_server.root, {done_path(name): data for name, data in before.items()})
        sftp_server.stop()
        sftp_server.fault = case.fault()
        sftp_server.start()
        ran = await run_pull(sftp_server, s3, bucket, **case.options)
        await check_nothing_open(sftp_server)
        moved = check_pull(sftp_server.root, s3, bucket, FILES, ran, before=before)
        _check_outcome(case, moved, ran)

        sftp_server.stop()
        sftp_server.fault = Fault()
        sftp_server.start()
        again = await run_pull(sftp_server, s3, bucket)
        again.done()
        assert check_pull(sftp_server.root, s3, bucket, FILES, again, before=before) == EVERY
        assert s3.unfinished_uploads(bucket) == []
        assert len(again.transferred) == len(EVERY - moved)
        await check_nothing_open(sftp_server)

    @pytest.mark.parametrize(
        ("name", "existing"),
        # with new files there is no old one to move aside
        [(name, existing) for name in PUSHES for existing in (False, True) if existing or "aside" not in name],
    )
    async def test_a_push_ends_as_declared(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, name: str, existing: bool
    ) -> None:
        """The declared objects are there and marked, no other is; old files stay whole; a later run mends it all."""
        case = PUSHES[name]
        old = OLD if existing else {}
        moved_as_declared = case.moved
        put_objects(s3, bucket, FILES)
        (sftp_server.root / "sub").mkdir()
        write_tree(sftp_server.root, old)
        sftp_server.stop()
        sftp_server.fault = case.fault()
        sftp_server.start()
        ran = await run_push(sftp_server, s3, bucket, **case.options)
        # The last requests of a run that was cut short may be on their way still.
        await check_nothing_open(sftp_server)
        written = check_push(sftp_server.root, bucket, FILES, ran, old=old, leavings=case.leavings)
        marked = marked_keys(bucket)
        assert marked == {o.source.removeprefix(f"s3://{bucket}/") for o in ran.transferred}
        if moved_as_declared is not None:
            assert written == moved_as_declared
        _check_outcome(case, marked, ran)

        sftp_server.stop()
        sftp_server.fault = Fault()
        sftp_server.start()
        again = await run_push(sftp_server, s3, bucket)
        again.done()
        assert check_push(sftp_server.root, bucket, FILES, again, old=old, leavings=case.leavings) == EVERY
        assert marked_keys(bucket) == EVERY
        await check_nothing_open(sftp_server)


def _check_outcome(case: Case, moved: set[str], ran: Any) -> None:
    if case.error is None:
        ran.done()
    else:
        assert isinstance(ran.error, case.error), ran.error
    if case.moved is not None:
        assert moved == case.moved
    else:
        assert moved < EVERY
    if case.error is TransferError:
        assert ran.report is not None
        assert ran.report.transferred == len(moved)
        assert ran.report.failed > 0
        for name in EVERY - moved:  # each is named, or a directory above it that could not be listed
            assert set(Path(name).parts) & set(ran.failures), f"nothing says that {name} failed"


class TestLimits:
    """What a server limits is adapted to, and the user is told, once."""

    MANY: ClassVar = {f"{number % 20}/{number}": b"x" * number for number in range(200)}

    @pytest.mark.parametrize("limit", [1, 10])
    @pytest.mark.parametrize("pulls", [True, False], ids=["pull", "push"])
    async def test_a_limit_of_open_handles_is_kept(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, limit: int, pulls: bool
    ) -> None:
        """200 files, 64 of them at once, on a server with few handles: none fails, none waits for ever, one notice."""
        sftp_server.fault = faulty.AtMostOpenHandles(limit, first=1.0)  # by then all 64 are asked for
        if pulls:
            write_tree(sftp_server.root, self.MANY)
            ran = await run_pull(sftp_server, s3, bucket)
            assert check_pull(sftp_server.root, s3, bucket, self.MANY, ran) == set(self.MANY)
        else:
            put_objects(s3, bucket, self.MANY)
            ran = await run_push(sftp_server, s3, bucket, mark="none")
            assert check_push(sftp_server.root, bucket, self.MANY, ran) == set(self.MANY)
        ran.done()
        assert sftp_server.peak_handles == limit
        assert len(ran.watcher.notices) == 1
        found = re.search("no more than ([0-9]+) files at once", ran.watcher.notices[0])
        assert found, ran.watcher.notices
        assert limit // 2 <= int(found[1]) <= limit, "of the files open on the server, some may be about to be closed"
        refused = sftp_server.requests["OPEN"] + sftp_server.requests["OPENDIR"] - sftp_server.requests["CLOSE"]
        assert 0 < refused <= 64 + 16, "the limit is found once, and kept from then on"
        await check_nothing_open(sftp_server)

    async def test_a_file_that_cannot_be_opened_is_no_limit(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
    ) -> None:
        """Files that fail with no reason given fail by name, and the others go on as many at once as before."""
        bad = {name for name in self.MANY if name.endswith("3")}
        write_tree(sftp_server.root, self.MANY)
        sftp_server.fault = Acts(_fail, ("OPEN",), where=lambda r: r.path.endswith("3"), always=True)
        ran = await run_pull(sftp_server, s3, bucket)
        assert check_pull(sftp_server.root, s3, bucket, self.MANY, ran) == set(self.MANY) - bad
        assert len(ran.failures) == len(bad)
        assert ran.watcher.notices == []
        await check_nothing_open(sftp_server)

    async def test_short_requests_are_kept_to(self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
        """A server that takes 4 KiB at a time gets them, in both directions, and the user is told once."""
        sftp_server.fault = faulty.ShortRequests()
        files = {"empty": b"", "small": b"s", "large": os.urandom(200_001)}
        write_tree(sftp_server.root, files)
        ran = await run_pull(sftp_server, s3, bucket)
        assert check_pull(sftp_server.root, s3, bucket, files, ran) == set(files)
        assert len([notice for notice in ran.watcher.notices if "4096 bytes" in notice]) == 1
        (sftp_server.root / "out").mkdir()
        ran = await run_push(sftp_server, s3, bucket, "/out", mark="none")
        ran.done()
        assert read_tree(sftp_server.root / "out") == files
        assert len([notice for notice in ran.watcher.notices if "4096 bytes" in notice]) == 1

    async def test_the_time_that_a_file_waits_for_a_handle_is_not_its_own(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
    ) -> None:
        """10 files of a second each, one after another, under a ``file_timeout`` of 5 s."""
        files = {f"{number}": b"x" * 100 for number in range(10)}
        write_tree(sftp_server.root, files)
        sftp_server.fault = Together(faulty.AtMostOpenHandles(1), faulty.ReadsTrickle(seconds=0.5))
        ran = await run_pull(sftp_server, s3, bucket, file_timeout=5.0)
        ran.done()
        assert ran.seconds > 5.0, "this test wants to outlast file_timeout"
        assert check_pull(sftp_server.root, s3, bucket, files, ran) == set(files)


IDLE = 1.5
"""``idle_timeout`` of the tests in which something hangs."""
SLACK = 20.0
"""What a run may take beyond its limits: no more than keeps it from the limits that are meant not to count."""
LOSSES = 6
"""How many connections may be lost to hung requests before a run gives up: at least once more than one file's tries."""

PULL_PHASES = (
    *("OPENDIR", "READDIR", "OPEN", "FSTAT", "READ", "CLOSE", "MKDIR"),
    *("POSIX-RENAME", "LSTAT", "SETSTAT"),
)
PUSH_PHASES = ("STAT", "MKDIR", "OPEN", "WRITE", "FSTAT", "FSYNC", "CLOSE", "POSIX-RENAME")


class TestHungRequests:
    """A server that takes a request and never answers it."""

    @pytest.mark.parametrize("phase", PULL_PHASES)
    async def test_a_pull_ends_in_time(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, phase: str
    ) -> None:
        """Whatever request hangs, on every file: the run ends within its attempts, and the next one mends it.

        Only that a file is closed which has been read, nothing waits for.
        """
        write_tree(sftp_server.root, FILES)
        sftp_server.fault = faulty.NeverAnswers((phase,))
        ran = await run_pull(sftp_server, s3, bucket, idle_timeout=IDLE)
        assert ran.seconds < LOSSES * IDLE + SLACK
        if phase == "CLOSE":
            ran.done()
        else:
            assert isinstance(ran.error, (TransferError, ConnectionFailed))
        await check_nothing_open(sftp_server)
        sftp_server.fault = Fault()
        again = await run_pull(sftp_server, s3, bucket)
        again.done()
        assert check_pull(sftp_server.root, s3, bucket, FILES, again) == EVERY
        assert s3.unfinished_uploads(bucket) == []

    @pytest.mark.parametrize("phase", PUSH_PHASES)
    async def test_a_push_ends_in_time(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, phase: str
    ) -> None:
        """Whatever request hangs, on every file: the run ends within its attempts, old files stay, none is marked."""
        put_objects(s3, bucket, FILES)
        (sftp_server.root / "sub").mkdir()
        write_tree(sftp_server.root, OLD)
        sftp_server.fault = faulty.NeverAnswers((phase,))
        ran = await run_push(sftp_server, s3, bucket, idle_timeout=IDLE)
        assert ran.seconds < LOSSES * IDLE + SLACK
        assert isinstance(ran.error, (TransferError, ConnectionFailed))
        await check_nothing_open(sftp_server)
        check_push(sftp_server.root, bucket, FILES, ran, old=OLD)
        sftp_server.fault = Fault()
        again = await run_push(sftp_server, s3, bucket)
        again.done()
        assert check_push(sftp_server.root, bucket, FILES, again, old=OLD) == EVERY

    @pytest.mark.parametrize(("phase", "concurrency"), [("OPEN", 64), ("READ", 1), ("FSTAT", 64), ("POSIX-RENAME", 1)])
    async def test_one_file_that_hangs_a_pull_leaves_its_siblings_alone(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, phase: str, concurrency: int
    ) -> None:
        """A file on a dead disk fails by name, however many are in flight; all others are transferred."""
        files = {"1 before": b"1", "2 victim/victim": b"hangs", **{f"3 after/{n}": b"3" for n in range(10)}}
        write_tree(sftp_server.root, files)
        sftp_server.fault = faulty.NeverAnswers((phase,), path=at_victim)
        ran = await run_pull(sftp_server, s3, bucket, idle_timeout=IDLE, concurrency=concurrency)
        assert ran.seconds < LOSSES * IDLE + SLACK
        assert check_pull(sftp_server.root, s3, bucket, files, ran) == set(files) - {"2 victim/victim"}
        assert set(ran.failures) == {"victim"}
        assert isinstance(ran.error, TransferError)
        await check_nothing_open(sftp_server)

    @pytest.mark.parametrize(("phase", "concurrency"), [("OPEN", 1), ("WRITE", 64), ("CLOSE", 1), ("POSIX-RENAME", 64)])
    async def test_one_file_that_hangs_a_push_leaves_its_siblings_alone(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, phase: str, concurrency: int
    ) -> None:
        """A directory on a dead disk fails its file by name, however many are in flight; all others are transferred."""
        objects = {"1 before": b"1", "2 victim/victim": b"hangs", **{f"3 after/{n}": b"3" for n in range(10)}}
        put_objects(s3, bucket, objects)
        sftp_server.fault = faulty.NeverAnswers((phase,), path=lambda path: path.startswith("/2 victim/"))
        ran = await run_push(sftp_server, s3, bucket, idle_timeout=IDLE, concurrency=concurrency)
        assert ran.seconds < LOSSES * IDLE + SLACK
        assert check_push(sftp_server.root, bucket, objects, ran) == set(objects) - {"2 victim/victim"}
        assert marked_keys(bucket) == set(objects) - {"2 victim/victim"}
        assert set(ran.failures) == {"victim"}
        assert isinstance(ran.error, TransferError)
        await check_nothing_open(sftp_server)

    @pytest.mark.parametrize("phase", ["OPENDIR", "READDIR"])
    async def test_one_directory_that_hangs_leaves_the_others_alone(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, phase: str
    ) -> None:
        """A directory on a dead disk fails by name; the files of all other directories are transferred."""
        files = {"1": b"1", "2 dead/x": b"x", "3/y": b"y", "3/4/z": b"z"}
        write_tree(sftp_server.root, files)
        sftp_server.fault = faulty.NeverAnswers((phase,), path=lambda path: path == "/2 dead")
        ran = await run_pull(sftp_server, s3, bucket, idle_timeout=IDLE)
        assert ran.seconds < LOSSES * IDLE + SLACK
        assert check_pull(sftp_server.root, s3, bucket, files, ran) == {"1", "3/y", "3/4/z"}
        assert set(ran.failures) == {"2 dead"}

    @pytest.mark.parametrize("phase", ["READ", "FSTAT", "POSIX-RENAME", "LSTAT"])
    async def test_file_timeout_bounds_a_pulled_file_as_a_whole(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, phase: str
    ) -> None:
        """A file that takes too long fails by name after ``file_timeout``, at whatever step; its siblings go on."""
        write_tree(sftp_server.root, FILES)
        sftp_server.fault = faulty.NeverAnswers((phase,), path=lambda path: "/victim" in path)
        ran = await run_pull(sftp_server, s3, bucket, file_timeout=5.0, idle_timeout=30.0)
        assert ran.seconds < 5.0 + SLACK
        assert set(ran.failures) == {"victim"}
        assert "file_timeout" in ran.failures["victim"]
        await check_nothing_open(sftp_server)
        sftp_server.fault = Fault()
        again = await run_pull(sftp_server, s3, bucket)
        again.done()
        assert check_pull(sftp_server.root, s3, bucket, FILES, again) == EVERY

    @pytest.mark.parametrize("phase", ["OPEN", "WRITE", "CLOSE", "POSIX-RENAME"])
    async def test_file_timeout_bounds_a_pushed_file_as_a_whole(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, phase: str
    ) -> None:
        """A file that takes too long fails by name after ``file_timeout``, unmarked, with no temporary file left."""
        objects = FILES | {"dead/victim": b"hangs"}
        put_objects(s3, bucket, objects)
        sftp_server.fault = faulty.NeverAnswers((phase,), path=lambda path: path.startswith("/dead/"))
        ran = await run_push(sftp_server, s3, bucket, file_timeout=5.0, idle_timeout=30.0)
        assert ran.seconds < 5.0 + SLACK
        assert set(ran.failures) == {"victim"}
        assert "file_timeout" in ran.failures["victim"]
        await check_nothing_open(sftp_server)
        assert check_push(sftp_server.root, bucket, objects, ran) == EVERY

    async def test_slow_is_not_idle(self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
        """A server that brings 100 bytes at a time, each well within ``idle_timeout``, is waited for."""
        files = {"slow": os.urandom(3000), "b": b"b"}
        write_tree(sftp_server.root, files)
        sftp_server.fault = faulty.ReadsTrickle(seconds=0.05, at_most=100)
        ran = await run_pull(sftp_server, s3, bucket, idle_timeout=1.0)
        assert ran.seconds > 1.0, "this test wants to outlast idle_timeout"
        ran.done()
        assert check_pull(sftp_server.root, s3, bucket, files, ran) == set(files)

    async def test_a_trickling_file_ends_at_its_file_timeout(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
    ) -> None:
        """One byte a second is never idle: only ``file_timeout`` ends it, and a later run brings the file."""
        files = {"slow": os.urandom(100_000), "small": b"b"}
        write_tree(sftp_server.root, files)
        sftp_server.fault = faulty.ReadsTrickle(seconds=0.02, at_most=1)
        ran = await run_pull(sftp_server, s3, bucket, file_timeout=3.0)
        assert ran.seconds < 5.0 + SLACK
        assert set(ran.failures) == {"slow"}
        assert check_pull(sftp_server.root, s3, bucket, files, ran) == {"small"}
        await check_nothing_open(sftp_server)


class TestHungLogins:
    """A server that stops answering before SFTP begins."""

    async def _ends(self, server: Any, s3: S3Server, bucket: str, **options: Any) -> None:
        for run_one in (run_pull, run_push):
            ran = await run_one(server, s3, bucket, "/", conn_timeout=1.0, **options)
            assert isinstance(ran.error, ConnectionFailed)
            assert ran.seconds < 5.0 + SLACK

    async def test_no_banner(self, s3: S3Server, bucket: str) -> None:
        """A machine that accepts and says nothing: an error within ``conn_timeout``."""
        with faulty.NeverGreets() as server:
            await self._ends(server, s3, bucket)

    async def test_hung_up_on(self, s3: S3Server, bucket: str) -> None:
        """A machine that accepts and hangs up: an error within ``conn_timeout``."""
        with faulty.HangsUp() as server:
            await self._ends(server, s3, bucket)

    async def test_nothing_listens(self, s3: S3Server, bucket: str) -> None:
        """A port that nobody listens on: an error within ``conn_timeout``."""
        with faulty.HangsUp() as server:
            pass
        await self._ends(server, s3, bucket)

    @pytest.mark.parametrize("phase", ["login", "session", "sftp"])
    async def test_hung_in(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, phase: str
    ) -> None:
        """A server that hangs in the login, at the start of the session or of SFTP: an error in ``conn_timeout``."""

        async def hangs(*_: Any) -> Any:
            await asyncio.sleep(3600)

        if phase == "login":
            monkeypatch.setattr(sftp_servers.Login, "begin_auth", hangs)
        elif phase == "session":
            monkeypatch.setattr(sftp_servers.Login, "session_requested", hangs)
        else:
            monkeypatch.setattr(sftp_servers._Session, "run", hangs)
        await self._ends(sftp_server, s3, bucket)
        assert await settles(lambda: not sftp_server.connections)


class TestCancellation:
    """Airflow ends a task by cancelling what it runs: on_kill, execution_timeout."""

    async def _cancelled(
        self, server: AsyncsshServer, s3: S3Server, bucket: str, pulls: bool, ready: Callable[[], bool]
    ) -> float:
        run_one = run_pull if pulls else run_push
        task = asyncio.create_task(run_one(server, s3, bucket))
        assert await settles(ready), "the run has not come to the point where it is to be cancelled"
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - started

    @pytest.mark.parametrize("phase", ["READDIR", "OPEN", "READ", "CLOSE", "POSIX-RENAME", "SETSTAT"])
    async def test_a_pull_is_cancelled_while_the_server_hangs(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, phase: str
    ) -> None:
        """A cancelled pull ends soon, leaves no handle, no connection and no multipart upload, and loses nothing."""
        write_tree(sftp_server.root, FILES)
        sftp_server.fault = fault = Acts(_no_answer, (phase,), always=True)
        assert await self._cancelled(sftp_server, s3, bucket, True, lambda: fault.acted > 0) < 2.0 + SLACK
        await check_nothing_open(sftp_server)
        assert s3.unfinished_uploads(bucket) == []
        sftp_server.fault = Fault()
        again = await run_pull(sftp_server, s3, bucket)
        again.done()
        assert check_pull(sftp_server.root, s3, bucket, FILES, again) == EVERY

    @pytest.mark.parametrize("phase", ["MKDIR", "OPEN", "WRITE", "FSYNC", "CLOSE", "POSIX-RENAME"])
    async def test_a_push_is_cancelled_while_the_server_hangs(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, phase: str
    ) -> None:
        """A cancelled push ends soon, leaves no handle, no connection and no temporary file, and old files whole."""
        put_objects(s3, bucket, FILES)
        (sftp_server.root / "sub").mkdir()
        write_tree(sftp_server.root, OLD)
        sftp_server.fault = fault = Acts(_no_answer, (phase,), always=True)
        assert await self._cancelled(sftp_server, s3, bucket, False, lambda: fault.acted > 0) < 2.0 + SLACK
        await check_nothing_open(sftp_server)
        assert leftovers(sftp_server.root) == []
        tree = read_tree(sftp_server.root)
        assert all(tree[name] in (data, FILES.get(name)) for name, data in OLD.items())
        assert all(tree[key] == FILES[key] for key in marked_keys(bucket))
        sftp_server.fault = Fault()
        again = await run_push(sftp_server, s3, bucket)
        again.done()
        assert check_push(sftp_server.root, bucket, FILES, again, old=OLD) == EVERY

    async def test_a_multipart_upload_is_cancelled(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
    ) -> None:
        """A pull that is cancelled between two parts of a file aborts its upload."""
        files = {"large": os.urandom(12 * MiB)}
        write_tree(sftp_server.root, files)
        sftp_server.fault = Acts(_no_answer, ("READ",), where=lambda r: r.offset >= 8 * MiB, always=True)

        def part_is_there() -> bool:
            return any(request.operation == "UploadPart" for request in s3.requests)

        await self._cancelled(sftp_server, s3, bucket, True, part_is_there)
        assert await settles(lambda: s3.unfinished_uploads(bucket) == [])
        assert s3.objects(bucket) == {}
        assert read_tree(sftp_server.root) == files
        await check_nothing_open(sftp_server)


def _no_answer(request: Request) -> None:
    raise sftp_servers.NoAnswer


@pytest.fixture
def openssh(openssh_server: OpenSshServer) -> OpenSshServer:
    """OpenSSH's server with the files to pull."""
    write_tree(openssh_server.root, FILES)
    return openssh_server


class TestOpenSsh:
    """What happens to the server that most partners run."""

    @pytest.mark.parametrize("at", ["PutObject", "UploadPart", "CompleteMultipartUpload", "ListObjectsV2"])
    async def test_it_hangs_under_a_pull(self, openssh: OpenSshServer, s3: S3Server, bucket: str, at: str) -> None:
        """SIGSTOP at some moment: an error within idle_timeout + conn_timeout, and nothing is lost."""
        self._do(s3, at, openssh.pause)
        ran = await run_pull(openssh, s3, bucket, idle_timeout=1.0, conn_timeout=1.0)
        openssh.resume()
        assert ran.seconds < 1.0 + 1.0 + SLACK
        assert isinstance(ran.error, (TransferError, ConnectionFailed))
        await self._nobody_is_connected(openssh)
        s3._before.clear()
        again = await run_pull(openssh, s3, bucket)
        again.done()
        assert check_pull(openssh.root, s3, bucket, FILES, again) == EVERY
        assert s3.unfinished_uploads(bucket) == []

    @pytest.mark.parametrize("at", ["GetObject", "CopyObject", "ListObjectsV2"])
    async def test_it_hangs_under_a_push(
        self, openssh_server: OpenSshServer, s3: S3Server, bucket: str, at: str
    ) -> None:
        """SIGSTOP at some moment: an error within idle_timeout + conn_timeout, no old file harmed, no false mark."""
        put_objects(s3, bucket, FILES)
        (openssh_server.root / "sub").mkdir()
        write_tree(openssh_server.root, OLD)
        self._do(s3, at, openssh_server.pause)
        ran = await run_push(openssh_server, s3, bucket, idle_timeout=1.0, conn_timeout=1.0)
        openssh_server.resume()
        assert ran.seconds < 1.0 + 1.0 + SLACK
        await self._nobody_is_connected(openssh_server)
        check_push(openssh_server.root, bucket, FILES, ran, old=OLD, leavings=True)
        s3._before.clear()
        again = await run_push(openssh_server, s3, bucket, clean_up=True)
        again.done()
        assert check_push(openssh_server.root, bucket, FILES, again, old=OLD) == EVERY

    @pytest.mark.parametrize("comes_back", [True, False])
    async def test_it_dies_under_a_pull(
        self, openssh: OpenSshServer, s3: S3Server, bucket: str, comes_back: bool
    ) -> None:
        """Killed: a server that is up again goes on being used; one that is not ends the run in time."""

        def restart() -> None:
            openssh.stop()
            if comes_back:
                openssh.start()

        self._do(s3, "PutObject", restart)
        ran = await run_pull(openssh, s3, bucket, conn_timeout=20.0 if comes_back else 3.0)
        if comes_back:
            ran.done()
            assert check_pull(openssh.root, s3, bucket, FILES, ran) == EVERY
        else:
            assert isinstance(ran.error, TransferError)
            assert ran.seconds < 3.0 + SLACK
            check_pull(openssh.root, s3, bucket, FILES, ran)

    @pytest.mark.parametrize("comes_back", [True, False])
    async def test_it_dies_under_a_push(
        self, openssh_server: OpenSshServer, s3: S3Server, bucket: str, comes_back: bool
    ) -> None:
        """Killed: a server that is up again goes on being used; one that is not ends the run in time."""
        put_objects(s3, bucket, FILES)

        def restart() -> None:
            openssh_server.stop()
            if comes_back:
                openssh_server.start()

        self._do(s3, "GetObject", restart, nth=2)
        ran = await run_push(openssh_server, s3, bucket, conn_timeout=20.0 if comes_back else 3.0)
        if comes_back:
            ran.done()
            assert check_push(openssh_server.root, bucket, FILES, ran) == EVERY
        else:
            assert isinstance(ran.error, TransferError)
            assert ran.seconds < 3.0 + SLACK
            check_push(openssh_server.root, bucket, FILES, ran, leavings=True)

    async def test_one_session_is_enough(self, tmp_path: Path, s3: S3Server, bucket: str) -> None:
        """MaxSessions 1: both directions need one session of one connection."""
        require_openssh()
        with OpenSshServer(tmp_path / "sftp", config="MaxSessions 1") as server:
            write_tree(server.root, FILES)
            ran = await run_pull(server, s3, bucket)
            ran.done()
            assert check_pull(server.root, s3, bucket, FILES, ran) == EVERY
            out = server.root / "out"
            out.mkdir()
            ran = await run_push(server, s3, bucket, server.path("out"), mark="none")
            ran.done()
            assert read_tree(out) == FILES

    async def test_a_full_waiting_room_is_waited_for(self, tmp_path: Path, s3: S3Server, bucket: str) -> None:
        """MaxStartups drops connections while others are logging in: tried again until ``conn_timeout``."""
        require_openssh()
        with OpenSshServer(tmp_path / "sftp", config="MaxStartups 1") as server:
            write_tree(server.root, FILES)
            with contextlib.ExitStack() as stack:
                waiting = stack.enter_context(socket.create_connection((server.host, server.port)))
                assert waiting.recv(4) == b"SSH-"
                ran = await run_pull(server, s3, bucket, conn_timeout=1.0)
                assert isinstance(ran.error, ConnectionFailed)
                assert ran.seconds < 5.0 + SLACK
                asyncio.get_running_loop().call_later(1.0, waiting.close)
                ran = await run_pull(server, s3, bucket, conn_timeout=15.0)
            ran.done()
            assert check_pull(server.root, s3, bucket, FILES, ran) == EVERY

    @staticmethod
    def _do(s3: S3Server, operation: str, act: Callable[[], object], nth: int = 1) -> None:
        """Have something happen just before the nth request of this name is handled, once."""
        seen = 0

        @s3.before
        def hook(request: S3Request) -> None:
            nonlocal seen
            if request.operation == operation:
                seen += 1
                if seen == nth:
                    act()

    @staticmethod
    async def _nobody_is_connected(server: OpenSshServer) -> None:
        assert await settles(lambda: len(server._processes()) == 1), "sshd has children left"
