"""What `make matrix` promises of itself; that the provider works under each Airflow is for the matrix to tell."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from airflow_provider_sftp_s3.engine.sftp.packets import TRIED
from matrix import trial
from matrix.__main__ import table
from matrix.rows import CONSTRAINTS, MWAA, NEWEST_ASYNCSSH, ROWS, Row
from matrix.venvs import floor, pins, without

pytestmark = pytest.mark.unit


def test_each_constraints_file_has_its_row() -> None:
    assert {row.constraints for row in MWAA} == set(CONSTRAINTS.glob("*.txt"))
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_each_asyncssh_whose_packets_the_engine_makes_has_its_row() -> None:
    """What no row has tried is not trusted: MWAA's pins, the lowest that is declared, and the newest there was."""
    assert any(row.constraints is None for row in ROWS)
    project = tomllib.loads((trial.REPOSITORY / "pyproject.toml").read_text())["project"]
    (declared,) = [each for each in map(Requirement, project["dependencies"]) if each.name == "asyncssh"]
    tried = {pins(row.constraints)[canonicalize_name("asyncssh")] for row in MWAA}
    tried |= {floor(declared), Version(NEWEST_ASYNCSSH)}
    assert [Version(each) for each in TRIED] == sorted(tried)


def test_a_missing_python_fails_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to do, and is not skipped."""
    monkeypatch.setattr(trial, "SCRATCH", tmp_path)
    result = trial.run(Row("future", "3.99"), tmp_path / "no.whl", keep=False)
    assert not result.green
    assert "Python 3.99 is not installed: pyenv install" in str(result.problems["install"])
    assert table([result]).splitlines()[1].split()[:9] == ["future", "3.99", *"------", "FAIL"]


def test_a_row_is_green_only_if_everything_was_tried() -> None:
    result = trial.Result(ROWS[0], dict.fromkeys(trial.CHECKS.values()))
    assert result.green
    result.problems.pop("retry")
    assert not result.green


def test_pins_are_read_by_normalised_name(tmp_path: Path) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text("# a comment\nPyYAML==6.0.2\nzope.event==5.0  # another\n\n")
    assert pins(file) == {"pyyaml": Version("6.0.2"), "zope-event": Version("5.0")}
    assert without(file, {"pyyaml"}) == "zope-event==5.0\n"


def test_a_floor_is_the_lowest_version_allowed() -> None:
    assert floor(Requirement("obstore>=0.11,<2")) == Version("0.11")
