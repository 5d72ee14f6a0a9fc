"""Mode and mtime of pushed files: set, looked at once, and said where the server does not keep them."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.attributes import FileAttributes
from airflow_provider_sftp_s3.engine.errors import FileError, NotFound
from airflow_provider_sftp_s3.engine.settings import PushSettings
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support.faulty_sftp import SetstatDoesNothing, SetstatIsRefused
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

WHEN = 1_700_000_000


@pytest.fixture
def notices(session: SftpSession) -> list[str]:
    told: list[str] = []
    session.notice = told.append
    return told


def attributes_of(session: SftpSession, **settings: Any) -> FileAttributes:
    return FileAttributes(PushSettings(sftp_path="/", **settings), session)


@pytest.mark.parametrize("mode", [None, 0o600, 0o664])
@pytest.mark.parametrize("preserves", [False, True])
async def test_they_are_set(
    sftp_server: AsyncsshServer, session: SftpSession, mode: int | None, preserves: bool
) -> None:
    """In one request; only the first file is looked at."""
    attributes = attributes_of(session, file_mode=mode, preserve_mtime=preserves)
    sftp_server.requests.clear()
    for name in ("a", "b"):
        (sftp_server.root / name).write_bytes(b"x")
        (sftp_server.root / name).chmod(0o640)
        await attributes.set(f"/{name}".encode(), WHEN)
        await attributes.look(f"/{name}".encode(), WHEN)
        stat = (sftp_server.root / name).stat()
        assert stat.st_mode & 0o777 == (0o640 if mode is None else mode)
        assert (int(stat.st_mtime) == WHEN) == preserves
    is_set = mode is not None or preserves
    looks = (mode is not None) + preserves
    assert (sftp_server.requests["SETSTAT"], sftp_server.requests["LSTAT"]) == (2 * is_set, looks)


async def test_a_mode_that_is_refused_fails(
    sftp_server: AsyncsshServer, session: SftpSession, notices: list[str]
) -> None:
    """It says who may read a file. An mtime does not."""
    (sftp_server.root / "a").write_bytes(b"x")
    sftp_server.fault = SetstatIsRefused()
    for preserves in (False, True):
        with pytest.raises(FileError, match=r"does not let us set its mode, 0640: .*leave file_mode out"):
            await attributes_of(session, file_mode=0o640, preserve_mtime=preserves).set(b"/a", WHEN)
    assert notices == []
    attributes = attributes_of(session, preserve_mtime=True)
    for _ in range(2):
        await attributes.set(b"/a", WHEN)
        await attributes.look(b"/a", WHEN)
    assert ["refuses to set the mtime" in notice for notice in notices] == [True]


async def test_what_does_not_stay_is_as_if_refused(
    sftp_server: AsyncsshServer, session: SftpSession, notices: list[str]
) -> None:
    """Whatever the server has said."""
    (sftp_server.root / "a").write_bytes(b"x")
    (sftp_server.root / "a").chmod(0o604)
    sftp_server.fault = SetstatDoesNothing()
    with pytest.raises(FileError, match=r"says OK to its mode, 0640, and then has 0604"):
        await attributes_of(session, file_mode=0o640).set(b"/a", WHEN)
    attributes = attributes_of(session, preserve_mtime=True)
    await attributes.set(b"/a", WHEN)
    await attributes.look(b"/a", WHEN)
    assert ["does not keep the mtimes" in notice for notice in notices] == [True]


async def test_a_file_that_is_gone_is_no_refusal(session: SftpSession, notices: list[str]) -> None:
    """It is for whoever has written it to say what that means."""
    with pytest.raises(NotFound):
        await attributes_of(session, preserve_mtime=True).set(b"/gone", WHEN)
    await attributes_of(session, preserve_mtime=True).look(b"/gone", WHEN)
    assert notices == []
