"""Turns of the event loop: for a test that is to wait for its tasks, and not for a time."""

from __future__ import annotations

import asyncio


async def turns(count: int = 100) -> None:
    """Let every task come as far as it can without the world outside. A sleep of some time may be over before that."""
    for _ in range(count):
        await asyncio.sleep(0)
