"""Symbolic links in a pulled tree: followed where that is asked for, never round in circles, and never unsaid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, TransferError
from airflow_provider_sftp_s3.engine.model import Report
from tests.conftest import EACH_SERVER, require
from tests.support.engine import Engine
from tests.support.faulty_sftp import ModeWithoutType, Refuses
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer, ProftpdServer, RcloneSftpServer
from tests.support.trees import put

pytestmark = pytest.mark.integration


def make(root: Path, files: dict[str, str], links: dict[str, str]) -> None:
    """Put files there, and links: from -> to, as they are written in the link."""
    put(root, {name: text.encode() for name, text in files.items()})
    for name, target in links.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)


async def pull(engine: Engine, **settings: Any) -> Report:
    return await engine.pull(**{"after_transfer": "keep", "follow_links": True, **settings})


#: rclone's server shows no links.
SHOW_LINKS = [server for server in EACH_SERVER if server.id != RcloneSftpServer.__name__]


@pytest.fixture(params=SHOW_LINKS)
def engine(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server, bucket: str) -> Iterator[Engine]:
    require(request.param.available(), request.param.missing())
    with request.param(tmp_path / "sftp") as server:
        yield Engine(server, s3, bucket)


async def test_what_links_lead_to_is_pulled_under_their_names(engine: Engine, s3: S3Server, bucket: str) -> None:
    """Files and directories, within the tree and beside it, links to links. The next run finds all unchanged."""
    make(
        engine.sftp.root,
        {"in/a": "a", "in/sub/b": "bb", "beside/c": "ccc", "beside/deep/d": "dddd"},
        {"in/to_a": "a", "in/sub/up": "../a", "in/to_sub": "sub", "in/out": "../beside", "in/again": "to_a"},
    )
    expected = {
        **{"a": b"a", "sub/b": b"bb", "to_a": b"a", "sub/up": b"a", "to_sub/b": b"bb", "to_sub/up": b"a"},
        **{"out/c": b"ccc", "out/deep/d": b"dddd", "again": b"a"},
    }
    report = await pull(engine)
    assert s3.objects(bucket) == expected
    assert report.skipped == {}
    assert (await pull(engine)).skipped == {"unchanged": len(expected)}
    assert (engine.sftp.root / "in/to_a").is_symlink()


async def test_without_it_links_are_skipped(fast: Engine, s3: S3Server, bucket: str) -> None:
    make(fast.sftp.root, {"in/a": "a", "beside/c": "c"}, {"in/to_a": "a", "in/out": "../beside"})
    assert (await pull(fast, follow_links=False)).skipped == {"link": 2}
    assert s3.objects(bucket) == {"a": b"a"}


async def test_a_loop_ends_where_it_begins(engine: Engine, s3: S3Server, bucket: str) -> None:
    """To itself, to a directory above, to all of the server, and two that lead into each other."""
    make(
        engine.sftp.root,
        {"in/a": "a", "in/x/1": "1", "in/y/2": "2"},
        {"in/self": ".", "in/x/up": "..", "in/x/to_y": "../y", "in/y/to_x": "../x", "in/lost": "lost"},
    )
    report = await pull(engine, exclude="lost")
    assert s3.objects(bucket) == {
        **{"a": b"a", "x/1": b"1", "y/2": b"2", "x/to_y/2": b"2", "y/to_x/1": b"1"},
    }
    # ProFTPD has no word but "no such file" for two of them.
    broken = report.skipped.pop("broken link", 0)
    assert broken == (2 if isinstance(engine.sftp, ProftpdServer) else 0)
    assert report.skipped == {"link to a directory that it is in": 5 - broken, "excluded": 1}


async def test_without_realpath_a_loop_is_bounded_and_said(fast: Engine, s3: S3Server, bucket: str) -> None:
    """The ninth link fails, and the error says what to do."""
    assert isinstance(fast.sftp, AsyncsshServer)
    make(fast.sftp.root, {"in/a": "a"}, {"in/self": "."})
    fast.sftp.fault = Refuses(("REALPATH",))
    with pytest.raises(TransferError, match="exclude it if they lead round in circles"):
        await pull(fast)
    assert set(s3.objects(bucket)) == {"self/" * links + "a" for links in range(9)}
    assert (await pull(fast, exclude="self")).skipped == {"unchanged": 1, "excluded": 1}


async def test_a_broken_link_is_skipped_with_that_reason(fast: Engine, s3: S3Server, bucket: str) -> None:
    """One that the server lets nobody follow is a failure."""
    assert isinstance(fast.sftp, AsyncsshServer)
    make(fast.sftp.root, {"in/a": "a"}, {"in/broken": "nowhere", "in/secret": "a"})
    fast.sftp.fault = Refuses(("STAT",), path=lambda path: path == "/in/secret")
    with pytest.raises(TransferError, match="cannot be followed") as failed:
        await pull(fast)
    assert failed.value.report.skipped == {"broken link": 1}
    assert s3.objects(bucket) == {"a": b"a"}


async def test_globs_and_shards_go_by_the_names_of_the_links(fast: Engine, s3: S3Server, bucket: str) -> None:
    """Each is in one shard, and what is excluded is not even looked at."""
    names = [f"link{number}" for number in range(12)]
    make(fast.sftp.root, {"in/a.csv": "a"}, {f"in/{name}.csv": "a.csv" for name in names} | {"in/b.txt": "a.csv"})
    make(fast.sftp.root, {}, {"in/broken.csv": "nowhere"})
    reports = [await pull(fast, shard=f"{number}/3", include="*.csv") for number in (1, 2, 3)]
    assert set(s3.objects(bucket)) == {"a.csv", *(f"{name}.csv" for name in names)}
    assert sum(report.transferred for report in reports) == 13
    skipped = sum((report.skipped for report in reports), start=type(reports[0].skipped)())
    assert skipped == {"not included": 1, "broken link": 1}


async def test_done_files_behind_a_link_are_not_purged(fast: Engine) -> None:
    """They are another tree's."""
    make(fast.sftp.root, {"in/a": "a", "beside/.done/old": "1"}, {"in/out": "../beside"})
    await pull(fast, retention=1)
    assert (fast.sftp.root / "beside/.done/old").exists()


async def test_sizes_are_those_of_the_files_where_only_names_tell(fast: Engine, s3: S3Server, bucket: str) -> None:
    """No FSTAT, or a mode without the type: a link has a size of its own."""
    assert isinstance(fast.sftp, AsyncsshServer)
    make(fast.sftp.root, {"in/a": "a" * 1000}, {"in/to_a": "a", "in/out": ".."})
    for fault in (Refuses(("FSTAT",)), ModeWithoutType(longname=True)):
        s3.empty(bucket)
        fast.sftp.fault = fault
        await pull(fast)
        assert s3.objects(bucket) == {"a": b"a" * 1000, "to_a": b"a" * 1000}


@pytest.mark.parametrize("after_transfer", ["move", "delete"])
async def test_links_are_neither_moved_nor_deleted(fast: Engine, after_transfer: str) -> None:
    """A setting that would is refused."""
    with pytest.raises(ConfigurationError, match="follow_links needs after_transfer"):
        await pull(fast, after_transfer=after_transfer)
