"""From a file on the server into S3: read whole and as it was, or not stored at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

import pytest

from airflow_provider_sftp_s3.engine.errors import ChangedWhileReading, NotFound
from airflow_provider_sftp_s3.engine.fetch import LOOKS, Fetcher, PulledFile, Uploaded
from airflow_provider_sftp_s3.engine.model import SourceFile, Stat, Stored
from airflow_provider_sftp_s3.engine.observer import Notices
from airflow_provider_sftp_s3.engine.options import MIN_PART_SIZE, TransferOptions
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.marks import Naming
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support.engine import Recorder
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

LARGE = 2 * MIN_PART_SIZE + 1
#: Whom the marks name.
DESTINATION = "partner"


class Held:
    """The memory that is held, and was at most."""

    def __init__(self) -> None:
        self.now = self.peak = 0

    @contextlib.asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        self.now += size
        self.peak = max(self.peak, self.now)
        try:
            yield
        finally:
            self.now -= size


def fetcher_of(
    session: SftpSession, opened: Bucket, seen: Recorder, held: Held | None = None, min_age: float = 0
) -> Fetcher:
    options = TransferOptions(part_size=MIN_PART_SIZE)
    hold = (held or Held()).hold
    notices, naming = Notices(seen), Naming(opened.name, DESTINATION)
    return Fetcher(
        session, opened, options, notices, naming, min_age=min_age, hold_memory=hold, moved=lambda size: None
    )


def put(server: AsyncsshServer, size: int, mtime: int = 1_000_000_000) -> bytes:
    content = os.urandom(size)
    (server.root / "a").write_bytes(content)
    os.utime(server.root / "a", (mtime, mtime))
    return content


def pulled(stat: Stat) -> PulledFile:
    return PulledFile(SourceFile(b"/a", b"a", stat, "absent"), "sftp://h/a", "k")


@pytest.mark.parametrize("size", [0, 5, MIN_PART_SIZE, LARGE])
async def test_a_file_is_stored_with_its_mtime_and_its_mark(
    sftp_server: AsyncsshServer, s3: S3Server, session: SftpSession, opened: Bucket, size: int
) -> None:
    """In memory or part by part; what memory it took is given back, and what was read is returned."""
    content, held, seen = put(sftp_server, size), Held(), Recorder()
    expected = Stat(size, 1_000_000_000)
    file = pulled(expected)
    uploaded = await fetcher_of(session, opened, seen, held).upload(file, b"/a", expected)
    assert s3.objects(opened.name) == {"k": content}
    version = await opened.head("k")
    assert version is not None
    assert version.metadata == {"mtime": "1000000000", **Naming(opened.name, DESTINATION).metadata("k", size)}
    assert uploaded is not None
    assert uploaded.stored.etag == version.etag.strip('"')
    assert uploaded._replace(stored=Stored()) == Uploaded(expected, expected, closed_on=1)
    assert file.opened
    assert (held.now, held.peak > 0) == (0, True)
    assert seen.notices == []


@pytest.mark.parametrize("size", [5, LARGE])
async def test_another_version_than_was_listed_is_the_one_that_is_stored(
    sftp_server: AsyncsshServer, s3: S3Server, session: SftpSession, opened: Bucket, size: int
) -> None:
    """Whole, with its own mtime; if it is of age."""
    content, seen = put(sftp_server, size), Recorder()
    listed = Stat(3, 900_000_000)
    uploaded = await fetcher_of(session, opened, seen).upload(pulled(listed), b"/a", listed)
    assert uploaded is not None
    assert uploaded.read == Stat(size, 1_000_000_000)
    assert s3.objects(opened.name) == {"k": content}


async def test_another_version_that_is_young_waits(
    sftp_server: AsyncsshServer, s3: S3Server, session: SftpSession, opened: Bucket
) -> None:
    """Somebody may still be writing it."""
    put(sftp_server, 5, mtime=int(opened.now()) - 2)
    fetcher = fetcher_of(session, opened, Recorder(), min_age=3600)
    listed = Stat(3, 900_000_000)
    assert await fetcher.upload(pulled(listed), b"/a", listed) is None
    assert s3.objects(opened.name) == {}
    assert not fetcher.is_young(Stat(5, 900_000_000))
    assert not fetcher.is_young(Stat(5, None))


@pytest.mark.parametrize("size", [5, LARGE])
async def test_one_that_is_listed_larger_than_it_is_is_not_stored(
    sftp_server: AsyncsshServer, s3: S3Server, session: SftpSession, opened: Bucket, size: int
) -> None:
    """The same mtime and fewer bytes: the rest is missing, however often it is looked at."""
    put(sftp_server, size)
    listed = Stat(size + 1, 1_000_000_000)
    with pytest.raises(ChangedWhileReading):
        await fetcher_of(session, opened, Recorder()).upload(pulled(listed), b"/a", listed)
    assert s3.objects(opened.name) == {}
    assert s3.unfinished_uploads(opened.name) == []
    assert sftp_server.requests["OPEN"] <= LOOKS


async def test_what_is_not_there_is_not_found(session: SftpSession, opened: Bucket) -> None:
    """Whether that means gone is the protocol's to judge: it has not been opened."""
    file = pulled(Stat(5, 7))
    with pytest.raises(NotFound):
        await fetcher_of(session, opened, Recorder()).upload(file, b"/a", Stat(5, 7))
    assert not file.opened


async def test_a_close_counts_as_outlived_on_its_own_connection_only(
    sftp_server: AsyncsshServer, session: SftpSession, opened: Bucket
) -> None:
    """On another one it may have been lost with the line."""
    put(sftp_server, 5)
    fetcher = fetcher_of(session, opened, Recorder())
    stat = Stat(5, 1_000_000_000)
    fetcher.was_there_after_close(b"/a", Uploaded(stat, stat, closed_on=7))
    assert not session.outlive_close(b"/a")
    await fetcher.look_after_close(b"/gone", Uploaded(stat, stat, closed_on=1))
    assert not session.outlive_close(b"/a")
    await fetcher.look_after_close(b"/a", Uploaded(stat, stat, closed_on=1))
    assert session.outlive_close(b"/a")
