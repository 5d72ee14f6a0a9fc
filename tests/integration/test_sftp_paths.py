"""Given files instead of the whole tree: pulled as they would be, and nothing is listed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.engine import Engine, report_of
from tests.support.faulty_sftp import Refuses
from tests.support.trees import put, tree

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("after_transfer", ["move", "delete", "keep"])
async def test_given_files_are_pulled_and_no_others(engine: Engine, after_transfer: str) -> None:
    """Relative to sftp_path, or beginning with it; each once, by its own key."""
    root = engine.sftp.root / "in"
    put(root, {"a": b"a", "sub/deep/b": b"bb", "ü 😀": b"u", "c": b"c", "sub/.done/x": b"x"})
    given = ["a", engine.sftp.path("in") + "/sub/deep/b", "a", "ü 😀"]
    report = await engine.pull(sftp_paths=given, after_transfer=after_transfer, s3_prefix="p")
    assert (report.transferred, report.failed) == (3, 0)
    assert engine.s3.objects(engine.bucket) == {"p/a": b"a", "p/sub/deep/b": b"bb", "p/ü 😀": b"u"}
    there = {name for name in ("a", "sub/deep/b", "ü 😀") if (root / name).exists()}
    assert there == ({"a", "sub/deep/b", "ü 😀"} if after_transfer == "keep" else set())
    assert tree(root)["c"] == b"c"
    assert ("sub/deep/.done/b" in tree(root)) == (after_transfer == "move")


async def test_no_directory_is_listed(fast: Engine) -> None:
    """However large the tree is."""
    put(fast.sftp.root / "in", {"a": b"a", "sub/b": b"b"})
    assert (await fast.pull(sftp_paths=["a", "sub/b"])).transferred == 2
    assert fast.sftp.requests["OPENDIR"] == 0  # type: ignore[attr-defined]
    assert (await fast.pull(sftp_paths=[])).transferred == 0


async def test_what_holds_for_the_tree_holds_for_them(fast: Engine) -> None:
    """Globs, ages, bounds; a link and a directory are none, and a path that leads out is refused."""
    root = fast.sftp.root / "in"
    put(root, {"a.tmp": b"a", "small": b"", "dir/x": b"x", ".0123456789abcdef.part": b"p", "good": b"g"})
    put(root, {"young": b"y"}, datetime.now(UTC).timestamp())
    (root / "link").symlink_to("good")
    put(fast.sftp.root, {"secret": b"s"})
    out = ["../secret", "/secret", "", "dir//x", "./good"]
    given = [*(path.name for path in root.iterdir()), "gone", *out]
    report = await report_of(fast.pull(sftp_paths=given, exclude="*.tmp", min_size=1, min_age=60))
    assert report.skipped == {"excluded": 1, "too small": 1, "unfinished": 1, "young": 1, "link": 1}
    assert report.transferred == 1
    said = {failure["source"].partition("/in/")[2]: failure["error"] for failure in report.failures}
    assert said["dir"] == "is a directory: sftp_paths are files"
    assert said["gone"] == "is not there, and no earlier try of this run has pulled it"
    assert report.failed == 2 + len(out)
    assert fast.s3.objects(fast.bucket) == {"good": b"g"}


async def test_what_an_earlier_try_has_pulled_is_recovered(fast: Engine) -> None:
    """Where S3 has it since the run began, from this partner; else it is missing."""
    root = fast.sftp.root / "in"
    put(root, {"a": b"a", "b": b"b"})
    began = datetime.now(UTC) - timedelta(seconds=5)
    await fast.pull(sftp_paths=["a"])
    report = await fast.pull(sftp_paths=["a", "b"], retried_since=began)
    assert (report.transferred, report.recovered, report.skipped) == (1, 1, {"pulled by an earlier try": 1})
    others: list[dict[str, Any]] = [{}, {"retried_since": began + timedelta(hours=1)}]
    others.append({"retried_since": began, "destination": "other"})
    for settings in others:
        report = await report_of(fast.pull(sftp_paths=["a"], **settings))
        assert (report.failed, report.left) == (1, 1)
    report = await report_of(fast.pull(sftp_paths=["a"], retried_since=began, rename_to="{mtime}"))
    assert "cannot be seen: nobody says its mtime" in report.failures[0]["error"]


async def test_what_cannot_be_looked_at_fails_alone(fast: Engine) -> None:
    """With what the server says."""
    put(fast.sftp.root / "in", {"a": b"a", "b": b"b"})
    fast.sftp.fault = Refuses(("LSTAT", "STAT"), path=lambda path: path.endswith("/a"))  # type: ignore[attr-defined]
    report = await report_of(fast.pull(sftp_paths=["a", "b"]))
    assert (report.transferred, report.failed) == (1, 1)
    assert "cannot be looked at" in report.failures[0]["error"]


async def test_what_a_killed_run_has_left_to_be_deleted_is_ended(fast: Engine) -> None:
    """In the done directory beside it; that of other files is left alone."""
    root = fast.sftp.root / "in"
    put(root, {".done/.0123456789abcdef.a.del": b"a", ".done/.0123456789abcdef.b.del": b"b"})
    report = await fast.pull(sftp_paths=["a"], after_transfer="delete")
    assert report.transferred == 1
    assert fast.s3.objects(fast.bucket) == {"a": b"a"}
    assert set(tree(root)) == {".done/.0123456789abcdef.b.del"}


async def test_shards_share_them(fast: Engine) -> None:
    """Each is pulled once, and one that is missing fails once."""
    names = [str(number) for number in range(20)]
    put(fast.sftp.root / "in", {name: name.encode() for name in names})
    pulls = [
        report_of(Engine(fast.sftp, fast.s3, fast.bucket).pull(sftp_paths=[*names, "gone"], shard=f"{shard}/3"))
        for shard in (1, 2, 3)
    ]
    reports = await asyncio.gather(*pulls)
    assert (sum(report.transferred for report in reports), sum(report.failed for report in reports)) == (20, 1)
