"""Drop boxes: what is written cannot be looked at or renamed, or is taken away. It is delivered whole, and once."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import asyncssh
import pytest
from asyncssh.constants import FXF_WRITE

from airflow_provider_sftp_s3.engine.options import MiB
from tests.faults import table
from tests.faults.harness import Acts, Together, leftovers, marked_keys, put_objects, read_tree, run_push, write_tree
from tests.support import faulty_sftp as faulty
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault, Proceed, Request, SftpServer

pytestmark = [pytest.mark.faults, pytest.mark.loops]

FILES = {"empty": b"", "small": os.urandom(5000), "sub/70 KB": os.urandom(70_001), "sub/9 MiB": os.urandom(9 * MiB)}
#: How files go where nothing but writing is allowed.
BLIND: dict[str, Any] = {"temp_name": None, "verify": "none"}


class Taken(Fault):
    """What was written is taken away once ``names`` were done, whoever asks: a drop box whose owner works."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.taken: dict[str, bytes] = {}
        self.opened: Counter[str] = Counter()

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        path = request.target or request.path
        if request.name == "OPEN" and request.flags & FXF_WRITE:
            self.opened[path] += 1
        place = server.local(path)
        if request.name in self.names and place.is_file():
            self.taken[path[1:]] = place.read_bytes()
            place.unlink()
        return result


async def test_a_blind_drop_box_takes_all(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """Nothing can be looked at, listed, made, renamed or removed there. Each file is delivered once, and marked."""
    put_objects(s3, bucket, FILES)
    (sftp_server.root / "sub").mkdir()
    sftp_server.fault = faulty.DropBox()
    ran = await run_push(sftp_server, s3, bucket, **BLIND)
    assert ran.done().transferred == len(FILES)
    assert read_tree(sftp_server.root) == FILES
    assert marked_keys(bucket) == set(FILES)
    again = await run_push(sftp_server, s3, bucket, clean_up=True, **BLIND)
    assert again.done().skipped == {"synced": len(FILES)}
    table.checked(len(FILES))


async def test_a_directory_that_is_missing_in_a_blind_drop_box_is_said(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """It can be neither seen nor made; the file tells, and the error has both."""
    put_objects(s3, bucket, {"a": b"1", "sub/b": b"2"})
    sftp_server.fault = faulty.DropBox()
    ran = await run_push(sftp_server, s3, bucket, **BLIND)
    assert set(ran.failures) == {"b"}
    assert "its directory cannot be looked at, and not be made" in ran.failures["b"]
    assert read_tree(sftp_server.root) == {"a": b"1"}
    table.checked(2)


@pytest.mark.parametrize(
    ("names", "settings"),
    [
        (("CLOSE",), BLIND),
        (("CLOSE",), {"temp_name": None}),
        (("RENAME", "POSIX-RENAME"), {"verify": "none"}),
        (("RENAME", "POSIX-RENAME"), {"verify": "none", "temp_name": "tmp/{id}"}),
    ],
    ids=str,
)
async def test_what_is_taken_away_is_delivered_once(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, names: tuple[str, ...], settings: dict[str, Any]
) -> None:
    """At CLOSE, or when it gets its name. A retry after another file's failure does not send it again."""
    put_objects(s3, bucket, FILES)
    taken = Taken(*names)
    refused: Fault = faulty.OpenIsRefused(path=lambda path: path.startswith("/sub/"))
    if settings.get("temp_name"):
        refused = faulty.Refuses(("RENAME", "POSIX-RENAME"), path=lambda path: path == "/sub/70 KB")
    sftp_server.fault = Together(refused, taken)
    ran = await run_push(sftp_server, s3, bucket, **settings)
    assert ran.failures
    sftp_server.fault = taken
    (await run_push(sftp_server, s3, bucket, clean_up=True, **settings)).done()
    assert taken.taken == FILES
    assert marked_keys(bucket) == set(FILES)
    if settings.get("temp_name", "default") is None:
        assert max(taken.opened.values()) == 1, "delivered twice"
    assert not leftovers(sftp_server.root)
    table.checked(len(FILES))


@pytest.mark.parametrize("settings", [{"preserve_mtime": True}, {"file_mode": 0o640}], ids=str)
async def test_what_is_taken_at_its_close_gets_no_mode_and_no_mtime(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, settings: dict[str, Any]
) -> None:
    """It is delivered all the same, once: it would be taken again."""
    put_objects(s3, bucket, FILES)
    sftp_server.fault = taken = Taken("CLOSE")
    ran = await run_push(sftp_server, s3, bucket, **BLIND, **settings)
    assert ran.done().transferred == len(FILES)
    assert taken.taken == FILES
    assert marked_keys(bucket) == set(FILES)
    assert (await run_push(sftp_server, s3, bucket, **BLIND, **settings)).done().transferred == 0
    assert max(taken.opened.values()) == 1
    table.checked(len(FILES))


#: what a server does -> the settings that the error names, and those with which all arrives there
ADVICE: dict[str, tuple[Fault, str, dict[str, Any]]] = {
    "nothing is renamed": (faulty.RenameIsRefused(), "temp_name: none", {"temp_name": None}),
    "taken at CLOSE": (Taken("CLOSE"), "temp_name: none", {"temp_name": None}),
    "dot names are refused": (
        faulty.OpenIsRefused(path=lambda path: "/." in path),
        "choose others by temp_name",
        {"temp_name": "{id}-{name}"},
    ),
    "unknown extensions are refused": (
        faulty.OpenIsRefused(path=lambda path: path.endswith(".part")),
        "choose others by temp_name",
        {"temp_name": ".{id}{name}"},
    ),
    "new files in one directory only": (
        faulty.OpenIsRefused(path=lambda path: not path.startswith("/tmp/")),
        "choose others by temp_name",
        {"temp_name": "tmp/{id}"},
    ),
    "nothing can be looked at": (faulty.Refuses(faulty.STATS), "verify: none", {"verify": "none"}),
    "no size": (faulty.AttributesAre(lambda size: {"size": None}), "verify: none", {"verify": "none"}),
}


@pytest.mark.parametrize("name", ADVICE)
async def test_the_error_names_the_setting_that_mends_it(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, name: str
) -> None:
    """And it does: no file arrives without it, and all of them with it, over an old one, too."""
    fault, advice, settings = ADVICE[name]
    put_objects(s3, bucket, FILES)
    write_tree(sftp_server.root, {"small": b"an old one"})
    sftp_server.fault = fault
    ran = await run_push(sftp_server, s3, bucket)
    assert len(ran.failures) == len(FILES)
    assert all(advice in reason for reason in ran.failures.values()), ran.failures
    assert read_tree(sftp_server.root) == {"small": b"an old one"}
    assert marked_keys(bucket) == set()
    ran = await run_push(sftp_server, s3, bucket, **settings)
    assert ran.done().transferred == len(FILES)
    if isinstance(fault, Taken):
        assert {name: data for name, data in fault.taken.items() if ".part" not in name} == FILES
    else:
        assert read_tree(sftp_server.root) == FILES
    assert marked_keys(bucket) == set(FILES)
    table.checked(len(FILES))


@pytest.mark.parametrize("temp_name", [None, "{id}-{name}", "tmp/{id}", "a/b/{name}.{id}"])
async def test_on_real_servers(any_sftp_server: SftpServer, s3: S3Server, bucket: str, temp_name: str | None) -> None:
    """Whatever the name: all arrives, over old files, too, and nothing else is there."""
    put_objects(s3, bucket, FILES)
    out = any_sftp_server.root / "out"
    write_tree(out, {"small": b"an old one", "theirs": b"theirs"})
    ran = await run_push(any_sftp_server, s3, bucket, any_sftp_server.path("out"), temp_name=temp_name)
    assert ran.done().transferred == len(FILES)
    assert read_tree(out) == {**FILES, "theirs": b"theirs"}
    assert marked_keys(bucket) == set(FILES)
    table.checked(len(FILES))


async def test_a_retry_removes_its_own_unfinished_files_only(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """In the directory of `temp_name`, by the owner: nobody else's, no directory, and none of the partner's."""
    put_objects(s3, bucket, {"sub/a": b"1"})
    mine = {"tmp/abcdef0100000000.x": b"half", "tmp/abcdef01ffffffff.x": b"half"}
    others = {
        **{"tmp/ffffffff00000000.x": b"1", "tmp/abcdef010000000.x": b"2", "tmp/abcdef0100000000.xy": b"3"},
        **{"sub/abcdef0100000000.x": b"4", "abcdef0100000000.x": b"5", "tmp/abcdef0200000000.x": b"6"},
    }
    write_tree(sftp_server.root, mine | others)
    (sftp_server.root / "tmp/abcdef0111111111.x").mkdir()
    (await run_push(sftp_server, s3, bucket, temp_name="tmp/{id}.x", clean_up=True)).done()
    assert read_tree(sftp_server.root) == {**others, "sub/a": b"1"}
    assert (sftp_server.root / "tmp/abcdef0111111111.x").is_dir()
    table.checked(1)


async def test_what_cannot_be_cleaned_away_holds_nothing_up(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """A drop box that lets nobody remove: what an earlier try has left stays, the log says so, and files arrive."""
    put_objects(s3, bucket, FILES)
    write_tree(sftp_server.root, {".abcdef0100000000.part": b"half"})
    sftp_server.fault = faulty.Refuses(("REMOVE",))
    ran = await run_push(sftp_server, s3, bucket, clean_up=True)
    ran.done()
    assert ["what an earlier try has left cannot be removed" in notice for notice in ran.watcher.notices] == [True]
    assert read_tree(sftp_server.root) == {**FILES, ".abcdef0100000000.part": b"half"}
    table.checked(len(FILES))


# ------------------------------------------------------------------------------------------- straight to its name


async def test_half_a_file_under_its_name_is_removed_and_said(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Where that is refused, the error says that it may be there."""
    put_objects(s3, bucket, {"victim": os.urandom(3 * MiB), "other": b"2"})
    full = faulty.Refuses(("WRITE",), path=lambda path: path == "/victim")
    sftp_server.fault = full
    ran = await run_push(sftp_server, s3, bucket, temp_name=None)
    assert "what was written of it was removed" in ran.failures["victim"]
    assert read_tree(sftp_server.root) == {"other": b"2"}
    sftp_server.fault = Together(full, faulty.Refuses(("REMOVE",)))
    ran = await run_push(sftp_server, s3, bucket, temp_name=None)
    assert "may be there under its name, and could not be removed" in ran.failures["victim"]
    assert marked_keys(bucket) == {"other"}
    table.checked(2)


async def test_what_cannot_be_opened_is_left_alone(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """It is the partner's old one, and whole."""
    put_objects(s3, bucket, {"victim": b"new"})
    write_tree(sftp_server.root, {"victim": b"an old one"})
    sftp_server.fault = faulty.OpenIsRefused()
    ran = await run_push(sftp_server, s3, bucket, temp_name=None)
    assert set(ran.failures) == {"victim"}
    assert read_tree(sftp_server.root) == {"victim": b"an old one"}
    table.checked(1)


@pytest.mark.parametrize("cut", ["WRITE", "CLOSE", "answer to CLOSE"])
async def test_a_file_that_is_begun_again_after_a_cut_line_is_whole(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, cut: str
) -> None:
    """What removes the first half does not remove the second try."""
    put_objects(s3, bucket, {"victim": FILES["sub/9 MiB"]})
    sftp_server.fault = {
        "WRITE": faulty.ConnectionCutAfterWriting(5 * MiB),
        "CLOSE": faulty.ConnectionCutBefore(("CLOSE",)),
        "answer to CLOSE": faulty.ReplyIsLost(("CLOSE",)),
    }[cut]
    ran = await run_push(sftp_server, s3, bucket, temp_name=None)
    assert ran.done().transferred == 1
    assert read_tree(sftp_server.root) == {"victim": FILES["sub/9 MiB"]}
    table.checked(1)


async def test_the_newest_bytes_are_there_in_the_end(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """An object that is overwritten while its file is written: the half of the old version is replaced."""
    old, new = os.urandom(20 * MiB), os.urandom(3 * MiB)
    put_objects(s3, bucket, {"victim": old})
    sftp_server.fault = Acts(lambda _: put_objects(s3, bucket, {"victim": new}), ("CLOSE",), where=_is_file)
    (await run_push(sftp_server, s3, bucket, temp_name=None)).done()
    assert read_tree(sftp_server.root) == {"victim": new}
    assert marked_keys(bucket) == {"victim"}
    table.checked(1)


async def test_a_store_that_takes_no_marks_costs_one_delivery(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """The first file goes alone, though none has a temporary name to wait under."""
    put_objects(s3, bucket, {f"{number:02}": b"%d" % number for number in range(30)})
    s3.before(lambda r: (403, "AccessDenied") if r.operation == "CopyObject" and ".sftp-s3" not in r.key else None)
    ran = await run_push(sftp_server, s3, bucket, temp_name=None, mark="metadata")
    assert "marked" in str(ran.error) or "s3:PutObject" in str(ran.error), ran.error
    assert len(read_tree(sftp_server.root)) == 1
    table.checked(30)


async def test_a_file_that_is_short_by_its_name_is_not_delivered(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """No FSTAT: after CLOSE its name tells that bytes are missing."""
    put_objects(s3, bucket, {"victim": b"12345"})

    class Loses(Fault):
        async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
            result = await proceed()
            if request.name == "CLOSE" and request.path.endswith(".part"):
                os.truncate(server.local(request.path), 3)
            return result

    sftp_server.fault = Together(faulty.Refuses(("FSTAT",)), Loses())
    ran = await run_push(sftp_server, s3, bucket)
    assert "sizes differ: S3 has 5 bytes, 5 were read, the server has 3" in ran.failures["victim"]
    assert read_tree(sftp_server.root) == {}
    assert marked_keys(bucket) == set()
    table.checked(1)


# -------------------------------------------------------------------------------------------- a disk that is full


@pytest.mark.parametrize("step", ["WRITE", "CLOSE", "no space"])
@pytest.mark.parametrize("temp_name", [".{id}.part", None])
async def test_a_full_disk_ends_the_run(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, step: str, temp_name: str | None
) -> None:
    """The errors say what it looks like; after 20 in a row nothing more is begun, and the error says so."""
    files = {f"{number:03}": b"%d" % number for number in range(100)}
    put_objects(s3, bucket, files)

    def fails(_: Request) -> None:
        raise asyncssh.SFTPFailure("Failure")

    full = faulty.DiskFull(0) if step == "no space" else Acts(fails, (step,), where=_is_file, always=True)
    sftp_server.fault = full
    ran = await run_push(sftp_server, s3, bucket, temp_name=temp_name, concurrency=2)
    assert 20 <= len(ran.failures) < 40
    assert all("a full disk or a quota looks like that" in reason for reason in ran.failures.values())
    assert "failed to write 20 files in a row" in str(ran.error)
    assert [notice for notice in ran.watcher.notices if "20 files in a row" in notice]
    assert read_tree(sftp_server.root) == {}
    assert marked_keys(bucket) == set()
    table.checked(len(files))


def _is_file(request: Request) -> bool:
    return request.path not in ("", "/")
