"""Servers that move no file, or give it another mtime: said before the upload, or removed in its place."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from tests.faults import table
from tests.faults.harness import Acts, Together, read_tree, run_pull, write_tree
from tests.support import faulty_sftp as faulty
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer, CutConnection, Fault, Proceed, Request

pytestmark = [pytest.mark.faults, pytest.mark.loops]

FILES = {"a": b"one", "b": os.urandom(70_001), "sub/c": b"three", "sub/d": b""}
#: servers on which nothing gets into a done directory
NO_MOVE: dict[str, Fault] = {
    "rename across directories fails": faulty.RenameAcrossIsRefused(),
    "rename is denied": faulty.RenameIsRefused(),
    "no directory can be made": faulty.MkdirIsRefused(),
}


@pytest.mark.parametrize("name", NO_MOVE)
async def test_what_cannot_be_moved_is_not_uploaded(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, name: str
) -> None:
    """The error names the setting, before the first upload; both of the others work."""
    write_tree(sftp_server.root, FILES)
    sftp_server.fault = NO_MOVE[name]
    ran = await run_pull(sftp_server, s3, bucket)
    assert len(ran.failures) == len(FILES)
    assert all('set after_transfer to "keep", or to "delete"' in reason for reason in ran.failures.values())
    assert s3.objects(bucket) == {}
    assert read_tree(sftp_server.root) == FILES, "nothing of ours is left either"
    (await run_pull(sftp_server, s3, bucket, after_transfer="keep")).done()
    assert s3.objects(bucket) == FILES
    s3.empty(bucket)
    ran = await run_pull(sftp_server, s3, bucket, after_transfer="delete")
    assert ran.done().transferred == len(FILES)
    assert s3.objects(bucket) == FILES
    assert read_tree(sftp_server.root) == {}
    table.checked(3 * len(FILES))


class HangsUpForNo(Fault):
    """Where the answer to RENAME or MKDIR would be no, it hangs up, as a server in Node.js does that crashes."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        is_there = request.path != "" and os.path.lexists(server.local(request.path))
        if (request.name in faulty.RENAMES and not is_there) or (request.name == "MKDIR" and is_there):
            raise CutConnection
        return await proceed()


@pytest.mark.parametrize("after", ["move", "delete"])
async def test_a_server_that_hangs_up_where_it_would_say_no_loses_no_attempt(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, after: str
) -> None:
    """To look whether files can be moved is no reason to fail them: it is not known, and the move will tell."""
    files = {f"{directory}{name}": name.encode() for directory in ("", "a/", "b/", "c/d/") for name in "xyz"}
    write_tree(sftp_server.root, files)
    sftp_server.fault = HangsUpForNo()
    ran = await run_pull(sftp_server, s3, bucket, after_transfer=after)
    ran.done()
    assert s3.objects(bucket) == files
    table.checked(len(files))


async def test_one_directory_that_takes_nothing_leaves_the_others_alone(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """A right that is missing there is that directory's."""
    write_tree(sftp_server.root, FILES)
    sftp_server.fault = faulty.MkdirIsRefused(path=lambda path: path.startswith("/sub/"))
    ran = await run_pull(sftp_server, s3, bucket)
    assert set(ran.failures) == {"c", "d"}
    assert set(s3.objects(bucket)) == {"a", "b"}
    table.checked(len(FILES))


@pytest.mark.parametrize("age", [0, 3600])
async def test_a_file_that_replaces_another_before_it_is_removed_is_not_lost(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, age: int
) -> None:
    """Of the same size: its mtime tells. One that is young stays, one that is of age is uploaded first."""
    write_tree(sftp_server.root, {"victim": b"the old one"}, age=7200)

    def replace(_: Request) -> None:
        write_tree(sftp_server.root, {"victim": b"the new one"}, age=age)

    replaces = Acts(replace, ("LSTAT",), where=lambda request: request.path == "/victim")
    sftp_server.fault = Together(replaces, faulty.RenameAcrossIsRefused())
    ran = await run_pull(sftp_server, s3, bucket, after_transfer="delete", min_age=30.0)
    ran.done()
    assert replaces.acted == 1
    if age:
        assert s3.objects(bucket) == {"victim": b"the new one"}
        assert read_tree(sftp_server.root) == {}
    else:
        assert read_tree(sftp_server.root) == {"victim": b"the new one"}
    table.checked(1)


async def test_a_file_without_an_mtime_is_not_removed_unseen(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Nothing would tell it from a newer one."""
    write_tree(sftp_server.root, {"victim": b"1"})
    nothing = {"mtime": None, "atime": None}
    sftp_server.fault = Together(
        faulty.RenameAcrossIsRefused(),
        faulty.AttributesAre(lambda size: nothing),
        faulty.ListingHasOtherAttributes(lambda name: nothing),
    )
    ran = await run_pull(sftp_server, s3, bucket, after_transfer="delete")
    assert "does not say when it was changed" in ran.failures["victim"]
    assert read_tree(sftp_server.root) == {"victim": b"1"}
    table.checked(1)


async def test_where_a_rename_sets_the_mtime_what_is_deleted_is_not_renamed(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Two files show it, and are uploaded twice; the others are looked at, compared and removed."""
    files = {f"{number:02}": b"%d" % number for number in range(20)}
    write_tree(sftp_server.root, files)
    sftp_server.fault = faulty.RenameSetsTheMtime()
    ran = await run_pull(sftp_server, s3, bucket, after_transfer="delete", min_age=30.0, concurrency=1)
    assert ran.done().transferred == len(files)
    assert s3.objects(bucket) == files
    assert read_tree(sftp_server.root) == {}
    assert sftp_server.requests["POSIX-RENAME"] == 3, "a probe and two files"
    table.checked(len(files))


async def test_where_renames_keep_the_mtime_one_that_does_not_shows_nothing(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Files that were replaced in the last moment are no trait of the server."""
    files = {f"{number:02}": b"%02d" % number for number in range(8)}
    write_tree(sftp_server.root, files)
    replaced = ("/03", "/04", "/05")
    touches = Acts(
        lambda request: os.utime(sftp_server.local(request.path), (10**9, 10**9)),
        ("POSIX-RENAME",),
        where=lambda request: request.path in replaced,
        always=True,
    )
    sftp_server.fault = touches
    (await run_pull(sftp_server, s3, bucket, after_transfer="delete", concurrency=1)).done()
    assert touches.acted == len(replaced)
    assert s3.objects(bucket) == files
    assert sftp_server.requests["POSIX-RENAME"] == 1 + len(files)
    table.checked(len(files))


@pytest.mark.parametrize("after_transfer", ["move", "delete"])
async def test_a_server_on_which_one_file_may_be_open_is_asked_with_a_file_of_our_own(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, after_transfer: str
) -> None:
    """No file that is to be read is open by then: it would wait for ours, and ours for it."""
    write_tree(sftp_server.root, FILES)
    sftp_server.fault = Together(faulty.RenameOfNothingFails(), faulty.OneAtATime())
    async with asyncio.timeout(60):
        ran = await run_pull(sftp_server, s3, bucket, after_transfer=after_transfer)
    assert ran.done().transferred == len(FILES)
    assert s3.objects(bucket) == FILES
    table.checked(len(FILES))


async def test_a_file_of_which_name_and_handle_never_say_the_same_is_removed_in_its_place(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """It is read once more, and its name says the same before and after."""
    write_tree(sftp_server.root, {"a": b"one", "b": b"three"})
    handles_lie = faulty.AttributesAre(lambda size: {"mtime": 10**9, "atime": 10**9}, names=("FSTAT",))
    sftp_server.fault = Together(faulty.RenameAcrossIsRefused(), handles_lie)
    (await run_pull(sftp_server, s3, bucket, after_transfer="delete")).done()
    assert s3.objects(bucket) == {"a": b"one", "b": b"three"}
    assert read_tree(sftp_server.root) == {}
    table.checked(2)


async def test_a_server_that_never_answers_a_rename_that_fails_is_asked_once(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """As node's ssh2-sftp-server: nothing is known then, and all files are moved."""
    write_tree(sftp_server.root, FILES)
    sftp_server.fault = hangs = faulty.NeverAnswers(faulty.RENAMES, lambda path: path.endswith(".part"))
    hangs.sees_probes = True
    ran = await run_pull(sftp_server, s3, bucket, idle_timeout=2.0, concurrency=1)
    assert ran.done().transferred == len(FILES)
    assert s3.objects(bucket) == FILES
    assert sftp_server.requests["POSIX-RENAME"] == 1 + len(FILES)
    table.checked(len(FILES))
