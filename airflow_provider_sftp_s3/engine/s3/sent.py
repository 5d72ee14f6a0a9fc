"""
What becomes of a pushed object that is not marked: it is moved beneath the sent prefix, or deleted.

Either ends with a DELETE on the condition that the object still has the ETag that was sent. In a versioned bucket that
is about the current version, and leaves it behind a delete marker. A move is a copy before that, on the same condition.
A crash in between leaves the object where it was: it is delivered once more.

Where a store takes no notice of these conditions, an object that was overwritten meanwhile would be lost. So they are
tried once a run, before anything is delivered, on an object of our own. A name that is not there would tell nothing:
there are stores that answer 404 to a DELETE of one, whatever the condition.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import posixpath
import secrets
from collections.abc import Callable, Collection
from typing import Literal

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, NameRefused, Overwritten, StorageError
from airflow_provider_sftp_s3.engine.s3 import xml as s3_xml
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.endpoint import copy_source
from airflow_provider_sftp_s3.engine.s3.marks import MAX_COPY, bare
from airflow_provider_sftp_s3.engine.s3.names import NO_ETAG
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from airflow_provider_sftp_s3.engine.s3.versions import Version
from airflow_provider_sftp_s3.engine.tasks import Once

#: What has become of a delivered object. "moved on": another run has delivered and moved newer bytes of it.
Taken = Literal["taken", "overwritten", "gone", "moved on"]

#: How often it is tried where S3 says that the object is another version, and shows the same ETag.
ATTEMPTS = 4
#: What the object holds that the conditions are tried on.
_PROBE = (
    b"airflow-provider-sftp-s3 asks on this object whether S3 heeds If-Match of a DELETE. It may be deleted: the next "
    b"push that needs it makes it again.\n"
)
_COPY_SOURCE, _SOURCE_IF_MATCH = "x-amz-copy-source", "x-amz-copy-source-if-match"
_ENCRYPTION = "x-amz-server-side-encryption"
_LOCK = "x-amz-object-lock-"
#: What each way takes: for whoever has to allow it.
_NEEDS = {
    "delete": (
        "after_transfer='delete' needs s3:DeleteObject and s3:GetObject, s3:PutObject for .sftp-s3/probe beneath "
        "s3_prefix, and s3:ListBucket, without which a name that is not there says 403"
    ),
    "move": (
        "after_transfer='move' needs s3:DeleteObject and s3:GetObject beneath s3_prefix, s3:PutObject beneath "
        "sent_prefix and for .sftp-s3/probe beneath s3_prefix, and s3:ListBucket, without which a name that is not "
        "there says 403; for an object with tags s3:GetObjectTagging beneath both prefixes and s3:PutObjectTagging "
        "beneath sent_prefix; with KMS kms:Decrypt and kms:GenerateDataKey"
    ),
}
_KEEP = "after_transfer='keep' leaves the objects where they are, and marks them"


class Sent:
    """
    Moves or deletes what was delivered, for one run of a push.

    :param prefix: of the objects, as :func:`paths.directory_prefix` gives it.
    :param sent_prefix: what is moved goes beneath it, by what its key is beneath `prefix`; None: it is deleted.
    :param notice: is told of what the user should know.
    """

    def __init__(self, bucket: Bucket, prefix: str, sent_prefix: str | None, notice: Callable[[str], None]) -> None:
        self.bucket = bucket
        self._prefix = prefix
        self._sent_prefix = sent_prefix
        self._how: Literal["move", "delete"] = "delete" if sent_prefix is None else "move"
        self._notice = notice
        self._once = Once()
        #: what the store lacks, once that is known; "": nothing
        self._lack = ""
        self._has_taken = False

    def end(self) -> None:
        """Ask no more: the run is over."""
        self._once.end()

    @property
    def done(self) -> str:
        """What has become of the objects, in a word."""
        return "deleted" if self._sent_prefix is None else "moved"

    def place_of(self, key: str) -> str:
        """Return the key that an object is moved to."""
        return f"{self._sent_prefix or ''}{key.removeprefix(self._prefix)}"

    async def check(self, key: str, version: Version) -> None:
        """
        Make sure that the object can be taken away, as far as that is known before it is delivered.

        One that lies beneath the sent prefix already stays there.

        :raises ConfigurationError: the store does not heed the conditions, or S3 does not allow it.
        :raises NameRefused: there is no name for it beneath the sent prefix.
        :raises StorageError: it is too large, or S3 did not answer.
        """
        if self._is_moved(key):
            return
        if not bare(version.etag):  # no condition is no DELETE
            raise StorageError(f"{self.bucket.uri_of(key)} cannot be {self.done}: S3 gives no ETag of it. {_KEEP}")
        if self._sent_prefix is not None:
            if not key.startswith(self._prefix):
                raise NameRefused(
                    f"the key is not under s3_prefix {self._prefix!r}, and so has no name beneath sent_prefix"
                )
            if (size := len(self.place_of(key).encode())) > paths.MAX_KEY_BYTES:
                raise NameRefused(f"its key beneath sent_prefix would have {size} bytes, and S3 takes 1024")
            if version.size > MAX_COPY:
                raise StorageError(
                    f"{self.bucket.uri_of(key)} cannot be moved, since it is larger than CopyObject takes, 5 GiB: "
                    f"exclude it, or change the setting. after_transfer='delete' copies nothing; {_KEEP}"
                )
        await self._once.done(b"", lambda: self._find_out(key, version))
        if self._lack:
            left = [_KEEP] if self._how == "delete" else ["after_transfer='delete', where a DELETE is safe", _KEEP]
            raise ConfigurationError(
                f"after_transfer={self._how!r} is not safe: {self._lack}. Nothing is delivered, since an object that "
                f"is overwritten meanwhile could be lost. What is left: {'; '.join(left)}"
            )

    async def last_look(self, key: str, version: Version) -> None:
        """
        Look whether this version is still the current one, right before it gets its name at the partner.

        Older bytes must not take the place of newer ones that another run delivers: that takes those away from S3.

        :raises Overwritten: it is another one, or gone.
        """
        head = await self.bucket.head(key)
        if head is None or bare(head.etag) != bare(version.etag):
            raise Overwritten(f"{self.bucket.uri_of(key)}: it was overwritten, or taken away, while it was read")

    async def take_away(self, key: str, version: Version) -> Taken:
        """
        Move or delete the object, if it still is the version that was delivered.

        One that lies beneath the sent prefix already stays there.

        :return: "overwritten" where it is another version by now, which is left alone; "gone" where there is none.
        :raises ConfigurationError: S3 refuses it, and has not let any other be taken away before.
        :raises StorageError: S3 refuses it, for what is about this object, or did not answer.
        """
        if self._is_moved(key):
            head = await self.bucket.head(key)
            return "taken" if head is None or bare(head.etag) == bare(version.etag) else "overwritten"
        known = {bare(version.etag)}
        for _ in range(ATTEMPTS):
            try:
                if self._sent_prefix is not None:
                    known.add(await self._copy(key, version))
                await self.bucket.requests.ask("DELETE", key, headers={"If-Match": version.etag})
            except S3Refused as refused:
                if refused.status == 404:
                    return await self._gone(key, version, known)
                if refused.status not in (409, 412):
                    if self._has_taken or refused.passes or refused.code == "InvalidObjectState":
                        raise
                    raise self._refusal(refused) from None
            else:
                self._has_taken = True
                return "taken"
            head = await self.bucket.head(key)
            if head is None:
                return await self._gone(key, version, known)
            if bare(head.etag) != bare(version.etag):
                return "overwritten"
        strange = f"{self.bucket.uri_of(key)}: S3 says that it is another version by now, and shows the same ETag"
        raise StorageError(strange) if self._has_taken else self._refusal(StorageError(strange))

    async def has_newer(self, key: str, version: Version, copies: Collection[str] = ()) -> bool:
        """
        Say whether another run has moved newer bytes of this key than a version that was delivered.

        :param copies: ETags, without quotes, of copies of that very version.
        """
        if self._sent_prefix is None:
            return False
        moved = await self.bucket.head(self.place_of(key))
        if moved is None or bare(moved.etag) in {bare(version.etag), *copies}:
            return False
        return moved.modified >= version.modified

    def _is_moved(self, key: str) -> bool:
        return self._sent_prefix is not None and key.startswith(self._sent_prefix)

    async def _gone(self, key: str, version: Version, known: set[str]) -> Taken:
        if self._sent_prefix is None:
            self._notice(
                f"{self.bucket.uri_of(paths.printable(key))} was not there any more when it was to be deleted, since "
                "an answer of S3 was lost, or since somebody else has deleted it. If it had been overwritten by then, "
                "those bytes may not be at the partner"
            )
        return "moved on" if await self.has_newer(key, version, known) else "gone"

    async def _copy(self, key: str, version: Version) -> str:
        """Copy the version beneath the sent prefix, over an older one of the same name. Return the copy's ETag."""
        place = self.place_of(key)
        headers = {**self._copied(key, version), _SOURCE_IF_MATCH: version.etag}
        result = (await self.bucket.requests.ask("PUT", place, headers=headers)).element("CopyObjectResult")
        if version.tags:
            copy = await self.bucket.head(place)
            if copy is None or copy.tags < version.tags:
                raise StorageError(
                    f"{self.bucket.uri_of(key)} is not moved, since its copy does not show all of its tags: the S3 "
                    "store loses them, or s3:GetObjectTagging is missing beneath sent_prefix. Allow that, exclude what "
                    f"has tags, or change the setting. after_transfer='delete' copies nothing; {_KEEP}"
                )
        return bare(s3_xml.text_of(result, "ETag"))

    def _copied(self, key: str, version: Version) -> dict[str, str]:
        """
        Return the headers that a copy needs to be as the object is: all else S3 copies by itself, but for ACLs.

        What S3 does not show, an ACL or a customer key, is as `extra_args` say. A lock stays with the version that it
        was set on.
        """
        own = {n: v for n, v in version.headers.items() if n.startswith("x-amz-") and not n.startswith(_LOCK)}
        return {**own, **self.bucket.sent_along.copy, _COPY_SOURCE: copy_source(self.bucket.name, key)}

    # --- what the store heeds

    async def _find_out(self, key: str, version: Version) -> None:
        """
        Find out what the store lacks, by up to four requests.

        :raises ConfigurationError: S3 does not allow it.
        :raises StorageError: S3 did not answer.
        """
        probe = posixpath.join(self._prefix or posixpath.dirname(key), paths.STATE, "probe")
        try:
            if await self.bucket.head(probe) is None:
                await self.bucket.requests.ask("PUT", probe, headers=self._of_the_probe(version), body=_PROBE)
            if self._sent_prefix is not None:
                place = f"{self._sent_prefix}{paths.STATE}/probe-{secrets.token_hex(8)}"
                copied = {**self._copied(probe, version), _SOURCE_IF_MATCH: NO_ETAG}
                self._lack = await self._lacks("PUT", place, copied)
            self._lack = self._lack or await self._lacks("DELETE", probe, {"If-Match": NO_ETAG})
        except S3Refused as refused:
            if refused.passes or refused.status == 409:
                raise
            raise self._refusal(refused) from None

    def _of_the_probe(self, version: Version) -> dict[str, str]:
        """Return what the probe is stored with: what a policy may demand, and an object lock does."""
        encryption = {name: value for name, value in version.headers.items() if name.startswith(_ENCRYPTION)}
        along = {name: v for name, v in self.bucket.sent_along.copy.items() if not name.startswith(_COPY_SOURCE)}
        digest = base64.b64encode(hashlib.md5(_PROBE, usedforsecurity=False).digest()).decode()
        return {**encryption, **along, "Content-MD5": digest}

    async def _lacks(self, method: str, name: str, headers: dict[str, str]) -> str:
        """Send what cannot be done since its condition does not hold. Return what is wrong with the answer."""
        what = "DELETE" if method == "DELETE" else "copy"
        try:
            await self.bucket.requests.ask(method, name, headers=headers)
        except S3Refused as refused:
            if refused.status == 412:
                return ""
            if refused.passes or refused.status in (401, 403, 409):
                raise
            condition = f"{what} on a condition that does not hold"
            return f"the S3 store answers {refused.status} {refused.code} to a {condition}, where S3 answers 412"
        if method == "PUT":
            with contextlib.suppress(StorageError):  # it is beneath .sftp-s3/, where nobody takes it for a file
                await self.bucket.requests.ask("DELETE", name)
            return f"the S3 store copies an object though the condition {_SOURCE_IF_MATCH} does not hold"
        return "the S3 store deletes an object though the condition If-Match does not hold"

    def _refusal(self, refused: StorageError) -> ConfigurationError:
        return ConfigurationError(
            f"S3 does not let what was pushed be {self.done}: {refused}. {_NEEDS[self._how]}. Allow that, or change "
            f"the setting: {_KEEP}"
        )
