"""Mode and mtime of pushed files, on every real server: what a partner has agreed on, before a file has its name."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import TransferError
from airflow_provider_sftp_s3.engine.options import MiB
from tests.faults.harness import Acts
from tests.support.engine import Engine, store
from tests.support.faulty_sftp import SetstatIsRefused
from tests.support.sftp_servers import RcloneSftpServer
from tests.support.trees import WHEN

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("temp_name", [".{id}.part", None])
async def test_mode_and_mtime_of_pushed_files(engine: Engine, temp_name: str | None) -> None:
    """The time of the file that was pulled, or of the object."""
    store(engine, {"a": b"a"}, Metadata={"mtime": str(WHEN)})
    store(engine, {"sub/b": os.urandom(3 * MiB)})
    written = engine.s3.client().head_object(Bucket=engine.bucket, Key="sub/b")["LastModified"].timestamp()
    settings: dict[str, Any] = {"file_mode": 0o604, "preserve_mtime": True, "temp_name": temp_name}
    mode = 0o604
    if isinstance(engine.sftp, RcloneSftpServer):  # it says OK, and all files have one mode
        with pytest.raises(TransferError, match="says OK to its mode, 0604, and then has 0644"):
            await engine.push(**settings)
        settings["file_mode"], mode = None, 0o644
    report = await engine.push(**settings)
    assert (report.transferred, engine.seen.notices) == (2, [])
    root = engine.sftp.root / "out"
    assert [(root / name).stat().st_mode & 0o777 for name in ("a", "sub/b")] == [mode] * 2
    assert [int((root / name).stat().st_mtime) for name in ("a", "sub/b")] == [WHEN, int(written)]


async def test_a_file_has_them_before_it_has_its_name(fast: Engine) -> None:
    """Whoever finds it may rely on that."""
    store(fast, {"a": b"a"}, Metadata={"mtime": str(WHEN)})
    found: list[tuple[int, int]] = []

    def look(request: Any) -> None:
        stat = Path(fast.sftp.local(request.path)).stat()
        found.append((stat.st_mode & 0o777, int(stat.st_mtime)))

    fast.sftp.fault = Acts(look, ("POSIX-RENAME",))  # type: ignore[attr-defined]
    await fast.push(file_mode=0o600, preserve_mtime=True)
    assert found == [(0o600, WHEN)]


@pytest.mark.parametrize("temp_name", [".{id}.part", None])
async def test_a_server_that_refuses(fast: Engine, temp_name: str | None) -> None:
    """A file without its mode is not delivered, and not marked; one without its mtime is, with a notice."""
    fast.sftp.fault = SetstatIsRefused()  # type: ignore[attr-defined]
    for name in "ab":
        store(fast, {name: b"x"})
    with pytest.raises(TransferError, match="does not let us set its mode, 0640"):
        await fast.push(file_mode=0o640, preserve_mtime=True, temp_name=temp_name)
    assert list((fast.sftp.root / "out").iterdir()) == []
    assert (await fast.push(preserve_mtime=True, temp_name=temp_name)).transferred == 2
    assert ["refuses to set the mtime" in notice for notice in fast.seen.notices] == [True]


async def test_without_them_nothing_is_asked(fast: Engine) -> None:
    """No request more than ever: the looks are those at the first rename of a run, before and after it."""
    store(fast, {"a": b"a", "b": b"b"})
    fast.options = dataclasses.replace(fast.options, concurrency=1)
    await fast.push()
    requests = fast.sftp.requests  # type: ignore[attr-defined]
    assert (requests["SETSTAT"], requests["LSTAT"]) == (0, 3)
