"""Rules of a company's AWS account, for the tests' S3: each is a hook that refuses what the real one refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import boto3
import botocore.session
from botocore.credentials import RefreshableCredentials

from tests.support.s3_server import ACCESS_KEY, REGION, HookedS3, S3Request

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


def keeps_time(s3: HookedS3, ahead: timedelta) -> None:
    """S3's clock is ahead of ours: what was signed more than 15 minutes from its own time is refused."""

    @s3.before
    def check(request: S3Request) -> tuple[int, str] | None:
        signed = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return (
            (403, "RequestTimeTooSkewed") if abs(datetime.now(UTC) + ahead - signed) > timedelta(minutes=15) else None
        )


class Rotation:
    """Credentials that are renewed in the middle of a run: from then on S3 answers the old ones with ExpiredToken.

    :param after: how many requests the old ones are good for.
    """

    def __init__(self, s3: HookedS3, after: int, *, renewed: bool = True) -> None:
        self.renewed = renewed
        self.left = after
        s3.before(self._check)

    def _check(self, request: S3Request) -> tuple[int, str] | None:
        authorization = request.headers["authorization"]
        if "Credential=AKIDNEW/" in authorization or ACCESS_KEY in authorization:  # the test's own client
            return None
        self.left -= 1
        if self.left >= 0:
            return None
        return 400, "ExpiredToken"

    def _now(self) -> dict[str, str]:
        name = "AKIDNEW" if self.left < 0 and self.renewed else "AKIDOLD"
        # Always about to expire, so that each look at them asks again.
        soon = datetime.now(UTC) + timedelta(minutes=1)
        return {"access_key": name, "secret_key": "s" * 40, "token": "t" * 40, "expiry_time": soon.isoformat()}

    def session(self) -> boto3.Session:
        """Return a session as an assumed role gives it."""
        source = botocore.session.get_session()
        source._credentials = RefreshableCredentials.create_from_metadata(self._now(), self._now, "test")
        return boto3.Session(botocore_session=source, region_name=REGION)


Rule = Callable[[HookedS3], None]
