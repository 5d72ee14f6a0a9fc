"""Lines that are cut again and again: what cannot arrive is said, with what was seen, and the rest arrives."""

from __future__ import annotations

import os

import pytest

from airflow_provider_sftp_s3.engine.options import MiB
from tests.faults import table
from tests.faults.harness import check_pull, check_push, put_objects, run_pull, run_push, write_tree
from tests.support import faulty_sftp as faulty
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = [pytest.mark.faults, pytest.mark.loops]

FILES = {"large": os.urandom(12 * MiB), "small": b"small", "sub/middle": os.urandom(2 * MiB)}
LIMIT = 8 * MiB


async def test_a_line_that_is_cut_every_few_megabytes_under_a_pull(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """The error has the bytes and the times; the smaller files arrive."""
    write_tree(sftp_server.root, FILES)
    sftp_server.fault = faulty.ConnectionCutAfterReading(LIMIT, times=1000)
    ran = await run_pull(sftp_server, s3, bucket, concurrency=1)
    assert check_pull(sftp_server.root, s3, bucket, FILES, ran) == {"small", "sub/middle"}
    check_what_is_said(ran.failures)


@pytest.mark.parametrize("temp_name", [".{id}.part", None])
async def test_a_line_that_is_cut_every_few_megabytes_under_a_push(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, temp_name: str | None
) -> None:
    """Likewise, and no half is left."""
    put_objects(s3, bucket, FILES)
    sftp_server.fault = faulty.ConnectionCutAfterWriting(LIMIT, times=1000)
    ran = await run_push(sftp_server, s3, bucket, concurrency=1, temp_name=temp_name)
    assert check_push(sftp_server.root, bucket, FILES, ran) == {"small", "sub/middle"}
    check_what_is_said(ran.failures)


def check_what_is_said(failures: dict[str, str]) -> None:
    assert set(failures) == {"large"}
    assert "was cut 3 times while this file of 12.0 MiB was moved, when it had carried " in failures["large"]
    assert "cannot arrive" in failures["large"]
    seen = failures["large"].partition("carried ")[2].partition(" MiB")[0]
    assert all(0 < float(moved) <= LIMIT / MiB for moved in seen.split(", "))
    table.checked(len(FILES))


async def test_a_line_that_fewer_files_would_get_through(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """Each would fit by itself; together they share what a connection carries. The error says what to set."""
    files = {f"{number:02}": os.urandom(2 * MiB) for number in range(12)}
    write_tree(sftp_server.root, files)
    sftp_server.fault = faulty.ConnectionCutAfterReading(3 * MiB, times=1000)
    ran = await run_pull(sftp_server, s3, bucket, concurrency=12)
    check_pull(sftp_server.root, s3, bucket, files, ran)
    assert any("a lower concurrency in options" in reason for reason in ran.failures.values())
    (await run_pull(sftp_server, s3, bucket, concurrency=1)).done()
    table.checked(len(files))
