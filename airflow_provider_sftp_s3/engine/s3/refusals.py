"""
A bucket that takes no object as a run sends them: one error for the run, and not one for each of its files.

A policy may demand an encryption header, an ACL or a checksum. S3's answer seldom says which; whether it is about one
object or about all is found out by a PUT of a name that does not exist, on a condition that cannot hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, StorageError
from airflow_provider_sftp_s3.engine.s3.names import NO_ETAG, probe_name
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused, S3Requests

_REFUSED = (400, 401, 403)
_HEADER = re.compile(r"(?i)\b(x-amz-[a-z0-9-]*[a-z0-9]|Content-MD5)\b")
#: What to change, by S3's word, or else by what stands in its message.
_ADVICE = (
    ("AccessControlListNotSupported", "the bucket takes no ACLs: leave ACL and Grant... out of extra_args"),
    (
        "Object Lock",
        "an object lock takes nothing without a checksum: take request_checksum_calculation='when_required' out of "
        "config_kwargs of the aws connection",
    ),
    ("kms:", "the key's policy, or the role's, must allow that"),
)
_POLICY = (
    "It needs s3:PutObject, with ACL s3:PutObjectAcl, with Tagging s3:PutObjectTagging, with KMS kms:GenerateDataKey. "
    "A policy of the bucket may demand an encryption setting or an ACL: give it as extra_args, such as "
    "{'ServerSideEncryption': 'aws:kms', 'ACL': 'bucket-owner-full-control'}"
)


class Refusals:
    """Tells a refusal of one object from that of all. Asks S3 once a run at most, where nothing was taken before."""

    def __init__(self, requests: S3Requests) -> None:
        self._requests = requests
        self._asking = asyncio.Lock()
        self._takes = False
        #: why S3 takes no object at all; "": it may take some
        self._refusal = ""

    def has_taken(self) -> None:
        """Take note that S3 has taken an object."""
        self._takes = True

    async def judge(self, key: str, headers: Mapping[str, str], failed: StorageError) -> None:
        """
        Look at what an object was refused with.

        :param headers: that it was sent with.
        :raises ConfigurationError: S3 refuses all objects that are sent so. Else this returns.
        """
        if self._takes or not isinstance(failed, S3Refused) or failed.status not in _REFUSED:
            return
        async with self._asking:
            if not self._takes and not self._refusal:
                with contextlib.suppress(StorageError):  # the next one that is refused asks again
                    self._refusal = await self._ask(key, headers, failed)
                    self._takes = not self._refusal
        if self._refusal:
            raise ConfigurationError(self._refusal)

    async def _ask(self, key: str, headers: Mapping[str, str], failed: S3Refused) -> str:
        """
        Return why S3 takes no object at all; "": it is the one that it does not take.

        :raises StorageError: S3 did not answer.
        """
        name = probe_name(key)
        try:
            await self._requests.ask("PUT", name, headers={**headers, "If-Match": NO_ETAG})
        except S3Refused as refused:
            if refused.passes:
                raise
            if (refused.status, refused.code) == (failed.status, failed.code):
                return _advised(str(refused), headers)
            return ""  # it is of another kind: a store may know no such condition
        with contextlib.suppress(StorageError):  # it is beneath .sftp-s3/, where nobody takes it for a file
            await self._requests.ask("DELETE", name)
        return ""


def _advised(said: str, headers: Mapping[str, str]) -> str:
    advice = next((advice for word, advice in _ADVICE if word in said), _POLICY)
    missing = [name for name in _HEADER.findall(said) if name.lower() not in {each.lower() for each in headers}]
    named = f". It names {', '.join(dict.fromkeys(missing))}" if missing else ""
    own = sorted(name for name in headers if not name.lower().startswith(("x-amz-meta-", "x-amz-checksum-")))
    sent = ", ".join(own) or "nothing"
    return f"S3 takes no object as this run sends them: {said}{named}. {advice}. Headers that were sent: {sent}"
