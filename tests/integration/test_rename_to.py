"""Names on the way: what `rename_to` makes of them in both directions, and two sources of one name."""

from __future__ import annotations

import asyncio
import datetime
import os
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import TransferError
from airflow_provider_sftp_s3.engine.model import Report
from airflow_provider_sftp_s3.engine.s3 import ledger
from tests.faults.harness import Acts, Together
from tests.support.engine import Engine, store
from tests.support.faulty_sftp import AttributesAre, ListingStates, RenameSetsTheMtime
from tests.support.trees import WHEN, put, tree

pytestmark = pytest.mark.integration

NO_TIMES = {"mtime": None, "atime": None}
DATED = "{dir}/{stem}_{mtime:%Y%m%d}{suffix}"


def failures(failed: pytest.ExceptionInfo[TransferError]) -> dict[str, str]:
    return {each["source"].rpartition("/")[2]: each["error"] for each in failed.value.report.failures}


class TestPull:
    """The key is made of name, size and mtime; the file is moved under its own name."""

    @pytest.mark.parametrize("after_transfer", ["move", "delete", "keep"])
    async def test_files_go_under_their_new_names(self, engine: Engine, after_transfer: str) -> None:
        """The report has them, and the next run has nothing to do."""
        root = engine.sftp.root / "in"
        put(root, {"a.csv": b"a", "sub/b.tar.gz": b"bb", "sub/.hidden": b"", "ü 😀.csv": b"u"})
        settings = {"s3_prefix": "p", "rename_to": DATED, "after_transfer": after_transfer}
        dry = await engine.pull(**settings, dry_run=True)
        report = await engine.pull(**settings)
        assert engine.s3.objects(engine.bucket) == {
            "p/a_20260131.csv": b"a",
            "p/sub/b.tar_20260131.gz": b"bb",
            "p/sub/.hidden_20260131": b"",
            "p/ü 😀_20260131.csv": b"u",
        }
        uris = [f"s3://{engine.bucket}/{key}" for key in engine.s3.objects(engine.bucket)]
        assert sorted(report.targets) == sorted(dry.targets) == sorted(uris)
        moved = {".done/a.csv", "sub/.done/b.tar.gz", "sub/.done/.hidden", ".done/ü 😀.csv"}
        kept = {"a.csv", "sub/b.tar.gz", "sub/.hidden", "ü 😀.csv"}
        assert set(tree(root)) == {"move": moved, "delete": set(), "keep": kept}[after_transfer]
        again = await engine.pull(**settings)
        assert (again.transferred, again.failed) == (0, 0)
        assert again.skipped == ({"unchanged": 4} if after_transfer == "keep" else {})

    async def test_what_is_kept_is_known_by_its_new_name_in_the_ledger(
        self, fast: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Objects are not asked for; a file that has changed goes again, and under another name."""
        monkeypatch.setattr(ledger, "MIN_NEW_FACTS", 1)
        root = fast.sftp.root / "in"
        put(root, {f"{number}.csv": b"x" for number in range(5)})
        settings = {"rename_to": DATED, "after_transfer": "keep"}
        for expected in ({}, {"unchanged": 5}):
            assert (await fast.pull(**settings)).skipped == expected
        fast.s3.requests.clear()
        assert (await fast.pull(**settings)).skipped == {"unchanged": 5}
        looks = [request for request in fast.s3.requests if request.operation == "HeadObject"]
        assert len(looks) <= 1, "the first file of a run is not worth a ledger yet"
        put(root, {"0.csv": b"y"}, WHEN + 3)
        assert (await fast.pull(**settings)).targets == [f"s3://{fast.bucket}/0_20260201.csv"]

    @pytest.mark.parametrize("after_transfer", ["move", "delete", "keep"])
    async def test_of_two_files_of_one_key_the_second_fails(self, engine: Engine, after_transfer: str) -> None:
        """In the retries of the run, too, and stays; the next run puts it in the place of the first."""
        root = engine.sftp.root / "in"
        put(root, {"x/a.csv": b"1", "y/a.csv": b"22"})
        settings = {"rename_to": "{name}", "after_transfer": after_transfer}
        began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=2)
        first = await self._one_fails(engine, root, **settings)
        assert await self._one_fails(engine, root, **settings, retried_since=began) == first
        if after_transfer != "keep":
            assert (await engine.pull(**settings)).transferred == 1
            assert engine.s3.objects(engine.bucket) == {"a.csv": b"1" if first == b"22" else b"22"}

    async def _one_fails(self, engine: Engine, root: Path, **settings: Any) -> bytes:
        with pytest.raises(TransferError) as failed:
            await engine.pull(**settings)
        assert failed.value.report.failed == 1
        (said,) = failures(failed).values()
        assert "rename_to gives it the key" in said
        if "retried_since" not in settings:
            assert "'x/a.csv'" in said or "'y/a.csv'" in said
        (stored,) = engine.s3.objects(engine.bucket).values()
        assert {b"1", b"22"} - {stored} <= {
            (root / name).read_bytes() for name in ("x/a.csv", "y/a.csv") if (root / name).exists()
        }
        return stored

    async def test_what_has_moved_to_one_key_is_in_one_shard(self, fast: Engine) -> None:
        """Of thirty pairs in eight shards each second file fails: no shard overwrites what another has stored."""
        root = fast.sftp.root / "in"
        put(root, {f"{way}/{number}.csv": f"{way}{number}".encode() for number in range(30) for way in "xy"})
        shards = [f"{number}/8" for number in range(1, 9)]
        pulls = [
            Engine(fast.sftp, fast.s3, fast.bucket).pull(rename_to="all/{name}", shard=shard, after_transfer="move")
            for shard in shards
        ]
        ended = await asyncio.gather(*pulls, return_exceptions=True)
        reports = [end.report if isinstance(end, TransferError) else end for end in ended]
        assert all(isinstance(report, Report) for report in reports), reports
        assert [sum(getattr(report, name) for report in reports) for name in ("transferred", "failed")] == [30, 30]
        objects = fast.s3.objects(fast.bucket)
        left = {name: data for name, data in tree(root).items() if ".done" not in name}
        assert sorted([*objects.values(), *left.values()]) == sorted(
            f"{w}{n}".encode() for n in range(30) for w in "xy"
        )

    @pytest.mark.parametrize(
        ("name", "rename_to", "why"),
        [
            ("a.", ".{suffix}", "segment '..'"),
            ("a", "{suffix}/{stem}", "slash"),
            (".sftp", "{dir}/{stem}-s3", "uses names of that kind"),
            ("x" * 200, "{stem}{stem}", "400 bytes"),
            (".sftp-s3/a", "{name}", "uses names of that kind"),
        ],
    )
    async def test_a_hostile_name_is_refused(self, fast: Engine, name: str, rename_to: str, why: str) -> None:
        """Before it is opened, and the file stays."""
        root = fast.sftp.root / "in"
        put(root, {name: b"x"})
        with pytest.raises(TransferError) as failed:
            await fast.pull(rename_to=rename_to, after_transfer="delete")
        assert why in failures(failed)[name.rpartition("/")[2]]
        assert tree(root)[name] == b"x"
        assert not fast.sftp.requests["OPEN"]  # type: ignore[attr-defined]

    async def test_a_file_that_changes_gets_the_name_of_what_was_read(self, fast: Engine) -> None:
        """It was listed as another one."""
        root = fast.sftp.root / "in"
        put(root, {"a": b"old"})

        def replace(_: Any) -> None:
            put(root, {"a": b"newer"}, WHEN + 100)

        fast.sftp.fault = Acts(replace, ("OPEN",), where=lambda request: request.path.endswith("/a"))  # type: ignore[attr-defined]
        await fast.pull(rename_to="{name}.{mtime}")
        assert fast.s3.objects(fast.bucket) == {f"a.{WHEN + 100}": b"newer"}

    async def test_on_a_server_whose_rename_sets_the_mtime_a_file_has_one_name(self, fast: Engine) -> None:
        """Though it is read once more after its move."""
        fast.sftp.fault = RenameSetsTheMtime()  # type: ignore[attr-defined]
        put(fast.sftp.root / "in", {"a": b"a", "b": b"b"})
        await fast.pull(rename_to="{name}.{mtime}")
        assert fast.s3.objects(fast.bucket) == {f"a.{WHEN}": b"a", f"b.{WHEN}": b"b"}

    async def test_a_name_of_what_the_server_does_not_say_is_refused(self, fast: Engine) -> None:
        """And not made of a nought; what is not needed is not asked for."""
        put(fast.sftp.root / "in", {"a": b"a"})
        fast.sftp.fault = Together(  # type: ignore[attr-defined]
            AttributesAre(lambda _: NO_TIMES), ListingStates(lambda _: NO_TIMES)
        )
        with pytest.raises(TransferError) as failed:
            await fast.pull(rename_to="{mtime}")
        assert "nobody says its mtime" in failures(failed)["a"]
        assert (await fast.pull(rename_to="{size}")).targets == [f"s3://{fast.bucket}/1"]

    async def test_done_files_are_purged_by_the_name_of_their_object(self, fast: Engine) -> None:
        """One that was never stamped has the key of its own mtime, and is stamped instead."""
        root = fast.sftp.root / "in"
        put(root, {"a": b"a"})
        await fast.pull(rename_to=DATED)
        put(root, {".done/a": b"a"})  # its own time once more: the run ended before it was stamped
        assert (await fast.pull(rename_to=DATED, retention=60)).purged == 0
        assert (root / ".done/a").stat().st_mtime > WHEN
        os.utime(root / ".done/a", (WHEN + 1, WHEN + 1))
        assert (await fast.pull(rename_to=DATED, retention=60)).purged == 1


class TestPush:
    """The path is made of what is left of the key, and of what S3 says of the object."""

    async def test_objects_go_under_their_new_names(self, engine: Engine) -> None:
        """A pulled one by the time of its file, another one by its own; marked, it is not pushed again."""
        store(engine, {"p/a.csv": b"a", "p/sub/b": b"bb"}, Metadata={"mtime": str(WHEN)})
        store(engine, {"p/c": b"c"}, Metadata={"mtime": "yesterday"})
        store(engine, {"p/d": b"d"}, Metadata={"mtime": f"{WHEN}.123456789"})
        settings = {"s3_prefix": "p/", "rename_to": "{dir}/{stem}_{mtime:%Y%m%d}_{size}{suffix}"}
        dry = await engine.push(**settings, dry_run=True)
        report = await engine.push(**settings)
        today = engine.s3.client().head_object(Bucket=engine.bucket, Key="p/c")["LastModified"].strftime("%Y%m%d")
        names = {
            "a_20260131_1.csv": b"a",
            "sub/b_20260131_2": b"bb",
            f"c_{today}_1": b"c",
            "d_20260131_1": b"d",
        }
        assert tree(engine.sftp.root / "out") == names
        assert sorted(report.targets) == sorted(dry.targets)
        assert {target.partition("/out/")[2] for target in report.targets} == set(names)
        assert (await engine.push(**settings)).skipped == {"synced": 4}

    @pytest.mark.parametrize("rename_to", ["{stem}", "{mtime}"])
    @pytest.mark.parametrize("by_keys", [False, True])
    async def test_of_two_objects_of_one_path_the_second_fails(
        self, fast: Engine, rename_to: str, by_keys: bool
    ) -> None:
        """In the retries of the run, too, and is not marked; a later run pushes it in the place of the first."""
        store(fast, {"a.1": b"1", "a.2": b"22"}, Metadata={"mtime": str(WHEN)})
        settings: dict[str, Any] = {"rename_to": rename_to, **({"s3_keys": ["a.1", "a.2"]} if by_keys else {})}
        began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=2)
        with pytest.raises(TransferError) as failed:
            await fast.push(**settings)
        ((second, said),) = failures(failed).items()
        first = "a.1" if second == "a.2" else "a.2"
        assert f"rename_to makes the same path of this key and of '{first}'" in said
        (path,) = (fast.sftp.root / "out").iterdir()
        assert path.read_bytes() == {"a.1": b"1", "a.2": b"22"}[first]
        if rename_to == "{stem}":
            with pytest.raises(TransferError) as failed:
                await fast.push(**settings, retried_since=began)
            assert set(failures(failed)) == {second}
        assert (await fast.push(s3_keys=[second], rename_to=rename_to)).transferred == 1

    @pytest.mark.parametrize(
        ("key", "rename_to", "why"),
        [
            ("a.", ".{suffix}", "segment '..'"),
            ("a.0123456789abcdef", "{suffix}.part", "unfinished files"),
            (".sftp", "{name}-s3", "uses names of that kind"),
            ("x" * 200, "{stem}{stem}", "400 bytes"),
        ],
    )
    async def test_a_hostile_name_is_refused(self, fast: Engine, key: str, rename_to: str, why: str) -> None:
        """Before it is downloaded, and it is not marked."""
        store(fast, {key: b"x"})
        fast.s3.requests.clear()
        for _ in range(2):
            with pytest.raises(TransferError) as failed:
                await fast.push(rename_to=rename_to)
            assert why in failures(failed)[key]
        assert tree(fast.sftp.root / "out") == {}
        assert not [request for request in fast.s3.requests if (request.operation, request.key) == ("GetObject", key)]

    async def test_it_comes_after_strip_regex(self, fast: Engine) -> None:
        """And is made of what that leaves."""
        store(fast, {"2026/x/a.csv": b"a"})
        await fast.push(strip_regex=r"^\d+/", rename_to="{dir}-{stem}{suffix}.new")
        assert tree(fast.sftp.root / "out") == {"x-a.csv.new": b"a"}
