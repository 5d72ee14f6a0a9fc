"""What .ci/run runs: every suite there is, in less than an hour."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.more_sftp_servers import NODE_MODULES, NODE_PACKAGES

REPOSITORY = Path(__file__).parents[2]
RUN = REPOSITORY / ".ci/run"

pytestmark = [pytest.mark.unit, pytest.mark.skipif(not RUN.exists(), reason="the sdist has no .ci")]

#: Targets that are no suites: somebody looks at what they show, or another target has them.
OTHERS = {"lint", "demo", "bench", "mutants", "screenshots", "links", "clean"}


def suites() -> dict[str, int]:
    """Return the suites that it runs, with the seconds each should take."""
    return {name: int(seconds) for seconds, name in re.findall(r"^suite (\d+) (\w+)$", RUN.read_text(), re.M)}


def test_every_suite_is_run() -> None:
    """Those of the Makefile, and no others."""
    (targets,) = re.findall(r"^\.PHONY: (.*)$", (REPOSITORY / "Makefile").read_text(), re.M)
    assert suites().keys() == set(targets.split()) - OTHERS


def test_there_is_room_for_more_suites() -> None:
    """All budgets together are 53 minutes at most: the rest of the hour is for what has to be installed."""
    assert sum(suites().values()) <= 53 * 60
    assert suites()["test"] <= 4 * 60


def test_contributing_says_how_long_each_takes() -> None:
    """In minutes, as the budgets are."""
    page = (REPOSITORY / "CONTRIBUTING.md").read_text()
    said = {name: int(minutes) for name, minutes in re.findall(r"^\| `make (\w+)` \| (\d+)", page, re.M)}
    assert said == {name: -(-seconds // 60) for name, seconds in suites().items()}


def test_npm_installs_what_the_tests_look_for() -> None:
    assert f"--prefix {NODE_MODULES.parent.name} " in RUN.read_text()
    assert f" {NODE_PACKAGES}\n" in RUN.read_text()


@pytest.mark.parametrize(
    ("command", "status", "says"), [("true", 0, ""), ("sleep 2", 0, "OVER BUDGET"), ("false", 2, "FAILED (2)")]
)
def test_a_suite_says_what_it_took(tmp_path: Path, command: str, status: int, says: str) -> None:
    """Over its budget it is none the worse; a failure ends the run, with what was done until then."""
    (tmp_path / "Makefile").write_text(f"one:\n\t@{command}\ntwo:\n\t@true\n")
    (functions,) = re.findall(r"^LIMIT=.*?(?=^# Together)", RUN.read_text(), re.M | re.S)
    script = f"set -euo pipefail\n{functions}\nsuite 1 one\nsuite 1 two\n"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    *_, first, second, total = done.stdout.splitlines()
    if status:
        first = second
    assert re.match(r"one +\d s of +1 s", first)
    assert first.endswith(says)
    assert total.startswith("all ")
    assert ("suite two" in done.stdout) == (not status)
