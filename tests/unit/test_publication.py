"""In which order an object gets its name, and what goes with it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from itertools import product
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.announcement import Trigger
from airflow_provider_sftp_s3.engine.checksum_files import begin_sum
from airflow_provider_sftp_s3.engine.errors import TargetTaken
from airflow_provider_sftp_s3.engine.model import ObjectEntry, Stat
from airflow_provider_sftp_s3.engine.publication import Publication, PushedObject
from airflow_provider_sftp_s3.engine.s3.bucket import Version
from airflow_provider_sftp_s3.engine.settings import PushSettings

pytestmark = pytest.mark.unit

VERSION = Version("e", 1, {"mtime": "1"}, {}, 0, "")


class World:
    """What a run does, in order; `there` are the paths of files."""

    def __init__(self, there: set[bytes], settings: dict[str, Any]) -> None:
        self.steps: list[str] = []
        self.there = there
        world: Any = self
        made = PushSettings(sftp_path="/", **settings)
        self.alike = self
        triggers = world if made.trigger_file else None
        self.own = Publication(made, world, world, triggers, Sums(self.steps) if made.checksum_file else None)  # type: ignore[arg-type]

    @contextlib.asynccontextmanager
    async def taking(self, path: bytes) -> AsyncIterator[None]:
        yield

    def around(self, path: bytes, stat: Stat) -> Iterator[bytes]:
        yield path

    def taken_error(self, path: bytes, stat: Stat) -> TargetTaken:
        return TargetTaken("taken")

    async def is_taken(self, path: bytes) -> bool:
        return path in self.there

    def path_of(self, key: str) -> bytes:
        return b"/a.ok"

    async def withdraw(self, trigger: Trigger, key: str) -> None:
        self.steps.append("trigger away")

    async def delivered(self, trigger: Trigger, key: str) -> None:
        self.steps.append("trigger")

    async def publish(self, path: bytes, *, replaces: bool) -> bool:
        self.steps.append("file")
        return replaces or path not in self.there


class Sums:
    def __init__(self, steps: list[str]) -> None:
        self.steps = steps

    async def withdraw(self, path: bytes) -> None:
        self.steps.append("sum away")

    async def write(self, path: bytes, version: Version, running: Any) -> None:
        self.steps.append("sum")


@pytest.mark.parametrize(("with_trigger", "with_sum"), list(product((True, False), repeat=2)))
async def test_the_order(with_trigger: bool, with_sum: bool) -> None:
    """Old ones away, the file, its sum, the trigger."""
    settings = {"trigger_file": "{name}.ok"} if with_trigger else {}
    world = World({b"/a"}, settings | ({"checksum_file": "{name}.md5"} if with_sum else {}))
    running = begin_sum("md5") if with_sum else None
    path = await world.own.publish(PushedObject(ObjectEntry("a"), "a"), world.publish, b"/a", VERSION, running)
    assert path == b"/a"
    whole = ["trigger away", "sum away", "file", "sum", "trigger"]
    left_out = set() if with_trigger else {"trigger away", "trigger"}
    left_out |= set() if with_sum else {"sum away", "sum"}
    assert world.steps == [step for step in whole if step not in left_out]


@pytest.mark.parametrize("settings", [{"trigger_file": "{name}.ok"}, {"checksum_file": "{name}.md5"}])
async def test_what_stands_beside_a_file_that_stays_is_left_alone(settings: dict[str, Any]) -> None:
    world = World({b"/a"}, {"on_conflict": "fail", **settings})
    pushed = PushedObject(ObjectEntry("a"), "a")
    with pytest.raises(TargetTaken):
        await world.own.publish(pushed, world.publish, b"/a", VERSION, begin_sum("md5"))
    assert world.steps == []
    with pytest.raises(TargetTaken):
        await world.own.free_place(b"/a", Stat())
    pushed.path = b"/a"  # older bytes of it are ours
    assert not world.own.may_be_taken(pushed)
    await world.own.publish(pushed, world.publish, b"/a", VERSION, begin_sum("md5"))
    assert "file" in world.steps
