"""
The one spelling of "these bytes have been pushed", as metadata or as a tag.

A mark must never be set on bytes that were not sent, and must be lost with them:

* ``metadata`` is part of the object's version: an overwrite loses it. Setting it means copying the object onto itself,
  on the condition that source and destination still have the ETag that was sent.
* ``tag`` names the ETag it stands for: on any other it is no mark.

Both name the key too, since metadata and tags travel along when a user copies the object somewhere else.
"""

from __future__ import annotations

import hashlib
import urllib.parse
from collections.abc import Mapping
from typing import Any, Literal, get_args

import botocore.exceptions

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, StorageError
from airflow_provider_sftp_s3.engine.options import MAX_PARTS, GiB, MiB
from airflow_provider_sftp_s3.engine.s3 import Bucket, Version

Mode = Literal["metadata", "tag", "none"]
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

#: What HeadObject calls a thing, and CopyObject wants it called: all that `MetadataDirective=REPLACE` drops.
_KEPT = {
    "CacheControl": "CacheControl",
    "ContentDisposition": "ContentDisposition",
    "ContentEncoding": "ContentEncoding",
    "ContentLanguage": "ContentLanguage",
    "ContentType": "ContentType",
    "Expires": "Expires",
    "WebsiteRedirectLocation": "WebsiteRedirectLocation",
    "StorageClass": "StorageClass",
    "ServerSideEncryption": "ServerSideEncryption",
    "SSEKMSKeyId": "SSEKMSKeyId",
    "BucketKeyEnabled": "BucketKeyEnabled",
    "ObjectLockMode": "ObjectLockMode",
    "ObjectLockRetainUntilDate": "ObjectLockRetainUntilDate",
    "ObjectLockLegalHoldStatus": "ObjectLockLegalHoldStatus",
}
_GONE = {"NoSuchKey", "NoSuchVersion", "404", "NoSuchUpload"}
_OVERWRITTEN = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}


def check_mode(mode: str) -> Mode:
    """Return `mode`. :raises ConfigurationError: it is none."""
    if mode not in get_args(Mode):
        raise ConfigurationError(f"mark must be one of {', '.join(get_args(Mode))}, not {mode!r}")
    return mode  # type: ignore[return-value]


def key_hash(bucket: str, key: str) -> str:
    """Return the hash by which a mark names its object. The bucket counts: replicas keep keys and metadata."""
    return hashlib.sha256(f"{bucket}/{key}".encode()).hexdigest()[:32]


def metadata_mark(bucket: str, key: str) -> dict[str, str]:
    """Return the user metadata that says that the object is synced: what a push sets, and a pull writes at once."""
    return {SYNCED: "true", SYNCED_KEY: key_hash(bucket, key)}


class Marks:
    """
    Reads and sets the marks of one bucket.

    :param mode: which mark is set. Metadata marks count in tag mode too, since pulled objects have them; in mode
        "none" nothing counts.
    """

    def __init__(self, bucket: Bucket, mode: Mode) -> None:
        self.bucket = bucket
        self.mode = mode
        _teach_if_match(bucket.client)

    async def is_synced(self, key: str, version: Version) -> bool:
        """Say whether this version of the object has been pushed, by this provider or by sftp-lambda."""
        if self.mode == "none":
            return False
        if version.metadata.get(LEGACY) == "true":
            return True
        if version.metadata.get(SYNCED) == "true" and version.metadata.get(SYNCED_KEY) == self._hash(key):
            return True
        if self.mode == "tag":
            tags = await self._tags(key)
            return tags is not None and tags.get(TAG) == self._tag_value(key, version.etag)
        return False

    async def mark(self, key: str, version: Version) -> Marked:
        """
        Mark the object as pushed, if it still is the version that was sent.

        :return: "overwritten" when it is another version by now, "gone" when there is none: nothing was marked then.
        :raises StorageError: S3 refused.
        """
        if self.mode == "none":
            return "marked"
        with self.bucket.errors(key):
            try:
                return await (self._mark_by_tag if self.mode == "tag" else self._mark_by_metadata)(key, version)
            except botocore.exceptions.ClientError as answer:
                code = answer.response.get("Error", {}).get("Code", "")
                if code in _GONE:
                    return "gone"
                if code in _OVERWRITTEN:
                    return "overwritten"
                raise

    async def _mark_by_metadata(self, key: str, version: Version) -> Marked:
        client, name = self.bucket.client, self.bucket.name
        head = await self.bucket.call(client.head_object, Bucket=name, Key=key, IfMatch=version.etag)
        kept = {to: head[of] for of, to in _KEPT.items() if head.get(of) is not None}
        kept["Metadata"] = {**head["Metadata"], **metadata_mark(name, key)}
        source = {"CopySource": {"Bucket": name, "Key": key}, "CopySourceIfMatch": version.etag}
        if head["ContentLength"] > MAX_COPY:
            await self._copy_by_parts(key, version, kept, source)
        else:
            await self.bucket.call(
                client.copy_object,
                Bucket=name,
                Key=key,
                IfMatch=version.etag,
                MetadataDirective="REPLACE",
                **source,
                **kept,
            )
        return "marked"

    async def _copy_by_parts(
        self, key: str, version: Version, kept: Mapping[str, Any], source: Mapping[str, Any]
    ) -> None:
        """Copy an object over CopyObject's bound onto itself. Its tags have to be sent along."""
        client, target = self.bucket.client, {"Bucket": self.bucket.name, "Key": key}
        tags = await self._tags(key) or {}
        tagging = urllib.parse.urlencode(tags, quote_via=urllib.parse.quote)
        begun = await self.bucket.call(
            client.create_multipart_upload, **target, **kept, **({"Tagging": tagging} if tagging else {})
        )
        upload = {**target, "UploadId": begun["UploadId"]}
        step = max(512 * MiB, -(-version.size // MAX_PARTS))
        try:
            parts = []
            for number, start in enumerate(range(0, version.size, step), 1):
                end = min(start + step, version.size) - 1
                copied = await self.bucket.call(
                    client.upload_part_copy,
                    **upload,
                    **source,
                    PartNumber=number,
                    CopySourceRange=f"bytes={start}-{end}",
                )
                parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
            await self.bucket.call(
                client.complete_multipart_upload, **upload, IfMatch=version.etag, MultipartUpload={"Parts": parts}
            )
        except BaseException:
            await self.bucket.call(client.abort_multipart_upload, **upload)
            raise

    async def _mark_by_tag(self, key: str, version: Version) -> Marked:
        tags = await self._tags(key)
        if tags is None:
            return "gone"
        tags[TAG] = self._tag_value(key, version.etag)
        if len(tags) > 10:
            raise StorageError(f"{self.bucket.uri_of(key)} has 10 tags, S3's limit: use mark='metadata'")
        pairs = [{"Key": tag, "Value": value} for tag, value in tags.items()]
        await self.bucket.call(
            self.bucket.client.put_object_tagging, Bucket=self.bucket.name, Key=key, Tagging={"TagSet": pairs}
        )
        return "marked"

    async def _tags(self, key: str) -> dict[str, str] | None:
        with self.bucket.errors(key):
            try:
                answer = await self.bucket.call(self.bucket.client.get_object_tagging, Bucket=self.bucket.name, Key=key)
            except botocore.exceptions.ClientError as refused:
                if refused.response.get("Error", {}).get("Code", "") in _GONE:
                    return None
                raise
        return {pair["Key"]: pair["Value"] for pair in answer["TagSet"]}

    def _hash(self, key: str) -> str:
        return key_hash(self.bucket.name, key)

    def _tag_value(self, key: str, etag: str) -> str:
        return f"{etag.strip(chr(34))}:{self._hash(key)}"


def _teach_if_match(client: Any) -> None:
    """
    Have `client` send ``IfMatch`` with the calls that overwrite an object, whatever its version.

    botocore knows the parameter of CopyObject since 1.40.61; S3 takes the header from all.
    """

    def take(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["sftp_s3_if_match"] = params.pop("IfMatch", None)

    def send(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        if etag := context.get("sftp_s3_if_match"):
            params["headers"]["If-Match"] = etag

    for operation in ("CopyObject", "CompleteMultipartUpload"):
        client.meta.events.register(f"before-parameter-build.s3.{operation}", take, unique_id=f"take-{operation}")
        client.meta.events.register(f"before-call.s3.{operation}", send, unique_id=f"send-{operation}")
