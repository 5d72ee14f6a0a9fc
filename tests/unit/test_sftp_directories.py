"""The directories of a push: each is made once for all of its files, and cleaned of this task's leavings once."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_sftp_s3.engine.errors import ServerRefused
from airflow_provider_sftp_s3.engine.sftp.directories import TargetDirectories
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support.faulty_sftp import MkdirIsRefused
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

OWNER, OTHER = "0123abcd", "ffffffff"


def is_left(name: bytes) -> bool:
    return name.startswith(OWNER.encode())


async def test_many_files_of_one_directory_make_it_once(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """And what is missing above it; the target itself is never made."""
    directories = TargetDirectories(session, b"/", is_left)
    await asyncio.gather(*(directories.ensure(path) for path in [b"/a/b/c", b"/a/b", b"/a/b/d", b"/"] * 20))
    assert sftp_server.requests["MKDIR"] == 4
    assert (sftp_server.root / "a/b/c").is_dir()
    assert (sftp_server.root / "a/b/d").is_dir()


async def test_a_directory_that_is_there_is_not_made(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """Nor one that a link leads to."""
    (sftp_server.root / "there").mkdir()
    (sftp_server.root / "link").symlink_to("there")
    directories = TargetDirectories(session, b"/", is_left)
    await directories.ensure(b"/there")
    await directories.ensure(b"/link")
    assert sftp_server.requests["MKDIR"] == 0


async def test_one_that_cannot_be_made_is_tried_again_by_the_next_file(
    sftp_server: AsyncsshServer, session: SftpSession
) -> None:
    """All who wait for it fail; a refusal of a moment ago binds nobody who comes later."""
    sftp_server.fault = MkdirIsRefused(times=2)  # a second time with a mode: some servers want one
    directories = TargetDirectories(session, b"/", is_left)
    failed = await asyncio.gather(*(directories.ensure(b"/a") for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in failed] == [ServerRefused] * 3
    await directories.ensure(b"/a")
    assert (sftp_server.root / "a").is_dir()


async def test_who_gives_up_takes_nobody_along(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """The one that asked first is cancelled: the directory is made all the same, for those that wait."""
    directories = TargetDirectories(session, b"/", is_left)
    first, second = (asyncio.create_task(directories.ensure(b"/a/b")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
    assert (sftp_server.root / "a/b").is_dir()


async def test_only_this_tasks_own_temporary_files_are_cleaned_away(
    sftp_server: AsyncsshServer, session: SftpSession
) -> None:
    """Once a directory. Another task's may be growing, and a directory of such a name is no file."""
    mine, others, directory = f"{OWNER}1", f"{OTHER}1", f"{OWNER}2"
    for name in (mine, others, "data"):
        (sftp_server.root / name).write_bytes(b"x")
    (sftp_server.root / directory).mkdir()
    directories = TargetDirectories(session, b"/", is_left)
    await asyncio.gather(directories.clean_up(b"/"), directories.clean_up(b"/"))
    assert {path.name for path in sftp_server.root.iterdir()} == {others, "data", directory}
    assert sftp_server.requests["OPENDIR"] == 1


async def test_the_first_try_of_a_task_cleans_nothing(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """It has left nothing, and a directory that is not there needs no cleaning."""
    (sftp_server.root / f"{OWNER}1").write_bytes(b"x")
    await TargetDirectories(session, b"/", None).clean_up(b"/")
    assert sftp_server.requests["OPENDIR"] == 0
    await TargetDirectories(session, b"/", is_left).clean_up(b"/gone")
