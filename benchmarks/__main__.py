"""
The benchmark: ``python -m benchmarks``; see README.md.

Row by row, round by round, each peer in turn, so that what else the machine does hits all alike. Servers run in
processes of their own, and only the client's CPU and memory are counted.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks import growth, report
from benchmarks.peers import LftpS5cmd, Official, OfficialDefault, Ours, OursFirst, Peer, Rclone, RcloneTuned, Took, run
from benchmarks.servers import Place, ceiling, place
from benchmarks.work import ROWS, Scene, Work

MEMORY_DISK = Path("/dev/shm")


def main() -> int:
    """Run the rows that were asked for; the exit status tells with ``--check`` whether every floor is met."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server and no file is left
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    rows = [row for row in ROWS if not options.only or any(part in row.name for part in options.only)]
    if not rows:
        sys.exit("no such row; there are:\n  " + "\n  ".join(row.name for row in ROWS))
    if options.short:
        rows = [row.shortened() for row in rows]
    began = time.monotonic()
    found: list[report.Check] = []
    with place(options.root / f"sftp-s3-benchmark-{os.getpid()}", options.s3) as where:
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
        print(f"Airflow {version('apache-airflow')}, Amazon provider {version('apache-airflow-providers-amazon')}")
        print(f"{_said('rclone', 'version')}, {_said('ssh', '-V')}")
        if not LftpS5cmd.available():
            print("lftp and s5cmd are not both installed, and do not take part")
        print(f"S3 server ({options.s3}), its ceiling: {ceiling(where.s3)}\n", flush=True)
        if options.plot:
            growth.plot(where)
            return 0
        for number, row in enumerate(rows):
            left = options.minutes * 60 - (time.monotonic() - began) if options.minutes else float("inf")
            results = _row(row, where, options, left / (len(rows) - number))
            print(report.show(row, results) + "\n", flush=True)
            found += report.checks(row, results)
        if not options.only:
            _whole_task(rows[0], where)
    for check in found:
        print(check)
    print(f"\n{time.monotonic() - began:.0f} s")
    return int(options.check and not all(check.met for check in found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="This project beside its peers.")
    parser.add_argument("--only", action="append", metavar="TEXT", help="rows whose name holds this; may be repeated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, help="begin no further round of a row once its share is used up")
    parser.add_argument("--short", action="store_true", help="less of each, in 10 minutes")
    parser.add_argument("--ours", action="store_true", help="this project alone")
    parser.add_argument("--ours-and-rclone", action="store_true", help="without the slow ones")
    parser.add_argument("--s3", choices=("memory", "rclone"), default="memory", help="which S3 server")
    parser.add_argument("--root", type=Path, default=MEMORY_DISK, help="where the files lie; 6 GiB are needed")
    parser.add_argument("--check", action="store_true", help="exit status 1 where a floor is not met")
    parser.add_argument("--plot", action="store_true", help="make growth.png instead, in 5 minutes")
    options = parser.parse_args()
    if options.short:
        options.rounds, options.minutes = min(options.rounds, 3), options.minutes or 8.5
    return options


def _said(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return (ran.stdout or ran.stderr).splitlines()[0]


def _row(work: Work, where: Place, options: argparse.Namespace, seconds: float) -> dict[str, report.Result]:
    """Run one row, all peers in each round; at least one round, and no further one that `seconds` does not hold."""
    every: list[Peer] = [Ours()]
    if not options.ours:
        every += [Rclone(), RcloneTuned()]
    rare: list[Official] = []
    if not (options.ours or options.ours_and_rclone) and work.sample:
        rare = [Official()] if options.short else [Official(), OfficialDefault()]
        if LftpS5cmd.available():
            every.append(LftpS5cmd())
    first: list[Peer] = [OursFirst()] if work.old else []
    order = [peer.name for peer in (*every, *first, *rare)]
    results: dict[str, report.Result] = {}
    began = time.monotonic()
    scene = Scene(work, where)
    try:
        with where.at_distance(work.round_trip) as port:
            for official in rare:
                count = min(official.sample_of(work), work.files)
                took = run(official, scene, where, port, count)
                results[official.name] = report.Result(work, official.name, [took], work.files / count)
                _progress(work, 0, official, took)
            for peer in first:
                took = run(peer, scene, where, port)
                results[peer.name] = report.Result(work, peer.name, [took])
                _progress(work, 0, peer, took)
            for number in range(options.rounds):
                round_began = time.monotonic()
                for peer in every:
                    took = run(peer, scene, where, port)
                    results.setdefault(peer.name, report.Result(work, peer.name)).runs.append(took)
                    _progress(work, number, peer, took)
                every = _worth_another_round(every, results)
                now = time.monotonic()
                if now - began + (now - round_began) > seconds:
                    break
    finally:
        scene.close()
    return {name: results[name] for name in order}


def _worth_another_round(peers: list[Peer], results: dict[str, report.Result]) -> list[Peer]:
    """Leave out who takes more than twice as long as the fastest of the others: no round would change that."""
    others = [peer for peer in peers if not isinstance(peer, Ours)]
    fastest = min((results[peer.name].seconds for peer in others), default=0.0)
    return [peer for peer in peers if peer not in others or results[peer.name].seconds <= 2 * fastest]


def _whole_task(work: Work, where: Place) -> None:
    """Print what a whole task takes: one Dag run, the operator in it, and Airflow's import apart."""
    scene = Scene(work, where)
    try:
        scene.prepare()
        took = Ours().result(scene, where, where.sftp.port, whole_task=True)
        scene.clean_up()
    finally:
        scene.close()
    print(
        f"{work.name} as a whole task: {took['seconds']:.1f} s in dag.test(), {took['execute']:.1f} s of them the "
        f"transfer; before that {took['imported']:.1f} s to import Airflow and its providers\n"
    )


def _progress(work: Work, number: int, peer: Peer, took: Took) -> None:
    print(
        f"  {work.name}, round {number + 1}, {peer.name}: {took.seconds:.2f} s, CPU {took.cpu:.2f} s, "
        f"{took.memory / 2**20:.0f} MiB" + (f", Airflow's start {took.startup:.1f} s" if took.startup else ""),
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
