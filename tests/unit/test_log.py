"""The log of a run: what is a message, at which level, and in which order."""

from __future__ import annotations

import asyncio
import logging

import pytest

from airflow_provider_sftp_s3.engine import log
from airflow_provider_sftp_s3.engine.log import LOG_LINES, LOG_SINGLY, LogObserver
from airflow_provider_sftp_s3.engine.model import Outcome
from airflow_provider_sftp_s3.engine.observer import Progress

pytestmark = pytest.mark.unit


class Messages(logging.Handler):
    """Keeps what is logged, as level and text."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[str, str]] = []
        self.came = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append((record.levelname, record.getMessage()))
        self.came.set()

    @property
    def lines(self) -> list[int]:
        """How many lines each message has."""
        return [len(text.splitlines()) for _, text in self.kept]


@pytest.fixture
def logger() -> logging.Logger:
    """Nobody else's: it is in no tree."""
    logger = logging.Logger("run", logging.DEBUG)
    logger.addHandler(Messages())
    return logger


@pytest.fixture
def messages(logger: logging.Logger) -> Messages:
    [handler] = logger.handlers
    assert isinstance(handler, Messages)
    return handler


def moved(number: int) -> Outcome:
    return Outcome(f"/in/{number}", "transferred", f"s3://b/{number}", bytes=number, seconds=0.5)


@pytest.mark.parametrize(
    ("outcome", "level", "text"),
    [
        (moved(7), "INFO", "transferred '/in/7' -> 's3://b/7', 7 bytes in 0.500 s"),
        (Outcome("/in/f", "failed", reason="disk full"), "ERROR", "failed '/in/f': disk full"),
        (Outcome("/in/f", "purged"), "INFO", "purged '/in/f'"),
        (Outcome("/in/f", "skipped", reason="too young"), "DEBUG", "skipped '/in/f': too young"),
        (Outcome("/in/f", "skipped", "s3://b/f", reason="dry run"), "INFO", "dry run: '/in/f' -> 's3://b/f'"),
        (Outcome("/in/\x1b[2J\n", "purged"), "INFO", "purged '/in/\\x1b[2J\\n'"),
    ],
)
async def test_a_file_is_a_line(
    logger: logging.Logger, messages: Messages, outcome: Outcome, level: str, text: str
) -> None:
    """At once, while the files are few. A name cannot end the line, nor reach the terminal."""
    with LogObserver(logger) as observer:
        observer.outcome(outcome)
        assert messages.kept == [(level, text)]


async def test_of_many_files_the_later_ones_share_messages(logger: logging.Logger, messages: Messages) -> None:
    """Each has its line all the same, and the last of them are there when the run ends."""
    total = LOG_SINGLY + LOG_LINES + 3
    with LogObserver(logger) as observer:
        for number in range(total):
            observer.outcome(moved(number))
        assert messages.lines == [1] * LOG_SINGLY + [LOG_LINES]
    assert messages.lines == [1] * LOG_SINGLY + [LOG_LINES, 3]
    logged = [line for _, text in messages.kept for line in text.splitlines()]
    assert [line.split("'")[1] for line in logged] == [f"/in/{number}" for number in range(total)]


async def test_lines_wait_for_others_a_moment_only(
    logger: logging.Logger, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose next file takes an hour shows the one before it."""
    monkeypatch.setattr(log, "LOG_SECONDS", 0)
    with LogObserver(logger) as observer:
        for number in range(LOG_SINGLY):
            observer.outcome(moved(number))
        for _ in range(2):
            messages.kept.clear()
            messages.came.clear()
            observer.outcome(moved(1))
            observer.outcome(moved(2))
            assert messages.kept == []
            await asyncio.wait_for(messages.came.wait(), 60)
            assert messages.lines == [2]


@pytest.mark.parametrize("what", ["failed", "progress", "remark", "notice"])
async def test_nothing_overtakes_the_lines_that_wait(logger: logging.Logger, messages: Messages, what: str) -> None:
    """The log is in the order of the run."""
    with LogObserver(logger) as observer:
        for number in range(LOG_SINGLY + 2):
            observer.outcome(moved(number))
        messages.kept.clear()
        if what == "failed":
            observer.outcome(Outcome("/in/f", "failed", reason="disk full"))
        elif what == "progress":
            observer.progress(Progress())
        else:
            getattr(observer, what)("100% of it\nis said")
    assert [level for level, _ in messages.kept] == [
        "INFO",
        {"failed": "ERROR", "progress": "INFO", "remark": "INFO", "notice": "WARNING"}[what],
    ]
    assert messages.lines[0] == 2
