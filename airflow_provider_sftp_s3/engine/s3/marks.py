"""
The one spelling of "these bytes have been pushed", as metadata or as a tag.

A mark must never be set on bytes that were not sent, and must be lost with them:

* ``metadata`` is part of the object's version: an overwrite loses it. Setting it means copying the object onto itself,
  on the condition that source and destination still have the ETag that was sent.
* ``tag`` names the ETag it stands for: on any other it is no mark.

Both name the key too, since metadata and tags travel along when a user copies the object somewhere else.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import urllib.parse
from typing import Literal

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, StorageError
from airflow_provider_sftp_s3.engine.model import MarkMode
from airflow_provider_sftp_s3.engine.options import MAX_PARTS, GiB, MiB
from airflow_provider_sftp_s3.engine.s3 import xml as s3_xml
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, Version, metadata_headers
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused

Marked = Literal["marked", "overwritten", "gone"]

#: The metadata of a mark: ``synced=true`` and the hash of the key.
SYNCED = "synced"
SYNCED_KEY = "synced-key"
#: sftp-lambda's own mark, which has no hash.
LEGACY = "synched"
#: The tag of a mark: ``<etag>:<hash of the key>``.
TAG = "sftp-s3-synced"

#: CopyObject's bound; above it the copy goes part by part.
#: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
MAX_COPY = 5 * GiB

#: Refusals that are about the object, whatever the settings: there is no room for a mark, or it lies in an archive.
_OF_THE_OBJECT = {"MetadataTooLarge", "InvalidTag", "InvalidObjectState"}
#: What a mark takes, by its mode: for whoever has to allow it.
_NEEDS = {
    "metadata": (
        "mark='metadata' copies the object onto itself, which needs s3:PutObject; for an object with tags "
        "s3:GetObjectTagging and s3:PutObjectTagging; with KMS kms:Decrypt and kms:GenerateDataKey; with object lock "
        "s3:PutObjectRetention and s3:PutObjectLegalHold; and a bucket policy that takes no request without an ACL or "
        "an encryption setting refuses it, too"
    ),
    "tag": "mark='tag' needs s3:GetObjectTagging and s3:PutObjectTagging",
}
#: The ways out where a store does not know such a request, or nobody can allow it.
_INSTEAD = {
    "metadata": "mark='tag' copies nothing (s3:GetObjectTagging, s3:PutObjectTagging)",
    "tag": "mark='metadata' sets no tag (s3:PutObject)",
}


def key_hash(bucket: str, key: str) -> str:
    """Return the hash by which a mark names its object. The bucket counts: replicas keep keys and metadata."""
    return hashlib.sha256(f"{bucket}/{key}".encode()).hexdigest()[:32]


def metadata_mark(bucket: str, key: str) -> dict[str, str]:
    """Return the user metadata that says that the object is synced: what a push sets, and a pull writes at once."""
    return {SYNCED: "true", SYNCED_KEY: key_hash(bucket, key)}


def has_metadata_mark(bucket: str, key: str, version: Version) -> bool:
    """Say whether this version's metadata has the mark, by this provider or by sftp-lambda."""
    if version.metadata.get(LEGACY) == "true":
        return True
    return version.metadata.get(SYNCED) == "true" and version.metadata.get(SYNCED_KEY) == key_hash(bucket, key)


class Marks:
    """
    Reads and sets the marks of one bucket.

    :param mode: which mark is set. Metadata marks count in tag mode too, since pulled objects have them; in mode
        "none" nothing counts.
    """

    def __init__(self, bucket: Bucket, mode: MarkMode) -> None:
        self.bucket = bucket
        self.mode = mode
        # S3 says with every object how many tags it has; a server that does not is found out by the first that has some
        self._tags_are_counted = True
        self._has_marked = False

    async def is_synced(self, key: str, version: Version) -> bool:
        """Say whether this version of the object has been pushed, by this provider or by sftp-lambda."""
        if self.mode == "none":
            return False
        if has_metadata_mark(self.bucket.name, key, version):
            return True
        if self.mode == "tag" and (version.tags or not self._tags_are_counted):
            try:
                return (await self._tags(key)).get(TAG) == self._tag_value(key, version.etag)
            except S3Refused as refused:
                if refused.status != 404:
                    raise
        return False

    async def mark(self, key: str, version: Version) -> Marked:
        """
        Mark the object as pushed, if it still is the version that was sent.

        :return: "overwritten" when it is another version by now, "gone" when there is none: nothing was marked then.
        :raises ConfigurationError: S3 refuses it, and has not taken any mark before: it will not take the others.
        :raises StorageError: S3 refuses it, for what is about this object, or did not answer.
        """
        try:
            if self.mode == "tag":
                await self._mark_by_tag(key, version)
            elif self.mode == "metadata":
                await self._mark_by_metadata(key, version)
        except S3Refused as refused:
            if refused.status == 404:
                return "gone"
            if refused.status in (409, 412):
                return "overwritten"
            if self._has_marked or refused.passes or refused.code in _OF_THE_OBJECT:
                raise
            raise ConfigurationError(
                f"S3 does not take the mark of what was pushed: {refused}. {_NEEDS[self.mode]}. Allow that, or choose "
                f"another mark: {_INSTEAD[self.mode]}; mark='none' marks nothing, and pushes everything every time"
            ) from None
        self._has_marked = True
        return "marked"

    async def _mark_by_metadata(self, key: str, version: Version) -> None:
        metadata = {**version.metadata, **metadata_mark(self.bucket.name, key)}
        headers = {**version.headers, **metadata_headers(metadata)}
        source = {
            "x-amz-copy-source": urllib.parse.quote(f"{self.bucket.name}/{key}"),
            "x-amz-copy-source-if-match": version.etag,
        }
        target = {"If-Match": version.etag}
        if version.size > MAX_COPY:
            await self._copy_by_parts(key, version, headers, source, target)
        else:
            replace = {"x-amz-metadata-directive": "REPLACE"}
            await self.bucket.requests.ask("PUT", key, headers={**headers, **source, **target, **replace})

    async def _copy_by_parts(
        self,
        key: str,
        version: Version,
        headers: dict[str, str],
        source: dict[str, str],
        target: dict[str, str],
    ) -> None:
        """Copy an object over CopyObject's bound onto itself. Its tags have to be sent along."""
        ask = self.bucket.requests.ask
        if tags := await self._tags(key):
            headers["x-amz-tagging"] = urllib.parse.urlencode(tags, quote_via=urllib.parse.quote)
        begun = await ask("POST", key, "uploads=", headers)
        upload = s3_xml.text_of(begun.element("InitiateMultipartUploadResult"), "UploadId")
        if not upload:  # a DELETE with none would be the object's own
            raise StorageError(f"{self.bucket.uri_of(key)}: S3 begins a multipart upload and does not say its id")
        which = f"uploadId={urllib.parse.quote(upload, safe='')}"
        step = max(512 * MiB, -(-version.size // MAX_PARTS))
        try:
            parts = []
            for number, start in enumerate(range(0, version.size, step), 1):
                part = {"x-amz-copy-source-range": f"bytes={start}-{min(start + step, version.size) - 1}"}
                copied = await ask("PUT", key, f"partNumber={number}&{which}", {**source, **part})
                etag = s3_xml.escape(s3_xml.text_of(copied.element("CopyPartResult"), "ETag"))
                parts.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
            body = f'<CompleteMultipartUpload xmlns="{s3_xml.XMLNS}">{"".join(parts)}</CompleteMultipartUpload>'
            await ask("POST", key, which, target, body.encode())
        except BaseException:
            with contextlib.suppress(StorageError):  # why it is aborted says more
                await ask("DELETE", key, which)
            raise

    async def _mark_by_tag(self, key: str, version: Version) -> None:
        tags = await self._tags(key)
        if tags and not version.tags:
            self._tags_are_counted = False
        if len(tags) < version.tags:
            # Somebody has just removed some, or the answer does not show all: these would be lost.
            head = await self.bucket.head(key)
            if head is not None and len(tags) < head.tags:
                raise StorageError(f"{self.bucket.uri_of(key)} has {head.tags} tags, and S3 shows {len(tags)} of them")
        tags[TAG] = self._tag_value(key, version.etag)
        if len(tags) > 10:
            raise StorageError(f"{self.bucket.uri_of(key)} has 10 tags, S3's limit: use mark='metadata'")
        body = s3_xml.tagging(tags)
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        await self.bucket.requests.ask("PUT", key, "tagging=", {"Content-MD5": digest}, body)

    async def _tags(self, key: str) -> dict[str, str]:
        return (await self.bucket.requests.ask("GET", key, "tagging=")).read(s3_xml.parse_tags)

    def _tag_value(self, key: str, etag: str) -> str:
        return f"{etag.strip(chr(34))}:{key_hash(self.bucket.name, key)}"
