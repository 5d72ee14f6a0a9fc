"""Every S3 store in turn, behind a proxy, and a bucket and an SFTP server of each test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.model import Report
from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from tests.conftest import require
from tests.faults.harness import read_tree
from tests.stores.table import STORES, Tried
from tests.support.engine import Engine
from tests.support.s3_proxy import S3Proxy
from tests.support.sftp_servers import AsyncsshServer

HERE = Path(__file__).parent
#: The smallest part that S3 takes.
PART = 5 * MiB


@dataclass(frozen=True)
class Store:
    """A store that is up."""

    about: Tried
    s3: S3Proxy
    client: Any
    """boto3's, past the proxy."""

    def lacks(self, feature: str) -> bool:
        return feature in self.about.gaps


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Do each test on each store, and with each mode of mark that is taken there."""
    if "mark" in metafunc.fixturenames:
        pairs = [on(name, mark) for name, about in STORES.items() for mark in about.modes]
        metafunc.parametrize(("store", "mark"), pairs, indirect=["store"])
    elif "store" in metafunc.fixturenames and not _chooses(metafunc):
        metafunc.parametrize("store", [on(name) for name in STORES], indirect=True)


def _chooses(metafunc: pytest.Metafunc) -> bool:
    """Say whether a test is for some stores only."""
    return any(mark.args[0] == "store" for mark in metafunc.definition.iter_markers("parametrize"))


def on(name: str, *more: str, group: str = "") -> Any:
    """
    Return a parameter: all tests of a store run in one process, so that it starts once.

    :param group: of the tests that have a process of their own.
    """
    return pytest.param(name, *more, id="-".join((name, *more)), marks=pytest.mark.xdist_group(group or name))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Be done with one store before the next one starts; the tests of other suites keep their order."""
    turns = {name: turn for turn, name in enumerate(STORES)}

    def turn_of(item: pytest.Item) -> int:
        if item.path.parent != HERE or not isinstance(item, pytest.Function):
            return -1
        return turns[str(item.callspec.params["store"])]

    items.sort(key=turn_of)


@pytest.fixture(scope="session")
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Each store in turn; one that is not installed is skipped, or fails if REQUIRE_ALL_SERVERS=1."""
    about = STORES[request.param]
    require(not about.missing(), about.missing())
    with about.make(tmp_path_factory.mktemp("store") / "data") as made, S3Proxy(made) as proxy:
        client = made.client(retries={"total_max_attempts": 8, "mode": "standard"})  # a busy Swift answers with 503
        yield Store(about, proxy, client)
        client.close()


@dataclass
class Place(Engine):
    """The engine, a bucket, and an SFTP server of one test."""

    store: Store = field(kw_only=True)
    by_proxy: bool = field(default=False, kw_only=True)
    """Whether the engine talks to the store by the proxy, which sees its requests; else as it does anywhere."""

    def opened_bucket(self) -> Bucket:
        s3 = self.s3 if self.by_proxy else self.store.s3.store
        session = s3.session()
        return Bucket(self.bucket, s3.client(session), session, self.options)

    def put(self, key: str, body: bytes, **arguments: Any) -> None:
        """Store an object as a user does, past the proxy."""
        self.store.client.put_object(Bucket=self.bucket, Key=key, Body=body, **arguments)

    def put_in_parts(self, key: str, body: bytes, **arguments: Any) -> None:
        """Store an object of several parts."""
        client, place = self.store.client, {"Bucket": self.bucket, "Key": key}
        upload = client.create_multipart_upload(**place, **arguments)["UploadId"]
        parts = []
        for number, start in enumerate(range(0, len(body), PART), 1):
            sent = client.upload_part(**place, UploadId=upload, PartNumber=number, Body=body[start : start + PART])
            parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})

    def head(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self.store.client.head_object(Bucket=self.bucket, Key=key)
        return found

    def get(self, key: str) -> bytes:
        return bytes(self.store.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def tags(self, key: str) -> dict[str, str]:
        answer = self.store.client.get_object_tagging(Bucket=self.bucket, Key=key)
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}

    def listed(self, prefix: str = "") -> list[str]:
        """List what is there, but for what is the engine's own."""
        pages = self.store.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        found = [each["Key"] for page in pages for each in page.get("Contents", ())]
        return [key for key in found if ".sftp-s3" not in key]

    def contents(self) -> dict[str, bytes]:
        return {key: self.get(key) for key in self.listed()}

    def there(self, directory: str) -> dict[str, bytes]:
        """Return the files beneath a directory of the SFTP server."""
        return read_tree(self.sftp.root / directory)

    async def push_to(self, destination: str, **settings: Any) -> Report:
        """Push to a partner whose directory is called as it is."""
        (self.sftp.root / destination).mkdir(exist_ok=True)
        return await self.push(destination, destination=destination, **settings)


@pytest.fixture
def place(store: Store, tmp_path: Path) -> Iterator[Place]:
    """A bucket of the store, and an SFTP server with a directory ``in``."""
    with AsyncsshServer(tmp_path / "sftp") as sftp:
        (sftp.root / "in").mkdir()
        options = TransferOptions(part_size=PART)
        yield Place(sftp, store.s3, store.s3.store.new_bucket(), options, store=store)
    store.s3.reset()


Needs = Callable[[str], None]


@pytest.fixture
def needs(store: Store, request: pytest.FixtureRequest) -> Needs:
    """Called with a feature: where the store is declared to lack it, the test has to fail."""

    def declare(feature: str) -> None:
        if reason := store.about.gaps.get(feature):
            request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))

    return declare
