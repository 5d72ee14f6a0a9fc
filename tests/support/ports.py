"""Ports of 127.0.0.1 for servers that stop and come back on the same port, beside other test processes.

The kernel gives a port of its own range (Linux: 32768 and up) to whoever asks for any, and to each connection that is
made: also one whose server is down at the moment. So these are below that range, and a process takes them from blocks
that it has locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

#: Above those of the demo, below those of the kernel.
BLOCKS = range(12_200, 32_200, 100)
#: Ports of one process. When all were given the first is next: its server is long gone.
MANY = 2_000

_locks: list[IO[str]] = []


def free_port() -> int:
    """Return a port that nobody listens on, another one each time. :raises RuntimeError: all blocks are locked."""
    for port in _ports:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError(f"other test processes have all ports from {BLOCKS.start} to {BLOCKS.stop}")


def _locked() -> Iterator[int]:
    """Yield the ports of one block after the other; each stays locked until this process ends."""
    directory = Path(tempfile.gettempdir(), f"ports-of-tests-{os.getuid()}")
    directory.mkdir(exist_ok=True)
    # Not `random` itself, which tests give a seed: all processes would try the same block first.
    for first in random.SystemRandom().sample(BLOCKS, len(BLOCKS)):
        lock = (directory / str(first)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _locks.append(lock)
        yield from range(first, first + BLOCKS.step)


_ports = itertools.cycle(itertools.islice(_locked(), MANY))
