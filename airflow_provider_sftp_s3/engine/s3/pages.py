"""The keys under a prefix, page by page, to the end of the listing, where it has one."""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncGenerator, Sequence

from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, StorageError
from airflow_provider_sftp_s3.engine.model import ObjectEntry
from airflow_provider_sftp_s3.engine.s3 import xml as s3_xml
from airflow_provider_sftp_s3.engine.s3.requests import S3Requests, query_of

#: Pages of a listing in a row that may have no key on them. S3 gives some where much was deleted: a page for each 1,000
#: versions that it has passed over.
MAX_EMPTY_PAGES = 10_000


async def listed(requests: S3Requests, prefix: str, uri: str) -> AsyncGenerator[ObjectEntry]:
    """
    Yield all keys under `prefix`, verbatim, in S3's order.

    :param uri: of the prefix, for the errors.
    :raises ConnectionFailed: the listing failed, after retries, or does not get on.
    """
    token: str | None = ""
    # A page begins with a key that no other one begins with, whatever the order of a store's keys. So there are no more
    # pages than keys, and 8 bytes are kept of each.
    begun: set[int] = set()
    empty = 0
    while token is not None:
        asked = token
        try:
            entries, token = await _page(requests, prefix, asked)
        except StorageError as failed:
            raise ConnectionFailed(f"{uri} cannot be listed: {failed}") from None
        empty = 0 if entries else empty + 1
        again = token == asked or (bool(entries) and hash(entries[0].key) in begun)
        if again or empty > MAX_EMPTY_PAGES:
            raise ConnectionFailed(
                f"{uri} cannot be listed: S3 gives "
                + ("the same page again and again" if again else f"{empty} pages in a row with no key")
            )
        begun.update(hash(entry.key) for entry in entries[:1])
        for entry in entries:
            yield entry


async def _page(requests: S3Requests, prefix: str, token: str) -> tuple[Sequence[ObjectEntry], str | None]:
    """
    Return up to 1,000 keys, and the token of the next page. boto3 takes 0.3 s of CPU for one.

    :raises StorageError: the answer is no such page, or there was none.
    """
    asked = {"encoding-type": "url", "list-type": "2", "prefix": prefix}
    if token:
        asked["continuation-token"] = token
    return (await requests.ask("GET", "", query_of(asked))).read(entries_of)


def entries_of(page: bytes) -> tuple[Sequence[ObjectEntry], str | None]:
    """Return the objects on a page of a listing, and the token of the next one. :raises ValueError: it is no page."""
    about, objects = s3_xml.parse_listing(page)
    encoded = s3_xml.text_of(about, "EncodingType") == "url"
    entries = []
    for found in objects:
        key = found.get("Key")
        if not key:
            raise ValueError("S3 lists an object that has no key")
        # The XML is undone already: a store may write as an entity what need not be encoded in a URL.
        name = urllib.parse.unquote_plus(key) if encoded else key
        size = int(found.get("Size") or -1)
        entries.append(ObjectEntry(name, size, found.get("ETag", ""), found.get("LastModified", "")[:19]))
    token = s3_xml.text_of(about, "NextContinuationToken") or None
    if token is None and s3_xml.text_of(about, "IsTruncated") == "true":
        raise ValueError("S3 says that there is more than it lists, and not how to ask for it")
    return entries, token
