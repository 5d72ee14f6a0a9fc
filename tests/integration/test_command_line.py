"""``python -m airflow_provider_sftp_s3`` as a process, on a machine where Airflow has never been set up."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.flows.file import check_flows
from tests.support.airflow_env import warnings_of_ours_only
from tests.support.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Request, S3Server
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
            | {"AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600"}  # on a busy machine nothing is to be slow by default
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


def test_flows_that_take_longer_than_airflow_waits_are_a_warning(command_line: CommandLine) -> None:
    (command_line.home / "flows.yaml").write_text(GOOD)
    command_line.environment["AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT"] = "0.001"
    status, output, errors = command_line("check", "flows.yaml")
    assert (status, len(output.splitlines())) == (0, 2)
    assert "[core] dagbag_import_timeout): spread the flows over several files" in errors


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
    """
    With the slots that the largest of their flows needs; a wrong flow is said, and has none.

    Airflow's own is left out: to import it with one slot would hold up all of Airflow.
    """
    (command_line.home / "flows.yaml").write_text(POOLED + "- {name: bad, direction: up, pool: other}\n")
    status, output, errors = command_line("pools", "flows.yaml")
    assert json.loads(output) == {
        "partner_a": {"slots": 6, "description": "Flows: one, two", "include_deferred": False},
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
        "- {name: in, direction: pull, sftp_path: /outgoing, min_age: 0, include: ['*.csv', '{{ ds }}'],\n"
        "   extra_args: {ACL: '{{ \"private\" }}'}}\n"
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


# -- Status ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_sides(command_line: CommandLine, sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> str:
    """
    Three flows; return the bucket.

    One has two files of a day ago and a young one, one has an object, and one a wrong directory.
    """
    connections = {"SFTP_DEFAULT": sftp_server.airflow_connection(), "AWS_DEFAULT": s3.airflow_connection()}
    command_line.environment.update({f"AIRFLOW_CONN_{name}": json.dumps(each) for name, each in connections.items()})
    for name in ("outgoing", "incoming"):
        sftp_server.local(name).mkdir()
    day_ago = time.time() - 26 * 3600
    for name in ("a.csv", "b.csv", "young.csv"):
        (sftp_server.local("outgoing") / name).write_bytes(b"12")
        if name != "young.csv":
            os.utime(sftp_server.local("outgoing") / name, (day_ago, day_ago))
    client = s3.client()
    client.put_object(Bucket=bucket, Key="out/c.csv", Body=b"345")
    client.close()
    (command_line.home / "flows.yaml").write_text(
        f"defaults: {{s3_bucket: {bucket}}}\n"
        "flows:\n"
        "- {name: in, direction: pull, sftp_path: /outgoing, s3_prefix: in/, max_files: 1, retention: 1d,\n"
        "   min_age: 1h}\n"
        "- {name: out, direction: push, sftp_path: /incoming, s3_prefix: out/}\n"
        "- {name: nowhere, direction: pull, sftp_path: /nowhere, s3_prefix: no/}\n"
    )
    return bucket


def test_status_says_what_waits_and_what_is_behind(
    command_line: CommandLine, two_sides: str, sftp_server: AsyncsshServer, s3: S3Server
) -> None:
    """As JSON and as a table; caps count for nothing, young files count; nothing is touched."""
    status, output, errors = command_line("status", "--json")
    assert (status, errors) == (1, "")
    found = {each["flow"]: each for each in json.loads(output)}
    assert [(name, found[name]["files"], found[name]["bytes"], found[name]["behind"]) for name in ("in", "out")] == [
        ("in", 3, 4, False),
        ("out", 1, 3, False),
    ]
    assert 26 * 3600 <= found["in"].pop("oldest_age") < 27 * 3600
    assert (found["out"]["source"], found["out"]["target"]) == (f"s3://{two_sides}/out/", "sftp_default:/incoming")
    assert found["nowhere"]["behind"]
    assert "sftp_path: there is no directory '/nowhere'" in found["nowhere"]["error"]
    assert command_line("status", "in", "out")[0] == 0
    status, output, _ = command_line("status", "out", "in", "--older-than", "2h", "--file", "flows.yaml")
    heading, first, second = output.splitlines()
    assert heading.split() == ["FLOW", "FILES", "BYTES", "OLDEST", "FROM", "TO"]
    assert first.split()[:6] == ["in", "BEHIND", "3", "4", "1d", "2h"]
    assert second.split()[:4] == ["out", "ok", "1", "3"]
    assert status == 1
    assert command_line("status", "in", "--older-than", "2d")[0] == 0
    assert set(s3.objects(two_sides)) == {"out/c.csv"}
    assert sorted(path.name for path in sftp_server.root.rglob("*")) == [
        *("a.csv", "b.csv", "incoming", "outgoing", "young.csv")
    ]


def test_status_finds_the_file_among_the_dag_files(command_line: CommandLine, two_sides: str) -> None:
    """Where this directory has none; a flow that is nowhere is said."""
    (command_line.home / "dags/team").mkdir(parents=True)
    (command_line.home / "flows.yaml").rename(command_line.home / "dags/team/flows.yaml")
    command_line.environment["AIRFLOW__CORE__DAGS_FOLDER"] = str(command_line.home / "dags")
    assert command_line("status", "out")[0] == 0
    status, _, errors = command_line("status", "other")
    assert (status, errors) == (1, "There is no flow 'other'. There are: in, out, nowhere\n")
    command_line.environment["AIRFLOW__CORE__DAGS_FOLDER"] = str(command_line.home / "elsewhere")
    status, _, errors = command_line("status")
    assert (status, errors) == (1, "No flows.yaml was found: say where it is, by --file\n")


@pytest.mark.parametrize("age", ["", " ", "abc", "1h2", "-1h", "nan", "1e9", "9" * 18 + "d", "\uff12h"])
def test_an_age_that_is_none_is_a_wrong_command_line(command_line: CommandLine, age: str) -> None:
    """And says what to give; nothing is looked at."""
    status, output, errors = command_line("status", f"--older-than={age}")
    assert (status, output) == (2, "")
    assert f"--older-than: {age!r} is no duration: give one such as 90s, 2h or 1d" in errors


@pytest.mark.parametrize(("age", "behind"), [("0", True), ("1d 1h", True), ("93599.5", True), ("52w", False)])
def test_an_age_is_written_as_in_flows(command_line: CommandLine, two_sides: str, age: str, behind: bool) -> None:
    """The oldest file is 26 hours old."""
    status, output, _ = command_line("status", "in", "--json", "--older-than", age)
    assert (status, json.loads(output)[0]["behind"]) == (int(behind), behind)


def test_a_day_that_is_none_is_a_wrong_command_line(command_line: CommandLine) -> None:
    status, _, errors = command_line("plan", "flows.yaml", "in", "--date", "yesterday")
    assert (status, "--date: 'yesterday' is no day: give one such as 2026-01-31" in errors) == (2, True)


def test_what_is_printed_moves_no_cursor(
    command_line: CommandLine, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Names with escape sequences, and marks that turn a line round, are spelled out; in JSON, too."""
    connections = {"SFTP_DEFAULT": sftp_server.airflow_connection(), "AWS_DEFAULT": s3.airflow_connection()}
    command_line.environment.update({f"AIRFLOW_CONN_{name}": json.dumps(each) for name, each in connections.items()})
    sftp_server.local("/").joinpath("a\x1b[2Jb\u202ec").mkdir()
    (command_line.home / "flows.yaml").write_text(
        f"defaults: {{s3_bucket: {bucket}, direction: pull}}\n"
        "flows:\n"
        '- {name: here, sftp_path: "/a\\e[2Jb\\u202ec", s3_prefix: here/}\n'
        '- {name: nowhere, sftp_path: "/x\\e[2Jy\\u202ez", s3_prefix: no/}\n'
    )
    for arguments in (
        ("status",),
        ("status", "--json"),
        ("test-connection", "sftp_default", "--path=/x\x1b[2Jy\u202ez"),
    ):
        status, output, errors = command_line(*arguments)
        assert status == 1
        assert not set(output + errors) & {"\x1b", "\u202e"}, output
        assert "202e" in output
    assert "/a\\x1b[2Jb" in command_line("status")[1]


# -- Test a connection -------------------------------------------------------------------------------------------------


def steps(output: str) -> dict[str, tuple[str, str]]:
    """Return state and text of each step by its name."""
    lines = [line.split(None, 1) for line in output.splitlines()]
    return {line[1].split("  ", 1)[0].strip(): (line[0], line[1].split("  ", 1)[1].strip()) for line in lines}


def test_an_sftp_connection_step_by_step(command_line: CommandLine, sftp_server: AsyncsshServer) -> None:
    """Each step that fails says what to change, and is the last one; a good one opens and changes nothing."""
    (sftp_server.root / "outgoing").mkdir()
    (sftp_server.root / "outgoing/theirs").write_bytes(b"1")
    good = sftp_server.airflow_connection()

    def trial(*arguments: str, **fields: Any) -> tuple[int, dict[str, tuple[str, str]]]:
        extra = {**(json.loads(good["extra"]) if isinstance(good["extra"], str) else good["extra"])}
        changed = good | {name: value for name, value in fields.items() if name != "host_key"}
        changed["extra"] = extra | ({"host_key": fields["host_key"]} if "host_key" in fields else {})
        command_line.environment["AIRFLOW_CONN_PARTNER"] = json.dumps(changed)
        status, output, errors = command_line("test-connection", "partner", *arguments)
        assert "Traceback" not in errors
        return status, steps(output)

    status, seen = trial("--path", "/outgoing")
    assert (status, [(name, state) for name, (state, _) in seen.items()]) == (
        0,
        [
            *((name, "ok") for name in ("connection", "address", "host key", "login", "directory", "list")),
            *(("read", "-"), ("write", "-")),
        ],
    )
    assert re.search(r" answers: SSH-2.0-[\w.]+$", seen["address"][1])
    assert sftp_server.requests["OPEN"] == sftp_server.requests["RENAME"] == 0

    status, seen = trial("--path", "/outgoing", "--write")
    assert (status, seen["write"][0], seen["rename"][0]) == (0, "ok", "ok")
    assert [path.name for path in (sftp_server.root / "outgoing").iterdir()] == ["theirs"]

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        for fields, step, says in (
            ({"port": taken.getsockname()[1]}, "address", "Look at host and port"),
            ({"host_key": f"ssh-ed25519 {'A' * 68}"}, "host key", "host_key"),
            ({"login": "nobody"}, "login", "nobody"),
        ):
            status, seen = trial("--path", "/outgoing", **fields)
            assert (status, list(seen)[-1]) == (1, step), seen
            assert seen[step][0] == "FAILED"
            assert says in seen[step][1]
    status, seen = trial("--path", "/nowhere")
    assert (status, seen["directory"]) == (1, ("FAILED", "there is no directory '/nowhere': change sftp_path"))
    status, _, errors = command_line("test-connection", "other")
    assert (status, "there is no connection 'other'" in errors, "Traceback" in errors) == (1, True, False)


def test_an_aws_connection_step_by_step(command_line: CommandLine, s3: S3Server, bucket: str) -> None:
    """Each permission by itself: what is refused, and what to allow. Nothing is left in the bucket."""
    command_line.environment["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(s3.airflow_connection())

    def trial(*arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
        status, output, errors = command_line("test-connection", "aws_default", *arguments)
        assert errors == ""
        return status, steps(output)

    status, seen = trial("--bucket", bucket, "--prefix", "out/")
    assert (status, seen["write"][0], seen["mark"][0]) == (0, "ok", "-")
    client = s3.client()
    client.put_object(Bucket=bucket, Key="out/a", Body=b"1")
    client.close()
    before = s3.objects(bucket)
    status, seen = trial("--bucket", bucket, "--prefix", "out/")
    assert status == 0
    assert {name: state for name, (state, _) in seen.items()} == dict.fromkeys(
        ["connection", "bucket", "list", "read", "write", "mark"], "ok"
    )
    assert seen["mark"][1] == "a push can mark its objects by metadata"
    for operation, step, says in (
        ("ListObjectsV2", "list", "s3:ListBucket"),
        ("HeadObject", "read", "s3:GetObject"),
        ("PutObject", "write", "s3:PutObject"),
        ("CopyObject", "mark", "mark='tag'"),
    ):
        s3._before.clear()

        def refuse(request: S3Request, operation: str = operation) -> tuple[int, str] | None:
            return (403, "AccessDenied") if request.operation == operation else None

        s3.before(refuse)
        status, seen = trial("--bucket", bucket, "--prefix", "out/")
        assert (status, seen[step][0], says in seen[step][1]) == (1, "FAILED", True), seen
    s3._before.clear()
    status, seen = trial("--bucket", "nowhere")
    assert (status, seen["bucket"]) == (1, ("FAILED", "s3_bucket: there is no bucket 'nowhere'"))
    status, seen = trial()
    assert (status, seen["bucket"][0]) == (0, "-")
    # As a flow says it that has no connection: credentials as boto3 finds them.
    found = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_DEFAULT_REGION": REGION}
    command_line.environment.update(found | {"AWS_ENDPOINT_URL": s3.url})
    status, output, _ = command_line("test-connection", "none", "--bucket", bucket)
    assert (status, steps(output)["connection"][0], "as boto3 finds" in output) == (0, "ok", True)
    assert s3.objects(bucket) == before
