"""`make matrix`: try every row, print a table, exit with 1 unless all is well.

python -m matrix [ROW ...] [--keep]
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from matrix.rows import ROWS
from matrix.trial import CHECKS, REPOSITORY, SCRATCH, VERSIONS, Result, log_of, run
from matrix.venvs import TIMEOUT, UV


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


def table(results: list[Result]) -> str:
    """Return the table of all results, columns aligned."""
    lines = [["row", "Python", *VERSIONS, *CHECKS, "s"], *(result.cells() for result in results)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


if __name__ == "__main__":
    sys.exit(main())
