"""One call from one end to the other: what it opens, what it returns, and what it refuses before that."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.api import pull_tree, push_objects, transfer_between
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, LoginRefused
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.settings import PullSettings, PushSettings
from airflow_provider_sftp_s3.engine.sftp.server import SftpServer
from tests.support.engine import Recorder, server_of
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

PULL = PullSettings(sftp_path="/in", min_age=0, destination="a")
PUSH = PushSettings(sftp_path="/out", destination="b")
OPTIONS = TransferOptions(conn_timeout=60)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What the log of the package is told."""
    texts: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("airflow_provider_sftp_s3")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield texts
    log.setLevel(level)
    log.removeHandler(handler)


@pytest.mark.unit
@pytest.mark.parametrize("name", ["", None, 5, b"bucket"])
async def test_what_is_no_name_of_a_bucket_is_refused_before_anything_is_opened(name: Any) -> None:
    """There is no server at all here."""
    nowhere = SftpServer(host="127.0.0.1", port=1)
    with pytest.raises(ConfigurationError, match="s3_bucket must be the name of a bucket"):
        await pull_tree(PULL, nowhere, name)
    with pytest.raises(ConfigurationError, match="s3_bucket must be the name of a bucket"):
        await push_objects(PUSH, nowhere, name)


@pytest.mark.unit
@pytest.mark.parametrize("transfer", [pull_tree, push_objects])
async def test_an_argument_that_is_another_thing_is_named(transfer: Any) -> None:
    """A push that is given the settings of a pull would be a pull. What a wrong one says may be a secret."""
    good: dict[str, Any] = {
        "settings": PULL if transfer is pull_tree else PUSH,
        "server": SftpServer(host="127.0.0.1", port=1),
        "bucket": "bucket",
    }
    for name, wrong in {
        "settings": (PUSH if transfer is pull_tree else PULL, {"sftp_path": "/in"}, None),
        "server": ("sftp://user:secret@host", None),
        "options": ({"concurency": 3}, 3),
    }.items():
        for value in wrong:
            with pytest.raises(ConfigurationError, match=f"{name}(:| must be )") as refused:
                await transfer(**{**good, name: value})
            assert "secret" not in str(refused.value)


@pytest.mark.integration
async def test_a_tree_goes_to_s3_and_on_to_a_server(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, logged: list[str]
) -> None:
    """A second call moves nothing. An observer is told of each file; where there is none, the log is."""
    for directory in ("in/sub", "out"):
        (sftp_server.root / directory).mkdir(parents=True)
    (sftp_server.root / "in/sub/f").write_bytes(b"content")
    session = s3.session()
    ends: dict[str, Any] = {"session": session, "client": s3.client(session), "options": OPTIONS}
    seen = Recorder()
    pulled = await pull_tree(PULL, server_of(sftp_server), bucket, observer=seen, **ends)
    assert (pulled.direction, pulled.transferred, pulled.bytes) == ("pull", 1, 7)
    assert s3.objects(bucket)["sub/f"] == b"content"
    assert [outcome.status for outcome in seen.outcomes] == ["transferred"]
    assert logged == []
    pushed = await push_objects(PUSH, server_of(sftp_server), bucket, **ends)
    assert (pushed.direction, pushed.transferred, pushed.bytes) == ("push", 1, 7)
    assert (sftp_server.root / "out/sub/f").read_bytes() == b"content"
    assert [line for line in logged if line.startswith("transferred") and "sub/f" in line]
    ends["options"] = dataclasses.asdict(OPTIONS)
    again = await push_objects(PUSH, server_of(sftp_server), bucket, observer=seen, **ends)
    assert (again.transferred, again.skipped) == (0, {"synced": 1})


@pytest.mark.integration
async def test_the_bucket_is_asked_for_once_the_login_is_done(sftp_server: AsyncsshServer) -> None:
    """A password that is wrong costs S3 nothing."""
    asked = asyncio.Event()

    async def bucket() -> Bucket:
        asked.set()
        raise ConfigurationError("there is no S3 here")

    server = server_of(sftp_server)
    with pytest.raises(LoginRefused):
        await transfer_between(PULL, dataclasses.replace(server, password="wrong"), bucket, OPTIONS, Recorder())
    assert not asked.is_set()
    with pytest.raises(ConfigurationError, match="there is no S3 here"):
        await transfer_between(PULL, server, bucket, OPTIONS, Recorder())
    assert asked.is_set()
