"""Whether files can be moved into another directory: a name that does not exist tells, or a file of our own."""

from __future__ import annotations

import pytest

from airflow_provider_sftp_s3.engine.movable import why_not_movable
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.faults.harness import Together
from tests.support import faulty_sftp as faulty
from tests.support.engine import server_of
from tests.support.sftp_servers import AsyncsshServer, Fault, SftpServer

pytestmark = pytest.mark.integration

NO_NEW_FILES = faulty.Refuses(("OPEN",))


@pytest.mark.parametrize(
    ("fault", "is_movable"),
    [
        (Fault(), True),
        (faulty.NoPosixRename(), True),
        (faulty.Refuses(("POSIX-RENAME",)), True),
        (faulty.RenameOfNothingFails(), True),
        (Together(NO_NEW_FILES, faulty.RenameOfNothingFails()), True),
        (faulty.RenameAcrossIsRefused(), False),
        (Together(NO_NEW_FILES, faulty.RenameAcrossIsRefused()), True),
        (faulty.RenameIsRefused(), False),
        (Together(NO_NEW_FILES, faulty.RenameIsRefused()), False),
        (Together(NO_NEW_FILES, faulty.RenameIsRefused(), faulty.Refuses(("LSTAT", "STAT"))), True),
        (faulty.RenameDoesNothing(), False),
        (faulty.RenameDoesNothing(("POSIX-RENAME",)), True),
        (Together(NO_NEW_FILES, faulty.RenameDoesNothing()), True),
    ],
    ids=[
        *("fine", "no posix-rename", "posix-rename fails", "failure for what is missing", "and no new files"),
        *("not across", "unknown: not across, no new files", "denied", "read only", "all is denied"),
        *("OK and nothing", "OK and nothing to posix-rename", "OK and nothing, no new files"),
    ],
)
async def test_what_a_server_says(
    sftp_server: AsyncsshServer, session: SftpSession, fault: Fault, is_movable: bool
) -> None:
    """What cannot be found out is not held against it; nothing stays behind."""
    (sftp_server.root / "in/.done").mkdir(parents=True)
    sftp_server.fault = fault
    refused = await why_not_movable(session, b"/in", b"/in/.done")
    assert (refused is None) == is_movable, refused
    sftp_server.fault = Fault()
    assert await settled(session) == []


async def settled(session: SftpSession) -> list[bytes]:
    """Return what is there once what goes on by itself has ended."""
    for _ in range(50):
        names = [entry.name for entry in await session.list_directory(b"/in") if entry.name != b".done"]
        names += [entry.name for entry in await session.list_directory(b"/in/.done")]
        if not names:
            break
    return names


async def test_on_real_servers(any_sftp_server: SftpServer) -> None:
    """All of them move files."""
    (any_sftp_server.root / "in/.done").mkdir(parents=True)
    any_sftp_server.refresh()
    async with SftpSession(server_of(any_sftp_server), TransferOptions()) as session:
        directory = any_sftp_server.path("in").encode()
        assert await why_not_movable(session, directory, directory + b"/.done") is None
