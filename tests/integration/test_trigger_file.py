"""`trigger_file`: files and the triggers that tell of them, seen from the partner's side."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.awaited import NO_TRIGGER, OLD_TRIGGER
from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.pulled_triggers import NO_FILE
from tests.faults.harness import Acts, marked_keys
from tests.support import trees
from tests.support.engine import Engine, objects_of, report_of, store
from tests.support.faulty_sftp import RENAMES, Refuses
from tests.support.listener import Listener
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault, Proceed, Request
from tests.support.trees import WHEN, tree

pytestmark = pytest.mark.integration


class TestPush:
    """Old trigger away, file, trigger, mark."""

    @pytest.mark.parametrize("temp_name", [".{id}.part", None])
    async def test_each_file_has_its_trigger(self, engine: Engine, temp_name: str | None) -> None:
        """Also where an old one was, and again where there is new data; a trigger in S3 is no file."""
        root = engine.sftp.root / "out"
        (root / "a.csv.ok").write_bytes(b"of the one before")
        store(engine, {"a.csv": b"a", "sub/b.csv": b"b", "c.csv.ok": b"not pushed"})
        report = await engine.push(trigger_file="{name}.ok", temp_name=temp_name)
        expected = {"a.csv": b"a", "a.csv.ok": b"", "sub/b.csv": b"b", "sub/b.csv.ok": b""}
        assert tree(root) == expected
        assert (report.transferred, report.skipped) == (2, {"trigger file": 1})
        for path in (root / "a.csv", root / "a.csv.ok", root / "sub/b.csv.ok"):
            path.unlink()
        store(engine, {"a.csv": b"new"})
        report = await engine.push(trigger_file="{name}.ok", temp_name=temp_name)
        assert tree(root) == {"a.csv": b"new", "a.csv.ok": b"", "sub/b.csv": b"b"}
        assert (report.transferred, report.skipped) == (1, {"trigger file": 1, "synced": 1})

    async def test_one_of_several_comes_after_all(self, engine: Engine) -> None:
        """Beside each directory's files, with `{stem}` for those of one stem, by the names of the objects."""
        root = engine.sftp.root / "out"
        store(engine, {"x/a.csv": b"1", "x/a.pdf": b"2", "x/b.csv": b"3", "y/c.csv": b"4"})
        await engine.push(trigger_file="{stem}.done", rename_to="all/{size}-{name}")
        names = {"1-a.csv", "1-a.pdf", "1-b.csv", "1-c.csv", "a.done", "b.done", "c.done"}
        assert set(tree(root)) == {f"all/{name}" for name in names}
        store(engine, {"x/a.csv": b"5", "y/d.csv": b"6"})
        await engine.push(trigger_file="_SUCCESS")
        assert {name for name in tree(root) if name.endswith("_SUCCESS")} == {"x/_SUCCESS", "y/_SUCCESS"}

    @pytest.mark.parametrize("trigger", ["{name}.ok", "_SUCCESS"])
    async def test_no_trigger_where_a_file_has_failed(self, fast: Engine, trigger: str) -> None:
        """Of several, the others are delivered. The next run delivers what is left, and then there is a trigger."""
        root = fast.sftp.root / "out"
        store(fast, {"a": b"a", "b": b"b"})
        (root / {"{name}.ok": "b.ok"}.get(trigger, trigger)).touch()
        fast.sftp.fault = Refuses(RENAMES, lambda path: path.endswith("/b"))  # type: ignore[attr-defined]
        report = await report_of(fast.push(trigger_file=trigger))
        assert report.failed == 1
        assert tree(root) == ({"a": b"a", "a.ok": b""} if trigger == "{name}.ok" else {"a": b"a"})
        fast.sftp.fault = Fault()  # type: ignore[attr-defined]
        await fast.push(trigger_file=trigger)
        assert set(tree(root)) == {"a", "b", *(["a.ok", "b.ok"] if trigger == "{name}.ok" else [trigger])}

    async def test_the_trigger_is_refused(self, fast: Engine) -> None:
        """Its file is not marked, and is sent again."""
        store(fast, {"a": b"a"})
        fast.sftp.fault = Refuses(["OPEN"], lambda path: path.endswith(".ok"))  # type: ignore[attr-defined]
        report = await report_of(fast.push(trigger_file="{name}.ok"))
        assert "cannot be made" in report.failures[0]["error"]
        assert marked_keys(fast.bucket) == set()

    async def test_the_partner_never_sees_a_trigger_first(self, fast: Engine) -> None:
        """In 400 files, half of which replace older ones with their triggers."""
        root = fast.sftp.root / "out"
        files = {f"{number % 7}/{number:04}": b"%d new" % number for number in range(400)}
        for name in list(files)[::2]:
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(b"old")
        listener = Listener(root, files, ".ok")
        store(fast, files)
        with listener.listening():
            report = await fast.push(trigger_file="{name}.ok")
        assert report.transferred == 400
        assert listener.looks > 1, "not at the end only"
        assert listener.wrong == set()
        assert listener.seen == {f"{name}.ok" for name in files}

    async def test_nor_one_of_a_whole_directory(self, fast: Engine) -> None:
        """Not even for a moment, whichever file comes last."""
        root = fast.sftp.root / "out"
        files = {f"d/{number:03}": b"%d" % number for number in range(300)}
        (root / "d").mkdir()
        (root / "d/000").write_bytes(b"old")
        listener = Listener(root, files, "_SUCCESS", tuple(f"{number:03}" for number in range(300)))
        store(fast, files)
        with listener.listening():
            await fast.push(trigger_file="_SUCCESS")
        listener.look()
        assert (listener.wrong, listener.seen) == (set(), {"d/_SUCCESS"})

    @pytest.mark.usefixtures("default_connections")
    async def test_nor_in_batches_of_which_several_go_at_once(self, fast: Engine) -> None:
        """400 files of two directories that come to one, where each trigger tells of a file of either."""
        root = fast.sftp.root / "out"
        files = {f"{n % 9}/{n}.{kind}": b"%d %b" % (n, kind.encode()) for n in range(200) for kind in ("csv", "pdf")}
        store(fast, {f"from-{name[-3:]}/{name}": data for name, data in files.items()})
        settings = {"trigger_file": "{stem}.ok", "strip_regex": "^from-.../"}
        batches = await asyncio.to_thread(batches_of, fast.bucket, batch_files=60, selection=settings)
        waiting = iter(batches)

        class OfTwo(Listener):
            def told_of(self, path: Path) -> list[Path]:
                return [path.with_suffix(".csv"), path.with_suffix(".pdf")]

        async def push_one_after_the_other() -> int:
            each = Engine(fast.sftp, fast.s3, fast.bucket)
            return sum([(await each.push(s3_keys=batch, **settings)).transferred for batch in waiting])

        listener = OfTwo(root, files, ".ok")
        with listener.listening():
            assert sum(await asyncio.gather(*(push_one_after_the_other() for _ in range(4)))) == 400
        assert (listener.wrong, len(batches) > 4) == (set(), True)
        assert listener.seen == {f"{n % 9}/{n}.ok" for n in range(200)}

    async def test_what_is_overwritten_meanwhile_has_a_trigger_of_its_own(self, fast: Engine, s3: S3Server) -> None:
        """The one of the older bytes is away before the newer ones come."""
        root = fast.sftp.root / "out"
        files = {"a": b"newer"}
        listener = Listener(root, files, ".ok")
        store(fast, {"a": b"older"})
        late: list[str] = []

        @s3.before
        def overwrite(request: S3Request) -> None:
            if request.operation == "CopyObject" and request.key == "a" and not late:
                late.append(request.key)
                store(fast, files)

        report = await fast.push(trigger_file="{name}.ok")
        listener.look()
        assert (report.transferred, late, listener.wrong) == (1, ["a"], set())
        assert tree(root) == {"a": b"newer", "a.ok": b""}

    @pytest.mark.parametrize("trigger", ["{name}.ok", "_SUCCESS"])
    async def test_two_runs_at_once(self, fast: Engine, trigger: str) -> None:
        """Whoever is second takes the first one's trigger away before its file comes again."""
        root = fast.sftp.root / "out"
        files = {f"{number}": b"%d" % number for number in range(40)}
        listener = Listener(root, files, trigger.removeprefix("{name}"), () if "{" in trigger else tuple(files))
        store(fast, files)
        other = Engine(fast.sftp, fast.s3, fast.bucket)
        with listener.listening():
            await asyncio.gather(*(report_of(each.push(trigger_file=trigger)) for each in (fast, other)))
        listener.look()
        assert listener.wrong == set()
        assert {name: data for name, data in tree(root).items() if name in files} == files
        assert listener.seen == ({f"{name}.ok" for name in files} if "{" in trigger else {trigger})
        assert marked_keys(fast.bucket) == set(files)

    async def test_a_file_that_stays_keeps_its_trigger(self, fast: Engine) -> None:
        root = fast.sftp.root / "out"
        for name in ("a", "a.ok"):
            (root / name).write_bytes(b"before")
        store(fast, {"a": b"new"})
        report = await report_of(fast.push(trigger_file="{name}.ok", on_conflict="fail"))
        assert report.failed == 1
        assert tree(root) == {"a": b"before", "a.ok": b"before"}

    async def test_so_does_one_that_comes_meanwhile(self, fast: Engine, s3: S3Server) -> None:
        root = fast.sftp.root / "out"
        store(fast, {"a": b"new"})

        @s3.before
        def other(request: S3Request) -> None:
            if request.operation == "GetObject" and request.key == "a":
                for name in ("a", "a.ok"):
                    (root / name).write_bytes(b"other")

        report = await report_of(fast.push(trigger_file="{name}.ok", on_conflict="fail"))
        assert report.failed == 1
        assert tree(root) == {"a": b"other", "a.ok": b"other"}

    async def test_a_name_too_long_for_a_trigger_fails_by_itself(self, fast: Engine) -> None:
        store(fast, {"n" * 254: b"1", "b": b"2"})
        report = await report_of(fast.push(trigger_file="{name}.ok"))
        assert [failure["error"][:44] for failure in report.failures] == [
            "trigger_file gives it one of a name that can"
        ]
        assert set(tree(fast.sftp.root / "out")) == {"b", "b.ok"}

    @pytest.mark.parametrize(
        "settings",
        [
            *({"on_conflict": mode} for mode in ("rename", "wait")),
            *({"rename_to": name} for name in ("{size}/{name}", "{mtime:%Y}/{name}")),
        ],
    )
    async def test_what_does_not_go_together(self, fast: Engine, settings: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match="trigger_file does not go with"):
            await fast.push(trigger_file="{name}.ok", **settings)

    @pytest.mark.parametrize("cap", [1, None])
    async def test_a_cap_holds_the_trigger_of_several_back(self, fast: Engine, cap: int | None) -> None:
        """Until a later run has delivered the rest."""
        root = fast.sftp.root / "out"
        store(fast, {"a": b"a", "b": b"b"})
        await fast.push(trigger_file="_SUCCESS", max_files=cap)
        assert len(tree(root)) == (1 if cap else 3)
        await fast.push(trigger_file="_SUCCESS", max_files=cap)
        assert set(tree(root)) == {"a", "b", "_SUCCESS"}


def batches_of(bucket: str, **arguments: Any) -> list[list[str]]:
    """Return what a flow's list gives to its pushes."""
    from airflow_provider_sftp_s3.operators.s3_unsynced import unsynced_batches

    return unsynced_batches(s3_bucket=bucket, **arguments)


def put(root: Path, *names: str, mtime: int = WHEN) -> None:
    """Put files whose contents are their names."""
    trees.put(root, {name: name.encode() for name in names}, mtime)


class TestPull:
    """A trigger that is not older; file into S3, trigger into S3, file away, trigger away."""

    async def test_a_file_is_taken_with_its_trigger(self, engine: Engine) -> None:
        """One without, or with an older one, waits, and is taken as soon as there is one."""
        root = engine.sftp.root / "in"
        put(root, "a.csv", "a.csv.ok", "sub/b.csv", "sub/c.csv", "sub/c.csv.ok", "excluded")
        put(root, "sub/c.csv", mtime=WHEN + 2)
        report = await engine.pull(trigger_file="{name}.ok", exclude="excluded")
        assert set(objects_of(engine)) == {"a.csv", "a.csv.ok"}
        stays = {"sub/b.csv", "sub/c.csv", "sub/c.csv.ok", "excluded"}
        assert set(tree(root)) == {".done/a.csv", ".done/a.csv.ok", *stays}
        assert report.skipped == {NO_TRIGGER: 1, OLD_TRIGGER: 1, "excluded": 1}
        assert (report.transferred, report.left) == (2, 2)
        put(root, "sub/b.csv.ok", "sub/c.csv.ok", mtime=WHEN + 2)
        report = await engine.pull(trigger_file="{name}.ok", exclude="excluded")
        assert (report.transferred, report.left) == (4, 0)
        assert engine.s3.objects(engine.bucket)["sub/b.csv.ok"] == b"sub/b.csv.ok"

    async def test_the_order_of_all_steps(self, fast: Engine, s3: S3Server) -> None:
        root = fast.sftp.root / "in"
        steps: list[str] = []
        moves: list[str] = []
        put(root, "a", "a.ok")
        moved = Acts(lambda request: moves.append(request.path.rpartition("/")[2]), RENAMES, always=True)
        fast.sftp.fault = moved  # type: ignore[attr-defined]

        @s3.after
        def seen(request: S3Request) -> None:
            if request.operation == "PutObject" and request.key in ("a", "a.ok"):
                steps.append(f"PUT {request.key}, {sorted(tree(root))}")

        await fast.pull(trigger_file="{name}.ok")
        assert steps == ["PUT a, ['a', 'a.ok']", "PUT a.ok, ['a', 'a.ok']"]
        assert moves == ["a", "a.ok"]

    @pytest.mark.parametrize("after_transfer", ["move", "delete", "keep"])
    @pytest.mark.parametrize("trigger", ["{stem}.done", "_SUCCESS"])
    async def test_one_of_several_goes_after_all(self, engine: Engine, trigger: str, after_transfer: str) -> None:
        """And again nothing is done where files stay."""
        root = engine.sftp.root / "in"
        names = {"a.csv", "a.pdf", trigger.replace("{stem}", "a")}
        put(root, *names)
        report = await engine.pull(trigger_file=trigger, after_transfer=after_transfer)
        assert (set(objects_of(engine)), report.transferred) == (names, 3)
        left = {"move": {f".done/{name}" for name in names}, "delete": set(), "keep": names}[after_transfer]
        assert set(tree(root)) == left
        report = await engine.pull(trigger_file=trigger, after_transfer=after_transfer)
        assert (report.transferred, report.failed) == (0, 0)

    @pytest.mark.parametrize("why", ["fails", "young", "over a cap"])
    async def test_it_stays_where_one_does(self, fast: Engine, why: str) -> None:
        root = fast.sftp.root / "in"
        put(root, "a", "b", "_SUCCESS")
        settings: dict[str, Any] = {"trigger_file": "_SUCCESS"}
        if why == "fails":
            fast.sftp.fault = Refuses(["OPEN"], lambda path: path.endswith("/b"))  # type: ignore[attr-defined]
        elif why == "young":
            put(root, "b", mtime=int(time.time()))
            settings["min_age"] = 60
        else:
            settings["max_files"] = 1
        await report_of(fast.pull(**settings))
        assert "_SUCCESS" in tree(root)
        assert "_SUCCESS" not in objects_of(fast)
        fast.sftp.fault = Fault()  # type: ignore[attr-defined]
        put(root, "_SUCCESS", *(["b"] if why == "young" else []))
        await fast.pull(trigger_file="_SUCCESS")
        assert set(objects_of(fast)) == {"a", "b", "_SUCCESS"}
        assert set(tree(root)) == {".done/a", ".done/b", ".done/_SUCCESS"}

    @pytest.mark.parametrize("trigger", ["{name}.ok", "{stem}.ok", "ok"])
    async def test_a_trigger_whose_file_is_gone(self, engine: Engine, trigger: str) -> None:
        """It is finished where S3 has the file from here; one of another origin, or of none, is left, and said."""
        root = engine.sftp.root / "in"
        names = [trigger.replace("{name}", f"{name}.x").replace("{stem}", name) for name in ("a", "b", "c")]
        places = [f"{directory}/{name}" for directory, name in zip("abc", names, strict=True)]
        put(root, "a/a.x", "a/excluded", *places)
        await engine.pull(include="a.x", after_transfer="delete")
        store(engine, {"b/b.x": b"of somebody else"})
        assert set(objects_of(engine)) == {"a/a.x", "b/b.x"}
        report = await engine.pull(trigger_file=trigger, exclude="excluded")
        assert set(objects_of(engine)) == {"a/a.x", "b/b.x", places[0]}
        assert set(tree(root)) == {f"a/.done/{names[0]}", "a/excluded", *places[1:]}
        assert (report.transferred, report.skipped, report.left) == (1, {NO_FILE: 2, "excluded": 1}, 2)

    @pytest.mark.parametrize(
        ("rename_to", "key"),
        [("{dir}/new_{name}", "sub/new_a.csv"), ("all/{stem}{suffix}", "all/a.csv"), ("{stem}-{size}", None)],
    )
    async def test_one_whose_file_is_gone_and_has_another_name_in_s3(
        self, fast: Engine, rename_to: str, key: str | None
    ) -> None:
        """Where its name tells the key. So does a checksum file's, and it is beside its file then."""
        root = fast.sftp.root / "in"
        beside = {"sub/a.csv.ok", "sub/a.csv.sha256"}
        put(root, "sub/a.csv", *beside)
        await fast.pull(rename_to=rename_to, include="a.csv", after_transfer="delete")
        report = await fast.pull(trigger_file="{name}.ok", checksum_file="{name}.sha256", rename_to=rename_to)
        if key is None:
            assert (set(tree(root)), report.left) == (beside, 2)
            return
        directory = key.rpartition("/")[0]
        assert set(objects_of(fast)) == {key, f"{key}.sha256", f"{directory}/a.csv.ok"}
        assert (set(tree(root)), report.left) == ({"sub/.done/a.csv.ok", "sub/.done/a.csv.sha256"}, 0)

    @pytest.mark.parametrize("left_alone", [{"max_size": 1}, {"min_size": 9}, {"max_age": 60.0}, {"exclude": "a.csv"}])
    async def test_one_of_a_file_that_is_left_alone_waits_for_nothing(
        self, fast: Engine, left_alone: dict[str, Any]
    ) -> None:
        """It is not among what is left for the next run; nor is its checksum file."""
        root = fast.sftp.root / "in"
        put(root, "a.csv", "a.csv.ok", "a.csv.sha256")
        report = await fast.pull(trigger_file="{name}.ok", checksum_file="{name}.sha256", **left_alone)
        assert (sum(report.skipped.values()), report.left, report.oldest_age) == (3, 0, None)
        assert set(tree(root)) == {"a.csv", "a.csv.ok", "a.csv.sha256"}

    async def test_a_trigger_of_a_file_that_is_still_to_come(self, fast: Engine) -> None:
        """S3 has yesterday's of that name: today's would wait for ever."""
        root = fast.sftp.root / "in"
        put(root, "a", "a.ok")
        await fast.pull(trigger_file="{name}.ok")
        put(root, "a.ok", mtime=int(time.time()) + 60)
        report = await fast.pull(trigger_file="{name}.ok")
        assert (report.skipped, report.left) == ({NO_FILE: 1}, 1)
        assert "a.ok" in tree(root)

    async def test_a_file_that_changes_after_its_trigger_stays(self, fast: Engine, s3: S3Server) -> None:
        root = fast.sftp.root / "in"
        put(root, "a", "a.ok")
        fast.sftp.fault = Acts(lambda _: put(root, "a", mtime=WHEN + 5), ["OPEN"])  # type: ignore[attr-defined]
        report = await report_of(fast.pull(trigger_file="{name}.ok"))
        fast.sftp.fault = Fault()  # type: ignore[attr-defined]
        assert "waits for a newer one" in report.failures[0]["error"]
        assert set(tree(root)) == {"a", "a.ok"}

    async def test_shards_keep_directories_together(self, fast: Engine) -> None:
        root = fast.sftp.root / "in"
        names = [f"{number % 5}/{number}" for number in range(60)]
        put(root, *names, *(f"{name}.ok" for name in names))
        reports = [await fast.pull(trigger_file="{name}.ok", shard=f"{number}/4") for number in range(1, 5)]
        assert sum(report.transferred for report in reports) == 120
        assert [report.skipped for report in reports] == [{}] * 4
        assert len(objects_of(fast)) == 120

    async def test_nobody_ever_sees_a_trigger_before_its_file(self, fast: Engine, s3: S3Server) -> None:
        """Not in S3, nor in the done directories, in 400 files and eight shards at once, two of which twice."""
        root = fast.sftp.root / "in"
        files = {f"{number % 40}/{number}": b"%d" % number for number in range(400)}
        put(root, *files, *(f"{name}.ok" for name in files))
        stored: list[str] = []
        moved: list[str] = []
        s3.after(lambda request: stored.append(request.key) if request.operation == "PutObject" else None)

        class Moves(Fault):
            async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
                answer = await proceed()  # raises where there is nothing to be moved any more
                if request.name in RENAMES:
                    moved.append(request.path.removeprefix("/in/"))
                return answer

        assert isinstance(fast.sftp, AsyncsshServer)
        fast.sftp.fault = Moves()
        reports = await asyncio.gather(
            *(
                report_of(Engine(fast.sftp, fast.s3, fast.bucket).pull(trigger_file="{name}.ok", shard=f"{n}/8"))
                for n in range(1, 9)
                for _ in range(2 if n < 3 else 1)
            )
        )
        assert [report.failures for report in reports] == [[]] * 10
        for events in (stored, moved):
            first = {name: position for position, name in reversed(list(enumerate(events)))}
            assert {name for name in files if first[f"{name}.ok"] < first[name]} == set()
        assert len(objects_of(fast)) == len(tree(root)) == 800
        assert all("/.done/" in name for name in tree(root))

    async def test_names_on_the_way(self, fast: Engine) -> None:
        """A trigger is called by the file's own name, beside the file."""
        root = fast.sftp.root / "in"
        put(root, "sub/a.csv", "sub/a.csv.ok")
        await fast.pull(trigger_file="{name}.ok", rename_to="{dir}/new/{stem}-{mtime}{suffix}")
        assert set(objects_of(fast)) == {f"sub/new/a-{WHEN}.csv", "sub/new/a.csv.ok"}

    @pytest.mark.parametrize(
        ("trigger", "rename_to", "files", "refused"),
        [
            ("{stem}.ok", "{dir}/{stem}.ok", {"a.csv": "a.ok"}, "a trigger file"),
            ("{name}.ok", "{dir}/{stem}", {"a.csv": "a.csv.ok", "a.ok.csv": "a.ok.csv.ok"}, "a trigger file"),
            ("_SUCCESS", "all/{name}", {"x/a": "x/_SUCCESS", "y/b": "y/_SUCCESS"}, "which has it in this run"),
            ("{stem}.ok", "{stem}{suffix}", {"x/a.csv": "x/a.ok", "y/a.pdf": "y/a.ok"}, "which has it in this run"),
        ],
    )
    async def test_no_file_and_no_trigger_is_written_over_another(
        self, fast: Engine, trigger: str, rename_to: str, files: dict[str, str], refused: str
    ) -> None:
        """S3 has each that was moved away, a trigger only beside its own files. One stays, and the error says why."""
        root = fast.sftp.root / "in"
        put(root, *files, *files.values())
        report = await report_of(fast.pull(trigger_file=trigger, rename_to=rename_to))
        assert [refused in failure["error"] for failure in report.failures] == [True]
        away = {name for name in [*files, *files.values()] if not (root / name).exists()}
        assert len(away) == 2 * (len(files) - 1)
        assert sorted(objects_of(fast).values()) == sorted(name.encode() for name in away)

    async def test_two_runs_at_once(self, fast: Engine) -> None:
        """Each file and trigger is in S3 and in its done directory, and nothing is said to have failed."""
        root = fast.sftp.root / "in"
        names = [f"{number}" for number in range(40)]
        put(root, *names, *(f"{name}.ok" for name in names))
        other = Engine(fast.sftp, fast.s3, fast.bucket)
        reports = await asyncio.gather(*(report_of(each.pull(trigger_file="{name}.ok")) for each in (fast, other)))
        assert [report.failures for report in reports] == [[], []]
        assert len(objects_of(fast)) == 80
        assert len(tree(root)) == 80
        assert all(name.startswith(".done/") for name in tree(root))

    @pytest.mark.parametrize(
        "settings",
        [
            *({name: value} for name, value in (("sftp_paths", "a"), ("on_conflict", "rename"))),
            {"follow_links": True, "after_transfer": "keep"},
            {"rename_to": "{stem}/{name}"},
            {"trigger_file": "_SUCCESS", "shard": "1/2"},
        ],
    )
    async def test_what_does_not_go_together(self, fast: Engine, settings: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=r"trigger_file .*does not go with"):
            await fast.pull(**{"trigger_file": "{name}.ok", **settings})
