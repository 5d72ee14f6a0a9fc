"""Multipart uploads that a killed process has left in the bucket, aborted by the retry of its task."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from airflow_provider_sftp_s3.engine.errors import StorageError
from airflow_provider_sftp_s3.engine.observer import Observer
from airflow_provider_sftp_s3.engine.s3 import xml as s3_xml
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.requests import query_of

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
        except (StorageError, KeyError, ValueError) as refused:  # an answer without what it should say, too
            self._allowed = False
            self._observer.notice(
                "what earlier tries have left of multipart uploads stays in the bucket, until a lifecycle rule "
                f"(AbortIncompleteMultipartUpload) removes it: {refused}"
            )

    async def _abort(self, key: str) -> None:
        ask = self._bucket.requests.ask
        # Keys come in their order, and this one is the first that begins with itself: one page is enough.
        listed = await ask("GET", "", query_of({"uploads": "", "prefix": key}))
        for found in map(s3_xml.texts_of, listed.element("ListMultipartUploadsResult").iterfind("{*}Upload")):
            begun = datetime.fromisoformat(found["Initiated"])
            if found["Key"] != key or begun < self._since:
                continue
            upload = {"uploadId": found["UploadId"]}
            newest = max([begun, *await self._parts(key, upload)])
            if parsedate_to_datetime(listed.headers["Date"]) - newest > SILENT:
                await ask("DELETE", key, query_of(upload))

    async def _parts(self, key: str, upload: dict[str, str]) -> list[datetime]:
        """Return when each part of an upload came."""
        times: list[datetime] = []
        marker = "0"
        while marker:
            answer = await self._bucket.requests.ask("GET", key, query_of({**upload, "part-number-marker": marker}))
            page = answer.element("ListPartsResult", "ListPartsResponse")  # moto's word
            times += [datetime.fromisoformat(s3_xml.text_of(part, "LastModified")) for part in page.iterfind("{*}Part")]
            more = s3_xml.text_of(page, "IsTruncated") == "true"
            marker = s3_xml.text_of(page, "NextPartNumberMarker") if more else ""
        return times
