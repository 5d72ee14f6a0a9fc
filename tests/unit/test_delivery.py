"""How one object becomes a file at the target: nothing is under its name before it is published."""

from __future__ import annotations

import contextlib

import pytest

from airflow_provider_sftp_s3.engine.delivery import Delivery
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, Download
from airflow_provider_sftp_s3.engine.settings import PushSettings
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.integration


async def downloaded(opened: Bucket, s3: S3Server) -> Download:
    s3.client().put_object(Bucket=opened.name, Key="a", Body=b"contents")
    download = await opened.get("a")
    assert download is not None
    return download


def names_in(server: AsyncsshServer) -> set[str]:
    return {path.name for path in server.root.iterdir()}


@pytest.mark.parametrize("temp_name", [None, "{id}"])
async def test_a_file_has_its_name_once_it_is_published(
    sftp_server: AsyncsshServer, session: SftpSession, opened: Bucket, s3: S3Server, temp_name: str | None
) -> None:
    """Not before; with a temporary name all of it is there by then."""
    settings = PushSettings(sftp_path="/", temp_name=temp_name, owner="0123abcd")
    told: list[int] = []
    delivery = Delivery(settings, b"/", session, told.append)
    with contextlib.closing(await downloaded(opened, s3)) as download:
        async with delivery.prepared(download, b"/a") as publish:
            assert "a" not in names_in(sftp_server)
            assert sum(told) == (0 if delivery.is_straight else len(b"contents"))
            assert await publish(b"/a", replaces=True)
    assert names_in(sftp_server) == {"a"}
    assert (sftp_server.root / "a").read_bytes() == b"contents"
    assert sum(told) == len(b"contents")


@pytest.mark.parametrize("temp_name", [None, "{id}"])
async def test_what_is_not_published_leaves_nothing(
    sftp_server: AsyncsshServer, session: SftpSession, opened: Bucket, s3: S3Server, temp_name: str | None
) -> None:
    """Another flow had delivered it meanwhile, say: an old file of the name stays as it is."""
    (sftp_server.root / "a").write_bytes(b"old")
    delivery = Delivery(PushSettings(sftp_path="/", temp_name=temp_name), b"/", session, lambda size: None)
    with contextlib.closing(await downloaded(opened, s3)) as download:
        async with delivery.prepared(download, b"/a"):
            pass
    assert names_in(sftp_server) == {"a"}
    assert (sftp_server.root / "a").read_bytes() == b"old"


async def test_what_nobody_looks_at_costs_no_request(
    sftp_server: AsyncsshServer, session: SftpSession, opened: Bucket, s3: S3Server
) -> None:
    """With ``verify="none"``, neither by handle nor by name."""
    delivery = Delivery(PushSettings(sftp_path="/", verify="none"), b"/", session, lambda size: None)
    with contextlib.closing(await downloaded(opened, s3)) as download:
        async with delivery.prepared(download, b"/a") as publish:
            assert await publish(b"/a", replaces=True)
    assert sftp_server.requests["FSTAT"] == sftp_server.requests["LSTAT"] == sftp_server.requests["STAT"] == 0
