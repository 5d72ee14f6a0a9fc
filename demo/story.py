"""What the demo puts where, what it waits for, and what it then shows."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.ports import Ports
from demo.screen import say, table
from demo.servers import REGION, S3Server, SftpServer
from demo.standalone import Airflow

PULL, PUSH = "demo_pull", "demo_push"
BUCKET = "demo"
#: Each Dag's task that moves the bytes.
TASKS = {PULL: "pull", PUSH: "push"}

#: What lies on the SFTP server beneath /outgoing, and in the bucket beneath out/.
OUTGOING = {
    "2026/01/orders.csv": b"order;item;pieces\n" + b"4711;M8 x 40;200\n" * 900,
    "2026/01/returns.csv": b"order;item;pieces\n4711;M8 x 40;1\n",
    "2026/02/empty.csv": b"",
    "Grüße aus Köln 📦.txt": "Schöne Grüße!\n".encode(),
    "scans/plan.tif": random.Random(1).randbytes(20 * 1024 * 1024 + 1),  # goes up in parts
}
OUTBOUND = {
    "Übersicht 📊.csv": b"Jahr;Umsatz\n2026;1\n",
    "empty.flag": b"",
    "invoices/2026-01.xml": b"<invoice number='1'/>\n" * 4000,
    "invoices/2026-02.xml": b"<invoice number='2'/>\n",
    "locked/price list.csv": b"item;price\nM8 x 40;0.12\n",
    "media/film.mp4": random.Random(2).randbytes(12 * 1024 * 1024 + 7),
}
#: Where the SFTP server refuses the first file that is put there.
REFUSED_ONCE = "/incoming/locked"


class DemoFailed(Exception):
    """The demo has not shown what it is there to show."""


@dataclass(frozen=True)
class Arrival:
    """
    One file that was to be moved.

    :param fault: what is wrong with what arrived; empty: nothing.
    """

    source: str
    target: str
    size: int
    mark: str
    fault: str

    def row(self) -> tuple[str, ...]:
        return self.source, self.target, f"{self.size:,}", self.mark, self.fault or "yes"


def put_files(directory: Path) -> None:
    """Put what is to be pulled into a directory of the SFTP server."""
    an_hour_ago = time.time() - 3600
    for name, content in OUTGOING.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (an_hour_ago, an_hour_ago))  # a young file is left alone: it may still be growing


def put_objects(client: Any) -> None:
    """Make the bucket, and put what is to be pushed into it, by a boto3 client."""
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    for name, content in OUTBOUND.items():
        client.put_object(Bucket=BUCKET, Key=f"out/{name}", Body=content)


class Story:
    """
    The two servers with their files, and what the Dags make of them.

    :param state: directory of the demo; the SFTP server serves ``sftp`` in it.
    """

    dags = tuple(TASKS)
    bucket = BUCKET
    plot = f"""\
  {PULL} takes the SFTP server's /outgoing to s3://{BUCKET}/in/
  {PUSH} takes s3://{BUCKET}/out/ to the SFTP server's /incoming, where the first file in /locked is refused"""

    def __init__(self, state: Path, ports: Ports) -> None:
        self.sftp = SftpServer(state / "sftp", ports.sftp, REFUSED_ONCE)
        self.s3 = S3Server(ports.s3)
        self._client = self.s3.client()
        self._told: set[tuple[Any, ...]] = set()
        #: How many tries the push took in the end.
        self._tries = 0

    def connections(self) -> dict[str, dict[str, Any]]:
        """Return the Airflow connections to both servers."""
        return {"sftp_default": self.sftp.connection(), "aws_default": self.s3.connection()}

    def start(self) -> None:
        """Start both servers and put the files where they come from."""
        self.sftp.start()
        self.s3.start()
        put_files(self.sftp.root / "outgoing")
        put_objects(self._client)

    # -- While the Dags run

    def follow(self, airflow: Airflow) -> bool | None:
        """Tell what has happened since the last call; return True once the first run of each Dag has ended well."""
        ended = []
        for dag, task in TASKS.items():
            found = airflow.get(f"dags/{dag}/dagRuns", order_by="run_after", limit=1)
            run = found and found["dag_runs"] and found["dag_runs"][0]
            if run:
                found = airflow.get(f"dags/{dag}/dagRuns/{run['dag_run_id']}/taskInstances")
                for instance in found["task_instances"] if found else ():
                    if instance["task_id"] == task:
                        self._tell(airflow, instance)
                if run["state"] == "failed":
                    raise DemoFailed(f"the first run of {dag} has failed")
            ended.append(bool(run) and run["state"] == "success")
        return all(ended) or None

    def _tell(self, airflow: Airflow, instance: Mapping[str, Any]) -> None:
        """Tell how a try of a task has ended, once."""
        dag, attempt, state = instance["dag_id"], instance["try_number"], instance["state"]
        event = (dag, instance["map_index"], attempt)
        if state not in ("success", "up_for_retry", "failed") or event in self._told:
            return
        if (dag, state) == (PUSH, "success"):
            self._tries = attempt
        report = airflow.xcom(instance, "return_value" if state == "success" else "report")
        if report is None:
            return
        self._told.add(event)
        failed = f", {report['failed']} failed" if report["failed"] else ""
        follows = "; a retry follows" if state == "up_for_retry" else ""
        say(f"    {dag}, try {attempt}: {report['transferred']} moved, {report['bytes']:,} bytes{failed}{follows}")
        for failure in report["failures"]:
            say(f"      {failure['source']}: {failure['error']}")

    # -- Afterwards

    def show(self) -> None:
        """Show what moved where. :raises DemoFailed: not all of it arrived, or there was no retry."""
        arrivals = [*self._pulled(), *self._pushed()]
        heads = ("source", "target", "bytes", "mark", "intact")
        say()
        say(table(heads, [arrival.row() for arrival in arrivals], right=("bytes",)))
        wrong = [f"{arrival.target} ({arrival.fault})" for arrival in arrivals if arrival.fault]
        if wrong:
            raise DemoFailed("not as it should be: " + ", ".join(wrong))
        if (self.sftp.refusals, self._tries) != (1, 2):
            raise DemoFailed(f"{self.sftp.refusals} refusals and {self._tries} tries of the push, expected 1 and 2")

    def _pulled(self) -> Iterator[Arrival]:
        for name, content in OUTGOING.items():
            source = self.sftp.root / "outgoing" / name
            done = source.parent / ".done" / source.name
            fault = self._fault_in_s3(f"in/{name}", content)
            if not fault and (source.exists() or not done.is_file() or done.read_bytes() != content):
                fault = "source is not in .done"
            mark = "moved to .done" if done.exists() else "-"
            yield Arrival(f"/outgoing/{name}", f"s3://{self.bucket}/in/{name}", len(content), mark, fault)

    def _pushed(self) -> Iterator[Arrival]:
        for name, content in OUTBOUND.items():
            target = self.sftp.root / "incoming" / name
            fault = self._fault_in_s3(f"out/{name}", content)
            if not target.is_file():
                fault = "missing"
            elif target.read_bytes() != content:
                fault = "other bytes"
            head = self._client.head_object(Bucket=self.bucket, Key=f"out/{name}")
            synced = head["Metadata"].get("synced")
            if synced != "true":
                fault = fault or "not marked"
            mark = f"synced={synced}" if synced else "-"
            yield Arrival(f"s3://{self.bucket}/out/{name}", f"/incoming/{name}", len(content), mark, fault)

    def _fault_in_s3(self, key: str, content: bytes) -> str:
        try:
            found = self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return "missing"
        return "" if found == content else "other bytes"
