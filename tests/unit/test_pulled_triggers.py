"""A trigger goes after the files that it tells of, whichever of them comes last."""

from __future__ import annotations

import contextlib
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ChangedWhileReading, FileError, NotFound
from airflow_provider_sftp_s3.engine.fetch import PulledFile, Uploaded
from airflow_provider_sftp_s3.engine.model import Outcome, SourceFile, Stat, Trigger
from airflow_provider_sftp_s3.engine.pulled_triggers import PulledTriggers
from airflow_provider_sftp_s3.engine.settings import PullSettings
from airflow_provider_sftp_s3.engine.triggers import TriggerNames

pytestmark = pytest.mark.unit

STAT = Stat(1, 10)
UPLOADED = Uploaded(STAT, STAT)


class World:
    """What a run does with a trigger, in order."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.settled: list[Outcome] = []
        self.fails: Exception | None = None
        self.there: set[bytes] = set()
        file = SourceFile(b"/d/_SUCCESS", b"_SUCCESS", STAT, "absent")
        self.trigger = Trigger("trigger_file", file, {b"/d/a", b"/d/b"}, {b"/d/a", b"/d/b"})
        settings = PullSettings(sftp_path="/d", trigger_file="_SUCCESS")
        tree: Any = SimpleNamespace(label=lambda path: path.decode(), session=self)
        bucket: Any = SimpleNamespace(uri_of=lambda key: f"s3://b/{key}")
        world: Any = self
        self.triggers = PulledTriggers(
            *(settings, "p/", TriggerNames("_SUCCESS"), tree, bucket, world, world, world, world, world),
            self.settled.append,
        )

    def pulled(self, name: str) -> PulledFile:
        file = SourceFile(b"/d/" + name.encode(), name.encode(), STAT, "absent", beside=(self.trigger,))
        return PulledFile(file, name, f"p/{name}")

    async def exists(self, path: bytes) -> bool:
        return path in self.there

    async def check(self, file: SourceFile) -> None:
        """It can be moved."""

    async def upload(self, own: PulledFile, path: bytes, stat: Stat) -> Uploaded:
        if self.fails:
            raise self.fails
        self.steps.append(f"PUT {own.key}")
        return UPLOADED

    async def move(self, own: PulledFile, uploaded: Uploaded, *, again: bool) -> Uploaded:
        self.steps.append(f"move {own.label}")
        return uploaded


async def test_in_any_order_of_its_files() -> None:
    """It is stored when all are stored, and moved when all are moved."""
    events = [("stored", "a"), ("moved", "a"), ("stored", "b"), ("moved", "b")]
    for order in permutations(events):
        if order.index(events[0]) > order.index(events[1]) or order.index(events[2]) > order.index(events[3]):
            continue
        world = World()
        for what, name in order:
            if what == "stored":
                await world.triggers.stored(world.trigger, world.pulled(name), UPLOADED)
                world.steps.append(f"stored {name}")
            else:
                world.steps.append(f"moved {name}")
                await world.triggers.moved(world.trigger, world.pulled(name), is_there=False)
        stored = [step for step in world.steps if step.startswith(("PUT", "stored"))]
        assert stored[1] == "PUT p/_SUCCESS"
        moved = [step for step in world.steps if step.startswith("move")]
        assert moved[2:] == ["move /d/_SUCCESS"]
        assert [outcome.target for outcome in world.settled] == ["s3://b/p/_SUCCESS"]


async def test_a_file_that_is_newer_than_its_trigger_stays() -> None:
    world = World()
    with pytest.raises(ChangedWhileReading, match="waits for a newer one"):
        await world.triggers.stored(world.trigger, world.pulled("a"), Uploaded(Stat(1, 11), Stat(1, 11)))


@pytest.mark.parametrize("there", [True, False])
async def test_a_trigger_that_was_taken_away(there: bool) -> None:
    """Its file stays, unless it was another run that has moved both."""
    world = World()
    world.trigger.unstored = {b"/d/a"}
    world.fails = NotFound("gone")
    world.there = {b"/d/a"} if there else set()
    stays = pytest.raises(FileError, match="its trigger was taken away meanwhile")
    with stays if there else contextlib.nullcontext():
        await world.triggers.stored(world.trigger, world.pulled("a"), UPLOADED)
    world.fails = FileError("no")
    with pytest.raises(FileError, match="its trigger cannot be pulled: /d/_SUCCESS: no"):
        await world.triggers.stored(world.trigger, world.pulled("a"), UPLOADED)
