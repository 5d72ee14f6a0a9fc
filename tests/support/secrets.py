"""What no log may hold, whatever a test does: what is secret is named here, and every test's log is looked through.

See tests/conftest.py for where the logs come from: all loggers at DEBUG, and what a test prints.
"""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path

_always: set[str] = set()
_of_this_test: set[str] = set()

# Under dag.test() Airflow itself prints what it is asked to mask, before it does.
_AIRFLOWS_OWN = re.compile(r"^.*MaskSecret\(.*$", re.MULTILINE)

LOGGERS = ("airflow", "airflow.task", "airflow_provider_sftp_s3", "asyncssh", "boto3", "botocore", "obstore", "urllib3")
"""Whose level is DEBUG when a test begins: who may know a secret. SQLAlchemy's would take minutes for each Dag."""


def secret(text: str) -> str:
    """Name a password, token or private key, which no log may hold from now on; return it."""
    lines = [line.strip() for line in text.splitlines() if not line.startswith("-----")]
    _always.update(line for line in lines if len(line) >= 8)
    return text


def contents(data: bytes) -> None:
    """Name a file's contents, which no log of the running test may hold; what many files may hold is passed over."""
    start = bytes(data[:24])
    if len(set(start)) > 12:
        _of_this_test.update((repr(start)[2:-1], start.hex()))


def found_in(text: str) -> list[str]:
    """Return what is secret and stands in a text."""
    text = _AIRFLOWS_OWN.sub("", text)
    return [each for each in _always | _of_this_test if each in text]


def files_with_secrets(top: Path) -> list[str]:
    """Return the files beneath ``top``, such as Airflow's database and its task logs, that hold anything secret."""
    return [str(file) for file in top.rglob("*") if file.is_file() and found_in(_text_of(file))]


def _text_of(file: Path) -> str:
    """Return a file's text; that of one that has just gone, as SQLite's journals do, is empty."""
    with contextlib.suppress(FileNotFoundError):
        return file.read_text(errors="replace")
    return ""


class Watcher(logging.Handler):
    """Looks through everything that is logged in this process."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.leaks: list[str] = []

    def begin(self) -> None:
        """Begin a test: have everything logged, whatever Airflow or the test before have set."""
        _of_this_test.clear()
        self.leaks.clear()
        for logger in (logging.getLogger(), *map(logging.getLogger, LOGGERS)):
            if logger.name in LOGGERS:
                logger.setLevel(logging.DEBUG)
            if self not in logger.handlers and (logger.parent is None or not logger.propagate):
                logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        self.leaks += [f"{each!r} is in the log of {record.name}: {text[:500]}" for each in found_in(text)]
