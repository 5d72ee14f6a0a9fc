"""Servers that say OK and do nothing, or have one name for two things: nothing is marked, or passed by, for that."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.faults import table
from tests.faults.harness import (
    Acts,
    Together,
    done_path,
    leftovers,
    marked_keys,
    put_objects,
    read_tree,
    run_pull,
    run_push,
    target_of,
    write_tree,
)
from tests.support import faulty_sftp as faulty
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault, Request

pytestmark = [pytest.mark.faults, pytest.mark.loops]

FILES = {"a": b"one", "b": os.urandom(70_001), "sub/c": b"three", "sub/d": b""}


# ------------------------------------------------------------------------------------------------ OK, and nothing


@pytest.mark.parametrize("make", [faulty.RenameDoesNothing, faulty.RenameLeavesTheSource])
async def test_what_was_not_renamed_is_not_marked(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, make: Callable[[], Fault]
) -> None:
    """The partner has it under a temporary name only, which is away again; the error names the setting that works."""
    put_objects(s3, bucket, FILES)
    sftp_server.fault = make()
    ran = await run_push(sftp_server, s3, bucket)
    table.checked(len(FILES))
    table.none_is("wrong marks", marked_keys(bucket))
    assert len(ran.failures) == len(FILES)
    assert all("though the server says that it was renamed" in reason for reason in ran.failures.values())
    assert all("temp_name: none" in reason for reason in ran.failures.values())
    table.none_is("left over", leftovers(sftp_server.root))
    assert (await run_push(sftp_server, s3, bucket, temp_name=None)).done().transferred == len(FILES)
    assert read_tree(sftp_server.root) == FILES


async def test_what_a_rename_leaves_where_it_is_is_said_before_the_upload(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Else each run would upload it again, and be green. Deleted, it is removed in its place."""
    write_tree(sftp_server.root, FILES)
    sftp_server.fault = faulty.RenameDoesNothing()
    ran = await run_pull(sftp_server, s3, bucket)
    assert len(ran.failures) == len(FILES)
    assert all('set after_transfer to "keep", or to "delete"' in reason for reason in ran.failures.values())
    assert s3.objects(bucket) == {}
    assert read_tree(sftp_server.root) == FILES
    ran = await run_pull(sftp_server, s3, bucket, after_transfer="delete")
    assert ran.done().transferred == len(FILES)
    assert read_tree(sftp_server.root) == {}
    table.checked(2 * len(FILES))


async def test_a_file_that_is_in_both_places_after_its_rename_has_failed(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """It would come again with each run."""
    write_tree(sftp_server.root, FILES)
    sftp_server.fault = faulty.RenameLeavesTheSource()
    ran = await run_pull(sftp_server, s3, bucket)
    assert len(ran.failures) == len(FILES)
    assert all("though the server says that it was renamed" in reason for reason in ran.failures.values())
    table.checked(len(FILES))


async def test_a_newer_file_that_comes_right_after_the_rename_is_no_sign_of_that(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """It has the name, and another mtime: the next run takes it."""
    write_tree(sftp_server.root, {"victim": b"the old one"}, age=7200)
    comes = Acts(lambda _: write_tree(sftp_server.root, {"victim": b"the new one"}), ("POSIX-RENAME",), after=True)
    sftp_server.fault = comes
    (await run_pull(sftp_server, s3, bucket)).done()
    assert comes.acted == 1
    (await run_pull(sftp_server, s3, bucket)).done()
    assert s3.objects(bucket) == {"victim": b"the new one"}
    assert read_tree(sftp_server.root) == {".done/victim": b"the new one"}
    table.checked(1)


@pytest.mark.parametrize("others", [Fault, faulty.RenameIsRefused], ids=["renamed first", "in its place"])
async def test_what_was_not_removed_has_not_been_deleted(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, others: Callable[[], Fault]
) -> None:
    """The report says so, of each file."""
    write_tree(sftp_server.root, FILES)
    sftp_server.fault = Together(faulty.RemoveDoesNothing(), others())
    ran = await run_pull(sftp_server, s3, bucket, after_transfer="delete")
    assert len(ran.failures) == len(FILES)
    assert all("though the server says that it was removed" in reason for reason in ran.failures.values())
    assert s3.objects(bucket) == FILES
    table.checked(len(FILES))


async def test_what_was_not_removed_has_not_been_purged(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """Nor is it, in the next run."""
    write_tree(sftp_server.root, {done_path("a"): b"1"}, age=10 * 86_400)
    sftp_server.fault = faulty.RemoveDoesNothing()
    ran = await run_pull(sftp_server, s3, bucket, retention=86_400)
    assert set(ran.failures) == {"a"}
    assert ran.report is not None
    assert ran.report.purged == 0
    table.checked(1)


# ---------------------------------------------------------------------------------------------- names, and what is seen


async def test_a_file_and_a_directory_of_one_name_are_both_taken(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    """As object stores have them: ``a`` and ``a/b``, whichever is listed first."""
    files = {"a": b"1", "z": b"2", **{f"{name}.d/{number}": b"3" for name in "az" for number in range(5)}}
    shown = {name.replace(".d/", "/"): data for name, data in files.items()}
    with AsyncsshServer(tmp_path / "sftp", sftp_factory=faulty.FilesAndDirectoriesOfOneName) as server:
        write_tree(server.root, files)
        ran = await run_pull(server, s3, bucket, after_transfer="keep")
        assert ran.done().transferred == len(files)
        assert s3.objects(bucket) == shown
        again = await run_pull(server, s3, bucket, after_transfer="keep")
        assert again.done().skipped == {"unchanged": len(files)}
        (await run_pull(server, s3, bucket)).done()
        assert not [name for name in read_tree(server.root) if ".done" not in name]
    table.checked(len(files))


@pytest.mark.parametrize("after_transfer", ["move", "delete"])
async def test_a_done_directory_that_is_listed_by_another_name(
    tmp_path: Path, s3: S3Server, bucket: str, after_transfer: str
) -> None:
    """As of a server that has names in capitals: else each run would pull what the one before has moved."""
    files = {"A": b"1", "SUB/B": b"2"}
    with AsyncsshServer(tmp_path / "sftp", sftp_factory=faulty.NamesInCapitals) as server:
        write_tree(server.root, files)
        for transferred in (len(files), 0):
            ran = await run_pull(server, s3, bucket, after_transfer=after_transfer)
            assert ran.done().transferred == transferred
        assert s3.objects(bucket) == files
        left = {".DONE/A": b"1", "SUB/.DONE/B": b"2"} if after_transfer == "move" else {}
        assert read_tree(server.root) == left
    table.checked(len(files))


async def test_a_directory_of_another_name_is_no_done_directory(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """On a server that tells the two apart."""
    write_tree(sftp_server.root, {".DONE/theirs": b"1"})
    assert (await run_pull(sftp_server, s3, bucket)).done().transferred == 1
    assert read_tree(sftp_server.root) == {".DONE/.done/theirs": b"1"}
    table.checked(1)


@pytest.mark.parametrize("readdirs", ["all in order", "never answered behind the end"])
async def test_a_directory_of_any_length_is_read_to_its_end(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, readdirs: str
) -> None:
    """Also where what is asked for behind the end has no answer: a line that stays open, and no name is missing."""
    files = {f"{number:04}": b"" for number in range(300)} | {"sub/one": b"1"}
    write_tree(sftp_server.root, files)
    ended: set[bytes] = set()
    if readdirs != "all in order":
        sftp_server.fault = faulty.ReaddirBehindTheEndHangs(ended)
    ran = await run_pull(sftp_server, s3, bucket, idle_timeout=5.0)
    assert ran.done().transferred == len(files)
    assert sftp_server.connections_total == 1
    assert bool(ended) == (readdirs != "all in order")
    table.checked(len(files))


async def test_names_that_come_late_count(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """Long after an end that another request has met: a directory is not read to its end before all is answered."""
    files = {f"{number:03}": b"" for number in range(20)} | {"sub/one": b"1"}
    write_tree(sftp_server.root, files)
    sftp_server.fault = faulty.ReaddirIsLate("/", 2.5)
    ran = await run_pull(sftp_server, s3, bucket)
    assert ran.done().transferred == len(files)
    table.checked(len(files))


@pytest.mark.parametrize("path", ["/", "/sub"])
@pytest.mark.parametrize("request_name", ["OPENDIR", "READDIR"])
async def test_a_directory_that_is_there_is_not_gone(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, request_name: str, path: str
) -> None:
    """The server says that there is none, and shows it: the run is not green over what is in it."""
    write_tree(sftp_server.root, FILES)
    sftp_server.fault = faulty.IsNotThere((request_name,), path=lambda each: each == path)
    ran = await run_pull(sftp_server, s3, bucket)
    assert "though it is there" in str(ran.error)
    assert set(s3.objects(bucket)) == (set() if path == "/" else {"a", "b"})
    sftp_server.fault = Fault()
    (await run_pull(sftp_server, s3, bucket)).done()
    assert s3.objects(bucket) == FILES
    table.checked(len(FILES))


async def test_a_file_that_is_there_is_not_gone(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """The server says that there is none when it is to be opened, as some do of one that is in use, and shows it."""
    write_tree(sftp_server.root, FILES)
    sftp_server.fault = faulty.IsNotThere(("OPEN",), path=lambda path: path == "/a")
    ran = await run_pull(sftp_server, s3, bucket)
    assert set(ran.failures) == {"a"}
    assert "is there, and the server says 'no such file'" in ran.failures["a"]
    assert set(s3.objects(bucket)) == set(FILES) - {"a"}
    table.checked(len(FILES))


async def test_what_has_an_mtime_of_0_is_taken_once_it_stands_still(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """It is what servers give that know none: nothing says that such a file is old."""
    write_tree(sftp_server.root, {"finished": b"whole", "growing": b"half a"})
    zero = {"mtime": 0, "atime": 0}
    growing = sftp_server.root / "growing"
    grows = Acts(lambda _: growing.write_bytes(b"half a file, and some more"), ("OPEN",))
    sftp_server.fault = Together(grows, faulty.ListingStates(lambda _: zero), faulty.AttributesAre(lambda _: zero))
    ran = await run_pull(sftp_server, s3, bucket, min_age=0.5)
    ran.done()
    assert any("have no mtime" in notice for notice in ran.watcher.notices)
    assert s3.objects(bucket) == {"finished": b"whole", "growing": b"half a file, and some more"}
    table.checked(2)


async def test_a_file_of_mtime_0_is_not_removed_unseen(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """Nothing would tell it from a newer one of the same size."""
    write_tree(sftp_server.root, {"victim": b"1"})
    zero = {"mtime": 0, "atime": 0}
    sftp_server.fault = Together(
        *(faulty.RenameIsRefused(), faulty.ListingStates(lambda _: zero), faulty.AttributesAre(lambda _: zero))
    )
    ran = await run_pull(sftp_server, s3, bucket, after_transfer="delete")
    assert "does not say when it was changed" in ran.failures["victim"]
    assert read_tree(sftp_server.root) == {"victim": b"1"}
    table.checked(1)


@pytest.mark.parametrize("after_transfer", ["move", "delete"])
@pytest.mark.parametrize("mtime", [None, 0])
async def test_a_file_that_replaces_another_where_no_mtime_tells(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, mtime: int | None, after_transfer: str
) -> None:
    """It has come right before the rename, of the same size: only its contents tell, and S3 gets those."""
    write_tree(sftp_server.root, {"victim": b"the old one"}, age=7200)
    stated = {"mtime": mtime, "atime": mtime}
    replaces = Acts(
        lambda _: write_tree(sftp_server.root, {"victim": b"the new one"}),
        ("POSIX-RENAME",),
        where=lambda request: request.path == "/victim",
    )
    sftp_server.fault = Together(
        *(replaces, faulty.ListingStates(lambda _: stated), faulty.AttributesAre(lambda _: stated))
    )
    (await run_pull(sftp_server, s3, bucket, after_transfer=after_transfer)).done()
    assert replaces.acted == 1
    table.checked(1)
    table.none_is("lost", [] if s3.objects(bucket) == {"victim": b"the new one"} else ["the new one"])
    left = {} if after_transfer == "delete" else {".done/victim": b"the new one"}
    assert read_tree(sftp_server.root) == left


@pytest.mark.parametrize("looks", [("LSTAT",), ("LSTAT", "STAT")], ids=str)
async def test_a_file_that_replaces_another_where_only_listings_tell(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, looks: tuple[str, ...]
) -> None:
    """It has come right before the rename, of the same size, and is to be deleted: S3 has it before that."""
    write_tree(sftp_server.root, {"victim": b"the old one"}, age=7200)

    def replace(_: Request) -> None:
        write_tree(sftp_server.root, {"victim": b"the new one"}, age=3600)

    replaces = Acts(replace, ("POSIX-RENAME",), where=lambda request: request.path == "/victim")
    sftp_server.fault = Together(faulty.Refuses(looks), replaces)
    (await run_pull(sftp_server, s3, bucket, after_transfer="delete")).done()
    assert replaces.acted == 1
    table.checked(1)
    table.none_is("lost", [] if s3.objects(bucket) == {"victim": b"the new one"} else ["the new one"])
    assert read_tree(sftp_server.root) == {}


async def test_a_server_that_looks_at_no_link_looks_at_files(sftp_server: AsyncsshServer) -> None:
    """It knows STAT and not LSTAT: what is there is seen, and what is not there is not."""
    write_tree(sftp_server.root, {"a": b"123"})
    sftp_server.fault = faulty.NoLstat()
    async with SftpSession(target_of(sftp_server), TransferOptions()) as session:
        assert not await session.exists(b"/nothing")
        assert (await session.lstat(b"/a")).size == 3
        assert not await session.exists(b"/nothing")
    assert sftp_server.requests["LSTAT"] == 2, "it is not asked again once STAT has worked"
    table.checked(1)


# ------------------------------------------------------------------------------------------------ what is in the way


@pytest.mark.parametrize("kind", ["directory", "directory with a file in it"])
@pytest.mark.parametrize("settings", [{}, {"temp_name": None}], ids=["temporary names", "straight"])
async def test_a_directory_in_the_way_is_said_to_be_that(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, kind: str, settings: dict[str, str | None]
) -> None:
    """And no advice is given that would not help: nothing of full disks, nor of temp_name."""
    (sftp_server.root / "victim").mkdir()
    if kind != "directory":
        (sftp_server.root / "victim/theirs").write_bytes(b"theirs")
    put_objects(s3, bucket, {"a": b"1", "victim": b"2"})
    ran = await run_push(sftp_server, s3, bucket, concurrency=1, **settings)
    assert set(ran.failures) == {"victim"}
    reason = ran.failures["victim"]
    assert "a directory is in the way, '/victim': rename or remove it, or exclude the file" in reason
    assert "temp_name" not in reason
    assert "full" not in reason
    table.checked(2)
