"""Rules of a company's AWS account, for the tests' S3: each is a hook that refuses what the real one refuses."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.s3_server import HookedS3, S3Request

WRITES = ("PutObject", "CreateMultipartUpload", "CopyObject")
DENIED = (403, "AccessDenied")
#: Headers that only what begins an object takes: S3 answers 400 to a part that has them.
_OF_AN_OBJECT = ("x-amz-acl", "x-amz-server-side-encryption", "x-amz-tagging", "x-amz-storage-class", "content-type")


def signs_all(s3: HookedS3) -> None:
    """As S3: what begins with ``x-amz-`` is signed, or refused; and a part has no headers of an object."""

    @s3.before
    def check(request: S3Request) -> tuple[int, str] | None:
        authorization = request.headers.get("authorization", "")
        if "SignedHeaders=" not in authorization:
            return None
        signed = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        if any(name.startswith("x-amz-") and name not in signed for name in request.headers):
            return DENIED
        if request.operation == "UploadPart" and any(name in request.headers for name in _OF_AN_OBJECT):
            return 400, "InvalidArgument"
        return None


def demands(s3: HookedS3, *headers: str, values: tuple[str, ...] = ()) -> None:
    """A policy that takes no write without these headers, or with none of these values."""

    @s3.before
    def check(request: S3Request) -> tuple[int, str] | None:
        if request.operation not in WRITES:
            return None
        given = [request.headers.get(name) for name in headers]
        return DENIED if None in given or (values and not set(given) <= set(values)) else None


def object_lock(s3: HookedS3) -> None:
    """A bucket whose objects are locked by default: each write has a checksum."""

    @s3.before
    def check(request: S3Request) -> tuple[int, str] | None:
        if request.operation not in ("PutObject", "UploadPart"):
            return None
        has = any(name == "content-md5" or name.startswith("x-amz-checksum-") for name in request.headers)
        return None if has else (400, "InvalidRequest")


def everywhere(s3: HookedS3, header: str, value: str) -> None:
    """Each request has this header: requester pays, or the expected owner."""

    @s3.before
    def check(request: S3Request) -> tuple[int, str] | None:
        return None if request.headers.get(header) == value else DENIED


def denies(s3: HookedS3, *operations: str) -> None:
    """A role without the permission for these operations."""
    s3.before(lambda request: DENIED if request.operation in operations else None)


Rule = Callable[[HookedS3], None]
