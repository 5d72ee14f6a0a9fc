"""What S3 has of files that stay in their place: certain, or the file is pulled again."""

from __future__ import annotations

import random
import sys
from collections.abc import AsyncIterator

import pytest

from airflow_provider_sftp_s3.engine.kept import SIZE, Fingerprints, KeptFiles
from airflow_provider_sftp_s3.engine.keys import Keys
from airflow_provider_sftp_s3.engine.model import Outcome, SourceFile, Stat
from airflow_provider_sftp_s3.engine.s3 import ledger
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.settings import PullSettings
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _one_fact_is_worth_a_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MIN_NEW_FACTS", 1)


def put(s3: S3Server, opened: Bucket, key: str, body: bytes, mtime: int | None) -> None:
    metadata = {} if mtime is None else {"mtime": str(mtime)}
    s3.client().put_object(Bucket=opened.name, Key=key, Body=body, Metadata=metadata)


def file(name: bytes, size: int | None, mtime: int | None) -> SourceFile:
    return SourceFile(b"/in/" + name, name, Stat(size, mtime), "absent")


async def begun(opened: Bucket) -> KeptFiles:
    kept = KeptFiles(opened, "p/", Keys(PullSettings(sftp_path="/"), "p/", opened))
    await kept.begin()
    return kept


async def ended(kept: KeptFiles) -> None:
    """End a run that has pulled a file, which is not there any more."""
    await kept.pulled("p/gone")
    await kept.end()
    kept.close()


async def test_s3_has_a_file_of_the_same_size_and_mtime(s3: S3Server, opened: Bucket) -> None:
    """And not where one of them is another, or is not known on either side."""
    put(s3, opened, "p/a", b"123", 7)
    put(s3, opened, "p/b", b"123", None)
    kept = await begun(opened)
    assert await kept.has("p/a", Stat(3, 7))
    others = [Stat(4, 7), Stat(3, 8), Stat(None, 7), Stat(3, None), Stat()]
    assert [await kept.has("p/a", stat) for stat in others] == [False] * 5
    assert not await kept.has("p/b", Stat(3, None))
    assert not await kept.has("p/gone", Stat(3, 7))


async def test_the_next_run_knows_it_by_the_listing(s3: S3Server, opened: Bucket) -> None:
    """No object is asked for; what has changed on either side since is not taken for the same."""
    for key in ("p/a", "p/b"):
        put(s3, opened, key, b"123", 7)
    first = await begun(opened)
    assert not await first.has_by_ledger(file(b"a", 3, 7))
    assert await first.has("p/a", Stat(3, 7))
    assert await first.has("p/b", Stat(3, 7))
    await ended(first)
    put(s3, opened, "p/b", b"456", 7)
    s3.requests.clear()
    second = await begun(opened)
    assert await second.has_by_ledger(file(b"a", 3, 7))
    files = [file(b"a", 4, 7), file(b"a", 3, 8), file(b"a", None, 7), file(b"a", 3, None), file(b"b", 3, 7)]
    assert [await second.has_by_ledger(each) for each in files] == [False] * 5
    assert not [request for request in s3.requests if request.operation == "HeadObject"]
    assert not await second.has_by_ledger(file(b"\xff", 3, 7)), "a name that is no key is the transfer's to refuse"


async def test_where_nothing_may_be_listed_nothing_is_known(s3: S3Server, opened: Bucket) -> None:
    """S3 is asked for each object then, and no run ends over it."""
    put(s3, opened, "p/a", b"123", 7)
    first = await begun(opened)
    await first.has("p/a", Stat(3, 7))
    await ended(first)
    s3.before(lambda request: (403, "AccessDenied") if request.operation == "ListObjectsV2" else None)
    second = await begun(opened)
    assert not await second.has_by_ledger(file(b"a", 3, 7))
    assert await second.has("p/a", Stat(3, 7))


@pytest.mark.parametrize("has_ledger", [False, True])
async def test_the_walk_goes_ahead_and_loses_nothing(s3: S3Server, opened: Bucket, has_ledger: bool) -> None:
    """Every file and every outcome, in order, whether S3 is still being listed or not."""
    if has_ledger:
        put(s3, opened, "p/a", b"123", 7)
        first = await begun(opened)
        await first.has("p/a", Stat(3, 7))
        await ended(first)
    found: list[SourceFile | Outcome] = [file(b"a", 1, 1), Outcome("x", "skipped", reason="young"), file(b"b", 1, 1)]

    async def walk() -> AsyncIterator[SourceFile | Outcome]:
        for item in found:
            yield item

    assert [item async for item in (await begun(opened)).ahead(walk())] == found


def test_fingerprints_are_those_that_were_added() -> None:
    """And none that one's end and the next one's beginning happen to be: of such a file nothing would be pulled."""
    chance = random.Random(3)
    made = [bytes(chance.choices(b"ab", k=SIZE)) for _ in range(4000)]
    added, others = set(made[:2000]), set(made[2000:])
    known = Fingerprints()
    for each in [*added, *list(added)[:9]]:
        known.add(each)
    between = {b"".join(known._alike.values())[at : at + SIZE] for at in range(len(added) * SIZE)}
    assert len(between - added) > 10_000
    assert all(each in known for each in added)
    assert not [each for each in (between | others) - added if each in known]


def test_fingerprints_take_little_memory() -> None:
    """A tree of ten million files is no reason for a larger worker."""
    count, known = 500_000, Fingerprints()
    everything = random.Random(3).randbytes(count * SIZE)
    for at in range(0, len(everything), SIZE):
        known.add(everything[at : at + SIZE])
    inside = known._alike
    taken = sys.getsizeof(inside) + sum(sys.getsizeof(key) + sys.getsizeof(value) for key, value in inside.items())
    assert taken / count < 45
