"""
Distance: a TCP proxy that holds every byte for half a round trip, each way:
``python -m benchmarks.far PORT TO SECONDS``.

It limits no throughput. Only the TCP handshake is as fast as before, which favours who opens many connections.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import uvloop


class End(asyncio.Protocol):
    """One end of a connection: what comes in goes out at the other end, later."""

    transport: Any
    other: End

    def __init__(self, delay: float, connected: Callable[[End], None] = lambda _: None) -> None:
        self._delay = delay
        self._connected = connected
        self._loop = asyncio.get_running_loop()
        self._held: deque[tuple[float, bytes | None]] = deque()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._connected(self)

    def data_received(self, data: bytes) -> None:
        self._hold(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._hold(None)

    def _hold(self, data: bytes | None) -> None:
        self._held.append((self._loop.time() + self._delay, data))
        if len(self._held) == 1:
            self._loop.call_later(self._delay, self._pass_on)

    def _pass_on(self) -> None:
        out = self.other.transport
        now = self._loop.time()
        while self._held and self._held[0][0] <= now + 0.0005:
            _, data = self._held.popleft()
            if data is None:
                out.close()
            elif not out.is_closing():
                out.write(data)
        if self._held:
            self._loop.call_later(max(0.0, self._held[0][0] - now), self._pass_on)


async def _serve(port: int, to: int, round_trip: float) -> None:
    loop = asyncio.get_running_loop()
    connecting = set()

    async def connect(near: End) -> None:
        near.transport.pause_reading()
        _, far = await loop.create_connection(lambda: End(round_trip / 2), "127.0.0.1", to)
        near.other, far.other = far, near
        near.transport.resume_reading()

    def connected(near: End) -> None:
        task = loop.create_task(connect(near))
        connecting.add(task)
        task.add_done_callback(connecting.discard)

    server = await loop.create_server(lambda: End(round_trip / 2, connected), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
