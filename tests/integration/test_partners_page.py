"""
docs/partners.md, docs/trigger-files.md and docs/receipts.md: their flows are run as they stand, and do what the text
says. So does that of docs/flows.md which expects files.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.airflow_env import run_dag, warnings_of_ours_only
from tests.support.pages import DOCS, blocks
from tests.support.receipts import objects_in
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer
from tests.support.trees import tree

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("default_connections")]

PAGES = ("partners.md", "trigger-files.md", "receipts.md")
FLOWS = [text for page in PAGES for text in blocks(DOCS / page, "yaml")]
(EXPECTING,) = [text for text in blocks(DOCS / "flows.md", "yaml") if "expected_files:" in text]
WHEN = datetime(2026, 1, 31, 6, tzinfo=UTC)


@pytest.fixture
def dags(tmp_path: Path) -> dict[str, Any]:
    """The Dags of the pages' flows, by name."""
    return dags_of(tmp_path / "flows.yaml", "\n".join(FLOWS))


def dags_of(file: Path, text: str) -> dict[str, Any]:
    """Return the Dags of some flows. A run that fails is not to wait for its retries."""
    from airflow_provider_sftp_s3.flows.file import load_flows

    file.write_text(text.replace("  direction:", "  retries: 0\n  direction:"))
    with warnings_of_ours_only():
        flows = load_flows(file)
    assert flows.errors == []
    return dict(flows.dags)


class World:
    """The pages' servers: what is at the partner, and what is in S3."""

    def __init__(self, server: AsyncsshServer, s3: S3Server) -> None:
        self.s3 = s3
        self.outgoing, self.incoming = server.root / "outgoing", server.root / "incoming"
        for directory in (self.outgoing, self.incoming):
            directory.mkdir()
        client = s3.client()
        for bucket in ("example-inbound", "example-outbound", "example-books"):
            client.create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": client.meta.region_name}
            )

    def put(self, name: str, data: bytes, when: datetime = WHEN) -> None:
        place = self.outgoing / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        os.utime(place, (when.timestamp(), when.timestamp()))

    def store(self, key: str, data: bytes, bucket: str = "example-outbound", **arguments: Any) -> None:
        self.s3.client().put_object(Bucket=bucket, Key=key, Body=data, **arguments)

    @property
    def inbound(self) -> dict[str, bytes]:
        objects = self.s3.objects("example-inbound")
        return {key: objects[key] for key in objects if "/.sftp-s3/" not in key}


@pytest.fixture
def world(sftp_server: AsyncsshServer, s3: S3Server) -> World:
    return World(sftp_server, s3)


def run(dag: Any, conf: dict[str, Any] | None = None) -> str:
    when = datetime.now(UTC)
    state, _ = run_dag(dag, logical_date=when, execution_date=when, run_conf=conf)
    return str(state)


def test_orders_in(dags: dict[str, Any], world: World) -> None:
    """A name with the date; the same file has the same one whenever it is pulled."""
    world.put("eu/orders.csv", b"1")
    assert run(dags["orders_in"]) == "success"
    assert world.inbound == {"orders/eu/2026/01/orders_20260131060000.csv": b"1"}
    assert tree(world.outgoing) == {"eu/.done/orders.csv": b"1"}


def test_statements_in(dags: dict[str, Any], world: World) -> None:
    """Monday's and Tuesday's are both there, in S3 and in the done directory."""
    for day in (30, 31):
        world.put("orders.csv", f"{day}".encode(), WHEN.replace(day=day))
        assert run(dags["statements_in"]) == "success"
    second = int(WHEN.timestamp())
    assert world.inbound == {"statements/orders.csv": b"30", f"statements/orders.{second}.csv": b"31"}
    older, newer = sorted(tree(world.outgoing), key=len, reverse=True)
    assert re.fullmatch(r"\.done/orders\.csv\.\d{10}", older)
    assert tree(world.outgoing) == {older: b"30", newer: b"31"}
    assert newer == ".done/orders.csv"


def test_invoices_out(dags: dict[str, Any], world: World) -> None:
    """A run in which all waits takes poke_interval; the partner takes the first, and the second comes."""
    dag = dags["invoices_out"]
    assert dag.get_task("wait_for_partner").interval.total_seconds() == 120
    (world.incoming / "1.csv").write_bytes(b"the one before")
    world.store("invoices/1.csv", b"new")
    began = time.monotonic()
    dag.get_task("wait_for_partner").interval = timedelta(seconds=5)
    dag.get_task("wait_for_partner").poke_interval = 5
    assert run(dag) == "success"
    assert time.monotonic() - began >= 5
    assert tree(world.incoming) == {"1.csv": b"the one before"}
    (world.incoming / "1.csv").unlink()
    assert run(dag) == "success"
    assert tree(world.incoming) == {"1.csv": b"new"}


def test_reports_out(dags: dict[str, Any], world: World) -> None:
    """Mode and mtime are those of the text."""
    world.store("reports/a", b"a", Metadata={"mtime": "1700000000"})
    assert run(dags["reports_out"]) == "success"
    stat = (world.incoming / "a").stat()
    assert (stat.st_mode & 0o777, int(stat.st_mtime)) == (0o640, 1700000000)


def test_announced_in(dags: dict[str, Any], world: World) -> None:
    """What the run is told of is pulled, and nothing else; with nothing told, nothing is."""
    for name in ("a.csv", "eu/b.csv", "c.csv"):
        world.put(name, b"x")
    dag = dags["announced_in"]
    assert run(dag) == "success"
    assert world.inbound == {}
    assert run(dag, {"files": ["a.csv", "/outgoing/eu/b.csv"]}) == "success"
    assert world.inbound == {"announced/a.csv": b"x", "announced/eu/b.csv": b"x"}
    assert set(tree(world.outgoing)) == {".done/a.csv", "eu/.done/b.csv", "c.csv"}


def test_news_in(dags: dict[str, Any], world: World) -> None:
    """The oldest two of those within the bounds; the next run takes the third."""
    now = datetime.now(UTC)
    for number, hours in enumerate((1, 30, 3, 20)):
        world.put(f"{number}.csv", b"x", now - timedelta(hours=hours))
    world.put("empty.csv", b"", now - timedelta(hours=40))
    world.put("old.csv", b"x")
    assert run(dags["news_in"]) == "success"
    assert set(world.inbound) == {"news/1.csv", "news/3.csv"}
    assert run(dags["news_in"]) == "success"
    assert set(world.inbound) == {f"news/{number}.csv" for number in range(4)}
    assert {name for name in tree(world.outgoing) if ".done/" not in name} == {"empty.csv", "old.csv"}


def test_partner_in(dags: dict[str, Any], world: World) -> None:
    """A line for the file, beneath the Dag and the day of the run."""
    world.put("a.csv", b"x")
    days = {f"{datetime.now(UTC):%Y-%m-%d}"}
    assert run(dags["partner_in"]) == "success"
    days.add(f"{datetime.now(UTC):%Y-%m-%d}")  # it may be midnight
    ((place, (line,)),) = objects_in(world.s3, "example-books").items()
    assert re.fullmatch(rf"dag_id=partner_in/date=({'|'.join(days)})/[^/]+/pull-0-1-1\.jsonl\.gz", place)
    assert (line["status"], line["target"]) == ("transferred", "s3://example-inbound/partner/a.csv")


def test_orders_in_expected(tmp_path: Path, world: World) -> None:
    """It fails with what is missing, and a task that has its files does not."""
    dag = dags_of(tmp_path / "flows.yaml", EXPECTING)["orders_in_expected"]
    for name in ("orders_1.csv", "stock.xml"):
        world.store(f"orders/{name}", b"1", "example-inbound")
    when = datetime.now(UTC)
    state, tasks = run_dag(dag, logical_date=when, execution_date=when)
    assert state == "failed"
    assert [tasks[f"expected_{number}", -1].state for number in (1, 2)] == ["failed", "success"]
    world.store("orders/orders_2.csv", b"1", "example-inbound")
    assert run(dag) == "success"


def test_prices_out(dags: dict[str, Any], world: World) -> None:
    """Each file has its trigger."""
    for name in ("a.csv", "eu/b.csv"):
        world.store(f"prices/{name}", b"1")
    assert run(dags["prices_out"]) == "success"
    assert tree(world.incoming) == {"a.csv": b"1", "a.csv.ok": b"", "eu/b.csv": b"1", "eu/b.csv.ok": b""}


def test_payments_out(dags: dict[str, Any], world: World) -> None:
    """Each file has its sum, and what the partner has is what a pull takes."""
    for name in ("a.csv", "eu/b.csv"):
        world.store(f"payments/{name}", b"1")
    assert run(dags["payments_out"]) == "success"
    line = f"{hashlib.sha256(b'1').hexdigest()}  ".encode()
    expected = {
        "a.csv": b"1",
        "a.csv.sha256": line + b"a.csv\n",
        "eu/b.csv": b"1",
        "eu/b.csv.sha256": line + b"b.csv\n",
    }
    assert tree(world.incoming) == expected
    for name, data in expected.items():
        world.put(name, data)
    world.put("none.csv", b"x")
    assert run(dags["payments_in"]) == "success"
    assert world.inbound == {f"payments/{name}": data for name, data in expected.items()}
    world.put("a.csv", b"2")
    world.put("a.csv.sha256", expected["a.csv.sha256"])
    assert run(dags["payments_in"]) == "failed"
    assert world.inbound == {f"payments/{name}": data for name, data in expected.items()}


def test_lake_out(dags: dict[str, Any], world: World) -> None:
    """What is last goes with the others, and waits where one of them does not go."""
    for name in ("_SUCCESS", "day/_SUCCESS", "day/1", "day/2"):
        world.store(f"lake/{name}", b"x")
    assert run(dags["lake_out"]) == "success"
    assert set(tree(world.incoming)) == {"_SUCCESS", "day/_SUCCESS", "day/1", "day/2"}
    world.store("lake/next//1", b"no path")
    world.store("lake/next/_SUCCESS", b"x")
    assert run(dags["lake_out"]) == "failed"
    assert "next/_SUCCESS" not in tree(world.incoming)


def test_lake_in(dags: dict[str, Any], world: World) -> None:
    """Likewise: the next run takes what had to wait."""
    for name in ("_SUCCESS", "day/a.manifest", "day/1", "no\x01name"):
        world.put(name, b"x")
    assert run(dags["lake_in"]) == "failed"
    assert set(world.inbound) == {"lake/day/1", "lake/day/a.manifest"}
    (world.outgoing / "no\x01name").unlink()
    assert run(dags["lake_in"]) == "success"
    assert set(world.inbound) == {"lake/day/1", "lake/day/a.manifest", "lake/_SUCCESS"}


def test_exports_out(dags: dict[str, Any], world: World) -> None:
    """Each directory has one."""
    for name in ("a.csv", "b.csv", "eu/b.csv"):
        world.store(f"exports/{name}", b"1")
    assert run(dags["exports_out"]) == "success"
    assert set(tree(world.incoming)) == {"a.csv", "b.csv", "_SUCCESS", "eu/b.csv", "eu/_SUCCESS"}


def test_prices_in(dags: dict[str, Any], world: World) -> None:
    """A file with no trigger waits; the others go with theirs."""
    for name in ("a.csv", "a.csv.ok", "eu/b.csv"):
        world.put(name, b"x")
    assert run(dags["prices_in"]) == "success"
    assert world.inbound == {"prices/a.csv": b"x", "prices/a.csv.ok": b"x"}
    assert set(tree(world.outgoing)) == {".done/a.csv", ".done/a.csv.ok", "eu/b.csv"}
