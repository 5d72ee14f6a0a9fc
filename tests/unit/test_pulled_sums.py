"""The sum of a pulled file: read before the file, and of a checksum file that is still the same when S3 gets it."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.checksum_files import MAX_BYTES
from airflow_provider_sftp_s3.engine.errors import FileError, NotFound
from airflow_provider_sftp_s3.engine.fetch import PulledFile
from airflow_provider_sftp_s3.engine.model import SourceFile, Stat, Trigger
from airflow_provider_sftp_s3.engine.pulled_sums import PulledSums
from airflow_provider_sftp_s3.engine.settings import PullSettings
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.triggers import TriggerNames
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

A = hashlib.sha256(b"a").hexdigest()


def sums_on(session: SftpSession) -> tuple[PulledSums, Trigger, PulledFile]:
    settings = PullSettings(sftp_path="/", checksum_file="{name}.sha256")
    tree: Any = SimpleNamespace(session=session, label=lambda path: path.decode())
    unused: Any = None
    names = TriggerNames("{name}.sha256", "checksum_file")
    sums = PulledSums(settings, "p/", names, tree, *([unused] * 7))
    own = Trigger("checksum_file", SourceFile(b"/a.sha256", b"a.sha256", Stat(), "absent"))
    file = SourceFile(b"/a", b"a", Stat(1, 1), "absent", beside=(own,))
    return sums, own, PulledFile(file, "a", "p/a")


async def test_what_it_says_is_wanted(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    sums, own, pulled = sums_on(session)
    contents = f"{A}  a\n".encode()
    (sftp_server.root / "a.sha256").write_bytes(contents)
    await sums.read(own, pulled)
    assert pulled.wanted is not None
    pulled.wanted.check_all([b"a"])
    own.wanted.check_all([contents])
    with pytest.raises(FileError):
        own.wanted.check_all([contents + b"\n"])
    assert sums.key_beside(own, "p/new/b.csv") == "p/new/b.csv.sha256"


async def test_one_that_is_gone(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """With its file, somebody else has moved both."""
    sums, own, pulled = sums_on(session)
    with pytest.raises(NotFound):
        await sums.read(own, pulled)
    (sftp_server.root / "a").write_bytes(b"a")
    with pytest.raises(FileError, match="was taken away meanwhile"):
        await sums.read(own, pulled)


async def test_one_that_is_too_large_is_none(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """As of a hostile server: it is not read to its end."""
    sums, own, pulled = sums_on(session)
    (sftp_server.root / "a.sha256").write_bytes(f"{A}  a\n".encode() + b"\n" * MAX_BYTES)
    with pytest.raises(FileError, match=f"has more than {MAX_BYTES} bytes"):
        await sums.read(own, pulled)
    assert pulled.wanted is None
