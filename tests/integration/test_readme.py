"""What README and docs show is run here as it stands: every YAML, Python, JSON and shell example of every page."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import types
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
from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer
from airflow_provider_sftp_s3.transfers.lineage import Places
from tests.support.airflow_env import airflow_connections, run_dag, warnings_of_ours_only
from tests.support.pages import DOCS, PAGES, REPOSITORY, all_blocks, blocks, commands, script
from tests.support.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

README = REPOSITORY / "README.md"
BUCKETS = ("example-inbound", "example-outbound")


def make_buckets(s3: S3Server) -> Any:
    """Make the buckets of the examples, and return a client."""
    client = s3.client()
    for bucket in BUCKETS:
        where = {"LocationConstraint": client.meta.region_name}
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
    return client


# --- Python


def dag_of(code: str) -> Any:
    """Run a Dag file of a page, and return its Dag."""
    from airflow.sdk import DAG

    made: list[DAG] = []

    class Kept(DAG):
        def __enter__(self) -> DAG:
            made.append(self)
            return super().__enter__()

    with warnings_of_ours_only():
        exec(code.replace("from airflow.sdk import DAG", ""), {"DAG": Kept})
    (dag,) = made
    return dag


def test_each_dag_runs_as_pasted(airflow_home: Path, sftp_server: AsyncsshServer, s3: S3Server) -> None:
    """Trees go one way, objects the other, by operator, hook and mapped tasks."""
    for directory in ("outgoing", "incoming"):
        (sftp_server.root / directory).mkdir()
    client = make_buckets(s3)
    for prefix in ("partner", "mapped"):
        client.put_object(Bucket="example-outbound", Key=f"{prefix}/{prefix}.csv", Body=b"out")
    ran = []
    with airflow_connections(sftp_default=sftp_server.airflow_connection(), aws_default=s3.airflow_connection()):
        for code, page in all_blocks("python").items():
            if page.name in ("assets.md", "engine.md"):  # one waits, and the other needs no Airflow: see below
                continue
            dag = dag_of(code)
            waiting = sftp_server.root / f"outgoing/orders_{dag.dag_id}.csv"
            waiting.write_bytes(b"in")
            os.utime(waiting, (1e9, 1e9))
            state, _ = run_dag(dag)
            assert state == "success", dag.dag_id
            assert waiting.exists() == ("push" in dag.dag_id)
            ran.append(dag.dag_id)
    pulls = ["large_pull", "partner_pull", "partner_pull_by_hook"]
    assert sorted(ran) == [*pulls, "partner_push", "partner_push_mapped"]
    assert {f"orders_{pull}.csv" for pull in pulls} <= {key.rpartition("/")[2] for key in s3.objects("example-inbound")}
    for prefix in ("partner", "mapped"):
        assert (sftp_server.root / f"incoming/{prefix}.csv").read_bytes() == b"out"


def test_the_engine_runs_as_pasted_and_needs_no_airflow(
    sftp_server: AsyncsshServer, s3: S3Server, tmp_path: Path
) -> None:
    """docs/engine.md: a tree goes one way, an object the other, in a process that never imports Airflow."""
    (code,) = blocks(DOCS / "engine.md", "python")
    (tmp_path / "transfer.py").write_text(code)
    for directory in ("outgoing", "incoming"):
        (sftp_server.root / directory).mkdir()
    (sftp_server.root / "outgoing/a.csv").write_bytes(b"in")
    os.utime(sftp_server.root / "outgoing/a.csv", (1e9, 1e9))
    client = make_buckets(s3)
    client.put_object(Bucket="example-outbound", Key="partner/b.csv", Body=b"out")
    client.close()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(tmp_path / "transfer.py")],
        env={
            **{"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)},
            **{"SFTP_HOST": sftp_server.host, "SFTP_PORT": str(sftp_server.port), "SFTP_USER": sftp_server.username},
            **{"SFTP_PASSWORD": sftp_server.password or "", "SFTP_HOST_KEY": sftp_server.host_key},
            **{"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_DEFAULT_REGION": REGION},
            **{"AWS_ENDPOINT_URL": s3.url, "AWS_EC2_METADATA_DISABLED": "true"},
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.split(" (")[0] for line in done.stdout.splitlines()] == ["pull: 1 transferred", "push: 1 transferred"]
    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert "asyncssh" in imported
    assert not {name for name in imported if name.split(".")[0] == "airflow"}
    assert s3.objects("example-inbound") == {"partner/a.csv": b"in"}
    assert (sftp_server.root / "incoming/b.csv").read_bytes() == b"out"


def test_the_dag_that_waits_for_the_pull_waits_for_its_asset() -> None:
    """Which is the one that the example of a pull writes to."""
    (after,) = (dag_of(code) for code in blocks(DOCS / "assets.md", "python"))
    pull = dag_of(blocks(DOCS / "pull.md", "python")[0])
    (task,) = pull.tasks
    places = Places("pull", SftpServer(host="example"), task.sftp_path, task.s3_bucket, task.s3_prefix)
    (asset,) = after.timetable.asset_condition.objects
    assert asset.name == places.target_uri()


# --- YAML and JSON


@pytest.fixture
def smtp(monkeypatch: pytest.MonkeyPatch) -> None:
    """The notifier of the examples, whose provider is not installed here."""
    from airflow_provider_sftp_s3._compat import BaseNotifier

    class SmtpNotifier(BaseNotifier):
        def __init__(self, *, to: str, subject: str = "") -> None:
            super().__init__()
            self.to, self.subject = to, subject

    module = types.ModuleType("smtp")
    module.SmtpNotifier = SmtpNotifier  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow.providers.smtp.notifications.smtp", module)


def test_the_flows_of_each_page_become_dags(tmp_path: Path, smtp: None) -> None:
    """One by one, and all of a page together, as somebody would paste them."""
    from airflow_provider_sftp_s3.flows.file import load_flows

    dags: dict[str, Any] = {}
    for page in PAGES:
        texts = blocks(page, "yaml")
        lists = [text for text in texts if isinstance(yaml.safe_load(text), list)]
        for text in [*texts, "\n".join(lists)] if lists else texts:
            (tmp_path / "flows.yaml").write_text(text)
            with warnings_of_ours_only():
                flows = load_flows(tmp_path / "flows.yaml")
            assert flows.errors == [], page
            assert flows.warnings == [], page
            dags |= flows.dags
    assert {"borealis_in", "prices_to_cumulus", "relay_out", "first_pull"} <= dags.keys()
    assert sorted(dags["partner_push"].task_ids) == ["list_unsynced", "push", "update_asset", "wait_for_objects"]
    assert sorted(dags["partner_push_on_events"].task_ids) == ["list_unsynced", "push", "update_asset"]
    pull = dags["borealis_in"].get_task("pull")
    assert (pull.partial_kwargs["sftp_conn_id"], pull.pool, pull.owner) == ("borealis", "borealis", "data-platform")
    assert len(pull.on_failure_callback) == 1
    assert len(dags["orders_out"].get_task("push").on_retry_callback) == 1


def test_each_json_is_one() -> None:
    for text, page in all_blocks("json").items():
        assert isinstance(json.loads(text), dict), page


#: The page says of them that later versions have others.
BEFORE_AIRFLOW_3_2 = {"otel_host", "otel_port"}


def test_each_ini_has_options_of_airflow() -> None:
    from airflow.configuration import conf

    for text, page in all_blocks("ini").items():
        given = configparser.ConfigParser()
        given.read_string(text)
        for section in given.sections():
            unknown = {name for name in given[section] if not conf.has_option(section, name)}
            assert unknown <= BEFORE_AIRFLOW_3_2, page


def test_no_example_is_in_a_language_that_nothing_here_runs() -> None:
    languages = {name for page in PAGES for name in re.findall(r"^ *```(\w+)$", page.read_text(), re.MULTILINE)}
    assert languages == {"console", "ini", "json", "python", "sh", "yaml"}


# --- The shell


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
    """Have Airflow's own parser look at it; those of Airflow 2 that 3 knows no more are told by their first words."""
    if words[:2] == ["dags", "backfill"]:
        return
    from airflow.cli import cli_parser

    with warnings_of_ours_only():
        cli_parser.get_parser().parse_args(words)


def check_python(words: list[str]) -> None:
    """Run ours as far as its parser: what it does is for test_command_line.py."""
    if words[0] == "-c":
        compile(words[1], "-c", "exec")
        return
    assert words[0] == "-m"
    assert (REPOSITORY / words[1].replace(".", "/")).exists() or words[1] == "pytest"
    if words[1] == "airflow_provider_sftp_s3":
        with pytest.raises(SystemExit) as ended:
            main([*words[2:], "--help"])
        assert ended.value.code == 0


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


def check_files(words: list[str]) -> None:
    """Of this repository, or of a home that was made before."""
    for word in words:
        if not word.startswith(("-", ".try", "extra.json")):
            assert list(REPOSITORY.glob(word)), word


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "make": check_make,
    "pip": check_pip,
    "airflow": check_airflow,
    "python": check_python,
    "aws": check_aws,
    "docker": check_docker,
    "zip": lambda words: None,
    "mkdir": check_files,
    "cp": check_files,
    "cat": check_files,
    "rm": check_files,
}


def test_each_command_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As far as that can be told without running it; a command that nothing here knows fails."""
    seen = set()
    for text, page in all_blocks("console", "sh").items():
        for program, *words in commands(text, tmp_path):
            assert program in CHECKS, f"{page.name}: nothing here can tell whether {program} {words} is right"
            CHECKS[program](words)
            seen.add(program)
    capsys.readouterr()
    assert {"make", "airflow", "python", "docker"} <= seen


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
        timeout=600,
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
def test_the_first_ten_minutes(sftp_server: AsyncsshServer, s3: S3Server, tmp_path: Path) -> None:
    """docs/start.md from its second step on: all that is typed there, with Airflow's own commands and database."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").touch()
    (tmp_path / "dags").symlink_to(REPOSITORY / "dags")
    (tmp_path / "id_ed25519").write_text(sftp_server.client_key_text)
    (sftp_server.root / "outgoing").mkdir()
    (sftp_server.root / "outgoing/a.csv").write_bytes(b"in")
    os.utime(sftp_server.root / "outgoing/a.csv", (1e9, 1e9))
    make_buckets(s3).close()
    _, home, connections, files, look, test, _ = blocks(DOCS / "start.md", "console", "sh")
    (flows,) = blocks(DOCS / "start.md", "yaml")
    more = "".join(map(script, blocks(DOCS / "connections.md", "sh")))
    prepare = with_the_places("".join(map(script, (home, connections, files))) + more, sftp_server, s3)
    write = f"cat > .try/dags/flows.yaml <<'EOF'\n{flows}EOF\n"
    out = run(f"{prepare}{write}{script(look)}echo; echo {'-' * 9}\n{script(test)}", tmp_path)
    looked, ran = out.split("-" * 9)
    assert "first_pull: " in looked
    assert "s3://example-inbound/first/a.csv" in looked
    assert "1 transferred" in ran
    assert s3.objects("example-inbound") == {"first/a.csv": b"in"}
    assert (sftp_server.root / "outgoing/a.csv").exists()


def test_the_readme_fits_a_screen_or_three() -> None:
    """150 lines, with links that lead to files."""
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    links = [link for link in re.findall(r"\]\(([^)#]+)[)#]", text) if "://" not in link]
    assert len(links) > 20
    assert [link for link in links if not (REPOSITORY / link).exists()] == []
