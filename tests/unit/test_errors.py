"""Errors: whatever leaves a process arrives in the other one."""

from __future__ import annotations

import copy
import pickle

import pytest

from airflow_provider_sftp_s3.engine import errors
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, SftpS3Error
from airflow_provider_sftp_s3.engine.model import Outcome, Report
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from airflow_provider_sftp_s3.engine.sftp.protocol import Unsupported
from airflow_provider_sftp_s3.flows.settings import FlowError, Problem

pytestmark = pytest.mark.unit


def kinds(kind: type[SftpS3Error] = SftpS3Error) -> list[type[SftpS3Error]]:
    """Return a class of errors and all that are made of it."""
    return [kind, *(below for each in kind.__subclasses__() for below in kinds(each))]


def made(kind: type[SftpS3Error]) -> SftpS3Error:
    """Return an error with something else than the default in each of its attributes."""
    report = Report("pull")
    report.add(Outcome("sftp://h/a", "failed", reason="no"))
    error: SftpS3Error
    if issubclass(kind, S3Refused):
        error = kind("said no", 503, "SlowDown", "eu-central-1")
    elif issubclass(kind, errors.TransferError):
        error = kind("said no", report)
    elif issubclass(kind, errors.ConnectionFailed):
        error = kind("said no", connection=3, unanswered=True, given_up=True)
    elif issubclass(kind, errors.ServerRefused):
        error = kind("said no", is_generic=True)
    else:
        error = kind("said no")
    if isinstance(error, ConfigurationError):
        error.report = report
    error.add_note("seen in a test")
    return error


def test_the_classes_of_all_modules_are_looked_at() -> None:
    assert {S3Refused, Unsupported, errors.TransferError, errors.HandlesRepeat} <= set(kinds())


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy], ids=["pickle", "copy"])
def test_an_error_is_the_same_on_the_other_side(kind: type[SftpS3Error], again: object) -> None:
    """Its class, its text, its notes and each of its attributes, the report among them."""
    assert callable(again)
    error = made(kind)
    there = again(error)
    assert type(there) is kind
    assert (str(there), there.args) == (str(error), error.args)
    here, copied = vars(error).copy(), vars(there).copy()
    reports = [each.pop("report", None) for each in (here, copied)]
    assert here == copied
    assert [report and report.as_dict() for report in reports[:1]] == [
        report and report.as_dict() for report in reports[1:]
    ]


def test_an_error_of_a_flow_is_too() -> None:
    error = FlowError("out", [Problem("include", "is none")], "flows.yaml, line 3")
    there = pickle.loads(pickle.dumps(error))
    assert (str(there), there.flow, there.problems, there.where) == (
        "flows.yaml, line 3: flow 'out': include: is none",
        "out",
        error.problems,
        "flows.yaml, line 3",
    )
