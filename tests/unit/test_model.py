"""The values: what is unknown differs from nothing, and a report counts every outcome."""

from __future__ import annotations

import pytest

from airflow_provider_sftp_s3.engine.model import Outcome, Report, Stat, seconds_of

pytestmark = pytest.mark.unit


def test_the_report_is_bounded() -> None:
    """It lives in a database: the first 100 failures and 1,000 targets, and all the counts."""
    report = Report("push")
    for number in range(2000):
        report.add(Outcome(f"s{number}", "transferred", f"t{number}", bytes=2))
        report.add(Outcome(f"f{number}", "failed", reason="x"))
        report.add(Outcome(f"k{number}", "skipped", reason="synced"))
    summary = report.as_dict()
    assert (summary["transferred"], summary["bytes"], summary["failed"]) == (2000, 4000, 2000)
    assert summary["skipped"] == {"synced": 2000}
    assert (len(summary["failures"]), len(summary["targets"])) == (100, 1000)
    assert list(summary) == [
        "direction",
        "transferred",
        "bytes",
        "seconds",
        "skipped",
        "failed",
        "failures",
        "targets",
        "purged",
        "left",
        "more_left",
        "oldest_age",
        "recovered",
        "total",
        "receipt",
    ]


def test_what_is_left_is_counted() -> None:
    """What failed or waits, and when the oldest of it was changed: one whose time is not known is not the oldest."""
    report = Report("pull")
    assert (report.as_dict()["left"], report.as_dict()["oldest_age"]) == (0, None)
    report.add(Outcome("a", "failed"))
    assert report.as_dict()["left"] == 1
    report.add(Outcome("b", "skipped", reason="young", changed=9.0, left=True))
    report.add(Outcome("c", "skipped", reason="excluded", changed=1.0))
    report.add(Outcome("d", "transferred", changed=1.0))
    report.add(Outcome("e", "failed", changed=8.0))
    assert (report.left, report.oldest_left) == (3, 8.0)


@pytest.mark.parametrize(
    ("modified", "seconds"), [("1970-01-01T00:01:40", 100.0), ("", None), ("Thu, 01 Jan 1970 00", None)]
)
def test_a_time_of_s3_in_seconds(modified: str, seconds: float | None) -> None:
    """In UTC, on a machine in any zone; what is not written so is not known."""
    assert seconds_of(modified) == seconds


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        (Stat(1, 2), Stat(1, 2), False),
        (Stat(1, 2), Stat(1, 3), True),
        (Stat(1, 2), Stat(3, 2), True),
        (Stat(0, 0), Stat(1, 0), True),  # 0 is a size, and it is known
        (Stat(None, 2), Stat(1, 2), False),
        (Stat(1, None), Stat(1, 2), False),
        (Stat(None, 2), Stat(1, 3), True),
        (Stat(), Stat(1, 2), False),
    ],
)
def test_what_is_not_known_differs_from_nothing(one: Stat, other: Stat, differs: bool) -> None:
    """In either order: what a server does not say proves no change."""
    assert one.differs(other) == other.differs(one) == differs


@pytest.mark.parametrize(
    ("one", "other", "filled"),
    [
        (Stat(1, 2), Stat(3, 4), Stat(1, 2)),
        (Stat(None, 2), Stat(3, 4), Stat(3, 2)),
        (Stat(1, None), Stat(3, 4), Stat(1, 4)),
        (Stat(0, 0), Stat(3, 4), Stat(0, 0)),
        (Stat(), Stat(), Stat()),
    ],
)
def test_only_what_is_not_known_is_filled(one: Stat, other: Stat, filled: Stat) -> None:
    """A size of 0 is known, and stays."""
    assert one.filled(other) == filled


def test_what_is_not_known_is_said_in_words() -> None:
    """No message shows a None, which a reader takes for a bug."""
    assert str(Stat(5, 7)) == "5 bytes, mtime 7"
    assert str(Stat()) == "a size that is not known, mtime not known"


def test_a_report_has_where_files_would_go_and_counts_what_was_purged() -> None:
    """A dry run's outcomes are skipped, with a target; those of other reasons have none."""
    report = Report("pull")
    report.add(Outcome("a", "skipped", "s3://b/a", reason="dry run"))
    report.add(Outcome("b", "skipped", reason="young"))
    report.add(Outcome("c", "purged"))
    assert report.targets == ["s3://b/a"]
    assert report.skipped == {"dry run": 1, "young": 1}
    assert (report.transferred, report.bytes, report.purged, report.failed) == (0, 0, 1, 0)


def test_the_summary_is_one_line_with_every_count() -> None:
    """Bytes, seconds and rate among them; nothing that took no time divides by it."""
    report = Report("push")
    assert report.summary() == ("push: 0 transferred (0 bytes in 0.0 s, 0.0 MiB/s), skipped: none, 0 failed, 0 purged")
    report.add(Outcome("a", "transferred", "t", bytes=4 * 2**20))
    report.add(Outcome("b", "skipped", reason="young"))
    report.add(Outcome("c", "skipped", reason="excluded"))
    report.add(Outcome("d", "failed", reason="x"))
    report.seconds = 2.0
    assert report.summary() == (
        "push: 1 transferred (4194304 bytes in 2.0 s, 2.0 MiB/s), skipped: 1 excluded, 1 young, 1 failed, 0 purged, "
        "1 left"
    )
    report.more_left, report.oldest_age = True, 61.4
    assert report.summary().endswith(", 0 purged, 1 or more left (the oldest 0:01:01 old)")
