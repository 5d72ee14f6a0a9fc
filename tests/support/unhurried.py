"""More time for what the engine does at the end of a run, for tests that look at what is left then."""

from __future__ import annotations

import pytest

from airflow_provider_sftp_s3 import engine_thread
from airflow_provider_sftp_s3.engine.s3 import multipart, receipts, upload
from airflow_provider_sftp_s3.engine.sftp import session


def give_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the last answers longer than a user would: on a busy machine they take as many times as long."""
    monkeypatch.setattr(session, "FAREWELL_SECONDS", 8.0)
    for module in (upload, multipart):
        monkeypatch.setattr(module, "ABORT_SECONDS", 8.0)
    monkeypatch.setattr(receipts, "STOP_SECONDS", 8.0)
    monkeypatch.setattr(engine_thread, "STOP_SECONDS", 60.0)
