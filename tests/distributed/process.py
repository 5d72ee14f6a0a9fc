"""A process with all that it starts, so that nothing of it outlives a test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.support.compose import REPOSITORY

#: Seconds that anything may take before the test fails: many times what it takes on two idle cores.
PATIENCE = 400.0


class Process:
    """One process with all that it starts."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        self._paused: list[int] = []
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def check(self) -> None:
        """Do nothing while it runs. :raises AssertionError: it does no more."""
        assert self._process.poll() is None, f"{self._process.args!r} has ended:\n{self.log.read_text()[-3000:]}"

    def pids(self) -> list[int]:
        """Return what of it is alive: its session, and what has left that but is still its descendant."""
        alive = set()
        with contextlib.suppress(psutil.NoSuchProcess):
            alive = {child.pid for child in psutil.Process(self._process.pid).children(recursive=True)}
        return [pid for pid in psutil.pids() if (pid in alive or _session(pid) == self._process.pid) and _is_alive(pid)]

    def pause(self) -> None:
        """Stand still: connections stay open and nothing is answered, until :meth:`resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self, first: signal.Signals | None = None) -> None:
        """
        End all of it at once, as when a machine is switched off.

        :param first: asks the process to end its children itself, where they are in sessions of their own.
        """
        if first is not None and self._process.poll() is None:
            self._process.send_signal(first)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        while pids := self.pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.poll()
            time.sleep(0.02)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
