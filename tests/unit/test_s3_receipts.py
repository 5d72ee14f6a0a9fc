"""Receipts: how a line is made, and what its object is called. How they are written: integration/test_receipts.py."""

from __future__ import annotations

import pytest

from airflow_provider_sftp_s3.engine.model import Outcome, Stored
from airflow_provider_sftp_s3.engine.s3.receipts import _REST, directory_of, line_of, stem_of
from airflow_provider_sftp_s3.engine.settings import TaskTry

pytestmark = pytest.mark.unit

TRY = TaskTry("a dag/é", "2026-01-31", "manual__2026-01-31T06:00:00+00:00", "push", 3, 2)


def test_a_line_of_what_was_moved() -> None:
    """Each field is there, in words and numbers that a program can compare."""
    stored = Stored("e", "v", "CRC32:AAAAAA==")
    moved = Outcome("s", "transferred", "t", bytes=5, seconds=1.23456, changed=1_000_000_000.7, stored=stored)
    assert line_of(moved, "pull", 2, 1_769_839_200.0) == {
        **{"time": "2026-01-31T06:00:00.000Z", "direction": "pull", "status": "transferred"},
        **{"source": "s", "target": "t", "size": 5, "mtime": 1_000_000_000},
        **{"etag": "e", "version_id": "v", "checksum": "CRC32:AAAAAA==", "seconds": 1.235, "try": 2, "error": None},
    }


def test_a_line_of_what_was_not() -> None:
    """It has no size: nothing of it is anywhere. What is not known is null, and neither 0 nor a text of nothing."""
    line = line_of(Outcome("s", "failed", reason="why", bytes=5), "push", 1, 0.0)
    assert (line["status"], line["error"], line["try"]) == ("failed", "why", 1)
    assert all(line[name] is None for name in ("target", "size", "mtime", "etag", "version_id", "checksum", "seconds"))


def test_names_of_dags_and_runs_are_quoted() -> None:
    """A slash in one makes no directory, whoever has chosen it."""
    assert directory_of(TRY) == "dag_id=a%20dag%2F%C3%A9/date=2026-01-31/manual__2026-01-31T06%3A00%3A00%2B00%3A00/"
    assert stem_of(TRY) == "push-3-"


def test_no_tasks_receipts_are_taken_for_another_ones() -> None:
    """By their names, whatever tasks are called."""
    tasks = [
        TRY._replace(task_id=task, map_index=index) for task in ("a", "a-", "a-1", "a--1") for index in (-1, 1, 11)
    ]
    stems = [stem_of(each) for each in tasks]
    names = [stem + "1-1.jsonl.gz" for stem in stems]
    taken = [
        (stem, name) for stem in stems for name in names if name.startswith(stem) and _REST.fullmatch(name[len(stem) :])
    ]
    assert taken == list(zip(stems, names, strict=True))
