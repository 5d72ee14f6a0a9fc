"""The ledger: a cache of what S3 has said of versions, which costs time when it is lost, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.model import ObjectEntry
from airflow_provider_sftp_s3.engine.s3 import ledger as ledger_module
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, Version
from airflow_provider_sftp_s3.engine.s3.ledger import Facts, Ledger
from airflow_provider_sftp_s3.engine.s3.marks import REASON, Naming
from tests.support.s3_server import S3Server

#: Whom the marks name.
DESTINATION = "partner"
DIGESTS = st.binary(min_size=16, max_size=16)


@pytest.mark.unit
@given(st.lists(DIGESTS, max_size=50), DIGESTS, st.integers(1, 3))
def test_each_record_is_found_and_nothing_else(digests: list[bytes], other: bytes, times: int) -> None:
    """Among as many as there are that begin alike, and all of a version that several destinations have."""
    digests = sorted(digests * times)
    records = ledger_module._Records(b"".join(digest + b"\0" * 17 for digest in digests))
    assert len(records) == len(digests)
    for digest in (*digests, other):
        assert records.find(digest) == [position for position, each in enumerate(digests) if each == digest]


@pytest.fixture
def worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two new facts are worth a ledger."""
    monkeypatch.setattr(ledger_module, "MIN_NEW_FACTS", 2)


def version(bucket: str, key: str, etag: str = '"1"', mtime: str | None = None, marked: bool = True) -> Version:
    mark = Naming(bucket, DESTINATION).metadata(key) if marked else {}
    metadata = {**mark, **({} if mtime is None else {"mtime": mtime})}
    return Version(etag, 3, metadata, {}, 0, "Sat, 31 Jan 2026 06:00:00 GMT")


def listed(key: str, etag: str = '"1"', modified: str = "2026-01-31T06:00:00") -> ObjectEntry:
    return ObjectEntry(key, 3, etag, modified)


async def written(opened: Bucket, prefix: str = "p/") -> None:
    """Write a ledger of three versions."""
    ledger = Ledger(opened, prefix, Naming(opened.name, DESTINATION))
    await ledger.load()
    ledger.note("p/a", version(opened.name, "p/a", mtime="1000"))
    ledger.note("p/b", version(opened.name, "p/b", marked=False, mtime="-5"))
    ledger.note("p/c", version(opened.name, "p/c", marked=False, mtime="0"))
    await ledger.save()


async def loaded(opened: Bucket, prefix: str = "p/") -> Ledger:
    ledger = Ledger(opened, prefix, Naming(opened.name, DESTINATION))
    await ledger.load()
    return ledger


@pytest.mark.integration
@pytest.mark.usefixtures("worth_it")
async def test_what_was_noted_is_known_to_the_next_run(opened: Bucket) -> None:
    """Of that very version: of another ETag or time nothing is known."""
    await written(opened)
    ledger = await loaded(opened)
    assert ledger
    assert ledger.find(listed("p/a")) == Facts(REASON, 1000)
    assert ledger.find(listed("p/b")) == Facts(None, None)  # what is no time in seconds is not known
    assert ledger.find(listed("p/c")) == Facts(None, 0)
    assert [ledger.reason_of(listed(key)) for key in ("p/a", "p/b", "p/d")] == [REASON, None, None]
    assert ledger.find(listed("p/a", '"2"')) is None
    assert ledger.find(listed("p/a", modified="2026-01-31T06:00:01")) is None


@pytest.mark.integration
@pytest.mark.usefixtures("worth_it")
async def test_what_a_whole_listing_has_not_shown_is_forgotten(opened: Bucket) -> None:
    """After one that broke off it is kept."""
    await written(opened)
    for complete in (False, True):
        ledger = await loaded(opened)
        assert ledger.find(listed("p/a"))
        for key in ("p/x", "p/y"):
            ledger.note(key, version(opened.name, key))
        if complete:
            ledger.complete()
        await ledger.save()
        again = await loaded(opened)
        assert again.find(listed("p/a"))
        assert (again.find(listed("p/b")) is None) == complete


@pytest.mark.integration
async def test_a_few_facts_are_not_worth_an_object(s3: S3Server, opened: Bucket) -> None:
    """A small prefix has no ledger."""
    await written(opened)
    assert s3.objects(opened.name) == {}
    assert not await loaded(opened)


@pytest.mark.integration
@pytest.mark.usefixtures("worth_it")
@pytest.mark.parametrize("garbled", [b"", b"short", b"x" * 32, b"\0" * 34])
async def test_a_ledger_that_is_garbled_is_written_anew(s3: S3Server, opened: Bucket, garbled: bytes) -> None:
    """As long as it begins as ours do; whatever else has its name is left alone."""
    key = f"p/{paths.LEDGER}"
    s3.client().put_object(Bucket=opened.name, Key=key, Body=ledger_module._MAGIC + garbled)
    assert not await loaded(opened)
    await written(opened)
    assert (await loaded(opened)).find(listed("p/a"))
    s3.client().put_object(Bucket=opened.name, Key=key, Body=b"somebody's" + garbled)
    assert not await loaded(opened)
    await written(opened)
    assert s3.objects(opened.name) == {key: b"somebody's" + garbled}


@pytest.mark.integration
@pytest.mark.usefixtures("worth_it")
async def test_one_that_may_not_be_read_or_written_costs_time_only(s3: S3Server, opened: Bucket) -> None:
    """It raises nothing."""
    s3.before(lambda request: (403, "AccessDenied"))
    await written(opened)
    assert not await loaded(opened)
