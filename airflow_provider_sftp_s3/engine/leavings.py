"""Multipart uploads that a killed process has left in the bucket, aborted by the retry of its task."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import botocore.exceptions

from airflow_provider_sftp_s3.engine.s3 import Bucket
from airflow_provider_sftp_s3.engine.workers import Observer

#: An upload that nothing has come to for this long is taken for abandoned.
SILENT = timedelta(minutes=5)


class LeftUploads:
    """
    Finds and aborts the uploads that earlier tries of the same task have left.

    An upload names no owner, and another producer's must never be aborted, nor one that goes on. So one is ours and
    dead only if it is of the very key that this try has just stored, was begun since the Dag run began, and has stood
    still since, for 5 minutes by S3's own clock.

    :param since: when the Dag run began.
    """

    def __init__(self, bucket: Bucket, since: datetime, observer: Observer) -> None:
        self._bucket = bucket
        self._since = since
        self._observer = observer
        self._allowed = True

    async def abort(self, key: str) -> None:
        """Abort what earlier tries have left of `key`. A refusal is a notice, once: no file depends on it."""
        if not self._allowed:
            return
        try:
            await self._abort(key)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as refused:
            self._allowed = False
            self._observer.notice(
                "what earlier tries have left of multipart uploads stays in the bucket, until a lifecycle rule "
                f"(AbortIncompleteMultipartUpload) removes it: {refused}"
            )

    async def _abort(self, key: str) -> None:
        client, place = self._bucket.client, {"Bucket": self._bucket.name}
        # Keys come in their order, and this one is the first that begins with itself: one page is enough.
        listed = await self._bucket.call(client.list_multipart_uploads, **place, Prefix=key)
        for found in listed.get("Uploads", ()):
            if found["Key"] != key or found["Initiated"] < self._since:
                continue
            upload = {**place, "Key": key, "UploadId": found["UploadId"]}
            pages = client.get_paginator("list_parts").paginate(**upload)
            parts: dict[str, Any] = await self._bucket.call(pages.build_full_result)
            newest = max([found["Initiated"], *(part["LastModified"] for part in parts.get("Parts", ()))])
            if _clock(listed) - newest > SILENT:
                await self._bucket.call(client.abort_multipart_upload, **upload)


def _clock(answer: dict[str, Any]) -> datetime:
    """Return the time at S3 when it answered."""
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
