"""One row: the provider under one Airflow, in a directory of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from matrix.rows import Row
from matrix.servers import world
from matrix.venvs import RowError, Venv, clean_environment, install

REPOSITORY = Path(__file__).parents[1]
SCRATCH = REPOSITORY / ".matrix"
#: Seconds after which `inside.py` is taken to hang; on an idle machine it needs 20 to 60.
INSIDE_TIMEOUT = 1200
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
