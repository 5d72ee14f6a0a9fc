"""The triggers of a push: when one is made, and that none is there before."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.announcement import Trigger, Triggers
from airflow_provider_sftp_s3.engine.errors import FileError, ServerRefused
from airflow_provider_sftp_s3.engine.model import Outcome
from airflow_provider_sftp_s3.engine.triggers import TriggerNames

pytestmark = pytest.mark.unit


class Files:
    """A session whose server has these files, and refuses to show or take some."""

    def __init__(self) -> None:
        self.there: set[bytes] = set()
        self.refuses: ServerRefused | None = None

    async def exists(self, path: bytes) -> bool:
        if self.refuses:
            raise self.refuses
        return path in self.there

    async def remove(self, path: bytes) -> None:
        self.there.remove(path)

    @contextlib.asynccontextmanager
    async def overwriting(self, path: bytes) -> AsyncIterator[Files]:
        if self.refuses:
            raise self.refuses
        self.there.add(path)
        yield self

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Object:
    key: str
    trigger: Trigger | None = None


def triggers(files: Any, template: str = "_SUCCESS", *, looks: bool = True) -> Triggers:
    return Triggers(files, TriggerNames(template), lambda key: b"/in", looks=looks)


async def found(*keys: str) -> AsyncGenerator[Object | Outcome]:
    yield Outcome("s3://b/x", "skipped")
    for key in keys:
        yield Object(key)


async def gathered(of: Triggers, *keys: str) -> list[Object]:
    return [item async for item in of.gathered(found(*keys)) if isinstance(item, Object)]


async def test_the_last_of_several_makes_it() -> None:
    """And a later one takes it away first; one that is none of the run counts, one that has failed does not."""
    files = Files()
    files.there.add(b"/in/_SUCCESS")
    own = triggers(files)
    one, two, three = await gathered(own, "a", "b", "c")
    assert one.trigger is not None
    assert one.trigger is two.trigger is three.trigger
    await own.withdraw(one.trigger, "a")
    assert files.there == set()
    await own.delivered(one.trigger, "a")
    await own.left_out(one.trigger, "b")
    assert files.there == set()
    await own.withdraw(one.trigger, "c")
    await own.delivered(one.trigger, "c")
    assert files.there == {b"/in/_SUCCESS"}
    await own.withdraw(one.trigger, "a")  # once more, since it was overwritten
    assert files.there == set()
    await own.withdraw(one.trigger, "b")
    await own.delivered(one.trigger, "b")
    assert files.there == set()
    await own.delivered(one.trigger, "a")
    assert files.there == {b"/in/_SUCCESS"}


async def test_nothing_is_made_where_nothing_is_delivered() -> None:
    files = Files()
    own = triggers(files, "{name}.ok")
    one, two = await gathered(own, "a", "b")
    assert one.trigger is not None
    assert one.trigger is not two.trigger
    await own.left_out(one.trigger, "a")
    assert files.there == set()


async def test_one_that_cannot_be_made_is_made_by_nobody_else() -> None:
    """Its object has no mark, and the next run sends it again."""
    files = Files()
    own = triggers(files)
    one, _ = await gathered(own, "a", "b")
    assert one.trigger is not None
    await own.delivered(one.trigger, "a")
    files.refuses = ServerRefused("no")
    with pytest.raises(FileError, match="it is there, and its trigger '/in/_SUCCESS' cannot be made: no"):
        await own.delivered(one.trigger, "b")
    files.refuses = None
    await own.left_out(one.trigger, "a")
    assert files.there == set()


@pytest.mark.parametrize("looks", [True, False])
async def test_an_old_one_that_nobody_may_look_at_is_in_the_way(looks: bool) -> None:
    """Unless the server's word is to be enough, as for the files themselves."""
    files = Files()
    files.refuses = ServerRefused("denied")
    own = triggers(files, looks=looks)
    with contextlib.nullcontext() if not looks else pytest.raises(FileError, match="must be away before new data"):
        await own.withdraw(Trigger(b"/in/_SUCCESS"), "a")
