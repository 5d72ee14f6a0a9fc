"""The key of a pulled file: what it is made of, what is there already, and who has taken it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import NameRefused, TargetTaken
from airflow_provider_sftp_s3.engine.keys import Keys
from airflow_provider_sftp_s3.engine.model import SourceFile, Stat
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.settings import PullSettings
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.integration

STAT = Stat(3, 1_700_000_000)


def keys_of(opened: Bucket, **settings: Any) -> Keys:
    return Keys(PullSettings(sftp_path="/", **settings), "p/", opened)


def file(name: str = "sub/a.csv") -> SourceFile:
    return SourceFile(f"/{name}".encode(), name.encode(), STAT, "absent")


def store(s3: S3Server, opened: Bucket, key: str, body: bytes = b"old", mtime: int | None = None) -> None:
    metadata = {} if mtime is None else {"mtime": str(mtime)}
    s3.client().put_object(Bucket=opened.name, Key=key, Body=body, Metadata=metadata)


async def test_a_key_is_prefix_and_name_unless_something_else_is_said(opened: Bucket) -> None:
    """Then a file has to claim it."""
    assert not keys_of(opened).are_claimed
    assert keys_of(opened).of(b"sub/a.csv", Stat()) == "p/sub/a.csv"
    for settings in ({"rename_to": "{stem}"}, {"on_conflict": "skip"}):
        assert keys_of(opened, **settings).are_claimed
    assert keys_of(opened, rename_to="{stem}").of(b"sub/a.csv", Stat()) == "p/a"


@pytest.mark.parametrize("there", ["nothing", "an earlier try", "something else", "both names taken"])
@pytest.mark.parametrize("mode", ["replace", "rename", "skip", "fail"])
async def test_what_is_there_decides(s3: S3Server, opened: Bucket, mode: str, there: str) -> None:
    """An earlier try is known by size and mtime, under either name."""
    own, aside = "p/sub/a.csv", "p/sub/a.1700000000.csv"
    if there != "nothing":
        store(s3, opened, own, b"new" if there == "an earlier try" else b"old", STAT.mtime if "try" in there else None)
    if there == "both names taken":
        store(s3, opened, aside)
    keys = keys_of(opened, on_conflict=mode)
    is_conflict = mode != "replace" and there in ("something else", "both names taken")
    if is_conflict and (mode != "rename" or there == "both names taken"):
        with pytest.raises(TargetTaken, match=r"there already"):
            await keys.claim(file(), STAT)
        return
    claim = await keys.claim(file(), STAT)
    assert claim.key == (aside if is_conflict else own)
    assert (claim.own is not None) == (there == "an earlier try" and mode != "replace")
    assert claim.only_new == (mode != "replace" and claim.own is None)
    if is_conflict:
        store(s3, opened, aside, b"new", STAT.mtime)
        assert (await keys.claim(file(), STAT)).own is not None


async def test_a_file_is_looked_at_before_it_is_a_conflict(s3: S3Server, opened: Bucket) -> None:
    """Its listing may not be exact; the name goes by what it is."""
    store(s3, opened, "p/sub/a.csv", b"new", STAT.mtime)

    async def look() -> Stat:
        return STAT

    rough = Stat(3, 1_699_999_980)
    claim = await keys_of(opened, on_conflict="fail").claim(file(), rough, look)
    assert (claim.own is not None, claim.stat) == (True, STAT)
    claim = await keys_of(opened, on_conflict="fail", rename_to="{stem}{mtime}").claim(file(), rough, look)
    assert (claim.key, claim.own) == ("p/a1699999980", None)


async def test_a_key_is_one_files(opened: Bucket) -> None:
    """The same file may take it again."""
    keys = keys_of(opened, rename_to="{name}")
    for _ in range(2):
        assert (await keys.claim(file("x/a"), STAT)).key == "p/a"
    with pytest.raises(NameRefused, match=r"rename_to gives it the key of 'x/a', which has it in this run: 'p/a'"):
        await keys.claim(file("y/a"), STAT)


async def test_a_retry_heeds_what_was_stored_since_the_run_began(s3: S3Server, opened: Bucket) -> None:
    """By another file; what is older is replaced."""
    store(s3, opened, "p/a")
    for seconds, refused in ((60, False), (-60, True)):
        since = datetime.now(UTC) + timedelta(seconds=seconds)
        keys = keys_of(opened, rename_to="{name}", retried_since=since)
        if refused:
            with pytest.raises(NameRefused, match="an earlier try of this run"):
                await keys.claim(file("x/a"), STAT)
        else:
            assert (await keys.claim(file("x/a"), STAT)).key == "p/a"


def test_a_name_beside_is_a_key_that_can_be(opened: Bucket) -> None:
    """Neither too long nor of an unknown time."""
    keys = keys_of(opened, on_conflict="rename")
    assert keys.all_of(b"a.csv", STAT) == ["p/a.csv", "p/a.1700000000.csv"]
    assert keys.all_of(b"a.csv", Stat(3)) == ["p/a.csv"]
    with pytest.raises(NameRefused, match="more than 255 bytes"):
        keys.all_of(b"x" * 250, STAT)
    with pytest.raises(NameRefused, match="1024"):
        keys.all_of(b"/".join([b"x" * 200] * 5) + b"yyyyyyyyyy", STAT)
