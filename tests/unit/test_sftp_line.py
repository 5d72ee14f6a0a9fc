"""The line to a server: a socket to the first address that answers, or to a proxy command."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.sftp import line

pytestmark = pytest.mark.unit


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def test_a_socket_to_the_first_address_that_answers(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one that refuses is no error; where all refuse, it is the first one's."""
    good, closed = listening.getsockname(), ("127.0.0.1", free_port())
    found = [closed, good]

    async def addresses(host: str, port: int) -> list[line.Address]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, address) for address in found]

    monkeypatch.setattr(line, "addresses_of", addresses)
    with contextlib.closing(await line.dial("h", 22)) as made:
        assert made.getpeername() == good
    found.remove(good)
    with pytest.raises(ConnectionRefusedError):
        await line.dial("h", 22)
    found.clear()
    with pytest.raises(OSError, match="h has no address"):
        await line.dial("h", 22)


async def test_ipv6_and_ipv4_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8305: one kind of address that goes nowhere does not hold up all of the other."""
    four, six = (socket.AF_INET, 1, 6, "", ("a", 22)), (socket.AF_INET6, 1, 6, "", ("b", 22, 0, 0))

    async def system(*_: object, **__: object) -> list[object]:
        return [six, six, six, four]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", system)
    kinds = [family for family, *_ in await line.addresses_of("h", 22)]
    assert kinds == [socket.AF_INET6, socket.AF_INET, socket.AF_INET6, socket.AF_INET6]


async def test_a_proxy_command_is_the_line() -> None:
    """Its input and output; what it has started ends with it."""
    ours, proxy = await line.through(["cat"])
    with contextlib.closing(ours):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(ours, b"there and back")
        assert await loop.sock_recv(ours, 100) == b"there and back"
        await proxy.end()
    assert proxy.process.returncode == -9


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo no route >&2; exit 3", "host_proxy_cmd ended with exit status 3: no route"),
        ("exit 4", "host_proxy_cmd ended with exit status 4, and said nothing"),
    ],
)
async def test_what_a_proxy_command_says_in_the_end(script: str, said: str) -> None:
    """It is all that tells why there is no line."""
    ours, proxy = await line.through(["sh", "-c", script])
    with contextlib.closing(ours):
        assert await proxy.last_words() == said


async def test_a_proxy_command_that_is_none() -> None:
    """It is a setting to mend."""
    with pytest.raises(ConfigurationError, match="cannot be started"):
        await line.through(["/no/such/command"])
