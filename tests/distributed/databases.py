"""Databases that Airflow may have, with nothing in them: PostgreSQL's and MariaDB's own servers, on 127.0.0.1."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.distributed.system import PATIENCE, Process, postgres_tools
from tests.support.sftp_servers import free_port


def has_mariadb() -> bool:
    """Say whether MariaDB's programs are installed."""
    return bool(shutil.which("mariadbd") and shutil.which("mariadb-install-db") and shutil.which("mariadb"))


@contextmanager
def postgresql() -> Iterator[Mapping[str, str]]:
    """A PostgreSQL; yields the environment of an Airflow that has it for its database."""
    tools = postgres_tools()
    assert tools is not None
    port = free_port()
    with _directory("postgres") as (directory, as_user):
        data = str(directory / "data")
        _run([*as_user, str(tools / "initdb"), "--no-sync", "--auth=trust", "--username=airflow", "-EUTF8", data])
        serve = [str(tools / "postgres"), "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", str(directory), "-F"]
        create = [str(tools / "createdb"), "-h127.0.0.1", f"-p{port}", "-Uairflow", "airflow"]
        with _serving([*as_user, *serve], create):
            yield _environment(
                f"127.0.0.1:{port}/airflow", "postgresql+psycopg2://airflow@", "postgresql+asyncpg://airflow@"
            )


@contextmanager
def mariadb() -> Iterator[Mapping[str, str]]:
    """A MariaDB, with the longest packet that it takes by default; yields what :func:`postgresql` does."""
    port = free_port()
    with _directory("mysql") as (directory, as_user):
        data, socket = f"--datadir={directory / 'data'}", f"--socket={directory / 's'}"
        own = "--auth-root-authentication-method=normal"
        _run([*as_user, "mariadb-install-db", "--no-defaults", data, own, "--skip-test-db"])
        text = ("--character-set-server=utf8mb4", "--collation-server=utf8mb4_unicode_ci")
        serve = ["mariadbd", "--no-defaults", data, socket, f"--port={port}", "--bind-address=127.0.0.1", *text]
        sql = "create database airflow; grant all on airflow.* to airflow@'127.0.0.1' identified by 'secret'"
        create = ["mariadb", "--no-defaults", socket, "-uroot", "-e", sql]
        fast = "--innodb-flush-log-at-trx-commit=0"
        with _serving([*as_user, *serve, fast], create):
            where = f"127.0.0.1:{port}/airflow?charset=utf8mb4"
            yield _environment(where, "mysql+mysqldb://airflow:secret@", "mysql+aiomysql://airflow:secret@")


def _environment(where: str, sync: str, asynchronous: str) -> Mapping[str, str]:
    return {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": sync + where,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": asynchronous + where,
    }


@contextmanager
def _directory(user: str) -> Iterator[tuple[Path, Sequence[str]]]:
    """A directory of a server's own, and what goes before its command: neither runs as root."""
    directory, as_user = Path(tempfile.mkdtemp(prefix=f"{user}-")), []
    if os.geteuid() == 0:
        shutil.chown(directory, user, user)
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    try:
        yield directory, as_user
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _serving(command: Sequence[str], create: Sequence[str]) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as logs:
        process = Process(command, os.environ, Path(logs) / "log")
        try:
            _until(lambda: not subprocess.run(create, capture_output=True, cwd="/").returncode, process)
            yield
        finally:
            process.kill()


def _until(condition: Callable[[], bool], process: Process) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        process.check()
        assert time.monotonic() < deadline, process.log.read_text()[-3000:]
        time.sleep(0.2)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, cwd="/", capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr
