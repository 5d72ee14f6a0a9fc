"""What a run tells OpenLineage, and Airflow's assets, of where it read and wrote."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_sftp_s3._compat import DAG, Asset, AssetAlias
from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer as Server
from airflow_provider_sftp_s3.transfers.lineage import Places
from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator
from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator
from tests.support.airflow_env import run_dag, xcom
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("default_connections")]


class _Told:
    """Returns, instead of its report, what it would tell OpenLineage and what events its alias has."""

    def execute(self, context: Any) -> dict[str, Any]:
        super().execute(context)  # type: ignore[misc]
        facets = self.get_openlineage_facets_on_complete(context["ti"])  # type: ignore[attr-defined]
        alias = context["outlet_events"][AssetAlias("told")]
        events = getattr(alias, "asset_alias_events", None) or getattr(alias, "dataset_alias_events", None) or []
        return {
            "inputs": [[each.namespace, each.name] for each in facets.inputs],
            "outputs": [[each.namespace, each.name] for each in facets.outputs],
            "events": [getattr(each, "dest_dataset_uri", None) or each.dest_asset_key.uri for each in events],
        }


class _Pull(_Told, SftpTreeToS3Operator):
    pass


class _Push(_Told, S3ToSftpOperator):
    pass


def told_by(operator: Any, **arguments: Any) -> Any:
    with DAG(f"lineage_{uuid.uuid4().hex}", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        operator(task_id="transfer", outlets=[AssetAlias("told")], **arguments)
    state, tasks = run_dag(dag)
    assert state == "success"
    return xcom(tasks["transfer", -1])


def test_a_pull_reads_a_directory_and_writes_a_prefix(sftp_server: AsyncsshServer, bucket: str) -> None:
    tree = sftp_server.local("/outgoing")
    tree.mkdir()
    arguments = {"sftp_path": "/outgoing/", "s3_bucket": bucket, "s3_prefix": "{{ 'in/ü x' }}", "min_age": 0}
    server = f"{sftp_server.host}:{sftp_server.port}"
    lineage = {"inputs": [[f"file://{server}", "/outgoing"]], "outputs": [[f"s3://{bucket}", "in/ü x"]]}

    assert told_by(_Pull, **arguments) == lineage | {"events": []}
    (tree / "a").write_bytes(b"1")
    assert told_by(_Pull, dry_run=True, **arguments) == lineage | {"events": []}
    assert told_by(_Pull, **arguments) == lineage | {"events": [Asset(f"s3://{bucket}/in/%C3%BC%20x").uri]}


def test_a_push_reads_a_prefix_and_writes_a_directory(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    sftp_server.local("/incoming").mkdir()
    client = s3.client()
    client.put_object(Bucket=bucket, Key="a", Body=b"1")
    client.close()
    server = f"{sftp_server.host}:{sftp_server.port}"
    lineage = {"inputs": [[f"s3://{bucket}", "/"]], "outputs": [[f"file://{server}", "/incoming"]]}

    told = told_by(_Push, sftp_path="/incoming", s3_bucket=bucket)
    assert told == lineage | {"events": [f"sftp://{server}/incoming"]}
    assert told_by(_Push, sftp_path="/incoming", s3_bucket=bucket) == lineage | {"events": []}


@pytest.mark.parametrize(
    ("places", "uri"),
    [
        (Places("pull", Server(host="h"), "/out", "b", ""), "s3://b"),
        (Places("pull", Server(host="h"), "/out", "b", "dt=2026-01-31/a#b?c/"), "s3://b/dt=2026-01-31/a%23b%3Fc"),
        (Places("push", Server(host="h"), "/", "b", "in/"), "sftp://h:22"),
        (Places("push", Server(host="::1", port=2222), "/in coming/", "b", "in/"), "sftp://[::1]:2222/in%20coming"),
        (Places("push", Server(host="h"), "in/x", "b", "in/"), "sftp://h:22/in/x"),
    ],
)
def test_the_uri_of_an_asset_can_be_foretold(places: Places, uri: str) -> None:
    assert places.target_uri() == uri
    assert Asset(uri).uri.rstrip("/") == uri
