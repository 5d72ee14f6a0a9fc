"""Who watches a run, and how far it is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

from airflow_provider_sftp_s3.engine.model import Outcome


@dataclass
class Progress:
    """How far a run is. `found_*` grow while the listing goes on."""

    found_files: int = 0
    found_bytes: int = 0
    settled_files: int = 0
    settled_bytes: int = 0
    moved_bytes: int = 0
    listing: bool = True
    started: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        seconds = max(time.monotonic() - self.started, 0.001)
        rate = self.moved_bytes / seconds
        left = max(self.found_bytes - max(self.settled_bytes, self.moved_bytes), 0)
        if left and rate:
            eta = f"{left / rate:.0f} s"
        else:
            eta = f"{(self.found_files - self.settled_files) * seconds / max(self.settled_files, 1):.0f} s"
        more = " and counting" if self.listing else ""
        return (
            f"{self.settled_files} of {self.found_files} files{more}, {self.moved_bytes} bytes moved "
            f"at {rate / 2**20:.1f} MiB/s, {self.settled_files / seconds:.1f} files/s, ETA {eta}"
        )


class Observer(Protocol):
    """Who watches a run: the operator's log. Called from the engine's event loop, must not block for long."""

    def outcome(self, outcome: Outcome) -> None:
        """Take the outcome of one file."""

    def progress(self, progress: Progress) -> None:
        """Take how far the run is: every 30 s."""

    def remark(self, message: str) -> None:
        """Take something that explains the run, once, and asks for nothing: which way was chosen."""

    def notice(self, message: str) -> None:
        """Take something that the user should know once: what was adapted to the server, a cap that was reached."""


class Several:
    """Tells several observers the same."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def outcome(self, outcome: Outcome) -> None:
        for each in self._observers:
            each.outcome(outcome)

    def progress(self, progress: Progress) -> None:
        for each in self._observers:
            each.progress(progress)

    def remark(self, message: str) -> None:
        for each in self._observers:
            each.remark(message)

    def notice(self, message: str) -> None:
        for each in self._observers:
            each.notice(message)


class Notices:
    """Tells an observer what the user should know, once a run for each subject."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._told: set[str] = set()

    def once(self, subject: str, message: str) -> None:
        """Tell `message`, if nothing has been told about `subject` yet."""
        if subject not in self._told:
            self._told.add(subject)
            self._observer.notice(message)
