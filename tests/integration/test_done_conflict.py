"""The same name again in the done directory: Monday's file is there still when Tuesday's comes."""

from __future__ import annotations

import asyncio
import os
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import TransferError
from tests.faults.harness import Acts
from tests.support.engine import Engine
from tests.support.faulty_sftp import ReplyIsLost, SetstatDoesNothing
from tests.support.trees import WHEN, put, tree

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("mode", ["replace", "rename"])
async def test_an_older_one_is_replaced_or_renamed(engine: Engine, mode: str) -> None:
    """To its name with its mtime, which is the time of its move; of one name and one time there are several."""
    root = engine.sftp.root / "in"
    put(root, {"sub/.done/a.csv": b"monday"})
    put(root, {f"sub/.done/a.csv.{WHEN}": b"sunday"})
    put(root, {"sub/a.csv": b"tuesday"})
    await engine.pull(done_conflict=mode)
    assert engine.s3.objects(engine.bucket) == {"sub/a.csv": b"tuesday"}
    older = {f"sub/.done/a.csv.{WHEN}-1": b"monday"} if mode == "rename" else {}
    assert tree(root) == {"sub/.done/a.csv": b"tuesday", f"sub/.done/a.csv.{WHEN}": b"sunday", **older}


async def test_each_day_has_its_own(fast: Engine) -> None:
    """However many runs; nothing else is in the done directory."""
    root = fast.sftp.root / "in"
    for day in range(4):
        put(root, {"a": f"day {day}".encode()}, WHEN + day)
        await fast.pull(done_conflict="rename")
    files = tree(root)
    assert sorted(files.values()) == [f"day {day}".encode() for day in range(4)]
    assert all(re.fullmatch(r"\.done/a(\.\d{10}(-\d)?)?", name) for name in files)
    assert files[".done/a"] == b"day 3"


@pytest.mark.parametrize(
    ("lost", "nth"), [("RENAME", 1), ("RENAME", 2), ("RENAME", 3), ("RENAME", 4), ("LSTAT", 1), ("LSTAT", 2)]
)
async def test_an_answer_that_is_lost_costs_no_file(fast: Engine, lost: str, nth: int) -> None:
    """Wherever the line is cut: both days are there in the end, each once."""
    root = fast.sftp.root / "in"
    put(root, {".done/a": b"monday"})
    put(root, {"a": b"tuesday"}, WHEN + 5)
    seen = 0

    class Loses(ReplyIsLost):
        async def answer(self, server: Any, request: Any, proceed: Any) -> Any:
            nonlocal seen
            seen += request.name == lost
            self.times = int(request.name == lost and seen == nth)
            return await super().answer(server, request, proceed)

    fast.sftp.fault = Loses((lost,), 0)  # type: ignore[attr-defined]
    await fast.pull(done_conflict="rename")
    assert sorted(tree(root).values()) == [b"monday", b"tuesday"]
    assert set(tree(root)) == {".done/a", f".done/a.{WHEN}"}


async def test_one_that_comes_while_it_is_moved_is_not_replaced(fast: Engine) -> None:
    """Another run moves a file of that name at the same time: the plain RENAME tells."""
    root = fast.sftp.root / "in"
    put(root, {"a": b"ours"})

    def other(_: Any) -> None:
        put(root, {".done/a": b"of another run"}, WHEN + 9)

    fast.sftp.fault = Acts(other, ("RENAME",), where=lambda request: request.path == "/in/a")  # type: ignore[attr-defined]
    await fast.pull(done_conflict="rename")
    assert tree(root) == {".done/a": b"ours", f".done/a.{WHEN + 9}": b"of another run"}


async def test_what_is_renamed_is_purged_no_sooner(fast: Engine) -> None:
    """A time that may be the file's own is no time of its transfer: it is stamped first."""
    root = fast.sftp.root / "in"
    put(root, {f".done/a.{WHEN}": b"never stamped"})
    put(root, {f".done/b.{WHEN}": b"stamped since"}, WHEN + 86400)
    report = await fast.pull(done_conflict="rename", retention=3600)
    assert (report.purged, report.skipped) == (1, {"not stamped until now, not purged": 1})
    assert set(tree(root)) == {f".done/a.{WHEN}"}
    os.utime(root / f".done/a.{WHEN}", (WHEN + 1, WHEN + 1))
    assert (await fast.pull(done_conflict="rename", retention=3600)).purged == 1


async def test_where_mtimes_do_not_stick_nothing_is_lost_either(fast: Engine) -> None:
    """The older one has the mtime that it has."""
    root = fast.sftp.root / "in"
    fast.sftp.fault = SetstatDoesNothing()  # type: ignore[attr-defined]
    for day in range(3):
        put(root, {"a": f"day {day}".encode()})
        await fast.pull(done_conflict="rename", retention=1)
    assert sorted(tree(root).values()) == [b"day 0", b"day 1", b"day 2"]


async def test_a_name_that_would_be_too_long_fails(fast: Engine) -> None:
    """Both files stay, and S3 has the newer one."""
    root, name = fast.sftp.root / "in", "x" * 250
    put(root, {f".done/{name}": b"monday"})
    put(root, {name: b"tuesday"})
    with pytest.raises(TransferError, match="261 bytes"):
        await fast.pull(done_conflict="rename")
    assert tree(root) == {f".done/{name}": b"monday", name: b"tuesday"}


async def test_shards_and_two_runs_at_once(fast: Engine) -> None:
    """Of thirty names each day's file is there, once."""
    root = fast.sftp.root / "in"
    for number in range(30):
        put(root, {f".done/{number}": f"monday {number}".encode()})
        put(root, {f"{number}": f"tuesday {number}".encode()}, WHEN + 1)
    pulls = [
        Engine(fast.sftp, fast.s3, fast.bucket).pull(done_conflict="rename", shard=f"{shard}/3")
        for shard in (1, 2, 3)
        for _ in range(2)
    ]
    await asyncio.gather(*pulls, return_exceptions=True)
    await fast.pull(done_conflict="rename")
    assert sorted(tree(root).values()) == sorted(
        f"{day} {number}".encode() for day in ("monday", "tuesday") for number in range(30)
    )


async def test_a_retry_removes_what_a_killed_try_has_tried_renames_on(fast: Engine) -> None:
    """Empty files of ours, and no others; the older one keeps its place beside the newer one."""
    root = fast.sftp.root / "in"
    put(root, {".done/.00000001abcdef01.part": b""})
    put(root, {".done/.00000000abcdef01.part": b""})
    put(root, {".done/.00000001abcdef02.part": b"a file"})
    put(root, {"a": b"a"})
    await fast.pull(done_conflict="rename", retried_since=datetime.now(UTC))
    assert set(tree(root)) == {".done/a", ".done/.00000000abcdef01.part", ".done/.00000001abcdef02.part"}
