"""What docs/mwaa.md tells users to paste, and what of the site is made by commands."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

import airflow_provider_sftp_s3
from airflow_provider_sftp_s3.__main__ import main
from airflow_provider_sftp_s3.flows.fields import ALL_FIELDS
from airflow_provider_sftp_s3.hooks import sftp_server
from airflow_provider_sftp_s3.operators.s3_events import Landed, landed
from docs import diagrams, fields
from matrix.rows import mwaa_table
from tests.servers import tried
from tests.support.airflow_env import airflow_connections, warnings_of_ours_only

pytestmark = pytest.mark.unit

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = re.findall(r"^```json\n(.*?)^```", (DOCS / "mwaa.md").read_text(), re.M | re.S)
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
    assert len(policies) == 17
    assert {policy["Version"] for policy in policies} == {"2012-10-17"}
    for sid, statement in STATEMENTS.items():
        assert statement["Effect"] == "Allow"
        # Only in a key's policy is it the key itself.
        assert statement["Resource"].startswith("arn:aws:") or (sid, statement["Resource"]) == ("KeyForTheSender", "*")
        assert "*" not in str(statement["Action"]), sid
        # What is done to a bucket is allowed on the bucket, what is done to objects on objects.
        about_the_bucket = ACTIONS[sid] <= {"s3:ListBucket", "s3:ListBucketMultipartUploads"}
        assert about_the_bucket == (sid.endswith("Bucket") and "Pull" + sid != "PullFromTheBucket"), sid
        if sid.endswith("Objects"):
            assert statement["Resource"].endswith("/*"), sid


def test_the_rule_of_eventbridge_lets_through_what_we_read() -> None:
    """And what S3 sends has the fields that the rule looks at."""
    (pattern,) = [document for document in DOCUMENTS if "detail-type" in document]
    event = {
        "source": pattern["source"][0],
        "detail-type": pattern["detail-type"][0],
        "detail": {"bucket": {"name": pattern["detail"]["bucket"]["name"][0]}, "object": {"key": "partner/a.csv"}},
    }
    assert event["detail"]["object"]["key"].startswith(pattern["detail"]["object"]["key"][0]["prefix"])
    assert list(landed(json.dumps(event))) == [Landed("example-outbound", "partner/a.csv")]


def test_the_versions_tried_are_those_of_the_matrix() -> None:
    assert f"\n{mwaa_table()}\n" in (DOCS / "mwaa.md").read_text()


def test_the_secret_is_a_connection_that_we_read() -> None:
    from airflow_provider_sftp_s3.engine.options import TransferOptions
    from airflow_provider_sftp_s3.hooks.sftp_server import SftpSessionHook

    (secret,) = [document for document in DOCUMENTS if "conn_type" in document]
    with airflow_connections(sftp_default=secret):
        server, _ = SftpSessionHook("sftp_default").read(TransferOptions())
    assert (server.host, server.port, server.username) == ("sftp.example.com", 22, "example")
    assert (server.private_key or "").splitlines()[0] == "-----BEGIN OPENSSH PRIVATE KEY-----"
    assert server.host_key == secret["extra"]["host_key"]


def test_the_diagrams_are_those_that_the_command_draws() -> None:
    """`python -m docs.diagrams` draws them, and draws no others; each is shown on a page."""
    assert {path.name: path.read_text() for path in diagrams.PLACE.iterdir()} == diagrams.drawings()
    pages = "".join(path.read_text() for path in DOCS.glob("*.md"))
    assert set(re.findall(r"\(diagrams/([\w.-]+)\)", pages)) == set(diagrams.drawings())


def test_each_picture_is_shown() -> None:
    """Of two, for each theme, the light one: the site puts the dark one beside it."""
    pages = "".join(path.read_text() for path in DOCS.glob("*.md"))
    there = {path.name.replace("-dark.", "-light.") for path in (DOCS / "pictures").iterdir()}
    assert set(re.findall(r"\(pictures/([\w.-]+)\)", pages)) == there


def test_the_states_are_those_of_the_retry_table() -> None:
    assert f"\n{diagrams.states_table()}\n" in (DOCS / "marks.md").read_text()


def test_each_field_of_a_flow_is_described() -> None:
    """Once, with what it means: write it into the operator's docstring, or into that of flows/fields.py."""
    described = [name for group in fields.groups().values() for name in group]
    assert sorted(described) == sorted(ALL_FIELDS)
    assert [name for name in ALL_FIELDS if not fields.meaning(name)] == []
    assert fields.OF_FLOWS.keys() <= ALL_FIELDS.keys()
    page = (DOCS / "fields.md").read_text()
    assert re.findall(r"flow-fields:: (\w+)", page) == ["both", "pull", "push", "dag"]


#: What the site makes its reference of, by the docstring of each.
CLASSES = [
    airflow_provider_sftp_s3.SftpTreeToS3Operator,
    airflow_provider_sftp_s3.S3ToSftpOperator,
    airflow_provider_sftp_s3.S3ListUnsyncedOperator,
    airflow_provider_sftp_s3.S3UnsyncedSensor,
    airflow_provider_sftp_s3.UpdateAssetOperator,
    airflow_provider_sftp_s3.SftpS3Hook,
    airflow_provider_sftp_s3.TransferOptions,
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_argument_is_described(kind: Any) -> None:
    """In the docstring, with whether it is a template field; and none that is not there."""
    said = dict(re.findall(r":param (\w+): (.*?)(?=:\w+(?: \w+)?: |\Z)", kind.__doc__, re.DOTALL))
    assert said.keys() == set(inspect.signature(kind.__init__).parameters) - {"self", "args", "kwargs"}
    templated = {name for name, text in said.items() if "(templated)" in text}
    assert templated == said.keys() & set(getattr(kind, "template_fields", ()))
    assert f".{kind.__name__}\n" in (DOCS / "operators.md").read_text()


def test_a_default_is_shown_as_one_writes_it() -> None:
    assert fields.default("min_age") == "30s"
    assert fields.default("after_transfer") == "move (of a pull), keep (of a push)"
    assert fields.default("parallelism") == "1"
    assert fields.default("sftp_path") == fields.default("s3_prefix") == ""


def test_each_field_of_a_connections_extra_is_described() -> None:
    """That of an sftp connection: those that the hook reads, and no others."""
    read = set(re.findall(r'(?:\bextra\.\w+\(|by = |else )"(\w+)"', inspect.getsource(sftp_server)))
    assert {"host_key", "no_host_key_check", "ignore_hostkey_verification"} <= read
    (table,) = re.findall(r"^\| field of Extra \|.*?\n\n", (DOCS / "connections.md").read_text(), re.M | re.S)
    rows = [line.split("|")[1] for line in table.splitlines()[2:] if line]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == read


def test_each_command_is_described() -> None:
    """By itself: docs/command-line.md shows what each says when it is asked for help."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    ([\w-]+)(?: |$)", said.getvalue(), re.MULTILINE)
    assert len(commands) >= 5
    page = (DOCS / "command-line.md").read_text()
    assert sorted(re.findall(r"command-help:: ([\w-]+)", page)) == sorted(commands)


def test_the_servers_tried_are_those_of_the_contract() -> None:
    """With what each needs and cannot do."""
    assert f"\n{tried.table()}\n" in (DOCS / "servers.md").read_text()


def test_the_flow_with_receipts_is_a_flow(tmp_path: Path) -> None:
    """docs/receipts.md, as it stands."""
    from airflow_provider_sftp_s3.flows.file import load_flows

    text = (DOCS / "receipts.md").read_text()
    (block,) = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "flows.yaml").write_text(block)
    with warnings_of_ours_only():
        flows = load_flows(tmp_path / "flows.yaml")
    assert flows.error is None
    assert flows.dags["partner_in"].get_task("pull").receipts == "s3://example-books/receipts/"
