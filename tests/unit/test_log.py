"""The log of a run: all of it is there, in order, in few messages."""

from __future__ import annotations

import logging

import pytest

from airflow_provider_sftp_s3.engine.log import LOG_LINES, LOG_SINGLY, LogObserver
from airflow_provider_sftp_s3.engine.model import Outcome
from airflow_provider_sftp_s3.engine.observer import Progress

pytestmark = pytest.mark.unit


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def log(kept: Kept) -> logging.Logger:
    """A logger that nobody else has."""
    log = logging.Logger("run", logging.DEBUG)
    log.addHandler(kept)
    return log


def test_each_kind_of_news_has_its_level(log: logging.Logger, kept: Kept) -> None:
    """Names stand as repr: they can hold escape sequences."""
    with LogObserver(log) as observer:
        observer.outcome(Outcome("a\x1b", "transferred", target="b", bytes=3, seconds=0.5))
        observer.outcome(Outcome("c", "failed", reason="why"))
        observer.outcome(Outcome("d", "purged"))
        observer.outcome(Outcome("e", "skipped", target="f", reason="would be moved"))
        observer.outcome(Outcome("g", "skipped", reason="excluded"))
        observer.progress(Progress(found_files=7))
        observer.remark("which way")
        observer.notice("mind this")
    told = [(record.levelname, record.getMessage()) for record in kept.records]
    assert told[:5] == [
        ("INFO", "transferred 'a\\x1b' -> 'b', 3 bytes in 0.500 s"),
        ("ERROR", "failed 'c': why"),
        ("INFO", "purged 'd'"),
        ("INFO", "would be moved: 'e' -> 'f'"),
        ("DEBUG", "skipped 'g': excluded"),
    ]
    assert told[5][0] == "INFO"
    assert "0 of 7 files" in told[5][1]
    assert told[6:] == [("INFO", "which way"), ("WARNING", "mind this")]


@pytest.mark.parametrize("news", ["outcome", "progress", "remark", "notice", "end"])
async def test_many_files_are_few_messages_and_none_is_lost(news: str, log: logging.Logger, kept: Kept) -> None:
    """What is told after them stands after them."""
    number = LOG_SINGLY + LOG_LINES + 1
    with LogObserver(log) as observer:
        for each in range(number):
            observer.outcome(Outcome(f"{each}", "purged"))
        assert len(kept.records) == LOG_SINGLY + 1
        if news == "outcome":
            observer.outcome(Outcome("last", "failed", reason="why"))
        elif news == "progress":
            observer.progress(Progress())
        elif news != "end":
            getattr(observer, news)("last")
    messages = [record.getMessage() for record in kept.records]
    lines = "\n".join(messages[: LOG_SINGLY + 2]).splitlines()
    assert lines == [f"purged '{each}'" for each in range(number)]
    assert len(messages) == LOG_SINGLY + 2 + (news != "end")
