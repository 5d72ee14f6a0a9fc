"""Each setting of an `aws` connection, tried: docs/connections.md says what is seen here, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.options import KiB, MiB, TransferOptions
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.settings import PullSettings
from airflow_provider_sftp_s3.engine_thread import EngineThread
from airflow_provider_sftp_s3.hooks.s3_bucket import bucket_of
from airflow_provider_sftp_s3.hooks.sftp_s3 import SftpS3Hook
from tests.integration.aws_settings import SETTINGS, Given, Seen, Try, table
from tests.support.airflow_env import airflow_connections, warnings_of_ours_only
from tests.support.certificates import Certificates
from tests.support.engine import Recorder as Observed
from tests.support.s3_recorder import Recorder
from tests.support.s3_server import ACCESS_KEY, REGION, SECRET_KEY, SESSION_TOKEN, S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs/connections.md"
TRIES = [
    pytest.param(each, id=f"{row.names[:30]}-{number}") for row in SETTINGS for number, each in enumerate(row.tries)
]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def recorders(certificates: Certificates) -> Iterator[tuple[Recorder, Recorder]]:
    with Recorder() as plain, Recorder(certificates.server_context(asks_clients=True)) as tls:
        yield plain, tls


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests may have settings of AWS, and a proxy."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_CA_BUNDLE", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


async def use(bucket: Bucket) -> None:
    """Send a request of each of our clients."""

    async def chunks() -> AsyncGenerator[bytes]:
        yield bytes(6 * MiB)

    async with bucket:
        await bucket.check()
        await bucket.put("k", [b"contents"], {})
        await bucket.put("k", [bytes(64 * KiB)], {})
        await bucket.put_stream("k", chunks(), {}, part_size=5 * MiB, parts_at_once=2, call_off=lambda: None)
        download = await bucket.get("k")
        assert download is not None
        assert b"".join([chunk async for chunk in download.chunks()]) == b"contents"


@pytest.mark.slow
@pytest.mark.parametrize("one", TRIES)
def test_each_setting_is_heeded_or_named_at_once(
    recorders: tuple[Recorder, Recorder],
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    one: Try,
) -> None:
    """What cannot be heeded ends it before S3 is asked anything; what has no effect is said."""
    plain, tls = recorders
    profiles = tmp_path / "profiles"
    profiles.write_text(f"[mine]\naws_access_key_id = AKIAOFAPROFILE\naws_secret_access_key = {SECRET_KEY}\n")
    given = Given(f"http://127.0.0.1:{plain.port}", f"https://127.0.0.1:{tls.port}", certificates, str(profiles))
    for name, value in one.environ(given).items():
        monkeypatch.setenv(name, value)
    extra: dict[str, Any] = {"endpoint_url": given.url, "region_name": REGION, "aws_session_token": SESSION_TOKEN}
    extra |= one.extra(given) if callable(one.extra) else one.extra
    connection = {"conn_type": "aws", "login": ACCESS_KEY, "password": SECRET_KEY, **one.connection}
    connection["extra"] = {
        name: value
        for name, value in extra.items()
        if value is not None or name not in ("endpoint_url", "aws_session_token")
    }
    with airflow_connections(aws_here=connection), warnings_of_ours_only():
        if isinstance(one.shows, str):
            with pytest.raises(ConfigurationError, match=one.shows) as refused:
                bucket_of("aws_here", "my-bucket", TransferOptions())
            assert "'aws_here'" in str(refused.value) or "aws connection" in str(refused.value)
            assert SECRET_KEY not in str(refused.value)
            assert [asked for asked in (*plain.asked, *tls.asked) if asked.kind != "AssumeRole"] == []
            return
        bucket = bucket_of("aws_here", "my-bucket", TransferOptions())
    if one.asks:
        EngineThread().run(lambda: use(bucket))
    assert one.shows(Seen(bucket, [*plain.asked, *tls.asked]))
    assert bucket.remarks == [] or "remarks" in one.shows.__qualname__, bucket.remarks


def test_a_run_says_what_it_takes_no_notice_of(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """Once, and goes on."""
    aws = s3.airflow_connection(config_kwargs={"retries": {"max_attempts": 3}}, comment="of team red")
    seen = Observed()
    with airflow_connections(sftp_here=sftp_server.airflow_connection(), aws_here=aws), warnings_of_ours_only():
        SftpS3Hook("sftp_here", "aws_here").transfer(PullSettings(sftp_path="/"), bucket, observer=seen)
    (remark,) = seen.remarks
    assert "takes no notice of comment, config_kwargs.retries in Extra of the aws connection 'aws_here'" in remark
    assert seen.notices == []


def test_the_page_says_what_was_tried() -> None:
    """Print it with ``python -c 'from tests.integration.aws_settings import table; print(table())'``."""
    assert f"\n{table()}\n" in PAGE.read_text()
