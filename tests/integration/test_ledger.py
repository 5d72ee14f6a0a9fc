"""The ledger: what a run had to ask for, the next one finds in the listing, and never what is no more true."""

from __future__ import annotations

from pathlib import Path

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
    """Return how many HEADs and GETs of objects there were since it was asked last; the ledger's own do not count."""
    assert isinstance(engine.s3, S3Server)
    asked = [
        request
        for request in engine.s3.requests
        if request.operation in ("HeadObject", "GetObject") and paths.LEDGER not in request.key
    ]
    engine.s3.requests.clear()
    return len(asked)


async def test_a_push_looks_once_at_what_is_synced(engine: Engine) -> None:
    """And then at what is new, overwritten or marked since, only."""
    for key in KEYS:
        put(engine, key, b"pushed")
    looks(engine)
    report = await engine.push(s3_prefix="p")
    assert report.skipped == {"synced": 20}
    assert looks(engine) == 20
    report = await engine.push(s3_prefix="p")
    assert report.skipped == {"synced": 20, "ledger": 1}
    assert looks(engine) == 0
    put(engine, "p/00", b"overwritten", marked=False)
    put(engine, "p/01", b"pushed by another run")
    put(engine, "p/new", b"new", marked=False)
    engine.s3.client().delete_object(Bucket=engine.bucket, Key="p/02")
    looks(engine)
    report = await engine.push(s3_prefix="p")
    assert (report.transferred, report.skipped) == (2, {"synced": 18, "ledger": 1})
    assert sorted(path.name for path in (engine.sftp.root / "out").iterdir()) == ["00", "new"]
    assert looks(engine) == 3
    assert paths.LEDGER not in [path.name for path in (engine.sftp.root / "out").iterdir()]


async def test_a_listing_of_unsynced_objects_reads_and_writes_it(engine: Engine) -> None:
    for key in KEYS:
        put(engine, key, b"pushed")
    put(engine, "p/new", b"new", marked=False)
    for expected in (21, 1):
        looks(engine)
        async with engine.opened_bucket() as bucket:
            ledger = Ledger(bucket, "p/", marks.Naming(engine.bucket, DESTINATION))
            await ledger.load()
            settings = PushSettings(sftp_path="/", s3_prefix="p")
            assert [entry.key async for entry in unsynced(settings, bucket, engine.options, ledger)] == ["p/new"]
            await ledger.save()
        assert looks(engine) == expected


async def test_a_pull_that_keeps_looks_once_at_what_s3_has(engine: Engine) -> None:
    """A file that has changed is seen, and so is an object that has."""
    for number in range(20):
        (engine.sftp.root / f"in/{number:02}").write_bytes(b"contents")
    assert (await engine.pull(after_transfer="keep", s3_prefix="p")).transferred == 20
    assert (await engine.pull(after_transfer="keep", s3_prefix="p")).skipped == {"unchanged": 20}
    looks(engine)
    assert (await engine.pull(after_transfer="keep", s3_prefix="p")).skipped == {"unchanged": 20}
    assert looks(engine) == 0
    (engine.sftp.root / "in/00").write_bytes(b"longer contents")
    engine.s3.client().delete_object(Bucket=engine.bucket, Key="p/01")
    put(engine, "p/02", b"somebody else's")
    report = await engine.pull(after_transfer="keep", s3_prefix="p")
    assert (report.transferred, report.skipped) == (3, {"unchanged": 17})
    assert engine.s3.objects(engine.bucket)["p/02"] == b"contents"


@pytest.mark.parametrize("garbled", [b"", b"x", ledger_module._MAGIC + b"\0" * 32, ledger_module._MAGIC[:-1]])
async def test_a_garbled_ledger_costs_time_only(engine: Engine, garbled: bytes) -> None:
    for key in KEYS:
        put(engine, key, b"pushed")
    put(engine, f"p/{paths.LEDGER}", garbled, marked=False)
    looks(engine)
    assert (await engine.push(s3_prefix="p")).skipped == {"synced": 20, "ledger": 1}
    assert looks(engine) == 20


async def test_an_object_that_is_none_of_ours_is_not_overwritten(engine: Engine) -> None:
    for key in KEYS:
        put(engine, key, b"pushed")
    put(engine, f"p/{paths.LEDGER}", b"a user's", marked=False)
    await engine.push(s3_prefix="p")
    assert engine.s3.objects(engine.bucket)[f"p/{paths.LEDGER}"] == b"a user's"


async def test_a_file_of_its_name_is_refused(engine: Engine, tmp_path: Path) -> None:
    """It would be taken for the ledger, and overwritten by it."""
    from airflow_provider_sftp_s3.engine.errors import TransferError

    (engine.sftp.root / "in" / paths.LEDGER).write_bytes(b"a partner's")
    with pytest.raises(TransferError, match="uses objects of that name itself"):
        await engine.pull()
    assert (engine.sftp.root / "in" / paths.LEDGER).read_bytes() == b"a partner's"


async def test_small_prefixes_have_none(engine: Engine) -> None:
    for key in KEYS[:9]:
        put(engine, key, b"pushed")
    await engine.push(s3_prefix="p")
    assert sorted(engine.s3.objects(engine.bucket)) == KEYS[:9]
