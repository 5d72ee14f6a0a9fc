"""How far a run is, in one line."""

from __future__ import annotations

import pytest

from airflow_provider_sftp_s3.engine.observer import Progress

pytestmark = pytest.mark.unit


def test_eta_is_what_is_left_at_the_rate_so_far() -> None:
    """By bytes where some have moved."""
    progress = Progress(found_files=4, found_bytes=400, moved_bytes=100, settled_files=1, settled_bytes=100)
    progress.started -= 10
    assert "ETA 30 s" in str(progress)


def test_with_no_bytes_moved_the_eta_goes_by_files() -> None:
    """A tree of empty files has a rate all the same; one of which nothing is known yet divides by no zero."""
    progress = Progress(found_files=30, settled_files=10)
    progress.started -= 10
    assert "ETA 20 s" in str(progress)
    assert "0 of 0 files" in str(Progress())


def test_what_is_still_being_listed_is_said() -> None:
    """The counts of a listing that goes on are not the whole."""
    assert "0 of 7 files and counting," in str(Progress(found_files=7))
    assert "0 of 7 files," in str(Progress(found_files=7, listing=False))
