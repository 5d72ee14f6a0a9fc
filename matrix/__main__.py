"""`make matrix`: try every row, print a table, exit with 1 unless all is well.

python -m matrix [ROW ...] [--keep]
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from matrix.rows import ROWS, Row
from matrix.servers import world
from matrix.venvs import TIMEOUT, UV, RowError, Venv, clean_environment, install

REPOSITORY = Path(__file__).parents[1]
SCRATCH = REPOSITORY / ".matrix"
#: Seconds after which `inside.py` is taken to hang; on an idle machine it needs 20 to 60.
INSIDE_TIMEOUT = 600
#: The table's columns of what is tried: all but the first are functions of `inside.py`.
CHECKS = {
    "install": "install",
    "listed": "listed",
    "Dags": "parsed",
    "page": "page",
    "pull": "pull",
    "push": "push",
    "retry": "retry",
    "metrics": "metrics",
    "connections": "connections",
    "flows": "flows",
    "form": "form",
    "backfill": "backfill",
    "assets": "assets",
}
VERSIONS = {
    "Airflow": "apache-airflow",
    "amazon": "apache-airflow-providers-amazon",
    "sftp": "apache-airflow-providers-sftp",
    "boto3": "boto3",
    "asyncssh": "asyncssh",
    "obstore": "obstore",
}


@dataclass
class Result:
    """What became of a row: check -> what is wrong; a check that is not in `problems` was not tried."""

    row: Row
    problems: dict[str, str | None] = field(default_factory=dict)
    versions: Mapping[NormalizedName, Version] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def green(self) -> bool:
        """Everything was tried and nothing is wrong."""
        return all(self.mark(check) == "ok" for check in CHECKS.values())

    def mark(self, check: str) -> str:
        """Return what the table shows for a check."""
        if check not in self.problems:
            return "-"
        return "FAIL" if self.problems[check] else "ok"

    def cells(self) -> list[str]:
        """Return the row's cells of the table."""
        versions = [str(self.versions.get(canonicalize_name(package), "-")) for package in VERSIONS.values()]
        marks = [self.mark(check) for check in CHECKS.values()]
        return [self.row.name, self.row.python, *versions, *marks, f"{self.seconds:.0f}"]


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m matrix", description=__doc__)
    names = [row.name for row in ROWS]
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"one of {', '.join(names)}; default: all")
    parser.add_argument("--keep", action="store_true", help="keep the venvs in .matrix/, also of rows that are green")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - set(names):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    wheel = build()
    results = []
    # A row has S3 in its process, and takes one core.
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as processes:
        chosen = [row for row in ROWS if not arguments.rows or row.name in arguments.rows]
        for result in processes.map(functools.partial(run, wheel=wheel, keep=arguments.keep), chosen):
            results.append(result)
            print(f"{result.row.name}: {'ok' if result.green else 'FAIL'}, {result.seconds:.0f} s", flush=True)
    print("\n" + table(results))
    for result in results:
        for check, problem in result.problems.items():
            if problem:
                print(f"\n{result.row.name}, {check}: {problem}\n  log: {log_of(result.row).relative_to(REPOSITORY)}")
    return 0 if all(result.green for result in results) else 1


def build() -> Path:
    """Build the wheel and return its path."""
    shutil.rmtree(SCRATCH / "dist", ignore_errors=True)
    command = [UV, "build", "--quiet", "--wheel", "--python", sys.executable, "--out-dir", str(SCRATCH / "dist")]
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=TIMEOUT)
    (wheel,) = (SCRATCH / "dist").glob("*.whl")
    return wheel


def log_of(row: Row) -> Path:
    """Return where everything that a row's commands said is written to."""
    return SCRATCH / f"{row.name}.log"


def run(row: Row, wheel: Path, *, keep: bool) -> Result:
    """Try one row in a directory of its own, which is removed if all went well."""
    started = time.monotonic()
    result = Result(row)
    directory, log = SCRATCH / row.name, log_of(row)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    log.write_text("")
    try:
        venv = Venv(row, directory / "venv", log)
        install(row, venv, wheel)
        result.versions = venv.versions()
        result.problems["install"] = None
        result.problems |= try_inside(venv, directory, log)
    except (RowError, subprocess.TimeoutExpired) as failed:
        result.problems["install"] = str(failed)
    result.seconds = time.monotonic() - started
    if result.green and not keep:
        shutil.rmtree(directory)
    return result


def try_inside(venv: Venv, directory: Path, log: Path) -> dict[str, str | None]:
    """Run `inside.py` against fresh servers; return what is wrong by check, as both sides see it."""
    results = directory / "results.jsonl"
    results.touch()
    with world(directory / "sftp") as places, log.open("a") as output:
        command = [str(venv.python), "-I", str(REPOSITORY / "matrix" / "inside.py"), str(REPOSITORY), str(results)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, text=True, env=clean_environment()
        )
        try:
            process.communicate(json.dumps(places.connections), timeout=INSIDE_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        missing = f"not reached: inside.py ended with {process.returncode}"
        seen: dict[str, str | None] = dict.fromkeys(list(CHECKS.values())[1:], missing)
        seen |= {found["check"]: found["problem"] for found in map(json.loads, results.read_text().splitlines())}
        return seen | {check: problem for check, problem in places.problems().items() if not seen.get(check)}


def table(results: list[Result]) -> str:
    """Return the table of all results, columns aligned."""
    lines = [["row", "Python", *VERSIONS, *CHECKS, "s"], *(result.cells() for result in results)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


if __name__ == "__main__":
    sys.exit(main())
