"""A pull and a push from one end to the other, as a program calls them."""

from __future__ import annotations

import io
import logging

import pytest

from airflow_provider_sftp_s3.engine.api import pull_tree, push_objects
from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.settings import PullSettings, PushSettings
from tests.support.engine import Recorder, server_of
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration


async def test_there_and_back(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to the observer that is given, and to the package's log where none is."""
    log, logged = logging.getLogger("airflow_provider_sftp_s3"), io.StringIO()
    monkeypatch.setattr(log, "handlers", [logging.StreamHandler(logged)])
    monkeypatch.setattr(log, "level", logging.INFO)
    log.manager._clear_cache()  # type: ignore[attr-defined]
    for name in ("in", "out"):
        (sftp_server.root / name).mkdir()
    (sftp_server.root / "in" / "a").write_bytes(b"123")
    server, session, seen = server_of(sftp_server), s3.session(), Recorder()
    client = s3.client(session)
    settings = PullSettings(sftp_path="/in", min_age=0)
    pulled = await pull_tree(settings, server, bucket, session=session, client=client, observer=seen)
    assert (pulled.transferred, s3.objects(bucket)) == (1, {"a": b"123"})
    assert [outcome.status for outcome in seen.outcomes] == ["transferred"]
    assert "transferred" not in logged.getvalue()
    back = PushSettings(sftp_path="/out", destination="another")
    pushed = await push_objects(back, server, bucket, session=session, client=client)
    assert (pushed.transferred, (sftp_server.root / "out" / "a").read_bytes()) == (1, b"123")
    assert "transferred" in logged.getvalue()


async def test_a_name_that_is_no_buckets_asks_nobody(sftp_server: AsyncsshServer) -> None:
    """Neither server is reached."""
    with pytest.raises(ConfigurationError):
        await pull_tree(PullSettings(sftp_path="/"), server_of(sftp_server), "no bucket/name")
    with pytest.raises(ConfigurationError):
        await push_objects(PushSettings(sftp_path="/"), server_of(sftp_server), "no bucket/name")
    assert not sftp_server.requests
