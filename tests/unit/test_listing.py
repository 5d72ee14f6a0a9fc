"""The files of a tree that a pull takes, and what becomes of everything else in it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConnectionFailed
from airflow_provider_sftp_s3.engine.globs import Globs
from airflow_provider_sftp_s3.engine.limits import LOSSES
from airflow_provider_sftp_s3.engine.listing import Tree, is_young
from airflow_provider_sftp_s3.engine.model import Outcome, SourceFile, Stat
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.order import Bounds
from airflow_provider_sftp_s3.engine.sftp.protocol import Entry
from airflow_provider_sftp_s3.engine.sftp.server import SftpServer as Server
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support.faulty_sftp import ConnectionCutBefore, ListingIsHostile, Refuses
from tests.support.sftp_servers import AsyncsshServer, CutConnection, Fault, Proceed, Request

NOW = 2_000_000_000
OLD = NOW - 1_000


@given(st.floats(0, 1e9), st.floats(0, 1e3), st.floats(0.001, 1e3))
@pytest.mark.unit
def test_a_file_is_left_alone_for_all_of_min_age(written: float, age: float, min_age: float) -> None:
    """Whenever in its second it was written: its mtime says the second only."""
    if age < min_age:
        assert is_young(int(written), written + age, min_age)


@pytest.mark.unit
def test_it_is_taken_a_second_later_at_last() -> None:
    assert not is_young(100, 131.0, 30.0)
    assert not is_young(100, 100.0, 0)


def put(path: Path, mtime: int = OLD) -> None:
    """Write a file of 3 bytes, last changed then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"123")
    os.utime(path, (mtime, mtime))


def tree_of(session: SftpSession, **settings: Any) -> Tree:
    """Return all of the server's tree, as a pull without settings takes it."""
    whole = {
        **{
            "globs": Globs("*"),
            "bounds": Bounds(),
            "done_name": b".done",
            "min_age": 30.0,
            "shard": paths.Shard.of(None),
        },
        "now": lambda: float(NOW),
    }
    return Tree(session, b"/", **{**whole, **settings})


async def walked(tree: Tree) -> tuple[list[str], dict[str, str]]:
    """Return the files that a walk gives, in its order, and why what else was there is none, by its path."""
    files, others = [], {}
    async for found in tree.walk():
        if isinstance(found, SourceFile):
            files.append(os.fsdecode(found.relative))
        else:
            assert isinstance(found, Outcome)
            path = found.source.removeprefix(tree.label(b"/"))
            assert path not in others
            others[path] = found.reason
    return files, others


@pytest.mark.integration
async def test_each_thing_in_a_tree_is_a_file_or_has_a_reason(
    sftp_server: AsyncsshServer, session: SftpSession
) -> None:
    """All but directories: these are entered, and done directories are not."""
    root = sftp_server.root
    for name in ("b", "a", "sub/c", ".done/old", "sub/.done/old", "x.tmp", ".0123456789abcdef.part"):
        put(root / name)
    put(root / "young", NOW - 10)
    (root / "link").symlink_to("a")
    os.mkfifo(root / "fifo")
    tree = tree_of(session, globs=Globs("*", "*.tmp"))
    files, others = await walked(tree)
    assert files == ["a", "b", "sub/c"]
    (unfinished,) = (path for path in others if path.endswith(".part"))
    assert others == {
        **{"x.tmp": "excluded", "young": "young", unfinished: "unfinished"},
        **{"link": "link", "fifo": "special file"},
    }
    assert sorted(tree.done_directories) == [b".done", b"sub/.done"]


@pytest.mark.integration
async def test_what_is_known_of_a_file_comes_along(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """Its size and mtime, and whether something stands where its done directory is to be."""
    for name in ("free/a", "taken/b", "there/c", "there/.done/x"):
        put(sftp_server.root / name)
    (sftp_server.root / "taken/.done").symlink_to("../there")
    found = {file.relative: file async for file in tree_of(session).walk() if isinstance(file, SourceFile)}
    assert {file.relative: file.done for file in found.values()} == {
        b"free/a": "absent",
        b"taken/b": "other",
        b"there/c": "directory",
    }
    assert {file.path for file in found.values()} == {b"/free/a", b"/taken/b", b"/there/c"}
    assert {tuple(file.stat) for file in found.values()} == {(3, OLD)}


@pytest.mark.integration
async def test_a_file_from_the_future_comes_last_and_min_age_later(
    sftp_server: AsyncsshServer, session: SftpSession
) -> None:
    """Whether it stands still is all that can be known of its age: whoever gets it looks at it a second time."""
    put(sftp_server.root / "a", NOW + 500)
    put(sftp_server.root / "b")
    began = time.monotonic()
    assert await walked(tree_of(session, min_age=0.2)) == (["b", "a"], {})
    assert time.monotonic() - began >= 0.2
    assert await walked(tree_of(session, min_age=0)) == (["a", "b"], {})


@pytest.mark.integration
async def test_a_shard_enters_all_directories_and_tells_of_its_own_files_only(
    sftp_server: AsyncsshServer, session: SftpSession
) -> None:
    """All shards together take each file once, and give each reason once."""
    names = [f"{directory}/{number}" for directory in ("d", "d/e") for number in range(10)]
    for name in names:
        put(sftp_server.root / name)
        (sftp_server.root / f"{name}.link").symlink_to("nowhere")
    both = [await walked(tree_of(session, shard=paths.Shard(number, 2))) for number in (1, 2)]
    assert all(files and others for files, others in both)
    assert sorted(both[0][0] + both[1][0]) == sorted(names)
    assert sorted([*both[0][1], *both[1][1]]) == sorted(f"{name}.link" for name in names)


@pytest.mark.integration
async def test_a_directory_that_is_gone_or_refused_costs_nothing_but_itself(
    sftp_server: AsyncsshServer, session: SftpSession
) -> None:
    """One that was removed since it was listed is skipped; one that may not be read fails, with the server's reason."""
    put(sftp_server.root / "a")
    put(sftp_server.root / "closed/b")
    sftp_server.fault = Refuses(("OPENDIR",), path=lambda path: path == "/closed")
    files, others = await walked(tree_of(session))
    assert files == ["a"]
    assert others.keys() == {"closed"}
    assert others["closed"].startswith("cannot be listed: ")
    assert "refused by the test" in others["closed"]
    gone = tree_of(session)
    gone.root = b"/gone"
    assert [outcome.reason async for outcome in gone.walk() if isinstance(outcome, Outcome)] == ["gone"]


@pytest.mark.integration
async def test_names_that_a_server_lists_are_not_believed(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """What is no name fails, with its reason, and is nothing's path; a name that is listed twice is one file."""
    sftp_server.fault = ListingIsHostile()
    files, others = await walked(tree_of(session))
    assert files.count("twice") == 1
    assert not [name for name in files if "/" in name or "\0" in name or "\n" in name]
    assert others
    assert all("\n" not in path and path.isprintable() for path in others)


@pytest.mark.integration
@pytest.mark.parametrize("cuts", [1, 1_000])
async def test_a_connection_that_is_lost_under_a_listing_is_opened_again(
    sftp_server: AsyncsshServer, session: SftpSession, cuts: int
) -> None:
    """And the directory is listed again, in vain three times at most."""
    put(sftp_server.root / "a")
    sftp_server.fault = ConnectionCutBefore(("OPENDIR",), times=cuts)
    if cuts == 1:
        assert await walked(tree_of(session)) == (["a"], {})
        assert session.connection == 2
        return
    _, others = await walked(tree_of(session))
    assert others[""].startswith("cannot be listed: ")
    assert sftp_server.requests["OPENDIR"] == 3


class DoneIsRemoved(Fault):
    """Another run, which deletes what it has pulled, removes its empty done directory before it is looked into."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "OPENDIR" and request.path.endswith("/.done"):
            server.local(request.path).rmdir()
        return await proceed()


@pytest.mark.integration
async def test_a_done_directory_that_another_run_removes_costs_no_file(
    sftp_server: AsyncsshServer, session: SftpSession
) -> None:
    """The files beside it are there still, and it is to be made again for them."""
    put(sftp_server.root / "sub/a")
    sftp_server.fault = DoneIsRemoved()
    (sftp_server.root / "sub/.done").mkdir()
    tree = tree_of(session, finds_left=True)
    (walked,) = [file async for file in tree.walk()]
    assert isinstance(walked, SourceFile)
    (sftp_server.root / "sub/.done").mkdir()
    (found,) = [file async for file in tree_of(session, finds_left=True).find([b"sub/a"])]
    assert isinstance(found, SourceFile)
    for file in (walked, found):
        assert (file.relative, file.done) == (b"sub/a", "absent")
    assert tree.done_directories == tree.empty_done_directories == []


@pytest.mark.integration
async def test_a_connection_that_is_lost_under_a_look_at_a_link_is_opened_again(
    sftp_server: AsyncsshServer, session: SftpSession
) -> None:
    """And what it leads to is asked for again."""
    put(sftp_server.root / "there/a")
    (sftp_server.root / "link").symlink_to("there/a")
    sftp_server.fault = ConnectionCutBefore(("STAT",), path=lambda path: path == "/link")
    files, others = await walked(tree_of(session, follow_links=True))
    assert (files, others) == (["link", "there/a"], {})
    assert session.connection == 2


@pytest.mark.unit
async def test_a_connection_that_was_ended_for_other_files_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often: each time another file has failed."""
    session = SftpSession(Server(host="h"), TransferOptions())
    losses = [*(ConnectionFailed("no room", number, given_up=True) for number in range(1, 20))]

    async def list_directory(path: bytes) -> list[Entry]:
        if losses:
            raise losses.pop()
        return [Entry(b"a", "file", Stat(3, OLD))]

    monkeypatch.setattr(session, "list_directory", list_directory)
    assert await walked(tree_of(session)) == (["a"], {})


class CutsEachOnce(Fault):
    """The connection breaks when a directory is opened for the first time."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "OPENDIR" and request.path not in self.seen:
            self.seen.add(request.path)
            raise CutConnection
        return await proceed()


@pytest.mark.integration
async def test_what_was_listed_ends_the_losses_in_a_row(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """Each directory costs a connection, and is listed on the next one: that is no reason to give up."""
    deep = "/".join(["d"] * LOSSES)
    put(sftp_server.root / deep / "a")
    sftp_server.fault = CutsEachOnce()
    assert await walked(tree_of(session)) == ([f"{deep}/a"], {})
    assert session.connection == LOSSES + 2


@pytest.mark.integration
async def test_with_no_connection_at_all_the_walk_ends(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """That is no matter of one directory."""
    session.options = type(session.options)(conn_timeout=0.2)
    sftp_server.stop()
    with pytest.raises(ConnectionFailed):
        await walked(tree_of(session))


@pytest.mark.integration
async def test_what_an_earlier_run_has_left_to_be_deleted_comes_under_its_old_name(
    sftp_server: AsyncsshServer, session: SftpSession
) -> None:
    """Where it is asked for; a newer file of that name waits."""
    put(sftp_server.root / "a")
    put(sftp_server.root / ".done" / os.fsdecode(paths.deleting_name(b"a")))
    put(sftp_server.root / ".done/archived")
    assert await walked(tree_of(session)) == (["a"], {})
    tree = tree_of(session, finds_left=True)
    (left,) = [file async for file in tree.walk() if isinstance(file, SourceFile)]
    assert (left.relative, left.left, left.done) == (b"a", True, "directory")
    assert left.path.startswith(b"/.done/")
    assert await walked(tree_of(session, finds_left=True)) == (
        ["a"],
        {"a": "waits until an earlier one of its name is deleted"},
    )


@pytest.mark.integration
async def test_what_is_outside_the_bounds(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """Is skipped, with the reason; what is young may still become larger."""
    put(sftp_server.root / "a")
    put(sftp_server.root / "sub/old", OLD - 10_000)
    put(sftp_server.root / "young", NOW - 1)
    bounds = Bounds(max_age=5_000, now=lambda: float(NOW))
    assert await walked(tree_of(session, bounds=bounds)) == (["a"], {"sub/old": "too old", "young": "young"})
    assert await walked(tree_of(session, bounds=Bounds(min_size=4), min_age=0.0)) == (
        [],
        {"a": "too small", "sub/old": "too small", "young": "too small"},
    )
    assert (await walked(tree_of(session, bounds=Bounds(max_size=2))))[1] == {
        "a": "too large",
        "sub/old": "too large",
        "young": "young",
    }


@pytest.mark.integration
async def test_what_is_unfinished_in_a_directory_is_told(sftp_server: AsyncsshServer, session: SftpSession) -> None:
    """What is young, waits, or fails, a directory that cannot be listed among it; not what is left for good."""
    root = sftp_server.root
    for name in ("files/a", "files/x.tmp", "closed/b", "bad\n/in it", "bad names/\n"):
        put(root / name)
    (root / "files/link").symlink_to("a")
    put(root / "young/c", NOW - 10)
    sftp_server.fault = Refuses(("OPENDIR",), path=lambda path: path == "/closed")
    told: set[bytes] = set()
    await walked(tree_of(session, globs=Globs("*", "*.tmp"), unfinished_in=told.add))
    assert told == {b"young", b"closed", b"bad names", b""}, "a directory of no name is in the root"
