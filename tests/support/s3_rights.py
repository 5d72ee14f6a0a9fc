"""A proxy in front of an S3 store that allows what a policy of IAM allows, and nothing else.

Which permissions a request needs is as AWS documents it:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html, and each operation's own page.
"""

from __future__ import annotations

import fnmatch
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

from botocore.exceptions import ClientError

from tests.support.s3_proxy import S3Proxy
from tests.support.s3_server import S3Endpoint, S3Request, error_answer

#: What an operation needs on the bucket, or on its object. One that is not here is none that the engine may ask for.
ON_THE_BUCKET = {
    "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
}
ON_THE_OBJECT = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CopyObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "ListParts": "s3:ListMultipartUploadParts",
    "GetObjectTagging": "s3:GetObjectTagging",
    "PutObjectTagging": "s3:PutObjectTagging",
    "DeleteObject": "s3:DeleteObject",
}
#: What a header of a request that writes needs besides.
BY_HEADER = {
    "x-amz-acl": "s3:PutObjectAcl",
    "x-amz-tagging": "s3:PutObjectTagging",
    "x-amz-object-lock-mode": "s3:PutObjectRetention",
    "x-amz-object-lock-retain-until-date": "s3:PutObjectRetention",
    "x-amz-object-lock-legal-hold": "s3:PutObjectLegalHold",
    "if-match": "s3:GetObject",
}
#: What a header of an answer is shown to.
SHOWN_TO = {
    "x-amz-tagging-count": "s3:GetObjectTagging",
    "x-amz-object-lock-mode": "s3:GetObjectRetention",
    "x-amz-object-lock-retain-until-date": "s3:GetObjectRetention",
    "x-amz-object-lock-legal-hold": "s3:GetObjectLegalHold",
}
#: Operations that say of an object that is not there that it is not, to whom may list; others are refused.
_OF_WHAT_IS_THERE = {"GetObject", "HeadObject", "GetObjectTagging", "PutObjectTagging", "CopyObject"}


class Rights(S3Proxy):
    """
    Enforces a policy.

    :param store: where to; it must be up.
    """

    def __init__(self, store: S3Endpoint) -> None:
        super().__init__(store)
        self.allowed: Sequence[tuple[str, str]] = ()
        """Pairs of an action and the ARN that it is allowed on, which may end in ``*``."""
        self.refused: set[str] = set()
        """Actions that were needed and not allowed."""
        self._client = store.client()

    def allows(self, action: str, place: str) -> bool:
        """Say whether an action is allowed on ``bucket`` or ``bucket/key``."""
        arn = f"arn:aws:s3:::{place}"
        return any(action == each and fnmatch.fnmatchcase(arn, allowed) for each, allowed in self.allowed)

    def _carry_out(
        self, request: S3Request, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Callable[[], list[bytes]]:
        if lacking := {action for action, place in self._needs(request) if not self.allows(action, place)}:
            self.refused |= lacking
            return partial(error_answer, request, start_response, HTTPStatus.FORBIDDEN, "AccessDenied")
        return super()._carry_out(request, environ, start_response)

    def _needs(self, request: S3Request) -> Iterator[tuple[str, str]]:
        """Yield which actions a request needs, and where."""
        if not request.key:
            yield ON_THE_BUCKET[request.operation], request.bucket
            return
        place = f"{request.bucket}/{request.key}"
        yield ON_THE_OBJECT[request.operation], place
        if request.method in ("PUT", "POST", "DELETE"):
            yield from ((action, place) for name, action in BY_HEADER.items() if name in request.headers)
        if request.operation == "CopyObject":
            source = urllib.parse.unquote(request.headers["x-amz-copy-source"]).lstrip("/")
            yield "s3:GetObject", source
            if self._tags(*source.split("/", 1)):
                yield "s3:GetObjectTagging", source
                yield "s3:PutObjectTagging", place
        if request.operation in _OF_WHAT_IS_THERE and self._tags(request.bucket, request.key) is None:
            yield "s3:ListBucket", request.bucket

    def _tags(self, bucket: str, key: str) -> list[Any] | None:
        """Return the tags of an object; None where there is none."""
        try:
            return list(self._client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"])
        except ClientError:
            return None

    def shown(self, request: S3Request, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        place = f"{request.bucket}/{request.key}"
        return [
            (name, value)
            for name, value in headers
            if name.lower() not in SHOWN_TO or self.allows(SHOWN_TO[name.lower()], place)
        ]
