"""Whether it was this process that said nothing."""

from __future__ import annotations

import asyncio
import time

import pytest

from airflow_provider_sftp_s3.engine.standstill import Awake

pytestmark = pytest.mark.unit


async def test_a_process_that_goes_on_has_not_stood_still() -> None:
    """Whoever looks, and however often."""
    awake = Awake(20.0)
    made = awake.since()
    watching = asyncio.create_task(awake.watch())
    await asyncio.sleep(3 * awake.step)
    assert awake.since() == made
    watching.cancel()
    await asyncio.wait({watching})
    assert watching.cancelled()


async def test_a_process_that_stood_still_is_awake_since_its_next_look() -> None:
    """The first that is made then, by whomever: what was asked before it has not waited for anybody else."""
    awake = Awake(0.4)
    watching = asyncio.create_task(awake.watch())
    await asyncio.sleep(2 * awake.step)
    asked = time.monotonic()
    time.sleep(0.5)  # noqa: ASYNC251 - nothing goes on
    goes_on = time.monotonic()
    assert goes_on <= awake.since() <= time.monotonic()
    assert awake.since() > asked
    watching.cancel()


@pytest.mark.parametrize("limit", [0.1, 0.4, 4.0, 600.0])
def test_it_looks_often_enough(limit: float) -> None:
    """So that a look which is half of the limit late can be told from one that is not."""
    assert Awake(limit).step <= min(limit / 4, 0.25)
