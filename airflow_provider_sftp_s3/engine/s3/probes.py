"""
What kind of mark is safe on the store at hand, found out before a run delivers anything.

A mark by metadata is safe where both conditions of a copy hold: without the one on the destination, the copy brings
back what was overwritten meanwhile, and without the one on the source it marks what was never sent. A mark by tag is
safe where tags are tags: stores exist that replace the object by the XML that should have tagged it.

Nothing of a user's is changed to find this out. A probe goes to a name beneath ``.sftp-s3/`` that does not exist, on a
condition that cannot hold: where S3 is as AWS has it, it leaves no object, no version and no event. What a store makes
of it all the same is removed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import Mapping
from typing import Literal

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, Overwritten, StorageError
from airflow_provider_sftp_s3.engine.s3 import xml as s3_xml
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.endpoint import copy_source
from airflow_provider_sftp_s3.engine.s3.names import NO_ETAG, probe_name
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from airflow_provider_sftp_s3.engine.tasks import cancel_all, forget

Kind = Literal["metadata", "tag"]

#: What each kind of mark takes: for whoever has to allow it.
NEEDS: dict[Kind, str] = {
    "metadata": (
        "mark='metadata' copies the object onto itself, which needs s3:PutObject, and s3:ListBucket, without which a "
        "name that is not there says 403; for an object with tags "
        "s3:GetObjectTagging and s3:PutObjectTagging; with KMS kms:Decrypt and kms:GenerateDataKey; and a bucket "
        "policy that takes no request without an ACL or an encryption setting refuses it, too"
    ),
    "tag": (
        "mark='tag' needs s3:GetObjectTagging, s3:PutObjectTagging, and s3:ListBucket, without which a name that is "
        "not there says 403"
    ),
}
#: The ways out where a store does not know such a request, or nobody can allow it.
INSTEAD: dict[Kind, str] = {
    "metadata": "mark='tag' copies nothing (s3:GetObjectTagging, s3:PutObjectTagging)",
    "tag": "mark='metadata' sets no tag (s3:PutObject)",
}
NONE = "mark='none' marks nothing, and pushes everything every time"


class TagsUnreadable(StorageError):
    """The store has tags, and does not show those of one object. It says nothing about any other."""


class Probes:
    """Finds out once a run, and for each kind of mark that is thought of, what the store lacks for it."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._found: dict[Kind, str] = {}
        self._asking: dict[Kind, asyncio.Task[str | None]] = {}

    def known(self, kind: Kind) -> str | None:
        """Return what :meth:`lack` has found out; None: nothing yet."""
        return self._found.get(kind)

    async def lack(self, kind: Kind, key: str, headers: Mapping[str, str]) -> str:
        """
        Return what the store lacks for this kind of mark; "" where it lacks nothing.

        Asked for by many at once, S3 is asked once. What passes (an outage) is found out again by the next who asks.

        :param key: an object that is there. It is read at most.
        :param headers: what a copy of it has to be sent along.
        :raises Overwritten: the object is gone; another one has to be asked about.
        :raises ConfigurationError: S3 does not allow it.
        :raises StorageError: S3 did not answer, or does not show the tags of this object.
        """
        while (found := self._found.get(kind)) is None:
            task = self._asking.get(kind)
            own = task is None
            if task is None:
                ask = self._ask_metadata(key, headers) if kind == "metadata" else self._ask_tag(key)
                task = self._asking[kind] = asyncio.create_task(ask)
                task.add_done_callback(lambda _: self._asking.pop(kind, None))
                task.add_done_callback(forget)
            try:
                answer = await asyncio.shield(task)  # others wait for it, too
            except TagsUnreadable:
                if own:
                    raise
                continue
            if answer is not None:
                self._found[kind] = answer
            elif own:
                raise Overwritten(f"{self._bucket.uri_of(key)}: it was deleted while S3 was asked about marks")
        return found

    def end(self) -> None:
        """Ask no more: the run is over."""
        cancel_all(self._asking.values())

    async def _ask_metadata(self, key: str, headers: Mapping[str, str]) -> str | None:
        """Return what the store lacks; None: `key` is gone."""
        source = {"x-amz-copy-source": copy_source(self._bucket.name, key), **headers}
        # In this order: a source that is gone says 404 too, and the second one finds that out.
        for condition, held in (("If-Match", (404, 412)), ("x-amz-copy-source-if-match", (412,))):
            name = probe_name(key)
            try:
                await self._bucket.requests.ask("PUT", name, headers={**source, condition: NO_ETAG})
            except S3Refused as refused:
                if refused.status in held:
                    continue
                if refused.status == 404:
                    return None
                self._check_refused("metadata", refused)
                return f"the S3 store answers {refused.status} {refused.code} to a copy on the condition {condition}"
            await self._remove(name)
            return f"the S3 store copies an object though the condition {condition} does not hold"
        return ""

    async def _ask_tag(self, key: str) -> str | None:
        """Return what the store lacks; None: `key` is gone."""
        unreadable = ""
        try:
            s3_xml.parse_tags((await self._bucket.requests.ask("GET", key, "tagging=")).body)
        except S3Refused as refused:
            if refused.status == 404 and refused.code in ("", "NoSuchKey"):
                return None
            self._check_refused("tag", refused)
            return f"the S3 store answers {refused.status} {refused.code} to GetObjectTagging"
        except ValueError as wrong:
            unreadable = f"the S3 store's answer to GetObjectTagging does not show an object's tags ({wrong})"
        lack = await self._ask_to_tag(probe_name(key))
        if unreadable and not lack:
            uri = paths.printable(self._bucket.uri_of(key))
            raise TagsUnreadable(f"{uri}: {unreadable}; a mark would replace them: set them anew")
        return unreadable or lack

    async def _ask_to_tag(self, name: str) -> str:
        """Return what the store lacks that tags a name that is not there."""
        try:
            await put_tags(self._bucket, name, {"probe": "1"})
        except S3Refused as refused:
            if refused.status == 404:
                return ""
            self._check_refused("tag", refused)
            return (
                f"the S3 store answers {refused.status} {refused.code} to PutObjectTagging of a name that is not there"
            )
        await self._remove(name)
        return "the S3 store makes an object of the tags that PutObjectTagging gives to a name that is not there"

    def _check_refused(self, kind: Kind, refused: S3Refused) -> None:
        """Raise what ends the run, or the file, where an answer says nothing about the store."""
        if refused.passes or refused.status == 409:
            raise refused
        if refused.status in (401, 403):
            raise refusal(kind, refused) from None

    async def _remove(self, name: str) -> None:
        with contextlib.suppress(StorageError):  # it is beneath .sftp-s3/, where nobody takes it for a file
            await self._bucket.requests.ask("DELETE", name)


async def put_tags(bucket: Bucket, key: str, tags: Mapping[str, str]) -> None:
    """Set the tags of an object, in place of those that it has."""
    body = s3_xml.tagging(tags)
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    await bucket.requests.ask("PUT", key, "tagging=", {"Content-MD5": digest}, body)


def refusal(kind: Kind, refused: StorageError) -> ConfigurationError:
    """Return what ends a run to whose marks S3 says no."""
    return ConfigurationError(
        f"S3 does not take the mark of what was pushed: {refused}. {NEEDS[kind]}. Allow that, or choose another mark: "
        f"{INSTEAD[kind]}; {NONE}"
    )
