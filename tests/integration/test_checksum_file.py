"""`checksum_file`: the sum of each file in another one beside it, seen from the partner's side."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.awaited import NO_CHECKSUM, NO_TRIGGER
from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from airflow_provider_sftp_s3.engine.pulled_sums import NO_FILE_OF_SUM
from tests.faults.harness import Acts, marked_keys
from tests.support.engine import Engine, objects_of, report_of, store
from tests.support.faulty_sftp import RENAMES, Refuses
from tests.support.listener import Listener
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import Fault
from tests.support.trees import WHEN, tree

pytestmark = pytest.mark.integration

SHA256 = "{name}.sha256"


def sum_of(name: str, data: bytes, algorithm: str = "sha256") -> bytes:
    return f"{hashlib.new(algorithm, data).hexdigest()}  {name.rpartition('/')[2]}\n".encode()


def with_sums(files: dict[str, bytes]) -> dict[str, bytes]:
    return files | {f"{name}.sha256": sum_of(name, data) for name, data in files.items()}


def put(root: Path, files: dict[str, bytes], mtime: int = WHEN) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
        os.utime(root / name, (mtime, mtime))


class TestPush:
    """Old one away, file, checksum file, mark."""

    @pytest.mark.parametrize(("algorithm", "temp_name"), [("sha256", ".{id}.part"), ("md5", None)])
    async def test_each_file_has_its_sum(self, engine: Engine, algorithm: str, temp_name: str | None) -> None:
        """As coreutils check it; also where there is new data. One in S3 is no file."""
        root = engine.sftp.root / "out"
        settings: dict[str, Any] = {"checksum_file": f"{{name}}.{algorithm}", "temp_name": temp_name}
        store(engine, {"a.csv": b"a", "sub/b.csv": os.urandom(400_000), "empty": b"", f"c.{algorithm}": b"not pushed"})
        report = await engine.push(**settings)
        assert (report.transferred, report.skipped) == (3, {"checksum file": 1})
        names = {"a.csv", "sub/b.csv", "empty"}
        assert set(tree(root)) == names | {f"{name}.{algorithm}" for name in names}
        store(engine, {"a.csv": b"new"})
        await engine.push(**settings)
        assert tree(root)[f"a.csv.{algorithm}"] == sum_of("a.csv", b"new", algorithm)
        for path in root.rglob(f"*.{algorithm}"):
            command = [f"{algorithm}sum", "-c", "--strict", path.name]
            await asyncio.to_thread(subprocess.run, command, cwd=path.parent, check=True)

    async def test_the_order_of_all_steps(self, fast: Engine) -> None:
        """Old trigger away, old sum away, file, sum, trigger; and then the mark."""
        root = fast.sftp.root / "out"
        put(root, {**with_sums({"a": b"old"}), "a.ok": b""})
        steps: list[str] = []

        def note(request: Any) -> None:
            if "part" not in request.path or request.name.endswith("RENAME"):
                steps.append(f"{request.name} {(request.target or request.path).rpartition('/')[2]}")

        names = ("REMOVE", *RENAMES, "OPEN")
        fast.sftp.fault = Acts(note, names, always=True)  # type: ignore[attr-defined]
        store(fast, {"a": b"new"})
        await fast.push(checksum_file=SHA256, trigger_file="{name}.ok")
        assert [step.replace("POSIX-", "") for step in steps] == [
            *("REMOVE a.ok", "REMOVE a.sha256", "RENAME a", "RENAME a.sha256", "OPEN a.ok"),
        ]
        assert tree(root) == {**with_sums({"a": b"new"}), "a.ok": b""}

    @pytest.mark.parametrize(("temp_name", "count"), [(".{id}.part", 400), (None, 150)])
    async def test_the_partner_never_sees_one_first(self, fast: Engine, temp_name: str | None, count: int) -> None:
        """Neither a sum nor a trigger, in many files by mapped batches, half of which replace older ones."""
        root = fast.sftp.root / "out"
        files = {f"{number % 3}/{number:04}": b"%d new" % number for number in range(count)}
        older = dict.fromkeys(list(files)[::2], b"old")
        put(root, {**with_sums(older), **{f"{name}.ok": b"" for name in older}})
        for name in older:  # whose trigger is of older bytes is not for this listener
            (root / f"{name}.ok").unlink()
        listener = Listener(root, files, ".ok", sums=".sha256", sums_alone=temp_name is not None)
        store(fast, files)
        batches = [[name for name in files if name.startswith(f"{number}/")] for number in range(3)]
        engines = [Engine(fast.sftp, fast.s3, fast.bucket) for _ in batches]
        settings: dict[str, Any] = {"trigger_file": "{name}.ok", "checksum_file": SHA256, "temp_name": temp_name}
        with listener.listening():
            reports = await asyncio.gather(
                *(each.push(s3_keys=keys, **settings) for each, keys in zip(engines, batches, strict=True))
            )
        assert sum(report.transferred for report in reports) == count
        assert listener.looks > 1, "not at the end only"
        assert listener.wrong == set()
        suffixes = (".ok", ".sha256") if temp_name else (".ok",)
        assert listener.seen == {f"{name}{suffix}" for name in files for suffix in suffixes}

    async def test_two_runs_at_once(self, fast: Engine) -> None:
        """Whoever is second takes the first one's away before its file comes again."""
        root = fast.sftp.root / "out"
        files = {f"{number}": b"%d" % number for number in range(40)}
        listener = Listener(root, files, None, sums=".sha256")
        store(fast, files)
        other = Engine(fast.sftp, fast.s3, fast.bucket)
        with listener.listening():
            await asyncio.gather(*(report_of(each.push(checksum_file=SHA256)) for each in (fast, other)))
        assert listener.wrong == set()
        assert tree(root) == with_sums(files)
        assert marked_keys(fast.bucket) == set(files)

    async def test_it_is_refused(self, fast: Engine) -> None:
        """Its file is not marked, and is sent again."""
        store(fast, {"a": b"a"})
        fast.sftp.fault = Refuses(RENAMES, lambda path: path.endswith(".sha256"))  # type: ignore[attr-defined]
        report = await report_of(fast.push(checksum_file=SHA256))
        assert "its checksum file cannot be made" in report.failures[0]["error"]
        assert marked_keys(fast.bucket) == set()
        fast.sftp.fault = Fault()  # type: ignore[attr-defined]
        await fast.push(checksum_file=SHA256)
        assert tree(fast.sftp.root / "out") == with_sums({"a": b"a"})

    async def test_what_is_overwritten_meanwhile_has_the_sum_of_the_newer_bytes(
        self, fast: Engine, s3: S3Server
    ) -> None:
        store(fast, {"a": b"older"})
        late: list[str] = []

        @s3.before
        def overwrite(request: S3Request) -> None:
            if request.operation == "CopyObject" and request.key == "a" and not late:
                late.append(request.key)
                store(fast, {"a": b"newer"})

        report = await fast.push(checksum_file=SHA256)
        assert (report.transferred, late) == (1, ["a"])
        assert tree(fast.sftp.root / "out") == with_sums({"a": b"newer"})

    async def test_a_file_that_stays_keeps_its_own(self, fast: Engine) -> None:
        root = fast.sftp.root / "out"
        put(root, with_sums({"a": b"before"}))
        store(fast, {"a": b"new"})
        report = await report_of(fast.push(checksum_file=SHA256, on_conflict="fail"))
        assert report.failed == 1
        assert tree(root) == with_sums({"a": b"before"})

    @pytest.mark.parametrize(
        "settings",
        [
            {"checksum_file": SHA256, "rename_to": "{stem}.sha256"},
            {"trigger_file": "{name}.ok", "rename_to": "{stem}.ok"},
            {"trigger_file": "{name}.ok", "strip_regex": r"\.txt$"},
        ],
    )
    async def test_no_file_takes_the_name_of_one(self, fast: Engine, settings: dict[str, Any]) -> None:
        """It would be seen beside another file, before that one has come."""
        store(fast, {"a.ok.txt": b"1"})
        report = await report_of(fast.push(**settings))
        assert "it would have the name of a" in report.failures[0]["error"]
        assert tree(fast.sftp.root / "out") == {}

    async def test_it_has_mode_and_mtime_of_its_file(self, fast: Engine) -> None:
        fast.s3.client().put_object(Bucket=fast.bucket, Key="a", Body=b"a", Metadata={"mtime": str(WHEN)})
        await fast.push(checksum_file=SHA256, file_mode=0o640, preserve_mtime=True)
        stats = [(fast.sftp.root / "out" / name).stat() for name in ("a", "a.sha256")]
        assert {(stat.st_mode & 0o777, int(stat.st_mtime)) for stat in stats} == {(0o640, WHEN)}

    @pytest.mark.parametrize("mode", ["rename", "wait"])
    async def test_what_does_not_go_together(self, fast: Engine, mode: str) -> None:
        with pytest.raises(ConfigurationError, match="checksum_file does not go with"):
            await fast.push(checksum_file=SHA256, on_conflict=mode)

    async def test_off_it_costs_no_request(self, fast: Engine) -> None:
        """A push without it asks the server for nothing more than it did."""
        store(fast, {"a": b"a"})
        await fast.push()
        asked = fast.sftp.requests  # type: ignore[attr-defined]
        assert asked["REMOVE"] == 0
        assert sum(asked[name] for name in ("OPEN", "WRITE", *RENAMES)) == 3


class TestPull:
    """Sum read, file into S3 where it has it, checksum file into S3, file away, checksum file away."""

    async def test_a_file_is_taken_with_its_sum(self, engine: Engine) -> None:
        """One without waits; one with another sum fails, and stays; MD5 is another kind of file."""
        root = engine.sftp.root / "in"
        put(root, with_sums({"a.csv": b"a", "sub/bad": b"as it should be"}))
        put(root, {"sub/bad": b"as it is", "sub/none": b"", "sub/none.md5": sum_of("none", b"", "md5")})
        report = await report_of(engine.pull(checksum_file=SHA256, exclude="*.md5"))
        assert engine.s3.objects(engine.bucket) == with_sums({"a.csv": b"a"})
        stays = {"sub/bad", "sub/bad.sha256", "sub/none", "sub/none.md5"}
        assert set(tree(root)) == {".done/a.csv", ".done/a.csv.sha256", *stays}
        assert report.skipped == {NO_CHECKSUM: 1, "excluded": 1}
        assert (report.transferred, report.failed, report.left) == (2, 1, 2)
        assert "its checksum file says" in report.failures[0]["error"]
        put(root, {**with_sums({"sub/bad": b"as it should be"}), "sub/none.sha256": sum_of("none", b"")})
        report = await engine.pull(checksum_file=SHA256)
        assert (report.transferred, report.failed, report.skipped) == (4, 0, {NO_CHECKSUM: 1})
        assert set(tree(root)) == {
            *(".done/a.csv", ".done/a.csv.sha256", "sub/.done/bad", "sub/.done/bad.sha256"),
            *("sub/.done/none", "sub/.done/none.sha256", "sub/none.md5"),
        }

    @pytest.mark.parametrize("after_transfer", ["move", "delete", "keep"])
    async def test_a_large_file_is_not_completed_with_another_sum(self, fast: Engine, after_transfer: str) -> None:
        """Nothing of it is left in S3, and it stays."""
        root = fast.sftp.root / "in"
        fast.options = TransferOptions(part_size=5 * MiB)
        data = os.urandom(11 * MiB)
        put(root, {"a": data[:-1] + b"x", "a.sha256": sum_of("a", data)})
        settings: dict[str, Any] = {"checksum_file": SHA256, "after_transfer": after_transfer}
        report = await report_of(fast.pull(**settings))
        assert (report.failed, set(objects_of(fast)), set(tree(root))) == (1, set(), {"a", "a.sha256"})
        assert fast.s3.unfinished_uploads(fast.bucket) == []  # type: ignore[attr-defined]
        put(root, {"a": data})
        await fast.pull(**settings)
        assert fast.s3.objects(fast.bucket)["a"] == data
        assert set(objects_of(fast)) == {"a", "a.sha256"}
        left = {"move": {".done/a", ".done/a.sha256"}, "delete": set(), "keep": {"a", "a.sha256"}}[after_transfer]
        assert set(tree(root)) == left
        report = await fast.pull(**settings)
        assert (report.transferred, report.failed) == (0, 0)

    async def test_the_order_of_all_steps(self, fast: Engine, s3: S3Server) -> None:
        root = fast.sftp.root / "in"
        steps: list[str] = []
        put(root, {**with_sums({"a": b"a"}), "a.ok": b""})

        def moved(request: Any) -> None:
            steps.append(f"move {request.path.rpartition('/')[2]}")

        fast.sftp.fault = Acts(moved, RENAMES, always=True)  # type: ignore[attr-defined]

        @s3.after
        def seen(request: S3Request) -> None:
            if request.operation == "PutObject" and ".sftp-s3" not in (request.key or ""):
                steps.append(f"PUT {request.key}")

        await fast.pull(checksum_file=SHA256, trigger_file="{name}.ok")
        assert steps == ["PUT a", "PUT a.sha256", "PUT a.ok", "move a", "move a.sha256", "move a.ok"]

    async def test_with_a_trigger_of_a_directory(self, fast: Engine) -> None:
        """The trigger goes after all files and their sums; it stays where a file has another sum, or none."""
        root = fast.sftp.root / "in"
        settings: dict[str, Any] = {"checksum_file": SHA256, "trigger_file": "_SUCCESS"}
        put(root, {**with_sums({"a": b"a", "b": b"b"}), "c": b"c", "_SUCCESS": b""})
        put(root, {"b": b"x"})
        report = await report_of(fast.pull(**settings))
        assert (report.failed, report.skipped) == (1, {NO_CHECKSUM: 1})
        assert set(objects_of(fast)) == {"a", "a.sha256"}
        put(root, with_sums({"b": b"b", "c": b"c"}))
        await fast.pull(**settings)
        names = {*with_sums({"a": b"", "b": b"", "c": b""}), "_SUCCESS"}
        assert set(objects_of(fast)) == names
        assert set(tree(root)) == {f".done/{name}" for name in names}
        put(root, with_sums({"d": b"d"}))
        assert (await fast.pull(**settings)).skipped == {NO_TRIGGER: 1}

    async def test_a_sum_whose_file_is_gone(self, engine: Engine) -> None:
        """It is finished where S3 has the file from here, stored since; else it is left, and said."""
        root = engine.sftp.root / "in"
        put(root, {"a": b"a", "a.sha256": sum_of("a", b"a"), "b.sha256": sum_of("b", b"b")})
        await engine.pull(include="a", after_transfer="delete")
        report = await engine.pull(checksum_file=SHA256)
        assert set(objects_of(engine)) == {"a", "a.sha256"}
        assert set(tree(root)) == {".done/a.sha256", "b.sha256"}
        assert (report.transferred, report.skipped, report.left) == (1, {NO_FILE_OF_SUM: 1}, 1)

    async def test_a_sum_that_changes_after_it_was_read(self, fast: Engine, s3: S3Server) -> None:
        """S3 never gets another one than the file was compared with."""
        root = fast.sftp.root / "in"
        put(root, with_sums({"a": b"a"}))

        @s3.before
        def change(request: S3Request) -> None:
            if request.operation == "PutObject" and request.key == "a":
                put(root, {"a.sha256": sum_of("a", b"other")}, WHEN + 5)

        report = await report_of(fast.pull(checksum_file=SHA256))
        assert "its checksum file cannot be pulled" in report.failures[0]["error"]
        assert (set(objects_of(fast)), set(tree(root))) == ({"a"}, {"a", "a.sha256"})

    async def test_a_sum_that_is_taken_away(self, fast: Engine) -> None:
        root = fast.sftp.root / "in"
        put(root, with_sums({"a": b"a"}))
        gone = Acts(lambda _: (root / "a.sha256").unlink(), ["OPEN"], where=lambda request: "sha256" in request.path)
        fast.sftp.fault = gone  # type: ignore[attr-defined]
        report = await report_of(fast.pull(checksum_file=SHA256))
        assert "its checksum file was taken away meanwhile" in report.failures[0]["error"]
        assert (set(objects_of(fast)), set(tree(root))) == (set(), {"a"})

    async def test_another_file_that_turns_up_in_the_done_directory_goes_back(self, fast: Engine) -> None:
        """It has replaced the one that was read right before the move, and nobody has said its sum."""
        root = fast.sftp.root / "in"
        put(root, with_sums({"a": b"a"}))
        replaced = Acts(lambda _: put(root, {"a": b"another"}), RENAMES)
        fast.sftp.fault = replaced  # type: ignore[attr-defined]
        report = await report_of(fast.pull(checksum_file=SHA256))
        assert "its checksum file says" in report.failures[0]["error"]
        assert fast.s3.objects(fast.bucket)["a"] == b"a"
        assert tree(root) == {"a": b"another", "a.sha256": sum_of("a", b"a")}

    async def test_no_more_than_one_file_is_open_at_a_time(self, fast: Engine) -> None:
        """A file does not wait for itself where its server has few handles."""
        root = fast.sftp.root / "in"
        put(root, with_sums({f"{number}": b"x" for number in range(5)}))
        fast.options = TransferOptions(concurrency=1)
        assert (await fast.pull(checksum_file=SHA256)).transferred == 10

    async def test_a_mailbox_that_takes_what_is_closed(self, fast: Engine, s3: S3Server) -> None:
        """The sum is not lost where S3 refuses its file: it is not closed before S3 has that."""
        root = fast.sftp.root / "in"
        put(root, with_sums({"a": b"a"}))
        closed: list[str] = []
        fast.sftp.fault = Acts(lambda request: closed.append(request.path), ["CLOSE"], always=True)  # type: ignore[attr-defined]
        before: list[list[str]] = []

        @s3.before
        def note(request: S3Request) -> None:
            if request.operation == "PutObject" and request.key == "a":
                before.append([path for path in closed if path.endswith((".sha256", "/a"))])

        await fast.pull(checksum_file=SHA256)
        assert before == [[]]

    @pytest.mark.parametrize("rename_to", [None, "all/{name}", "{dir}/new/{name}"])
    @pytest.mark.parametrize("beside", [{"checksum_file": SHA256}, {"trigger_file": "{name}.sha256"}])
    async def test_shards_keep_directories_together(
        self, fast: Engine, rename_to: str | None, beside: dict[str, str]
    ) -> None:
        """Also where they have other names in S3: no file is taken without what is beside it."""
        root = fast.sftp.root / "in"
        files = with_sums({f"{number % 5}/{number}": b"%d" % number for number in range(60)})
        put(root, {**files, "0/none": b""})
        reports = [await fast.pull(shard=f"{number}/4", rename_to=rename_to, **beside) for number in range(1, 5)]
        assert sum(report.transferred for report in reports) == 120
        waits = NO_CHECKSUM if "checksum_file" in beside else NO_TRIGGER
        assert sorted((report.skipped for report in reports), key=len) == [{}, {}, {}, {waits: 1}]
        assert len(set(objects_of(fast))) == 120

    async def test_no_file_is_written_over_by_the_sum_of_another(self, fast: Engine) -> None:
        """S3 has each that was moved away: the file that would have the name of a checksum file stays."""
        root = fast.sftp.root / "in"
        files = {"x.csv": b"x", "x.sha256.csv": b"another"}
        put(root, with_sums(files))
        report = await report_of(fast.pull(checksum_file=SHA256, rename_to="{dir}/{stem}"))
        assert [failure["error"][:45] for failure in report.failures] == [
            "rename_to gives it the name of a checksum file"[:45]
        ]
        assert objects_of(fast) == {"x": b"x", "x.sha256": sum_of("x.csv", b"x")}
        assert {"x.sha256.csv", "x.sha256.csv.sha256"} < set(tree(root))

    async def test_names_on_the_way(self, fast: Engine) -> None:
        """It is called by what its file is called in S3: Monday's is not replaced by Tuesday's."""
        root = fast.sftp.root / "in"
        for mtime, data in ((WHEN, b"mon"), (WHEN + 86_400, b"tue")):
            put(root, with_sums({"sub/a.csv": data}), mtime)
            await fast.pull(checksum_file=SHA256, rename_to="{dir}/{stem}-{mtime}{suffix}")
        keys = {f"sub/a-{mtime}.csv" for mtime in (WHEN, WHEN + 86_400)}
        assert set(objects_of(fast)) == keys | {f"{key}.sha256" for key in keys}

    async def test_two_runs_at_once(self, fast: Engine) -> None:
        """Each file and its sum are in S3 and in the done directory, and nothing is said to have failed."""
        root = fast.sftp.root / "in"
        files = with_sums({f"{number}": b"%d" % number for number in range(40)})
        put(root, files)
        other = Engine(fast.sftp, fast.s3, fast.bucket)
        reports = await asyncio.gather(*(report_of(each.pull(checksum_file=SHA256)) for each in (fast, other)))
        assert [report.failures for report in reports] == [[], []]
        assert fast.s3.objects(fast.bucket) == files
        assert tree(root) == {f".done/{name}": data for name, data in files.items()}

    async def test_there_and_back(self, fast: Engine) -> None:
        """What a push has written, a pull takes, whichever characters a name has."""
        files = {"a b.csv": b"1", "ä\\n.csv": b"2", "-": b"3", "x/*": b"4"}
        store(fast, files)
        await fast.push(checksum_file=SHA256)
        shutil.copytree(fast.sftp.root / "out", fast.sftp.root / "in", dirs_exist_ok=True)
        report = await fast.pull(checksum_file=SHA256, s3_prefix="again/")
        assert report.transferred == 8

    @pytest.mark.parametrize(
        "settings",
        [
            *({name: value} for name, value in (("sftp_paths", "a"), ("on_conflict", "rename"))),
            {"follow_links": True, "after_transfer": "keep"},
            {"rename_to": "{stem}/{name}"},
            {"checksum_file": "{stem}.sha256"},
            {"checksum_file": "{name}.sha1"},
            {"trigger_file": "{stem}.sha256"},
        ],
    )
    async def test_what_does_not_go_together(self, fast: Engine, settings: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match="checksum_file"):
            await fast.pull(**{"checksum_file": SHA256, **settings})
