"""
What a transfer needs of a server, on every real one that can be had: ``make servers``.

What one of them cannot do is declared in :data:`~tests.servers.tried.TRIED`, with its reason.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import TransferError
from airflow_provider_sftp_s3.engine.options import MiB
from tests.conftest import require
from tests.faults.harness import (
    Ran,
    done_path,
    leftovers,
    make_old,
    marked_keys,
    put_objects,
    read_tree,
    run_pull,
    run_push,
    write_tree,
)
from tests.servers.tried import TRIED, Feature, Tried
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import SftpServer

pytestmark = pytest.mark.servers

FILES = {
    "empty": b"",
    "one": b"1",
    "Grüße aus Köln.txt": os.urandom(70_000),
    "📦": b"emoji",
    "blanks and 'quotes' \"too\"": b"quoted",
    "l" * 251 + ".txt": b"a name of 255 bytes",
    "/".join("123456789") + "/*?[a]{b};$c&|<>#%2F+~^": b"deep, and a shell's words",
    "sub/two MiB": os.urandom(2 * MiB + 1),
    "sub/deep/er/thirty MiB": os.urandom(30 * MiB + 7),
    **{f"many/{number:03}": b"%d" % number for number in range(150)},  # more than one READDIR gives, or go at once
}


@pytest.fixture(params=TRIED, ids=lambda tried: tried.kind.__name__)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SftpServer]:
    """Each server in turn; one that is not installed is skipped, or fails if REQUIRE_ALL_SERVERS=1."""
    kind = request.param.kind
    require(kind.available(), kind.missing())
    with kind(tmp_path / "sftp") as started:
        (started.root / "in").mkdir()
        (started.root / "out").mkdir()
        yield started


def tried(server: SftpServer) -> Tried:
    return next(each for each in TRIED if type(server) is each.kind)


def needs(server: SftpServer, feature: Feature) -> None:
    """End the test where the server is declared to lack a feature."""
    if reason := tried(server).gaps.get(feature):
        pytest.xfail(reason)


def files_of(server: SftpServer) -> dict[str, bytes]:
    """Return the files that a server is given: those whose names it takes."""
    return {name: data for name, data in FILES.items() if name != "📦" or "emoji" not in tried(server).gaps}


async def pulled(server: SftpServer, s3: S3Server, bucket: str, **settings: Any) -> Ran:
    """Pull ``in``; all ages are taken unless `min_age` is given."""
    return await run_pull(server, s3, bucket, server.path("in"), **_with_login(server, settings))


async def pushed(server: SftpServer, s3: S3Server, bucket: str, **settings: Any) -> Ran:
    """Push all to ``out``."""
    return await run_push(server, s3, bucket, server.path("out"), **_with_login(server, settings))


def _with_login(server: SftpServer, settings: Mapping[str, Any]) -> dict[str, Any]:
    login = {"password": server.password} | ({"private_key": None} if server.password else {})
    return {"login": login, **settings}


async def test_pull_and_move(server: SftpServer, s3: S3Server, bucket: str) -> None:
    """A tree arrives byte for byte and moves into ``.done``, with ``min_age`` too; then there is nothing to do."""
    files = files_of(server)
    write_tree(server.root / "in", files)
    ran = await pulled(server, s3, bucket, min_age=30.0)
    assert ran.done().transferred == len(files)
    assert s3.objects(bucket) == files
    assert read_tree(server.root / "in") == {done_path(name): data for name, data in files.items()}
    again = (await pulled(server, s3, bucket, min_age=30.0)).done()
    assert (again.transferred, dict(again.skipped)) == (0, {})


async def test_pull_and_move_over_older_ones(server: SftpServer, s3: S3Server, bucket: str) -> None:
    """A file of the same name takes the place of the one that was pulled before."""
    write_tree(server.root / "in", {"a": b"new", ".done/a": b"old", "sub/b": b"newer", "sub/.done/b": b"old"})
    assert (await pulled(server, s3, bucket)).done().transferred == 2
    assert read_tree(server.root / "in") == {".done/a": b"new", "sub/.done/b": b"newer"}
    assert leftovers(server.root) == []


async def test_pull_and_delete(server: SftpServer, s3: S3Server, bucket: str) -> None:
    """Nothing is left of the files, nor of the done directories."""
    files = files_of(server)
    write_tree(server.root / "in", files)
    assert (await pulled(server, s3, bucket, after_transfer="delete")).done().transferred == len(files)
    assert s3.objects(bucket) == files
    assert read_tree(server.root / "in") == {}
    assert not list((server.root / "in").rglob(".done"))


async def test_pull_and_keep(server: SftpServer, s3: S3Server, bucket: str) -> None:
    """The second run pulls what is new, and no more."""
    files = files_of(server)
    write_tree(server.root / "in", files)
    assert (await pulled(server, s3, bucket, after_transfer="keep")).done().transferred == len(files)
    write_tree(server.root / "in", {"new": b"new"})
    again = (await pulled(server, s3, bucket, after_transfer="keep")).done()
    assert (again.transferred, again.skipped["unchanged"]) == (1, len(files))
    assert s3.objects(bucket) == {**files, "new": b"new"}
    assert read_tree(server.root / "in") == {**files, "new": b"new"}


async def test_days(server: SftpServer, s3: S3Server, bucket: str) -> None:
    """The directory of a day is made where neither it is there nor that which it is in, and found where both are."""
    for _ in range(2):
        write_tree(server.root / "in", {"a": b"a", "sub/b": b"b"}, age=400 * 86_400)
        assert (await pulled(server, s3, bucket, done_dir=".done/{date}")).done().transferred == 2
    names = set(read_tree(server.root / "in"))
    assert {re.sub(r"\d{4}-\d\d-\d\d", "day", name) for name in names} == {".done/day/a", "sub/.done/day/b"}


async def test_retention(server: SftpServer, s3: S3Server, bucket: str) -> None:
    """A file of 400 days stays for `retention` after its transfer, and goes then."""
    write_tree(server.root / "in", {"a": b"a"}, age=400 * 86_400)
    (await pulled(server, s3, bucket, retention=3600.0)).done()
    assert (await pulled(server, s3, bucket, retention=3600.0)).done().purged == 0
    done = server.root / "in" / ".done" / "a"
    assert done.exists()
    needs(server, "retention")
    assert time.time() - done.stat().st_mtime < 600
    make_old(done, 7200)
    assert (await pulled(server, s3, bucket, retention=3600.0)).done().purged == 1
    assert not done.exists()


async def test_push(server: SftpServer, s3: S3Server, bucket: str) -> None:
    """All arrives byte for byte, over older files too, and is marked; nothing of ours is left, and nothing to do."""
    files = files_of(server)
    put_objects(s3, bucket, files)
    write_tree(server.root / "out", {"one": b"an older one", "of theirs": b"theirs"})
    assert (await pushed(server, s3, bucket)).done().transferred == len(files)
    assert read_tree(server.root / "out") == {**files, "of theirs": b"theirs"}
    assert marked_keys(bucket) == set(files)
    assert (await pushed(server, s3, bucket)).done().transferred == 0


@pytest.mark.parametrize("after_transfer", ["move", "delete"])
async def test_a_file_that_is_replaced_meanwhile(
    server: SftpServer, s3: S3Server, bucket: str, after_transfer: str
) -> None:
    """While S3 takes it, a newer one gets its name: S3 has that in the end, whatever it is called at the server."""
    place = server.root / "in" / "victim"
    write_tree(server.root / "in", {"victim": b"the old one", "other": b"other"})

    @s3.before
    def replace(request: S3Request) -> None:
        if request.method == "PUT" and request.key == "victim" and place.exists() and place.read_bytes() != b"newer":
            fresh = place.with_name(".fresh")
            fresh.write_bytes(b"newer")
            fresh.replace(place)

    await pulled(server, s3, bucket, after_transfer=after_transfer)
    (await pulled(server, s3, bucket, after_transfer=after_transfer)).done()
    assert s3.objects(bucket) == {"victim": b"newer", "other": b"other"}
    left = {".done/victim": b"newer", ".done/other": b"other"} if after_transfer == "move" else {}
    assert read_tree(server.root / "in") == left


@pytest.mark.parametrize("pulls", [True, False], ids=["pull", "push"])
async def test_retry(server: SftpServer, s3: S3Server, bucket: str, pulls: bool) -> None:
    """S3 refuses some files; the next run brings just those."""
    names = {name: data for name, data in files_of(server).items() if not name.startswith("many")}
    refused = set(names) - {"one"}

    @s3.before
    def refuse(request: S3Request) -> tuple[int, str] | None:
        asked = ("PUT", "POST") if pulls else ("GET",)
        return (403, "AccessDenied") if request.key in refused and request.method in asked else None

    if pulls:
        write_tree(server.root / "in", names)
        run = pulled
    else:
        denied, refused = refused, set()
        put_objects(s3, bucket, names)
        refused |= denied
        run = pushed
    ran = await run(server, s3, bucket)
    assert isinstance(ran.error, TransferError)
    assert len(ran.failures) == len(names) - 1
    refused.clear()
    assert (await run(server, s3, bucket)).done().transferred == len(names) - 1
    assert (s3.objects(bucket) if pulls else read_tree(server.root / "out")) == names
