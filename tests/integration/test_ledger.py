"""The ledger: what a run had to ask for, the next one finds in the listing, and never what is no more true."""

from __future__ import annotations

import contextlib
import gzip
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.s3 import ledger as ledger_module
from airflow_provider_sftp_s3.engine.s3 import marks
from airflow_provider_sftp_s3.engine.s3.ledger import Ledger
from airflow_provider_sftp_s3.engine.settings import DESTINATION, PushSettings
from airflow_provider_sftp_s3.engine.unsynced import unsynced
from tests.support.engine import Engine
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

KEYS = [f"p/{number:02}" for number in range(20)]
SEGMENT = f"p/{paths.STATE}/ledger/0"
KINDS = pytest.mark.parametrize("mark", ["metadata", "tag"])


@pytest.fixture
def engine(sftp_server: AsyncsshServer, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A ledger is worth it from ten objects on."""
    monkeypatch.setattr(ledger_module, "MIN_NEW_FACTS", 10)
    for directory in ("in", "out"):
        (sftp_server.root / directory).mkdir()
    return Engine(sftp_server, s3, bucket)


def put(engine: Engine, key: str, body: bytes, marked: bool = True) -> None:
    metadata = marks.Naming(engine.bucket, DESTINATION).metadata(key) if marked else {}
    engine.s3.client().put_object(Bucket=engine.bucket, Key=key, Body=body, Metadata=metadata)


def looks(engine: Engine) -> int:
    """Return how many requests about objects there were since it was asked last; the ledger's own do not count."""
    assert isinstance(engine.s3, S3Server)
    asked = [request for request in engine.s3.requests if request.key and not paths.is_state(request.key)]
    engine.s3.requests.clear()
    return len(asked)


def written(engine: Engine) -> list[str]:
    """Return what is written of the ledger while nothing forgets the requests."""
    assert isinstance(engine.s3, S3Server)
    return [each.key for each in engine.s3.requests if each.operation == "PutObject" and paths.is_state(each.key)]


def at_the_partner(engine: Engine) -> list[str]:
    return sorted(path.name for path in (engine.sftp.root / "out").iterdir())


async def listed(engine: Engine, keys: list[str] | None = None) -> list[str]:
    """Return what the operators' listing finds, which writes the ledger where it finds something."""
    settings = PushSettings(sftp_path="/", s3_prefix="p", s3_keys=keys)
    async with engine.opened_bucket() as bucket:
        with contextlib.closing(Ledger(bucket, "p/")) as ledger:
            if keys is None:
                await ledger.load()
            found = [entry.key async for entry in unsynced(settings, bucket, engine.options, ledger)]
            if found:
                await ledger.save()
    return found


async def test_a_push_looks_once_at_what_is_synced(engine: Engine) -> None:
    """And then at what is new, overwritten or marked since, only."""
    for key in KEYS:
        put(engine, key, b"pushed")
    put(engine, "p/first", b"new", marked=False)
    await engine.push(s3_prefix="p")
    looks(engine)
    report = await engine.push(s3_prefix="p")
    assert report.skipped == {"synced": 21, "ours": 1}
    assert looks(engine) == 0
    put(engine, "p/00", b"overwritten", marked=False)
    put(engine, "p/01", b"pushed by another run")
    put(engine, "p/new", b"new", marked=False)
    engine.s3.client().delete_object(Bucket=engine.bucket, Key="p/02")
    looks(engine)
    report = await engine.push(s3_prefix="p")
    assert (report.transferred, report.skipped) == (2, {"synced": 19, "ours": 1})
    assert at_the_partner(engine) == ["00", "first", "new"]
    assert looks(engine) == 3 + 1 + 2  # one is asked for its tags, and two are marked


@KINDS
async def test_what_was_delivered_is_not_asked_for_again(engine: Engine, mark: Any) -> None:
    """What S3 has said of the mark is enough."""
    for key in KEYS:
        put(engine, key, b"new", marked=False)
    assert (await engine.push(s3_prefix="p", mark=mark)).transferred == 20
    looks(engine)
    assert (await engine.push(s3_prefix="p", mark=mark)).skipped == {"synced": 20, "ours": 1}
    assert await listed(engine) == []
    assert looks(engine) == 0


@pytest.mark.slow
@pytest.mark.parametrize("answer", [b"<CopyObjectResult/>", b"<CopyObjectResult>", b""])
async def test_a_store_that_does_not_say_what_a_mark_has_made_is_asked(engine: Engine, answer: bytes) -> None:
    """By the next run. The mark counts."""
    assert isinstance(engine.s3, S3Server)
    engine.s3.rewrite(lambda request, body: answer if request.operation == "CopyObject" else body)
    for key in KEYS:
        put(engine, key, b"new", marked=False)
    assert (await engine.push(s3_prefix="p", mark="metadata")).transferred == 20
    looks(engine)
    assert (await engine.push(s3_prefix="p", mark="metadata")).skipped == {"synced": 20}
    assert looks(engine) == 20


async def test_only_a_run_that_has_moved_something_writes(engine: Engine) -> None:
    """Its own event, and a run that such an event starts, lead to no other one. Written is one object."""
    for key in KEYS:
        put(engine, key, b"pushed")
    await engine.push(s3_prefix="p")
    await engine.push(s3_prefix="p", dry_run=True)
    assert await listed(engine) == []
    assert written(engine) == []
    put(engine, "p/new", b"new", marked=False)
    await engine.push(s3_prefix="p", dry_run=True)
    assert written(engine) == []
    assert (await engine.push(s3_prefix="p")).transferred == 1
    assert written(engine) == [SEGMENT]
    assert await listed(engine, [SEGMENT]) == []
    assert (await engine.push(s3_prefix="p")).transferred == 0
    assert (await engine.push(s3_prefix="p", s3_keys=[SEGMENT])).skipped == {"ours": 1}
    assert written(engine) == [SEGMENT]
    assert at_the_partner(engine) == ["new"]


async def test_a_listing_of_unsynced_objects_reads_and_writes_it(engine: Engine) -> None:
    for key in KEYS:
        put(engine, key, b"pushed")
    put(engine, "p/new", b"new", marked=False)
    for expected in (22, 2):  # what is not marked may have a tag
        looks(engine)
        assert await listed(engine) == ["p/new"]
        assert looks(engine) == expected


async def test_a_tag_that_is_taken_away_is_seen_where_keys_are_given(engine: Engine) -> None:
    """Not by the ledger: the version is the same, and was delivered. A new version is sent in any case."""
    for key in KEYS:
        put(engine, key, b"new", marked=False)
    await engine.push(s3_prefix="p", mark="tag")
    for key in KEYS[:2]:
        engine.s3.client().delete_object_tagging(Bucket=engine.bucket, Key=key)
    assert (await engine.push(s3_prefix="p", mark="tag")).transferred == 0
    assert (await engine.push(s3_prefix="p", mark="tag", s3_keys=[KEYS[0]])).transferred == 1
    put(engine, KEYS[1], b"newer", marked=False)
    assert (await engine.push(s3_prefix="p", mark="tag")).transferred == 1


async def test_a_pull_that_keeps_looks_once_at_what_s3_has(engine: Engine) -> None:
    """A file that has changed is seen, and so is an object that has."""
    for number in range(20):
        (engine.sftp.root / f"in/{number:02}").write_bytes(b"contents")
    assert (await engine.pull(after_transfer="keep", s3_prefix="p")).transferred == 20
    assert (await engine.pull(after_transfer="keep", s3_prefix="p")).skipped == {"unchanged": 20}
    looks(engine)
    assert (await engine.pull(after_transfer="keep", s3_prefix="p")).skipped == {"unchanged": 20}
    assert looks(engine) == 10, "those that were pulled before it was clear that there would be a ledger"
    assert written(engine) == []
    (engine.sftp.root / "in/00").write_bytes(b"longer contents")
    engine.s3.client().delete_object(Bucket=engine.bucket, Key="p/18")
    put(engine, "p/19", b"somebody else's")
    report = await engine.pull(after_transfer="keep", s3_prefix="p")
    assert (report.transferred, report.skipped) == (3, {"unchanged": 17})
    assert engine.s3.objects(engine.bucket)["p/19"] == b"contents"
    looks(engine)
    assert (await engine.pull(after_transfer="keep", s3_prefix="p")).skipped == {"unchanged": 20}
    assert looks(engine) == 0


@pytest.mark.parametrize("name", ["0", "index"])
async def test_a_garbled_ledger_costs_time_only(engine: Engine, name: str) -> None:
    for key in KEYS:
        put(engine, key, b"pushed")
    put(engine, f"p/{paths.STATE}/ledger/{name}", gzip.compress(b"something else"), marked=False)
    looks(engine)
    assert (await engine.push(s3_prefix="p")).skipped == {"synced": 20, "ours": 1}
    assert looks(engine) == 20


async def test_an_object_that_is_none_of_ours_is_not_removed(engine: Engine) -> None:
    """Under the name that earlier versions had for a ledger; theirs is."""
    for key in KEYS:
        put(engine, key, b"new", marked=False)
    put(engine, f"p/{paths.LEDGER}", b"a user's", marked=False)
    await engine.push(s3_prefix="p")
    assert engine.s3.objects(engine.bucket)[f"p/{paths.LEDGER}"] == b"a user's"
    put(engine, f"p/{paths.LEDGER}", b"airflow-provider-sftp-s3 ledger 2\n", marked=False)
    engine.s3.client().delete_object(Bucket=engine.bucket, Key=SEGMENT)
    put(engine, "p/new", b"new", marked=False)
    await engine.push(s3_prefix="p")
    assert f"p/{paths.LEDGER}" not in engine.s3.objects(engine.bucket)
    assert SEGMENT in engine.s3.objects(engine.bucket)


@pytest.mark.parametrize("name", [paths.LEDGER, paths.STATE])
async def test_a_file_of_its_name_is_refused(engine: Engine, tmp_path: Path, name: str) -> None:
    """It would be taken for the ledger, and overwritten by it."""
    from airflow_provider_sftp_s3.engine.errors import TransferError

    (engine.sftp.root / "in" / name).write_bytes(b"a partner's")
    with pytest.raises(TransferError, match="uses objects of that name itself"):
        await engine.pull()
    assert (engine.sftp.root / "in" / name).read_bytes() == b"a partner's"


async def test_small_prefixes_have_none(engine: Engine) -> None:
    for key in KEYS[:9]:
        put(engine, key, b"new", marked=False)
    assert (await engine.push(s3_prefix="p")).transferred == 9
    assert sorted(engine.s3.objects(engine.bucket)) == KEYS[:9]
