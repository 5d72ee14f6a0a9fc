"""`done_dir` with a date: each day has a directory of its own, and whole days are purged."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_sftp_s3.engine.errors import TransferError
from airflow_provider_sftp_s3.engine.settings import TaskTry
from tests.support.engine import Engine, report_of
from tests.support.trees import tree

pytestmark = pytest.mark.integration

DATED = ".done/{date}"
RETENTION = 7 * 86_400.0
#: long before any stamp
WHEN = 10**9


def on(day: str) -> TaskTry:
    return TaskTry("dag", day, "run", "task", -1, 1)


def put(place: Path, *names: str, mtime: float = WHEN) -> None:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(name)
        os.utime(place / name, (mtime, mtime))


def days_ago(days: int) -> str:
    return f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d}"


@pytest.fixture
def inbox(engine: Engine) -> Path:
    return engine.sftp.root / "in"


async def test_each_day_has_its_directory(engine: Engine, inbox: Path) -> None:
    """Of one name there is a file for each day; a second run of the day replaces its own."""
    for day, names in (("2026-01-30", ("a", "sub/b")), ("2026-01-31", ("a",)), ("2026-01-31", ("a", "c"))):
        put(inbox, *names)
        assert (await engine.pull(done_dir=DATED, task_try=on(day))).transferred == len(names)
    assert set(tree(inbox)) == {
        *(".done/2026-01-30/a", "sub/.done/2026-01-30/b"),
        *(".done/2026-01-31/a", ".done/2026-01-31/c"),
    }
    assert (await engine.pull(done_dir=DATED, task_try=on("2026-02-01"))).transferred == 0
    assert set(engine.s3.objects(engine.bucket)) == {"a", "sub/b", "c"}


async def test_without_a_dag_run_it_is_today(engine: Engine, inbox: Path) -> None:
    put(inbox, "a")
    today = {days_ago(0)}
    await engine.pull(done_dir=DATED)
    today.add(days_ago(0))  # it may be midnight
    ((name, _),) = tree(inbox).items()
    assert name in {f".done/{day}/a" for day in today}


@pytest.mark.parametrize("sticks", [True, False], ids=["stamps", "no stamps"])
async def test_whole_days_are_purged(engine: Engine, inbox: Path, sticks: bool) -> None:
    """Where nobody can set mtimes, too: the files have theirs of long ago. One that was moved later stays."""
    today, over, not_over = days_ago(0), days_ago(9), days_ago(6)
    stamp = (datetime.now(UTC) - timedelta(days=9)).timestamp() if sticks else WHEN
    put(inbox, f".done/{over}/a", f"sub/.done/{over}/b", f".done/{not_over}/c", mtime=stamp)
    put(inbox, f".done/{days_ago(12)}", mtime=stamp)  # a file that is called so, from before
    put(inbox, f".done/{over}/moved later", mtime=datetime.now(UTC).timestamp() - 60)
    put(inbox, f".done/{over}/sub/of a user", ".done/2026-02-30/no day", ".done/other/of a user", "new")
    report = await engine.pull(done_dir=DATED, retention=RETENTION, task_try=on(today))
    assert (report.transferred, report.purged, report.failed) == (1, 3, 0)
    assert set(tree(inbox)) == {
        *(f".done/{not_over}/c", f".done/{over}/moved later", f".done/{over}/sub/of a user"),
        *(".done/2026-02-30/no day", ".done/other/of a user", f".done/{today}/new"),
    }
    assert not (inbox / f"sub/.done/{over}").exists()


async def test_nothing_of_a_day_is_purged_without_it(engine: Engine, inbox: Path) -> None:
    """No retention, a dry run, a plain `done_dir`, whose directories may be called as a user likes."""
    put(inbox, f".done/{days_ago(9)}/a")
    before = set(tree(inbox))
    await engine.pull(done_dir=DATED)
    assert (await engine.pull(done_dir=DATED, retention=RETENTION, dry_run=True)).skipped == {"dry run (purge)": 1}
    assert (await engine.pull(retention=RETENTION)).purged == 0
    assert set(tree(inbox)) == before


async def test_a_link_is_no_directory_of_a_day(engine: Engine, inbox: Path) -> None:
    """Neither moved into nor purged: it leads elsewhere. The file stays, and S3 may have it."""
    if not engine.sftp.lists_links:
        return  # it shows nobody that there is a link
    elsewhere, today, yesterday = engine.sftp.root / "elsewhere", days_ago(0), days_ago(1)
    put(elsewhere, "theirs")
    put(inbox, "a", ".done/before")
    for day in (today, days_ago(9)):
        (inbox / ".done" / day).symlink_to("../../elsewhere")
    with pytest.raises(TransferError, match="is no directory but a link"):
        await engine.pull(done_dir=DATED, task_try=on(today))
    await report_of(engine.pull(done_dir=DATED, retention=RETENTION, task_try=on(yesterday), exclude="a"))
    assert set(tree(elsewhere)) == {"theirs"}
    assert (inbox / "a").exists()


async def test_what_is_deleted_has_no_day(engine: Engine, inbox: Path) -> None:
    put(inbox, "a")
    assert (await engine.pull(done_dir=DATED, after_transfer="delete")).transferred == 1
    assert list(inbox.iterdir()) == []


async def test_shards_share_the_days(engine: Engine, inbox: Path) -> None:
    """Each purges its own files, and the last one the directory."""
    names, over = [f"{number}" for number in range(20)], days_ago(9)
    put(inbox, *names, *(f".done/{over}/{name}" for name in names))
    reports = [
        await engine.pull(done_dir=DATED, retention=RETENTION, shard=f"{number}/3", task_try=on("2026-01-31"))
        for number in (1, 2, 3)
    ]
    assert [sum(getattr(report, what) for report in reports) for what in ("transferred", "purged")] == [20, 20]
    assert set(tree(inbox)) == {f".done/2026-01-31/{name}" for name in names}
    assert not (inbox / ".done" / over).exists()


async def test_older_files_of_one_day_are_set_aside(engine: Engine, inbox: Path) -> None:
    """With ``done_conflict="rename"``, within the day; and they are purged with it."""
    over = days_ago(9)
    for _ in range(2):
        put(inbox, "a")
        await engine.pull(done_dir=DATED, done_conflict="rename", task_try=on(over))
    done = inbox / ".done" / over
    assert len(list(done.iterdir())) == 2
    for path in done.iterdir():
        os.utime(path, (WHEN, WHEN))
    assert (await engine.pull(done_dir=DATED, done_conflict="rename", retention=RETENTION)).purged == 2
    assert not done.exists()
