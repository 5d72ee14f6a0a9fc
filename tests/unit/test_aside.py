"""Done files that are not to be replaced: the older one gets a name with its mtime, or both stay."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airflow_provider_sftp_s3.engine import aside
from airflow_provider_sftp_s3.engine.aside import OlderFiles
from airflow_provider_sftp_s3.engine.errors import FileError, NameRefused, NotFound
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.temporary import TEMP_NAME, TRIED, TemporaryNames
from tests.support.faulty_sftp import AttributesAre
from tests.support.sftp_servers import AsyncsshServer, Fault

pytestmark = pytest.mark.integration

WHEN = 1_000_000_000


def put(root: Path, name: str, content: bytes, mtime: int = WHEN) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes(content)
    os.utime(root / name, (mtime, mtime))


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def older(session: SftpSession, *, is_retry: bool = False) -> OlderFiles:
    return OlderFiles(session, ".done", is_retry=is_retry)


async def test_an_older_file_gets_a_name_with_its_mtime(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """One that nobody has; where the name is free, nothing else is touched."""
    put(sftp_server.root, ".done/other", b"other")
    for content in (b"1", b"22", b"333"):
        put(sftp_server.root, "a", content)
        assert await older(session).move(b"/a", b"/.done/a") == Stat(len(content), WHEN)
    names = {".done/a": b"333", f".done/a.{WHEN}": b"1", f".done/a.{WHEN}-1": b"22"}
    assert tree(sftp_server.root) == {".done/other": b"other", **names}


async def test_what_is_gone_is_not_found(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """And the older file keeps its name."""
    put(sftp_server.root, ".done/a", b"older")
    with pytest.raises(NotFound):
        await older(session).move(b"/a", b"/.done/a")
    assert tree(sftp_server.root) == {".done/a": b"older"}


async def test_without_a_name_for_the_older_one_both_stay(
    sftp_server: AsyncsshServer, session: SftpSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mtime is not known, all names are taken, or it would be too long."""
    monkeypatch.setattr(aside, "MAX_ASIDE", 2)
    for name in ("a", ".done/a", f".done/a.{WHEN}", f".done/a.{WHEN}-1"):
        put(sftp_server.root, name, name.encode())
    before = tree(sftp_server.root)
    with pytest.raises(FileError, match="is there 2 times with one mtime"):
        await older(session).move(b"/a", b"/.done/a")
    sftp_server.fault = AttributesAre(lambda size: {"mtime": None, "atime": None})
    with pytest.raises(FileError, match="which the server does not say"):
        await older(session).move(b"/a", b"/.done/a")
    sftp_server.fault = Fault()
    assert tree(sftp_server.root) == before
    long = "x" * 250
    for name in (long, f".done/{long}"):
        put(sftp_server.root, name, b"")
    with pytest.raises(NameRefused, match="would have 261 bytes"):
        await older(session).move(f"/{long}".encode(), f"/.done/{long}".encode())
    assert tree(sftp_server.root) == {**before, long: b"", f".done/{long}": b""}


@pytest.mark.parametrize("is_retry", [True, False])
async def test_a_retry_removes_what_a_killed_try_has_made(
    sftp_server: AsyncsshServer, session: SftpSession, is_retry: bool
) -> None:
    """Empty files of its own names, once; what has a byte in it, or another name, is somebody's."""
    names = TemporaryNames(TEMP_NAME, owner=TRIED)
    spare, full = (os.fsdecode(names.path_for(b".done/a")) for _ in range(2))
    put(sftp_server.root, spare, b"")
    put(sftp_server.root, full, b"x")
    put(sftp_server.root, ".done/empty", b"")
    put(sftp_server.root, "a", b"1")
    await older(session, is_retry=is_retry).move(b"/a", b"/.done/a")
    left = set() if is_retry else {spare}
    assert set(tree(sftp_server.root)) == {full, ".done/empty", ".done/a"} | left
