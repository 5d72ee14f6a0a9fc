"""Servers that leave facts out, state wrong ones, or take files away: none is given up before S3 has it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.constants import FXF_EXCL as EXCL
from asyncssh.constants import FXF_TRUNC as TRUNC
from asyncssh.constants import FXF_WRITE as WRITE

from airflow_provider_sftp_s3.engine.options import MiB
from tests.conftest import require
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
    settles,
    write_tree,
)
from tests.support import faulty_sftp as faulty
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer, CutConnection, ErlangSftpServer, Fault, Proceed, Request

pytestmark = [pytest.mark.faults, pytest.mark.loops]

FILES = {
    "empty": b"",
    "small": os.urandom(5000),
    "sub/70 KB": os.urandom(70_001),
    "sub/2 MiB": os.urandom(2 * MiB + 3),
    "sub/deep/6 MiB": os.urandom(6 * MiB + 17),
}


def check(files: Mapping[str, bytes], root: Path, objects: Mapping[str, bytes], ran: Any, bucket: str) -> None:
    """Each file is whole in S3 or whole where it was; no object is short; what is reported is in S3."""
    tree = read_tree(root)
    moved = {outcome.target.removeprefix(f"s3://{bucket}/") for outcome in ran.transferred}
    table.checked(len(files))
    table.none_is("lost", [name for name, data in files.items() if data not in (tree.get(name), objects.get(name))])
    table.none_is("wrong bytes", [name for name, data in objects.items() if data != files[name]])
    table.none_is("false successes", [name for name in moved if objects.get(name) != files[name]])


# --------------------------------------------------------------------------------------------------- taken at CLOSE


def mailbox(*, unknown: bool) -> tuple[faulty.FilesAreTakenAtClose, Fault]:
    """Return a server that takes a file away once it was closed, and knows nothing of it while it is open."""
    taking = faulty.FilesAreTakenAtClose()
    return taking, Together(faulty.UnknownOnceOpen(), taking) if unknown else taking


@pytest.mark.parametrize("after_transfer", ["move", "delete", "keep"])
@pytest.mark.parametrize("unknown", [False, True], ids=["known", "unknown once open"])
async def test_what_a_mailbox_takes_is_in_s3(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, after_transfer: str, unknown: bool
) -> None:
    """Every file arrives, and the run is green."""
    write_tree(sftp_server.root, FILES)
    taking, sftp_server.fault = mailbox(unknown=unknown)
    ran = await run_pull(sftp_server, s3, bucket, after_transfer=after_transfer)
    ran.done()
    assert await settles(lambda: len(taking.taken) == len(FILES))
    assert s3.objects(bucket) == FILES == {path[1:]: data for path, data in taking.taken.items()}
    check(FILES, sftp_server.root, s3.objects(bucket), ran, bucket)


@pytest.mark.parametrize("after_transfer", ["move", "keep"])
@pytest.mark.parametrize("failure", [403, "reset"], ids=str)
@pytest.mark.parametrize("unknown", [False, True], ids=["known", "unknown once open"])
async def test_what_s3_does_not_take_stays_in_a_mailbox(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, after_transfer: str, failure: object, unknown: bool
) -> None:
    """Nothing is closed that S3 has not got, not even at the end of the run; the next one brings it."""
    write_tree(sftp_server.root, FILES)
    taking, sftp_server.fault = mailbox(unknown=unknown)
    refused = set(FILES) - {"small"}

    @s3.before
    def refuse(request: S3Request) -> tuple[int, str] | None:
        if request.key not in refused or request.method not in ("PUT", "POST"):
            return None
        if failure == "reset":
            raise ConnectionResetError
        return 403, "AccessDenied"

    ran = await run_pull(sftp_server, s3, bucket, after_transfer=after_transfer, idle_timeout=2.0)
    assert len(ran.failures) == len(refused)
    assert set(taking.taken) == {"/small"}
    check(FILES, sftp_server.root, s3.objects(bucket), ran, bucket)
    refused.clear()
    (await run_pull(sftp_server, s3, bucket, after_transfer=after_transfer)).done()
    assert s3.objects(bucket) == FILES


async def test_many_files_that_s3_refuses_do_not_hold_up_the_others(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """However many files are kept open, and however few the server allows: the one that S3 takes arrives."""
    files = {f"{number:04}": b"%d" % number for number in range(250)} | {"last": b"taken"}
    write_tree(sftp_server.root, files)
    taking, _ = mailbox(unknown=False)
    sftp_server.fault = Together(faulty.AtMostOpenHandles(20), taking)

    @s3.before
    def refuse(request: S3Request) -> tuple[int, str] | None:
        refused = request.method == "PUT" and request.key in files and request.key != "last"
        return (403, "AccessDenied") if refused else None

    ran = await run_pull(sftp_server, s3, bucket)
    assert s3.objects(bucket) == {"last": b"taken"}
    assert set(taking.taken) <= {"/last"}, "its CLOSE may be lost with the connection"
    check(files, sftp_server.root, s3.objects(bucket), ran, bucket)


async def test_a_file_is_closed_early_only_where_one_has_outlived_it(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Directory by directory: half of a server may be a mailbox. The other half comes first, and has shown itself."""
    files = {f"{place}{number}": b"%d" % number for place in ("", "mailbox/") for number in range(40)}
    write_tree(sftp_server.root, files)
    taking = faulty.FilesAreTakenAtClose(path=lambda path: path.startswith("/mailbox/"))
    sftp_server.fault = taking
    refused = {name for name in files if name.endswith("3")}

    @s3.before
    def refuse(request: S3Request) -> tuple[int, str] | None:
        return (403, "AccessDenied") if request.method == "PUT" and request.key in refused else None

    ran = await run_pull(sftp_server, s3, bucket, concurrency=2)
    assert set(s3.objects(bucket)) == set(files) - refused
    check(files, sftp_server.root, s3.objects(bucket), ran, bucket)


async def test_a_file_that_is_moved_on_a_new_connection_has_not_outlived_its_close(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Its CLOSE was lost with the line: the files beside it are a mailbox's all the same."""
    write_tree(sftp_server.root, {"first": b"1", "second": b"2"})
    taking, _ = mailbox(unknown=False)
    sftp_server.fault = Together(faulty.ConnectionCutBefore(("CLOSE",), path=lambda path: path == "/first"), taking)
    s3.before(lambda r: (403, "AccessDenied") if r.method == "PUT" and r.key == "second" else None)
    ran = await run_pull(sftp_server, s3, bucket, concurrency=1)
    assert set(ran.failures) == {"second"}
    check({"first": b"1", "second": b"2"}, sftp_server.root, s3.objects(bucket), ran, bucket)


async def test_a_file_that_vanishes_once_it_was_open_is_a_failure(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """The line is cut while it is read, and then it is not there: only a file that nobody had opened is simply gone."""
    write_tree(sftp_server.root, {"victim": b"1", "other": b"2"})
    sftp_server.fault = Acts(lambda _: _takes_and_cuts(sftp_server), ("READ",), where=lambda r: r.path == "/victim")
    ran = await run_pull(sftp_server, s3, bucket, concurrency=1)
    assert set(ran.failures) == {"victim"}
    assert s3.objects(bucket) == {"other": b"2"}
    table.checked(1)


def _takes_and_cuts(server: AsyncsshServer) -> None:
    (server.root / "victim").unlink()
    raise CutConnection


# ---------------------------------------------------------------------------------------------- what is stated of files

#: name -> what is stated of a file of so many bytes
STATED: dict[str, Any] = {
    "right": lambda size: {},
    "no size": lambda size: {"size": None},
    "nothing": lambda size: {"size": None, "mtime": None, "atime": None},
    "0": lambda size: {"size": 0},
    "0 and 1970": lambda size: {"size": 0, "mtime": 0, "atime": 0},
    "too small": lambda size: {"size": size // 2},
    "stale": lambda size: {"size": size // 2, "mtime": 10**9, "atime": 10**9},
    "too large": lambda size: {"size": size + 1},
}


@pytest.mark.parametrize("of_file", STATED)
@pytest.mark.parametrize("listing", STATED)
async def test_wrong_and_missing_sizes(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, listing: str, of_file: str
) -> None:
    """Whatever is stated: what is in S3 is whole, what is not is still there, and the run says so."""
    write_tree(sftp_server.root, FILES)

    def in_listing(name: bytes) -> dict[str, Any]:
        sizes = {Path(each).name: len(data) for each, data in FILES.items()}
        name_of = os.fsdecode(name)
        return dict(STATED[listing](sizes[name_of])) if name_of in sizes else {}

    sftp_server.fault = Together(faulty.ListingHasOtherAttributes(in_listing), faulty.AttributesAre(STATED[of_file]))
    ran = await run_pull(sftp_server, s3, bucket)
    objects = s3.objects(bucket)
    check(FILES, sftp_server.root, objects, ran, bucket)
    left = {name for name in FILES if name in read_tree(sftp_server.root)}
    assert left == set(FILES) - set(objects), "what S3 has is moved, and nothing else"
    assert bool(left) == bool(ran.failures)
    if "too large" not in (listing, of_file):
        assert not left, "it is read to its end"
    elif {listing, of_file} == {"too large", "right"}:
        assert not objects


@pytest.mark.parametrize("stated", ["no size", "0", "too small"])
async def test_a_file_of_many_parts_whose_size_nobody_states(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, stated: str
) -> None:
    """It is streamed, a quarter of the memory at once; the others of the run are not held up, and it is told once."""
    files = {"large": os.urandom(17 * MiB + 5), "exactly a part": os.urandom(5 * MiB), "small": b"1"}
    write_tree(sftp_server.root, files)
    sftp_server.fault = Together(faulty.ListingStates(STATED[stated]), faulty.AttributesAre(STATED[stated]))
    ran = await run_pull(sftp_server, s3, bucket, memory_budget=16 * MiB, min_age=0.1)
    assert ran.done().bytes == sum(map(len, files.values()))
    assert s3.objects(bucket) == files
    check(files, sftp_server.root, s3.objects(bucket), ran, bucket)
    if stated != "too small":  # there the first look goes up to the size that is stated
        parts = sorted(int(r.headers["content-length"]) for r in s3.requests if r.operation == "UploadPart")
        assert parts == [2 * MiB + 5, 5 * MiB, 5 * MiB, 5 * MiB], "what ends within part_size is one PUT"
    assert len(ran.watcher.notices) == 1


async def test_a_file_of_no_known_size_that_grows_while_it_is_streamed(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Its last look differs from the first one: the upload is given up, and the file stays."""
    write_tree(sftp_server.root, {"large": os.urandom(11 * MiB)})
    place = sftp_server.root / "large"
    grows = Acts(lambda _: os.utime(place), ("READ",), where=lambda r: r.offset > 10 * MiB, always=True)
    sftp_server.fault = Together(faulty.ListingStates(STATED["0"]), faulty.AttributesAre(STATED["0"]), grows)
    ran = await run_pull(sftp_server, s3, bucket, memory_budget=16 * MiB)
    assert "changed while reading" in ran.failures["large"]
    assert s3.objects(bucket) == {}
    assert s3.unfinished_uploads(bucket) == []
    table.checked(1)


async def test_a_file_of_no_known_size_that_no_upload_holds(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 takes so many parts, whose size must be settled before: the error says what makes them larger."""
    monkeypatch.setattr("airflow_provider_sftp_s3.engine.fetch.MAX_PARTS", 3)
    files = {"fits": os.urandom(15 * MiB), "does not": os.urandom(15 * MiB + 1)}
    write_tree(sftp_server.root, files)
    sftp_server.fault = Together(faulty.ListingStates(STATED["no size"]), faulty.AttributesAre(STATED["no size"]))
    ran = await run_pull(sftp_server, s3, bucket, memory_budget=16 * MiB)
    assert "raise memory_budget" in ran.failures["does not"]
    assert s3.objects(bucket) == {"fits": files["fits"]}
    assert s3.unfinished_uploads(bucket) == []
    check(files, sftp_server.root, s3.objects(bucket), ran, bucket)


async def test_a_long_file_of_no_known_size_where_one_file_is_open_at_a_time(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """It is opened twice, and must not be closed in between: the second time in a session of its own."""
    files = {"large": os.urandom(11 * MiB), "small": b"1", "b": b"2"}
    write_tree(sftp_server.root, files)
    nothing = STATED["no size"]
    odd = (faulty.OneAtATime(), faulty.ListingStates(nothing), faulty.AttributesAre(nothing))
    sftp_server.fault = Together(*odd, faulty.FilesAreTakenAtClose())
    ran = await run_pull(sftp_server, s3, bucket)
    ran.done()
    assert s3.objects(bucket) == files
    check(files, sftp_server.root, s3.objects(bucket), ran, bucket)


async def test_caps_count_what_was_read(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """Nobody says how large the files are: the run takes no more once it has as much as it may."""
    write_tree(sftp_server.root, {f"{number}": os.urandom(1000) for number in range(6)})
    nothing = STATED["no size"]
    sftp_server.fault = Together(faulty.ListingStates(nothing), faulty.AttributesAre(nothing))
    ran = await run_pull(sftp_server, s3, bucket, max_bytes=2500, concurrency=1)
    assert ran.done().transferred == 3
    table.checked(6)


async def test_a_server_that_says_nothing_of_open_files(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """Neither by handle nor by name: listing and end of file must do, and nothing is gone that could be opened."""
    write_tree(sftp_server.root, FILES)
    sftp_server.fault = faulty.UnknownOnceOpen()
    ran = await run_pull(sftp_server, s3, bucket)
    ran.done()
    assert s3.objects(bucket) == FILES


@pytest.mark.parametrize("names", [("READ",), ("FSTAT", "LSTAT", "READ")], ids=str)
async def test_no_such_file_after_open_is_a_failure(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, names: tuple[str, ...]
) -> None:
    """The server has opened it, so it has it: the run is not green, and the file is where it was."""
    write_tree(sftp_server.root, FILES)
    sftp_server.fault = faulty.IsNotThere(names, path=lambda path: path == "/small")
    ran = await run_pull(sftp_server, s3, bucket)
    assert set(ran.failures) == {"small"}
    assert "though the server has opened it" in ran.failures["small"]
    check(FILES, sftp_server.root, s3.objects(bucket), ran, bucket)


async def test_an_error_instead_of_the_end_of_a_file(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """Where all agree how large it is, it is whole; the user is told once."""
    write_tree(sftp_server.root, FILES)
    sftp_server.fault = faulty.ReadAtTheEndFails()
    ran = await run_pull(sftp_server, s3, bucket)
    ran.done()
    assert s3.objects(bucket) == FILES
    assert len(ran.watcher.notices) == 1


async def test_an_error_where_nobody_knows_the_end(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """It may be any error: nothing is taken for whole."""
    write_tree(sftp_server.root, FILES)
    nothing = STATED["no size"]
    sftp_server.fault = Together(
        faulty.ReadAtTheEndFails(),
        faulty.ListingHasOtherAttributes(lambda _: {"size": None}),
        faulty.AttributesAre(nothing),
    )
    ran = await run_pull(sftp_server, s3, bucket)
    assert len(ran.failures) == len(FILES)
    assert s3.objects(bucket) == {}


async def test_a_file_that_grows_is_not_taken_for_one_of_a_wrong_size(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Its size is stated as 0 however large it is: it must stand still for ``min_age`` before it counts as whole."""
    write_tree(sftp_server.root, {"victim": b"begun"})
    place = sftp_server.root / "victim"
    old = place.stat().st_mtime

    def grow() -> None:
        place.write_bytes(place.read_bytes() + b", goes on")
        os.utime(place, (old, old))

    class Grows(Fault):
        async def answer(self, server: AsyncsshServer, request: Any, proceed: Any) -> Any:
            if request.name == "FSTAT":
                grow()
            return await proceed()

    zero = STATED["0"]
    sftp_server.fault = Together(
        Grows(), faulty.ListingHasOtherAttributes(lambda name: {"size": 0}), faulty.AttributesAre(zero)
    )
    ran = await run_pull(sftp_server, s3, bucket, min_age=0.2)
    assert "changed while reading" in ran.failures["victim"]
    assert s3.objects(bucket) == {}
    table.checked(1)


# ----------------------------------------------------------------------------------------------- handles that repeat

SEVERAL = {"a large one": os.urandom(9 * MiB), **{f"{number:03}": os.urandom(40_000 + number) for number in range(80)}}


async def test_a_pull_goes_on_one_by_one_where_handles_repeat(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """No byte counts that may be another file's: all that was open is read again, in a new session."""
    write_tree(sftp_server.root, SEVERAL)
    sftp_server.fault = fault = faulty.OneHandleForSeveral()
    ran = await run_pull(sftp_server, s3, bucket)
    assert fault.repeated
    assert ran.done().transferred == len(SEVERAL)
    assert s3.objects(bucket) == SEVERAL
    check(SEVERAL, sftp_server.root, s3.objects(bucket), ran, bucket)
    assert s3.unfinished_uploads(bucket) == []
    _told_once(ran)


async def test_a_push_goes_on_one_by_one_where_handles_repeat(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """No object is marked whose file may be another's, and no temporary file stays."""
    put_objects(s3, bucket, SEVERAL)
    sftp_server.fault = fault = faulty.OneHandleForSeveral()
    ran = await run_push(sftp_server, s3, bucket)
    assert fault.repeated
    assert ran.done().transferred == len(SEVERAL)
    table.checked(len(SEVERAL))
    assert read_tree(sftp_server.root) == SEVERAL
    assert marked_keys(bucket) == set(SEVERAL)
    _told_once(ran)


def _told_once(ran: Any) -> None:
    assert len([each for each in ran.watcher.notices if "one file is open at a time" in each]) == 1


async def test_what_s3_refuses_is_not_open_beside_others_where_handles_repeat(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """A file that must not be closed ends with its connection: with it open, one file at a time is two."""
    write_tree(sftp_server.root, SEVERAL)
    sftp_server.fault = Together(fault := faulty.OneHandleForSeveral(), watch := AtMostTwoOnceRepeated(fault))
    refused = {"003", "004", "040"}
    s3.before(lambda r: (403, "AccessDenied") if r.method == "PUT" and r.key in refused else None)
    ran = await run_pull(sftp_server, s3, bucket)
    assert fault.repeated
    assert set(ran.failures) == refused
    assert set(s3.objects(bucket)) == set(SEVERAL) - refused
    check(SEVERAL, sftp_server.root, s3.objects(bucket), ran, bucket)
    assert watch.most <= 2, "one that is being closed, and one"


class AtMostTwoOnceRepeated(Fault):
    """Counts the files that are open at once on connections after the one on which handles have repeated."""

    def __init__(self, fault: faulty.OneHandleForSeveral) -> None:
        self.most = 0
        self._fault = fault
        self._repeated_on = 0

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        result = await proceed()
        if self._fault.repeated and not self._repeated_on:
            self._repeated_on = server.connections_total
        if self._repeated_on and server.connections_total > self._repeated_on and request.name == "OPEN":
            self.most = max(self.most, server.open_handles)
        return result


@pytest.mark.parametrize("first", [b"", os.urandom(40 * MiB)], ids=["all small", "a large one half way"])
async def test_erlangs_server_gives_one_handle_to_several_files(
    tmp_path: Path, s3: S3Server, bucket: str, first: bytes
) -> None:
    """The server of Erlang/OTP as it is, in both directions, with a file half way that has come first."""
    require(ErlangSftpServer.available(), ErlangSftpServer.missing())
    files = {**SEVERAL, "000 first": first}
    login = {"password": ErlangSftpServer.password, "private_key": None}
    with ErlangSftpServer(tmp_path / "sftp") as server:
        write_tree(server.root / "in", files)
        (server.root / "out").mkdir()
        pulled = await run_pull(server, s3, bucket, "/in", login=login)
        assert pulled.done().transferred == len(files)
        assert s3.objects(bucket) == files
        assert not set(files) & set(read_tree(server.root / "in"))
        _told_once(pulled)
        s3.empty(bucket)
        put_objects(s3, bucket, files)
        pushed = await run_push(server, s3, bucket, "/out", login=login)
        assert pushed.done().transferred == len(files)
        assert read_tree(server.root / "out") == files
        assert marked_keys(bucket) == set(files)
        table.none_is("left over", leftovers(server.root))
        _told_once(pushed)


# ------------------------------------------------------------------------------------- what other clients work with

#: a server that is odd, and all of it works in both directions, with so many notices
ODD: dict[str, tuple[Callable[[], Fault], int]] = {
    "rename sets the mtime": (faulty.RenameSetsTheMtime, 0),
    "rename sets the mtime, no posix-rename": (
        lambda: Together(faulty.NoPosixRename(), faulty.RenameSetsTheMtime()),
        0,
    ),
    "mode without type": (lambda: faulty.ModeWithoutType(longname=True), 0),
    "mode without type, bare longname": (faulty.ModeWithoutType, 0),
    "open for writing wants TRUNC": (lambda: WantsTrunc(), 0),
    "open for writing takes no EXCL": (lambda: TakesNoExcl(), 0),
    "no fstat": (lambda: faulty.Refuses(("FSTAT",)), 0),
    "mkdir wants a mode": (faulty.MkdirWantsMode, 0),
    "stat is denied": (lambda: faulty.Refuses(("STAT",)), 0),
    "readdir behind the end fails": (faulty.ReaddirBehindTheEndFails, 0),
    "posix-rename is announced and fails": (lambda: faulty.Refuses(("POSIX-RENAME",)), 1),
    "fsync is announced and fails": (lambda: faulty.Refuses(("FSYNC",)), 1),
    "one at a time": (faulty.OneAtATime, 1),
    "no lstat": (faulty.NoLstat, 0),
    "lstat is denied": (lambda: faulty.Refuses(("LSTAT",)), 0),
    "readdir is not in order": (faulty.ReaddirIsNotInOrder, 0),
    "directories come with files": (faulty.DirectoriesComeWithFiles, 0),
    "posix-rename does nothing": (lambda: faulty.RenameDoesNothing(("POSIX-RENAME",)), 1),
}


class WantsTrunc(Fault):
    """A file that is to be written, made anew and not cut is taken for one to be read (node's ssh2)."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "OPEN" and request.flags & WRITE and not request.flags & TRUNC:
            raise asyncssh.SFTPFailure("flags that make no sense")
        return await proceed()


class TakesNoExcl(Fault):
    """A file that is to be opened must be there, but with just the flags that a file is usually made with (npm)."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "OPEN" and request.flags & EXCL:
            raise asyncssh.SFTPNoSuchFile("No such file")
        return await proceed()


@pytest.mark.parametrize("after_transfer", ["move", "delete", "keep"])
@pytest.mark.parametrize("name", ODD)
async def test_an_odd_server_is_pulled(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, name: str, after_transfer: str
) -> None:
    """All arrives in the first run, with ``min_age`` too, and a second one finds nothing to do."""
    fault, notices = ODD[name]
    write_tree(sftp_server.root, FILES)
    sftp_server.fault = fault()
    ran = await run_pull(sftp_server, s3, bucket, after_transfer=after_transfer, min_age=30.0)
    assert ran.done().transferred == len(FILES)
    check(FILES, sftp_server.root, s3.objects(bucket), ran, bucket)
    assert s3.objects(bucket) == FILES
    expected = {"move": {done_path(name): data for name, data in FILES.items()}, "delete": {}, "keep": FILES}
    assert read_tree(sftp_server.root) == expected[after_transfer]
    assert len(ran.watcher.notices) <= notices, ran.watcher.notices
    again = (await run_pull(sftp_server, s3, bucket, after_transfer=after_transfer, min_age=30.0)).done()
    assert again.transferred == 0
    assert again.skipped == ({"unchanged": len(FILES)} if after_transfer == "keep" else {})


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_server_is_pushed_to(sftp_server: AsyncsshServer, s3: S3Server, bucket: str, name: str) -> None:
    """All arrives, over old files, too, and is marked."""
    fault, notices = ODD[name]
    put_objects(s3, bucket, FILES)
    write_tree(sftp_server.root, {"small": b"an old one", "of theirs": b"theirs"})
    sftp_server.fault = fault()
    ran = await run_push(sftp_server, s3, bucket)
    assert ran.done().transferred == len(FILES)
    assert read_tree(sftp_server.root) == {**FILES, "of theirs": b"theirs"}
    assert marked_keys(bucket) == set(FILES)
    assert len(ran.watcher.notices) <= notices, ran.watcher.notices
    table.checked(len(FILES))


async def test_a_listing_in_whole_minutes(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """Its mtimes are not those of the files: what is kept is not pulled again for that."""
    write_tree(sftp_server.root, FILES, age=3599)

    class WholeMinutes(Fault):
        async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
            result = await proceed()
            if request.name == "READDIR":
                for entry in result[0]:
                    entry.attrs.mtime -= entry.attrs.mtime % 60
            return result

    sftp_server.fault = WholeMinutes()
    assert (await run_pull(sftp_server, s3, bucket, after_transfer="keep")).done().transferred == len(FILES)
    again = await run_pull(sftp_server, s3, bucket, after_transfer="keep")
    assert again.done().skipped == {"unchanged": len(FILES)}
    table.checked(len(FILES))


@pytest.mark.parametrize("stated", [{"mtime": None, "atime": None}, {"size": None}], ids=["no mtimes", "no sizes"])
async def test_a_listing_that_leaves_something_out(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, stated: dict[str, Any]
) -> None:
    """The files themselves say it: what is kept is not pulled again."""
    write_tree(sftp_server.root, FILES)
    sftp_server.fault = faulty.ListingStates(lambda _: stated)
    assert (await run_pull(sftp_server, s3, bucket, after_transfer="keep")).done().transferred == len(FILES)
    again = await run_pull(sftp_server, s3, bucket, after_transfer="keep")
    assert again.done().skipped == {"unchanged": len(FILES)}
    write_tree(sftp_server.root, {"small": os.urandom(5000)}, age=600)
    assert (await run_pull(sftp_server, s3, bucket, after_transfer="keep")).done().transferred == 1
    table.checked(len(FILES))


async def test_a_file_that_replaces_another_in_its_rename_is_not_lost(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Of the same size, just before a rename that sets the mtime: only its contents tell, and S3 gets those."""
    write_tree(sftp_server.root, {"victim": b"the old one"})
    place = sftp_server.root / "victim"
    replaces = Acts(lambda _: place.write_bytes(b"the new one"), ("POSIX-RENAME",))
    sftp_server.fault = Together(replaces, faulty.RenameSetsTheMtime())
    await run_pull(sftp_server, s3, bucket, min_age=30.0)
    table.checked(1)
    tree, objects = read_tree(sftp_server.root), s3.objects(bucket)
    table.none_is("lost", [] if b"the new one" in (tree.get("victim"), objects.get("victim")) else ["the new one"])


async def test_a_disk_that_fails_is_no_missing_fsync(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """Where fsync has worked in this run, a failure is the file's own, and it is not published."""
    put_objects(s3, bucket, {"a": b"1", "b": b"2"})
    sftp_server.fault = Acts(_no_space, ("FSYNC",), nth=2)
    ran = await run_push(sftp_server, s3, bucket, concurrency=1)
    assert set(ran.failures) == {"b"}
    assert "full disk or a quota" in ran.failures["b"]
    assert read_tree(sftp_server.root) == {"a": b"1"}
    assert marked_keys(bucket) == {"a"}
    table.checked(2)


def _no_space(_: Request) -> None:
    raise asyncssh.SFTPFailure("failure")
