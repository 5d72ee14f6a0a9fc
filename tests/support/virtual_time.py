"""An event loop whose clock jumps to the next timer: hours pass at once, and a test of a time limit depends on none."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumps(selectors.DefaultSelector):
    """Does not wait for a timer, but adds the wait to the time. With no timer it waits: for another thread."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0 if timeout else timeout)
        if not events and timeout:
            self.now += timeout
        return events


class _VirtualTime(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.now


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in a loop of its own. Its time begins at 0, and passes only while all tasks wait for it."""
    with asyncio.Runner(loop_factory=_VirtualTime) as runner:
        return runner.run(main)
