"""The ledger: a cache of what S3 has said of versions, which costs time when it is lost, and nothing else."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import StorageError
from airflow_provider_sftp_s3.engine.model import ObjectEntry
from airflow_provider_sftp_s3.engine.s3 import ledger as ledger_module
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, Version
from airflow_provider_sftp_s3.engine.s3.ledger import Fact, Ledger
from tests.support.s3_server import S3Server

REPOSITORY = Path(__file__).parents[2]
DIRECTORY = f"p/{paths.STATE}/ledger/"
TIME = "2026-01-31T06:00:00"


class Store:
    """What a ledger needs of a bucket, in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.requests = SimpleNamespace(ask=self._delete)
        self.asked: list[str] = []
        #: writes that work before all others fail
        self.writes = 1_000_000

    async def get(self, key: str) -> Any:
        self.asked.append("GET")
        if key not in self.objects:
            return None

        async def chunks() -> AsyncGenerator[bytes]:
            yield self.objects[key]

        return SimpleNamespace(
            version=Version("", len(self.objects[key]), {}, {}, 0, ""), chunks=chunks, close=lambda: None
        )

    async def put(self, key: str, data: Sequence[bytes], metadata: Mapping[str, str]) -> None:
        self._write("PUT")
        self.objects[key] = b"".join(data)

    async def _delete(self, method: str, key: str) -> None:
        self._write(method)
        del self.objects[key]

    def _write(self, method: str) -> None:
        self.asked.append(method)
        self.writes -= 1
        if self.writes < 0:
            raise StorageError("S3 is gone")

    @property
    def bucket(self) -> Bucket:
        return cast(Bucket, self)


class Listed(NamedTuple):
    """An object of a listing: which of its versions it is, and whether S3 is asked about it."""

    version: int
    asked: bool


class Lived(NamedTuple):
    """One run: what is listed, how much of that until it breaks off, whether anything was moved, what breaks."""

    objects: dict[str, Listed]
    until: int
    moved: bool
    writes: int
    damage: int


KEYS = st.text("ab/é\U0001f600", min_size=1, max_size=3).map("p/{}".format)
LISTED = st.builds(Listed, st.integers(1, 2), st.booleans())
OBJECTS = st.dictionaries(KEYS, LISTED, max_size=30)
WHOLE = st.builds(Lived, OBJECTS, st.just(1000), st.booleans(), st.just(1000), st.just(0))
BROKEN = st.builds(Lived, OBJECTS, st.integers(0, 30), st.booleans(), st.integers(0, 6), st.integers(0, 40))


async def listing(entries: Sequence[ObjectEntry]) -> AsyncGenerator[ObjectEntry]:
    for entry in entries:
        yield entry


def entry_of(key: str, version: int = 1) -> ObjectEntry:
    return ObjectEntry(key, 1, f'"{version}"', TIME)


def fact_of(key: str, version: int = 1, names: str | None = None) -> Fact:
    """Return the only thing that is true of a version."""
    return Fact(key, str(version), TIME, "7", f"{key}-{version}" if names is None else names)


async def live(store: Store, run: Lived) -> dict[str, Fact]:
    """Let one run go along its listing; return what it knew from earlier ones. All of it must be true."""
    ledger = Ledger(store.bucket, "p/")
    await ledger.load()
    known = {}
    entries = [entry_of(key, each.version) for key, each in sorted(run.objects.items())]
    async for entry, fact in ledger.along(listing(entries[: run.until])):
        if fact is not None:
            assert fact == fact_of(entry.key, run.objects[entry.key].version)
            known[entry.key] = fact
        elif run.objects[entry.key].asked:
            ledger.note(fact_of(entry.key, run.objects[entry.key].version))
    if run.moved:
        store.writes = run.writes
        await ledger.save()
    ledger.close()
    return known


small = patch.multiple(ledger_module, MIN_NEW_FACTS=1, SEGMENT=120)


#: One segment is emptied and another one cut in one go: the new one must not have the name of the one that goes.
EMPTIED_AND_CUT = [
    Lived({key: Listed(1, True) for key in ("p/a", "p/\U0001f600", "p/\U0001f600\U0001f600")}, 1000, True, 1000, 0),
    Lived({key: Listed(1, True) for key in ("p//", "p/a", "p/aa", "p/b")}, 1000, True, 1000, 0),
    Lived({"p/aa": Listed(1, False)}, 1000, False, 1000, 0),
]


@pytest.mark.unit
@settings(deadline=None)
@example(EMPTIED_AND_CUT)
@given(st.lists(WHOLE, max_size=8))
def test_what_runs_know_is_what_a_plain_dictionary_knows(runs: list[Lived]) -> None:
    """Over segments that are cut, grow and are emptied: what any run has asked for since, of that version, no more."""
    store, model = Store(), dict[str, int]()
    with small:
        for run in runs:
            known = asyncio.run(live(store, run))
            versions = {key: each.version for key, each in run.objects.items()}
            assert set(known) == {key for key, version in versions.items() if model.get(key) == version}
            if run.moved:
                model = {
                    key: version if run.objects[key].asked else model[key]
                    for key, version in versions.items()
                    if run.objects[key].asked or key in model
                }


@pytest.mark.unit
@settings(deadline=None)
@given(st.lists(BROKEN, max_size=8))
def test_whatever_becomes_of_it_nothing_that_is_false_is_known(runs: list[Lived]) -> None:
    """Listings break off, writes fail midway, objects are lost, garbled, cut, or those of an earlier run."""
    store = Store()
    with small:
        for run in runs:
            earlier = dict(store.objects)
            asyncio.run(live(store, run))
            broken = sorted(store.objects)[run.damage // 4 : run.damage // 4 + 1]
            for key in broken:
                data = store.objects.pop(key)
                middle = len(data) // 2
                damaged = [None, data[:middle], data[:middle] + b"?" + data[middle + 1 :], earlier.get(key)]
                if (left := damaged[run.damage % 4]) is not None:
                    store.objects[key] = left


@pytest.mark.unit
@settings(deadline=None)
@given(OBJECTS, OBJECTS, OBJECTS)
def test_two_runs_at_once_write_nothing_that_is_false(
    first: dict[str, Listed], second: dict[str, Listed], third: dict[str, Listed]
) -> None:
    """Either may cost the other's facts."""
    store = Store()

    async def both() -> None:
        ledgers = []
        for objects in (first, second):
            ledger = Ledger(store.bucket, "p/")
            await ledger.load()
            for key, each in objects.items():
                ledger.note(fact_of(key, each.version))
            ledgers.append(ledger)
        await asyncio.gather(*(ledger.save() for ledger in ledgers))
        for ledger in ledgers:
            ledger.close()

    with small:
        asyncio.run(both())
        asyncio.run(live(store, Lived(third, 1000, True, 1000, 0)))
        asyncio.run(live(store, Lived(third, 1000, False, 1000, 0)))


async def written(store: Store, *facts: Fact) -> None:
    """Write facts down."""
    ledger = Ledger(store.bucket, "p/")
    await ledger.load()
    for fact in facts:
        ledger.note(fact)
    with small:
        await ledger.save()
    ledger.close()


async def found(store: Store, *entries: ObjectEntry) -> list[Fact | None]:
    """Return what is known of a listing."""
    ledger = Ledger(store.bucket, "p/")
    await ledger.load()
    known = [fact async for _, fact in ledger.along(listing(entries))]
    ledger.close()
    return known


@pytest.mark.unit
async def test_a_fact_is_about_one_version(store: Store) -> None:
    """Of that key, that ETag and that time."""
    await written(store, fact_of("p/a"))
    assert await found(store, entry_of("p/a")) == [fact_of("p/a")]
    assert await found(store, entry_of("p/a", 2), entry_of("p/b")) == [None, None]
    assert await found(store, ObjectEntry("p/a", 1, '"1"', "2026-01-31T06:00:01")) == [None]
    assert await found(store, ObjectEntry("p/a")) == [None]


@pytest.mark.unit
def test_a_fact_is_what_s3_has_said() -> None:
    """What is no time in seconds is not known, nor is when a version was written that has no such date."""
    version = Version('"e"', 3, {"mtime": "1000"}, {}, 0, "Sat, 31 Jan 2026 06:00:00 GMT")
    assert Fact.of("p/a", version, ["x", "y"]) == Fact("p/a", "e", TIME, "1000", "x,y")
    assert Fact.of("p/a", version._replace(metadata={"mtime": "-5"}), []).mtime == ""
    assert Fact.of("p/a", version._replace(last_modified="yesterday"), []).modified == ""


@pytest.mark.unit
@pytest.mark.parametrize(
    "fact",
    [
        Fact("p/a", "", TIME, "", "x"),
        Fact("p/a", "1", "", "", "x"),
        Fact("p/a\tb", "1", TIME, "", "x"),
        Fact("p/a\nb", "1", TIME, "", "x"),
        Fact("p/a", "1", TIME, "", "x\tp/b"),
    ],
)
async def test_what_is_not_certain_is_not_remembered(store: Store, fact: Fact) -> None:
    """No ETag, no time, or a text that would be taken for several."""
    await written(store, fact)
    assert store.objects == {}


@pytest.mark.unit
async def test_what_two_destinations_have_said_of_a_version_is_added_up(store: Store) -> None:
    """What another version has had is not."""
    await written(store, fact_of("p/a", names="x"))
    await written(store, fact_of("p/a", names="y,x"), fact_of("p/b", names="x"))
    await written(store, fact_of("p/b", 2, names="y"))
    assert await found(store, entry_of("p/a"), entry_of("p/b", 2)) == [
        fact_of("p/a", names="x,y"),
        fact_of("p/b", 2, names="y"),
    ]


@pytest.mark.unit
async def test_a_few_facts_are_not_worth_an_object(store: Store) -> None:
    """Nor a request. A thousand are."""
    for count in (999, 1000):
        ledger = Ledger(store.bucket, "p/")
        await ledger.load()
        for number in range(count):
            ledger.note(fact_of(f"p/{number:04}"))
        store.asked.clear()
        await ledger.save()
        ledger.close()
    assert list(store.objects) == [f"{DIRECTORY}0"]
    assert store.asked == ["GET", "GET", "PUT", "GET"]  # the index, the segment, and what earlier versions wrote
    lines = gzip.decompress(store.objects[f"{DIRECTORY}0"]).decode().splitlines()
    assert lines[:2] == ["airflow-provider-sftp-s3 ledger 3", f"p/0000\t1\t{TIME}\t7\tp/0000-1"]
    assert len(lines) == 1001


@pytest.mark.unit
async def test_only_segments_of_which_enough_is_new_are_written(store: Store) -> None:
    """An index says where they begin; one that is empty is removed, and its name is used again."""
    keys = [f"p/{number:02}" for number in range(12)]
    await written(store, *map(fact_of, keys))
    names = {f"{DIRECTORY}{number}" for number in range(len(store.objects) - 1)}
    assert set(store.objects) == {*names, f"{DIRECTORY}index"}
    assert len(names) > 2
    before = dict(store.objects)
    await written(store, fact_of(keys[-1], 2))
    assert [key for key in before if before[key] != store.objects[key]] == [f"{DIRECTORY}{len(names) - 1}"]
    everything = {key: Listed(1, False) for key in keys}
    with small:
        await live(store, Lived({key: everything[key] for key in keys[:2]}, 1000, True, 1000, 0))
        assert set(store.objects) == {f"{DIRECTORY}0", f"{DIRECTORY}index"}
    await written(store, *map(fact_of, keys))
    assert {f"{DIRECTORY}0", f"{DIRECTORY}1"} < set(store.objects)
    assert await found(store, *map(entry_of, keys)) == list(map(fact_of, keys))


@pytest.mark.unit
async def test_a_store_that_lists_in_an_order_of_its_own_has_none(store: Store) -> None:
    """What it lists is not compared with what is sorted."""
    await written(store, fact_of("p/a"), fact_of("p/b"), fact_of("p/c"))
    before = dict(store.objects)
    ledger = Ledger(store.bucket, "p/")
    await ledger.load()
    entries = [entry_of(key) for key in ("p/b", "p/a", "p/c")]
    assert [fact async for _, fact in ledger.along(listing(entries))] == [fact_of("p/b"), None, None]
    ledger.note(fact_of("p/d"))
    with small:
        await ledger.save()
    assert store.objects == before


@pytest.mark.unit
@pytest.mark.parametrize("name", ["0", "index"])
@pytest.mark.parametrize(
    "garbled",
    [
        b"",
        b"x" * 40,
        gzip.compress(b"airflow-provider-sftp-s3 ledger 4\n{}"),
        gzip.compress(b"airflow-provider-sftp-s3 ledger 3\n\xff\n\t\np/a\t1\nx\ty\tz\n"),
        gzip.compress(b"airflow-provider-sftp-s3 ledger 3\n\t0\np/b\t1\np/a\t2\n"),
        gzip.compress(b"airflow-provider-sftp-s3 ledger 3\n" + b"\0" * 100_000_000),
        b"\0" * 20_000_000,
    ],
    ids=["empty", "text", "another version", "odd lines", "out of order", "bomb", "large"],
)
async def test_what_is_garbled_counts_as_empty_and_is_written_anew(store: Store, name: str, garbled: bytes) -> None:
    """Of whatever size."""
    store.objects[DIRECTORY + name] = garbled
    assert await found(store, entry_of("p/a")) == [None]
    await written(store, fact_of("p/a"))
    assert await found(store, entry_of("p/a")) == [fact_of("p/a")]


@pytest.mark.unit
async def test_the_ledger_of_an_earlier_version_is_removed(store: Store) -> None:
    """When there is a new one; what somebody else has under its name is left alone."""
    key = f"p/{paths.LEDGER}"
    for number in (1, 2):
        store.objects = {key: b"airflow-provider-sftp-s3 ledger %d\n\0\0" % number}
        await written(store, fact_of("p/a"))
        assert list(store.objects) == [f"{DIRECTORY}0"]
    store.objects = {key: b"a user's"}
    await written(store, fact_of("p/a"))
    assert store.objects[key] == b"a user's"


@pytest.mark.unit
async def test_a_full_disk_costs_time_only(store: Store) -> None:
    """What has still gone there is written down."""
    ledger = Ledger(store.bucket, "p/")
    await ledger.load()
    assert ledger._learned is not None
    ledger._learned.execute("PRAGMA max_page_count = 5")
    for number in range(2000):
        ledger.note(fact_of(f"p/{number:04}"))
    with small:
        await ledger.save()
    ledger.close()


@pytest.mark.integration
async def test_one_that_may_not_be_read_or_written_costs_time_only(s3: S3Server, opened: Bucket) -> None:
    """It raises nothing."""
    s3.before(lambda request: (403, "AccessDenied"))
    ledger = Ledger(opened, "p/")
    await ledger.load()
    ledger.note(fact_of("p/a"))
    with small:
        await ledger.save()
    ledger.close()
    assert s3.objects(opened.name) == {}


@pytest.mark.unit
@pytest.mark.slow
def test_of_many_objects_a_segment_is_in_memory() -> None:
    """However many: it is the benchmark, which `benchmarks/README.md` has the figures of ten million of."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.ledger", "300000"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        text=True,
    )
    first, second, third = map(json.loads, ran.stdout.splitlines())
    assert max(run["memory_mib"] for run in (first, second, third)) < 60
    assert (first["requests"]["HEAD"], second["requests"]["HEAD"], third["requests"]["HEAD"]) == (300_000, 1, 3001)
    assert first["requests"]["PUT"] < 12
    assert "PUT" not in second["requests"]
    assert second["requests"]["GET"] < 12


@pytest.fixture
def store() -> Store:
    """A store with nothing in it."""
    return Store()
