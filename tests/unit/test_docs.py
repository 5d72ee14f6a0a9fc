"""What docs/mwaa.md tells users to paste, and the servers of docs/servers.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.servers import tried
from tests.support.airflow_env import airflow_connections, warnings_of_ours_only

pytestmark = pytest.mark.unit

BLOCKS = re.findall(r"^```json\n(.*?)^```", (Path(__file__).parents[2] / "docs/mwaa.md").read_text(), re.M | re.S)
DOCUMENTS: list[dict[str, Any]] = [json.loads(block) for block in BLOCKS]
STATEMENTS = {
    statement["Sid"]: statement
    for document in DOCUMENTS
    if "Statement" in document
    for statement in document["Statement"]
}
ACTIONS = {
    sid: {each["Action"]} if isinstance(each["Action"], str) else set(each["Action"])
    for sid, each in STATEMENTS.items()
}


def test_every_policy_has_what_a_policy_needs() -> None:
    policies = [document for document in DOCUMENTS if "Statement" in document]
    assert len(policies) == 12
    assert {policy["Version"] for policy in policies} == {"2012-10-17"}
    for sid, statement in STATEMENTS.items():
        assert statement["Effect"] == "Allow"
        assert statement["Resource"].startswith("arn:aws:"), sid
        assert "*" not in str(statement["Action"]), sid
        # What is done to a bucket is allowed on the bucket, what is done to objects on objects.
        about_the_bucket = ACTIONS[sid] <= {"s3:ListBucket", "s3:ListBucketMultipartUploads"}
        assert about_the_bucket == (sid.endswith("Bucket") and "Pull" + sid != "PullFromTheBucket"), sid
        if sid.endswith("Objects"):
            assert statement["Resource"].endswith("/*"), sid


def test_the_secret_is_a_connection_that_we_read() -> None:
    from airflow_provider_sftp_s3.engine.options import TransferOptions
    from airflow_provider_sftp_s3.hooks.sftp_server import SftpSessionHook

    (secret,) = [document for document in DOCUMENTS if "conn_type" in document]
    with airflow_connections(sftp_default=secret):
        server, _ = SftpSessionHook("sftp_default").read(TransferOptions())
    assert (server.host, server.port, server.username) == ("sftp.example.com", 22, "example")
    assert (server.private_key or "").splitlines()[0] == "-----BEGIN OPENSSH PRIVATE KEY-----"
    assert server.host_key == secret["extra"]["host_key"]


def test_the_servers_tried_are_those_of_the_contract() -> None:
    """With what each needs and cannot do."""
    assert f"\n{tried.table()}\n" in (Path(__file__).parents[2] / "docs/servers.md").read_text()


def test_the_flow_with_receipts_is_a_flow(tmp_path: Path) -> None:
    """docs/receipts.md, as it stands."""
    from airflow_provider_sftp_s3.flows.file import load_flows

    text = (Path(__file__).parents[2] / "docs/receipts.md").read_text()
    (block,) = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "flows.yaml").write_text(block)
    with warnings_of_ours_only():
        flows = load_flows(tmp_path / "flows.yaml")
    assert flows.error is None
    assert flows.dags["partner_in"].get_task("pull").receipts == "s3://example-books/receipts/"
