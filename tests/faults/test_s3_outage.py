"""S3 is out for some seconds: no file of any size fails."""

from __future__ import annotations

import os
import threading
import time

import pytest

from airflow_provider_sftp_s3.engine.options import KiB, MiB
from tests.faults.harness import (
    PATIENT,
    check_pull,
    check_push,
    marked_keys,
    put_objects,
    run_pull,
    run_push,
    write_tree,
)
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.faults

#: obstore by itself gives up after less than one.
SECONDS = 3.0
FILES = {
    "small": os.urandom(4 * KiB),
    "handed to obstore": os.urandom(100 * KiB),
    "one part": os.urandom(PATIENT["part_size"]),
    "multipart": os.urandom(11 * MiB),
    **{f"sub/{number:02}": os.urandom(70_000) for number in range(12)},
}
EVERY = set(FILES)
#: With nothing to say of the objects obstore sends them, with an ACL our own requests do.
EITHER = pytest.mark.parametrize("extra_args", [{}, {"ACL": "private"}], ids=["obstore", "own"])
ANSWERS = pytest.mark.parametrize(
    "answer", [(503, "SlowDown"), (500, "InternalError"), "cut", "refused"], ids=["503", "500", "cut", "refused"]
)


class Outage:
    """S3 fails all that comes within some seconds of the first request of a kind; or nobody listens at its port."""

    def __init__(self, s3: S3Server, operations: set[str], answer: tuple[int, str] | str) -> None:
        self.failed: list[S3Request] = []
        self._s3 = s3
        self._operations = operations
        self._answer = answer
        self._until: float | None = None
        self._lock = threading.Lock()
        self._downtime = threading.Thread(target=self._go_down)
        s3.before(self._check)

    def _check(self, request: S3Request) -> tuple[int, str] | None:
        with self._lock:
            if self._until is None and request.operation in self._operations:
                self._until = time.monotonic() + SECONDS
                if self._answer == "refused":
                    self._downtime.start()
            if self._until is None or time.monotonic() > self._until:
                return None
            self.failed.append(request)
        if isinstance(self._answer, str):
            raise ConnectionResetError
        return self._answer

    def _go_down(self) -> None:
        assert self._until is not None
        self._s3.stop()
        time.sleep(max(0.0, self._until - time.monotonic()))
        self._s3.start()

    def over(self) -> None:
        """Make sure that there was one, and that it is over."""
        assert self.failed
        if self._answer == "refused":
            self._downtime.join()


@ANSWERS
@EITHER
async def test_an_outage_costs_a_pull_no_file(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, extra_args: dict[str, str], answer: tuple[int, str] | str
) -> None:
    """From the first upload on."""
    write_tree(sftp_server.root, FILES)
    outage = Outage(s3, {"PutObject", "CreateMultipartUpload"}, answer)
    ran = await run_pull(sftp_server, s3, bucket, extra_args=extra_args)
    outage.over()
    ran.done()
    assert check_pull(sftp_server.root, s3, bucket, FILES, ran) == EVERY


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
@EITHER
async def test_an_outage_in_a_multipart_upload_costs_no_file(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, extra_args: dict[str, str], operation: str
) -> None:
    """From its first part, or its end, on: it is completed, and no other one is left over."""
    write_tree(sftp_server.root, FILES)
    outage = Outage(s3, {operation}, "cut")
    ran = await run_pull(sftp_server, s3, bucket, extra_args=extra_args)
    outage.over()
    ran.done()
    assert check_pull(sftp_server.root, s3, bucket, FILES, ran) == EVERY
    assert s3.unfinished_uploads(bucket) == []


@pytest.mark.parametrize("operation", ["GetObject", "CopyObject"])
async def test_an_outage_costs_a_push_no_file(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, operation: str
) -> None:
    """From the first download, or the first mark, on."""
    put_objects(s3, bucket, FILES)
    outage = Outage(s3, {operation}, "refused")
    ran = await run_push(sftp_server, s3, bucket)
    outage.over()
    ran.done()
    assert check_push(sftp_server.root, bucket, FILES, ran) == EVERY
    assert marked_keys(bucket) == EVERY
