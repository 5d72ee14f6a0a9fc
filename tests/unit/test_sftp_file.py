"""An open file: every byte of it in order, what the server says of it before and after, and its end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from airflow_provider_sftp_s3.engine.errors import ServerRefused
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.options import KiB, MiB
from airflow_provider_sftp_s3.engine.sftp.file import Reading
from airflow_provider_sftp_s3.engine.sftp.protocol import MAX_REQUEST
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support.faulty_sftp import AttributesAre, EveryNthWriteFails, ReadAtTheEndFails, ReadsAreShort, Refuses
from tests.support.sftp_servers import AsyncsshServer, Fault

pytestmark = pytest.mark.integration

SIZES = (0, 1, 32 * KiB - 1, 32 * KiB, 32 * KiB + 1, 300_001, 2 * MiB)


def content_of(size: int) -> bytes:
    """Return bytes of which no two stretches are alike."""
    return os.urandom(size)


@pytest.mark.parametrize("fault", [Fault(), ReadsAreShort(10_000)], ids=["whole answers", "short answers"])
@pytest.mark.parametrize("size", SIZES)
async def test_a_file_is_read_to_its_size_and_its_end(
    sftp_server: AsyncsshServer, session: SftpSession, fault: Fault, size: int
) -> None:
    """Also where the server answers with less than it was asked for: the protocol lets it."""
    content = content_of(size)
    (sftp_server.root / "a").write_bytes(content)
    os.utime(sftp_server.root / "a", (7, 7))
    sftp_server.fault = fault
    told: list[int] = []
    async with session.reading(b"/a") as file:
        reading = await file.read_all(size, told.append)
    assert b"".join(reading.pieces) == content
    assert (reading.count, sum(told)) == (size, size)
    assert reading.ended
    assert reading.before == reading.after == Stat(size, 7)
    assert reading.refused_at_the_end is None


@pytest.mark.parametrize("read", [0, 1, 99_999])
async def test_a_file_that_goes_on_behind_its_size_has_not_ended(
    sftp_server: AsyncsshServer, session: SftpSession, read: int
) -> None:
    """One byte more is asked for: it tells that there is more, and belongs to nobody."""
    content = content_of(100_000)
    (sftp_server.root / "a").write_bytes(content)
    async with session.reading(b"/a") as file:
        reading = await file.read_all(read, lambda size: None)
        assert await file.ends_at(100_000)
        assert not await file.ends_at(99_999)
    assert not reading.ended
    assert b"".join(reading.pieces)[:read] == content[:read]


async def test_a_file_that_ends_before_its_size_is_counted(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """The end is where the server says so; who counts sees that it is too early."""
    (sftp_server.root / "a").write_bytes(b"12345")
    async with session.reading(b"/a") as file:
        reading: Reading = await file.read_all(90_000, lambda size: None)
    assert (reading.count, reading.ended) == (5, True)


async def test_an_error_in_place_of_the_end_is_kept_apart(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """The bytes are there; whether that is the end is not this module's to judge."""
    content = content_of(40_000)
    (sftp_server.root / "a").write_bytes(content)
    sftp_server.fault = ReadAtTheEndFails()
    async with session.reading(b"/a") as file:
        reading = await file.read_all(40_000, lambda size: None)
    assert b"".join(reading.pieces) == content
    assert not reading.ended
    assert reading.refused_at_the_end is not None


@pytest.mark.parametrize("size", [0, 5, 70_000, 1_000_000])
async def test_a_file_of_no_known_size_is_read_to_its_end_up_to_a_bound(
    sftp_server: AsyncsshServer, session: SftpSession, size: int
) -> None:
    """Beyond it, no more is read, and no end is claimed."""
    content = content_of(size)
    (sftp_server.root / "a").write_bytes(content)
    async with session.reading(b"/a") as file:
        reading = await file.read_all(0, lambda count: None, at_most=1_000_000)
    assert b"".join(reading.pieces) == content
    assert reading.ended
    if size:
        async with session.reading(b"/a") as file:
            reading = await file.read_all(0, lambda count: None, at_most=size // 4)
        assert size // 4 < reading.count == sum(map(len, reading.pieces)) <= size
        assert not reading.ended


async def test_a_size_that_an_open_file_does_not_say_is_asked_of_its_name(
    sftp_server: AsyncsshServer, session: SftpSession
) -> None:
    """Where that says nothing either, it is unknown."""
    (sftp_server.root / "a").write_bytes(b"12345")
    async with session.reading(b"/a") as file:
        sftp_server.fault = Refuses(("FSTAT",))
        assert (await file.stat(file.ask_stat())).size == 5
        sftp_server.fault = AttributesAre(lambda size: {"size": None})
        assert (await file.stat(file.ask_stat())).size is None


async def pieces_of(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("piece", [1_000, 32 * KiB, 100_003])
@pytest.mark.parametrize("size", [0, 1, 65_536, 300_001])
async def test_what_is_written_is_what_stands_there(
    sftp_server: AsyncsshServer, session: SftpSession, size: int, piece: int
) -> None:
    """However the bytes come, and with few requests on the way at once."""
    content = content_of(size)
    told: list[int] = []
    async with session.creating(b"/a") as file:
        written = await file.write_all(pieces_of(content, piece), size, 64 * KiB, told.append)
    assert written == (size, size)
    assert sum(told) == size
    assert (sftp_server.root / "a").read_bytes() == content
    assert file.closed


async def test_a_write_that_fails_among_many_is_an_error(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """Though those behind it succeed."""
    sftp_server.fault = EveryNthWriteFails(4)
    content = content_of(6 * MAX_REQUEST)
    with pytest.raises(ServerRefused):
        async with session.creating(b"/a") as file:
            await file.write_all(pieces_of(content, 32 * KiB), len(content), MiB, lambda size: None)
