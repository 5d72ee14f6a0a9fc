"""The done directory: what S3 has is moved there and stamped, or removed; purged is only what was stamped long ago."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.done import DoneDirectories
from airflow_provider_sftp_s3.engine.errors import FileError
from airflow_provider_sftp_s3.engine.fetch import Fetcher, PulledFile, Uploaded
from airflow_provider_sftp_s3.engine.globs import Globs
from airflow_provider_sftp_s3.engine.listing import Tree
from airflow_provider_sftp_s3.engine.model import SourceFile, Stat
from airflow_provider_sftp_s3.engine.observer import Notices
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.order import Bounds
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.marks import Naming
from airflow_provider_sftp_s3.engine.settings import PullSettings
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support import trees
from tests.support.engine import Recorder
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

OLD = 1_000_000_000
STAT = Stat(3, OLD)
UPLOADED = Uploaded(STAT, STAT, closed_on=1)


@contextlib.asynccontextmanager
async def no_bound(size: int) -> AsyncIterator[None]:
    yield


def done_of(session: SftpSession, opened: Bucket, **settings: Any) -> tuple[DoneDirectories, Tree]:
    wanted = PullSettings(**{"sftp_path": "/", "min_age": 0, **settings})
    tree = Tree(
        session,
        b"/",
        globs=Globs("*"),
        bounds=Bounds(),
        done_name=b".done",
        min_age=0,
        shard=paths.Shard.of(None),
        now=opened.now,
    )
    notices = Notices(Recorder())
    naming = Naming(opened.name, wanted.destination)
    fetcher = Fetcher(
        session, opened, TransferOptions(), notices, naming, min_age=0, hold_memory=no_bound, moved=lambda size: None
    )
    return DoneDirectories(wanted, tree, session, opened, fetcher, notices), tree


def put(server: AsyncsshServer, name: str = "a", content: bytes = b"123") -> PulledFile:
    (server.root / name).parent.mkdir(exist_ok=True)
    (server.root / name).write_bytes(content)
    os.utime(server.root / name, (OLD, OLD))
    return PulledFile(SourceFile(f"/{name}".encode(), name.encode(), STAT, "absent"), f"sftp://h/{name}", f"p/{name}")


@pytest.fixture
async def knows_the_time(opened: Bucket) -> None:
    """S3 has said what time it is."""
    await opened.check()


@pytest.mark.usefixtures("knows_the_time")
async def test_a_file_that_s3_has_is_moved_and_stamped(
    sftp_server: AsyncsshServer, session: SftpSession, opened: Bucket
) -> None:
    """With the time of its move."""
    file = put(sftp_server)
    done, _ = done_of(session, opened)
    assert await done.move(file, UPLOADED, again=False) == UPLOADED
    assert trees.tree(sftp_server.root) == {".done/a": b"123"}
    assert abs((sftp_server.root / ".done/a").stat().st_mtime - time.time()) < 600


@pytest.mark.usefixtures("knows_the_time")
async def test_a_file_that_is_deleted_leaves_nothing(
    sftp_server: AsyncsshServer, session: SftpSession, opened: Bucket
) -> None:
    """Nor does the directory that it passed through."""
    file = put(sftp_server)
    done, _ = done_of(session, opened, after_transfer="delete")
    assert await done.move(file, UPLOADED, again=False) == UPLOADED
    await done.remove_empty()
    assert list(sftp_server.root.iterdir()) == []


@pytest.mark.usefixtures("knows_the_time")
async def test_another_file_that_turns_up_there_is_uploaded_from_there(
    sftp_server: AsyncsshServer, s3: S3Server, session: SftpSession, opened: Bucket
) -> None:
    """It took the place of the one that was read in the last moment: nowhere else is it."""
    file = put(sftp_server, content=b"the newest")
    done, _ = done_of(session, opened)
    uploaded = await done.move(file, UPLOADED, again=False)
    assert uploaded is not None
    assert uploaded.read.size == 10
    assert s3.objects(opened.name) == {"p/a": b"the newest"}
    assert trees.tree(sftp_server.root) == {".done/a": b"the newest"}


@pytest.mark.usefixtures("knows_the_time")
@pytest.mark.parametrize("again", [False, True], ids=["taken away", "the connection was lost"])
async def test_what_lies_there_is_never_put_over_what_s3_has(
    sftp_server: AsyncsshServer, s3: S3Server, session: SftpSession, opened: Bucket, again: bool
) -> None:
    """The file that was read is gone: an older one of its name may be in the done directory, or a newer one."""
    file = put(sftp_server)
    (sftp_server.root / "a").rename(sftp_server.root / "gone")
    put(sftp_server, ".done/a", b"the one before")
    done, _ = done_of(session, opened)
    if again:
        with pytest.raises(FileError, match="look which of the two"):
            await done.move(file, UPLOADED, again=True)
    else:
        assert await done.move(file, UPLOADED, again=False) == UPLOADED
    assert s3.objects(opened.name) == {}
    assert trees.tree(sftp_server.root) == {"gone": b"123", ".done/a": b"the one before"}
    assert (sftp_server.root / ".done/a").stat().st_mtime == OLD


@pytest.mark.usefixtures("knows_the_time")
async def test_a_file_that_was_moved_before_the_connection_was_lost_is_stamped(
    sftp_server: AsyncsshServer, s3: S3Server, session: SftpSession, opened: Bucket
) -> None:
    file = put(sftp_server)
    put(sftp_server, ".done/a")
    (sftp_server.root / "a").unlink()
    done, _ = done_of(session, opened)
    assert await done.move(file, UPLOADED, again=True) == UPLOADED
    assert abs((sftp_server.root / ".done/a").stat().st_mtime - time.time()) < 600
    assert s3.objects(opened.name) == {}


async def test_without_the_time_nothing_is_stamped(
    sftp_server: AsyncsshServer, session: SftpSession, opened: Bucket
) -> None:
    """S3 has not said it: the move goes on, and a stamp of the worker's clock would be a guess."""
    file = put(sftp_server)
    done, _ = done_of(session, opened)
    await done.move(file, UPLOADED, again=False)
    assert (sftp_server.root / ".done/a").stat().st_mtime == OLD
