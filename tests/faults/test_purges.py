"""The purge of done files: never by a time that may be wrong."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine import clock, listing
from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.s3 import bucket as bucket_module
from tests.faults import table
from tests.faults.harness import Together, make_old, read_tree, run_pull, write_tree
from tests.support import faulty_sftp as faulty
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = [pytest.mark.faults, pytest.mark.loops]

DAY = 86_400.0
OLD = {"one": b"1", "sub/two": b"22"}


def nothing_is_purged(server: AsyncsshServer, ran: Any, before: dict[str, bytes]) -> None:
    table.checked(len(before))
    assert ran.report is None or ran.report.purged == 0
    table.none_is("lost", [name for name in before if name not in read_tree(server.root)])


async def test_a_server_whose_mtimes_do_not_stick(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """It answers OK and sets nothing: what was moved a moment ago looks 400 days old."""
    write_tree(sftp_server.root, OLD, age=400 * DAY)
    sftp_server.fault = faulty.SetstatDoesNothing()
    (await run_pull(sftp_server, s3, bucket, retention=7 * DAY)).done()
    for empties in (False, True):  # S3's word on the mtime is one guard, and what the server shows is the other
        if empties:
            s3.empty(bucket)
        before = read_tree(sftp_server.root)
        ran = await run_pull(sftp_server, s3, bucket, retention=7 * DAY)
        ran.done()
        nothing_is_purged(sftp_server, ran, before)
        assert len(ran.watcher.notices) == empties


@pytest.mark.parametrize("mtime", [0, 10**9])
async def test_a_listing_that_states_other_mtimes_than_files_have(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, mtime: int
) -> None:
    """By the listing all is old that was moved a moment ago, and mtimes stick: only the files say that it is not."""
    write_tree(sftp_server.root, OLD, age=400 * DAY)
    sftp_server.fault = faulty.ListingStates(lambda _: {"mtime": mtime, "atime": mtime})
    (await run_pull(sftp_server, s3, bucket, retention=7 * DAY)).done()
    before = read_tree(sftp_server.root)
    ran = await run_pull(sftp_server, s3, bucket, retention=7 * DAY)
    nothing_is_purged(sftp_server, ran, before)
    assert ran.done().skipped == {"younger than it is listed, not purged": len(OLD)}
    for name in before:
        make_old(sftp_server.root / name, 8 * DAY)
    assert (await run_pull(sftp_server, s3, bucket, retention=7 * DAY)).done().purged == len(OLD)


async def test_a_server_whose_mtimes_are_always_the_same(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """What is set is not there afterwards, though it is another one than the listing has."""
    done_files(sftp_server.root)
    before = read_tree(sftp_server.root)
    constant = faulty.AttributesAre(lambda _: {"mtime": 10**9, "atime": 10**9})
    sftp_server.fault = Together(faulty.SetstatDoesNothing(), constant)
    ran = await run_pull(sftp_server, s3, bucket, retention=DAY)
    ran.done()
    nothing_is_purged(sftp_server, ran, before)


@pytest.mark.parametrize("s3_minds", [True, False])
async def test_a_clock_that_is_a_year_ahead(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, s3_minds: bool
) -> None:
    """Where S3 refuses all, both clocks are named; where it does not, nothing is stamped nor purged, and it is said."""
    write_tree(sftp_server.root, OLD)
    (await run_pull(sftp_server, s3, bucket, retention=7 * DAY)).done()
    before = read_tree(sftp_server.root)
    a_year_ahead(monkeypatch)
    if s3_minds:
        s3.before(lambda request: (403, "RequestTimeTooSkewed"))
    else:
        write_tree(sftp_server.root, {"three": b"3"}, age=400 * DAY)
    ran = await run_pull(sftp_server, s3, bucket, retention=7 * DAY)
    nothing_is_purged(sftp_server, ran, before)
    years = {time.gmtime(time.time() + more).tm_year for more in (0, 365 * DAY)}
    if s3_minds:
        assert isinstance(ran.error, ConfigurationError)
        said = str(ran.error)
    else:
        ran.done()
        (said,) = ran.watcher.notices
        assert time.time() - (sftp_server.root / ".done" / "three").stat().st_mtime > 300 * DAY, "it has no stamp"
    assert all(f"{year}-" in said for year in years), said


async def test_a_young_file_is_young_whatever_the_clock(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its age is counted by S3's time, too."""
    write_tree(sftp_server.root, {"one": b"being written"}, age=0)
    a_year_ahead(monkeypatch)
    ran = await run_pull(sftp_server, s3, bucket, min_age=30.0)
    assert ran.done().skipped == {"young": 1}


def a_year_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the clock of the engine, and not that of the servers in this process."""
    ahead = SimpleNamespace(time=lambda: time.time() + 365 * DAY, monotonic=time.monotonic)
    modules: tuple[ModuleType, ...] = (clock, bucket_module, listing)
    for module in modules:
        monkeypatch.setattr(module, "time", ahead)


async def test_a_run_in_which_all_failed_purges_nothing(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """Whatever is wrong may be wrong with the time as well."""
    done_files(sftp_server.root)
    before = read_tree(sftp_server.root)
    write_tree(sftp_server.root, {"new": b"3"})
    s3.before(lambda request: (403, "AccessDenied") if request.method == "PUT" and request.key == "new" else None)
    ran = await run_pull(sftp_server, s3, bucket, retention=DAY)
    assert set(ran.failures) == {"new"}
    nothing_is_purged(sftp_server, ran, before)


async def test_a_done_file_that_was_never_stamped_is_stamped(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Its run ended in that moment: it has the mtime that S3 knows as the file's own. It is purged in due time."""
    write_tree(sftp_server.root, OLD, age=400 * DAY)
    (await run_pull(sftp_server, s3, bucket)).done()
    for name in OLD:
        done = sftp_server.root / Path(name).parent / ".done" / Path(name).name
        make_old(done, time.time() - int(s3_mtime(s3, bucket, name)))
    before = read_tree(sftp_server.root)
    ran = await run_pull(sftp_server, s3, bucket, retention=7 * DAY)
    ran.done()
    nothing_is_purged(sftp_server, ran, before)
    done = sftp_server.root / ".done" / "one"
    assert time.time() - done.stat().st_mtime < 3600
    make_old(done, 8 * DAY)
    assert (await run_pull(sftp_server, s3, bucket, retention=7 * DAY)).done().purged == 1


def s3_mtime(s3: S3Server, bucket: str, key: str) -> str:
    return str(s3.client().head_object(Bucket=bucket, Key=key)["Metadata"]["mtime"])


async def test_what_cannot_be_looked_up_is_not_purged(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """With no right to look at objects; the notice names it."""
    done_files(sftp_server.root)
    before = read_tree(sftp_server.root)

    @s3.before
    def denied(request: S3Request) -> tuple[int, str] | None:
        return (403, "AccessDenied") if request.method == "HEAD" else None

    ran = await run_pull(sftp_server, s3, bucket, retention=DAY)
    ran.done()
    nothing_is_purged(sftp_server, ran, before)
    assert len([notice for notice in ran.watcher.notices if "s3:GetObject" in notice]) == 1


async def test_what_is_old_is_purged(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """S3 has forgotten it, or has it with another mtime than its stamp."""
    done_files(sftp_server.root)
    assert (await run_pull(sftp_server, s3, bucket, retention=DAY)).done().purged == len(OLD)
    assert read_tree(sftp_server.root) == {}


def done_files(root: Path) -> None:
    """Put done files there that are ten days old."""
    write_tree(root, {f"{Path(name).parent}/.done/{Path(name).name}": data for name, data in OLD.items()}, age=10 * DAY)
