"""
Distance: a TCP proxy that holds every byte for half a round trip, each way: ``python -m benchmarks.far PORT TO SECONDS``.

It limits no throughput. Only the TCP handshake is as fast as before, which favours who opens many connections.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Any

import uvloop


class End(asyncio.Protocol):
    """One end of a connection: what comes in goes out at the other end, later."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._held: deque[tuple[float, bytes | None]] = deque()
        self.other: End | None = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._hold(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._hold(None)

    def _hold(self, data: bytes | None) -> None:
        self._held.append((self._loop.time() + self._delay, data))
        if len(self._held) == 1:
            self._loop.call_later(self._delay, self._pass_on)

    def _pass_on(self) -> None:
        now = self._loop.time()
        while self._held and self._held[0][0] <= now + 0.0005:
            _, data = self._held.popleft()
            if self.other is None or self.other.transport is None:
                continue
            if data is None:
                self.other.transport.close()
            else:
                self.other.transport.write(data)
        if self._held:
            self._loop.call_later(max(0.0, self._held[0][0] - now), self._pass_on)


async def _serve(port: int, to: int, round_trip: float) -> None:
    loop = asyncio.get_running_loop()
    connecting = set()

    def near() -> End:
        end = End(round_trip / 2)

        async def connect() -> None:
            _, far = await loop.create_connection(lambda: End(round_trip / 2), "127.0.0.1", to)
            end.other, far.other = far, end

        task = loop.create_task(connect())
        connecting.add(task)
        task.add_done_callback(connecting.discard)
        return end

    server = await loop.create_server(near, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
