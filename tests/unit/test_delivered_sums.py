"""The checksum file of a pushed file: an old one away, a new one whole."""

from __future__ import annotations

import hashlib

import pytest

from airflow_provider_sftp_s3.engine.delivered_sums import DeliveredSums
from airflow_provider_sftp_s3.engine.delivery import Delivery
from airflow_provider_sftp_s3.engine.errors import FileError, NameRefused
from airflow_provider_sftp_s3.engine.s3.bucket import Version
from airflow_provider_sftp_s3.engine.settings import PushSettings
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support.faulty_sftp import RENAMES, Refuses
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

VERSION = Version("e", 70_000, {}, {}, 0, "")


def sums_of(session: SftpSession, *, looks: bool = True) -> DeliveredSums:
    delivery = Delivery(PushSettings(sftp_path="/"), b"/", session, lambda size: None)
    return DeliveredSums("{name}.sha256", session, delivery, looks=looks)


async def test_it_is_written_beside_the_file(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    sums = sums_of(session)
    running = sums.begin()
    running.update(b"data")
    await sums.write(b"/a", VERSION, running)
    written = (sftp_server.root / "a.sha256").read_bytes()
    assert written == f"{hashlib.sha256(b'data').hexdigest()}  a\n".encode()
    assert {path.name for path in sftp_server.root.iterdir()} == {"a.sha256"}
    await sums.withdraw(b"/a")
    await sums.withdraw(b"/a")
    assert list(sftp_server.root.iterdir()) == []


async def test_what_is_refused_is_said(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    sums = sums_of(session)
    sftp_server.fault = Refuses(RENAMES, lambda path: True)
    with pytest.raises(FileError, match="it is there, and its checksum file cannot be made"):
        await sums.write(b"/a", VERSION, sums.begin())
    sftp_server.fault = Refuses(["LSTAT", "STAT"], lambda path: True)
    with pytest.raises(FileError, match="may be there, and must be away before new data comes"):
        await sums.withdraw(b"/a")
    await sums_of(session, looks=False).withdraw(b"/a")


def test_a_name_that_is_too_long_has_none(session: SftpSession) -> None:
    with pytest.raises(NameRefused, match="checksum_file gives it one of a name that cannot be"):
        sums_of(session).path_for(b"/" + b"n" * 250)
