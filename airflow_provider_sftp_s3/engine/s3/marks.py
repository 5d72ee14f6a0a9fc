"""
The one spelling of "these bytes are at this destination", as metadata or as a tag.

A mark names destinations by tokens, so that a file that was pulled from one partner is pushed to another one, and two
flows deliver the same objects to two partners. It must never be set on bytes that were not sent, and must be lost with
them:

* ``metadata`` is part of the object's version: an overwrite loses it. Setting it means copying the object onto itself,
  on the condition that source and destination still have the ETag that was sent. The copy may have another ETag:
  ``synced-of`` names those that the same bytes had before. A tool that writes other bytes and keeps metadata takes
  the mark along; on another size than ``synced-size`` it is none.
* ``tag`` names the ETag it stands for: on any other it is no mark, but on one of the same bytes.

A token is of the key too, since metadata and tags travel along when a user copies the object somewhere else.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Literal, NamedTuple

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, StorageError
from airflow_provider_sftp_s3.engine.model import MarkMode
from airflow_provider_sftp_s3.engine.options import GiB
from airflow_provider_sftp_s3.engine.s3 import xml as s3_xml
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.endpoint import copy_source
from airflow_provider_sftp_s3.engine.s3.ledger import Fact
from airflow_provider_sftp_s3.engine.s3.names import LEGACY, SYNCED, SYNCED_KEY, SYNCED_OF, SYNCED_SIZE, SYNCED_TO, TAG
from airflow_provider_sftp_s3.engine.s3.probes import INSTEAD, NONE, Kind, Probes, put_tags, refusal
from airflow_provider_sftp_s3.engine.s3.requests import Answer, S3Refused
from airflow_provider_sftp_s3.engine.s3.versions import KEPT_HEADERS, Version, metadata_headers

Marked = Literal["marked", "overwritten", "gone"]

#: How many ETags ``synced-of`` names.
ETAGS = 4

#: Why an object counts as synced, as a report says it.
REASON = "synced"
REASON_OF_LAMBDA = "synced by sftp-lambda"
REASON_OF_0_1 = "synced by version 0.1.0"

#: CopyObject's bound, and that of an object's user metadata: bytes of all names and values.
#: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
MAX_COPY = 5 * GiB
MAX_METADATA = 2048
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
MAX_TAGS = 10
MAX_TAG_VALUE = 256

#: How often a mark by metadata is begun again since others have set theirs in between.
ATTEMPTS = 8
#: How many objects are asked for tags where nothing says yet that S3 counts them: of a push, which looks again before
#: it delivers, and of a listing. In mode "tag" a listing asks for those of all.
BLIND_READS = 1
BLIND_READS_OF_A_LISTING = 16

#: The kinds of mark that each mode may set, the better one first. One that an object cannot have gives way to the next.
_KINDS: dict[MarkMode, tuple[Kind, ...]] = {
    "auto": ("metadata", "tag"),
    "metadata": ("metadata", "tag"),
    "tag": ("tag",),
    "none": (),
}
#: Refusals that are about the object, whatever the settings: there is no room for a mark, or it lies in an archive.
_OF_THE_OBJECT = {"MetadataTooLarge", "InvalidTag", "InvalidObjectState"}
_LOCKS = frozenset(name for name in KEPT_HEADERS if name.startswith("x-amz-object-lock-"))


class Look(NamedTuple):
    """
    What one look at an object's marks has shown.

    :param reason: why it counts as synced; None: it does not.
    :param tags: its tags, where they were read.
    """

    reason: str | None = None
    tags: Mapping[str, str] | None = None


class Naming(NamedTuple):
    """
    How marks name one destination in one bucket.

    :param bucket: the bucket's name. It counts, since replicas keep keys and metadata.
    :param destination: who has the bytes.
    """

    bucket: str
    destination: str

    def token(self, key: str) -> str:
        """Return what stands for the destination in a mark of this object: 16 hex digits."""
        return _token(self.bucket, key, self.destination)

    def metadata(self, key: str, size: int | None = None) -> dict[str, str]:
        """
        Return the user metadata of a new object whose bytes are at the destination, as those of a pulled file.

        :param size: how many there will be; None: that is not known yet.
        """
        known = {} if size is None else {SYNCED_SIZE: str(size)}
        return {SYNCED: "true", SYNCED_TO: self.token(key), **known}

    def added_to(self, key: str, version: Version) -> dict[str, str]:
        """Return the user metadata of a version, with a mark of the destination."""
        to, of = self.token(key), bare(version.etag)
        if known := _listed(version, SYNCED_TO):
            to = ",".join(dict.fromkeys([*known, to]))
        if known := _listed(version, SYNCED_OF):
            of = ",".join([*dict.fromkeys(etag for etag in known if etag != of), of][-ETAGS:])
        return {**version.metadata, SYNCED: "true", SYNCED_TO: to, SYNCED_OF: of, SYNCED_SIZE: str(version.size)}

    def reason_by_metadata(self, key: str, version: Version) -> str | None:
        """Return why a version counts as synced by its metadata; None: it does not."""
        return self.reason_of(key, names_in_metadata(version))

    def reason_by_tag(self, key: str, version: Version, tags: Mapping[str, str]) -> str | None:
        """Return why a version counts as synced by its tags; None: it does not."""
        return self.reason_of(key, _tokens(version, tags))

    def reason_of(self, key: str, names: Collection[str]) -> str | None:
        """Return why a version counts as synced whose marks name these; None: it does not."""
        if not names:
            return None
        if LEGACY in names:
            return REASON_OF_LAMBDA
        if self.token(key) in names:
            return REASON
        return REASON_OF_0_1 if self._old_hash(key) in names else None

    def names_others(self, version: Version, tags: Mapping[str, str]) -> bool:
        """Say whether a version that is not synced to the destination is marked as synced to another one."""
        return bool(_listed(version, SYNCED_TO) or _tokens(version, tags))

    def tag_added_to(self, key: str, version: Version, tags: Mapping[str, str]) -> str:
        """Return the value of the tag that marks a version, with the destinations that its tag names already."""
        tokens = dict.fromkeys([*_tokens(version, tags), self.token(key)])
        return ":".join([bare(version.etag), *tokens])

    def _old_hash(self, key: str) -> str:
        return hashlib.sha256(f"{self.bucket}/{key}".encode()).hexdigest()[:32]


@functools.lru_cache(maxsize=1024)  # asked for a few times while an object is moved
def _token(bucket: str, key: str, destination: str) -> str:
    return hashlib.sha256("\0".join(("1", bucket, key, destination)).encode()).hexdigest()[:16]


def bare(etag: str) -> str:
    """Return an ETag as marks have it: with no quotes."""
    return etag.strip('"')


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def names_in_metadata(version: Version) -> list[str]:
    """Return what a version's mark by metadata names: tokens of destinations, and what stands for everyone."""
    of_lambda = [LEGACY] if version.metadata.get(LEGACY) == "true" else []
    if version.metadata.get(SYNCED) != "true":
        return of_lambda
    return [*of_lambda, *_listed(version, SYNCED_TO), *_listed(version, SYNCED_KEY)]


def _listed(version: Version, name: str) -> list[str]:
    """Return what this metadata of a mark names; nothing where the mark is about bytes of another size."""
    value = version.metadata.get(name)
    if not value or version.metadata.get(SYNCED_SIZE) not in (None, str(version.size)):
        return []
    return value.replace(",", " ").split()


def _tokens(version: Version, tags: Mapping[str, str]) -> list[str]:
    """Return the destinations that the tag names, if it stands for the bytes of this version."""
    etag, *tokens = tags.get(TAG, "").split(":")
    return tokens if etag and etag in (bare(version.etag), *_listed(version, SYNCED_OF)) else []


class Marks:
    """
    Reads and sets the marks of one bucket. A mark of either kind counts, whichever is set; in mode "none", none does.

    :param destination: whom the marks name.
    :param remark: told once which kind of mark is set, where that was left open.
    :param for_good: no :meth:`last_look` follows a look, as in a listing.
    :param learned: told of each version that was found to be at the destination, or was marked.
    """

    def __init__(
        self,
        bucket: Bucket,
        mode: MarkMode,
        destination: str,
        *,
        remark: Callable[[str], None] = lambda _: None,
        for_good: bool = False,
        learned: Callable[[Fact], None] | None = None,
    ) -> None:
        self.bucket = bucket
        self.mode = mode
        self.naming = Naming(bucket.name, destination)
        self._remark = remark
        self._learned = learned
        self._told = False
        self._probes = Probes(bucket)
        # Whether S3 says with an object how many tags it has; None where none has shown it yet.
        self._tags_are_counted: bool | None = None
        self._blind_reads: float = BLIND_READS
        if for_good:
            self._blind_reads = float("inf") if mode == "tag" else BLIND_READS_OF_A_LISTING
        self._has_marked = False

    def end(self) -> None:
        """Ask no more: the run is over."""
        self._probes.end()

    async def look(self, key: str, version: Version) -> Look:
        """
        Look whether this version of the object is at the destination.

        Where S3 does not count tags, a mark by tag may be overlooked. :meth:`last_look` does not.
        """
        if self.mode == "none":
            return Look()
        if reason := self.naming.reason_by_metadata(key, version):
            self._learn(key, version)
            return Look(reason)
        tags = await self._tags_if_any(key, version)
        if tags is None:
            return Look()
        if reason := self.naming.reason_by_tag(key, version, tags):
            self._learn(key, version, tags)
        return Look(reason, tags)

    def reason_by(self, fact: Fact | None) -> str | None:
        """Return why a version counts as synced by what is remembered of it; None: S3 has to be asked."""
        if fact is None or self.mode == "none":
            return None
        return self.naming.reason_of(fact.key, fact.names.split(","))

    async def kind_for(self, key: str, version: Version, look: Look) -> Kind | None:
        """
        Return the kind of mark that this version will get, None in mode "none". To be asked before it is delivered.

        :raises ConfigurationError: no mark is safe on this store, or S3 does not allow it.
        :raises Overwritten: it is gone.
        :raises StorageError: there is no room on this object for a mark, or S3 did not answer.
        """
        lacks: list[str] = []
        why_not = ""
        for kind in _KINDS[self.mode]:
            if kind == "metadata" and (why_not := self._no_metadata(key, version)):
                continue
            lack = self._probes.known(kind)
            if lack is None:
                headers = self._copy_headers(version, self.naming.added_to(key, version))
                lack = await self._probes.lack(kind, key, headers)
            if lack:
                lacks.append(lack)
                if self.mode == kind:
                    break
                continue
            if kind == "tag" and look.tags is not None:
                self._check_room(key, version, look.tags)
            if not why_not:
                self._tell(kind, lacks)
            return kind
        if self.mode == "none":
            return None
        if why_not:
            raise StorageError(
                f"{self.bucket.uri_of(key)} cannot be marked by metadata, since {why_not}, nor by a tag, since "
                f"{'; '.join(lacks)}"
            )
        left = [NONE] if self.mode == "auto" else [INSTEAD[self.mode], NONE]
        raise ConfigurationError(
            f"mark={self.mode!r} is not safe: {'; '.join(lacks)}. Nothing is delivered that cannot be marked. "
            f"What is left: {'; '.join(left)}"
        )

    async def last_look(self, key: str, version: Version, kind: Kind | None) -> Look:
        """
        Look again right before an object is delivered, where only its tags tell that it is there, or has room.

        :raises StorageError: there is no room for a mark, or S3 did not answer.
        """
        # A Ceph gateway neither counts nor shows the tags that an upload in parts was begun with.
        is_counted = self._tags_are_counted and (version.tags > 0 or "-" not in version.etag)
        if kind != "tag" or is_counted:
            return Look()
        try:
            tags = await self._tags(key, version)
        except S3Refused as refused:
            if refused.status == 404:  # it was deleted since it was read, and what was read is delivered
                return Look()
            raise
        self._check_room(key, version, tags)
        return Look(self.naming.reason_by_tag(key, version, tags), tags)

    async def mark(self, key: str, version: Version, kind: Kind | None, look: Look) -> Marked:
        """
        Mark the object as pushed, if it still is the version that was sent.

        :param kind: what :meth:`kind_for` has said.
        :param look: what :meth:`last_look` has shown.
        :return: "overwritten" when it is another version by now, "gone" when there is none: nothing was marked then.
        :raises ConfigurationError: S3 refuses it, and has not taken any mark before: it will not take the others.
        :raises StorageError: S3 refuses it, for what is about this object, or did not answer.
        """
        if kind is None:
            return "marked"
        marked: Marked = "marked"
        try:
            if kind == "tag":
                await self._mark_by_tag(key, version, look.tags)
            else:
                marked = await self._mark_by_metadata(key, version)
        except S3Refused as refused:
            if refused.status == 404:
                return "gone"
            if refused.status in (409, 412):
                return "overwritten"
            if self._has_marked or refused.passes or refused.code in _OF_THE_OBJECT:
                raise
            raise refusal(kind, refused) from None
        self._has_marked = self._has_marked or marked == "marked"
        return marked

    # --- metadata

    def _no_metadata(self, key: str, version: Version) -> str:
        """Return why this version cannot be marked by metadata; "" where it can."""
        if version.size > MAX_COPY:
            return "it is larger than CopyObject takes, 5 GiB"
        if not _LOCKS.isdisjoint(version.headers):
            return "it is under an object lock"
        metadata = self.naming.added_to(key, version)
        try:
            "".join(version.headers.values()).encode()
            size = len("".join([*metadata, *metadata.values()]).encode())
        except UnicodeEncodeError:  # bytes that were none are kept as surrogates
            name = next(name for name, value in {**version.headers, **metadata}.items() if not _is_utf8(name + value))
            return f"the value of its {name} is no UTF-8, and could not be sent again"
        if size > MAX_METADATA:
            return f"its metadata would have {size} bytes with a mark, and S3 takes {MAX_METADATA}"
        return ""

    def _copy_headers(self, version: Version, metadata: Mapping[str, str]) -> dict[str, str]:
        """Return what a copy of the object onto itself is sent with, but for its source and its conditions."""
        kept = {**version.headers, **metadata_headers(metadata)}
        return {**kept, **self.bucket.sent_along.copy, "x-amz-metadata-directive": "REPLACE"}

    async def _mark_by_metadata(self, key: str, version: Version) -> Marked:
        """
        Copy the object onto itself.

        Where it is another version by now, it may be the same bytes all the same: others have marked them.
        """
        same = {bare(version.etag)}
        for _ in range(ATTEMPTS):
            conditions = {
                "x-amz-copy-source": copy_source(self.bucket.name, key),
                "x-amz-copy-source-if-match": version.etag,
                "If-Match": version.etag,
            }
            try:
                metadata = self.naming.added_to(key, version)
                headers = {**self._copy_headers(version, metadata), **conditions}
                copied = await self.bucket.requests.ask("PUT", key, headers=headers)
                self._learn_copy(key, version, metadata, copied)
                return "marked"
            except S3Refused as refused:
                if refused.status not in (409, 412):
                    raise
            head = await self.bucket.head(key)
            if head is None:
                return "gone"
            if same.isdisjoint((bare(head.etag), *_listed(head, SYNCED_OF))):
                return "overwritten"
            same.add(bare(head.etag))
            if self.naming.reason_by_metadata(key, head) == REASON:
                return "marked"  # by the request whose answer was lost, or by another run
            if why_not := self._no_metadata(key, head):
                raise StorageError(f"{self.bucket.uri_of(key)} cannot be marked, since {why_not}")
            version = head
        return "overwritten"

    # --- tags

    async def _mark_by_tag(self, key: str, version: Version, tags: Mapping[str, str] | None) -> None:
        if tags is None:
            tags = await self._tags(key, version)
            self._check_room(key, version, tags)
        tags = {**tags, TAG: self.naming.tag_added_to(key, version, tags)}
        await put_tags(self.bucket, key, tags)
        self._learn(key, version, tags)
        if self._tags_are_counted is None:
            head = await self.bucket.head(key)
            self._tags_are_counted = head is not None and head.tags > 0

    def _check_room(self, key: str, version: Version, tags: Mapping[str, str]) -> None:
        """Raise StorageError where a mark has no room among these tags."""
        if len({*tags, TAG}) > MAX_TAGS:
            raise StorageError(f"{self.bucket.uri_of(key)} has {MAX_TAGS} tags, S3's limit: use mark='metadata'")
        if len(self.naming.tag_added_to(key, version, tags)) > MAX_TAG_VALUE:
            raise StorageError(
                f"{self.bucket.uri_of(key)} is at as many destinations as a tag can name in {MAX_TAG_VALUE} "
                "characters, S3's limit: use mark='metadata'"
            )

    async def _tags_if_any(self, key: str, version: Version) -> dict[str, str] | None:
        """Return the tags of an object that has some; None where it seems to have none, and they were not read."""
        if version.tags:
            self._tags_are_counted = True
        elif self._tags_are_counted is None:
            if not self._blind_reads or not self._may_be_tagged(key, version):
                return None
            self._blind_reads -= 1
            return await self._tags_blindly(key)
        elif self._tags_are_counted or not self._may_be_tagged(key, version):
            return None
        try:
            return await self._tags(key, version)
        except S3Refused as refused:
            if refused.status == 404:
                return {}
            raise

    def _may_be_tagged(self, key: str, version: Version) -> bool:
        """Say whether this object would be marked by a tag, as far as is known."""
        is_safe = self.mode == "metadata" or (self.mode == "auto" and self._probes.known("metadata") == "")
        return not is_safe or bool(self._no_metadata(key, version))

    async def _tags_blindly(self, key: str) -> dict[str, str] | None:
        """Return the tags of an object of which nothing says that it has some; None where S3 does not show them."""
        try:
            tags = s3_xml.parse_tags((await self.bucket.requests.ask("GET", key, "tagging=")).body)
        except ValueError:
            return None
        except S3Refused as refused:
            if refused.passes:
                raise
            return None
        if tags:
            self._tags_are_counted = False
        return tags

    async def _tags(self, key: str, version: Version) -> dict[str, str]:
        """
        Return all tags of an object.

        :raises StorageError: S3 does not show all of them: those would be lost with a mark.
        """
        tags = (await self.bucket.requests.ask("GET", key, "tagging=")).read(s3_xml.parse_tags)
        if tags and not version.tags and self._tags_are_counted is None:
            self._tags_are_counted = False
        if len(tags) < version.tags:
            # Somebody has just removed some, or the answer does not show all: these would be lost.
            head = await self.bucket.head(key)
            if head is not None and len(tags) < head.tags:
                raise StorageError(f"{self.bucket.uri_of(key)} has {head.tags} tags, and S3 shows {len(tags)} of them")
        return tags

    # --- what is learned

    def _learn(self, key: str, version: Version, tags: Mapping[str, str] | None = None) -> None:
        if self._learned is not None:
            self._learned(Fact.of(key, version, [*names_in_metadata(version), *_tokens(version, tags or {})]))

    def _learn_copy(self, key: str, version: Version, metadata: Mapping[str, str], copied: Answer) -> None:
        """Learn of the version that a mark has made of another one. Where S3 does not say which, the next run asks."""
        if self._learned is None:
            return
        etag, modified = s3_xml.version_of_copy(copied.body)
        marked = version._replace(metadata=metadata, etag=etag)
        self._learned(Fact.of(key, marked, names_in_metadata(marked))._replace(modified=modified))

    def _tell(self, kind: Kind, lacks: list[str]) -> None:
        if self.mode == "auto" and not self._told:
            self._told = True
            why = f", since {'; '.join(lacks)}" if lacks else ""
            self._remark(f"mark='auto': objects are marked by {kind}{why}")
