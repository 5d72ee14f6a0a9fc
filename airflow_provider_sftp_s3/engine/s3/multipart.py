"""
Uploads by our own requests, for what obstore has no words for: ACLs, object locks, customer keys, client certificates.

Slower than obstore where much is sent over TLS: all of it is done in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from airflow_provider_sftp_s3.engine.errors import SftpS3Error, StorageError
from airflow_provider_sftp_s3.engine.model import Stored
from airflow_provider_sftp_s3.engine.s3 import xml as s3_xml
from airflow_provider_sftp_s3.engine.s3.checksums import crc32_of
from airflow_provider_sftp_s3.engine.s3.requests import Answer, S3Requests, query_of

#: Seconds that an upload which is called off has to abort itself on the server.
ABORT_SECONDS = 1.5


class OwnUploads:
    """
    Uploads into one bucket.

    :param part: headers of the requests that send parts.
    :param checksums: whether each request carries a checksum of its body.
    """

    def __init__(self, requests: S3Requests, part: Mapping[str, str], *, checksums: bool) -> None:
        self._requests = requests
        self._part = part
        self._checksums = checksums

    async def put(self, key: str, data: Sequence[bytes | memoryview], headers: Mapping[str, str]) -> Stored:
        """Store `data`, piece by piece, under `key` in one request. S3 has it completely when this returns."""
        body = b"".join(data)
        checksum = self._checksum_of(body)
        return stored_of(await self._requests.ask("PUT", key, headers={**headers, **checksum}, body=body), checksum)

    async def put_stream(
        self,
        key: str,
        chunks: AsyncIterator[bytes | memoryview],
        headers: Mapping[str, str],
        *,
        part_size: int,
        parts_at_once: int,
        call_off: Callable[[], None],
        condition: Mapping[str, str] | None = None,
    ) -> Stored:
        """
        Store what `chunks` yields in a multipart upload, as :meth:`Uploads.put_stream` does.

        :param condition: headers of the request that ends it, without whose condition there is to be no object.
        """
        # S3 makes a checksum of the whole of those of the parts.
        whole = {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT"} if self._checksums else {}
        answer = await self._requests.ask("POST", key, "uploads=", {**headers, **whole})
        upload = {"uploadId": s3_xml.text_of(answer.element("InitiateMultipartUploadResult"), "UploadId")}
        if not upload["uploadId"]:
            raise self._requests.error(key, "S3 begins a multipart upload and gives no UploadId")
        try:
            try:
                parts = await self._send_parts(key, upload, _cut(chunks, part_size), parts_at_once)
                body = f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>".encode()
                answer = await self._requests.ask("POST", key, query_of(upload), condition, body)
                etag = ""
                with contextlib.suppress(StorageError):  # S3 has the object, whatever it says of it
                    etag = s3_xml.text_of(answer.element("CompleteMultipartUploadResult"), "ETag")
                return Stored(etag.strip('"'), answer.headers.get("x-amz-version-id", ""))
            except asyncio.CancelledError:
                call_off()
                raise
        except BaseException:
            with contextlib.suppress(SftpS3Error, TimeoutError):
                async with asyncio.timeout(ABORT_SECONDS):
                    await self._requests.ask("DELETE", key, query_of(upload))
            raise

    async def _send_parts(
        self, key: str, upload: Mapping[str, str], parts: AsyncIterator[bytes], at_once: int
    ) -> list[str]:
        """Send the parts, and return what the end of the upload says of each."""
        sent: dict[int, asyncio.Task[str]] = {}
        free = asyncio.Semaphore(at_once)
        try:
            async with asyncio.TaskGroup() as group:
                number = 0
                async for body in parts:
                    number += 1
                    await free.acquire()
                    sent[number] = group.create_task(self._send_part(key, upload, number, body))
                    sent[number].add_done_callback(lambda _: free.release())
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        return [sent[number].result() for number in sorted(sent)]

    async def _send_part(self, key: str, upload: Mapping[str, str], number: int, body: bytes) -> str:
        checksum = self._checksum_of(body)
        query = query_of({**upload, "partNumber": str(number)})
        answer = await self._requests.ask("PUT", key, query, {**self._part, **checksum}, body)
        said = "".join(f"<ChecksumCRC32>{value}</ChecksumCRC32>" for value in checksum.values())
        etag = s3_xml.escape(answer.headers["ETag"])
        return f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{said}</Part>"

    def _checksum_of(self, body: bytes) -> dict[str, str]:
        return {"x-amz-checksum-crc32": crc32_of(body)} if self._checksums else {}


def stored_of(answer: Answer, checksum: Mapping[str, str]) -> Stored:
    """Return what S3 says of an object in its answer to a PUT, and the checksum that it has taken."""
    named = next((f"{name.removeprefix('x-amz-checksum-').upper()}:{checksum[name]}" for name in checksum), "")
    return Stored(answer.headers.get("ETag", "").strip('"'), answer.headers.get("x-amz-version-id", ""), named)


async def _cut(chunks: AsyncIterator[bytes | memoryview], size: int) -> AsyncIterator[bytes]:
    """Yield all of `chunks` in pieces of `size` bytes, and the rest; one empty piece where there is nothing."""
    held: list[bytes | memoryview] = []
    count = 0
    is_first = True
    async for chunk in chunks:
        rest = memoryview(chunk)
        while count + len(rest) >= size:
            held.append(rest[: size - count])
            yield b"".join(held)
            rest = rest[size - count :]
            held, count, is_first = [], 0, False
        held.append(rest)
        count += len(rest)
    if count or is_first:
        yield b"".join(held)
