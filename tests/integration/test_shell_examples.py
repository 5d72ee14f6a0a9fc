"""
Every command that README and docs show: it is run here, but for those of :data:`CANNOT_RUN`, which are looked at.

No list says which those are that run: whatever a page shows, and no line of CANNOT_RUN names, is run.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import botocore.session
import pytest
import yaml
from botocore import xform_name
from packaging.requirements import Requirement

from airflow_provider_sftp_s3.__main__ import main
from tests.support.airflow_env import airflow_connections, warnings_of_ours_only
from tests.support.pages import DOCS, PAGES, REPOSITORY, blocks, commands, make_buckets, script
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

SHELL = ("console", "sh")
START, CONNECTIONS = DOCS / "start.md", DOCS / "connections.md"
OURS = ["python", "-m", "airflow_provider_sftp_s3"]


# --- What cannot run here

#: How a line begins -> why it cannot run here.
CANNOT_RUN = {
    "docker ": "needs docker: test_compose.py and `make celery` run what docker-compose.yaml says without it",
    "aws ": "needs an account",
    "pip ": "asks the package index: `make matrix` and `make package` install the project so",
    "zip ": "packs what pip has fetched",
    "make ": "is a suite of its own, or installs what it needs: .ci/run runs them",
    ".venv/bin/python -m pytest ": "is what runs here",
    "airflow dags backfill ": "is of Airflow 2",
    "AIRFLOW__API__HOST=127.0.0.1 airflow standalone": "does not end: test_demo.py and test_airflow_system.py run it",
}


def can_run(line: str) -> bool:
    return not line.startswith(tuple(CANNOT_RUN))


def typed(page: Path) -> list[str]:
    """Return the shell examples of a page, as somebody types them."""
    return [script(text) for text in blocks(page, *SHELL)]


def that_can_run(page: Path) -> list[str]:
    """Return of each shell example of a page what can run here, of those in which anything can."""
    some = ["".join(line for line in text.splitlines(keepends=True) if can_run(line)) for text in typed(page)]
    return [text for text in some if text]


def check_make(words: list[str]) -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert {word for word in words if "=" not in word} <= set(targets.split())
    for name in (word.partition("=")[0] for word in words if "=" in word):
        assert re.search(rf"\$\({name}\)|\$\(if \$\({name}\)|^{name} \?=", makefile, re.MULTILINE), name


def check_pip(words: list[str]) -> None:
    command, *rest = words
    assert command in ("install", "wheel")
    what = Requirement(re.sub(r"^\.(?=\[|$)", "airflow-provider-sftp-s3", rest[0]))  # the clone
    project = (REPOSITORY / "pyproject.toml").read_text()
    assert f'name = "{what.name}"' in project
    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in what.extras)
    assert {word for word in rest if word.startswith("--")} <= {"--constraint", "--only-binary", "--wheel-dir"}


def check_airflow(words: list[str]) -> None:
    """Of Airflow 2 there is no parser here."""
    if words[:2] != ["dags", "backfill"]:
        from airflow.cli import cli_parser

        with warnings_of_ours_only():
            cli_parser.get_parser().parse_args(words)


def check_pytest(words: list[str]) -> None:
    assert words[:2] == ["-m", "pytest"]
    assert all((REPOSITORY / word).exists() for word in words[2:])


def check_aws(words: list[str]) -> None:
    """Have botocore's model look at it: the operation is there, and takes what it is given."""
    service, operation, *given = words
    session = botocore.session.get_session()
    model = session.get_service_model(service)
    (name,) = [each for each in model.operation_names if xform_name(each, "-") == operation]
    shape = model.operation_model(name).input_shape
    options = {word.removeprefix("--"): value for word, value in zip(given[::2], given[1::2], strict=True)}
    assert set(options) <= {xform_name(member, "-") for member in shape.members}
    assert {xform_name(member, "-") for member in shape.required_members} <= set(options)
    json.loads(options["body"])


def check_docker(words: list[str]) -> None:
    services = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text())["services"]
    command, *rest = [word for word in words if not word.startswith("--")][1:]
    assert command in ("up", "down", "exec", "cp", "kill", "build", "logs")
    named = {word.partition(":")[0] for word in rest[:1] if command in ("exec", "kill")}
    named |= {word.partition(":")[0] for word in rest if command == "cp" and ":" in word}
    assert named <= set(services)


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "make": check_make,
    "pip": check_pip,
    "airflow": check_airflow,
    "python": check_pytest,
    "aws": check_aws,
    "docker": check_docker,
    "zip": lambda words: None,
}


def test_what_cannot_run_is_right_as_far_as_that_can_be_told(tmp_path: Path) -> None:
    """And each kind of it is shown somewhere: else it need not be in the list."""
    lines = {line for page in PAGES for text in typed(page) for line in text.splitlines() if not can_run(line)}
    assert [begin for begin in CANNOT_RUN if not any(line.startswith(begin) for line in lines)] == []
    for line in lines:
        ((program, *words),) = commands(line, tmp_path)
        CHECKS[program](words)


# --- Our own command line


def write_flows(directory: Path) -> None:
    """Write the flows.yaml that the commands of the pages are about."""
    pages = ("flows.md", "backfill.md", "start.md")
    flows = [flow for page in pages for flow in yaml.safe_load(blocks(DOCS / page, "yaml")[0])]
    flows[0]["pool"] = "partner"
    for file in (directory / "flows.yaml", directory / ".try/dags/flows.yaml"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(flows))


def make_places(sftp: AsyncsshServer, s3: S3Server) -> None:
    """Make what the flows of :func:`write_flows` move: a file and objects, not young, and not old either."""
    for directory in ("outgoing", "incoming"):
        (sftp.root / directory).mkdir()
    (sftp.root / "outgoing/a.csv").write_bytes(b"in")
    os.utime(sftp.root / "outgoing/a.csv", (time.time() - 60, time.time() - 60))
    client = make_buckets(s3)
    for key in ("partner/b.csv", "daily/2026-01-31/c.csv"):
        client.put_object(Bucket="example-outbound", Key=key, Body=b"out")
    client.close()


def test_our_own_command_line_runs_as_pasted(
    sftp_server: AsyncsshServer, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its commands on any page: all is well, and nothing is touched."""
    write_flows(tmp_path)
    make_places(sftp_server, s3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")  # so that what main() makes of it ends with the test
    monkeypatch.delenv("_AIRFLOW_PROCESS_CONTEXT")
    partner = sftp_server.airflow_connection()
    said: dict[str, str] = {}
    with airflow_connections(sftp_default=partner, partner_sftp=partner, aws_default=s3.airflow_connection()):
        for text in {text for page in PAGES for text in that_can_run(page)}:
            for words in commands(text, tmp_path / "nothing"):
                if words[:3] == OURS:
                    output, errors = io.StringIO(), io.StringIO()
                    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
                        status = main(words[3:])
                    assert (status, errors.getvalue()) == (0, ""), words
                    said[" ".join(words[3:])] = output.getvalue()
    assert {line.split()[0] for line in said} == {"check", "plan", "pools", "status", "test-connection"}
    assert "a.csv' -> 's3://example-inbound/partner/a.csv'" in said["plan flows.yaml partner_pull"]
    assert "/incoming/c.csv'" in said["plan flows.yaml partner_push_daily --date 2026-01-31"]
    assert json.loads(said["pools flows.yaml"])["partner"]["slots"] == 1
    assert (sftp_server.root / "outgoing/a.csv").exists()
    assert s3.objects("example-inbound") == {}


# --- Connections, and the first ten minutes


def with_the_places(text: str, sftp: AsyncsshServer, s3: S3Server) -> str:
    """Return commands with a server and a store that are there, in place of those of the examples."""
    endpoint = f'{{"endpoint_url": "{s3.url}", "region_name": "eu-central-1"'
    for shown, real in (
        ("sftp.example.com", sftp.host),
        ('"port": 22', f'"port": {sftp.port}'),
        ("--conn-port 22", f"--conn-port {sftp.port}"),
        ('"login": "example"', f'"login": "{sftp.username}"'),
        ("--conn-login example", f"--conn-login {sftp.username}"),
        ("example-password", sftp.password or ""),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI...", sftp.host_key),
        ('{"region_name": "eu-central-1"', endpoint),
    ):
        text = text.replace(shown, real)
    return text


def run(text: str, directory: Path, **environment: str) -> str:
    """Run commands in a shell as a new user has it, and return what they print."""
    places = os.pathsep.join([str(directory), str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    done = subprocess.run(
        ["bash", "-euc", text],
        cwd=directory,
        env={"PATH": places, "HOME": str(directory), "PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8", **environment},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


RECORD = """#!/bin/sh
printf '%s\\0' "$@" >> "$RECORD"
printf '\\n\\0' >> "$RECORD"
"""


async def test_each_connection_logs_in(sftp_server: AsyncsshServer, s3: S3Server, tmp_path: Path) -> None:
    """docs/connections.md: as a shell, Airflow's parser and the hook understand it; by password and by key."""
    from airflow.cli import cli_parser

    from airflow_provider_sftp_s3.engine.options import TransferOptions
    from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
    from airflow_provider_sftp_s3.hooks.sftp_server import SftpSessionHook

    (tmp_path / "id_ed25519").write_text(sftp_server.client_key_text)
    (tmp_path / "airflow").write_text(RECORD)
    (tmp_path / "airflow").chmod(0o755)
    text = with_the_places("".join(map(script, blocks(DOCS / "connections.md", "sh"))), sftp_server, s3)
    run(text, tmp_path, RECORD=str(tmp_path / "record"))
    added: dict[str, dict[str, Any]] = {}
    for command in (tmp_path / "record").read_text().split("\0\n\0"):
        if command:
            with warnings_of_ours_only():
                given = cli_parser.get_parser().parse_args(command.split("\0"))
            names = ("type", "host", "port", "login", "password")
            fields = {name: value for name in names if (value := getattr(given, f"conn_{name}")) is not None}
            extra = {"extra": json.loads(given.conn_extra)} if given.conn_extra else {}
            added[given.conn_id] = json.loads(given.conn_json) if given.conn_json else {**fields, **extra}
    assert list(added) == ["partner_password", "partner_key", "s3_by_key", "s3_by_role"]
    by_key = added["partner_key"]
    by_key["conn_type"], by_key["port"] = by_key.pop("type"), int(by_key["port"])
    with_a_key, with_a_host_key = (json.loads(text) for text in blocks(DOCS / "connections.md", "json"))
    key = asyncssh.import_private_key(sftp_server.client_key_text)
    locked = key.export_private_key(passphrase=with_a_key["private_key_passphrase"]).decode()
    assert with_a_key["private_key"].splitlines()[0] == locked.splitlines()[0]
    for extra in (with_a_key, with_a_host_key):
        assert extra["host_key"].startswith("ssh-ed25519 AAAA")
        extra["host_key"] = sftp_server.host_key
    added["partner_key_in_the_ui"] = {**by_key, "extra": with_a_key | {"private_key": locked}}
    added["partner_host_key"] = {**added["partner_password"], "extra": with_a_host_key}
    partners = {name: fields for name, fields in added.items() if name.startswith("partner")}
    with airflow_connections(**partners):
        for name in partners:
            server, options = SftpSessionHook(name).read(TransferOptions())
            assert (server.password is None) == ("partner_key" in name)
            async with SftpSession(server, options) as session:
                assert await session.exists(b"/")


@pytest.mark.slow
def test_all_that_is_typed(sftp_server: AsyncsshServer, s3: S3Server, tmp_path: Path) -> None:
    """docs/start.md from its second step on, then the other pages, with Airflow's own commands and database."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").touch()
    (tmp_path / "dags").symlink_to(REPOSITORY / "dags")
    (tmp_path / "id_ed25519").write_text(sftp_server.client_key_text)
    make_places(sftp_server, s3)
    home, connections, files, look, test = that_can_run(START)
    (flows,) = blocks(START, "yaml")
    prepare = with_the_places("".join((home, connections, files, *typed(CONNECTIONS))), sftp_server, s3)
    write = f"cat > .try/dags/flows.yaml <<'EOF'\n{flows}EOF\n"
    out = run(f"{prepare}{write}{look}echo; echo {'-' * 9}\n{test}", tmp_path)
    looked, ran = out.split("-" * 9)
    assert "first_pull: " in looked
    assert "s3://example-inbound/first/a.csv" in looked
    assert "1 transferred" in ran
    assert s3.objects("example-inbound") == {"first/a.csv": b"in"}
    assert (sftp_server.root / "outgoing/a.csv").exists()

    write_flows(tmp_path)
    others = "".join({text: 1 for page in PAGES if page not in (START, CONNECTIONS) for text in that_can_run(page)})
    again = "".join(line for line in home.splitlines(keepends=True) if "db migrate" not in line)
    partner = json.dumps(sftp_server.airflow_connection())
    out = run(
        f"{again}airflow pools set partner 9 other\nairflow dags reserialize\n{others}",
        tmp_path,
        AIRFLOW_CONN_PARTNER_SFTP=partner,
    )
    assert json.loads((tmp_path / "pools.json").read_text())["partner"]["slots"] == 1
    assert out.count("partner_push_daily") > 1
