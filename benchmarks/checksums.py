"""
What it costs a push to compare checksums: ``python -m benchmarks.checksums``.

CPU of this process alone, which is the engine's: sshd and moto's S3 server have processes of their own. What others do
on the machine does not matter much.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import shutil
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from benchmarks.servers import SSHD_CONFIG
from tests.support.engine import Engine
from tests.support.s3_stores import PlainMoto
from tests.support.sftp_servers import OpenSshServer

try:
    from awscrt import checksums as crt
except ImportError:
    crt = None

FILES = 40
SIZE = 5 * MiB
ROUNDS = 5
NOTHING = "nothing"


def _given(body: bytes) -> dict[str, dict[str, Any]]:
    """Return what an object is stored with, by what S3 then gives of it."""

    def text(digest: bytes) -> str:
        return base64.b64encode(digest).decode()

    given: dict[str, dict[str, Any]] = {
        "CRC32": {"ChecksumAlgorithm": "CRC32", "ChecksumCRC32": text(zlib.crc32(body).to_bytes(4))},
        "SHA256": {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": text(hashlib.sha256(body).digest())},
        "an ETag that is an MD5, over plain http": {},
    }
    if crt is not None:
        crc64 = text(crt.crc64nvme(body).to_bytes(8))
        given = {"CRC64NVME": {"ChecksumAlgorithm": "CRC64NVME", "ChecksumCRC64NVME": crc64}, **given}
    return given


def _fill(client: Any, bucket: str, body: bytes, how: dict[str, Any] | None) -> None:
    """Store the objects. In parts (None) they have no checksum and no MD5."""
    for number in range(FILES):
        place = {"Bucket": bucket, "Key": f"{number:03}"}
        if how is not None:
            client.put_object(**place, Body=body, **how)
            continue
        upload = {**place, "UploadId": client.create_multipart_upload(**place)["UploadId"]}
        part = client.upload_part(**upload, PartNumber=1, Body=body)
        client.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})


def _measured(engine: Engine) -> float:
    """Return the least seconds of CPU that a push of all objects has taken."""
    took = []
    for _ in range(ROUNDS):
        before = time.process_time()
        report = asyncio.run(engine.push(mark="none"))
        took.append(time.process_time() - before)
        assert report.transferred == FILES, report
    return min(took)


def main() -> None:
    """Print a table."""
    body = os.urandom(SIZE)
    root = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        with OpenSshServer(root / "sftp", config=SSHD_CONFIG) as sftp, PlainMoto() as s3:
            (sftp.root / "out").mkdir()
            client = s3.client(request_checksum_calculation="when_required")
            seconds = {}
            for name, how in {NOTHING: None, **_given(body)}.items():
                engine = Engine(sftp, s3, s3.new_bucket(), TransferOptions())  # type: ignore[arg-type]
                _fill(client, engine.bucket, body, how)
                seconds[name] = _measured(engine)
            client.close()
    finally:
        shutil.rmtree(root)
    print(f"{FILES} x {SIZE // MiB} MiB, push, least of {ROUNDS}")
    print("| compared | CPU, s | share of it |\n|---|---:|---:|")
    for name, each in seconds.items():
        print(f"| {name} | {each:.2f} | {max(0.0, 1 - seconds[NOTHING] / each):.0%} |")


if __name__ == "__main__":
    main()
