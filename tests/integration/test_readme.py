"""What the README shows is run here as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer
from airflow_provider_sftp_s3.transfers.lineage import Places
from tests.support.airflow_env import airflow_connections, run_dag, warnings_of_ours_only
from tests.support.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

DOCS = Path(__file__).parents[2] / "docs"
README = (DOCS.parent / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def dag_of(code: str) -> Any:
    """Run a Dag file of the README, and return its Dag."""
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


def test_both_operators_run_as_pasted(airflow_home: Path, sftp_server: AsyncsshServer, s3: S3Server) -> None:
    """A tree goes one way, an object the other."""
    pull, push, by_hook, _, shards = blocks("python")
    for directory in ("outgoing/sub", "incoming"):
        (sftp_server.root / directory).mkdir(parents=True)
    for name in ("sub/a.csv", "orders_1.csv"):
        (sftp_server.root / "outgoing" / name).write_bytes(b"in")
        os.utime(sftp_server.root / "outgoing" / name, (1e9, 1e9))
    client = s3.client()
    for bucket in ("example-inbound", "example-outbound"):
        where = {"LocationConstraint": client.meta.region_name}
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
    client.put_object(Bucket="example-outbound", Key="partner/b.csv", Body=b"out")
    with airflow_connections(sftp_default=sftp_server.airflow_connection(), aws_default=s3.airflow_connection()):
        for code in (by_hook, pull, push, shards):
            state, _ = run_dag(dag_of(code))
            assert state == "success"
    assert s3.objects("example-inbound") == {"orders/orders_1.csv": b"in", "partner/sub/a.csv": b"in"}
    assert (sftp_server.root / "outgoing/sub/.done/a.csv").exists()
    assert (sftp_server.root / "incoming/b.csv").read_bytes() == b"out"


def test_the_engine_runs_as_pasted_and_needs_no_airflow(
    sftp_server: AsyncsshServer, s3: S3Server, tmp_path: Path
) -> None:
    """docs/engine.md: a tree goes one way, an object the other, in a process that never imports Airflow."""
    (code,) = re.findall(r"^```python\n(.*?)^```", (DOCS / "engine.md").read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "transfer.py").write_text(code)
    for directory in ("outgoing", "incoming"):
        (sftp_server.root / directory).mkdir()
    (sftp_server.root / "outgoing/a.csv").write_bytes(b"in")
    os.utime(sftp_server.root / "outgoing/a.csv", (1e9, 1e9))
    client = s3.client()
    for bucket in ("example-inbound", "example-outbound"):
        where = {"LocationConstraint": client.meta.region_name}
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
    client.put_object(Bucket="example-outbound", Key="partner/b.csv", Body=b"out")
    client.close()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(tmp_path / "transfer.py")],
        env={
            **{"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(DOCS.parent)},
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
    pull, _, _, after, _ = (dag_of(code) for code in blocks("python"))
    (task,) = pull.tasks
    places = Places("pull", SftpServer(host="example"), task.sftp_path, task.s3_bucket, task.s3_prefix)
    (asset,) = after.timetable.asset_condition.objects
    assert asset.name == places.target_uri()


def test_the_flows_become_dags(tmp_path: Path) -> None:
    """With the tasks that the text names."""
    from airflow_provider_sftp_s3.flows.file import load_flows

    (tmp_path / "flows.yaml").write_text("\n".join(blocks("yaml")))
    with warnings_of_ours_only():
        flows = load_flows(tmp_path / "flows.yaml")
    assert flows.errors == []
    assert {name: sorted(dag.task_ids) for name, dag in flows.dags.items()} == {
        "partner_pull": ["pull"],
        "partner_push": ["list_unsynced", "push", "wait_for_objects"],
        "partner_push_daily": ["list_unsynced", "push", "wait_for_objects"],
        "partner_push_on_events": ["list_unsynced", "push"],
    }


def test_the_flows_of_docs_become_dags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/flows.md: with what the text says of them. Its notifier is of a provider that is not installed here."""
    from airflow_provider_sftp_s3._compat import BaseNotifier
    from airflow_provider_sftp_s3.flows.file import load_flows

    class SmtpNotifier(BaseNotifier):
        def __init__(self, *, to: str, subject: str = "") -> None:
            super().__init__()
            self.to, self.subject = to, subject

    module = types.ModuleType("smtp")
    module.SmtpNotifier = SmtpNotifier  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow.providers.smtp.notifications.smtp", module)
    dags: dict[str, Any] = {}
    for text in re.findall(r"^```yaml\n(.*?)^```", (DOCS / "flows.md").read_text(), re.DOTALL | re.MULTILINE):
        (tmp_path / "flows.yaml").write_text(text)
        with warnings_of_ours_only():
            flows = load_flows(tmp_path / "flows.yaml")
        assert flows.errors == []
        dags |= flows.dags
    flows_of_it = ["abacus_in", "borealis_in", "cumulus_in", "orders_out", "orders_out_daily"]
    assert list(dags) == ["partner_pull", "partner_push", *flows_of_it]
    pull = dags["borealis_in"].get_task("pull")
    assert (pull.sftp_conn_id, pull.pool, pull.owner) == ("borealis", "borealis", "data-platform")
    assert len(pull.on_failure_callback) == 1
    assert len(dags["orders_out"].get_task("push").on_retry_callback) == 1


def test_the_tables_name_every_argument_and_option() -> None:
    """With their defaults, and none that is not there."""
    import dataclasses
    import inspect

    from airflow_provider_sftp_s3.engine.options import TransferOptions
    from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator
    from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator

    for operator in (SftpTreeToS3Operator, S3ToSftpOperator):
        table = README.split(f"| `{operator.__name__}` |")[1].split("\n\n")[0]
        shown = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines()[2:])))
        parameters = set(inspect.signature(operator.__init__).parameters) - {"self", "kwargs", "args"}
        assert shown == parameters
        templated = set(re.findall(r"`(\w+)` T", table))
        assert templated <= set(operator.template_fields)
    options = README.split("| field | default | meaning |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", options, re.MULTILINE)) == {
        field.name for field in dataclasses.fields(TransferOptions)
    }
