"""Receipts as whoever keeps books reads them."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.support.s3_server import S3Endpoint


def lines_in(s3: S3Endpoint, bucket: str, prefix: str = "receipts/") -> list[dict[str, Any]]:
    """Return all lines beneath a prefix, in the order of their objects."""
    return [line for lines in objects_in(s3, bucket, prefix).values() for line in lines]


def objects_in(s3: S3Endpoint, bucket: str, prefix: str = "receipts/") -> dict[str, list[dict[str, Any]]]:
    """Return the lines of each receipt by its key beneath a prefix."""
    return {
        key.removeprefix(prefix): [json.loads(line) for line in gzip.decompress(body).splitlines()]
        for key, body in sorted(s3.objects(bucket).items())
        if key.startswith(prefix)
    }
