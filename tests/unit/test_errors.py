"""The errors: what each says about a retry, and that none changes on its way between processes."""

from __future__ import annotations

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
from airflow_provider_sftp_s3.engine.model import Report

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
