"""Any mixture of oddities: a file is whole in S3 or still at the server, marks are true, and green runs leave nothing.

``make faults LONG=10 SEED=1`` tries ten times as many mixtures, and says the least of what fails.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.options import MiB
from tests.faults import table
from tests.faults.harness import (
    Ran,
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
from tests.faults.oddities import (
    KEYS,
    Cut,
    Interrupts,
    OddServer,
    Scenario,
    Watches,
    cut_off,
    is_workable,
    refusing,
    says_what_files_are,
    scenarios,
)
from tests.support import faulty_sftp as faulty
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.faults

SIZES = {"sub/300 KB": 300_000, "sub/deep/6 MiB": 6 * MiB + 17}
FILES = {key: os.urandom(SIZES.get(key, 3_000 + number)) for number, key in enumerate(KEYS)}
OLD = {"again": b"the one before", "sub/Grüße": os.urandom(50_000)}
"""What the partner, or ``.done``, has of those names already."""
DAY = 24 * 3600.0
AGE = 400 * DAY
#: how many mixtures each test tries
EXAMPLES = max(round(20 * table.LONG), 1)
QUICK: dict[str, Any] = {"conn_timeout": 5.0, "idle_timeout": 5.0}


@pytest.fixture
def odd_server(tmp_path: Path) -> Iterator[OddServer]:
    with OddServer(tmp_path / "sftp") as server:
        yield server


def odd(*names: str, cuts: tuple[Cut, ...] = (), min_age: float = 0.0) -> Scenario:
    return Scenario(frozenset(names), cuts, min_age=min_age)


#: What has shown a fault in the engine.
PINNED = (
    # What lay in .done was uploaded over what S3 had just got of a file of that name, which was taken away.
    odd("taken at CLOSE"),
    # By its name it was never what it was when it was open: uploaded and moved back as "young" in every run.
    odd("unknown once open", "files: stale", min_age=0.2),
    # The connection stayed open.
    odd(cuts=(Cut(51, "cancelled twice"),)),
    # The file of one key was lost under that of the other.
    odd("one name for all cases"),
    odd("one name for all cases", cuts=(Cut(60, "killed after"),)),
    # The run ended.
    odd("one handle for several"),
    # What was larger than part_size failed.
    odd("listing: no size", "files: no size", "one at a time"),
)


def mixtures(test: Callable[..., None]) -> Callable[..., None]:
    """Try many scenarios, those first that have shown a fault in the engine."""
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    if table.LONG > 1:
        phases.append(hypothesis.Phase.shrink)
    test = hypothesis.given(scenario=scenarios())(test)
    test = hypothesis.settings(
        max_examples=EXAMPLES,
        phases=phases,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        report_multiple_bugs=False,
    )(test)
    test = hypothesis.seed(int(table.SEED))(test)
    for scenario in PINNED:
        test = hypothesis.example(scenario=scenario)(test)
    return test


# -------------------------------------------------------------------------------------------------------------- pull


@pytest.mark.parametrize("after_transfer", ["move", "delete", "keep"])
@mixtures
def test_a_pull(odd_server: OddServer, s3: S3Server, bucket: str, after_transfer: str, scenario: Scenario) -> None:
    """After each try: whole in S3 or still at the server, and nothing was closed or removed before S3 had it."""
    asyncio.run(Pulled(odd_server, s3, bucket, after_transfer, scenario).go())


class Mixture(ABC):
    """One scenario: tries that are cut, one that is not, and a look after each."""

    direction: str

    @abstractmethod
    def watching(self) -> Watches:
        """Return what looks at each request of the scenario."""

    @abstractmethod
    def prepare(self) -> None:
        """Put everything where it is before the first try."""

    @abstractmethod
    async def run(self, number: int) -> Ran:
        """Run once, as try `number`."""

    @abstractmethod
    def check(self, ran: Ran | None) -> None:
        """Check what must be so after any try, be it cut."""

    @abstractmethod
    def all_is_done(self) -> None:
        """Check what must be so after a try that nothing has cut, where the server can be worked with."""

    @abstractmethod
    def nothing_is_left_to_do(self, again: Ran) -> None:
        """Check one more run after that."""

    def __init__(self, server: OddServer, s3: S3Server, bucket: str, scenario: Scenario) -> None:
        self.server = server
        self.s3 = s3
        self.bucket = bucket
        self.scenario = scenario
        self.started = time.time()
        self.watches = self.watching()
        shutil.rmtree(server.root)
        server.root.mkdir()
        s3.empty(bucket)
        self.prepare()

    async def go(self) -> None:
        interrupts = self.server.set_up(self.scenario, self.watches)
        table.cases(1)
        for number, cut in enumerate(self.scenario.cuts):
            with refusing(self.s3, interrupts, self.scenario.refused):
                ran = await cut_off(partial(self.run, number), interrupts, cut)
                await self.look(interrupts, ran)
        if self.scenario.refused:
            with refusing(self.s3, interrupts, self.scenario.refused):
                await self.look(interrupts, await self.run(1))
        with refusing(self.s3, interrupts, frozenset()):
            ran = await self.run(2)
            await self.look(interrupts, ran)
            if is_workable(self.scenario.oddities, self.direction):
                ran.done()
                self.all_is_done()
                self.nothing_is_left_to_do(await self.run(3))

    async def look(self, interrupts: Interrupts, ran: Ran | None) -> None:
        """Wait until both servers have done what they were asked for, and check."""
        is_quiet = await settles(lambda: self.server.is_quiet and not self.s3.busy)
        assert is_quiet, "a connection stays open"
        interrupts.dead = False
        self.s3.let_uploads_age(self.bucket, 3600.0)
        table.none_is("lost", self.watches.wrong)
        self.check(ran)

    def retried(self, number: int) -> dict[str, Any]:
        return {"retried_since": datetime.fromtimestamp(self.started - 7200, UTC)} if number else {}


class Pulled(Mixture):
    direction = "pull"

    def __init__(self, server: OddServer, s3: S3Server, bucket: str, after_transfer: str, scenario: Scenario) -> None:
        self.after_transfer = after_transfer
        self.files = dict(FILES)
        if "one name for all cases" in scenario.oddities:
            del self.files["sub/Again"]
        super().__init__(server, s3, bucket, scenario)

    def watching(self) -> Watches:
        return Watches(
            set(self.files.values()),
            partial(self.s3.objects, self.bucket),
            takes="taken at CLOSE" in self.scenario.oddities,
            removes=self.after_transfer == "delete",
        )

    def prepare(self) -> None:
        done = {done_path(name): data for name, data in OLD.items()}
        write_tree(self.server.root, self.files | done, age=AGE)

    async def run(self, number: int) -> Ran:
        return await run_pull(
            self.server,
            self.s3,
            self.bucket,
            after_transfer=self.after_transfer,
            min_age=self.scenario.min_age,
            retention=30 * DAY,
            concurrency=self.scenario.concurrency,
            part_size=5 * MiB,
            **self.retried(number),
            **QUICK,
        )

    def stored(self) -> dict[str, bytes]:
        return {key: data for key, data in self.s3.objects(self.bucket).items() if not paths.is_state(key)}

    def check(self, ran: Ran | None) -> None:
        tree, stored = read_tree(self.server.root), self.stored()
        table.checked(len(self.files))
        table.none_is("wrong bytes", [key for key, data in stored.items() if self.files.get(key) != data])
        waiting = {name for name in self.files if self.files[name] in self._where_it_waits(name, tree)}
        table.none_is("lost", self.files.keys() - stored.keys() - waiting)
        if ran is None:
            return
        reported = {outcome.target.removeprefix(f"s3://{self.bucket}/") for outcome in ran.transferred}
        table.none_is("false successes", reported - stored.keys())
        if ran.error is None:
            said = {outcome.source.partition("/./")[2] or outcome.source for outcome in ran.outcomes}
            left = self.files.keys() - stored.keys()
            table.none_is("false successes", [name for name in left if not any(s.endswith(f"/{name}") for s in said)])
            if self.after_transfer != "keep":
                table.none_is("false successes", reported & {key for key in tree if tree[key] == self.files.get(key)})
            assert ran.done().skipped.keys() <= REASONS

    def _where_it_waits(self, name: str, tree: Mapping[str, bytes]) -> list[bytes | None]:
        """Return what is where a next run takes it from."""
        deleting = os.fsdecode(paths.deleting_name(os.fsencode(Path(name).name)))
        return [tree.get(name), tree.get(str(Path(done_path(name)).with_name(deleting)))]

    def all_is_done(self) -> None:
        assert self.stored() == self.files
        if "taken at CLOSE" in self.scenario.oddities:
            return
        table.none_is("left over", self.s3.unfinished_uploads(self.bucket))
        tree = read_tree(self.server.root)
        if self.after_transfer == "keep":
            assert self.files.items() <= tree.items()
        else:
            assert not self.files.keys() & tree.keys()

    def nothing_is_left_to_do(self, again: Ran) -> None:
        if self.after_transfer != "keep" or says_what_files_are(self.scenario.oddities):
            assert again.done().transferred == 0


#: Why a pull may leave a file alone, in these scenarios. The last ones are of those in done directories.
REASONS = {
    *("unchanged", "gone", "unfinished", "young", "left by an earlier run, now deleted"),
    *("not stamped until now, not purged", "not stamped, not purged"),
    "younger than it is listed, not purged",
    "not purged: the server does not say that it is a directory, it may be a link",
}


# -------------------------------------------------------------------------------------------------------------- push


@pytest.mark.parametrize("mark", ["metadata", "tag"])
@mixtures
def test_a_push(odd_server: OddServer, s3: S3Server, bucket: str, mark: str, scenario: Scenario) -> None:
    """After each try: what is marked is at the partner, whole, what he had is there, and nobody sees half a file."""
    asyncio.run(Pushed(odd_server, s3, bucket, mark, scenario).go())


class Pushed(Mixture):
    direction = "push"

    def __init__(self, server: OddServer, s3: S3Server, bucket: str, mark: str, scenario: Scenario) -> None:
        self.mark = mark
        super().__init__(server, s3, bucket, scenario)

    def watching(self) -> Watches:
        return Watches(set(), dict, takes=False, removes=False)

    def prepare(self) -> None:
        put_objects(self.s3, self.bucket, FILES)
        write_tree(self.server.root, OLD, age=AGE)

    async def run(self, number: int) -> Ran:
        return await run_push(
            self.server,
            self.s3,
            self.bucket,
            mark=self.mark,
            clean_up=number > 0,
            concurrency=self.scenario.concurrency,
            part_size=5 * MiB,
            **self.retried(number),
            **QUICK,
        )

    def check(self, ran: Ran | None) -> None:
        tree = read_tree(self.server.root)
        table.checked(len(FILES))
        objects = {key: data for key, data in self.s3.objects(self.bucket).items() if not paths.is_state(key)}
        table.none_is("lost", [key for key in FILES if objects.get(key) != FILES[key]])
        temporary = {name for name in tree if name in leftovers(self.server.root)}
        kept_aside = [tree[name] for name in temporary]
        for name, old in OLD.items():
            table.none_is("lost", [] if name in tree or old in kept_aside else [f"the partner's {name}"])
        table.none_is(
            "wrong bytes",
            [name for name in tree.keys() - temporary if tree[name] not in self._contents_of(name)],
        )
        written = {key for key in FILES if self._at_partner(key, tree) == FILES[key]}
        table.none_is("wrong marks", marked_keys(self.bucket) - written)
        if ran is None:
            return
        reported = {outcome.source.removeprefix(f"s3://{self.bucket}/") for outcome in ran.transferred}
        table.none_is("false successes", reported - written)
        if ran.error is None:
            table.none_is("false successes", FILES.keys() - marked_keys(self.bucket))
            assert ran.done().skipped.keys() <= {"synced"}

    def _folds(self) -> bool:
        return "one name for all cases" in self.scenario.oddities

    def _contents_of(self, name: str) -> list[bytes | None]:
        """Return what may be at the partner under a name."""
        keys = [key for key in FILES if key == name or (self._folds() and faulty.alike(key) == faulty.alike(name))]
        return [OLD.get(name), *(FILES[key] for key in keys)]

    def _at_partner(self, key: str, tree: Mapping[str, bytes]) -> bytes | None:
        if key not in tree and self._folds():
            key = next((name for name in tree if faulty.alike(name) == faulty.alike(key)), key)
        return tree.get(key)

    def all_is_done(self) -> None:
        tree = read_tree(self.server.root)
        assert {name: tree.get(name) for name in FILES} == FILES

    def nothing_is_left_to_do(self, again: Ran) -> None:
        assert again.done().transferred == 0
