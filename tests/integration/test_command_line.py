"""``python -m airflow_provider_sftp_s3`` as a process, on a machine where Airflow has never been set up."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_provider_sftp_s3.flows.file import check_flows
from tests.support.airflow_env import warnings_of_ours_only

pytestmark = pytest.mark.integration

GOOD = """
- {name: partner_pull, direction: pull, sftp_path: /outgoing, s3_bucket: example-inbound, retention: 7d}
- {name: partner_push, direction: push, schedule: "@hourly", s3_bucket: example-outbound, sftp_path: /incoming}
"""
BAD = """
- {name: no_place, direction: pull, s3_bucket: example-inbound}
- {name: typo, direction: push, shedule: "@hourly", s3_bucket: example-outbound, sftp_path: /incoming}
"""


@dataclass(frozen=True)
class CommandLine:
    home: Path

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit status, standard output and standard error."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow_provider_sftp_s3", *arguments],
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
        )
        assert list(self.home.rglob("*.db")) == []
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def command_line(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_good_flows_are_a_line_each(command_line: CommandLine) -> None:
    (command_line.home / "flows.yaml").write_text(GOOD)
    status, output, errors = command_line("check", "flows.yaml")
    assert (status, errors) == (0, "")
    pull, push = output.splitlines()
    assert pull.startswith("partner_pull: When started by hand, pulls everything in `/outgoing`")
    assert push.startswith("partner_push: On the schedule `@hourly` (UTC), pushes everything")


def test_wrong_flows_are_the_import_errors_text(command_line: CommandLine) -> None:
    """Nothing more on standard error; the good ones have their lines on standard output."""
    file = command_line.home / "flows.yaml"
    file.write_text(GOOD + BAD)
    status, output, errors = command_line("check", "flows.yaml")
    with warnings_of_ours_only(), pytest.raises(ValueError, match="no_place") as import_error:
        check_flows(file)
    assert (status, errors) == (1, f"{import_error.value}\n")
    assert "'typo': shedule: there is no such field" in errors
    assert [line.split(":")[0] for line in output.splitlines()] == ["partner_pull", "partner_push"]


def test_what_may_be_meant_is_a_warning_and_no_error(command_line: CommandLine) -> None:
    (command_line.home / "flows.yaml").write_text(
        "- {name: csv, direction: push, s3_bucket: a-bucket, sftp_path: /csv, include: '*.csv'}\n"
        "- {name: xml, direction: push, s3_bucket: a-bucket, sftp_path: /xml, include: '*.xml'}\n"
    )
    status, output, errors = command_line("check", "flows.yaml")
    assert (status, len(output.splitlines())) == (0, 2)
    assert errors.startswith("warning: flows 'csv' and 'xml': both have the destination")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file or directory"),
        ("", "holds no flow"),
        ("- name: [\n", "is no YAML"),
        ("name: x\n", "is no list"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_and_no_traceback(
    command_line: CommandLine, text: str | None, says: str
) -> None:
    if text is not None:
        (command_line.home / "flows.yaml").write_text(text)
    status, output, errors = command_line("check", "flows.yaml")
    assert (status, output) == (1, "")
    assert errors.startswith("flows.yaml ")
    assert says in errors
    assert "Traceback" not in errors


def test_nor_can_a_directory(command_line: CommandLine) -> None:
    status, output, errors = command_line("check", ".")
    assert (status, output) == (1, "")
    assert "Is a directory" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("arguments", [(), ("check",), ("chek", "flows.yaml"), ("check", "--fast", "flows.yaml")])
def test_a_wrong_command_line_says_how_it_is_used(command_line: CommandLine, arguments: tuple[str, ...]) -> None:
    status, output, errors = command_line(*arguments)
    assert (status, output) == (2, "")
    assert errors.startswith("usage: python -m airflow_provider_sftp_s3")
