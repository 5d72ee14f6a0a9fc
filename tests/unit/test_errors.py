"""The errors: what each says about a retry, and that none changes on its way between processes."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from airflow_provider_sftp_s3.engine import errors
from airflow_provider_sftp_s3.engine.errors import (
    ConfigurationError,
    ConnectionFailed,
    FileError,
    NotFound,
    ServerRefused,
    SftpS3Error,
    TransferError,
)
from airflow_provider_sftp_s3.engine.model import Outcome, Report
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from airflow_provider_sftp_s3.engine.sftp.protocol import Unsupported
from airflow_provider_sftp_s3.flows.settings import FlowError, Problem

pytestmark = pytest.mark.unit

KINDS = [
    each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if issubclass(each, SftpS3Error) and each is not SftpS3Error
]


def test_each_error_is_in_the_tree_at_the_top_of_the_file() -> None:
    """With the same parent as in the code: who catches one by that tree catches what it promises."""
    parents: list[tuple[int, str]] = []
    drawn = {}
    for line in str(errors.__doc__).partition("SftpS3Error\n")[2].splitlines():
        branch = max(line.find("├── "), line.find("└── "))
        if branch < 0:
            continue
        name = line[branch + 4 :].split()[0]
        while parents and parents[-1][0] >= branch:
            parents.pop()
        drawn[name] = parents[-1][1] if parents else "SftpS3Error"
        parents.append((branch, name))
    assert drawn == {kind.__name__: kind.__mro__[1].__name__ for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_each_error_says_one_of_three_things_about_a_retry(kind: type[SftpS3Error]) -> None:
    """Somebody has to change something; one file failed; or the whole is worth another try."""
    kinds = (ConfigurationError, FileError, ConnectionFailed, TransferError)
    assert sum(issubclass(kind, each) for each in kinds) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_each_error_is_the_same_in_another_process(kind: type[SftpS3Error]) -> None:
    """Airflow hands a task's error from one process to another."""
    report = Report("push", transferred=3)
    error = kind("what to change", report) if issubclass(kind, TransferError) else kind("what to change")
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is kind
    assert str(there) == "what to change"
    assert vars(there) == vars(error)


def test_what_an_error_knows_comes_along() -> None:
    """The connection that was lost, the request that was not answered, and what was done until then."""
    lost = pickle.loads(pickle.dumps(ConnectionFailed("silent", connection=3, unanswered=True)))
    assert (lost.connection, lost.unanswered, lost.given_up) == (3, True, False)
    refused = pickle.loads(pickle.dumps(ServerRefused("Failure", is_generic=True)))
    assert refused.is_generic
    wrong = ConfigurationError("no bucket")
    wrong.report = Report("pull", transferred=2)
    assert pickle.loads(pickle.dumps(wrong)).report.transferred == 2


def test_no_such_file_is_never_generic() -> None:
    """ "Failure" alone may stand for too many open files; "no such file" stands for itself."""
    assert not NotFound("no such file").is_generic


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
