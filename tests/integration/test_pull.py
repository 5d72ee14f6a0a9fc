"""Pull, against every real SFTP server: what a tree becomes in S3, and what is left on the server."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, PlaceMissing, TransferError
from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from airflow_provider_sftp_s3.engine.run import PROGRESS_SECONDS
from airflow_provider_sftp_s3.engine.s3.bucket import SMALL
from tests.support.engine import Engine
from tests.support.faulty_sftp import ListingHasOtherAttributes, ReplyIsLost
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer
from tests.support.trees import WHEN, done, put, tree

pytestmark = pytest.mark.integration


@pytest.fixture
def inbox(engine: Engine) -> Path:
    return engine.sftp.root / "in"


async def test_a_tree_arrives_with_its_structure_and_moves_to_done(engine: Engine, inbox: Path) -> None:
    """Recursively, empty files and odd names included; each file goes into .done of its own directory."""
    files = {
        "a.txt": b"alpha",
        "sub/b.bin": os.urandom(3 * MiB),
        "sub/deeper/empty": b"",
        "sub/with space + % # ümläut 😀.txt": b"odd",
        "sub/.hidden": b"hidden",
    }
    put(inbox, files)
    (inbox / "nothing here").mkdir()
    report = await engine.pull(s3_prefix="land")
    assert engine.s3.objects(engine.bucket) == {f"land/{name}": content for name, content in files.items()}
    assert tree(inbox) == done(files)
    assert not list((inbox / "nothing here").iterdir()), "an empty directory gets no done directory"
    assert (report.transferred, report.failed, report.bytes) == (5, 0, sum(map(len, files.values())))
    assert sorted(report.targets) == sorted(f"s3://{engine.bucket}/land/{name}" for name in files)


async def test_a_large_file_arrives_whole_in_parts(engine: Engine, inbox: Path) -> None:
    """Above part_size it goes as a multipart upload, and is the same bytes."""
    content = os.urandom(23 * MiB + 17)
    put(inbox, {"big.bin": content})
    await engine.pull()
    assert engine.s3.objects(engine.bucket)["big.bin"] == content
    head = engine.s3.client().head_object(Bucket=engine.bucket, Key="big.bin")
    assert head["ETag"].endswith('-3"')
    assert head["Metadata"]["mtime"] == str(WHEN)


@pytest.mark.parametrize("bound", [SMALL, TransferOptions().part_size], ids=["SMALL", "part_size"])
async def test_objects_of_all_sizes_are_alike(engine: Engine, inbox: Path, bound: int) -> None:
    """Where one way to upload ends and the next begins: the same bytes, headers and names of metadata."""
    files = {f"{size}.bin": os.urandom(size) for size in (bound - 1, bound, bound + 1)}
    put(inbox, files)
    await engine.pull()
    assert engine.s3.objects(engine.bucket) == files
    heads = [engine.s3.client().head_object(Bucket=engine.bucket, Key=name) for name in files]
    assert len({(head["ContentType"], *sorted(head["Metadata"])) for head in heads}) == 1


async def test_objects_carry_mtime_and_mark(engine: Engine, inbox: Path) -> None:
    """The mtime as rclone writes it, and the mark, so that an overlapping push does not send them back."""
    put(inbox, {"a.txt": b"a"}, mtime=1_234_567_890)
    await engine.pull(s3_prefix="both")
    metadata = engine.s3.client().head_object(Bucket=engine.bucket, Key="both/a.txt")["Metadata"]
    assert metadata["mtime"] == "1234567890"
    assert metadata["synced"] == "true"
    for mark in ("metadata", "tag"):
        assert (await engine.push(s3_prefix="both", mark=mark)).skipped == {"synced": 1}
    assert tree(engine.sftp.root / "out") == {}


async def test_a_second_run_finds_nothing(engine: Engine, inbox: Path) -> None:
    """Done files are not listed again."""
    put(inbox, {"a.txt": b"a", "sub/b.txt": b"b"})
    await engine.pull()
    again = await engine.pull()
    assert (again.transferred, again.failed, sum(again.skipped.values())) == (0, 0, 0)


async def test_a_file_of_the_same_name_in_done_is_replaced(engine: Engine, inbox: Path) -> None:
    """The newer file wins in S3 and in .done."""
    put(inbox, {"a.txt": b"old"})
    await engine.pull()
    put(inbox, {"a.txt": b"newer"})
    await engine.pull()
    assert engine.s3.objects(engine.bucket) == {"a.txt": b"newer"}
    assert tree(inbox) == {".done/a.txt": b"newer"}


async def test_a_file_moved_back_by_hand_is_pulled_again(engine: Engine, inbox: Path) -> None:
    """As sftp-lambda promises the server's owner."""
    put(inbox, {"a.txt": b"again"})
    await engine.pull()
    engine.s3.client().delete_object(Bucket=engine.bucket, Key="a.txt")
    (inbox / ".done" / "a.txt").rename(inbox / "a.txt")
    assert (await engine.pull()).transferred == 1
    assert engine.s3.objects(engine.bucket) == {"a.txt": b"again"}


async def test_retention_counts_from_the_transfer(engine: Engine, inbox: Path) -> None:
    """Not from the file's age; links and other names in .done are left alone."""
    put(inbox, {"old.txt": b"years old", "sub/old.txt": b"too"})
    await engine.pull(retention=3600)
    assert (await engine.pull(retention=3600)).purged == 0
    done = inbox / ".done" / "old.txt"
    assert abs(done.stat().st_mtime - time.time()) < 120
    a_day_ago = time.time() - 86400
    os.utime(done, (a_day_ago, a_day_ago))
    (inbox / ".done" / "directory").mkdir()
    (inbox / ".done" / "link").symlink_to(inbox / "sub")
    assert (await engine.pull(retention=0)).purged == 0
    assert (await engine.pull()).purged == 0
    report = await engine.pull(retention=3600)
    assert (report.purged, report.failed) == (1, 0)
    assert sorted(path.name for path in (inbox / ".done").iterdir()) == ["directory", "link"]
    assert tree(inbox)["sub/.done/old.txt"] == b"too"


async def test_include_and_exclude(engine: Engine, inbox: Path) -> None:
    """By name, or by path where a pattern has a slash; what is left stays where it is."""
    put(inbox, {"a.csv": b"1", "a.tmp": b"2", "x/b.csv": b"3", "x/y/c.csv": b"4", "d.txt": b"5"})
    report = await engine.pull(include=["*.csv", "*.tmp"], exclude=["*.tmp", "x/y/*"])
    assert set(engine.s3.objects(engine.bucket)) == {"a.csv", "x/b.csv"}
    assert report.skipped == {"excluded": 2, "not included": 1}
    assert {"a.tmp", "x/y/c.csv", "d.txt"} <= set(tree(inbox))


async def test_young_files_wait(engine: Engine, inbox: Path) -> None:
    """Somebody may still be writing them."""
    put(inbox, {"young.txt": b"y"}, mtime=time.time() - 5)
    put(inbox, {"old.txt": b"o"}, mtime=time.time() - 120)
    report = await engine.pull(min_age=60)
    assert (report.transferred, report.skipped) == (1, {"young": 1})
    assert set(tree(inbox)) == {"young.txt", ".done/old.txt"}


@pytest.mark.slow
async def test_files_from_the_future_get_two_looks(
    engine: Engine, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where clocks differ much, a file that stands still for min_age is taken, and one that moves is not."""
    ahead = time.time() + 7200
    put(inbox, {"still.txt": b"s", "moves.txt": b"m"}, mtime=ahead)

    sleep = asyncio.sleep

    async def append_and_sleep(seconds: float, *rest: object) -> None:
        if seconds == 1.5:  # the tree has been listed
            put(inbox, {"moves.txt": b"more"}, mtime=ahead + 1)
            engine.sftp.refresh()
        await sleep(seconds, *rest)

    monkeypatch.setattr(asyncio, "sleep", append_and_sleep)
    report = await engine.pull(min_age=1.5)
    assert (report.transferred, report.skipped) == (1, {"young": 1})
    assert engine.s3.objects(engine.bucket) == {"still.txt": b"s"}
    (notice,) = [notice for notice in engine.seen.notices if "ahead of the clock" in notice]
    assert notice.startswith("2 files have no mtime, or one that is more than min_age ahead")


async def test_files_a_little_ahead_are_young(engine: Engine, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait for the next run, and hold up none of the others: the run does not pause for them."""
    put(inbox, {"ahead.txt": b"a"}, mtime=time.time() + 20)
    put(inbox, {"old.txt": b"o"})
    paused = noted_pauses(monkeypatch)
    report = await engine.pull(min_age=30)
    assert (report.transferred, report.skipped) == (1, {"young": 1})
    assert max(paused, default=0) < 20


async def test_the_second_look_is_a_minute_later_at_most(
    engine: Engine, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long min_age is."""
    put(inbox, {"ahead.txt": b"a"}, mtime=time.time() + 10**7)
    paused = noted_pauses(monkeypatch)
    report = await engine.pull(min_age=86_400)
    assert report.transferred == 1
    assert max(paused) == 60
    assert any("within 60 s" in notice for notice in engine.seen.notices)


def noted_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return what is slept, in seconds; what is longer than a second and no ticker's is over at once."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float, *rest: object) -> None:
        if seconds >= 1 and seconds != PROGRESS_SECONDS:
            pauses.append(seconds)
            seconds = 0
        await sleep(seconds, *rest)

    monkeypatch.setattr(asyncio, "sleep", note)
    return pauses


async def test_delete_leaves_nothing_behind(engine: Engine, inbox: Path) -> None:
    """Neither the files nor a done directory."""
    put(inbox, {"a.txt": b"a", "sub/b.txt": b"b"})
    report = await engine.pull(after_transfer="delete")
    assert report.transferred == 2
    assert engine.s3.objects(engine.bucket) == {"a.txt": b"a", "sub/b.txt": b"b"}
    assert tree(inbox) == {}
    assert not (inbox / ".done").exists()


async def test_keep_skips_what_s3_already_has(engine: Engine, inbox: Path) -> None:
    """By size and mtime; a file that has changed in either goes again."""
    put(inbox, {"a.txt": b"a", "b.txt": b"b", "c.txt": b"c"})
    assert (await engine.pull(after_transfer="keep")).transferred == 3
    put(inbox, {"a.txt": b"longer"})
    put(inbox, {"b.txt": b"B"}, mtime=WHEN + 1)
    report = await engine.pull(after_transfer="keep")
    assert (report.transferred, report.skipped) == (2, {"unchanged": 1})
    assert engine.s3.objects(engine.bucket) == {"a.txt": b"longer", "b.txt": b"B", "c.txt": b"c"}
    assert set(tree(inbox)) == {"a.txt", "b.txt", "c.txt"}


async def test_the_oldest_go_first(engine: Engine, inbox: Path) -> None:
    """Of the whole tree, with a cap; of the same age by name."""
    put(inbox, {"a": b"1", "b": b"2", "sub/c": b"3", "sub/d": b"4"})
    for name, mtime in (("b", 5), ("sub/c", 3), ("sub/d", 3), ("a", 4)):
        os.utime(inbox / name, (10**9 + mtime,) * 2)
    arrived: list[str] = []
    for _ in range(4):
        before = set(engine.s3.objects(engine.bucket))
        assert (await engine.pull(order="oldest", max_files=1)).transferred == 1
        arrived += set(engine.s3.objects(engine.bucket)) - before
    assert arrived == ["sub/c", "sub/d", "a", "b"]


async def test_sizes_and_ages_outside_the_bounds_stay(engine: Engine, inbox: Path) -> None:
    """They are skipped with the reason, are not left for the next run, and are where they were."""
    put(inbox, {"small": b"1", "good": b"12345", "large": b"1234567890", "old": b"12345"})
    os.utime(inbox / "old", (10**8, 10**8))
    report = await engine.pull(min_size=2, max_size=9, max_age=time.time() - 5e8)
    assert report.skipped == {"too small": 1, "too large": 1, "too old": 1}
    assert (report.transferred, report.left) == (1, 0)
    assert engine.s3.objects(engine.bucket) == {"good": b"12345"}
    assert {"small", "large", "old"} < set(tree(inbox))


async def test_caps_leave_the_rest_for_the_next_run(engine: Engine, inbox: Path) -> None:
    """max_files and max_bytes."""
    put(inbox, {f"{number}.txt": b"12345" for number in range(6)})
    os.utime(inbox / "5.txt", (time.time() - 1.5e9,) * 2)
    report = await engine.pull(max_files=2)
    assert (report.transferred, report.left, report.more_left) == (2, 4, False)
    assert report.oldest_age == pytest.approx(1.5e9, abs=600)
    report = await engine.pull(max_bytes=12)
    assert (report.transferred, report.left) == (2, 2)
    put(inbox, {"young.txt": b"1"})
    os.utime(inbox / "young.txt")
    report = await engine.pull(min_age=1000.0)
    assert (report.transferred, report.left) == (2, 1)
    assert report.oldest_age == pytest.approx(0, abs=600)
    report = await engine.pull()
    assert (report.transferred, report.left, report.oldest_age) == (1, 0, None)
    assert len(engine.s3.objects(engine.bucket)) == 7


async def test_dry_run_lists_and_touches_nothing(engine: Engine, inbox: Path) -> None:
    """Not even a done directory, and nothing is purged."""
    put(inbox, {"a.txt": b"a", ".done/ancient.txt": b"x"})
    before = {str(path): path.stat().st_mtime_ns for path in inbox.rglob("*")}
    report = await engine.pull(s3_prefix="in", dry_run=True, retention=10)
    assert report.targets == [f"s3://{engine.bucket}/in/a.txt"]
    assert (report.transferred, report.purged) == (0, 0)
    assert report.skipped == {"dry run": 1, "dry run (purge)": 1}
    assert engine.s3.objects(engine.bucket) == {}
    assert {str(path): path.stat().st_mtime_ns for path in inbox.rglob("*")} == before


async def test_another_done_directory(engine: Engine, inbox: Path) -> None:
    """A name of the user's choice; .done is then a directory like any other."""
    put(inbox, {"a.txt": b"a", ".done/b.txt": b"b"})
    await engine.pull(done_dir="processed")
    assert tree(inbox) == {"processed/a.txt": b"a", ".done/processed/b.txt": b"b"}
    assert set(engine.s3.objects(engine.bucket)) == {"a.txt", ".done/b.txt"}


async def test_what_is_no_file_is_skipped_with_a_reason(engine: Engine, inbox: Path) -> None:
    """Links are not followed, a FIFO is not opened, a push's unfinished file is not pulled."""
    put(inbox, {"a.txt": b"a", ".0123456789abcdef.part": b"half"})
    (inbox / "link").symlink_to("a.txt")
    (inbox / "loop").symlink_to(".")
    os.mkfifo(inbox / "fifo")
    os.utime(inbox / "fifo", (WHEN, WHEN))
    report = await engine.pull()
    assert report.transferred == 1
    links = {"link": 2, "special file": 1} if engine.sftp.lists_links else {}
    assert report.skipped == {"unfinished": 1, **links}


@pytest.mark.parametrize("what", ["link", "file"])
async def test_a_done_that_is_no_directory_is_not_used(engine: Engine, inbox: Path, what: str) -> None:
    """A link would lead the files elsewhere: its directory's files fail and stay, others go on."""
    elsewhere = engine.sftp.root / "elsewhere"
    elsewhere.mkdir()
    put(inbox, {"bad/a.txt": b"a", "good/b.txt": b"b"})
    if what == "link":
        (inbox / "bad" / ".done").symlink_to(elsewhere)
    else:
        (inbox / "bad" / ".done").write_bytes(b"")
    if what == "link" and not engine.sftp.lists_links:
        # The server follows links that no client can see: the file is where its owner has led it, and in S3.
        assert (await engine.pull()).transferred == 2
        assert tree(elsewhere) == {"a.txt": b"a"}
        assert engine.s3.objects(engine.bucket) == {"bad/a.txt": b"a", "good/b.txt": b"b"}
        return
    with pytest.raises(TransferError, match="no directory") as failed:
        await engine.pull()
    assert (failed.value.report.transferred, failed.value.report.failed) == (1, 1)
    assert list(elsewhere.iterdir()) == []
    assert (inbox / "bad" / "a.txt").read_bytes() == b"a"
    assert set(engine.s3.objects(engine.bucket)) == {"good/b.txt"}


async def test_a_server_that_gives_no_permissions_is_read_by_its_long_names(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """As `ls -l` would show them: some servers on Windows give nothing else."""
    put(sftp_server.root, {"in/a.txt": b"a", "in/sub/b.txt": b"b"})
    (sftp_server.root / "in/link").symlink_to("a.txt")
    sftp_server.fault = ListingHasOtherAttributes(lambda name: {"permissions": None})
    report = await Engine(sftp_server, s3, bucket).pull()
    assert s3.objects(bucket) == {"a.txt": b"a", "sub/b.txt": b"b"}
    assert report.skipped == {"link": 1}


async def test_a_name_that_is_not_utf8_fails_alone(engine: Engine, inbox: Path) -> None:
    """It cannot be a key; its siblings go, and the directory is listed all the same."""
    put(inbox, {"a.txt": b"a"})
    bad = os.fsencode(inbox) + b"/\xff\xfe.txt"
    Path(os.fsdecode(bad)).write_bytes(b"bad")
    os.utime(bad, (WHEN, WHEN))
    with pytest.raises(TransferError, match="not UTF-8") as failed:
        await engine.pull()
    assert (failed.value.report.transferred, failed.value.report.failed) == (1, 1)
    assert Path(os.fsdecode(bad)).read_bytes() == b"bad"
    assert (await engine.pull(exclude="*.txt")).skipped == {"excluded": 1}


async def test_a_missing_directory_is_a_wrong_setting(engine: Engine) -> None:
    """Not an empty tree, and not worth a retry."""
    with pytest.raises(PlaceMissing, match="sftp_path: there is no directory"):
        await engine.pull("nowhere")


async def test_a_file_instead_of_a_directory_is_a_wrong_setting(engine: Engine, inbox: Path) -> None:
    """sftp_path is a directory."""
    put(inbox, {"a.txt": b"a"})
    with pytest.raises(PlaceMissing, match="sftp_path"):
        await engine.pull("in/a.txt")


async def test_a_missing_bucket_is_a_wrong_setting(engine: Engine, inbox: Path) -> None:
    """Nothing is moved."""
    put(inbox, {"a.txt": b"a"})
    engine.bucket = "no-such-bucket"
    with pytest.raises(PlaceMissing, match="no bucket 'no-such-bucket'"):
        await engine.pull()
    assert set(tree(inbox)) == {"a.txt"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"after_transfer": "burn"}, "after_transfer must be one of move, delete, keep, not 'burn'"),
        ({"done_dir": "a/b"}, "done_dir must be a name"),
        ({"done_dir": ".."}, "done_dir must be a name"),
        ({"done_dir": ""}, "done_dir must be a name"),
        ({"retention": -1}, "retention must be 0 seconds or more"),
        ({"min_age": -1}, "min_age must be 0 seconds or more"),
        ({"max_files": 0}, "max_files must be a whole number above 0"),
        ({"max_bytes": 1.5}, "max_bytes must be a whole number above 0"),
        ({"s3_prefix": "a//b"}, "s3_prefix"),
        ({"shard": "9/8"}, "shard must be like '2/8'"),
        ({"include": ""}, "include must be a glob"),
    ],
)
async def test_a_wrong_setting_is_named(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, settings: dict[str, Any], message: str
) -> None:
    """With what is allowed."""
    (sftp_server.root / "in").mkdir()
    with pytest.raises(ConfigurationError, match=message):
        await Engine(sftp_server, s3, bucket).pull(**settings)


async def test_a_file_whose_stamp_was_not_answered_is_no_other_file(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """The line is cut right after the mtime was set: the file in the done directory is still the one that was moved."""
    put(sftp_server.root, {"in/a": b"a"})
    sftp_server.fault = ReplyIsLost(("SETSTAT",))
    assert (await Engine(sftp_server, s3, bucket).pull()).transferred == 1
    assert tree(sftp_server.root / "in") == {".done/a": b"a"}
