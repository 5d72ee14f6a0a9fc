"""
Two runs of the same flow at once on the same tree, while somebody replaces one of its files.

They should not happen (`max_active_runs=1`), and when they do, the work is done twice and nothing is lost: no newer
bytes are overwritten by older ones, and no mark lies. What either run may say of a file is declared here.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import shutil
from collections import Counter
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.options import MiB
from tests.faults import table
from tests.faults.harness import (
    PUSHES,
    Ran,
    beneath,
    check_nothing_open,
    done_path,
    leftovers,
    marked_keys,
    put_objects,
    read_tree,
    run_pull,
    run_push,
    write_tree,
)
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.faults

SHARDS = range(4)
RUNS = round(100 * table.LONG)
VICTIM = "sub/victim"
FILES = {
    "empty": b"",
    "a": os.urandom(1_000),
    "b": os.urandom(70_000),
    "sub/c": os.urandom(5_000),
    VICTIM: os.urandom(20_000),
}
LARGE = os.urandom(5 * MiB + 9)

#: What a run may say of a file, besides that it was transferred, and why that is right.
DECLARED = {
    "pull": {
        r"skipped: gone": "the other run has moved it away since it was listed",
        r"failed: changed while reading.*": "it was replaced under the read; the next run takes the new one",
    },
    "push": {
        r"skipped: synced": "the other run has pushed and marked it",
        r"skipped: deleted": "the other run has pushed it, and moved or deleted it",
        r"skipped: ours": "what a DELETE was tried on",
        r"failed: .*was overwritten 3 times.*": "the other run's marks came between; the next run looks again",
    },
}


def _said(direction: str, ran: Ran) -> Counter[str]:
    """Return how often each declared thing was said. Anything else fails the test."""
    said: Counter[str] = Counter()
    for outcome in ran.outcomes:
        if outcome.status == "transferred":
            continue
        words = f"{outcome.status}: {outcome.reason}"
        declared = [pattern for pattern in DECLARED[direction] if re.fullmatch(pattern, words, re.DOTALL)]
        assert declared, f"{outcome.source} {words}"
        said[declared[0]] += 1
    return said


def _race_of(kind: str) -> Any:
    if kind == "pull":
        return _race_of_pulls
    settings: dict[str, Any] = PUSHES[kind]
    race = _race_of_takers if "after_transfer" in settings else _race_of_pushes
    return functools.partial(race, **settings)


@pytest.mark.parametrize("shard", SHARDS)
@pytest.mark.parametrize("kind", ["pull", *PUSHES])
async def test_two_runs_at_once(sftp_server: AsyncsshServer, s3: S3Server, bucket: str, kind: str, shard: int) -> None:
    """A hundred times: the second begins a random time after the first, and so does who replaces a file."""
    table.row(f"Two runs of a {kind} at once")
    chance = table.chance("two runs", kind, shard)
    race = _race_of(kind)
    numbers = range(RUNS)[shard :: len(SHARDS)]
    longest = 0.2
    for number in numbers:
        shutil.rmtree(sftp_server.root)
        sftp_server.root.mkdir()
        s3.empty(bucket)
        files = FILES | ({"large": LARGE} if number % 4 == 0 else {})
        newer = os.urandom(len(FILES[VICTIM]) + (number % 2))
        runs = await race(sftp_server, s3, bucket, files, newer, [chance.random() * longest for _ in range(2)])
        longest = max(ran.seconds for ran in runs)
        for ran in runs:
            _said("pull" if kind == "pull" else "push", ran)
    table.cases(len(numbers))
    await check_nothing_open(sftp_server)


async def _after(seconds: float, work: Any) -> Any:
    await asyncio.sleep(seconds)
    return await work


async def _race_of_pulls(
    server: AsyncsshServer, s3: S3Server, bucket: str, files: dict[str, bytes], newer: bytes, waits: list[float]
) -> list[Ran]:
    write_tree(server.root, files)

    async def replace() -> None:
        fresh = server.root.parent / "fresh"  # not in the tree, where a run may come by it
        fresh.write_bytes(newer)
        fresh.replace(server.root / VICTIM)

    *runs, _ = await asyncio.gather(
        run_pull(server, s3, bucket),
        _after(waits[0], run_pull(server, s3, bucket)),
        _after(waits[1], replace()),
    )

    def check() -> None:
        tree, objects = read_tree(server.root), s3.objects(bucket)
        table.checked(len(files))
        done = {name: tree[done_path(name)] for name in files if done_path(name) in tree}
        table.none_is("lost", [name for name in files if name not in tree and name not in done])
        table.none_is("lost", [] if newer in (tree.get(VICTIM), done.get(VICTIM)) else ["the newer file"])
        versions = {name: (data, newer) if name == VICTIM else (data,) for name, data in files.items()}
        table.none_is("wrong bytes", [name for name, data in objects.items() if data not in versions[name]])
        table.none_is("wrong marks", [name for name, data in done.items() if objects.get(name) != data])
        table.none_is("left over", [*leftovers(server.root), *s3.unfinished_uploads(bucket)])

    check()
    last = await run_pull(server, s3, bucket)
    last.done()
    check()
    assert s3.objects(bucket) == files | {VICTIM: newer}
    assert set(read_tree(server.root)) == {done_path(name) for name in files}
    return runs


async def _race_of_pushes(
    server: AsyncsshServer,
    s3: S3Server,
    bucket: str,
    files: dict[str, bytes],
    newer: bytes,
    waits: list[float],
    **pushed: str,
) -> list[Ran]:
    old = {VICTIM: b"the partner's old one"}
    write_tree(server.root, old)
    put_objects(s3, bucket, files)

    async def overwrite() -> None:
        await asyncio.to_thread(put_objects, s3, bucket, {VICTIM: newer})

    *runs, _ = await asyncio.gather(
        run_push(server, s3, bucket, owner="aaaaaaaa", **pushed),
        _after(waits[0], run_push(server, s3, bucket, owner="bbbbbbbb", clean_up=True, **pushed)),
        _after(waits[1], overwrite()),
    )

    def check() -> None:
        tree, objects = read_tree(server.root), s3.objects(bucket)
        table.checked(len(files))
        table.none_is("lost", [] if objects == files | {VICTIM: newer} else ["the user's own bytes were undone"])
        table.none_is("lost", [] if VICTIM in tree else ["the partner's old file"])
        versions = {name: {data, newer, old[VICTIM]} if name == VICTIM else {data} for name, data in files.items()}
        table.none_is("wrong bytes", [name for name, data in tree.items() if data not in versions.get(name, ())])
        table.none_is("wrong marks", [key for key in marked_keys(bucket) if tree.get(key) != objects[key]])
        table.none_is("left over", leftovers(server.root))

    check()
    last = await run_push(server, s3, bucket, **pushed)
    last.done()
    check()
    assert read_tree(server.root) == files | {VICTIM: newer}
    assert marked_keys(bucket) == set(files)
    return runs


async def _race_of_takers(
    server: AsyncsshServer,
    s3: S3Server,
    bucket: str,
    files: dict[str, bytes],
    newer: bytes,
    waits: list[float],
    **pushed: str,
) -> list[Ran]:
    """Of two pushes that move or delete."""
    old = {VICTIM: b"the partner's old one"}
    prefix = pushed["s3_prefix"]
    write_tree(server.root, old)
    put_objects(s3, bucket, {prefix + name: data for name, data in files.items()})

    async def overwrite() -> None:
        await asyncio.to_thread(put_objects, s3, bucket, {prefix + VICTIM: newer})

    *runs, _ = await asyncio.gather(
        run_push(server, s3, bucket, owner="aaaaaaaa", **pushed),
        _after(waits[0], run_push(server, s3, bucket, owner="bbbbbbbb", clean_up=True, **pushed)),
        _after(waits[1], overwrite()),
    )
    newest = files | {VICTIM: newer}

    def check() -> None:
        tree, left, sent = (
            read_tree(server.root),
            beneath(s3, bucket, prefix),
            beneath(s3, bucket, pushed.get("sent_prefix")),
        )
        table.checked(len(files))
        table.none_is("lost", [name for name, data in newest.items() if data not in (left.get(name), tree.get(name))])
        table.none_is("lost", [] if VICTIM in tree else ["the partner's old file"])
        versions = {name: {data, newest[name], old.get(name, data)} for name, data in files.items()}
        table.none_is("wrong bytes", [name for name, data in tree.items() if data not in versions.get(name, ())])
        table.none_is("wrong bytes", [name for name, data in left.items() if data != newest[name]])
        if "sent_prefix" in pushed:
            table.none_is(
                "lost", [name for name, data in newest.items() if data not in (left.get(name), sent.get(name))]
            )
        table.none_is("left over", leftovers(server.root))

    check()
    last = await run_push(server, s3, bucket, **pushed)
    last.done()
    check()
    assert read_tree(server.root) == newest
    assert not beneath(s3, bucket, prefix)
    return runs
