"""What a program may import, and what it costs."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_provider_sftp_s3
from airflow_provider_sftp_s3 import engine

pytestmark = pytest.mark.unit

PACKAGES = [airflow_provider_sftp_s3, engine]
HEAVY = {"airflow", "asyncssh", "obstore", "aiohttp", "boto3", "botocore"}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_public_name_is_there(package: object) -> None:
    """To mypy and at run time alike: the names that a type checker imports are those that are there when asked for."""
    source = Path(str(package.__file__)).read_text()  # type: ignore[attr-defined]
    typed = {
        alias.name: node.module
        for block in ast.parse(source).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    public = set(package.__all__) - {"__version__"}  # type: ignore[attr-defined]
    assert set(typed) == public
    assert dir(package) == sorted(package.__all__)  # type: ignore[attr-defined]
    for name, module in typed.items():
        assert getattr(package, name) is getattr(importlib.import_module(str(module)), name)
        assert (getattr(package, name).__doc__ or "").strip(), f"{name} has no docstring"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_another_name_is_an_attribute_error(package: object) -> None:
    with pytest.raises(AttributeError, match=r"module 'airflow_provider_sftp_s3\S*' has no attribute 'Nonsense'"):
        _ = package.Nonsense  # type: ignore[attr-defined]


def imported(code: str) -> set[str]:
    """Return which heavy libraries a process has imported that has run `code`."""
    code += f"\nimport sys; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


def test_importing_a_package_imports_no_library() -> None:
    """Nor do the names that describe a transfer."""
    names = "PullSettings, PushSettings, TransferOptions, LogObserver, Report, TransferError"
    assert imported(f"import airflow_provider_sftp_s3; from airflow_provider_sftp_s3.engine import {names}") == set()


def test_a_dag_file_imports_nothing_that_only_a_run_needs() -> None:
    """Airflow parses it again and again."""
    code = """
from datetime import timedelta
from airflow_provider_sftp_s3 import S3ToSftpOperator, SftpS3Hook, SftpTreeToS3Operator, TransferOptions
SftpTreeToS3Operator(task_id="a", sftp_path="/", s3_bucket="bkt", retention=timedelta(1), options=TransferOptions())
S3ToSftpOperator.partial(task_id="b", sftp_path="/", s3_bucket="bkt").expand(s3_keys=["a"])
SftpS3Hook()
"""
    assert imported(code) == {"airflow"}


def test_the_engine_says_where_each_of_its_files_comes_in() -> None:
    """A file that the engine's docstring does not name is one that a stranger has to guess at."""
    root = Path(engine.__file__).parent
    modules = {path.stem for path in root.rglob("*.py")} - {"__init__"}
    assert modules - set(re.findall(r"`(\w+)`", engine.__doc__ or "")) == set()
