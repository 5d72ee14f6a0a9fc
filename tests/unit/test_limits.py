"""Budget and caps, whatever the order in which transfers ask, give back and give up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from airflow_provider_sftp_s3.engine.limits import Budget, Caps

pytestmark = pytest.mark.unit

#: With no explanation of a failure: that takes minutes, and the rules say it all.
SETTINGS = settings(
    max_examples=50,
    stateful_step_count=25,
    report_multiple_bugs=False,
    phases=(Phase.reuse, Phase.generate, Phase.shrink),
)


class _Machine(RuleBasedStateMachine):
    """Tasks in an event loop, which moves on between the rules only."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()

    def turn(self, times: int = 8) -> None:
        """Resume what can go on, so many times: more than any task here takes to come to rest."""
        for _ in range(times):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def teardown(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
            self.turn()
        self.loop.close()


@dataclass(eq=False)
class Share:
    """One transfer that wants so many bytes of a budget, and whether it has them."""

    size: int
    holds: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def live(self, budget: Budget) -> None:
        async with budget.share(self.size):
            self.holds = True
            try:
                await self.done.wait()
            finally:
                self.holds = False


class BudgetMachine(_Machine):
    """The bytes that are free are those that nobody holds, and who waits is the first with no room, or behind it."""

    TOTAL = 10

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(self.TOTAL)
        #: In the order of asking.
        self.shares: dict[Share, asyncio.Task[None]] = {}

    @property
    def waiting(self) -> list[Share]:
        return [share for share in self.shares if not share.holds]

    @rule(size=st.integers(0, TOTAL + 2))
    def ask(self, size: int) -> None:
        share = Share(size)
        self.shares[share] = self.loop.create_task(share.live(self.budget))
        self.turn()

    @precondition(lambda self: self.shares)
    @rule(data=st.data(), fails=st.booleans())
    def leave(self, data: st.DataObject, fails: bool) -> None:
        """It comes to its end or fails where it holds its bytes, and gives up where it waits for them."""
        share = data.draw(st.sampled_from([*self.shares]), label="which")
        task = self.shares.pop(share)
        if share.holds and not fails:
            share.done.set()
        else:
            task.cancel()
        self.turn()
        assert task.done()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up_when_the_turn_has_come(self, data: st.DataObject) -> None:
        """Bytes are given to those that wait, of which some are cancelled before they are resumed."""
        ends = data.draw(st.sampled_from([share for share in self.shares if share.holds]), label="ends")
        leaving = [share for share in self.waiting if data.draw(st.booleans(), label="gives up")]
        self.shares.pop(ends)
        ends.done.set()
        self.turn(1)
        for share in leaving:
            self.shares.pop(share).cancel()
        self.turn()

    @invariant()
    def free_is_what_nobody_holds(self) -> None:
        held = sum(min(share.size, self.TOTAL) for share in self.shares if share.holds)
        assert self.budget.free == self.TOTAL - held >= 0

    @invariant()
    def the_first_that_waits_has_no_room_and_the_others_wait_behind_it(self) -> None:
        if self.waiting:
            assert min(self.waiting[0].size, self.TOTAL) > self.budget.free
            assert [share.holds for share in self.shares] == sorted((s.holds for s in self.shares), reverse=True)
        assert not any(task.done() for task in self.shares.values())


def test_the_budget_is_whole_and_handed_out_in_the_order_of_asking() -> None:
    """Whoever ends, fails or gives up, in whatever state."""
    run_state_machine_as_test(BudgetMachine, settings=SETTINGS)


@dataclass(eq=False)
class File:
    """One file of so many bytes that asks whether it may go."""

    size: int
    asks: asyncio.Task[bool]


class CapsMachine(_Machine):
    """What goes never exceeds a cap; who is refused has no room beside what was transferred; nobody waits idly."""

    @initialize(max_files=st.none() | st.integers(1, 4), max_bytes=st.none() | st.integers(1, 10))
    def begin_the_run(self, max_files: int | None, max_bytes: int | None) -> None:
        self.caps = Caps(max_files, max_bytes)
        self.waiting: list[File] = []
        self.in_flight: list[File] = []
        self.transferred: list[File] = []

    @rule(size=st.integers(0, 12))
    def ask(self, size: int) -> None:
        self.waiting.append(File(size, self.loop.create_task(self.caps.admit(size))))
        self._look()

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), transferred=st.booleans())
    def settle(self, data: st.DataObject, transferred: bool) -> None:
        file = data.draw(st.sampled_from(self.in_flight), label="which")
        self.in_flight.remove(file)
        if transferred:
            self.transferred.append(file)
        self.loop.run_until_complete(self.caps.settle(file.size, file.size if transferred else None))
        self._look()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """Cancelled while it waits: it has taken nothing."""
        file = data.draw(st.sampled_from(self.waiting), label="which")
        self.waiting.remove(file)
        file.asks.cancel()
        self._look()

    def _look(self) -> None:
        self.turn()
        for file in [file for file in self.waiting if file.asks.done()]:
            self.waiting.remove(file)
            if file.asks.result():
                self.in_flight.append(file)
            else:
                assert not self._has_room(file, self.transferred), "refused, and there is room"

    def _has_room(self, file: File, beside: list[File]) -> bool:
        max_files, max_bytes = self.caps.max_files, self.caps.max_bytes
        if max_files is not None and len(beside) >= max_files:
            return False
        return max_bytes is None or not beside or sum(each.size for each in beside) + file.size <= max_bytes

    @invariant()
    def the_caps_hold(self) -> None:
        gone = self.transferred + self.in_flight
        max_files, max_bytes = self.caps.max_files, self.caps.max_bytes
        assert max_files is None or len(gone) <= max_files
        assert max_bytes is None or len(gone) <= 1 or sum(file.size for file in gone) <= max_bytes

    @invariant()
    def who_waits_has_no_room_beside_what_is_in_flight(self) -> None:
        assert self.in_flight or not self.waiting
        assert not any(self._has_room(file, self.transferred + self.in_flight) for file in self.waiting)


def test_the_caps_hold_and_are_used_up_by_what_is_transferred_alone() -> None:
    """Whoever ends, fails or gives up, in whatever order."""
    run_state_machine_as_test(CapsMachine, settings=SETTINGS)


async def _rest() -> None:
    """Let every task come to where it has to wait."""
    for _ in range(8):
        await asyncio.sleep(0)


@pytest.mark.parametrize("late", [False, True], ids=["while it waits", "when its turn has come"])
async def test_who_gives_up_leaves_its_bytes_to_the_next(late: bool) -> None:
    """Cancelled while it waits for bytes, or when they were given to it: the next one has them, and nothing leaks."""
    budget = Budget(10)
    first, large, small = shares = [Share(size) for size in (6, 10, 4)]
    tasks = [asyncio.create_task(share.live(budget)) for share in shares]
    await _rest()
    assert [share.holds for share in shares] == [True, False, False], "small has room, but comes after large"
    if late:
        first.done.set()
        await asyncio.sleep(0)
        assert (budget.free, large.holds) == (0, False), "large was given all, and does not know yet"
    tasks[1].cancel()
    await _rest()
    assert [share.holds for share in shares] == [not late, False, True]
    assert budget.free == (6 if late else 0)
    first.done.set()
    small.done.set()
    await asyncio.gather(tasks[0], tasks[2])
    assert budget.free == 10


async def test_who_gives_up_while_bytes_are_given_back_ends_as_cancelled() -> None:
    """All files of a run are cancelled at once: those that hold bytes give them back while others are about to go."""
    budget = Budget(10)
    shares = [Share(10) for _ in range(3)]
    tasks = [asyncio.create_task(share.live(budget)) for share in shares]
    await _rest()
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(ended, asyncio.CancelledError):
            raise ended if ended else AssertionError
    assert budget.free == 10


@pytest.mark.parametrize(("max_files", "max_bytes"), [(2, None), (None, 2), (2, 2)])
async def test_whether_a_file_fits_is_known_when_those_in_flight_are_settled(
    max_files: int | None, max_bytes: int | None
) -> None:
    """It waits for them; what fails gives back its place and its bytes, and what is transferred does not."""
    caps = Caps(max_files, max_bytes)
    assert [await caps.admit(1), await caps.admit(1)] == [True, True]
    waiting = [asyncio.create_task(caps.admit(1)) for _ in range(2)]
    await _rest()
    assert [each.done() for each in waiting] == [False, False]
    await caps.settle(1, transferred=None)
    await _rest()
    assert [each.done() for each in waiting] == [True, False]
    assert waiting[0].result()
    await caps.settle(1, transferred=1)
    await caps.settle(1, transferred=1)
    assert not await waiting[1]
    assert not await caps.admit(1)


async def test_a_file_counts_with_what_was_read_of_it() -> None:
    """Where nobody has said how large it is, or not the truth."""
    caps = Caps(None, 10)
    assert [await caps.admit(0), await caps.admit(0)] == [True, True]
    await caps.settle(0, transferred=4)
    assert await caps.admit(6)
    await caps.settle(6, transferred=None)
    await caps.settle(0, transferred=7)
    assert not await caps.admit(0)


async def test_the_budget_is_never_exceeded_and_all_get_their_turn() -> None:
    """Shares of all sizes, more than the whole included."""
    budget = Budget(100)
    held = peak = served = 0

    async def take(size: int) -> None:
        nonlocal held, peak, served
        async with budget.share(size):
            held += min(size, 100)
            peak = max(peak, held)
            await asyncio.sleep(0)
            held -= min(size, 100)
            served += 1

    await asyncio.gather(*(take(size) for size in [10, 90, 500, 1, 60, 60, 100, 0] * 20))
    assert (served, peak, held, budget.free) == (160, 100, 0, 100)


async def test_a_share_that_is_given_up_while_waiting_leaves_the_budget_whole() -> None:
    """A transfer that is cancelled in the queue takes nothing and blocks nobody, while nothing is given back."""
    budget = Budget(10)

    async def take(size: int) -> None:
        async with budget.share(size):
            await asyncio.sleep(0)

    async with budget.share(5):
        waiting = [asyncio.create_task(take(size)) for size in (10, 5, 5)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait_for(asyncio.gather(*waiting[1:]), 5)
    assert waiting[0].cancelled()
    assert budget.free == 10


async def test_large_shares_are_not_starved_by_small_ones() -> None:
    """Shares are handed out in the order of asking."""
    budget = Budget(10)
    order: list[str] = []

    async def take(name: str, size: int) -> None:
        async with budget.share(size):
            order.append(name)
            await asyncio.sleep(0)

    await asyncio.gather(take("first", 6), take("large", 10), take("small", 1))
    assert order == ["first", "large", "small"]
