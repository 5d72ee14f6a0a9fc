"""The thread that an operator's engine runs in: every way it can end."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

import pytest

from airflow_provider_sftp_s3.engine.errors import SftpS3Error
from airflow_provider_sftp_s3.transfers.base import EngineThread

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("engine_loop")]


class OutOfTime(BaseException):
    """Like AirflowTaskTimeout: a BaseException out of a signal handler."""


async def quick() -> str:
    await asyncio.sleep(0)
    return "result"


async def broken() -> None:
    raise ZeroDivisionError("inside")


class Endless:
    """Runs until it is cancelled, and cleans up then."""

    def __init__(self) -> None:
        self.cleaned_up = False
        self.started = threading.Event()

    async def run(self) -> None:
        self.started.set()
        try:
            while True:  # noqa: ASYNC110 - an endless job is the point
                await asyncio.sleep(0)  # busy, so that a signal finds the loop anywhere
        finally:
            await asyncio.sleep(0.01)
            self.cleaned_up = True


def engine_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "sftp-s3"]


def test_the_result_comes_back() -> None:
    """And no thread stays behind."""
    assert EngineThread().run(quick) == "result"
    assert engine_threads() == []


def test_the_event_loop_is_uvloops_where_that_is_installed(engine_loop: str) -> None:
    async def loop() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert EngineThread().run(loop).partition(".")[0] == engine_loop


def test_an_error_comes_back_as_it_is() -> None:
    """With its own type."""
    with pytest.raises(ZeroDivisionError, match="inside"):
        EngineThread().run(broken)


@pytest.mark.parametrize("attempt", range(20))
def test_a_signal_handler_that_raises_ends_the_engine_cleanly(attempt: int) -> None:
    """As Airflow's execution_timeout does: whatever the loop was doing, the exception arrives and all is cleaned up."""
    endless = Endless()

    def out_of_time(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, out_of_time)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05 + attempt / 1000)
        with pytest.raises(OutOfTime):
            EngineThread().run(endless.run)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert endless.cleaned_up
    assert engine_threads() == []


def test_stop_from_another_thread_ends_the_engine_cleanly() -> None:
    """As on_kill does; stopping twice is harmless."""
    endless = Endless()
    engine = EngineThread()

    def stop() -> None:
        endless.started.wait()
        engine.stop()
        engine.stop()

    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(SftpS3Error, match="stopped from outside"):
        engine.run(endless.run)
    stopping.join()
    assert endless.cleaned_up


def test_an_engine_that_does_not_stop_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task must end even when something hangs in its cleaning up; the thread dies with the process."""
    monkeypatch.setattr("airflow_provider_sftp_s3.transfers.base.STOP_SECONDS", 0.1)
    release = threading.Event()
    engine = EngineThread()

    async def hang() -> None:
        await asyncio.to_thread(lambda: None)
        while not release.is_set():
            time.sleep(0.01)  # noqa: ASYNC251 - blocks the loop on purpose

    def out_of_time(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, out_of_time)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(OutOfTime):
            engine.run(hang)
        (left,) = [thread for thread in threading.enumerate() if thread.name == "sftp-s3"]
        assert left.daemon
    finally:
        signal.signal(signal.SIGALRM, before)
        release.set()
