"""The engine's event loop in a thread of its own, and the settings of Python that suit it meanwhile."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import gc
import sys
import threading
import types
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from airflow_provider_sftp_s3.engine.errors import SftpS3Error

T = TypeVar("T")

#: How long an engine that is told to stop may take to close its files and connections.
STOP_SECONDS = 10.0


class EngineThread:
    """
    Runs one coroutine in an event loop of its own thread, while the calling thread waits.

    Airflow ends a task by a signal, whose handler raises in the main thread, wherever that happens to be. Inside an
    event loop such an exception may be swallowed by a callback; here it only ever ends a wait.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """
        Return what `work` returns, or raise what it raises. Any exception in this thread stops it first.

        :raises SftpS3Error: :meth:`stop` was called.
        """
        try:
            return self.start(work)()
        except BaseException:
            self.stop()  # a signal may come before there is a wait that it ends
            raise

    def start(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Callable[[], T]:
        """
        Begin `work`, and return the call that waits for its end, as :meth:`run` does. Raises what that does.

        Where an exception comes between the two, :meth:`stop` is the caller's to call.
        """
        result: list[T] = []
        error: list[BaseException] = []
        finished = threading.Event()

        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.current_task()
            if not self._stopped:
                result.append(await work())

        def target() -> None:
            try:
                with collecting_rarely, asyncio.Runner(loop_factory=_new_event_loop) as runner:
                    runner.run(main())
            except BaseException as raised:
                error.append(raised)
            finally:
                finished.set()

        def wait() -> T:
            try:
                finished.wait()
            except BaseException:
                self.stop()
                raise
            if error and not isinstance(error[0], asyncio.CancelledError):
                raise error[0]
            if not result:
                raise SftpS3Error("the run was stopped from outside")
            return result[0]

        self._thread = threading.Thread(target=target, name="sftp-s3", daemon=True)
        self._thread.start()
        return wait

    def stop(self) -> None:
        """
        Cancel the work and wait until it has closed what it had open, for 10 s at most. May be called at any time.

        It raises nothing of its own, so that the reason it is called for is what is raised.
        """
        self._stopped = True
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, perhaps in this very moment
                self._loop.call_soon_threadsafe(self._task.cancel)
        if self._thread is not None:
            with contextlib.suppress(RuntimeError):  # it has not begun yet, and will find that it is stopped
                self._thread.join(STOP_SECONDS)


def _new_event_loop() -> asyncio.AbstractEventLoop:
    """
    Return uvloop's, where it is installed, as it is along with Airflow 3: a tenth off the time of small files.

    In a process that gevent or eventlet has patched, all threads are one: while uvloop waits, nobody else runs. There
    it is asyncio's, which waits as they do.
    """
    if not isinstance(_thread.start_new_thread, types.BuiltinFunctionType):
        return asyncio.new_event_loop()
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class _WhileUsed(Generic[T]):
    """
    Changes a setting of the whole process while any thread is within the block, and then sets it back.

    :param get: returns the setting.
    :param set_: sets it.
    :param changed: returns what it is to be, of what it is.
    """

    def __init__(self, get: Callable[[], T], set_: Callable[[T], object], changed: Callable[[T], T]) -> None:
        self._get, self._set, self._changed = get, set_, changed
        self._lock = threading.Lock()
        self._users = 0
        self._before: list[T] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._before = [self._get()]
                self._set(self._changed(self._before[0]))
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._set(self._before[0])


#: Python looks for garbage in cycles a thirtieth as often. By its default it does so every 700 objects, and now and
#: then goes through all of Airflow: an eighth of the time of many small files. What the engine drops is in no cycles,
#: but for errors.
collecting_rarely = _WhileUsed(
    gc.get_threshold, lambda values: gc.set_threshold(*values), lambda values: (values[0] * 30, *values[1:])
)
#: Another thread has its turn ten times as often. By its default Python has it wait for 5 ms, before each of the many
#: short steps of a login.
taking_turns = _WhileUsed(sys.getswitchinterval, sys.setswitchinterval, lambda seconds: seconds / 10)
