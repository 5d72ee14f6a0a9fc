"""The purge of the done directories; days are in `tests/integration/test_dated_done_dir.py`."""

from __future__ import annotations

import os
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.fetch import PulledFile
from airflow_provider_sftp_s3.engine.keys import Keys
from airflow_provider_sftp_s3.engine.listing import Tree
from airflow_provider_sftp_s3.engine.model import Report
from airflow_provider_sftp_s3.engine.observer import Notices
from airflow_provider_sftp_s3.engine.purge import Purge
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.settings import PullSettings
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support import trees
from tests.support.engine import Recorder
from tests.support.sftp_servers import AsyncsshServer
from tests.unit.test_done import done_of, put

pytestmark = pytest.mark.integration


def purge_of(session: SftpSession, opened: Bucket, **settings: Any) -> tuple[Purge, Tree]:
    done, tree = done_of(session, opened, **settings)
    wanted = PullSettings(**{"sftp_path": "/", "min_age": 0, **settings})
    return Purge(wanted, tree, Keys(wanted, "p/", opened), session, opened, done, Notices(Recorder())), tree


async def test_without_the_time_nothing_is_purged(session: SftpSession, opened: Bucket) -> None:
    """S3 has not said it."""
    purge, _ = purge_of(session, opened, retention=60)
    assert not purge.is_allowed(Report("pull", transferred=1))


async def test_only_old_files_are_purged_and_not_by_a_run_in_which_all_failed(
    sftp_server: AsyncsshServer, session: SftpSession, opened: Bucket
) -> None:
    """By the mtime, of what was done in the tree."""
    await opened.check()  # S3 says what time it is
    for name in (".done/old", ".done/new"):
        put(sftp_server, name)
    os.utime(sftp_server.root / ".done/new")
    purge, tree = purge_of(session, opened, retention=60)
    assert [found async for found in tree.walk()] == []
    old = [found async for found in purge.old_files(60)]
    (only,) = old
    assert isinstance(only, PulledFile)
    assert (await purge.purge(only)).status == "purged"
    assert trees.tree(sftp_server.root) == {".done/new": b"123"}
    assert purge.is_allowed(Report("pull", transferred=1, failed=3))
    assert not purge.is_allowed(Report("pull", failed=3))
    assert purge.is_allowed(Report("pull"))


async def test_a_done_directory_that_is_gone_has_nothing_to_purge(
    sftp_server: AsyncsshServer, session: SftpSession, opened: Bucket
) -> None:
    """Another run has removed it since the walk came by: that is no failure."""
    await opened.check()
    put(sftp_server, ".done/old")
    purge, tree = purge_of(session, opened, retention=60)
    assert [found async for found in tree.walk()] == []
    (sftp_server.root / ".done/old").unlink()
    (sftp_server.root / ".done").rmdir()
    assert [found async for found in purge.old_files(60)] == []
