"""The same name again: what becomes of a file whose name at the target is taken, in both directions."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.model import WAITS
from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from tests.faults.harness import Acts, Together
from tests.support.engine import Engine, objects_of, report_of, store
from tests.support.faulty_sftp import (
    AttributesAre,
    ListingHasOtherAttributes,
    ListingStates,
    NoPosixRename,
    Refuses,
    RenameReplaces,
    ReplyIsLost,
)
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import CutConnection, Request
from tests.support.trees import WHEN, put, tree

pytestmark = pytest.mark.integration

SIZES = [10, 100_000, 6 * MiB]
OLD = b"of somebody else"


@pytest.fixture
def options() -> TransferOptions:
    return TransferOptions(part_size=5 * MiB)


class TestPull:
    """An object of that key is there already."""

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("mode", ["replace", "rename", "skip", "fail"])
    async def test_each_mode(self, fast: Engine, mode: str, size: int) -> None:
        """Judged before the file is opened: what is not stored stays where it is."""
        root, new = fast.sftp.root / "in", os.urandom(size)
        put(root, {"a.tar.gz": new})
        store(fast, {"a.tar.gz": OLD})
        report = await report_of(fast.pull(on_conflict=mode))
        stays = {"a.tar.gz": new}
        assert (
            objects_of(fast)
            == {
                "replace": {"a.tar.gz": new},
                "rename": {"a.tar.gz": OLD, f"a.tar.{WHEN}.gz": new},
                "skip": {"a.tar.gz": OLD},
                "fail": {"a.tar.gz": OLD},
            }[mode]
        )
        assert tree(root) == ({".done/a.tar.gz": new} if mode in ("replace", "rename") else stays)
        assert report.skipped == ({"name taken": 1} if mode == "skip" else {})
        assert [failure["error"] for failure in report.failures] == (
            [f"s3://{fast.bucket}/a.tar.gz is there already: on_conflict='fail' leaves it alone"]
            if mode == "fail"
            else []
        )
        if mode in ("skip", "fail"):
            assert not fast.sftp.requests["OPEN"]  # type: ignore[attr-defined]

    @pytest.mark.parametrize("after_transfer", ["move", "delete", "keep"])
    @pytest.mark.parametrize("mode", ["rename", "skip", "fail"])
    async def test_an_earlier_try_of_its_own_is_no_conflict(self, fast: Engine, mode: str, after_transfer: str) -> None:
        """The file is read and stored over it, whatever that object holds; where it stays, it counts as pulled."""
        root, new = fast.sftp.root / "in", b"new"
        put(root, {"a": new})
        store(fast, {"a": b"NEW"}, Metadata={"mtime": str(WHEN)})
        report = await fast.pull(on_conflict=mode, after_transfer=after_transfer)
        assert objects_of(fast) == {"a": b"NEW" if after_transfer == "keep" else new}
        assert report.skipped == ({"unchanged": 1} if after_transfer == "keep" else {})
        assert tree(root) == {"move": {".done/a": new}, "delete": {}, "keep": {"a": new}}[after_transfer]

    @pytest.mark.parametrize("heeds", [True, False], ids=["heeds", "heeds not"])
    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("mode", ["rename", "skip", "fail"])
    async def test_what_comes_while_the_file_is_read_is_not_replaced(
        self, fast: Engine, s3: S3Server, mode: str, size: int, heeds: bool
    ) -> None:
        """By the store's own condition, or by a last look; the file is at one place, and stays where it is else."""
        root, new = fast.sftp.root / "in", os.urandom(size)
        put(root, {"a": new})
        if not heeds:
            s3.unenforced.add("if-none-match")
        last = ("PutObject", "CompleteMultipartUpload") if heeds else ("HeadObject",)
        seen = 0

        @s3.before
        def other(request: S3Request) -> None:
            nonlocal seen
            if request.key == "a" and request.operation in last:
                seen += 1
                if seen == (1 if heeds else 3 if size > 5 * MiB else 2):
                    store(fast, {"a": OLD})

        report = await report_of(fast.pull(on_conflict=mode))
        assert objects_of(fast) == ({"a": OLD, f"a.{WHEN}": new} if mode == "rename" else {"a": OLD})
        assert tree(root) == ({".done/a": new} if mode == "rename" else {"a": new})
        assert (report.failed, sum(report.skipped.values())) == {"rename": (0, 0), "skip": (0, 1), "fail": (1, 0)}[mode]
        assert s3.unfinished_uploads(fast.bucket) == []
        noticed = [notice for notice in fast.seen.notices if "does not heed If-None-Match" in notice]
        assert len(noticed) == (0 if heeds else 1)

    async def test_a_store_may_heed_it_of_a_put_only(self, fast: Engine, s3: S3Server) -> None:
        """Each is tried by itself, on an object of our own, once a run."""
        s3.unenforced.add("CompleteMultipartUpload if-none-match")
        root = fast.sftp.root / "in"
        put(root, {name: os.urandom(size) for name, size in (("a", 9), ("b", 99), ("c", 6 * MiB), ("d", 6 * MiB))})
        assert (await fast.pull(on_conflict="fail", s3_prefix="p")).transferred == 4
        assert [notice.split(":")[0] for notice in fast.seen.notices] == [
            "the S3 store does not heed If-None-Match of a CompleteMultipartUpload"
        ]
        conditional = {
            (request.operation, request.key)
            for request in s3.requests
            if "if-none-match" in {name.lower() for name in request.headers}
        }
        assert conditional == {
            *(("PutObject", f"p/{name}") for name in "ab"),
            ("PutObject", "p/.sftp-s3/probe-new"),
            ("CompleteMultipartUpload", "p/.sftp-s3/probe-new"),
        }

    async def test_an_answer_of_s3_that_is_lost_costs_nothing(self, fast: Engine, s3: S3Server) -> None:
        """What is asked again finds its own object, and is no conflict."""
        root, lost = fast.sftp.root / "in", set[str]()
        put(root, {"a": b"a", "b": os.urandom(6 * MiB)})

        @s3.after
        def lose(request: S3Request) -> None:
            is_last = request.operation in ("PutObject", "CompleteMultipartUpload") and request.key in ("a", "b")
            if is_last and request.key not in lost:
                lost.add(request.key)
                raise ConnectionResetError

        assert (await fast.pull(on_conflict="fail")).transferred == 2
        assert lost == {"a", "b"}
        assert set(tree(root)) == {".done/a", ".done/b"}

    async def test_both_names_taken_fails(self, fast: Engine) -> None:
        """Neither is replaced; the error names both."""
        put(fast.sftp.root / "in", {"a": b"new"})
        before = {"a": OLD, f"a.{WHEN}": OLD}
        for key in before:
            store(fast, {key: OLD})
        report = await report_of(fast.pull(on_conflict="rename"))
        assert objects_of(fast) == before
        assert all(f"/{key}" in report.failures[0]["error"] for key in before)

    async def test_a_name_of_an_unknown_mtime_fails(self, fast: Engine) -> None:
        """And the file stays. With no conflict nothing needs it."""
        none = {"mtime": None, "atime": None}
        fast.sftp.fault = Together(AttributesAre(lambda _: none), ListingStates(lambda _: none))  # type: ignore[attr-defined]
        put(fast.sftp.root / "in", {"a": b"new", "b": b"b"})
        store(fast, {"a": OLD})
        report = await report_of(fast.pull(on_conflict="rename"))
        assert "on_conflict='rename' makes a name of the mtime" in report.failures[0]["error"]
        assert (report.transferred, objects_of(fast)) == (1, {"a": OLD, "b": b"b"})

    async def test_its_own_object_is_known_where_listings_have_whole_minutes(self, fast: Engine) -> None:
        """The file is looked at by itself before anything is a conflict."""
        put(fast.sftp.root / "in", {"a": b"new"})
        store(fast, {"a": b"new"}, Metadata={"mtime": str(WHEN)})
        fast.sftp.fault = ListingHasOtherAttributes(lambda _: {"mtime": WHEN // 60 * 60})  # type: ignore[attr-defined]
        assert (await fast.pull(on_conflict="fail")).transferred == 1

    async def test_what_turns_up_in_the_done_directory_does_not_stay_there(self, fast: Engine) -> None:
        """A file that replaced the one that was read is judged as any other: it goes back to its place."""
        root = fast.sftp.root / "in"
        put(root, {"a": b"one"})

        def replace(_: Any) -> None:
            put(root, {"a": b"another"}, WHEN + 50)

        fast.sftp.fault = Acts(replace, ("POSIX-RENAME",))  # type: ignore[attr-defined]
        report = await report_of(fast.pull(on_conflict="fail"))
        assert (report.failed, objects_of(fast)) == (1, {"a": b"one"})
        assert tree(root) == {"a": b"another"}
        assert (await fast.pull(on_conflict="rename")).transferred == 1
        assert objects_of(fast) == {"a": b"one", f"a.{WHEN + 50}": b"another"}

    async def test_shards_and_runs_at_once_lose_nothing(self, fast: Engine) -> None:
        """Two trees with the same names go to one prefix at the same time, in shards: every byte is somewhere."""
        roots = [fast.sftp.root / name for name in ("in", "two")]
        for number, root in enumerate(roots):
            put(root, {f"{name}": f"{number} {name}".encode() for name in range(20)}, WHEN + number)
        pulls = [
            report_of(Engine(fast.sftp, fast.s3, fast.bucket).pull(root.name, on_conflict=mode, shard=f"{shard}/3"))
            for root, mode in zip(roots, ("rename", "fail"), strict=True)
            for shard in (1, 2, 3)
        ]
        await asyncio.gather(*pulls)
        everything = {f"{number} {name}".encode() for number in range(2) for name in range(20)}
        stored = set(objects_of(fast).values())
        files = [(name, data) for root in roots for name, data in tree(root).items()]
        assert everything == stored | {data for name, data in files if ".done" not in name}
        assert {data for name, data in files if ".done" in name} == stored

    async def test_whoever_may_not_look_is_told(self, fast: Engine, s3: S3Server) -> None:
        """Once, with the permissions; nothing is opened."""
        put(fast.sftp.root / "in", dict.fromkeys("abc", b"x"))
        s3.before(lambda request: (403, "AccessDenied") if request.operation == "HeadObject" else None)
        with pytest.raises(ConfigurationError, match=r"need s3:GetObject, and s3:ListBucket"):
            await fast.pull(on_conflict="fail")

    async def test_without_it_nothing_is_asked(self, fast: Engine, s3: S3Server) -> None:
        """One PUT a file, as ever."""
        put(fast.sftp.root / "in", dict.fromkeys("abc", b"x"))
        s3.requests.clear()
        await fast.pull()
        assert sorted(request.operation for request in s3.requests) == ["ListObjectsV2", *["PutObject"] * 3]


class TestPush:
    """A file of that name is there already."""

    @pytest.mark.parametrize("mode", ["replace", "rename", "wait", "fail"])
    async def test_each_mode(self, engine: Engine, mode: str) -> None:
        """Judged before the object is downloaded: what is not delivered is not marked."""
        root = engine.sftp.root / "out"
        put(root, {"sub/a.tar.gz": OLD})
        store(engine, {"sub/a.tar.gz": b"new"}, Metadata={"mtime": str(WHEN)})
        engine.s3.requests.clear()
        report = await report_of(engine.push(on_conflict=mode))
        assert (
            tree(root)
            == {
                "replace": {"sub/a.tar.gz": b"new"},
                "rename": {"sub/a.tar.gz": OLD, f"sub/a.tar.{WHEN}.gz": b"new"},
                "wait": {"sub/a.tar.gz": OLD},
                "fail": {"sub/a.tar.gz": OLD},
            }[mode]
        )
        delivered = mode in ("replace", "rename")
        assert (report.transferred, report.left) == ((1, 0) if delivered else (0, 1))
        assert report.skipped == ({WAITS: 1} if mode == "wait" else {})
        assert [failure["error"].partition(".")[0] for failure in report.failures] == (
            [f"'{engine.sftp.path('out')}/sub/a"] if mode == "fail" else []
        )
        downloads = [each for each in engine.s3.requests if (each.operation, each.key) == ("GetObject", "sub/a.tar.gz")]
        assert len(downloads) == (1 if delivered else 0)
        (root / "sub/a.tar.gz").unlink()
        again = await engine.push(on_conflict=mode)
        assert (again.transferred, again.skipped) == ((0, {"synced": 1}) if delivered else (1, {}))

    async def test_what_is_synced_waits_for_nothing(self, fast: Engine) -> None:
        """Though its file is still there."""
        store(fast, {"a": b"a"})
        await fast.push(on_conflict="wait")
        assert (await fast.push(on_conflict="wait")).skipped == {"synced": 1}
        assert (await fast.push(on_conflict="fail", s3_keys="a")).skipped == {"synced": 1}

    async def test_what_waits_takes_no_cap(self, fast: Engine) -> None:
        """The one behind goes."""
        put(fast.sftp.root / "out", dict.fromkeys("abc", OLD))
        for name in "abcd":
            store(fast, {name: b"new"})
        report = await fast.push(on_conflict="wait", max_files=1)
        assert (report.transferred, report.skipped, report.left) == (1, {WAITS: 3}, 3)
        assert tree(fast.sftp.root / "out") == {"a": OLD, "b": OLD, "c": OLD, "d": b"new"}

    @pytest.mark.parametrize("mode", ["rename", "wait", "fail"])
    @pytest.mark.parametrize("temp_name", [".{id}.part", "tmp/{id}"])
    async def test_what_comes_while_the_object_is_written_is_not_replaced(
        self, engine: Engine, mode: str, temp_name: str
    ) -> None:
        """By a RENAME that replaces nothing, or by a last look on a server that was seen to replace."""
        root = engine.sftp.root / "out"
        store(engine, {"a": os.urandom(3 * MiB)}, Metadata={"mtime": str(WHEN)})
        put(root, {"first": b"1"})
        seen = 0

        @engine.s3.before
        def other(request: S3Request) -> None:
            nonlocal seen
            if (request.operation, request.key) == ("GetObject", "a"):
                seen += 1
                put(root, {"a": OLD})
                engine.sftp.refresh()

        report = await report_of(engine.push(on_conflict=mode, temp_name=temp_name))
        assert seen == 1
        files = tree(root)
        assert files.pop("a") == OLD
        assert set(files) == {"first", *([f"a.{WHEN}"] if mode == "rename" else [])}
        assert report.transferred == (1 if mode == "rename" else 0)
        noticed = [notice for notice in engine.seen.notices if "was not seen to refuse a RENAME" in notice]
        assert len(noticed) == (1 if type(engine.sftp).__name__ == "RcloneSftpServer" else 0)

    @pytest.mark.parametrize("mode", ["rename", "wait", "fail"])
    async def test_straight_to_its_name(self, fast: Engine, mode: str) -> None:
        """With no temporary name a look has to do."""
        put(fast.sftp.root / "out", {"a": OLD})
        store(fast, {"a": b"new"}, Metadata={"mtime": str(WHEN)})
        store(fast, {"b": b"b"})
        report = await report_of(fast.push(on_conflict=mode, temp_name=None))
        renamed = {f"a.{WHEN}": b"new"} if mode == "rename" else {}
        assert tree(fast.sftp.root / "out") == {"a": OLD, "b": b"b", **renamed}
        assert report.transferred == len(renamed) + 1

    async def test_an_answer_to_the_rename_that_is_lost_is_no_conflict(self, fast: Engine) -> None:
        """The file that is there is ours."""
        store(fast, {"a": b"new"})
        fast.sftp.fault = ReplyIsLost(("RENAME",), times=2)  # type: ignore[attr-defined]
        report = await report_of(fast.push(on_conflict="fail"))
        assert (report.transferred, tree(fast.sftp.root / "out")) == (1, {"a": b"new"})

    async def test_nor_is_it_where_a_rename_replaces(self, fast: Engine) -> None:
        """Nothing was there a moment before."""
        store(fast, {"a": b"new"})
        fast.sftp.fault = Together(ReplyIsLost(("POSIX-RENAME",)), RenameReplaces())  # type: ignore[attr-defined]
        report = await report_of(fast.push(on_conflict="fail"))
        assert (report.transferred, tree(fast.sftp.root / "out")) == (1, {"a": b"new"})

    async def test_a_line_that_is_cut_behind_the_name_makes_no_conflict(self, fast: Engine) -> None:
        """The checksum file is still to come: what has the name is ours."""
        store(fast, {"a": b"new"})

        def cut(_: Request) -> None:
            raise CutConnection

        cuts = Acts(cut, ("POSIX-RENAME",), where=lambda request: request.target.endswith("a.sha256"))
        fast.sftp.fault = cuts  # type: ignore[attr-defined]
        report = await report_of(fast.push(on_conflict="fail", checksum_file="{name}.sha256"))
        assert (cuts.acted, report.transferred) == (1, 1)
        assert set(tree(fast.sftp.root / "out")) == {"a", "a.sha256"}

    async def test_older_bytes_of_its_own_are_replaced(self, fast: Engine, s3: S3Server) -> None:
        """An object that is overwritten before it is marked is sent again, over what was sent before."""
        store(fast, {"a": b"one"})
        done = False

        @s3.before
        def overwrite(request: S3Request) -> None:
            nonlocal done
            if request.operation == "CopyObject" and request.key == "a" and not done:
                done = True
                store(fast, {"a": b"two!"})

        assert (await fast.push(on_conflict="fail")).transferred == 1
        assert tree(fast.sftp.root / "out") == {"a": b"two!"}

    async def test_names_are_numbered_and_end(self, fast: Engine) -> None:
        """None is replaced; the error says which there are, and what they may be."""
        before = {"a": OLD, f"a.{WHEN}": OLD}
        put(fast.sftp.root / "out", before)
        store(fast, {"a": b"new"}, Metadata={"mtime": str(WHEN)})
        assert (await fast.push(on_conflict="rename", mark="none")).transferred == 1
        before[f"a.{WHEN}-1"] = b"new"
        assert tree(fast.sftp.root / "out") == before
        before |= {f"a.{WHEN}-{number}": OLD for number in range(1, 10)}
        put(fast.sftp.root / "out", before)
        report = await report_of(fast.push(on_conflict="rename"))
        assert tree(fast.sftp.root / "out") == before
        assert f"'/out/a' and 10 others, up to '/out/a.{WHEN}-9', are there already" in report.failures[0]["error"]

    async def test_with_a_name_that_takes_what_s3_says(self, fast: Engine) -> None:
        """It is asked before the object is downloaded."""
        put(fast.sftp.root / "out", {f"a_{WHEN}": OLD})
        store(fast, {"a": b"new"}, Metadata={"mtime": str(WHEN)})
        settings: dict[str, Any] = {"rename_to": "{name}_{mtime}"}
        assert (await fast.push(**settings, on_conflict="wait")).skipped == {WAITS: 1}
        assert (await fast.push(**settings, on_conflict="wait", dry_run=True)).skipped == {WAITS: 1}
        dry = await fast.push(**settings, on_conflict="rename", dry_run=True)
        assert dry.targets == (await fast.push(**settings, on_conflict="rename")).targets
        assert tree(fast.sftp.root / "out") == {f"a_{WHEN}": OLD, f"a_{WHEN}.{WHEN}": b"new"}

    async def test_two_runs_at_once_replace_nothing(self, fast: Engine) -> None:
        """Of different prefixes, with the same names: every file that is reported is there."""
        for prefix in ("p", "q"):
            for number in range(15):
                store(
                    fast, {f"{prefix}/{number}": f"{prefix}{number}".encode()}, Metadata={"mtime": str(WHEN + number)}
                )
        engines = [Engine(fast.sftp, fast.s3, fast.bucket) for _ in range(2)]
        reports = await asyncio.gather(
            *(
                report_of(each.push(s3_prefix=f"{prefix}/", on_conflict=mode))
                for each, prefix, mode in zip(engines, "pq", ("rename", "fail"), strict=True)
            )
        )
        files = tree(fast.sftp.root / "out")
        assert sum(report.transferred for report in reports) == len(files)
        assert {f"p{number}".encode() for number in range(15)} <= set(files.values())
        assert len(set(files.values())) == len(files)

    async def test_where_nothing_can_be_looked_at_a_rename_tells(self, fast: Engine) -> None:
        """As in a drop box; only where the RENAME replaces, no delivery is safe."""
        put(fast.sftp.root / "out", {"a": OLD})
        for name in "ab":
            store(fast, {name: b"new"})
        fast.sftp.fault = Refuses(("STAT", "LSTAT"), path=lambda path: path.endswith(("/a", "/b")))  # type: ignore[attr-defined]
        report = await report_of(fast.push(on_conflict="wait"))
        assert tree(fast.sftp.root / "out") == {"a": OLD, "b": b"new"}
        assert (report.transferred, report.failed) == (1, 1)

    async def test_without_posix_rename(self, fast: Engine) -> None:
        """The plain RENAME is what is used anyway."""
        fast.sftp.fault = NoPosixRename()  # type: ignore[attr-defined]
        put(fast.sftp.root / "out", {"a": OLD})
        for name in "ab":
            store(fast, {name: b"new"}, Metadata={"mtime": str(WHEN)})
        assert (await fast.push(on_conflict="rename")).transferred == 2
        assert tree(fast.sftp.root / "out") == {"a": OLD, f"a.{WHEN}": b"new", "b": b"new"}
