"""What the event of an asset says."""

from __future__ import annotations

import pytest

from airflow_provider_sftp_s3.engine.model import Moved, Report
from airflow_provider_sftp_s3.transfers.assets import extra_of, sum_of

pytestmark = pytest.mark.unit


def test_what_is_not_known_of_one_is_not_known_of_all() -> None:
    """An earlier try whose receipts nobody can read makes no small number."""
    known = extra_of(
        Report("pull", Moved(2, 20), transferred=1, bytes=5, recovered=1, recovered_bytes=3, receipt="s3://b/r/")
    )
    assert known == {"files": 4, "bytes": 28, "receipt": "s3://b/r/"}
    unknown = extra_of(Report("pull", None, transferred=1, bytes=5))
    assert unknown == {"files": None, "bytes": None, "receipt": None}
    assert sum_of([known, known]) == {"files": 8, "bytes": 56, "receipt": "s3://b/r/"}
    assert sum_of([unknown, known]) == {"files": None, "bytes": None, "receipt": "s3://b/r/"}
