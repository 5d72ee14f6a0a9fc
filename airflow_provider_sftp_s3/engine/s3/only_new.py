"""
Objects that are stored only where there is none: `If-None-Match`, where the store was seen to heed it.

A store may heed it of a PUT, and not of the end of an upload in parts, as Ceph gateways do. So each of the two is
tried once a run, when it is needed first, on an object of our own. Where it is not heeded, a look right before that has
to do: what comes in between is replaced.
"""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Literal

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, TargetTaken
from airflow_provider_sftp_s3.engine.observer import Notices
from airflow_provider_sftp_s3.engine.options import MIN_PART_SIZE
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from airflow_provider_sftp_s3.engine.tasks import Once

How = Literal["PutObject", "CompleteMultipartUpload"]

_CONDITION = {"If-None-Match": "*"}
#: What the object holds that it is tried on.
_PROBE = (
    b"airflow-provider-sftp-s3 asks on this object whether S3 heeds If-None-Match. It may be deleted: the next pull "
    b"that needs it makes it again.\n"
)


class OnlyNew:
    """
    Finds out what has to be sent along with an object that must not replace another one, for one run.

    :param prefix: of the objects, as :func:`paths.directory_prefix` gives it.
    :param abort: aborts what an earlier try has left of an upload in parts; None: there was none.
    """

    def __init__(
        self,
        bucket: Bucket,
        prefix: str,
        notices: Notices,
        abort: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._notices = notices
        self._abort = abort
        self._once = Once()
        self._heeded: dict[How, bool] = {}

    async def condition(self, key: str, how: How) -> Mapping[str, str]:
        """
        Return the headers that an object is to be stored with; none where only a look could tell, and has told.

        :param how: the request that ends its upload.
        :raises TargetTaken: there is an object.
        :raises ConfigurationError: S3 does not let us find out.
        :raises StorageError: S3 did not answer.
        """
        await self._once.done(how.encode(), lambda: self._find_out(key, how))
        if self._heeded[how]:
            return _CONDITION
        if await self._bucket.head(key) is not None:
            raise TargetTaken(f"{self._bucket.uri_of(paths.printable(key))} has come meanwhile")
        return {}

    def end(self) -> None:
        """Ask no more: the run is over."""
        self._once.end()

    async def _find_out(self, key: str, how: How) -> None:
        probe = posixpath.join(self._prefix or posixpath.dirname(key), paths.STATE, "probe-new")
        try:
            if self._abort is not None and how == "CompleteMultipartUpload":
                await self._abort(probe)
            if await self._bucket.head(probe) is None:
                await self._bucket.put(probe, [_PROBE], {})
            await self._store(probe, how)
        except TargetTaken:
            self._heeded[how] = True
            return
        except S3Refused as refused:
            if refused.passes:
                raise
            if refused.status in (401, 403):
                raise ConfigurationError(
                    f"S3 does not let us find out whether it heeds If-None-Match: {refused}. on_conflict needs "
                    "s3:GetObject, s3:ListBucket and s3:PutObject beneath s3_prefix, for .sftp-s3/probe-new, too"
                ) from None
        self._heeded[how] = False
        self._notices.once(
            f"only new, {how}",
            f"the S3 store does not heed If-None-Match of a {how}: before each is a look, and what comes under a name "
            "between the two is replaced",
        )

    async def _store(self, probe: str, how: How) -> None:
        if how == "PutObject":
            await self._bucket.put(probe, [_PROBE], {}, condition=_CONDITION)
            return
        await self._bucket.put_stream(
            probe,
            _one(_PROBE),
            {},
            part_size=MIN_PART_SIZE,
            parts_at_once=1,
            call_off=lambda: None,
            condition=_CONDITION,
        )


async def _one(data: bytes) -> AsyncIterator[bytes | memoryview]:
    yield data
