"""Renaming over a file where the server has no posix-rename: nothing in the way is ever lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from airflow_provider_sftp_s3.engine.errors import NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.sftp.replace import Replacing
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support.engine import server_of
from tests.support.faulty_sftp import NoPosixRename
from tests.support.sftp_servers import AsyncsshServer

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
    with pytest.raises(ServerRefused, match="a directory in the way"):
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
