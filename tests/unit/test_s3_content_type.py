"""The content type of an object, by its name."""

from __future__ import annotations

import re

import pytest

from airflow_provider_sftp_s3.engine.s3 import content_type
from airflow_provider_sftp_s3.engine.s3.content_type import content_type_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("key", "is_of"),
    [
        ("a/b.csv", "text/csv"),
        ("a/B.CSV", "text/csv"),
        ("b.csv.gz", "application/gzip"),  # and not a CSV in an encoding, which clients would unpack by themselves
        ("b.tar.gz", "application/gzip"),
        ("b.parquet", "application/vnd.apache.parquet"),
        ("b", None),
        ("b.", None),
        (".csv", None),
        ("a.csv/b", None),
        ("b.unheard", None),
    ],
)
def test_the_last_suffix_tells(key: str, is_of: str | None) -> None:
    """None where it does not: S3 has a word of its own for that."""
    assert content_type_of(key) == is_of


def test_each_type_is_one() -> None:
    """A header: nothing but what may stand there."""
    assert all(re.fullmatch(r"[a-z]+/[a-z0-9.+-]+", kind) for kind in content_type._TYPES.values())
    assert list(content_type._TYPES) == sorted(content_type._TYPES)
