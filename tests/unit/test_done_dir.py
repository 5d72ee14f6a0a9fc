"""What `done_dir` says, and which day a directory is called by."""

from __future__ import annotations

import pytest

from airflow_provider_sftp_s3.engine.done_dir import DoneDir, end_of_day
from airflow_provider_sftp_s3.engine.errors import ConfigurationError

pytestmark = pytest.mark.unit

DAY = "2026-01-31"
#: 2026-02-01T00:00:00 UTC
END = 1769904000.0


@pytest.mark.parametrize(
    ("done_dir", "way"), [(".done", b".done"), (".done/{date}", b".done/2026-01-31"), ("ä", "ä".encode())]
)
def test_where_a_file_goes(done_dir: str, way: bytes) -> None:
    assert DoneDir.of(done_dir).on(DAY) == way


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "/", "/{date}", "{date}", ".done-{date}", "a/b", "a/{date}/{date}", "a/{date}/b", "{date}/a", "a/{day}"),
        *("../{date}", ".", "..", "a\n", None, 1),
    ],
)
def test_what_is_none(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match=r"done_dir must be a name such as '.done', or a name and the day"):
        DoneDir.of(wrong)


def test_when_a_day_ends() -> None:
    assert end_of_day(DAY.encode()) == END
    assert end_of_day(b"2024-02-29") is not None


@pytest.mark.parametrize("other", [b"", b"2026-1-31", b"2026-02-30", b"2026-01-31 ", b"20260131", b"\xff"])
def test_what_is_no_day(other: bytes) -> None:
    """Whatever else lies in a done directory is not taken for one."""
    assert end_of_day(other) is None
