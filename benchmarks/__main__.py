"""
The benchmark: ``python -m benchmarks``; see README.md.

Row by row, round by round, each peer in turn, so that what else the machine does hits all alike. Servers run in
processes of their own, and only the client's CPU and memory are counted.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks import report
from benchmarks.peers import LftpS5cmd, Official, OfficialDefault, Ours, Peer, Rclone, RcloneTuned, Took
from benchmarks.servers import Place, place
from benchmarks.work import ROWS, Scene, Work

MEMORY_DISK = Path("/dev/shm")


def main() -> int:
    """Run the rows that were asked for; the exit status tells with ``--check`` whether every floor is met."""
    options = _options()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    rows = [row for row in ROWS if not options.only or any(part in row.name for part in options.only)]
    if not rows:
        sys.exit("no such row; there are:\n  " + "\n  ".join(row.name for row in ROWS))
    began = time.monotonic()
    found: list[report.Check] = []
    with place(options.root / f"sftp-s3-benchmark-{os.getpid()}", options.s3) as where:
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, S3 server: {options.s3}"
        )
        print(f"Airflow {version('apache-airflow')}, Amazon provider {version('apache-airflow-providers-amazon')}\n")
        for row in rows:
            results = _row(row, where, options)
            print(report.show(row, results) + "\n", flush=True)
            found += report.checks(row, results)
    for check in found:
        print(check)
    print(f"\n{time.monotonic() - began:.0f} s")
    return int(options.check and not all(check.met for check in found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="This project beside its peers.")
    parser.add_argument("--only", action="append", metavar="TEXT", help="rows whose name holds this; may be repeated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ours", action="store_true", help="this project alone")
    parser.add_argument("--ours-and-rclone", action="store_true", help="without the slow ones")
    parser.add_argument("--s3", choices=("memory", "rclone"), default="memory", help="which S3 server")
    parser.add_argument("--root", type=Path, default=MEMORY_DISK, help="where the files lie; 4 GiB are needed")
    parser.add_argument("--check", action="store_true", help="exit status 1 where a floor is not met")
    return parser.parse_args()


def _row(work: Work, where: Place, options: argparse.Namespace) -> dict[str, report.Result]:
    """Run one row, all peers in each round."""
    every: list[Peer] = [Ours()]
    if not options.ours:
        every += [Rclone(), RcloneTuned()]
    rare: list[Peer] = []
    if not (options.ours or options.ours_and_rclone) and work.sample:
        rare = [Official(), OfficialDefault()]
        if LftpS5cmd.available():
            every.append(LftpS5cmd())
    results: dict[str, report.Result] = {}
    scene = Scene(work, where)
    try:
        with where.at_distance(work.round_trip) as port:
            for number in range(options.rounds):
                for peer in every:
                    took = _run(peer, scene, where, port)
                    results.setdefault(peer.name, report.Result(work, peer.name)).runs.append(took)
                    _progress(work, number, peer, took)
            for peer in rare:
                count = work.part(work.sample).files
                took = _run(peer, scene, where, port, count)
                results[peer.name] = report.Result(work, peer.name, [took], work.files / count)
                _progress(work, 0, peer, took)
    finally:
        scene.close()
    return results


def _run(peer: Peer, scene: Scene, where: Place, port: int, count: int | None = None) -> Took:
    scene.prepare(count)
    try:
        took = peer.run(scene, where, port, count)
        keeps = scene.work.arguments.get("after_transfer") == "keep"
        scene.verify(
            done=peer.moves and scene.work.direction == "pull" and not keeps,
            marked=peer.marks and scene.work.marks,
            count=count,
        )
    finally:
        scene.clean_up()
    return took


def _progress(work: Work, number: int, peer: Peer, took: Took) -> None:
    print(
        f"  {work.name}, round {number + 1}, {peer.name}: {took.seconds:.2f} s, CPU {took.cpu:.2f} s, "
        f"{took.memory / 2**20:.0f} MiB" + (f", Airflow's start {took.startup:.1f} s" if took.startup else ""),
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
