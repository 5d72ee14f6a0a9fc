"""Hostile names and keys: each with its declared outcome, on every server; nothing outside, no sibling harmed."""

from __future__ import annotations

import asyncio
import glob
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from asyncssh import SFTPAttrs, SFTPName
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from airflow_provider_sftp_s3.engine import paths
from tests.conftest import require
from tests.faults.harness import Ran, leftovers, put_objects, read_tree, run_pull, run_push, target_of, write_tree
from tests.support import faulty_sftp as faulty
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import (
    REAL_SERVERS,
    AsyncsshServer,
    Fault,
    Proceed,
    RcloneSftpServer,
    Request,
    SftpServer,
)

pytestmark = pytest.mark.faults

TRANSFERRED, REFUSED = "transferred", "refused"
LINK, SPECIAL, UNFINISHED, MARKER = "link", "special file", "unfinished", "folder marker"
UNLISTED = "not listed"

#: Odd, and nobody's harm: transferred verbatim, in both directions.
ODD = (
    *("plain", " leading and trailing ", " ", "-rf", "--", "#hash", "%2F", "%00", "100%", "a+b", "a?b&c=d", "a;b"),
    *("back\\slash", "..\\..\\windows", "C:", "star*", "[bracket]", "{brace}", "quo'te", 'quo"te', "$HOME", "`id`"),
    *("|pipe", "<xml>&amp;", "@at", "=1+1", "~", "...", "..x", "x..", ".hidden", "com.", "CON", "é", "e\u0301"),
    *("\U0001f600", "\u202egnp.exe", "zero\u200bwidth", "\ufeffbom", "\u2028separator", "c1\u0085control", "中文"),
    *("sub/plain", "sub/deep/er/x", "sub dir/x", "x" * 255, "é" * 127, ".part", ".0123456789abcdef.part.x"),
    *(".0123456789ABCDEF.part", "x.0123456789abcdef.part", "..%2f..%2fescape", "%2e%2e", "．．", "..⁄escape", ".DONE"),
    *("$(id)", "a&&b", ">out", "<in", "--help", "-", "x:stream", "AUX.txt", "dot.", "İ", "ﬁ", "\ufffd", "☃", "⟨⟩"),
)
CONTROLS = ("new\nline", "cr\rx", "tab\tx", "escape\x1b[31mred", "bell\x07", "\x01", "del\x7f")

#: what stands in a pulled directory -> what becomes of it
PULLED: dict[bytes, str] = {
    **{name.encode(): TRANSFERRED for name in ODD},
    **{name.encode(): REFUSED for name in CONTROLS},
    b"not utf-8 \xff": REFUSED,
    b"overlong \xc0\xae\xc0\xae": REFUSED,
    b"surrogate \xed\xa0\x80": REFUSED,
    b"latin \xe9": REFUSED,
    b"directory \xfe/file": REFUSED,
    b".0123456789abcdef.part": UNFINISHED,
    b"sub/.fedcba9876543210.part": UNFINISHED,
    b"/".join([b"k" * 203] * 5) + b"/" + b"k" * 4: TRANSFERRED,  # a key of 1,024 bytes
    b"/".join([b"l" * 203] * 5) + b"/" + b"l" * 5: REFUSED,  # and one of 1,025
    b"deep/.done.d/x": TRANSFERRED,
    b"link to a file": LINK,
    b"link to a directory": LINK,
    b"link to nothing": LINK,
    b"link to itself": LINK,
    b"link to the parent": LINK,
    b"fifo": SPECIAL,
    b"socket": SPECIAL,
}
#: a directory of such a name is refused as a whole
REFUSED_DIRECTORY = b"directory\nof two lines"
#: how rclone shows control characters, as pictures of them: its clients never see one
PICTURES = {**{number: 0x2400 + number for number in range(32)}, 127: 0x2421}


def seen_as(server: SftpServer, name: bytes) -> bytes:
    """Return what clients of this server see a name as."""
    if isinstance(server, RcloneSftpServer):
        return name.decode("utf-8", "surrogateescape").translate(PICTURES).encode("utf-8", "surrogateescape")
    return name


def declared(server: SftpServer, name: bytes) -> str:
    """Return what becomes of a pulled name on this server."""
    outcome = PULLED[name]
    if outcome in (LINK, SPECIAL) and not server.lists_links:
        return UNLISTED
    if isinstance(server, RcloneSftpServer) and name.decode("utf-8", "replace") in CONTROLS:
        return TRANSFERRED
    return outcome


#: key -> what becomes of the object
PUSHED: dict[str, str] = {
    **dict.fromkeys(ODD, TRANSFERRED),
    **dict.fromkeys(CONTROLS, REFUSED),
    "nul\0byte": REFUSED,
    "..": REFUSED,
    ".": REFUSED,
    "../escape": REFUSED,
    "../../escape": REFUSED,
    "a/../../escape": REFUSED,
    "a/../escape": REFUSED,
    "a/..": REFUSED,
    "a/./escape": REFUSED,
    "./escape": REFUSED,
    "/escape": REFUSED,
    "/etc/passwd": REFUSED,
    "//escape": REFUSED,
    "a//escape": REFUSED,
    "x" * 256: REFUSED,
    "sub/" + "y" * 256 + "/z": REFUSED,
    ".0123456789abcdef.part": REFUSED,
    "sub/.fedcba9876543210.part": REFUSED,
    "/".join(["k" * 203] * 5) + "/" + "k" * 4: TRANSFERRED,  # 1,024 bytes
    ".done": TRANSFERRED,
    "sub/.done/x": TRANSFERRED,
    "folder/": MARKER,
    "folder/sub/": MARKER,
    "/": MARKER,
    "../": MARKER,
}
SIBLINGS = {"sibling 1": b"1", "sub/sibling 2": b"2", "z/sibling 3": b"3"}


@dataclass
class Seen:
    """What a run with all hostile names at once left behind."""

    server: SftpServer
    ran: Ran
    again: Ran
    objects: dict[str, bytes]
    outside: tuple[dict[str, bytes], dict[str, bytes]]
    """What lay around the directory in question, before and after."""

    def outcome_of(self, label: str) -> str:
        """Return what became of one source: exactly one thing."""
        found = [outcome for outcome in self.ran.outcomes if outcome.source == label]
        if not found:
            return UNLISTED
        assert len(found) == 1, found
        if found[0].status == "failed":
            assert found[0].reason, "a refusal says why"
            return REFUSED
        return found[0].reason if found[0].status == "skipped" else found[0].status


def _around(server: SftpServer) -> dict[str, bytes]:
    """Return all that lies beside the directory in question, two levels up."""
    top = server.root.parent
    mine = os.fsencode(server.root / "in")
    found = {}
    for directory, names, files in os.walk(os.fsencode(top)):
        if directory == mine:
            names.clear()
            continue
        for name in files:
            place = os.path.join(directory, name)  # noqa: PTH118 - names are bytes here
            with open(place, "rb") as file:  # noqa: PTH123
                found[os.fsdecode(place)] = file.read()
    return found


@pytest.fixture(scope="module", params=REAL_SERVERS, ids=lambda kind: kind.__name__)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    """Each real server, with a directory for this module's names and one beside it."""
    require(request.param.available(), request.param.missing())
    with request.param(tmp_path_factory.mktemp("names") / "sftp") as running:
        write_tree(running.root, {"escape": b"untouched", "beside/file": b"untouched"})
        yield running


@pytest.fixture(scope="module")
def pulled(server: SftpServer, _s3_of_the_session: S3Server) -> Seen:
    """A pull of all names at once, and a second one."""
    top = server.root / "in"
    write_tree(top, SIBLINGS)
    write_tree(server.root, {"outside": b"never to be read"})
    base = os.fsencode(top)
    for name, outcome in {**PULLED, REFUSED_DIRECTORY + b"/file": REFUSED}.items():
        place = os.path.join(base, name)  # noqa: PTH118 - names are bytes here
        _make(place, name, outcome)
    before = _around(server)
    bucket = _s3_of_the_session.new_bucket()
    ran = asyncio.run(run_pull(server, _s3_of_the_session, bucket, server.path("in")))
    again = asyncio.run(run_pull(server, _s3_of_the_session, bucket, server.path("in")))
    return Seen(server, ran, again, _s3_of_the_session.objects(bucket), (before, _around(server)))


def _make(place: bytes, name: bytes, outcome: str) -> None:
    os.makedirs(os.path.dirname(place), exist_ok=True)  # noqa: PTH103, PTH120
    links = {
        b"link to a file": b"../outside",
        b"link to a directory": b"../beside",
        b"link to nothing": b"nowhere",
        b"link to itself": b"link to itself",
        b"link to the parent": b"..",
    }
    if outcome == LINK:
        os.symlink(links[name], place)  # noqa: PTH211 - names are bytes here
    elif name == b"fifo":
        os.mkfifo(place)
    elif name == b"socket":
        # A socket's path is short: it is bound from within its directory.
        with socket.socket(socket.AF_UNIX) as bound:
            here = Path.cwd()
            os.chdir(os.path.dirname(place))  # noqa: PTH120
            try:
                bound.bind(name)
            finally:
                os.chdir(here)
    else:
        with open(place, "wb") as file:  # noqa: PTH123
            file.write(name)
        os.utime(place, (10**9, 10**9))


@pytest.fixture(scope="module")
def pushed(server: SftpServer, pulled: Seen, _s3_of_the_session: S3Server) -> Seen:
    """A push of all keys at once, and a second one; after the pull, in a directory made anew."""
    _remove_all(server.root / "in")
    (server.root / "in").mkdir()
    before = _around(server)
    bucket = _s3_of_the_session.new_bucket()
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for key, data in ({key: key.encode() for key in pushed_to(server)} | SIBLINGS).items():
        backend.put_object(bucket, key, data)  # behind the API: HTTP clients tidy up `..` in a path
    ran = asyncio.run(run_push(server, _s3_of_the_session, bucket, server.path("in")))
    again = asyncio.run(run_push(server, _s3_of_the_session, bucket, server.path("in")))
    return Seen(server, ran, again, _s3_of_the_session.objects(bucket), (before, _around(server)))


def pushed_to(server: SftpServer) -> dict[str, str]:
    """Return the declared outcomes of a push. To rclone's server two forms of one letter are one name: one of them."""
    left_out = {"e\u0301"} if isinstance(server, RcloneSftpServer) else set()
    return {key: outcome for key, outcome in PUSHED.items() if key not in left_out}


def _remove_all(top: Path) -> None:
    for directory, names, files in os.walk(os.fsencode(top), topdown=False):
        for name in files:
            os.unlink(os.path.join(directory, name))  # noqa: PTH108, PTH118
        for name in names:
            place = os.path.join(directory, name)  # noqa: PTH118
            os.unlink(place) if os.path.islink(place) else os.rmdir(place)  # noqa: PTH106, PTH108, PTH114
    top.rmdir()


class TestPull:
    """Names that a server can list."""

    @pytest.mark.parametrize("name", PULLED, ids=ascii)
    def test_a_name_has_its_declared_outcome(self, pulled: Seen, name: bytes) -> None:
        """Transferred: the key is the name, byte for byte. Refused or skipped: it stays, and nothing of it is in S3."""
        place = os.fsencode(pulled.server.root / "in")
        shown, outcome = seen_as(pulled.server, name), declared(pulled.server, name)
        path = os.fsencode(pulled.server.path("in")) + b"/" + shown
        assert pulled.outcome_of(target_of(pulled.server).uri_of(path)) == outcome
        source = os.path.join(place, name)  # noqa: PTH118
        key = shown.decode("utf-8", "replace")
        if outcome == TRANSFERRED:
            assert pulled.objects[key] == name
            assert not os.path.lexists(source)
        else:
            assert key not in pulled.objects
            assert os.path.lexists(source)

    def test_a_directory_may_have_such_a_name(self, pulled: Seen) -> None:
        """It is refused as a whole, and nothing in it is touched; rclone gives it another name."""
        if isinstance(pulled.server, RcloneSftpServer):
            assert pulled.objects[seen_as(pulled.server, REFUSED_DIRECTORY + b"/file").decode()]
            return
        path = os.fsencode(pulled.server.path("in")) + b"/" + REFUSED_DIRECTORY
        assert pulled.outcome_of(target_of(pulled.server).uri_of(path)) == REFUSED
        assert (pulled.server.root / "in" / os.fsdecode(REFUSED_DIRECTORY) / "file").is_file()

    def test_siblings_are_transferred(self, pulled: Seen) -> None:
        """No refusal keeps another file back; no key but the declared ones is made."""
        server = pulled.server
        expected = {seen_as(server, name).decode() for name in PULLED if declared(server, name) == TRANSFERRED}
        if isinstance(server, RcloneSftpServer):
            expected.add(seen_as(server, REFUSED_DIRECTORY + b"/file").decode())
        assert set(pulled.objects) == expected | set(SIBLINGS)
        for name, data in SIBLINGS.items():
            assert pulled.objects[name] == data

    def test_the_report_names_each_refusal_and_shows_no_escape_sequence(self, pulled: Seen) -> None:
        """As many failures as names that are refused, again at the next run; all printable."""
        refused = [name for name in PULLED if declared(pulled.server, name) == REFUSED]
        directories = 0 if isinstance(pulled.server, RcloneSftpServer) else 1
        for ran in (pulled.ran, pulled.again):
            assert ran.report is not None
            assert ran.report.failed == len(refused) + directories
            for failure in ran.report.failures:
                assert failure["source"].isprintable()
                assert failure["error"].isprintable()
        assert pulled.again.report is not None
        assert pulled.again.report.transferred == 0

    def test_nothing_is_touched_around_it(self, pulled: Seen) -> None:
        """What lies beside the pulled directory is as before."""
        before, after = pulled.outside
        assert after == before


class TestPush:
    """Keys that an object can have."""

    @pytest.mark.parametrize("key", PUSHED, ids=ascii)
    def test_a_key_has_its_declared_outcome(self, pushed: Seen, key: str) -> None:
        """Transferred: the path is the key, byte for byte. Refused or skipped: there is no such file."""
        if key not in pushed_to(pushed.server):
            return
        labels = {outcome.source.split("/", 3)[3]: outcome.source for outcome in pushed.ran.outcomes}
        assert pushed.outcome_of(labels[paths.printable(key)]) == PUSHED[key]
        if PUSHED[key] == TRANSFERRED:
            assert (pushed.server.root / "in" / key).read_bytes() == key.encode()

    def test_siblings_are_transferred_and_nothing_else_is_made(self, pushed: Seen) -> None:
        """The directory holds the declared files and the siblings, byte for byte, and nothing more."""
        outcomes = pushed_to(pushed.server)
        expected = {key: key.encode() for key, outcome in outcomes.items() if outcome == TRANSFERRED} | SIBLINGS
        assert read_tree(pushed.server.root / "in") == expected

    def test_the_report_names_each_refusal_and_shows_no_escape_sequence(self, pushed: Seen) -> None:
        """As many failures as keys that are refused, again at the next run; all printable."""
        refused = [key for key, outcome in pushed_to(pushed.server).items() if outcome == REFUSED]
        for ran in (pushed.ran, pushed.again):
            assert ran.report is not None
            assert ran.report.failed == len(refused)
            for failure in ran.report.failures:
                assert failure["source"].isprintable()
                assert failure["error"].isprintable()
        assert pushed.again.report is not None
        assert pushed.again.report.transferred == 0

    def test_nothing_is_touched_around_it(self, pushed: Seen) -> None:
        """What lies beside the target directory is as before: no key has left it."""
        before, after = pushed.outside
        assert after == before


class TestTheTable:
    """The tables are as long as they are said to be."""

    def test_there_are_at_least_60_hostile_names_each_way(self) -> None:
        """ "plain" does not count."""
        assert len(PULLED) > 60
        assert len(PUSHED) > 60


class TestGivenKeys:
    """Keys that come from XCom instead of a listing."""

    async def test_given_keys_are_judged_like_listed_ones(
        self, any_sftp_server: SftpServer, s3: S3Server, bucket: str
    ) -> None:
        """S3Refused, whether S3 has them or not; what S3 cannot have is not transferred; the good ones go."""
        put_objects(s3, bucket, {"good": b"good", "sub/good": b"also"})
        refused = [key for key, outcome in PUSHED.items() if outcome == REFUSED]
        keys = ["good", *refused, "lone \ud800 surrogate", "", "k" * 1025, "/".join(["k" * 200] * 6), "sub/good"]
        ran = await run_push(any_sftp_server, s3, bucket, s3_keys=keys)
        assert read_tree(any_sftp_server.root) == {"good": b"good", "sub/good": b"also"}
        assert {outcome.source.rpartition("/")[2] for outcome in ran.transferred} == {"good"}
        assert len(ran.transferred) == 2
        assert len(ran.failures) >= 1
        assert len(ran.outcomes) == len(keys)
        failed = [outcome for outcome in ran.outcomes if outcome.status == "failed"]
        assert len(failed) >= len(refused) + 2


class TestExclude:
    """What nobody wants to hear of."""

    async def test_exclude_silences_refused_names(self, any_sftp_server: SftpServer, s3: S3Server, bucket: str) -> None:
        """A refused name that is excluded is a skip: the run succeeds."""
        base = os.fsencode(any_sftp_server.root)
        refused = [n for n in PULLED if declared(any_sftp_server, n) == REFUSED and b"/" not in n]
        for name in [*refused, b"good"]:
            _make(os.path.join(base, name), name, TRANSFERRED)  # noqa: PTH118
        if not isinstance(any_sftp_server, RcloneSftpServer):
            refused.append(REFUSED_DIRECTORY)
            _make(os.path.join(base, REFUSED_DIRECTORY, b"file"), b"file", TRANSFERRED)  # noqa: PTH118
        exclude = [glob.escape(paths.text(name)) for name in refused]
        ran = await run_pull(any_sftp_server, s3, bucket, exclude=exclude)
        ran.done()
        assert s3.objects(bucket) == {"good": b"good"}
        assert ran.report is not None
        assert ran.report.skipped == {"excluded": len(refused)}

    async def test_exclude_silences_refused_keys(self, any_sftp_server: SftpServer, s3: S3Server, bucket: str) -> None:
        """A refused key that is excluded is a skip: the run succeeds."""
        refused = [key for key, outcome in PUSHED.items() if outcome == REFUSED]
        put_objects(s3, bucket, {"good": b"good"})
        exclude = sorted({glob.escape(key.rpartition("/")[2]) for key in refused} | {"sub/*/z"})
        ran = await run_push(any_sftp_server, s3, bucket, s3_keys=["good", *refused], exclude=exclude)
        ran.done()
        assert read_tree(any_sftp_server.root) == {"good": b"good"}
        assert ran.report is not None
        assert ran.report.skipped == {"excluded": len(refused)}


class TestDoneDirectory:
    """A ``.done`` that is none."""

    async def test_done_is_a_file(self, any_sftp_server: SftpServer, s3: S3Server, bucket: str) -> None:
        """Files beside it fail and stay, other directories go on, the file itself is not touched."""
        files = {"a": b"a", "ok/b": b"b"}
        write_tree(any_sftp_server.root, files | {".done": b"not a directory"})
        ran = await run_pull(any_sftp_server, s3, bucket)
        assert set(ran.failures) == {"a"}
        assert read_tree(any_sftp_server.root) == {".done": b"not a directory", "a": b"a", "ok/.done/b": b"b"}
        assert s3.objects(bucket) == {"ok/b": b"b"}

    async def test_done_is_a_link(self, any_sftp_server: SftpServer, s3: S3Server, bucket: str, tmp_path: Path) -> None:
        """A link that would lead renames and the purge elsewhere is never followed."""
        elsewhere = any_sftp_server.root / "elsewhere"
        write_tree(any_sftp_server.root, {"in/a": b"a", "in/ok/b": b"b", "elsewhere/old": b"theirs"})
        (any_sftp_server.root / "in/.done").symlink_to(elsewhere)
        ran = await run_pull(any_sftp_server, s3, bucket, any_sftp_server.path("in"), retention=1.0)
        if not any_sftp_server.lists_links:
            # The server hides the link from its clients and follows it: what its owner put there is left alone.
            assert read_tree(elsewhere) == {"old": b"theirs", "a": b"a"}
            assert s3.objects(bucket) == {"a": b"a", "ok/b": b"b"}
            return
        assert set(ran.failures) == {"a"}
        assert read_tree(elsewhere) == {"old": b"theirs"}
        assert (any_sftp_server.root / "in/a").read_bytes() == b"a"
        assert s3.objects(bucket) == {"ok/b": b"b"}

    async def test_a_directory_that_becomes_a_link_is_not_left(
        self, any_sftp_server: SftpServer, s3: S3Server, bucket: str
    ) -> None:
        """A link to a directory in the tree is skipped, however deep it is and wherever it leads."""
        write_tree(any_sftp_server.root, {"in/sub/a": b"a", "outside/secret": b"secret"})
        (any_sftp_server.root / "in/sub/up").symlink_to("..")
        (any_sftp_server.root / "in/sub/out").symlink_to(any_sftp_server.root / "outside")
        ran = await run_pull(any_sftp_server, s3, bucket, any_sftp_server.path("in"))
        ran.done()
        assert s3.objects(bucket) == {"sub/a": b"a"}
        assert ran.report is not None
        assert ran.report.skipped == ({"link": 2} if any_sftp_server.lists_links else {})


class TestClashes:
    """A key that is a file here and a directory there."""

    async def test_a_file_named_like_a_directory(self, any_sftp_server: SftpServer, s3: S3Server, bucket: str) -> None:
        """Of `a` and `a/b` one is there, whole; the other one fails by name; siblings go on."""
        objects = {"a": b"file", "a/b": b"inner", "sibling": b"s", "z/sibling": b"z"}
        put_objects(s3, bucket, objects)
        ran = await run_push(any_sftp_server, s3, bucket)
        tree = read_tree(any_sftp_server.root)
        assert tree.pop("sibling") == b"s"
        assert tree.pop("z/sibling") == b"z"
        if isinstance(any_sftp_server, RcloneSftpServer):
            # A rename that it refuses may cost it its view of the directory in the way, and what is written in it.
            tree = {name: data for name, data in tree.items() if name not in leftovers(any_sftp_server.root)}
            assert tree in ({}, {"a": b"file"}, {"a/b": b"inner"})
            assert {"a", "b"} >= set(ran.failures) > set()
            assert len(ran.transferred) == 2 + len(tree)
            return
        assert tree in ({"a": b"file"}, {"a/b": b"inner"})
        assert len(ran.failures) == 1
        assert len(ran.transferred) == 3

    async def test_a_file_stands_where_a_directory_is_wanted(
        self, any_sftp_server: SftpServer, s3: S3Server, bucket: str
    ) -> None:
        """The partner's file stays, the objects that would go beneath it fail."""
        write_tree(any_sftp_server.root, {"d": b"theirs"})
        put_objects(s3, bucket, {"d/x": b"x", "d/e/y": b"y", "sibling": b"s"})
        ran = await run_push(any_sftp_server, s3, bucket)
        assert read_tree(any_sftp_server.root) == {"d": b"theirs", "sibling": b"s"}
        assert set(ran.failures) == {"x", "y"}

    async def test_a_directory_stands_where_a_file_is_wanted(
        self, any_sftp_server: SftpServer, s3: S3Server, bucket: str
    ) -> None:
        """The partner's directory stays, even an empty one, and no temporary file is left."""
        (any_sftp_server.root / "d").mkdir()
        put_objects(s3, bucket, {"d": b"file", "sibling": b"s"})
        ran = await run_push(any_sftp_server, s3, bucket)
        assert read_tree(any_sftp_server.root) == {"sibling": b"s"}
        assert (any_sftp_server.root / "d").is_dir()
        assert set(ran.failures) == {"d"}


class GoesOnAndOn(Fault):
    """A directory listing of so many pages of 500 names that are not there, before the real one."""

    def __init__(self, pages: int) -> None:
        self.pages = pages

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "READDIR" and self.pages:
            self.pages -= 1
            attributes = SFTPAttrs(size=4, permissions=stat.S_IFREG | 0o644, atime=10**9, mtime=10**9)
            names = [b"%d-%d.gone" % (self.pages, number) for number in range(500)]
            return [SFTPName(name, name, attributes) for name in names], False
        return await proceed()


class TestLyingListing:
    """READDIR is not believed."""

    async def test_hostile_names_lead_nowhere(self, tmp_path: Path, s3: S3Server, bucket: str) -> None:
        """`../../escape`, `/etc/passwd`, `sub/inside`, "", NUL, escape sequences, twice: no request is made of them."""
        with AsyncsshServer(tmp_path / "sftp") as server:
            write_tree(server.root, {"in/real": b"real", "in/sub/inside": b"inside", "escape": b"never to be read"})
            server.fault = faulty.ListingIsHostile()
            ran = await run_pull(server, s3, bucket, "/in")
            assert s3.objects(bucket) == {"real": b"real", "sub/inside": b"inside"}
            assert (server.root / "escape").read_bytes() == b"never to be read"
            for outcome in ran.outcomes:
                assert outcome.source.isprintable()
                assert outcome.reason.isprintable()
            assert len(ran.transferred) == 2
            # "twice" and the name that is not UTF-8 are plain names of files that are not there: two directories.
            assert ran.report is not None
            assert ran.report.skipped == {"gone": 2}

    async def test_names_of_a_done_directory_are_not_believed_either(
        self, tmp_path: Path, s3: S3Server, bucket: str
    ) -> None:
        """The purge removes nothing outside the done directory."""
        with AsyncsshServer(tmp_path / "sftp") as server:
            kept = {"victim": b"v", "in/victim": b"v", "in/.done/sub/victim": b""}
            # A run that moves nothing, and in which something fails, purges nothing.
            write_tree(server.root, {"in/.done/old": b"old", "in/good": b"good", **kept})
            names = [b"../victim", b"../../victim", b"/victim", b"sub/victim", b"..", b""]
            server.fault = faulty.ListingIsHostile(names)
            await run_pull(server, s3, bucket, "/in", retention=1.0, include="good")
            assert read_tree(server.root) == {**kept, "in/.done/good": b"good"}

    async def test_100_000_entries(self, tmp_path: Path, s3: S3Server, bucket: str) -> None:
        """A directory of 100,000 names that are not there, and one that is."""
        with AsyncsshServer(tmp_path / "sftp") as server:
            write_tree(server.root, {"real": b"real"})
            server.fault = GoesOnAndOn(200)
            ran = await run_pull(server, s3, bucket, exclude="*.gone")
            ran.done()
            assert s3.objects(bucket) == {"real": b"real"}
            assert ran.report is not None
            assert ran.report.skipped == {"excluded": 100_000}
