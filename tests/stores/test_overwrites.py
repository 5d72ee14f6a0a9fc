"""
Somebody overwrites an object at each step of its push, on each store, in each mode of mark that is taken there.

Never is an older version marked, brought back in the store, or the last that the partner has got.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import TransferError
from airflow_provider_sftp_s3.engine.model import Report
from tests.stores.conftest import PART, Place
from tests.support.s3_server import S3Request
from tests.support.sftp_servers import AsyncsshServer, Fault, Proceed, Request

pytestmark = pytest.mark.stores

OLD, NEW = b"version 1", b"version 2"


class Steps(Fault):
    """
    Counts the steps of a push: its requests to S3 and to the SFTP server. Acts before one of them is carried out.

    :param act: what to do there.
    :param at: the step, from 1.
    :param in_sftp: whether those of SFTP count. What talks to that server itself cannot act there.
    """

    def __init__(self, place: Place, act: Callable[[], Any], at: int, *, in_sftp: bool = True) -> None:
        self.has_acted = False
        self.delivered: list[bytes] = []
        """What the files of the SFTP server became, one after the other."""
        self._act, self._left, self._in_sftp = act, at, in_sftp
        self._one_at_a_time = threading.Lock()
        place.by_proxy = True
        place.s3.before(self._at_s3)
        assert isinstance(place.sftp, AsyncsshServer)
        place.sftp.fault = self

    def _at_s3(self, _: S3Request) -> None:
        self._step()

    def _step(self) -> None:
        with self._one_at_a_time:
            self._left -= 1
            due = self._left == 0
        if due:
            self.has_acted = True
            self._act()

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if self._in_sftp:
            self._step()
        result = await proceed()
        if "RENAME" in request.name:
            self.delivered.append(server.local(request.target).read_bytes()[: len(OLD)])
        return result


async def each_step(place: Place, tried: Callable[[str, int], Any]) -> None:
    """
    Try each step of a push, with an object of its own, until there are no more.

    :param tried: is given a prefix and the number of a step, and returns whether there was such a step.
    """
    for number in itertools.count(1):
        if not await tried(f"{number}/", number):
            break
        place.s3.reset()
    assert number > 3


async def pushed(place: Place, prefix: str, destination: str, mark: str) -> Report:
    return await place.push_to(destination, s3_prefix=prefix, mark=mark)


def got(place: Place, destination: str) -> bytes:
    """Return what a partner has, or nothing."""
    return place.there(destination).get("f", b"")


async def then(place: Place, prefix: str, destination: str, mark: str, body: bytes) -> int:
    """Push again. What is marked must have been sent; in the end the partner has it. Return how many were sent."""
    before = got(place, destination)
    sent = (await pushed(place, prefix, destination, mark)).transferred
    assert sent or before == body, "an older version was marked"
    assert got(place, destination) == body
    assert place.get(f"{prefix}f") == body, "an older version was brought back"
    return sent


@pytest.mark.parametrize("in_parts", [False, True], ids=["one part", "two parts"])
async def test_an_overwrite_at_each_step(place: Place, mark: str, in_parts: bool) -> None:
    """In two parts an object has another ETag with each copy."""
    old, new = (each.ljust(PART + 1) if in_parts else each for each in (OLD, NEW))
    store = place.put_in_parts if in_parts else place.put

    async def tried(prefix: str, at: int) -> bool:
        if in_parts and at % 4:
            return True  # as it goes with one part; each takes some 20 MB
        store(f"{prefix}f", old)
        steps = Steps(place, lambda: store(f"{prefix}f", new), at)
        await pushed(place, prefix, "b", mark)
        if not steps.has_acted:
            return False
        await then(place, prefix, "b", mark, new)
        assert steps.delivered == sorted(steps.delivered), "an older version was delivered last"
        (place.sftp.root / "b/f").unlink()
        return True

    await each_step(place, tried)


@pytest.mark.parametrize("overwritten", [True, False])
async def test_another_flow_at_each_step(place: Place, mark: str, overwritten: bool) -> None:
    """
    At each step another flow delivers the object to its own partner, as the producer has put it right before.

    C delivers v1, the producer puts v2 of the same size, B delivers and marks v2: C must not mark. Where the bytes are
    the same, each has them in the end, and both have marked them.
    """
    newest = NEW if overwritten else OLD

    async def tried(prefix: str, at: int) -> bool:
        def act() -> None:
            if overwritten:
                place.put(f"{prefix}f", NEW)
            asyncio.run(pushed(place, prefix, "b", mark))

        place.put(f"{prefix}f", OLD)
        steps = Steps(place, act, at, in_sftp=False)
        await pushed(place, prefix, "c", mark)
        if not steps.has_acted:
            return False
        for destination in ("b", "c"):
            await then(place, prefix, destination, mark, newest)
        if mark != "none":
            for destination in ("b", "c"):
                assert not await then(place, prefix, destination, mark, newest)
        for destination in ("b", "c"):
            (place.sftp.root / destination / "f").unlink()
        return True

    await each_step(place, tried)


ROUNDS = 2
KEYS = [f"d/{number}" for number in range(8)]


async def test_flows_that_mark_at_once_while_a_producer_writes(place: Place, mark: str) -> None:
    """
    Three flows deliver and mark the same objects again and again, and somebody overwrites these in no order.

    Once that is over, each partner gets the last bytes of each object, by its flow's next run: nothing was marked for a
    partner that has others, and no mark has brought older ones back.
    """
    destinations = ("b", "c", "d")
    last: dict[str, bytes] = {}
    over = threading.Event()
    chance = random.Random(15)

    def produce() -> None:
        for number in itertools.count():
            for key in chance.sample(KEYS, len(KEYS) // 2):
                body = f"version {number:06}".encode()
                place.put(key, body)
                last[key] = body
            if over.is_set():
                return

    for key in KEYS:
        place.put(key, b"version begin")
        last[key] = b"version begin"
    producer = threading.Thread(target=produce)
    producer.start()
    try:
        for _ in range(ROUNDS):
            runs = (pushed(place, "d/", destination, mark) for destination in destinations)
            for ran in await asyncio.gather(*runs, return_exceptions=True):
                # An object that is overwritten each time is the next run's, and so is one whose tags come and go.
                assert isinstance(ran, (Report, TransferError)), ran
    finally:
        over.set()
        await asyncio.to_thread(producer.join)
    await asyncio.gather(*(pushed(place, "d/", destination, mark) for destination in destinations))
    for destination in destinations:
        assert place.there(destination) == {key.removeprefix("d/"): body for key, body in last.items()}
    assert {key: body for key, body in place.contents().items() if key in last} == last
    if mark == "none":
        return  # all go again in each run
    for destination in destinations:
        await pushed(place, "d/", destination, mark)  # a tag's mark of one flow may have taken away another's
    for destination in destinations:
        assert (await pushed(place, "d/", destination, mark)).transferred == 0
