"""
S3's messages about objects that have landed -> their keys.

One reaches a queue from the bucket itself, by way of an SNS topic, or from EventBridge:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

#: An access point, by its ARN or alias. S3's messages name the bucket.
ACCESS_POINT = re.compile(r"^arn:|-s3alias$")


class Landed(NamedTuple):
    """An object that was created or overwritten; `key` as S3 has it, not encoded."""

    bucket: str
    key: str


def landed(body: str) -> Iterator[Landed]:
    """
    Yield the objects that a message tells of; none where it tells of a removal, or is S3's test.

    :param body: a message's body, JSON.
    :raises ValueError: it, or one of its records, is none of S3's; after the good ones have been yielded.
    """
    try:
        yield from _landed(json.loads(body))
    except _MALFORMED as wrong:
        raise ValueError(f"no message of S3's: {type(wrong).__name__}: {wrong}") from None


_MALFORMED = (KeyError, TypeError, AttributeError, RecursionError, ValueError)


def _landed(message: Mapping[str, Any]) -> Iterator[Landed]:
    if message.get("Event") == "s3:TestEvent":  # sent when a notification is set up
        return
    if message.get("Type") == "Notification":  # SNS, with no raw message delivery
        yield from _landed(json.loads(message["Message"]))
    elif "detail-type" in message:  # EventBridge
        if message["detail-type"] == "Object Created":
            yield _object(message["detail"], str)
    else:
        malformed: Exception | None = None
        for record in message["Records"]:
            try:
                if record["eventName"].removeprefix("s3:").startswith("ObjectCreated:"):
                    yield _object(record["s3"], unquote_plus)
            except _MALFORMED as wrong:
                malformed = wrong
        if malformed:
            raise malformed


def _object(described: Mapping[str, Any], decode: Callable[[str], str]) -> Landed:
    bucket, key = described["bucket"]["name"], described["object"]["key"]
    if not isinstance(bucket, str) or not isinstance(key, str):
        raise TypeError("bucket and key must be text")
    key = decode(key)
    key.encode()  # one with half a character is no object's, and PostgreSQL would refuse the list that it is in
    return Landed(bucket, key)
