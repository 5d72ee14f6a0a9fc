"""A pull that deletes: wherever it ends, the next one ends what it has begun, and touches nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.faults import table
from tests.faults.harness import check_nothing_open, make_old, put_objects, read_tree, run_pull, write_tree
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer, CutConnection, Fault, Proceed, Request

pytestmark = [pytest.mark.faults, pytest.mark.loops]

FILES = {"one": b"1", "sub/two": os.urandom(20_000), "sub/" + "ü" * 127: b"a name of 254 bytes"}
LEFT = ".0123456789abcdef."


class EndsAt(Fault):
    """From one request on nothing is answered any more: to the server, a client that was killed.

    :param applied: that request is carried out still.
    """

    def __init__(self, step: int | None, *, applied: bool) -> None:
        self.steps = 0
        self._step = step
        self._applied = applied

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        self.steps += 1
        if self._step is not None and self.steps > self._step:
            if self._applied and self.steps == self._step + 1:
                await proceed()
            raise CutConnection
        return await proceed()


@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
async def test_a_pull_that_deletes_ends_anywhere(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, applied: bool
) -> None:
    """At each of its requests. After one more run all is in S3, and nothing is on the server, not even ``.done``."""
    write_tree(sftp_server.root, FILES)
    counting = EndsAt(None, applied=False)
    sftp_server.fault = counting
    (await run_pull(sftp_server, s3, bucket, after_transfer="delete", concurrency=1)).done()
    unknown = 0
    steps: Sequence[int] = range(counting.steps)
    if table.LONG < 1:
        steps = sorted(table.chance("ends anywhere", applied).sample(steps, len(steps) // 3))
    for step in steps:
        s3.empty(bucket)
        write_tree(sftp_server.root, FILES)
        sftp_server.fault = EndsAt(step, applied=applied)
        await run_pull(sftp_server, s3, bucket, after_transfer="delete", concurrency=1)
        await check_nothing_open(sftp_server)
        sftp_server.fault = Fault()
        ran = await run_pull(sftp_server, s3, bucket, after_transfer="delete")
        left = read_tree(sftp_server.root)
        table.checked(len(FILES))
        objects = s3.objects(bucket)
        table.none_is("lost", [name for name, data in FILES.items() if objects.get(name) != data])
        # What had too long a name to be told by is said, and stays: it is in S3.
        assert set(left.values()) <= {FILES["sub/" + "ü" * 127]}
        assert bool(left) == bool(ran.failures)
        unknown += len(left)
        for name in left:
            (sftp_server.root / name).unlink()
        if not left:
            assert [place.name for place in sftp_server.root.rglob("*") if place.name == ".done"] == []
    assert unknown <= 4, "between its rename and its removal only"


async def test_an_archive_is_never_touched(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """What a run with ``move`` has kept stays, whatever it is called, though S3 has it."""
    write_tree(sftp_server.root, FILES)
    (await run_pull(sftp_server, s3, bucket)).done()
    kept = read_tree(sftp_server.root)
    write_tree(sftp_server.root, {"one": b"another", "three": b"3"})
    (await run_pull(sftp_server, s3, bucket, after_transfer="delete")).done()
    table.checked(len(kept))
    table.none_is("lost", [] if read_tree(sftp_server.root) == kept else ["the archive"])


async def left_behind(sftp_server: AsyncsshServer, s3: S3Server, bucket: str, data: bytes) -> Path:
    """Have a run end between the rename of ``one`` and its removal, and return the file that it leaves."""
    write_tree(sftp_server.root, {"one": data})
    sftp_server.fault = Stops("REMOVE")
    await run_pull(sftp_server, s3, bucket, after_transfer="delete")
    await check_nothing_open(sftp_server)
    sftp_server.fault = Fault()
    (left,) = (sftp_server.root / ".done").iterdir()
    assert left.name.endswith(".one.del")
    return left


class Stops(Fault):
    """Ends everything at the first request of this name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stopped = False

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        self._stopped = self._stopped or request.name == self._name
        if self._stopped:
            raise CutConnection
        return await proceed()


@pytest.mark.parametrize(
    "objects", [{}, {"one": b"another one of S3"}, {"one": b"data!"}], ids=["none", "size", "time"]
)
async def test_what_is_left_and_not_in_s3_is_uploaded_from_there(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, objects: dict[str, bytes]
) -> None:
    """S3 must have its size and its mtime under its key; a name alone says nothing."""
    left = await left_behind(sftp_server, s3, bucket, b"data.")
    s3.empty(bucket)
    put_objects(s3, bucket, objects)
    assert left.exists()
    ran = await run_pull(sftp_server, s3, bucket, after_transfer="delete")
    assert ran.done().transferred == 1
    table.checked(1)
    table.none_is("lost", [] if s3.objects(bucket) == {"one": b"data."} else ["one"])
    assert read_tree(sftp_server.root) == {}


async def test_what_is_left_is_uploaded_again_where_s3_does_not_let_us_look(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """With s3:PutObject alone, too, it comes to its end."""
    await left_behind(sftp_server, s3, bucket, b"data.")
    s3.before(lambda request: (403, "AccessDenied") if request.method == "HEAD" else None)
    assert (await run_pull(sftp_server, s3, bucket, after_transfer="delete")).done().transferred == 1
    assert read_tree(sftp_server.root) == {}
    assert s3.objects(bucket) == {"one": b"data."}


async def test_a_newer_file_waits_for_one_that_is_left(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """Or the older one might be uploaded over it. The run after that brings it."""
    left = await left_behind(sftp_server, s3, bucket, b"the older one")
    s3.empty(bucket)
    write_tree(sftp_server.root, {"one": b"the newer one"})
    ran = await run_pull(sftp_server, s3, bucket, after_transfer="delete")
    assert ran.done().skipped == {"waits until an earlier one of its name is deleted": 1}
    assert s3.objects(bucket) == {"one": b"the older one"}
    assert not left.exists()
    (await run_pull(sftp_server, s3, bucket, after_transfer="delete")).done()
    table.checked(2)
    table.none_is("lost", [] if s3.objects(bucket) == {"one": b"the newer one"} else ["the newer one"])


@pytest.mark.parametrize("after_transfer", ["move", "delete"])
async def test_what_looks_like_ours_is_not_pulled(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, after_transfer: str
) -> None:
    """A partner's file of such a name is refused: in an archive it would be taken for one to be deleted."""
    write_tree(sftp_server.root, {f"{LEFT}one.del": b"theirs", "two": b"2"})
    ran = await run_pull(sftp_server, s3, bucket, after_transfer=after_transfer)
    assert set(ran.failures) == {f"{LEFT}one.del"}
    assert s3.objects(bucket) == {"two": b"2"}


async def test_what_is_left_is_not_purged_as_an_archive_is(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """A flow that is changed from ``delete`` to ``move`` says what it leaves."""
    left = await left_behind(sftp_server, s3, bucket, b"data.")
    s3.empty(bucket)
    make_old(left, time.time() - 1)
    ran = await run_pull(sftp_server, s3, bucket, retention=60.0)
    assert ran.done().purged == 0
    assert [reason for reason in ran.done().skipped if "after_transfer='delete'" in reason]
    assert left.exists()
