"""
SIGKILL of the process that runs an operator, and then a plain retry.

The operator is the real one, in a process of its own, with its connections from the environment. It is killed at a
boundary of its protocol: before a request is carried out, or when it has been and before it is answered, by servers in
this process that know which request it is. And it is killed at a random moment, on OpenSSH where that is installed.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.model import Outcome
from airflow_provider_sftp_s3.engine.options import MiB
from tests.faults import table
from tests.faults.harness import PUSHES, beneath, check_pull, check_push, check_taken, marked_keys, write_tree
from tests.faults.operator_run import OperatorRun
from tests.support.s3_server import Hook, S3Request, S3Server
from tests.support.sftp_servers import (
    AsyncsshServer,
    CutConnection,
    Fault,
    OpenSshServer,
    Proceed,
    Request,
    SftpServer,
)

pytestmark = pytest.mark.faults

FILES = {
    "empty": b"",
    "one": b"1",
    "again.csv": os.urandom(3_000),
    "Grüße 📦.txt": os.urandom(70_000),
    "sub/again.csv": os.urandom(40_000),
    "sub/new.csv": os.urandom(300_000),
    "sub/deep/er": os.urandom(2_000),
    "sub/large": os.urandom(5 * MiB + 70_000),
}
OLD = {"again.csv": b"the one before", "sub/again.csv": os.urandom(50_000)}
"""What the partner, or ``.done``, has of those names already."""
PART_SIZE = 5 * MiB
SHARDS = range(4 if table.LONG >= 0.5 else 1)
"""Each test of a long sweep kills every fourth time, so that pytest's workers share the work."""
MOMENTS = {
    "pull": round(110 * table.LONG),
    **{kind: round(40 * table.LONG) for kind in PUSHES},
    "push": round(170 * table.LONG),
}
"""Kills at random moments: with those at each step they are more than 300 in each direction."""
PATIENCE = 60.0
HOUR = 3600.0


class KillsAt(Fault):
    """
    Counts the steps of a run on both servers, and kills it at one of them.

    :param step: which one; None: it only counts.
    :param applied: kill when the request has been carried out, and not before.
    """

    sees_probes = True

    def __init__(self, s3: S3Server, step: int | None = None, *, applied: bool = False) -> None:
        self.run: OperatorRun | None = None
        self.steps = 0
        self._step = step
        self._applied = applied
        self._lock = threading.Lock()
        self._due = threading.local()
        s3.before(self._before)
        s3.after(self._after)

    def _is_due(self) -> bool:
        with self._lock:
            self.steps += 1
            return self.steps - 1 == self._step

    def _kill(self) -> None:
        assert self.run is not None
        self.run.kill()

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        # Of the many reads and writes of a large file, the first of each MiB counts.
        due = request.offset % MiB == 0 and self._is_due()
        if due and not self._applied:
            self._kill()
            raise CutConnection
        try:
            return await proceed()
        finally:  # an error is an answer, too
            if due:
                self._kill()
                raise CutConnection

    def _before(self, request: S3Request) -> None:
        self._due.now = self._is_due()
        if self._due.now and not self._applied:
            self._kill()
            raise ConnectionResetError

    def _after(self, request: S3Request) -> None:
        if self._due.now:
            self._kill()
            raise ConnectionResetError


class Sweep:
    """One server and one bucket, where a run is killed and retried, again and again."""

    #: So many of all steps have to end in a kill: not every run takes the same steps.
    least = 0.8

    def __init__(self, kind: str, sftp: SftpServer, s3: S3Server, bucket: str, **arguments: Any) -> None:
        self.direction = "pull" if kind == "pull" else "push"
        #: tells it from others, and is the same in every session
        self.name = f"{kind} {arguments}"
        self.arguments = {**PUSHES.get(kind, {}), **arguments}
        self.takes_away = "after_transfer" in self.arguments
        self.sftp = sftp
        self.s3 = s3
        self.bucket = bucket
        self.root = sftp.root / "tree"
        self.client = s3.client()
        self.kills = 0
        #: files that a run moves which is not killed
        self.transfers = len(FILES)
        table.row(f"SIGKILL under a {kind}, then a retry")

    def prepare(self) -> None:
        """Put everything where it is before a run."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        self.s3.empty(self.bucket)
        if self.direction == "pull":
            write_tree(
                self.root, FILES | {str(Path(name).parent / ".done" / Path(name).name): OLD[name] for name in OLD}
            )
        else:
            write_tree(self.root, OLD)
            prefixes = {self.arguments.get("s3_prefix", ""): FILES}
            if "sent_prefix" in self.arguments:
                prefixes[self.arguments["sent_prefix"]] = OLD
            for prefix, files in prefixes.items():
                for name, data in files.items():
                    self.client.put_object(Bucket=self.bucket, Key=prefix + name, Body=data)

    def run(self, try_number: int = 1) -> OperatorRun:
        arguments: dict[str, Any] = {
            "sftp_path": self.sftp.path("tree"),
            "s3_bucket": self.bucket,
            "options": {"part_size": PART_SIZE, "conn_timeout": PATIENCE, "idle_timeout": PATIENCE},
            **self.arguments,
        }
        connections = {
            "sftp_default": self.sftp.airflow_connection(),
            "aws_default": self.s3.airflow_connection(),
        }
        # The retry comes an hour after the first try, as far as uploads are concerned.
        return OperatorRun(
            self.direction, arguments, connections, try_number=try_number, started=time.time() - 2 * HOUR
        )

    def wait_until_quiet(self) -> None:
        """Wait until the servers have done what a dead process had asked them for."""
        deadline = time.monotonic() + PATIENCE
        while not (self._sftp_is_quiet() and self.s3.is_quiet):
            assert time.monotonic() < deadline, "a connection of a dead process stays open"
            time.sleep(0.005)

    def _sftp_is_quiet(self) -> bool:
        if isinstance(self.sftp, AsyncsshServer):
            return self.sftp.is_quiet
        assert isinstance(self.sftp, OpenSshServer)
        return not self.sftp._listener().children()

    def check_after_kill(self) -> None:
        """Nothing is lost, half there or wrongly marked, at any moment."""
        nothing_said: Any = SimpleNamespace(transferred=[])
        if self.direction == "pull":
            check_pull(self.root, self.s3, self.bucket, FILES, nothing_said, before=OLD)
        else:
            halves = self.arguments.get("temp_name", "") is None
            written = check_push(self.root, self.bucket, FILES, nothing_said, old=OLD, leavings=True, halves=halves)
            if self.takes_away:
                check_taken(self.s3, self.bucket, FILES, written, self.arguments)
        self.kills += 1

    def run_again(self) -> dict[str, Any]:
        """Have Airflow's retry go to its end, and return its report."""
        self.s3.let_uploads_age(self.bucket, HOUR)
        with self.run(try_number=2) as again:
            again.go()
            report = again.report(PATIENCE)
        self.wait_until_quiet()
        return report

    def retry(self) -> None:
        """Run again, and check that everything is done and nothing left over."""
        report = self.run_again()
        assert report["transferred"] + report["skipped"].get("synced", 0) <= len(FILES)
        said: Any = SimpleNamespace(transferred=[self._outcome(target) for target in report["targets"]])
        if self.direction == "pull":
            assert check_pull(self.root, self.s3, self.bucket, FILES, said) == set(FILES), "a retry left files undone"
            table.none_is("left over", self.s3.unfinished_uploads(self.bucket))
        else:
            assert check_push(self.root, self.bucket, FILES, said, old=OLD) == set(FILES), "a retry left objects undone"
        if self.takes_away:
            check_taken(self.s3, self.bucket, FILES, set(FILES), self.arguments)
            assert not beneath(self.s3, self.bucket, self.arguments["s3_prefix"]), (
                "a retry left objects where they were"
            )
        else:
            table.none_is("wrong marks", set(FILES) - marked_keys(self.bucket))

    def _outcome(self, target: str) -> Outcome:
        name = target.partition(f"{self.bucket}/" if self.direction == "pull" else "/tree/")[2]
        return Outcome(f"s3://{self.bucket}/{name}", "transferred", f"s3://{self.bucket}/{name}")


@pytest.fixture
def fastest_server(tmp_path: Path) -> Iterator[SftpServer]:
    """OpenSSH where it is installed: in processes of its own."""
    kind = OpenSshServer if OpenSshServer.available() else AsyncsshServer
    with kind(tmp_path / "sftp") as server:
        yield server


@pytest.mark.parametrize("shard", SHARDS)
@pytest.mark.parametrize("kind", ["pull", *PUSHES])
def test_killed_at_each_step(sftp_server: AsyncsshServer, s3: S3Server, bucket: str, kind: str, shard: int) -> None:
    """
    Before each request is carried out, and when it has been: a run has about 100 of them.

    With less than the whole length, at some of them, others with each seed.
    """
    kill_at_each_step(Sweep(kind, sftp_server, s3, bucket), sftp_server, s3, shard)


@pytest.mark.parametrize("shard", SHARDS[::2])
@pytest.mark.parametrize("temp_name", [None, "tmp/{id}.part"])
@pytest.mark.parametrize("kind", ["push", "push, delete"])
def test_killed_at_each_step_with_another_temp_name(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, kind: str, temp_name: str | None, shard: int
) -> None:
    """Straight to its name, half a file may be there until the retry, and has no mark; nor is its object taken away."""
    kill_at_each_step(Sweep(kind, sftp_server, s3, bucket, temp_name=temp_name), sftp_server, s3, shard)


def kill_at_each_step(sweep: Sweep, sftp_server: AsyncsshServer, s3: S3Server, shard: int) -> None:
    """Kill one run after the other, and retry each."""
    sweep.prepare()
    sftp_server.fault = counts = KillsAt(s3)
    with sweep.run() as run:
        run.go()
        assert run.report(PATIENCE)["transferred"] == sweep.transfers
    # Two of four shards have each step once, half of them before it is carried out.
    twice = [(step, applied) for step in range(counts.steps) for applied in ((False, True), (True, False))[step % 2]]
    points = twice[shard :: len(SHARDS)]
    wanted = max(2, round(len(points) * min(table.LONG, sweep.least)))
    if table.LONG < 1:
        table.chance("steps", sweep.name, shard).shuffle(points)
    for step, applied in points:
        if table.LONG < 1 and sweep.kills >= wanted:
            break  # where one ended in no kill, another one was tried in its place
        for _ in range(max(1, round(table.LONG))):
            s3._before.clear()
            s3._after.clear()
            sweep.prepare()
            with sweep.run() as run:
                sftp_server.fault = kills = KillsAt(s3, step, applied=applied)
                kills.run = run
                run.go()
                assert run.ended(PATIENCE)
                killed = run.killed
            s3._before.clear()
            s3._after.clear()
            sftp_server.fault = Fault()
            sweep.wait_until_quiet()
            if not killed:  # in another order it needs no second look; or it did not wait for the answer to that step
                continue
            try:
                sweep.check_after_kill()
                sweep.retry()
            except AssertionError as wrong:
                wrong.add_note(f"killed at step {step}, {'when it was' if applied else 'before it was'} carried out")
                raise
    table.cases(sweep.kills)
    assert sweep.kills >= wanted


def _sets(begun: threading.Event) -> Hook:
    return lambda _: begun.set()


@pytest.mark.parametrize("shard", SHARDS)
@pytest.mark.parametrize("kind", ["pull", *PUSHES])
def test_killed_at_a_random_moment(
    fastest_server: SftpServer, s3: S3Server, bucket: str, kind: str, shard: int
) -> None:
    """As many moments as asked for, anywhere from the first request of a run to its last."""
    sweep = Sweep(kind, fastest_server, s3, bucket)
    chance = table.chance("moments", kind, shard)
    wanted = len(range(MOMENTS[kind])[shard :: len(SHARDS)])
    durations = [_duration(sweep)]
    while sweep.kills < wanted:
        # What is slow today may be fast in a second: the longest of the last few runs is the measure.
        moment = chance.random() * max(durations[-3:])
        sweep.prepare()
        begun = threading.Event()
        s3.before(_sets(begun))
        with sweep.run() as run:
            run.go()
            assert begun.wait(PATIENCE)
            first = time.monotonic()
            if run.ended(moment):
                durations.append(time.monotonic() - first)
            run.kill()
            killed = run.killed
        s3._before.clear()
        sweep.wait_until_quiet()
        if killed:
            sweep.check_after_kill()
            sweep.retry()
    table.cases(sweep.kills)


def _duration(sweep: Sweep) -> float:
    """Return how long a run takes from its first request to S3."""
    sweep.prepare()
    begun: list[float] = []
    sweep.s3.before(lambda _: begun.append(time.monotonic()))
    with sweep.run() as run:
        run.go()
        assert run.report(PATIENCE)["transferred"] == len(FILES)
    sweep.s3._before.clear()
    sweep.wait_until_quiet()
    return time.monotonic() - begun[0]
