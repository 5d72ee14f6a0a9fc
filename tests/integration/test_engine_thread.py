"""The thread that an operator's engine runs in: every way it can end."""

from __future__ import annotations

import _thread
import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, SftpS3Error
from airflow_provider_sftp_s3.engine.model import Report
from airflow_provider_sftp_s3.engine_thread import EngineThread, collecting_rarely, taking_turns
from tests.conftest import require
from tests.support.engine import Engine
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

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

    def run_for_a_moment() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.05 + attempt / 1000)
        EngineThread().run(endless.run)

    before = signal.signal(signal.SIGALRM, out_of_time)
    try:
        with pytest.raises(OutOfTime):
            run_for_a_moment()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert endless.cleaned_up == endless.started.is_set()  # on a busy machine it may not have been begun
    assert engine_threads() == []


def test_a_signal_before_the_wait_ends_the_engine_cleanly(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the moment in which the thread has been begun."""
    endless = Endless()
    start = threading.Thread.start

    def start_and_raise(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "sftp-s3":
            endless.started.wait()
            raise OutOfTime

    monkeypatch.setattr(threading.Thread, "start", start_and_raise)
    with pytest.raises(OutOfTime):
        EngineThread().run(endless.run)
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
    monkeypatch.setattr("airflow_provider_sftp_s3.engine_thread.STOP_SECONDS", 0.1)
    release = threading.Event()
    engine = EngineThread()
    main = threading.main_thread().ident
    assert main is not None

    async def hang() -> None:
        await asyncio.to_thread(lambda: None)
        signal.pthread_kill(main, signal.SIGALRM)  # by a timer, a busy machine might get it before it hangs
        while not release.is_set():
            time.sleep(0.01)  # noqa: ASYNC251 - blocks the loop on purpose

    def out_of_time(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, out_of_time)
    try:
        with pytest.raises(OutOfTime):
            engine.run(hang)
        (left,) = [thread for thread in threading.enumerate() if thread.name == "sftp-s3"]
        assert left.daemon
    finally:
        signal.signal(signal.SIGALRM, before)
        release.set()
    assert engine._thread is not None
    engine._thread.join()


def test_engines_at_the_same_time_leave_the_process_as_it_was() -> None:
    """Python's settings are changed while any of six runs, no more than once, and are what they were after the last."""
    before = gc.get_threshold(), sys.getswitchinterval()
    together, seen = threading.Barrier(7), list[tuple[int, ...]]()

    async def meet() -> None:
        await asyncio.to_thread(together.wait)
        seen.append(gc.get_threshold())
        await asyncio.to_thread(together.wait)

    def engine() -> None:
        with taking_turns:
            EngineThread().run(meet)

    threads = [threading.Thread(target=engine) for _ in range(6)]
    for thread in threads:
        thread.start()
    together.wait(60)
    assert sys.getswitchinterval() == pytest.approx(before[1] / 10)
    together.wait(60)
    for thread in threads:
        thread.join()
    assert seen == [(before[0][0] * 30, *before[0][1:])] * 6
    assert (gc.get_threshold(), sys.getswitchinterval()) == before


def test_the_engine_that_began_first_may_end_first() -> None:
    """What was set before both is set back after both."""
    before = gc.get_threshold()
    first, second = threading.Event(), threading.Event()
    begun = threading.Barrier(3)

    def hold(until: threading.Event) -> None:
        with collecting_rarely:
            begun.wait(60)
            until.wait(60)

    threads = [threading.Thread(target=hold, args=(until,)) for until in (first, second)]
    for thread in threads:
        thread.start()
    begun.wait(60)
    for until, thread in zip((first, second), threads, strict=True):
        assert gc.get_threshold() != before
        until.set()
        thread.join()
    assert gc.get_threshold() == before


def test_stop_raises_nothing_of_its_own() -> None:
    """Wherever the thread is: not begun, over, or in the moment in which its loop is closed."""
    engine = EngineThread()
    engine.stop()
    engine = EngineThread()
    engine.run(quick)
    assert engine._loop is not None
    assert engine._loop.is_closed()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine._loop, "is_closed", lambda: False)  # as it was when it was asked
        engine.stop()
    engine._thread = threading.Thread(target=lambda: None)  # a signal came before it was started
    engine.stop()


# --------------------------------------------------------------------------------------- what others did to the process


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin threads by a function of Python, as gevent and eventlet have it."""
    start = _thread.start_new_thread

    def start_new_thread(*arguments: Any, **keywords: Any) -> int:
        return start(*arguments, **keywords)

    monkeypatch.setattr(_thread, "start_new_thread", start_new_thread)


@pytest.mark.usefixtures("patched")
def test_the_event_loop_is_asyncios_where_threads_are_none() -> None:
    async def loop() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert EngineThread().run(loop).partition(".")[0] == "asyncio"


UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import asyncio
from airflow_provider_sftp_s3.engine_thread import EngineThread
async def work():
    await asyncio.to_thread(lambda: None)
    return "result"
print(EngineThread().run(work))
"""


def test_a_run_ends_in_a_process_that_gevent_has_patched() -> None:
    """As Celery's workers have it with `--pool gevent`. With uvloop it would wait for ever."""
    require(find_spec("gevent") is not None, "gevent is not installed (pip install gevent)")
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", UNDER_GEVENT], capture_output=True, text=True, timeout=300
    )
    assert (ended.stdout, ended.returncode) == ("result\n", 0), ended.stderr


@pytest.fixture
def engine(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> Engine:
    """One with a file that is large enough for obstore."""
    (sftp_server.root / "in").mkdir()
    (sftp_server.root / "in" / "file").write_bytes(os.urandom(2**20))
    return Engine(sftp_server, s3, bucket)


@pytest.mark.parametrize("begin", [EngineThread().run, lambda work: asyncio.run(work())], ids=["thread", "alone"])
def test_a_fork_of_a_process_that_has_run_an_engine_is_refused(
    engine: Engine, tmp_path: Path, begin: Callable[..., Report]
) -> None:
    """It would wait for ever for obstore's threads. The error says what to do instead."""
    assert begin(lambda: engine.pull(after_transfer="keep")).transferred == 1
    said = tmp_path / "said"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 knows how such a fork may end
        child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(120)
            begin(lambda: engine.pull(after_transfer="move"))
        except ConfigurationError as refused:
            said.write_text(str(refused))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, "it waited"
    for words in (f"({child}) is a fork", f"({os.getpid()})", "'spawn'", "before the first transfer"):
        assert words in said.read_text()
    assert begin(engine.pull).transferred == 1
