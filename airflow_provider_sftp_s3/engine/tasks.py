"""Tasks and futures that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any


def cancel_all(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks whose result nobody will look at."""
    for task in tasks:
        task.cancel()
        task.add_done_callback(forget)


def forget(done: asyncio.Future[Any]) -> None:
    """Let a future end by itself. Nobody may wait for its result, and asyncio would log its error with a traceback."""
    if not done.cancelled():
        done.exception()
