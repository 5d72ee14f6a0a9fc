"""The line to a server: the first address that answers, or a command and what it says."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.sftp import line
from airflow_provider_sftp_s3.engine.sftp.line import MAX_COMPLAINT, Address, addresses_of, dial, through
from tests.support.ports import free_port

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo no way >&2; exit 3", "host_proxy_cmd ended with exit status 3: no way"),
        ("exit 0", "host_proxy_cmd ended with exit status 0, and said nothing"),
        ("printf 'a\\033[2Jb' >&2; exit 1", "host_proxy_cmd ended with exit status 1: a\\x1b[2Jb"),
    ],
)
async def test_a_command_that_ends_at_once_says_why(script: str, says: str) -> None:
    """The line is at its end, and the error can show what the command wrote, printable."""
    ours, proxy = await through(["sh", "-c", script])
    with ours:
        assert await asyncio.get_running_loop().sock_recv(ours, 1) == b""
    await proxy.process.wait()
    assert await proxy.last_words() == says


async def test_a_command_is_the_line_until_it_is_ended() -> None:
    """What it has started ends with it; to end it twice does no harm."""
    loop = asyncio.get_running_loop()
    ours, proxy = await through(["sh", "-c", "cat; exit 0"])
    with ours:
        await loop.sock_sendall(ours, b"SSH-2.0-x")
        assert await loop.sock_recv(ours, 100) == b"SSH-2.0-x"
        await proxy.end()
        assert await asyncio.wait_for(loop.sock_recv(ours, 100), 60) == b""  # cat had the other end, too
    assert proxy.process.returncode == -9
    await proxy.end()


async def test_a_command_that_complains_a_lot_is_cut_short_and_not_held_up() -> None:
    """All that it writes is read, as else it would wait for ever; little of it is kept."""
    ours, proxy = await through(["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3"])
    ours.close()
    assert await proxy.process.wait() == 3
    assert await proxy.complaint == b"x" * (MAX_COMPLAINT + 1)
    await proxy.end()


async def test_a_command_that_is_not_there_is_a_setting_to_mend() -> None:
    """No retry would help."""
    with pytest.raises(ConfigurationError, match=r"host_proxy_cmd cannot be started: .*nonexistent"):
        await through(["/nonexistent/nc"])


def on(port: int) -> Address:
    return socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.1", port)


async def test_an_address_that_refuses_leaves_it_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that answers is taken; where none does, the first failure is the error."""

    async def addresses(host: str, port: int) -> list[Address]:
        return found[:]

    monkeypatch.setattr(line, "addresses_of", addresses)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        found = [on(free_port()), on(port)]
        with await dial("h", 22) as made:
            assert made.getpeername() == ("127.0.0.1", port)
            assert not made.getblocking()
    found = [on(free_port())]
    with pytest.raises(ConnectionRefusedError):
        await dial("h", 22)
    found = []
    with pytest.raises(OSError, match="h has no address"):
        await dial("h", 22)


async def test_an_address_is_its_own() -> None:
    """It is asked of nobody."""
    assert [where for *_, where in await addresses_of("127.0.0.1", 2222)] == [("127.0.0.1", 2222)]


async def test_addresses_of_both_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that leads nowhere holds up the other by one address; the system's first one stays the first."""
    families = [socket.AF_INET6, socket.AF_INET6, socket.AF_INET6, socket.AF_INET]

    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return [(family, socket.SOCK_STREAM, 6, "", number) for number, family in enumerate(families)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    assert [where for *_, where in await addresses_of("h", 22)] == [0, 3, 1, 2]
