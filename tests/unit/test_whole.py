"""When a file counts as read whole: never at less than anybody has stated of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.whole import expected_next, is_another, judge

pytestmark = pytest.mark.unit

UNKNOWN = Stat()
few = st.none() | st.integers(0, 3)
stats = st.builds(Stat, few, few)


@given(stats, stats, stats, st.integers(0, 4), st.booleans())
def test_nothing_is_whole_below_a_stated_size(
    expected: Stat, before: Stat, after: Stat, count: int, ended: bool
) -> None:
    """Whatever is stated, by whom, and in which order."""
    if judge(expected, before, after, count, ended) == "whole":
        assert ended
        assert all(count >= size for size in (expected.size, before.size, after.size) if size is not None)
        assert not before.differs(after)


@given(stats, st.integers(0, 3))
def test_a_file_that_is_as_stated_is_whole(stat: Stat, count: int) -> None:
    """With what is left out as with what is said."""
    stated = Stat(count if stat.size is not None else None, stat.mtime)
    for expected in (stated, UNKNOWN):
        for seen in (stated, UNKNOWN):
            assert judge(expected, seen, seen, count, True) == "whole"


@given(stats, stats)
def test_a_stated_size_is_given_up_for_a_newer_version_only(expected: Stat, seen: Stat) -> None:
    following = expected_next(expected, seen)
    newer = None not in (seen.mtime, expected.mtime) and (seen.mtime or 0) > (expected.mtime or 0)
    if expected.size is not None and not newer:
        assert following.size is not None
        assert following.size >= expected.size
    if seen.size is not None:
        assert following.size is not None
        assert following.size >= seen.size


@pytest.mark.parametrize(
    ("expected", "before", "after", "count", "ended", "verdict"),
    [
        (Stat(5, 1), Stat(5, 1), Stat(5, 1), 5, True, "whole"),
        (Stat(5, 1), Stat(5, 1), Stat(6, 1), 5, True, "changed"),
        (Stat(5, 1), Stat(5, 1), Stat(5, 2), 5, True, "changed"),
        (Stat(5, 1), Stat(5, 1), Stat(5, 1), 4, True, "changed"),
        (Stat(5, 1), Stat(5, 1), Stat(5, 1), 5, False, "more"),
        (Stat(5, 1), Stat(7, 1), Stat(7, 1), 5, False, "another"),
        (Stat(5, 1), Stat(3, 2), Stat(3, 2), 3, True, "another"),
        (Stat(5, 1), Stat(3, 1), Stat(3, 1), 3, True, "changed"),
        (Stat(5, 1), Stat(0, 0), Stat(0, 0), 5, True, "whole"),
        (Stat(5, 1), Stat(5, 2), Stat(5, 2), 5, True, "another"),
        (Stat(0, 1), Stat(0, 1), Stat(0, 1), 0, True, "whole"),
        (Stat(0, 1), Stat(0, 1), Stat(0, 1), 5, True, "more"),
        (UNKNOWN, UNKNOWN, UNKNOWN, 5, True, "whole"),
        (UNKNOWN, UNKNOWN, UNKNOWN, 5, False, "more"),
    ],
)
def test_verdicts(expected: Stat, before: Stat, after: Stat, count: int, ended: bool, verdict: str) -> None:
    assert judge(expected, before, after, count, ended) == verdict


def test_a_large_file_is_not_read_where_it_is_certainly_another() -> None:
    """But where its size was stated larger, and it is not newer, the read tells which is true."""
    assert is_another(Stat(5, 1), Stat(6, 1))
    assert is_another(Stat(5, 1), Stat(5, 2))
    assert is_another(Stat(5, 1), Stat(3, 2))
    assert not is_another(Stat(5, 1), Stat(0, 0))
    assert not is_another(Stat(5, 1), Stat(3, 1))
    assert not is_another(Stat(5, 1), UNKNOWN)
