"""Whether this process itself stood still, as after SIGSTOP or on a suspended machine: then nobody else was silent."""

from __future__ import annotations

import asyncio
import time


class Awake:
    """
    Knows since when this process goes on: a look that comes late by more than half of `limit` ends a stand-still.

    What others have said meanwhile is not read yet then, so their time begins anew.

    :param limit: after so many seconds somebody who does not answer counts as silent.
    """

    def __init__(self, limit: float) -> None:
        #: seconds between two looks
        self.step = min(0.25, limit / 4)
        self._late = limit / 2
        self._looked = self._since = time.monotonic()

    def now(self) -> float:
        """Look, and return the time, by the monotonic clock."""
        now = time.monotonic()
        if now - self._looked - self.step > self._late:
            self._since = now
        self._looked = now
        return now

    def since(self) -> float:
        """Look, and return when the last stand-still has ended; before the first one, when this was made."""
        self.now()
        return self._since

    async def watch(self) -> None:
        """Look again and again, until this is cancelled. Without it, or calls as often, each look would be late."""
        while True:
            await asyncio.sleep(self.step)
            self.now()
