"""`last`: files that go after all others of their directory, seen from the other side."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.awaited import NO_TRIGGER
from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.lasts import HELD
from airflow_provider_sftp_s3.engine.model import WAITS
from tests.faults.harness import marked_keys
from tests.support import trees
from tests.support.engine import Engine, objects_of, report_of, store
from tests.support.faulty_sftp import RENAMES, Refuses
from tests.support.listener import Listener
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import Fault
from tests.support.trees import done, tree

pytestmark = pytest.mark.integration

LAST = "_SUCCESS"
FILES = {name: name.encode() for name in ("1", "_SUCCESS", "a/1", "a/_SUCCESS", "a/b/1", "d/1", "d/_SUCCESS")}
#: Files in directories that each have a last one, and one for all.
MANY = {
    **{f"{number % 7}/{number % 3}/{number:04}": b"%d" % number for number in range(390)},
    **{f"{directory}{LAST}": b"" for directory in ("", *(f"{number}/" for number in range(7)), "0/0/")},
}


class LastListener(Listener):
    """Looks whether all others are there, whenever there is a last one."""

    def __init__(self, root: Path, files: dict[str, bytes]) -> None:
        super().__init__(root, files, LAST)

    def told_of(self, path: Path) -> list[Path]:
        others = (self.root / name for name in self.files)
        return [each for each in others if each != path and each.is_relative_to(path.parent)]


def early_in(s3: S3Server, engine: Engine, files: Iterable[str]) -> set[str]:
    """Return what will hold the last files that are sent to S3 before it has all others."""
    early: set[str] = set()

    @s3.before
    def look(request: S3Request) -> None:
        if request.operation == "PutObject" and request.key.endswith(LAST):
            directory = request.key.removesuffix(LAST)
            others = {name for name in files if name.startswith(directory) and name != request.key}
            if others - set(objects_of(engine)):
                early.add(request.key)

    return early


def put(root: Path, files: Iterable[str], mtime: float = trees.WHEN) -> None:
    trees.put(root, {name: FILES.get(name, b"x") for name in files}, mtime)


class TestPush:
    async def test_all_go_in_one_run(self, engine: Engine) -> None:
        """Last ones as well, and again nothing is left to do."""
        store(engine, FILES)
        report = await engine.push(last=LAST)
        assert tree(engine.sftp.root / "out") == FILES
        assert (report.transferred, report.left, report.skipped) == (len(FILES), 0, {})
        report = await engine.push(last=LAST)
        assert (report.transferred, report.skipped) == (0, {"synced": len(FILES)})

    async def test_the_partner_never_sees_a_last_file_first(self, fast: Engine) -> None:
        """In 400 files of directories in directories."""
        listener = LastListener(fast.sftp.root / "out", MANY)
        store(fast, MANY)
        with listener.listening():
            report = await fast.push(last=LAST)
        assert (report.transferred, report.left) == (len(MANY), 0)
        assert listener.looks > 1, "not at the end only"
        assert listener.wrong == set()
        assert listener.seen == {name for name in MANY if name.endswith(LAST)}

    async def test_one_that_fails_holds_them_back(self, fast: Engine, s3: S3Server) -> None:
        """Those of its directory, and of those that it is in; they are not asked for, and go with the next run."""
        root = fast.sftp.root / "out"
        store(fast, FILES)
        fast.sftp.fault = Refuses(RENAMES, lambda path: path.endswith("a/b/1"))  # type: ignore[attr-defined]
        s3.requests.clear()
        report = await report_of(fast.push(last=LAST))
        stay = {"a/b/1", "a/_SUCCESS", "_SUCCESS"}
        assert set(tree(root)) == set(FILES) - stay
        assert (report.failed, report.skipped, report.left) == (1, {HELD: 2}, 3)
        gets = {request.key for request in s3.requests if request.operation == "GetObject"}
        assert gets & stay == {"a/b/1"}
        fast.sftp.fault = Fault()  # type: ignore[attr-defined]
        report = await fast.push(last=LAST)
        assert (set(tree(root)), report.transferred) == (set(FILES), 3)

    async def test_a_cap_holds_them_back(self, fast: Engine) -> None:
        root = fast.sftp.root / "out"
        store(fast, {"a": b"1", "z": b"2", LAST: b""})
        report = await fast.push(last=LAST, max_files=1)
        assert (len(tree(root)), report.skipped, report.left) == (1, {HELD: 1}, 2)
        report = await fast.push(last=LAST, max_files=1)
        assert (set(tree(root)), report.skipped, report.left) == ({"a", "z"}, {"synced": 1}, 1)
        await fast.push(last=LAST, max_files=1)
        assert set(tree(root)) == {"a", "z", LAST}

    async def test_what_is_skipped_for_good_does_not(self, fast: Engine) -> None:
        store(fast, {"excluded": b"1", "small": b"", "synced": b"3"})
        await fast.push(include="synced")
        store(fast, {LAST: b"last"})
        report = await fast.push(last=LAST, exclude="excluded", min_size=1)
        assert set(tree(fast.sftp.root / "out")) == {"synced", LAST}
        assert report.skipped == {"excluded": 1, "too small": 1, "synced": 1}

    async def test_one_that_waits_for_the_partner_does(self, fast: Engine) -> None:
        root = fast.sftp.root / "out"
        (root / "a").write_bytes(b"the one before")
        store(fast, {"a": b"new", LAST: b"last"})
        report = await fast.push(last=LAST, on_conflict="wait")
        assert (tree(root), report.skipped) == ({"a": b"the one before"}, {WAITS: 1, HELD: 1})

    async def test_one_that_comes_while_the_run_lists_waits(self, fast: Engine, s3: S3Server) -> None:
        """Where the listing has been before, others may have come with it."""
        listings: list[S3Request] = []

        @s3.before
        def come(request: S3Request) -> None:
            if request.operation == "ListObjectsV2" and "max-keys" not in request.query and not listings:
                listings.append(request)
                time.sleep(2.5)
                store(fast, {"a": b"1", LAST: b""})

        report = await fast.push(last=LAST)
        assert (set(tree(fast.sftp.root / "out")), report.skipped, report.left) == ({"a"}, {HELD: 1}, 1)
        await fast.push(last=LAST)
        assert set(tree(fast.sftp.root / "out")) == {"a", LAST}

    async def test_a_run_by_keys_looks_for_others(self, fast: Engine) -> None:
        """What is there and not pushed holds a last key back, beneath its directory only; the others go."""
        root = fast.sftp.root / "out"
        store(fast, {"d/e/1": b"1", "d/2": b"2", "d/x.tmp": b"", "d/e/_SUCCESS": b"", "d/_SUCCESS": b"", "z": b""})
        keys = ["d/_SUCCESS", "d/2"]
        settings: dict[str, Any] = {"last": [LAST, "d/e/never"], "exclude": "*.tmp"}
        report = await fast.push(s3_keys=keys, **settings)
        assert (set(tree(root)), report.skipped, report.left) == ({"d/2"}, {HELD: 1}, 1)
        report = await fast.push(s3_keys=["d/e/1"], **settings)
        report = await fast.push(s3_keys=keys, **settings)
        assert report.skipped == {HELD: 1, "synced": 1}, "d/e/_SUCCESS is beneath it"
        await fast.push(s3_keys=["d/e/_SUCCESS"], **settings)
        report = await fast.push(s3_keys=keys, **settings)
        assert (report.transferred, report.skipped) == (1, {"synced": 1})
        assert set(tree(root)) == {"d/2", "d/_SUCCESS", "d/e/1", "d/e/_SUCCESS"}

    @pytest.mark.parametrize("then", [{}, {"after_transfer": "delete"}, {"mark": "tag"}])
    async def test_batches_at_once(self, fast: Engine, then: dict[str, Any]) -> None:
        """However the keys are shared among them, no last file is seen first, and all are there after a few runs."""
        files = {name: MANY[name] for name in list(MANY)[::4] + [name for name in MANY if name.endswith(LAST)]}
        listener = LastListener(fast.sftp.root / "out", files)
        store(fast, files)
        left = list(files)
        with listener.listening():
            for number in range(5):
                random.Random(number).shuffle(left)
                batches = [left[start::4] for start in range(4)]
                engines = [Engine(fast.sftp, fast.s3, fast.bucket) for _ in batches]
                runs = (each.push(last=LAST, s3_keys=keys, **then) for each, keys in zip(engines, batches, strict=True))
                await asyncio.gather(*runs)
                there = tree(fast.sftp.root / "out")
                left = [name for name in left if name not in there]
        assert listener.wrong == set()
        assert (left, set(there)) == ([], set(files))

    async def test_two_runs_at_once(self, fast: Engine) -> None:
        files = {name: MANY[name] for name in list(MANY)[::4] + [name for name in MANY if name.endswith(LAST)]}
        listener = LastListener(fast.sftp.root / "out", files)
        store(fast, files)
        other = Engine(fast.sftp, fast.s3, fast.bucket)
        with listener.listening():
            await asyncio.gather(*(report_of(each.push(last=LAST)) for each in (fast, other)))
        assert listener.wrong == set()
        assert tree(fast.sftp.root / "out") == files
        assert marked_keys(fast.bucket) == set(files)

    async def test_with_triggers_and_the_oldest_first(self, fast: Engine) -> None:
        """A last file's trigger comes after it; one of a whole directory after the last ones."""
        root = fast.sftp.root / "out"
        store(fast, {"a": b"1", "z.last": b"2"})
        fast.sftp.fault = Refuses(RENAMES, lambda path: path.endswith("/a"))  # type: ignore[attr-defined]
        await report_of(fast.push(last="*.last", trigger_file="done", order="oldest"))
        assert tree(root) == {}
        fast.sftp.fault = Fault()  # type: ignore[attr-defined]
        report = await fast.push(last="*.last", trigger_file="done", order="oldest")
        assert (report.transferred, set(tree(root))) == (2, {"a", "z.last", "done"})

    async def test_a_dry_run_tells_of_all(self, fast: Engine) -> None:
        store(fast, FILES)
        report = await fast.push(last=LAST, dry_run=True)
        assert (report.skipped, len(report.targets)) == ({"dry run": len(FILES)}, len(FILES))
        assert tree(fast.sftp.root / "out") == {}

    async def test_globs_are_about_names_before_they_change(self, fast: Engine) -> None:
        """And beneath the prefix."""
        store(fast, {"out/d/x": b"1", "out/d/y": b"2"})
        settings: dict[str, Any] = {"s3_prefix": "out", "rename_to": "{stem}.new", "last": "d/x"}
        fast.sftp.fault = Refuses(RENAMES, lambda path: path.endswith("y.new"))  # type: ignore[attr-defined]
        report = await report_of(fast.push(**settings))
        assert (report.skipped, tree(fast.sftp.root / "out")) == ({HELD: 1}, {})


class TestPull:
    @pytest.mark.parametrize("after_transfer", ["move", "delete", "keep"])
    async def test_all_go_in_one_run(self, engine: Engine, after_transfer: str) -> None:
        root = engine.sftp.root / "in"
        put(root, FILES)
        report = await engine.pull(last=LAST, after_transfer=after_transfer)
        assert objects_of(engine) == FILES
        assert (report.transferred, report.left, report.skipped) == (len(FILES), 0, {})
        assert tree(root) == {"move": done(FILES), "delete": {}, "keep": FILES}[after_transfer]
        report = await engine.pull(last=LAST, after_transfer=after_transfer)
        assert report.transferred == 0

    async def test_s3_never_has_a_last_file_first(self, fast: Engine, s3: S3Server) -> None:
        """In 400 files of directories in directories."""
        trees.put(fast.sftp.root / "in", MANY)
        early = early_in(s3, fast, MANY)
        report = await fast.pull(last=LAST)
        assert (report.transferred, early) == (len(MANY), set())

    @pytest.mark.parametrize("why", ["fails", "young", "over a cap", "not listed", "no name", "no trigger"])
    async def test_what_is_unfinished_holds_them_back(self, fast: Engine, why: str) -> None:
        """Those of its directory, and of those that it is in; S3 does not get them, but by a later run."""
        root = fast.sftp.root / "in"
        put(root, FILES)
        settings: dict[str, Any] = {"last": LAST}
        held = {"a/_SUCCESS", "_SUCCESS"}
        if why == "fails":
            fast.sftp.fault = Refuses(["OPEN"], lambda path: path.endswith("a/b/1"))  # type: ignore[attr-defined]
        elif why == "young":
            put(root, ["a/b/1"], time.time())
            settings["min_age"] = 60
        elif why == "over a cap":
            settings["max_files"] = 3
            held = {name for name in FILES if name.endswith(LAST)}
        elif why == "not listed":
            fast.sftp.fault = Refuses(["OPENDIR"], lambda path: path.endswith("a/b"))  # type: ignore[attr-defined]
        elif why == "no name":
            put(root, ["a/b/\n"])
        else:
            put(root, [f"{name}.ok" for name in FILES if name != "a/b/1"])
            settings["trigger_file"] = "{name}.ok"
        report = await report_of(fast.pull(**settings))
        assert {name for name in tree(root) if name.endswith(LAST) and ".done" not in name} == held
        assert not held & set(objects_of(fast))
        assert report.skipped[HELD] == len(held) or why == "over a cap", "there some are over it themselves"
        fast.sftp.fault = Fault()  # type: ignore[attr-defined]
        put(root, ["a/b/1"] if why == "young" else [])
        if why == "no name":
            (root / "a/b/\n").unlink()
        put(root, ["a/b/1.ok"] if why == "no trigger" else [])
        for _ in range(3 if why == "over a cap" else 1):
            report = await fast.pull(**settings)
        assert FILES.keys() <= objects_of(fast).keys()
        assert (report.left, report.skipped) == (0, {})

    async def test_what_is_skipped_for_good_does_not(self, fast: Engine) -> None:
        root = fast.sftp.root / "in"
        put(root, FILES)
        (root / "a/link").symlink_to("1")
        report = await fast.pull(last=LAST, exclude="a/b/1")
        assert set(objects_of(fast)) == set(FILES) - {"a/b/1"}
        assert report.skipped == {"link": 1, "excluded": 1}

    async def test_a_trigger_goes_with_its_last_file(self, fast: Engine) -> None:
        root = fast.sftp.root / "in"
        names = ["a", "a.ok", "b.last", "b.last.ok", "c"]
        put(root, names)
        report = await fast.pull(last="*.last", trigger_file="{name}.ok")
        assert report.skipped == {NO_TRIGGER: 1, HELD: 1}
        assert set(objects_of(fast)) == {"a", "a.ok"}
        put(root, ["c.ok"])
        await fast.pull(last="*.last", trigger_file="{name}.ok")
        assert set(objects_of(fast)) == {*names, "c.ok"}

    async def test_two_runs_at_once(self, fast: Engine, s3: S3Server) -> None:
        """Whichever of them has taken a file."""
        root = fast.sftp.root / "in"
        files = {name: MANY[name] for name in list(MANY)[::4] + [name for name in MANY if name.endswith(LAST)]}
        trees.put(root, files)
        early = early_in(s3, fast, files)
        other = Engine(fast.sftp, fast.s3, fast.bucket)
        await asyncio.gather(*(report_of(each.pull(last=LAST)) for each in (fast, other)))
        await fast.pull(last=LAST)
        assert (objects_of(fast), early) == (files, set())
        assert tree(root) == done(files)

    async def test_a_dry_run_tells_of_all(self, fast: Engine) -> None:
        put(fast.sftp.root / "in", FILES)
        report = await fast.pull(last=LAST, dry_run=True)
        assert (report.skipped, len(report.targets)) == ({"dry run": len(FILES)}, len(FILES))

    @pytest.mark.parametrize(
        "settings", [{"sftp_paths": "a"}, {"follow_links": True, "after_transfer": "keep"}, {"shard": "1/2"}]
    )
    async def test_what_does_not_go_together(self, fast: Engine, settings: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match="last does not go with"):
            await fast.pull(last=LAST, **settings)
