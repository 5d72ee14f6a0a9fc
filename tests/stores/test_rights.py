"""
The policies of docs/mwaa.md: each is enough for what it is for, and no permission in it is too many.

A proxy enforces them in front of the server that stands for AWS.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import urllib.parse
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncssh
import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, SftpS3Error, TransferError
from airflow_provider_sftp_s3.engine.s3 import left_uploads
from tests.faults.harness import make_old, write_tree
from tests.stores.conftest import PART, Place, on
from tests.support.s3_rights import Rights
from tests.support.sftp_servers import AsyncsshServer, Fault, Proceed, Request
from tests.unit.test_docs import ACTIONS, STATEMENTS

pytestmark = [pytest.mark.stores, pytest.mark.parametrize("store", [on("aws", group="rights")], indirect=True)]

FILES = {"one": b"1", "more than 16 KiB": os.urandom(20_000), "two parts": os.urandom(PART + 1), "d/it's & so": b"d"}
PREFIX = "partner/"


@dataclasses.dataclass
class Guarded(Place):
    """A place whose engine gets at S3 through a proxy that enforces a policy."""

    @property
    def rights(self) -> Rights:
        assert isinstance(self.s3, Rights)
        return self.s3

    def allow(self, *sids: str, but: str = "") -> None:
        """Allow what the statements of the docs allow, for this bucket, but one action."""
        bucket = dict.fromkeys(("example-inbound", "example-outbound"), f"arn:aws:s3:::{self.bucket}")
        self.rights.allowed = [
            (action, f"{bucket[place]}{slash}{path}")
            for sid in sids
            for place, slash, path in [STATEMENTS[sid]["Resource"].removeprefix("arn:aws:s3:::").partition("/")]
            for action in ACTIONS[sid]
            if action != but
        ]
        self.rights.refused.clear()


@pytest.fixture
def guarded(place: Place) -> Iterator[Guarded]:
    with Rights(place.store.s3.store) as rights:
        yield Guarded(place.sftp, rights, place.bucket, place.options, store=place.store, by_proxy=True)


class BrokenOff(Fault):
    """A file that cannot be read to its end: its upload is called off."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "READ" and request.path.endswith("broken") and request.offset > PART:
            raise asyncssh.SFTPFailure("a bad block")
        return await proceed()


# --- what each policy is for


async def pulls(place: Guarded) -> None:
    for after in ("move", "delete"):
        write_tree(place.sftp.root / "in", FILES)
        assert (await place.pull(s3_prefix=PREFIX, after_transfer=after)).transferred == len(FILES)
    assert place.contents() == {f"{PREFIX}{name}": data for name, data in FILES.items()}
    assert isinstance(place.sftp, AsyncsshServer)
    place.sftp.fault = BrokenOff()
    write_tree(place.sftp.root / "in", {"broken": bytes(3 * PART)})
    with pytest.raises(TransferError, match="a bad block"):
        await place.pull(s3_prefix=PREFIX)
    assert "Uploads" not in place.store.client.list_multipart_uploads(Bucket=place.bucket)


async def keeps(place: Guarded) -> None:
    await pulls(place)
    (place.sftp.root / "in/broken").unlink()
    write_tree(place.sftp.root / "in", FILES, age=7200)  # other files than those that were pulled
    for skipped in ({}, {"unchanged": len(FILES)}):
        assert (await place.pull(s3_prefix=PREFIX, after_transfer="keep")).skipped == skipped
    await place.pull(s3_prefix=PREFIX, retention=3600.0)
    make_old(place.sftp.root / "in/.done/one", 9000)  # not the time of the file itself: that is not a stamp
    assert (await place.pull(s3_prefix=PREFIX, retention=3600.0)).purged == 1


async def retries(place: Guarded) -> None:
    upload = {"Bucket": place.bucket, "Key": f"{PREFIX}two parts"}
    upload["UploadId"] = place.store.client.create_multipart_upload(**upload)["UploadId"]
    place.store.client.upload_part(**upload, PartNumber=1, Body=b"x")
    write_tree(place.sftp.root / "in", FILES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(left_uploads, "SILENT", timedelta(seconds=-10))
        await place.pull(s3_prefix=PREFIX, retried_since=datetime.now(UTC) - timedelta(hours=1))
    assert "Uploads" not in place.store.client.list_multipart_uploads(Bucket=place.bucket)


def pushes(*modes: str, **first: Any) -> Callable[[Guarded], Awaitable[None]]:
    async def push(place: Guarded) -> None:
        tagging = urllib.parse.urlencode({"team": "a=b"})
        for key, body in FILES.items():
            store = place.put_in_parts if len(body) > PART else place.put
            store(f"{PREFIX}{key}", body, **({"Tagging": tagging} if key in ("one", "two parts") else {}))
        for mark in modes:
            settings = {"s3_prefix": PREFIX, "mark": mark}
            assert (await place.push_to(mark, **settings)).transferred == len(FILES)
            assert place.there(mark) == FILES
            if mark != "none":
                assert (await place.push_to(mark, **settings)).skipped["synced"] == len(FILES)
            place.put(f"{PREFIX}one", b"2", Tagging=tagging)
            assert (await place.push_to(mark, s3_prefix=PREFIX, mark=mark, s3_keys=f"{PREFIX}one")).transferred == 1
            place.put(f"{PREFIX}one", b"1", Tagging=tagging)
            report = await place.push_to(mark, s3_prefix=PREFIX, mark=mark, s3_keys=[f"{PREFIX}one", f"{PREFIX}gone"])
            assert (report.transferred, report.skipped) == (1, {"deleted": 1})
        assert [tag for tag in place.tags(f"{PREFIX}one").items() if tag[0] == "team"] == [("team", "a=b")]

    return push


def takes_away(**settings: str) -> Callable[[Guarded], Awaitable[None]]:
    async def push(place: Guarded) -> None:
        for key, body in FILES.items():
            store = place.put_in_parts if len(body) > PART else place.put
            store(f"{PREFIX}{key}", body, **({"Tagging": "team=a"} if key in ("one", "two parts") else {}))
        assert (await place.push_to("b", s3_prefix=PREFIX, **settings)).transferred == len(FILES)
        assert place.there("b") == FILES
        place.put(f"{PREFIX}one", b"2", Tagging="team=a")
        keys = [f"{PREFIX}one", f"{PREFIX}gone"]
        report = await place.push_to("b", s3_prefix=PREFIX, s3_keys=keys, **settings)
        assert (report.transferred, report.skipped) == (1, {"deleted": 1})
        assert place.listed(PREFIX) == []

    return push


PULL = ("PullObjects",)
KEEP = ("PullKeepObjects", "PullKeepBucket")
RETRY = (*PULL, "LeftUploadsObjects", "LeftUploadsBucket")
METADATA = ("PushMetadataObjects", "PushMetadataBucket")
TAG = ("PushTagObjects", "PushTagBucket")
NONE = ("PushNoneObjects", "PushNoneBucket")
DELETE = ("PushDeleteObjects", "PushDeleteProbe", "PushDeleteBucket")
MOVE = (*DELETE, "PushMoveObjects")
POLICIES: dict[str, tuple[tuple[str, ...], Callable[[Guarded], Awaitable[None]]]] = {
    "pull": (PULL, pulls),
    "pull, keep": (KEEP, keeps),
    "pull, retry": (RETRY, retries),
    "push, metadata": (METADATA, pushes("auto", "metadata")),
    "push, tag": (TAG, pushes("tag")),
    "push, none": (NONE, pushes("none")),
    "push, delete": (DELETE, takes_away(after_transfer="delete")),
    "push, move": (MOVE, takes_away(after_transfer="move", sent_prefix="sent/partner")),
}


@pytest.mark.parametrize("policy", POLICIES)
async def test_it_is_enough(guarded: Guarded, policy: str) -> None:
    """Nothing fails, nothing is refused, and there is nothing to say."""
    sids, work = POLICIES[policy]
    guarded.allow(*sids)
    await work(guarded)
    # A run begins with a look whether the bucket is there, and may do without.
    assert guarded.rights.refused <= ({"s3:ListBucket"} if sids[0] == "PullObjects" else set())
    assert guarded.seen.notices == []


def each_action() -> list[tuple[str, str]]:
    return [
        (policy, action)
        for policy, (sids, _) in POLICIES.items()
        for sid in sids
        if (policy, sid) != ("pull, retry", "PullObjects")  # seen with "pull"
        for action in sorted(ACTIONS[sid])
    ]


@pytest.mark.parametrize(("policy", "action"), each_action())
async def test_none_is_too_many(guarded: Guarded, policy: str, action: str) -> None:
    """Without any one permission, that very one is asked for."""
    sids, work = POLICIES[policy]
    guarded.allow(*sids, but=action)
    with contextlib.suppress(SftpS3Error, AssertionError):
        await work(guarded)
    assert action in guarded.rights.refused


@pytest.mark.parametrize(
    ("mode", "action"),
    [
        *(("metadata", each) for each in sorted(ACTIONS["PushMetadataObjects"] - {"s3:GetObject"})),
        *(("tag", each) for each in sorted(ACTIONS["PushTagObjects"] - {"s3:GetObject"})),
        *((mode, "s3:ListBucket") for mode in ("metadata", "tag")),
    ],
)
async def test_a_refusal_of_a_probe_ends_the_run(guarded: Guarded, mode: str, action: str) -> None:
    """It names the permission, and nothing is delivered."""
    guarded.put(f"{PREFIX}f", b"x", Tagging="team=a")
    guarded.allow(*(METADATA if mode == "metadata" else TAG), but=action)
    with pytest.raises(ConfigurationError) as caught:
        await guarded.push_to("b", s3_prefix=PREFIX, mark=mode, s3_keys=f"{PREFIX}f")
    assert action in str(caught.value)
    assert guarded.there("b") == {}
    assert guarded.contents() == {f"{PREFIX}f": b"x"}
    assert guarded.tags(f"{PREFIX}f") == {"team": "a"}
