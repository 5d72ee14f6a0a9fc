"""Receipts: the line of a file, and what the object is called that it is in. The rest is in tests/integration."""

from __future__ import annotations

import json

import pytest

from airflow_provider_sftp_s3.engine.model import Outcome, Stored
from airflow_provider_sftp_s3.engine.s3 import receipts
from airflow_provider_sftp_s3.engine.settings import TaskTry

pytestmark = pytest.mark.unit


def test_what_is_not_known_is_null() -> None:
    """And no zero: a size of 0 is that of an empty file."""
    failed = receipts.line_of(Outcome("s", "failed", reason="no"), "pull", 2, 0.25)
    assert failed == {
        **{"time": "1970-01-01T00:00:00.250Z", "direction": "pull", "status": "failed", "source": "s", "target": None},
        **{"size": None, "mtime": None, "etag": None, "version_id": None, "checksum": None, "seconds": None},
        **{"try": 2, "error": "no"},
    }
    stored = Stored("e", "v", "CRC32:YFtXNA==")
    moved = Outcome("s", "transferred", "t", bytes=0, seconds=1.23456, changed=5.9, stored=stored)
    line = receipts.line_of(moved, "push", 1, 0.0)
    assert line["size"] == 0
    assert [line[name] for name in ("mtime", "etag", "version_id", "checksum", "seconds", "error")] == [
        *(5, "e", "v", "CRC32:YFtXNA==", 1.235, None)
    ]
    assert json.loads(json.dumps(line)) == line


def test_no_other_run_has_the_name() -> None:
    """Of Dag, run, task and map index: their texts may hold what stands between them."""
    texts = ("a", "a-", "a--1", "a-1", "a/b", "a%2Fb", "ü", "a=b")
    seen = {
        receipts.directory_of(task_try) + receipts.stem_of(task_try)
        for dag in texts
        for run in texts
        for task in ("a", "a-", "a--1", "a-1", "a.b")
        for index in (-1, 0, 1)
        for task_try in [TaskTry(dag, "2026-01-31", run, task, index, 1)]
    }
    assert len(seen) == len(texts) ** 2 * 5 * 3
