"""What README and docs show is run as it stands: here YAML, Python and JSON, in test_shell_examples.py commands."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer
from airflow_provider_sftp_s3.transfers.lineage import Places
from tests.support.airflow_env import airflow_connections, run_dag, warnings_of_ours_only
from tests.support.pages import DOCS, PAGES, REPOSITORY, all_blocks, blocks, make_buckets
from tests.support.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

README = REPOSITORY / "README.md"


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


@pytest.mark.slow
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
    tasks = ["list_unsynced", "push", "update_asset", "wait_after_failure", "wait_for_objects"]
    assert sorted(dags["partner_push"].task_ids) == tasks
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


# --- The README itself


def test_the_readme_fits_a_screen_or_three() -> None:
    """150 lines, with links that lead to files."""
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    links = [link for link in re.findall(r"\]\(([^)#]+)[)#]", text) if "://" not in link]
    assert len(links) > 20
    assert [link for link in links if not (REPOSITORY / link).exists()] == []
