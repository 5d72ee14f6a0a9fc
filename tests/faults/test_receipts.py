"""SIGKILL of a run that writes receipts: its retry knows of each file, once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.faults import table
from tests.faults.test_kills import FILES, PATIENCE, KillsAt, Sweep
from tests.support.receipts import lines_in
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault

pytestmark = pytest.mark.faults

BOOKS = "books"
SHARDS = range(4)
KINDS: dict[str, dict[str, Any]] = {
    "pull": {},
    "pull, keep": {"after_transfer": "keep"},
    "pull, delete": {"after_transfer": "delete"},
    "push": {"s3_keys": list(FILES)},
    "push, by tag": {"s3_keys": list(FILES), "mark": "tag"},
    "push, delete": {"s3_prefix": "out/", "after_transfer": "delete", "s3_keys": [f"out/{name}" for name in FILES]},
}


@pytest.mark.parametrize("shard", SHARDS)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_each_step(sftp_server: AsyncsshServer, s3: S3Server, bucket: str, kind: str, shard: int) -> None:
    """
    Each file has one line over the tries, or two where its first move was not finished; and the total has all of them.

    Only of objects that were deleted in the moment of the kill nobody knows the size.
    """
    books = s3.new_bucket(BOOKS)
    arguments = KINDS[kind]
    sweep = Sweep(kind.partition(",")[0], sftp_server, s3, bucket, **arguments, receipts=f"s3://{books}/all/")
    table.row(f"SIGKILL under a {kind}, with receipts, then a retry")
    sweep.prepare()
    sftp_server.fault = counts = KillsAt(s3)
    with sweep.run() as run:
        run.go()
        assert run.report(PATIENCE)["total"]["files"] == len(FILES)
    points = [(step, applied) for step in range(counts.steps) for applied in (False, True)][shard :: len(SHARDS)]
    if table.LONG < 1:
        points = table.chance("receipts", kind, shard).sample(points, max(2, round(len(points) * table.LONG)))
    for step, applied in points:
        s3._before.clear()
        s3._after.clear()
        sweep.prepare()
        s3.empty(books)
        with sweep.run() as run:
            sftp_server.fault = kills = KillsAt(s3, step, applied=applied)
            kills.run = run
            run.go()
            assert run.ended(PATIENCE)
            killed = run.killed
        s3._before.clear()
        s3._after.clear()
        sftp_server.fault = Fault()
        if not killed:
            continue
        sweep.wait_until_quiet()
        with sweep.run(try_number=2) as again:
            again.go()
            report = again.report(PATIENCE)
        sweep.kills += 1
        told = Counter(line["source"] for line in lines_in(s3, books, "all/") if line["status"] != "skipped")
        assert len(told) == len(FILES), f"killed at {step}: {told}"
        assert set(told.values()) == {1}, f"killed at {step}: {told}"
        assert report["total"]["files"] == len(FILES)
        if kind != "push, delete":
            assert report["total"]["bytes"] == sum(map(len, FILES.values()))
    table.cases(sweep.kills)
    assert sweep.kills >= 0.5 * len(points)
