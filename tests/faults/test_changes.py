"""Somebody else writes to a file while it is pulled: at each step, in each way, small files and multipart ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.options import MiB
from tests.faults import table
from tests.faults.harness import (
    Acts,
    Ran,
    check_nothing_open,
    make_old,
    read_tree,
    run_pull,
    write_tree,
)
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault

pytestmark = [pytest.mark.faults, pytest.mark.loops]

NAME = "victim"
SMALL = os.urandom(70_000)
LARGE = os.urandom(12 * MiB + 5)
SIBLINGS = {"sibling": b"untouched", "sub/sibling": b"untouched too"}

# ------------------------------------------------------------------------------------------- what a producer does


def append(place: Path, writer: int) -> None:
    """Write on through a handle that was opened before the run: it stays with the file wherever that is moved."""
    os.write(writer, b"more")


def truncate(place: Path, writer: int) -> None:
    """Cut the file through the handle."""
    os.ftruncate(writer, 10)


def overwrite(place: Path, writer: int) -> None:
    """Write other bytes over the old ones, as many: only the mtime tells."""
    size = os.fstat(writer).st_size
    os.lseek(writer, 0, os.SEEK_SET)
    os.write(writer, os.urandom(size))


def replace(place: Path, writer: int) -> None:
    """Rename a new file over the name."""
    _new(place, b"a new file, which is complete")


def replace_by_same_size(place: Path, writer: int) -> None:
    """Rename a new file of the same size over the name."""
    _new(place, os.urandom(os.fstat(writer).st_size))


def delete(place: Path, writer: int) -> None:
    """Remove the name."""
    place.unlink(missing_ok=True)


def delete_and_create(place: Path, writer: int) -> None:
    """Remove the name and make a new file of it in place."""
    place.unlink(missing_ok=True)
    place.write_bytes(b"created again")


def _new(place: Path, data: bytes) -> None:
    fresh = place.with_name("fresh.tmp")
    fresh.write_bytes(data)
    fresh.replace(place)


CHANGES = (append, truncate, overwrite, replace, replace_by_same_size, delete, delete_and_create)

#: A step of a pull's protocol: (request to the SFTP server, which of them), or an S3 operation.
Step = tuple[str, int] | str
SMALL_STEPS: tuple[Step, ...] = (
    *(("OPEN", 1), ("FSTAT", 1), ("READ", 1), ("FSTAT", 2), ("CLOSE", 1), "PutObject"),
    *(("MKDIR", 1), ("POSIX-RENAME", 1), ("LSTAT", 1)),
)
LARGE_STEPS: tuple[Step, ...] = (
    *(("READ", 1), ("READ", 3), ("FSTAT", 2), "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"),
    *(("CLOSE", 1), ("POSIX-RENAME", 1), ("LSTAT", 1)),
)
#: After the last look at the file: who still writes through an old handle is too late for anybody to see, and
#: `min_age` is what keeps such a file away. Other changes are to a new file of the same name.
LATE_STEPS = (("SETSTAT", 1),)
LATE_CHANGES = (replace, replace_by_same_size, delete, delete_and_create)


def _id(value: Any) -> str:
    if callable(value):
        return str(value.__name__)
    return "-".join(str(part) for part in value) if isinstance(value, tuple) else str(value)


class TestProducer:
    """Whatever a producer does: what is in ``.done`` is in S3, and what it wrote last is somewhere."""

    @pytest.mark.parametrize("change", CHANGES, ids=_id)
    @pytest.mark.parametrize("step", SMALL_STEPS, ids=_id)
    async def test_a_small_file_changes(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, step: Step, change: Callable[..., None]
    ) -> None:
        """A file of one request."""
        await self._check(sftp_server, s3, bucket, SMALL, step, change)

    @pytest.mark.parametrize("change", CHANGES, ids=_id)
    @pytest.mark.parametrize("step", LARGE_STEPS, ids=_id)
    async def test_a_large_file_changes(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, step: Step, change: Callable[..., None]
    ) -> None:
        """A file of three parts."""
        await self._check(sftp_server, s3, bucket, LARGE, step, change)

    @pytest.mark.parametrize("change", LATE_CHANGES, ids=_id)
    @pytest.mark.parametrize("step", LATE_STEPS, ids=_id)
    async def test_a_file_changes_at_last(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, step: Step, change: Callable[..., None]
    ) -> None:
        """A name that is used again when its file has just been moved away."""
        await self._check(sftp_server, s3, bucket, SMALL, step, change)

    @pytest.mark.parametrize("change", CHANGES, ids=_id)
    @pytest.mark.parametrize("step", [("OPEN", 1), ("READ", 1), "PutObject", ("POSIX-RENAME", 1)], ids=_id)
    async def test_a_file_changes_that_has_to_be_of_age(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, step: Step, change: Callable[..., None]
    ) -> None:
        """With `min_age`, a file that has just changed is young again."""
        await self._check(sftp_server, s3, bucket, SMALL, step, change, min_age=30.0)

    @pytest.mark.parametrize("change", CHANGES, ids=_id)
    @pytest.mark.parametrize(
        ("after_transfer", "step"),
        [
            ("keep", ("READ", 1)),
            ("keep", "PutObject"),
            ("delete", ("READ", 1)),
            ("delete", "PutObject"),
            ("delete", ("POSIX-RENAME", 1)),
        ],
        ids=_id,
    )
    async def test_a_file_changes_that_is_not_moved_to_stay(
        self,
        sftp_server: AsyncsshServer,
        s3: S3Server,
        bucket: str,
        step: Step,
        change: Callable[..., None],
        after_transfer: str,
    ) -> None:
        """Deleting and keeping lose nothing either."""
        await self._check(sftp_server, s3, bucket, SMALL, step, change, after_transfer=after_transfer)

    async def _check(
        self,
        server: AsyncsshServer,
        s3: S3Server,
        bucket: str,
        data: bytes,
        step: Step,
        change: Callable[..., None],
        **settings: Any,
    ) -> None:
        write_tree(server.root, {NAME: data} | SIBLINGS)
        place = server.root / NAME
        writer = os.open(place, os.O_WRONLY | os.O_APPEND if change is append else os.O_WRONLY)
        newest = b""
        changed = 0

        def act(*_: object) -> None:
            nonlocal newest, changed
            changed += 1
            change(place, writer)
            newest = _through(writer) if change in (append, truncate, overwrite) else _content(place)

        if isinstance(step, str):
            done = False

            @s3.before
            def hook(request: S3Request) -> None:
                nonlocal done
                if request.operation == step and request.key == NAME and not done:
                    done = True
                    act()
        else:
            request_name, nth = step
            server.fault = Acts(act, (request_name,), nth, lambda r: NAME in r.path or r.name == "MKDIR")
        try:
            ran = await run_pull(server, s3, bucket, **settings)
            assert changed == 1, "the run did not come by this step"
            server.fault = Fault()
            self._nothing_is_lost(server, s3, bucket, ran, newest, settings)
            await check_nothing_open(server)
            if place.exists():
                make_old(place, 1800.0)  # the producer has finished, some time ago
            again = await run_pull(server, s3, bucket, **settings)
            again.done()
            self._nothing_is_lost(server, s3, bucket, again, newest, settings)
            table.none_is("left over", s3.unfinished_uploads(bucket))
            if newest:
                assert s3.objects(bucket)[NAME] == newest, "the newest bytes are not in S3 after a second run"
        finally:
            os.close(writer)

    @staticmethod
    def _nothing_is_lost(
        server: AsyncsshServer, s3: S3Server, bucket: str, ran: Ran, newest: bytes, settings: dict[str, object]
    ) -> None:
        tree, objects = read_tree(server.root), s3.objects(bucket)
        table.checked(1 + len(SIBLINGS))
        table.none_is("lost", [name for name in SIBLINGS if name not in objects])
        table.none_is("wrong bytes", [name for name, data in SIBLINGS.items() if objects[name] != data])
        done = tree.get(f".done/{NAME}")
        if done is not None and objects.get(NAME) != done:
            table.none_is("wrong marks", [f"{NAME} is in .done, and its bytes are not in S3"])
        if newest:
            kept = [tree.get(NAME), done]
            if settings.get("after_transfer") == "delete":
                kept.append(objects.get(NAME))
            table.none_is("lost", [] if newest in kept else ["the newest bytes"])
        reported = [outcome.source for outcome in ran.transferred if outcome.target.endswith(f"/{NAME}")]
        table.none_is("false successes", [] if NAME in objects else reported)
        assert not any("fresh.tmp" in name for name in objects)


def _content(place: Path) -> bytes:
    return place.read_bytes() if place.exists() else b""


def _through(writer: int) -> bytes:
    """Return what an open handle's file holds, wherever it is and whether it still has a name."""
    return Path(f"/proc/self/fd/{writer}").read_bytes()


class TestClocks:
    """A file's mtime says little where the server's clock is wrong."""

    @pytest.mark.parametrize("min_age", [0.0, 1.0])
    async def test_a_file_from_the_future_is_pulled(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, min_age: float
    ) -> None:
        """A server whose clock is an hour ahead: its files are pulled once they have stood still for `min_age`."""
        write_tree(sftp_server.root, {NAME: b"from the future"}, age=-3600.0)
        ran = await run_pull(sftp_server, s3, bucket, min_age=min_age)
        ran.done()
        assert s3.objects(bucket) == {NAME: b"from the future"}
        assert read_tree(sftp_server.root) == {f".done/{NAME}": b"from the future"}

    async def test_a_file_from_the_future_that_still_grows_is_left_alone(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
    ) -> None:
        """Two looks `min_age` apart differ: it stays where it is."""
        write_tree(sftp_server.root, {NAME: b"from the future"}, age=-3600.0)
        place = sftp_server.root / NAME

        def grows(*_: object) -> None:
            place.write_bytes(b"from the future, still growing")
            make_old(place, -3700.0)

        sftp_server.fault = Acts(grows, ("OPEN",))
        ran = await run_pull(sftp_server, s3, bucket, min_age=1.0)
        assert not ran.transferred
        assert s3.objects(bucket) == {}
        assert read_tree(sftp_server.root) == {NAME: b"from the future, still growing"}

    async def test_done_vanishes_before_the_move(self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
        """A .done that somebody removes between listing and rename: no success is claimed for a file not moved."""
        write_tree(sftp_server.root, {NAME: b"x"})
        (sftp_server.root / ".done").mkdir()
        sftp_server.fault = Acts(lambda _: (sftp_server.root / ".done").rmdir(), ("POSIX-RENAME",))
        ran = await run_pull(sftp_server, s3, bucket)
        tree = read_tree(sftp_server.root)
        if ran.transferred:
            assert tree == {f".done/{NAME}": b"x"}
        else:
            assert tree == {NAME: b"x"}
        assert s3.objects(bucket) == {NAME: b"x"}
