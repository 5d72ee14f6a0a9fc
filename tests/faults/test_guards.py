"""Guards that stand behind one another: each holds by itself, where the other one cannot see."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.faults import table
from tests.faults.harness import (
    Acts,
    Together,
    leftovers,
    marked_keys,
    put_objects,
    read_tree,
    run_pull,
    run_push,
    write_tree,
)
from tests.support.faulty_sftp import OpenIsRefused, SetstatIsRefused
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault, Proceed, Request

pytestmark = [pytest.mark.faults, pytest.mark.loops]

DATA = os.urandom(70_000)


def grows_in_the_same_second(place: Path) -> None:
    before = place.stat()
    with place.open("ab") as file:
        file.write(b"more")
    os.utime(place, (before.st_atime, before.st_mtime))


def is_overwritten_by_as_much(place: Path) -> None:
    place.write_bytes(os.urandom(len(DATA)))


@pytest.mark.parametrize("change", [grows_in_the_same_second, is_overwritten_by_as_much])
async def test_a_file_that_changes_while_it_is_read_is_not_stored(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, change: Callable[[Path], None]
) -> None:
    """Where it is kept, no look after a move would see it: S3 gets nothing of it, and the report says why."""
    write_tree(sftp_server.root, {"victim": DATA, "sibling": b"s"})
    place = sftp_server.root / "victim"
    sftp_server.fault = Acts(lambda _: change(place), ("READ",), where=lambda r: r.path == "/victim", after=True)
    ran = await run_pull(sftp_server, s3, bucket, after_transfer="keep")
    assert "changed while reading" in ran.failures["victim"]
    table.checked(2)
    table.none_is("wrong bytes", [] if s3.objects(bucket) == {"sibling": b"s"} else ["victim"])


@dataclass
class EndsEarly(Fault):
    """Says that a file ends where it does not, though its size is known: a disk error that became an end of file."""

    at: int

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        if request.name == "READ" and request.path == "/victim":
            if request.offset >= self.at:
                raise asyncssh.SFTPEOFError
            return result[0][: self.at - request.offset], False
        return result


async def test_a_file_that_ends_before_its_size_is_not_stored(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Size and mtime say before and after that it is whole; only the bytes counted do not."""
    write_tree(sftp_server.root, {"victim": DATA})
    sftp_server.fault = EndsEarly(30_000)
    ran = await run_pull(sftp_server, s3, bucket)
    assert "changed while reading" in ran.failures["victim"]
    table.checked(1)
    table.none_is("wrong bytes", s3.objects(bucket))
    assert read_tree(sftp_server.root) == {"victim": DATA}


async def test_a_file_that_is_still_being_written_goes_back(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """It has taken the place of the one that was read, just before the move: its producer will look for it there."""
    write_tree(sftp_server.root, {"victim": b"read"})
    place = sftp_server.root / "victim"

    def replace(_: Request) -> None:
        place.unlink()
        place.write_bytes(b"still being written")

    sftp_server.fault = Acts(replace, ("POSIX-RENAME",))
    await run_pull(sftp_server, s3, bucket, min_age=30.0)
    table.checked(1)
    table.none_is(
        "wrong marks", [] if read_tree(sftp_server.root) == {"victim": b"still being written"} else ["victim"]
    )


async def test_a_file_that_cannot_be_read_in_the_done_directory_goes_back(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """It has taken the place of the one that was read, just before the move: no run would look for it in there."""
    write_tree(sftp_server.root, {"victim": b"read"}, age=7200)
    replaces = Acts(
        lambda _: write_tree(sftp_server.root, {"victim": b"the newest"}),
        ("POSIX-RENAME",),
        where=lambda request: request.path == "/victim",
    )
    refuses = OpenIsRefused(path=lambda path: path.startswith("/.done/"))
    sftp_server.fault = Together(replaces, refuses)
    ran = await run_pull(sftp_server, s3, bucket)
    assert set(ran.failures) == {"victim"}
    sftp_server.fault = Fault()
    (await run_pull(sftp_server, s3, bucket)).done()
    table.checked(1)
    table.none_is("lost", [] if s3.objects(bucket) == {"victim": b"the newest"} else ["the newest"])


async def test_a_file_that_goes_back_takes_no_newer_ones_place(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """One that is still being written was moved by its name, and meanwhile the name is in use again."""
    write_tree(sftp_server.root, {"victim": b"read"})
    place = sftp_server.root / "victim"

    def replace(_: Request) -> None:
        place.unlink()
        place.write_bytes(b"still being written")

    newer = Acts(lambda _: place.write_bytes(b"the newest"), ("LSTAT",), where=lambda r: ".done" in r.path)
    sftp_server.fault = Together(Acts(replace, ("POSIX-RENAME",)), newer)
    await run_pull(sftp_server, s3, bucket, min_age=30.0)
    assert newer.acted == 1
    table.checked(1)
    table.none_is("lost", [] if place.read_bytes() == b"the newest" else ["the newest"])


async def test_a_done_file_that_is_not_stamped_is_not_purged(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Its mtime is its own, and may be years old on the day of its transfer, though another one can be stamped."""
    write_tree(sftp_server.root, {"a": DATA, "victim": DATA})
    sftp_server.fault = SetstatIsRefused(path=lambda path: path.endswith("/victim"))
    (await run_pull(sftp_server, s3, bucket)).done()
    os.utime(sftp_server.root / ".done/a", (1_000_000_000, 1_000_000_000))
    s3.empty(bucket)  # what S3 knows of its mtime is a guard of its own
    ran = await run_pull(sftp_server, s3, bucket, retention=60.0, concurrency=1)
    assert ran.done().purged == 1
    table.checked(1)
    table.none_is("lost", [] if read_tree(sftp_server.root) == {".done/victim": DATA} else ["victim"])


@dataclass
class DropsTheLastWrite(Fault):
    """Acknowledges the end of a file and does not write it."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "WRITE" and request.offset + request.length == len(DATA):
            return None
        return await proceed()


async def test_a_file_that_is_not_all_there_is_not_published(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Every write was acknowledged; only the size on the server tells. The partner keeps the old one."""
    write_tree(sftp_server.root, {"victim": b"the old one"})
    put_objects(s3, bucket, {"victim": DATA})
    sftp_server.fault = DropsTheLastWrite()
    ran = await run_push(sftp_server, s3, bucket)
    assert "sizes differ" in ran.failures["victim"]
    table.checked(1)
    table.none_is("wrong bytes", [] if read_tree(sftp_server.root) == {"victim": b"the old one"} else ["victim"])
    table.none_is("wrong marks", marked_keys(bucket))
    table.none_is("left over", leftovers(sftp_server.root))


@pytest.mark.parametrize("ignored", ["if-match", "x-amz-copy-source-if-match"])
async def test_each_condition_of_a_mark_holds_by_itself(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, ignored: str
) -> None:
    """An overwrite just before the copy, at a store that knows only one of the two: no mark on what was not sent."""
    put_objects(s3, bucket, {"k": b"old"})
    acted = 0

    @s3.before
    def overwrite(request: S3Request) -> None:
        nonlocal acted
        if (request.operation, request.key) == ("CopyObject", "k"):
            s3.unenforced.add(ignored)  # the probes before it have seen both
            acted += 1
            put_objects(s3, bucket, {"k": b"version %d" % acted})

    await run_push(sftp_server, s3, bucket)
    assert acted == 3
    table.checked(1)
    table.none_is("lost", [] if s3.objects(bucket) == {"k": b"version 3"} else ["k"])
    table.none_is("wrong marks", marked_keys(bucket))


async def test_a_pushed_file_is_synced_before_it_is_published(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Where the server can: else a power cut leaves the new name with no contents."""
    put_objects(s3, bucket, {"k": DATA})
    order: list[str] = []
    sftp_server.fault = Acts(lambda r: order.append(r.name), ("WRITE", "FSYNC", "CLOSE", "POSIX-RENAME"), always=True)
    (await run_push(sftp_server, s3, bucket)).done()
    last = {name: index for index, name in enumerate(order)}
    assert last["WRITE"] < last["FSYNC"] < last["POSIX-RENAME"]
