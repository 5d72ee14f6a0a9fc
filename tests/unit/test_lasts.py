"""Files that go after all others of their directory: in a run of any tree, whatever becomes of its files."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, FileError
from airflow_provider_sftp_s3.engine.lasts import HELD, LastNames, Lasts, directory_of
from airflow_provider_sftp_s3.engine.limits import Caps
from airflow_provider_sftp_s3.engine.model import Outcome, Report
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.run import Run
from tests.support.engine import Recorder

pytestmark = pytest.mark.unit

LAST = ("_LAST", "a/*.last")
NAMES = [
    f"{directory}{name}"
    for directory in ("", "a/", "a/b/", "a/b/c/", "ab/", "d/e/")
    for name in ("1", "2", "_LAST", "x.last")
]
#: What becomes of a file, and whether the next run has it to do then.
FATES = {"moved": False, "synced": False, "excluded": False, "fails": True, "waits": True, "is young": True}
#: In such a run some come while it looks for files, and the last ones of them stay.
IN_A_PUSH = {**FATES, "comes meanwhile": False}
BEGAN = 100.0


@dataclass(frozen=True)
class File:
    label: str
    size: int = 1
    changed: float | None = 7.0


def is_last(name: str) -> bool:
    directory, _, own = name.rpartition("/")
    return own == "_LAST" or (directory == "a" and own.endswith(".last"))


def goes_before(other: str, last: str) -> bool:
    """Say whether a last file has to wait for another one: what is in its directory, or beneath it."""
    directory = directory_of(last)
    if other == last or (directory_of(other) == directory and is_last(other)):
        return False
    return not directory or other.startswith(f"{directory}/")


class World:
    """A tree of files, what becomes of each, and a run of it."""

    def __init__(self, fates: dict[str, str], max_files: int | None = None) -> None:
        self.fates = fates
        self.begun: list[str] = []
        #: others that were not done when a last file was begun
        self.early: list[str] = []
        self.ended: dict[str, Outcome] = {}
        self.lasts: Lasts[File] = Lasts(LastNames(LAST), lambda file: file.label, now=lambda: BEGAN)
        self.seen = Recorder()
        self.run = Run[File](Report("pull"), self.seen, TransferOptions(concurrency=3), Caps(max_files, None))

    async def found(self) -> AsyncGenerator[File | Outcome]:
        names = list(self.fates)
        random.Random(len(names)).shuffle(names)
        for name in names:
            if self.fates[name] == "excluded":
                yield Outcome(name, "skipped", reason="excluded")
            elif self.fates[name] == "is young":
                self.lasts.unfinished_in(directory_of(name))
                yield Outcome(name, "skipped", reason="young", left=True)
            else:
                yield File(name, changed=BEGAN + 2 if self.fates[name] == "comes meanwhile" else BEGAN + 1)

    async def transfer(self, file: File) -> Outcome:
        name, fate = file.label, self.fates[file.label]
        if is_last(name):
            self.early += [each for each in self.fates if goes_before(each, name) and not self.is_done(each)]
        first = name not in self.begun
        self.begun.append(name)
        for _ in range(len(name) % 3):
            await asyncio.sleep(0)
        if first and len(name) % 2:
            raise ConnectionFailed("cut", connection=1)
        if fate == "fails":
            raise FileError("refused")
        status = "transferred" if fate in ("moved", "comes meanwhile") else "skipped"
        outcome = Outcome(name, status, reason=fate, left=fate == "waits")  # type: ignore[arg-type]
        self.ended[name] = outcome
        return outcome

    def is_done(self, name: str) -> bool:
        return self.fates[name] == "excluded" or (name in self.ended and not self.ended[name].is_unfinished)

    async def go(self) -> None:
        await self.run.transfer_all(self.lasts.after_others(self.found()), self.transfer, settled=self.lasts.settled)

    def stays(self, last: str) -> bool:
        """Say whether a last file has to stay."""
        return self.fates[last] == "comes meanwhile" or any(
            IN_A_PUSH[fate] or (is_last(name) and fate != "excluded" and self.stays(name))
            for name, fate in self.fates.items()
            if goes_before(name, last)
        )


@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(list(IN_A_PUSH)), max_size=20))
def test_none_goes_before_all_others_are_done(fates: dict[str, str]) -> None:
    """Each that may go goes, after what is begun anew, too; each other one stays, and the report says so."""
    fates = {name: fate for name, fate in fates.items() if not (is_last(name) and fate == "is young")}
    world = World(fates)
    asyncio.run(world.go())
    assert world.early == []
    listed = [name for name in fates if fates[name] not in ("excluded", "is young")]
    held = {each.source for each in world.seen.outcomes if each.reason == HELD}
    assert held == {name for name in listed if is_last(name) and world.stays(name)}
    assert set(world.begun) == set(listed) - held
    assert len(world.seen.outcomes) == len(fates), "each file has one outcome"
    assert all(each.left and each.changed is not None for each in world.seen.outcomes if each.reason == HELD)


@given(st.lists(st.sampled_from(NAMES), unique=True), st.integers(1, 20))
def test_a_cap_holds_them_back(names: list[str], max_files: int) -> None:
    """In one run after the other, each of which moves so many files, all go in the end."""
    left = names
    for _ in range(len(names) + 1):
        world = World(dict.fromkeys(left, "moved"), max_files)
        asyncio.run(world.go())
        assert world.early == []
        assert len(world.ended) == min(max_files, len(left))
        assert world.run.report.left == len(left) - len(world.ended)
        left = [name for name in left if name not in world.ended]
    assert left == []


async def test_what_the_run_does_not_find_holds_them_back() -> None:
    """It is looked for where a last file is due, up to the first one; those of one directory do not wait for it."""
    asked: list[str] = []
    there = {"a/b": ["a/b/_LAST"], "d": ["d/e/_LAST", "never asked for"]}

    async def others_in(directory: str) -> AsyncGenerator[str]:
        for name in there[directory]:
            assert name != "never asked for"
            asked.append(name)
            yield name

    async def found() -> AsyncGenerator[File | Outcome]:
        for name in ("a/_LAST", "a/x.last", "a/b/_LAST", "d/_LAST", "x"):
            yield File(name)

    async def moved(file: File) -> Outcome:
        return Outcome(file.label, "transferred")

    lasts: Lasts[File] = Lasts(LastNames(LAST), lambda file: file.label, others_in)
    seen = Recorder()
    run = Run[File](Report("push"), seen, TransferOptions(), Caps(None, None))
    await run.transfer_all(lasts.after_others(found()), moved, settled=lasts.settled)
    assert {each.source for each in seen.outcomes if each.reason == HELD} == {"a/_LAST", "a/x.last", "d/_LAST"}
    # a/b/_LAST has another last one beside it, which holds back what is above only: nobody asks there any more
    assert asked == ["a/b/_LAST", "d/e/_LAST"]


async def test_without_last_files_nothing_waits() -> None:
    """Nor is anything looked for."""

    async def others_in(directory: str) -> AsyncGenerator[str]:
        raise AssertionError(directory)
        yield ""

    async def found() -> AsyncGenerator[File | Outcome]:
        yield File("a")

    lasts: Lasts[File] = Lasts(LastNames(LAST), lambda file: file.label, others_in)
    assert [item async for item in lasts.after_others(found())] == [File("a")]


def test_globs_are_about_what_is_beneath_the_prefix() -> None:
    names = LastNames(["top/*.last", "_LAST"], "top/")
    assert [names.is_last(name) for name in ("top/x.last", "top/top/x.last", "top/_LAST", "_LAST", "top/x")] == [
        *(False, True, True, True, False)
    ]
