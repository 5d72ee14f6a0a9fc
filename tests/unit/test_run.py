"""The run: how many at once, and what a failure does to the others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine import limits
from airflow_provider_sftp_s3.engine import run as run_module
from airflow_provider_sftp_s3.engine.errors import (
    ConfigurationError,
    ConnectionFailed,
    CredentialsExpired,
    FileError,
    NoRoom,
    StorageError,
)
from airflow_provider_sftp_s3.engine.limits import LOSSES, MAX_FULL, Caps
from airflow_provider_sftp_s3.engine.model import Outcome, Report
from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from airflow_provider_sftp_s3.engine.run import MAX_LEFT, Run
from airflow_provider_sftp_s3.engine.sftp.handles import Handles
from tests.support.engine import Recorder
from tests.support.turns import turns
from tests.support.virtual_time import run_in_virtual_time

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class Thing:
    label: str
    size: int = 1
    changed: float | None = None


async def things(*items: Thing | Outcome) -> AsyncIterator[Thing | Outcome]:
    for item in items:
        yield item


def run_of(
    concurrency: int = 4, max_files: int | None = None, max_bytes: int | None = None, file_timeout: float | None = None
) -> Run[Thing]:
    options = TransferOptions(concurrency=concurrency, file_timeout=file_timeout)
    return Run(Report("pull"), Recorder(), options, Caps(max_files, max_bytes))


async def moved(thing: Thing) -> Outcome:
    await asyncio.sleep(0)
    return Outcome(thing.label, "transferred", "there", bytes=thing.size)


async def test_concurrency_is_the_number_in_flight() -> None:
    """Of files that need not be open: less than six times as many as may be, and with one it is one after another."""
    flying = peak = 0

    async def fly(thing: Thing) -> Outcome:
        nonlocal flying, peak
        flying += 1
        peak = max(peak, flying)
        await turns()  # all others that may fly have begun by then
        flying -= 1
        return await moved(thing)

    for concurrency, most in ((7, 37), (1, 1)):
        peak = 0
        run = run_of(concurrency=concurrency)
        await run.transfer_all(things(*(Thing(str(n)) for n in range(100))), fly)
        assert peak == most
        assert run.report.transferred == 100


async def test_a_failure_leaves_the_others_alone() -> None:
    """Ours, or an error nobody has thought of: it is that file's outcome."""

    async def sometimes(thing: Thing) -> Outcome:
        if thing.label == "3":
            raise FileError("broken")
        if thing.label == "5":
            raise ZeroDivisionError("surprise")
        return await moved(thing)

    run = run_of()
    await run.transfer_all(things(*(Thing(str(n)) for n in range(10))), sometimes)
    assert run.report.transferred == 8
    assert sorted((f["source"], f["error"]) for f in run.report.failures) == [
        ("3", "broken"),
        ("5", "ZeroDivisionError: surprise"),
    ]


async def test_nothing_more_is_begun_where_the_server_seems_to_be_full() -> None:
    """After so many in a row; each that goes begins the count anew, and any other failure does not count."""
    begun = 0

    async def full(thing: Thing) -> Outcome:
        nonlocal begun
        begun += 1
        if begun == MAX_FULL - 1:
            return await moved(thing)
        if begun == MAX_FULL:
            raise FileError("another reason")
        raise NoRoom("failure")

    run = run_of(concurrency=1)
    await run.transfer_all(things(*(Thing(str(n)) for n in range(100))), full)
    assert begun == 2 * MAX_FULL
    assert run.report.failed == begun - 1
    assert (run.report.left, run.report.more_left) == (100 - 1, True), "what failed, and what was not begun"
    assert f"failed to write {MAX_FULL} files in a row" in run.stopped
    assert isinstance(run.observer, Recorder)
    assert len(run.observer.notices) == 1


async def test_a_line_that_is_cut_again_and_again_is_said_with_what_it_carried() -> None:
    """The bytes of each connection, and whether the file can arrive at all."""
    losses = 0

    async def cut(thing: Thing) -> Outcome:
        nonlocal losses
        losses += 1
        run.progress.moved_bytes += 20 * MiB
        raise ConnectionFailed("the line was cut", losses)

    run = run_of(concurrency=1)
    with pytest.raises(ConnectionFailed):
        await run.transfer_all(things(Thing("large", 30 * MiB), Thing("small", 5 * MiB)), cut)
    large, small = (failure["error"] for failure in run.report.failures)
    assert "cut 3 times while this file of 30.0 MiB was moved, when it had carried 20.0, 20.0, 20.0 MiB" in large
    assert "cut 3 times while this file of 5.0 MiB was moved" in small


async def test_what_nobody_can_mend_ends_the_run() -> None:
    """A wrong setting is raised as it is, not as one file's failure or as a group."""

    async def never(thing: Thing) -> Outcome:
        raise ConfigurationError("no bucket")

    run = run_of()
    with pytest.raises(ConfigurationError, match="no bucket"):
        await run.transfer_all(things(Thing("1"), Thing("2")), never)
    assert run.report.failures == []


async def test_what_somebody_has_to_mend_goes_before_the_connection_that_was_lost_over_it() -> None:
    """Two files fail in one moment: the setting is what is raised, in whichever order they do."""
    for order in (0, 1), (1, 0):
        met = asyncio.Barrier(2)
        errors = {"0": ConnectionFailed("refused"), "1": ConfigurationError("no bucket")}

        async def both_fail(thing: Thing, met: asyncio.Barrier = met, errors: dict[str, Any] = errors) -> Outcome:
            await met.wait()
            raise errors[thing.label]

        with pytest.raises(ConfigurationError, match="no bucket"):
            await run_of().transfer_all(things(*(Thing(str(n)) for n in order)), both_fail)


def test_expired_credentials_are_asked_for_again() -> None:
    """A file that meets them is begun again a moment later, at most three times in all: by then they may be renewed."""
    tried: dict[str, int] = {}

    async def expired(thing: Thing) -> Outcome:
        tried[thing.label] = tried.get(thing.label, 0) + 1
        if thing.label == "for good" or tried[thing.label] < 3:
            raise CredentialsExpired("the token is too old")
        return await moved(thing)

    run = run_of()
    run_in_virtual_time(run.transfer_all(things(Thing("for good"), Thing("renewed")), expired))
    assert tried == {"for good": 3, "renewed": 3}
    assert run.report.transferred == 1
    assert [(f["source"], f["error"]) for f in run.report.failures] == [("for good", "the token is too old")]


async def test_what_failed_while_this_process_stood_still_is_begun_again() -> None:
    """S3 was not silent then: at most three times in all. An error of a file that nobody slept over is its outcome."""
    tried: dict[str, int] = {}

    async def timed_out(thing: Thing) -> Outcome:
        tried[thing.label] = tried.get(thing.label, 0) + 1
        if thing.label == "stood still":
            time.sleep(0.5)  # noqa: ASYNC251 - nothing goes on
        if thing.label == "stood still" and tried[thing.label] == 3:
            return await moved(thing)
        raise StorageError("no answer")

    options = TransferOptions(concurrency=1, idle_timeout=0.4)
    run: Run[Thing] = Run(Report("pull"), Recorder(), options, Caps(None, None))
    await run.transfer_all(things(Thing("stood still"), Thing("failed")), timed_out)
    assert tried == {"stood still": 3, "failed": 1}
    assert (run.report.transferred, run.report.failed) == (1, 1)


async def test_a_lost_connection_begins_its_files_again() -> None:
    """All in flight see the same loss, which counts once; each is tried again, and all arrive."""
    tried: dict[str, int] = {}

    async def lost_once(thing: Thing) -> Outcome:
        tried[thing.label] = tried.get(thing.label, 0) + 1
        await asyncio.sleep(0)
        if tried[thing.label] == 1:
            raise ConnectionFailed("cut", connection=1)
        return await moved(thing)

    run = run_of()
    await run.transfer_all(things(*(Thing(str(n)) for n in range(2 * LOSSES))), lost_once)
    assert run.report.transferred == 2 * LOSSES
    assert set(tried.values()) == {2}


async def test_a_connection_that_moves_something_is_none_of_those_in_a_row() -> None:
    """One file is moved by each connection before it is lost: the run goes on, however often that happens."""
    connection = 0
    tried: set[str] = set()

    async def lost_once(thing: Thing) -> Outcome:
        nonlocal connection
        if thing.label not in tried:
            tried.add(thing.label)
            connection += 1
            raise ConnectionFailed("cut", connection)
        return await moved(thing)

    run = run_of(concurrency=1)
    await run.transfer_all(things(*(Thing(str(n)) for n in range(2 * LOSSES))), lost_once)
    assert run.report.transferred == connection == 2 * LOSSES


async def test_a_server_that_always_cuts_the_line_ends_the_run() -> None:
    """After six connections in a row that moved nothing; the file under which it happened is named."""
    connection = 0

    async def cut(thing: Thing) -> Outcome:
        nonlocal connection
        connection += 1
        raise ConnectionFailed(f"cut {connection}", connection)

    run = run_of(concurrency=1)
    with pytest.raises(ConnectionFailed, match="cut 6"):
        await run.transfer_all(things(*(Thing(str(n)) for n in range(1000))), cut)
    assert connection == 6
    assert [failure["source"] for failure in run.report.failures] == ["0", "1"]


async def test_a_file_that_the_server_hangs_on_fails_alone() -> None:
    """It is the unanswered, and is not begun again; the innocents in flight are."""
    tried: dict[str, int] = {}

    async def hangs(thing: Thing) -> Outcome:
        tried[thing.label] = tried.get(thing.label, 0) + 1
        await asyncio.sleep(0)
        if thing.label == "hangs" or tried[thing.label] == 1:
            raise ConnectionFailed("silent", connection=1, unanswered=thing.label == "hangs")
        return await moved(thing)

    run = run_of()
    await run.transfer_all(things(Thing("hangs"), *(Thing(str(n)) for n in range(3))), hangs)
    assert (run.report.transferred, run.report.failed) == (3, 1)
    assert tried == {"hangs": 1, "0": 2, "1": 2, "2": 2}


async def test_no_connection_at_all_ends_the_run() -> None:
    """The server is down: the other files need not find out one by one."""
    calls = 0

    async def down(thing: Thing) -> Outcome:
        nonlocal calls
        calls += 1
        raise ConnectionFailed("refused")

    with pytest.raises(ConnectionFailed):
        await run_of(concurrency=1).transfer_all(things(*(Thing(str(n)) for n in range(10))), down)
    assert calls == 1


def test_a_file_has_its_own_time_limit() -> None:
    """A file that takes too long fails alone; waiting for memory does not count."""

    run = run_of(concurrency=8, file_timeout=0.2)

    async def hang(thing: Thing) -> Outcome:
        async with run.hold_memory(run.budget.total):
            if thing.label == "hangs":
                await asyncio.sleep(60)
            return await moved(thing)

    run_in_virtual_time(run.transfer_all(things(Thing("hangs"), *(Thing(str(n)) for n in range(5))), hang))
    assert run.report.transferred == 5
    assert [f["source"] for f in run.report.failures] == ["hangs"]
    assert "file_timeout, 0.2 s" in run.report.failures[0]["error"]


def test_the_time_limit_is_of_the_file_and_not_of_each_share() -> None:
    """All of a file's shares of memory are on one clock; the first starts it."""
    run = run_of(file_timeout=10)

    async def several_shares(thing: Thing) -> Outcome:
        await asyncio.sleep(1000)  # before its first share no time counts
        for _ in range(thing.size):
            async with run.hold_memory(1):
                await asyncio.sleep(3)
        return await moved(thing)

    run_in_virtual_time(run.transfer_all(things(Thing("9 s", 3), Thing("12 s", 4)), several_shares))
    assert [outcome.source for outcome in run.observer.outcomes if outcome.status == "transferred"] == ["9 s"]  # type: ignore[attr-defined]
    assert ["file_timeout, 10 s" in failure["error"] for failure in run.report.failures] == [True]


def test_the_time_limit_stands_still_while_a_file_waits_for_a_handle() -> None:
    """And goes on where it stood when the file has one."""
    run = run_of(file_timeout=10)
    handles = Handles(1, lambda limit: None)

    async def one_at_a_time(thing: Thing) -> Outcome:
        async with run.hold_memory(1):
            await asyncio.sleep(4)

            async def opened() -> None: ...

            await handles.open(opened)
            try:
                await asyncio.sleep(thing.size)
            finally:
                handles.closed()
        return await moved(thing)

    # Each but the first waits for those before it, some for longer than the limit.
    run_in_virtual_time(run.transfer_all(things(*(Thing(str(size), size) for size in (5, 5, 5, 7, 5))), one_at_a_time))
    assert run.report.transferred == 4
    assert [(f["source"], f["error"]) for f in run.report.failures] == [("7", "took longer than file_timeout, 10 s")]


@pytest.mark.parametrize(
    ("max_files", "max_bytes", "sizes", "count"),
    [
        (3, None, [1] * 10, 3),
        (None, 5, [1] * 10, 5),
        (None, 5, [9, 1], 1),  # larger than the cap: goes alone, or it would never go
        (2, 100, [60, 60, 60], 1),
        (20, None, [1] * 10, 10),
    ],
)
async def test_caps(max_files: int | None, max_bytes: int | None, sizes: list[int], count: int) -> None:
    """The rest waits for the next run, and the log says so once."""
    run = run_of(max_files=max_files, max_bytes=max_bytes)
    await run.transfer_all(things(*(Thing(str(n), size) for n, size in enumerate(sizes))), moved)
    assert run.report.transferred == count
    assert len(run.observer.notices) == (1 if count < len(sizes) else 0)  # type: ignore[attr-defined]


async def test_what_a_cap_leaves_is_counted() -> None:
    """All of it, and how old the oldest is; what there is nothing to do about does not count, nor what is decided."""
    items = [Thing(f"{number}", changed=1000.0 - number) for number in range(10)]
    run = run_of(max_files=3)
    await run.transfer_all(things(*items, Outcome("young", "skipped", reason="young", changed=5.0, left=True)), moved)
    assert (run.report.transferred, run.report.left, run.report.more_left) == (3, 8, False)
    assert run.report.oldest_left == 5.0

    async def is_left(thing: Thing) -> bool:
        return int(thing.label) % 2 == 0

    run = run_of(max_files=3)
    await run.transfer_all(things(*items), moved, is_left)
    assert (run.report.left, run.report.oldest_left) == (3, 992.0)


async def test_what_a_cap_leaves_is_counted_up_to_a_number() -> None:
    """And then the listing is read no further."""
    read = 0

    async def endless() -> AsyncIterator[Thing | Outcome]:
        nonlocal read
        while True:
            read += 1
            yield Thing("again")

    run = run_of(max_files=1)
    await run.transfer_all(endless(), moved)
    assert run.report.more_left
    assert MAX_LEFT <= run.report.left <= read < MAX_LEFT + 100


async def test_what_failed_is_left() -> None:
    """One that failed counts with its age; a run that ends early says that there is more."""

    async def fail(thing: Thing) -> Outcome:
        raise FileError("refused")

    run = run_of()
    await run.transfer_all(things(Thing("a", changed=7.0), Thing("b", changed=8.0), Thing("c")), fail)
    assert (run.report.left, run.report.oldest_left, run.report.more_left) == (3, 7.0, False)

    async def end(thing: Thing) -> Outcome:
        raise ConfigurationError("nothing works")

    run = run_of()
    with pytest.raises(ConfigurationError):
        await run.transfer_all(things(Thing("a")), end)
    assert run.report.more_left


@pytest.mark.parametrize(("max_files", "max_bytes"), [(3, None), (None, 30)])
async def test_failures_do_not_use_up_a_cap(max_files: int | None, max_bytes: int | None) -> None:
    """Files that always fail must not keep the others from ever going, which wait until that is known."""
    waiting = asyncio.Event()

    async def the_first_ones_fail(thing: Thing) -> Outcome:
        if int(thing.label) < 3:  # as many as the cap takes, and all others are there before they fail
            await waiting.wait()
            raise FileError("broken")
        return await moved(thing)

    run = run_of(max_files=max_files, max_bytes=max_bytes)
    running = asyncio.create_task(run.transfer_all(things(*(Thing(str(n), 10) for n in range(9))), the_first_ones_fail))
    await turns()
    waiting.set()
    await running
    assert (run.report.transferred, run.report.failed) == (3, 3)


async def test_a_run_that_is_cancelled_cancels_its_files() -> None:
    """on_kill ends a run from outside: nothing goes on behind it."""
    cancelled = 0

    async def hang(thing: Thing) -> Outcome:
        nonlocal cancelled
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled += 1
            raise
        raise AssertionError

    run = run_of(concurrency=5)
    running = asyncio.create_task(run.transfer_all(things(*(Thing(str(n)) for n in range(90))), hang))
    await turns(200)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cancelled == 25, "as many as are worked on at once, and none of those that are left"
    assert run.observer.outcomes == []  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_run_that_is_cancelled_while_its_files_wait_for_memory_ends() -> None:
    """The others give their bytes back in the same moment: nobody goes on with them."""
    run = run_of()
    begun: list[str] = []

    async def all_of_the_memory(thing: Thing) -> Outcome:
        async with run.hold_memory(run.budget.total):
            begun.append(thing.label)
            await asyncio.sleep(1)
        return await moved(thing)

    async def main() -> None:
        running = asyncio.create_task(run.transfer_all(things(*(Thing(str(n)) for n in range(40))), all_of_the_memory))
        await asyncio.sleep(0.5)
        running.cancel()
        await asyncio.wait({running}, timeout=1000)
        assert running.cancelled()

    run_in_virtual_time(main())
    assert begun == ["0"]


async def test_progress_is_told_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """With counts, rate and ETA."""
    monkeypatch.setattr("airflow_provider_sftp_s3.engine.run.PROGRESS_SECONDS", 0.01)
    run = run_of(concurrency=1)

    async def slow(thing: Thing) -> Outcome:
        await asyncio.sleep(0.03)
        run.progress.moved_bytes += thing.size
        return await moved(thing)

    await run.transfer_all(things(Thing("a", MiB), Thing("b", MiB)), slow)
    lines = run.observer.progresses  # type: ignore[attr-defined]
    assert lines
    assert all("MiB/s" in line and "files/s" in line and "ETA" in line for line in lines)
    assert any(line.startswith("1 of 2 files") for line in lines)


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """All that the run logs."""
    records: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    log, keeper = logging.getLogger(run_module.__name__), Keeper()
    level = log.level
    log.addHandler(keeper)
    log.setLevel(logging.DEBUG)
    yield records
    log.setLevel(level)
    log.removeHandler(keeper)


async def fails_with(error: BaseException) -> AsyncIterator[Thing | Outcome]:
    yield Thing("1")
    raise error


async def test_what_the_listing_raises_unforeseen_leaves_as_itself() -> None:
    """With its own cause and its own traceback, and in no group."""
    error = RuntimeError("a bug")
    error.__cause__ = KeyError("where it began")
    with pytest.raises(RuntimeError, match="a bug") as caught:
        await run_of().transfer_all(fails_with(error), moved)
    assert caught.value is error
    assert isinstance(error.__cause__, KeyError)
    assert not isinstance(error.__context__, BaseExceptionGroup)
    assert "fails_with" in {entry.name for entry in caught.traceback}


async def test_what_a_worker_raises_unforeseen_leaves_as_itself() -> None:
    """Even where the observer, which is the user's, is what fails."""
    run = run_of()

    def breaks(outcome: Outcome) -> None:
        raise LookupError(outcome.source)

    run.observer.outcome = breaks  # type: ignore[method-assign]
    with pytest.raises(LookupError, match="the file"):
        await run.transfer_all(things(Thing("the file")), moved)


@pytest.mark.parametrize("last", ["the listing", "the file"])
@pytest.mark.parametrize(
    ("of_the_listing", "of_the_file", "raised", "in_the_log"),
    [
        (RuntimeError("a bug\x1b[2J"), ConfigurationError("no bucket"), ConfigurationError, 1),
        (ConnectionFailed("the line was cut"), ConfigurationError("no bucket"), ConfigurationError, 0),
        (RuntimeError("a bug\x1b[2J"), ConnectionFailed("the line was cut"), RuntimeError, 0),
    ],
    ids=["setting and bug", "setting and line", "bug and line"],
)
async def test_of_two_errors_at_once_the_one_to_mend_is_raised_and_a_bug_is_logged(
    logged: list[logging.LogRecord],
    last: str,
    of_the_listing: Exception,
    of_the_file: Exception,
    raised: type[Exception],
    in_the_log: int,
) -> None:
    """Whichever of them came first: a setting goes before all others, and a lost connection after them."""
    met = asyncio.Barrier(2)

    async def listing() -> AsyncIterator[Thing | Outcome]:
        yield Thing("1")
        await _meet(met, last=last == "the listing")
        raise of_the_listing

    async def fails(thing: Thing) -> Outcome:
        await _meet(met, last=last == "the file")
        raise of_the_file

    with pytest.raises(raised):
        await run_of().transfer_all(listing(), fails)
    assert len(logged) == in_the_log
    for record in logged:
        assert r"RuntimeError: a bug\x1b[2J" in record.getMessage()
        assert "\x1b" not in record.getMessage()


async def _meet(met: asyncio.Barrier, *, last: bool) -> None:
    """Go on in one turn of the event loop with whom one meets: who comes last goes on first."""
    for _ in range(10 * last):
        await asyncio.sleep(0)
    await met.wait()


async def test_a_run_that_is_cancelled_is_cancelled() -> None:
    """And not failed with a group of errors."""

    async def hangs(thing: Thing) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(run_of().transfer_all(things(Thing("1")), hangs))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_ctrl_c_is_ctrl_c() -> None:
    """It leaves as itself, past all that is caught."""
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run_of().transfer_all(fails_with(KeyboardInterrupt()), moved))


async def test_an_unforeseen_error_of_a_file_is_logged_with_its_traceback(logged: list[logging.LogRecord]) -> None:
    """At DEBUG, so that it can be mended; what a server may have said in it is spelled out there and in the report."""

    async def breaks(thing: Thing) -> Outcome:
        raise ZeroDivisionError("\x1b[2J" + "x" * 5000)

    run = run_of()
    await run.transfer_all(things(Thing("the file")), breaks)
    (record,) = logged
    assert "the file" in record.getMessage()
    assert record.levelname == "DEBUG"
    assert "Traceback" in record.getMessage()
    assert "in breaks" in record.getMessage()
    reason = run.report.failures[0]["error"]
    assert reason.startswith(r"ZeroDivisionError: \x1b[2Jxxx")
    for text in reason, *record.getMessage().splitlines():
        assert len(text) < 1200
        assert text.isprintable()


@pytest.mark.parametrize(("allowed", "workers", "told"), [(10**6, 379, False), (300, 130, False), (60, 10, True)])
async def test_no_more_files_are_moved_at_once_than_the_system_allows(
    monkeypatch: pytest.MonkeyPatch, allowed: int, workers: int, told: bool
) -> None:
    """Each has two connections at most; it is said where that is fewer than the user has asked for."""
    monkeypatch.setattr(limits, "open_files_allowed", lambda: allowed)
    monkeypatch.setattr(limits, "OTHER_FILES", 40 - len(list(Path("/dev/fd").iterdir())))
    seen = Recorder()
    run: Run[Thing] = Run(Report("pull"), seen, TransferOptions(concurrency=64), Caps(None, None))
    at_once = most = 0

    async def counted(thing: Thing) -> Outcome:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        for _ in range(20):
            await asyncio.sleep(0)
        at_once -= 1
        return await moved(thing)

    await run.transfer_all(things(*(Thing(str(number)) for number in range(1000))), counted)
    assert most <= workers
    assert run._workers == workers
    assert [("ulimit -n" in notice) for notice in seen.notices] == [True] * told


async def test_each_item_is_settled_once() -> None:
    """Done with or not: after the last attempt, behind a cap, and where a cap leaves nothing to do."""
    settled: list[tuple[str, bool]] = []
    begun: list[str] = []

    async def transfer(thing: Thing) -> Outcome:
        begun.append(thing.label)
        if thing.label == "cut" and begun.count("cut") < 3:
            raise ConnectionFailed("cut", connection=1)
        if thing.label == "refused":
            raise FileError("refused")
        if thing.label == "waits":
            return Outcome(thing.label, "skipped", left=True)
        if thing.label == "dry run":
            return Outcome(thing.label, "skipped", "there", left=True)
        return Outcome(thing.label, "skipped") if thing.label == "synced" else await moved(thing)

    async def is_left(thing: Thing) -> bool:
        return thing.label == "over the cap"

    labels = ("cut", "refused", "waits", "dry run", "synced", "moved", "over the cap", "synced, too")
    run = run_of(concurrency=1, max_files=2)
    await run.transfer_all(
        things(*map(Thing, labels), Outcome("decided", "failed")),
        transfer,
        is_left,
        lambda thing, is_done: settled.append((thing.label, is_done)),
    )
    assert begun.count("cut") == 3
    assert dict(settled) == {
        **{"cut": True, "refused": False, "waits": False, "dry run": True, "synced": True, "moved": True},
        **{"over the cap": False, "synced, too": True},
    }
    assert len(settled) == len(labels)
