"""Renaming over a file where the server has no posix-rename: nothing in the way is ever lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from airflow_provider_sftp_s3.engine.errors import NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.sftp.replace import Replacing
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support.engine import server_of
from tests.support.faulty_sftp import NoPosixRename
from tests.support.sftp_servers import AsyncsshServer, Fault, Proceed, Request

pytestmark = pytest.mark.integration


@pytest.fixture
async def session(sftp_server: AsyncsshServer) -> AsyncIterator[SftpSession]:
    sftp_server.fault = NoPosixRename()
    async with SftpSession(server_of(sftp_server), TransferOptions()) as session:
        yield session


def files(server: AsyncsshServer) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(server.root).iterdir() if path.is_file()}


async def test_a_file_in_the_way_is_replaced(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """And nothing else is left."""
    (sftp_server.root / "new").write_bytes(b"new")
    (sftp_server.root / "old").write_bytes(b"old")
    await Replacing(session).replace(b"/new", b"/old")
    assert files(sftp_server) == {"old": b"new"}


async def test_a_directory_in_the_way_stays_where_it_is(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """It is no file that could be replaced, and must not be moved aside."""
    (sftp_server.root / "new").write_bytes(b"new")
    (sftp_server.root / "taken").mkdir()
    (sftp_server.root / "taken" / "inside").write_bytes(b"inside")
    with pytest.raises(ServerRefused, match="a directory is in the way"):
        await Replacing(session).replace(b"/new", b"/taken")
    assert (sftp_server.root / "taken" / "inside").read_bytes() == b"inside"
    assert sftp_server.requests["RENAME"] == 1, "the one that was refused"
    assert files(sftp_server) == {"new": b"new"}


async def test_a_missing_source_leaves_the_target(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """Nothing is moved for a file that is not there."""
    (sftp_server.root / "old").write_bytes(b"old")
    with pytest.raises(NotFound):
        await Replacing(session).replace(b"/nothing", b"/old")
    assert files(sftp_server) == {"old": b"old"}


async def test_a_missing_directory_is_told_as_it_is(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """The source stays."""
    (sftp_server.root / "new").write_bytes(b"new")
    with pytest.raises(NotFound):
        await Replacing(session).replace(b"/new", b"/nowhere/new")
    assert files(sftp_server) == {"new": b"new"}


class DeniesName(Fault):
    """A server on which nobody may give a file one name, though it has one of that name."""

    def __init__(self, requests: tuple[str, ...], error: Callable[[str], asyncssh.SFTPError]) -> None:
        self.requests = requests
        self.error = error

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name in self.requests and request.target == "/old":
            raise self.error("not now")
        return await proceed()


async def test_a_name_that_is_denied_keeps_its_file(sftp_server: AsyncsshServer) -> None:
    """Where posix-rename and RENAME are denied, it is not moved aside: nobody could move it back."""
    (sftp_server.root / "new").write_bytes(b"new")
    (sftp_server.root / "old").write_bytes(b"old")
    sftp_server.fault = DeniesName(("RENAME", "POSIX-RENAME"), asyncssh.SFTPPermissionDenied)
    async with SftpSession(server_of(sftp_server), TransferOptions()) as session:
        with pytest.raises(ServerRefused, match="not now"):
            await Replacing(session).replace(b"/new", b"/old")
    assert files(sftp_server) == {"old": b"old", "new": b"new"}


async def test_a_file_that_cannot_be_moved_back_is_named(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """Where the server says no more than that it failed, it may have been for the file in the way."""
    (sftp_server.root / "new").write_bytes(b"new")
    (sftp_server.root / "old").write_bytes(b"old")
    sftp_server.fault = DeniesName(("RENAME", "POSIX-RENAME"), asyncssh.SFTPFailure)
    with pytest.raises(ServerRefused, match="the older file is called") as refused:
        await Replacing(session).replace(b"/new", b"/old")
    (aside,) = set(files(sftp_server)) - {"new"}
    assert aside in str(refused.value)
    assert files(sftp_server) == {aside: b"old", "new": b"new"}


class TestTake:
    """A name is taken unless there is something."""

    async def test_what_is_there_is_not_replaced(self, sftp_server: AsyncsshServer, session: SftpSession) -> None:
        """By a RENAME that was seen to be refused between two files of our own, which are gone again."""
        names = iter((b"/.1", b"/.2"))
        for name in ("one", "two", "taken"):
            (sftp_server.root / name).write_bytes(name.encode())
        replacing = Replacing(session)
        assert await replacing.take(b"/one", b"/new", lambda: next(names))
        assert not await replacing.take(b"/two", b"/taken", lambda: next(names))
        assert session.traits.rename_replaces is False
        await session.lstat(b"/two")  # what is removed is removed by then
        assert files(sftp_server) == {"new": b"one", "two": b"two", "taken": b"taken"}

    async def test_what_is_gone_is_not_there(self, sftp_server: AsyncsshServer, session: SftpSession) -> None:
        """Though some servers say first that the target is taken, as this one does."""
        (sftp_server.root / "taken").write_bytes(b"taken")
        names = iter((b"/.1", b"/.2"))
        with pytest.raises(NotFound):
            await Replacing(session).take(b"/gone", b"/taken", lambda: next(names))
