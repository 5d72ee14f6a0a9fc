"""``python -m airflow_provider_sftp_s3`` as a process, on a machine where Airflow has never been set up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from airflow_provider_sftp_s3.flows.file import check_flows
from tests.support.airflow_env import warnings_of_ours_only
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

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
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit status, standard output and standard error."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow_provider_sftp_s3", *arguments],
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
            | self.environment,
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
        ("[{name: [\n", "is no YAML"),
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


# -- Pools -------------------------------------------------------------------------------------------------------------

POOLED = """
defaults: {s3_bucket: a-bucket, pool: partner_a}
flows:
- {name: one, direction: pull, sftp_path: /a, parallelism: 3, pool_slots: 2}
- {name: two, direction: push, sftp_path: /b}
- {name: three, direction: push, sftp_path: /b, pool: default_pool}
"""


def test_the_pools_of_flows_can_be_imported(command_line: CommandLine) -> None:
    """With the slots that the largest of their flows needs; a wrong flow is said, and has none."""
    (command_line.home / "flows.yaml").write_text(POOLED + "- {name: bad, direction: up, pool: other}\n")
    status, output, errors = command_line("pools", "flows.yaml")
    assert json.loads(output) == {
        "partner_a": {"slots": 6, "description": "Flows: one, two", "include_deferred": False},
        "default_pool": {"slots": 1, "description": "Flows: three", "include_deferred": False},
    }
    assert (status, errors.splitlines()[0][:37]) == (1, "flows.yaml, line 7: flow 'bad': direc")
    (command_line.home / "flows.yaml").write_text(POOLED)
    assert command_line("pools", "flows.yaml")[::2] == (0, "")


def test_a_pool_that_does_not_exist_is_said_where_airflow_can_be_asked(
    command_line: CommandLine, airflow_home: Path
) -> None:
    """And nowhere else: in CI there is no database."""
    (command_line.home / "flows.yaml").write_text(POOLED)
    assert command_line("check", "flows.yaml")[::2] == (0, "")
    command_line.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    status, _, errors = command_line("check", "flows.yaml")
    (line,) = errors.splitlines()
    assert (status, line.split(",")[0]) == (1, "pool 'partner_a' does not exist")
    assert "Flows: one, two. `pools flows.yaml` writes it" in line


# -- Plan --------------------------------------------------------------------------------------------------------------


def test_a_plan_says_what_would_move_where_and_touches_nothing(
    command_line: CommandLine, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Both ways; templates know the day."""
    connections = {"SFTP_DEFAULT": sftp_server.airflow_connection(), "AWS_DEFAULT": s3.airflow_connection()}
    command_line.environment.update({f"AIRFLOW_CONN_{name}": json.dumps(each) for name, each in connections.items()})
    tree = sftp_server.local("/outgoing")
    tree.mkdir()
    (sftp_server.local("/incoming")).mkdir()
    (tree / "a.csv").write_bytes(b"12")
    client = s3.client()
    client.put_object(Bucket=bucket, Key="out/2026-01-31/b.csv", Body=b"3")
    client.close()
    (command_line.home / "flows.yaml").write_text(
        f"defaults: {{s3_bucket: {bucket}}}\n"
        "flows:\n"
        "- {name: in, direction: pull, sftp_path: /outgoing, min_age: 0, include: ['*.csv', '{{ ds }}']}\n"
        "- {name: out, direction: push, sftp_path: /incoming, s3_prefix: 'out/{{ ds }}'}\n"
        "- {name: secret, direction: push, sftp_path: '{{ var.value.x }}', s3_prefix: secret}\n"
        "- {name: nowhere, direction: pull, sftp_path: /nowhere}\n"
        "- {name: bad, direction: up}\n"
    )
    status, output, errors = command_line("plan", "flows.yaml", "in")
    assert (status, errors) == (0, "")
    assert f"/outgoing/a.csv' -> 's3://{bucket}/a.csv'" in output
    status, output, errors = command_line("plan", "flows.yaml", "out", "--date", "2026-01-31")
    assert (status, errors) == (0, "")
    assert f"s3://{bucket}/out/2026-01-31/b.csv' -> 'sftp://" in output
    assert "/incoming/b.csv'" in output
    assert s3.objects(bucket) == {"out/2026-01-31/b.csv": b"3"}
    assert [path.name for path in tree.iterdir()] == ["a.csv"]
    assert list(sftp_server.local("/incoming").iterdir()) == []
    for name, says in {
        "secret": "sftp_path: '{{ var.value.x }}' cannot be rendered here: 'var' is undefined. Known are ds, ",
        "nowhere": "/nowhere",
        "bad": "direction: 'up' is not allowed",
        "other": "There is no flow 'other'. There are: in, out, secret, nowhere",
    }.items():
        status, output, errors = command_line("plan", "flows.yaml", name)
        assert (status, says in errors, "Traceback" in errors) == (1, True, False), errors
