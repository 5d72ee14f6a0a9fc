"""SIGKILL of a run that writes receipts: its retry knows of each file, once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.faults import table
from tests.faults.test_kills import FILES, SHARDS, Sweep, kill_at_each_step
from tests.support.receipts import lines_in
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer, SftpServer

pytestmark = pytest.mark.faults

KINDS: dict[str, dict[str, Any]] = {
    "pull": {},
    "pull, keep": {"after_transfer": "keep"},
    "pull, delete": {"after_transfer": "delete"},
    "push": {"s3_keys": list(FILES)},
    "push, by tag": {"s3_keys": list(FILES), "mark": "tag"},
    "push, delete": {"s3_prefix": "out/", "after_transfer": "delete", "s3_keys": [f"out/{name}" for name in FILES]},
}


class ReceiptSweep(Sweep):
    """As :class:`Sweep`, with receipts in a bucket of their own, which are what is looked at."""

    least = 0.5

    def __init__(self, kind: str, sftp: SftpServer, s3: S3Server, bucket: str) -> None:
        super().__init__(kind.partition(",")[0], sftp, s3, bucket, **KINDS[kind])
        self.books = s3.new_bucket("books")
        self.arguments["receipts"] = f"s3://{self.books}/all/"
        #: Of objects that were deleted in the moment of the kill nobody knows the size.
        self.knows_bytes = kind != "push, delete"
        table.row(f"SIGKILL under a {kind}, with receipts, then a retry")

    def prepare(self) -> None:
        super().prepare()
        self.s3.empty(self.books)

    def check_after_kill(self) -> None:
        """Count it: what lies where is what the sweeps with no receipts look at."""
        self.kills += 1

    def retry(self) -> None:
        """Each file has one line over the tries, and the total has all of them."""
        report = self.run_again()
        lines = lines_in(self.s3, self.books, "all/")
        told = Counter(line["source"] for line in lines if line["status"] != "skipped")
        assert len(told) == len(FILES), told
        assert set(told.values()) == {1}, told
        assert report["total"]["files"] == len(FILES)
        if self.knows_bytes:
            assert report["total"]["bytes"] == sum(map(len, FILES.values()))


@pytest.mark.parametrize("shard", SHARDS)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_each_step(sftp_server: AsyncsshServer, s3: S3Server, bucket: str, kind: str, shard: int) -> None:
    kill_at_each_step(ReceiptSweep(kind, sftp_server, s3, bucket), sftp_server, s3, shard)
