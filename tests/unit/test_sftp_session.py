"""A session: its requests about names, its connection that is opened again, and a server that says nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest

from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support.engine import server_of
from tests.support.faulty_sftp import (
    ConnectionCutBefore,
    NeverAnswers,
    NoPosixRename,
    Refuses,
    ShortRequests,
)
from tests.support.sftp_servers import AsyncsshServer, Fault

pytestmark = pytest.mark.integration


async def test_a_listing_has_every_entry_sorted_by_name(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """Hidden ones, and names that are no text; not the directory itself and the one above."""
    names = {b"b", b"a", b".hidden", b"\xff\xfe", "ü".encode(), *(b"many-%03d" % number for number in range(300))}
    for name in names:
        (sftp_server.root / os.fsdecode(name)).write_bytes(b"")
    (sftp_server.root / "sub").mkdir()
    entries = await session.list_directory(b"/")
    assert [entry.name for entry in entries] == sorted({*names, b"sub"})
    assert {entry.kind for entry in entries if entry.name == b"sub"} == {"directory"}
    assert session.handles.held == 0
    with pytest.raises(NotFound):
        await session.list_directory(b"/gone")


async def test_what_is_at_a_name(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """A link is there, whatever it leads to; it is a directory where it leads to one."""
    root = sftp_server.root
    (root / "file").write_bytes(b"1234")
    os.utime(root / "file", (5, 7))
    (root / "directory").mkdir()
    (root / "link").symlink_to("directory")
    (root / "broken").symlink_to("nowhere")
    assert await session.lstat(b"/file") == Stat(4, 7)
    names = (b"file", b"directory", b"link", b"broken", b"gone")
    assert [await session.exists(b"/" + name) for name in names] == [True, True, True, True, False]
    assert [await session.is_directory(b"/" + name) for name in names] == [False, True, True, False, False]


async def test_a_directory_that_another_writer_has_made_is_as_good(
    sftp_server: AsyncsshServer, session: SftpSession
) -> None:
    """A file of its name is not."""
    await session.make_directory(b"/a")
    await session.make_directory(b"/a")
    (sftp_server.root / "file").write_bytes(b"")
    with pytest.raises(ServerRefused):
        await session.make_directory(b"/file")
    await session.remove_directory(b"/a")
    assert not (sftp_server.root / "a").exists()


async def test_times_names_and_files_are_changed(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """Each by one request."""
    (sftp_server.root / "a").write_bytes(b"x")
    await session.set_mtime(b"/a", 1_000_000_000)
    assert (sftp_server.root / "a").stat().st_mtime == 1_000_000_000
    await session.rename(b"/a", b"/b")
    await session.remove(b"/b")
    assert list(sftp_server.root.iterdir()) == []
    with pytest.raises(NotFound):
        await session.remove(b"/b")


@pytest.mark.parametrize("fault", [Fault(), NoPosixRename()], ids=["atomic", "in steps"])
async def test_a_move_says_what_is_there_then(sftp_server: AsyncsshServer, session: SftpSession, fault: Fault) -> None:
    """In place of an older file, with or without the posix-rename extension, and nothing else is left."""
    sftp_server.fault = fault
    (sftp_server.root / "new").write_bytes(b"newer")
    os.utime(sftp_server.root / "new", (7, 7))
    (sftp_server.root / "old").write_bytes(b"o")
    assert await session.move(b"/new", b"/old") == Stat(5, 7)
    assert {path.name: path.read_bytes() for path in sftp_server.root.iterdir()} == {"old": b"newer"}
    with pytest.raises(NotFound):
        await session.move(b"/new", b"/old")


async def test_a_file_that_cannot_be_written_to_its_end_is_removed(sftp_server: AsyncsshServer) -> None:
    """Whatever the reason was, which goes on being the reason. The end of the session waits for the removal."""

    async def fails(session: SftpSession) -> None:
        async with session.creating(b"/half"):
            assert (sftp_server.root / "half").exists()
            raise ZeroDivisionError

    async with SftpSession(server_of(sftp_server), TransferOptions()) as session:
        with pytest.raises(ZeroDivisionError):
            await fails(session)
    assert not (sftp_server.root / "half").exists()


async def test_what_cannot_be_made_is_not_removed(sftp_server: AsyncsshServer) -> None:
    """It may be somebody else's; and some servers never answer where they are to remove what is not there."""
    (sftp_server.root / "taken").write_bytes(b"theirs")

    async def make(session: SftpSession, path: bytes) -> None:
        async with session.creating(path):
            pass

    async with SftpSession(server_of(sftp_server), TransferOptions()) as session:
        await make(session, b"/new")
        for path in (b"/missing/a", b"/taken"):
            with pytest.raises(ServerRefused):
                await make(session, path)
        assert session.traits.has_exclusive_open
    assert sftp_server.requests["REMOVE"] == 0
    assert (sftp_server.root / "taken").read_bytes() == b"theirs"


async def test_a_lost_connection_fails_its_request_and_the_next_one_opens_another(
    sftp_server: AsyncsshServer, session: SftpSession
) -> None:
    """Many requests that find it lost open one, and not one each."""
    (sftp_server.root / "a").write_bytes(b"x")
    sftp_server.fault = ConnectionCutBefore(("LSTAT",))
    with pytest.raises(ConnectionFailed) as lost:
        await session.lstat(b"/a")
    assert (lost.value.connection, session.connection) == (1, 1)
    assert [stat.size for stat in await asyncio.gather(*(session.lstat(b"/a") for _ in range(20)))] == [1] * 20
    assert session.connection == 2


async def test_a_server_that_answers_nothing_is_hung_up_on(sftp_server: AsyncsshServer) -> None:
    """After idle_timeout. The request that it did not answer is named as that; those behind it are innocent."""
    (sftp_server.root / "a").write_bytes(b"x")
    sftp_server.fault = NeverAnswers(("LSTAT",))
    async with SftpSession(server_of(sftp_server), TransferOptions(idle_timeout=0.5)) as session:
        with pytest.raises(ConnectionFailed, match="did not answer for idle_timeout") as hung:
            await session.lstat(b"/a")
        assert hung.value.unanswered
        session.options = TransferOptions()
        assert await session.is_directory(b"/")
        assert session.connection == 2


async def test_a_server_that_is_down_is_told_as_that(sftp_server: AsyncsshServer) -> None:
    """On entry, and when a lost connection is to be opened again."""
    options = TransferOptions(conn_timeout=0.3)
    async with SftpSession(server_of(sftp_server), TransferOptions(conn_timeout=60)) as session:
        sftp_server.stop()
        session.options = options
        with pytest.raises(ConnectionFailed):
            await session.exists(b"/")
        with pytest.raises(ConnectionFailed) as down:
            await session.exists(b"/")
        assert down.value.connection == 0
    with pytest.raises(ConnectionFailed, match=f"127.0.0.1:{sftp_server.port}"):
        await SftpSession(server_of(sftp_server), options).__aenter__()


async def test_no_such_file_from_a_file_that_was_opened_is_a_refusal(
    sftp_server: AsyncsshServer, session: SftpSession
) -> None:
    """The server has it all the same: whoever takes "not found" for "gone" must not be told so."""
    (sftp_server.root / "a").write_bytes(b"x")

    async def loses(name: bytes) -> None:
        async with session.reading(name):
            raise NotFound("no such file")

    with pytest.raises(ServerRefused, match="though the server has opened it") as refused:
        await loses(b"/a")
    assert not isinstance(refused.value, NotFound)
    with pytest.raises(NotFound):
        await loses(b"/gone")


async def test_a_file_is_closed_once_it_is_stored_or_one_beside_it_has_outlived_that(
    sftp_server: AsyncsshServer, session: SftpSession
) -> None:
    """A mailbox takes a file away at its CLOSE: until then it is our only one."""
    for name in ("a", "b", "c", "d"):
        (sftp_server.root / name).write_bytes(b"x")
    async with session.reading(b"/a"):
        pass
    assert sftp_server.requests["CLOSE"] == 0
    async with session.reading(b"/b") as file:
        file.is_stored = True
    assert await session.exists(b"/b")
    assert sftp_server.requests["CLOSE"] == 1
    session.traits.has_outlived_close(b"/b")
    assert session.outlive_close(b"/c")
    assert not session.outlive_close(b"/sub/c")
    async with session.reading(b"/c"):
        pass
    assert await session.exists(b"/c")
    assert sftp_server.requests["CLOSE"] == 2
    assert session.handles.held == 0


async def test_short_requests_are_known(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """Of a server that takes less than the protocol asks of every server; of others there is nothing to say."""
    assert session.short_requests is None
    sftp_server.fault = ShortRequests(10_000)
    async with SftpSession(server_of(sftp_server), TransferOptions()) as short:
        assert await short.is_directory(b"/")  # the limits have come by then
        assert short.short_requests is not None
        assert short.short_requests <= 10_000


async def test_a_refusal_names_the_file(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """With what the server said."""
    sftp_server.fault = Refuses(("LSTAT",))
    with pytest.raises(ServerRefused, match=r"/secret.*refused by the test"):
        await session.lstat(b"/secret")


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so that the server, in its own thread, sees by and by."""
    for _ in range(12_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it is never so")


async def test_a_connection_that_is_opened_when_the_run_ends_is_closed(sftp_server: AsyncsshServer) -> None:
    """By a request that nobody waits for any more: what it opens, nobody else would close."""
    async with SftpSession(server_of(sftp_server), TransferOptions(conn_timeout=60)) as session:
        (await session.live()).lose("cut by the test")
        late = [asyncio.create_task(session.exists(b"/a")) for _ in range(2)]
        await asyncio.sleep(0)
    for each in late:
        with pytest.raises(ConnectionFailed, match="the run has ended"):
            await each
    await until(lambda: not sftp_server.connections)


async def test_who_is_cancelled_while_it_waits_hangs_up(sftp_server: AsyncsshServer) -> None:
    """A second time, while the last requests of a cancelled run are awaited."""

    async def run() -> None:
        async with SftpSession(server_of(sftp_server), TransferOptions(conn_timeout=60)) as session:
            sftp_server.fault = NeverAnswers(("REMOVE",))
            session.later(session.remove(b"/a"))

    task = asyncio.create_task(run())
    await until(lambda: sftp_server.requests["REMOVE"])
    task.cancel()
    await asyncio.wait({task})
    await until(lambda: not sftp_server.connections)
