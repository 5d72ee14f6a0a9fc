"""The keys under a prefix: all of them, as they are, or an error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from airflow_provider_sftp_s3.engine.errors import ConnectionFailed
from airflow_provider_sftp_s3.engine.model import ObjectEntry
from airflow_provider_sftp_s3.engine.s3 import pages
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.integration

KEYS = ["a", "a b+c%2F", "d/#?&=;:", "é/😀", "x\\y", "z" * 900]


async def test_keys_are_listed_verbatim_in_their_order(s3: S3Server, opened: Bucket) -> None:
    """With size, ETag and time; those under the prefix only."""
    for key in (*KEYS, "other"):
        s3.client().put_object(Bucket=opened.name, Key=f"p/{key}" if key != "other" else key, Body=b"12345")
    entries = [entry async for entry in opened.list("p/")]
    assert [entry.key for entry in entries] == sorted(f"p/{key}" for key in KEYS)
    version = await opened.head("p/a")
    assert version is not None
    assert entries[0] == ObjectEntry("p/a", 5, version.etag, version.modified)


async def test_a_listing_goes_on_to_its_last_page(s3: S3Server, opened: Bucket) -> None:
    """A page holds a thousand keys."""
    keys = [f"{number:04}" for number in range(1001)]
    for key in keys:
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(opened.name, key, b"")
    s3.requests.clear()
    assert [entry.key async for entry in opened.list("")] == keys
    assert ["continuation-token" in request.query for request in s3.requests] == [False, True]


async def consumed(items: AsyncIterator[Any]) -> int:
    return len([item async for item in items])


async def test_a_listing_that_goes_round_in_circles_ends(s3: S3Server, opened: Bucket) -> None:
    """S3 gives the same token again: more would come for ever."""
    more = b"<NextContinuationToken>again</NextContinuationToken></ListBucketResult>"
    s3.rewrite(lambda request, body: body.replace(b"</ListBucketResult>", more))
    with pytest.raises(ConnectionFailed, match="the same page again and again"):
        await consumed(opened.list(""))


async def test_a_listing_that_may_not_be_is_an_error(s3: S3Server, opened: Bucket) -> None:
    """An empty one would say that there is nothing to do."""
    s3.before(lambda request: (403, "AccessDenied"))
    with pytest.raises(ConnectionFailed, match=f"s3://{opened.name}/p/ cannot be listed"):
        await consumed(opened.list("p/"))


async def test_pages_with_no_key_have_an_end(s3: S3Server, opened: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 gives some where much was deleted, each with another token."""
    monkeypatch.setattr(pages, "MAX_EMPTY_PAGES", 5)
    asked = 0

    def empty(request: Any, body: bytes) -> bytes:
        nonlocal asked
        asked += 1
        more = f"<NextContinuationToken>{asked}</NextContinuationToken></ListBucketResult>".encode()
        return body.replace(b"</ListBucketResult>", more if asked < last else b"</ListBucketResult>")

    s3.rewrite(empty)
    last = 5
    assert await consumed(opened.list("")) == 0
    asked, last = 0, 1000
    with pytest.raises(ConnectionFailed, match="6 pages in a row with no key"):
        await consumed(opened.list(""))
