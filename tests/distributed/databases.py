"""A PostgreSQL on 127.0.0.1, with nothing in it."""

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


@contextmanager
def postgresql() -> Iterator[Mapping[str, str]]:
    """A PostgreSQL; yields the environment of an Airflow that has it for its database."""
    tools = postgres_tools()
    assert tools is not None
    port = free_port()
    with _directory() as (directory, as_user):
        data = str(directory / "data")
        _run([*as_user, str(tools / "initdb"), "--no-sync", "--auth=trust", "--username=airflow", "-EUTF8", data])
        serve = [str(tools / "postgres"), "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", str(directory), "-F"]
        create = [str(tools / "createdb"), "-h127.0.0.1", f"-p{port}", "-Uairflow", "airflow"]
        with _serving([*as_user, *serve], create):
            where = f"airflow@127.0.0.1:{port}/airflow"
            yield {
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{where}",
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://{where}",
            }


@contextmanager
def _directory() -> Iterator[tuple[Path, Sequence[str]]]:
    """A directory of the server's own, and what goes before its commands: it does not run as root."""
    directory, as_user = Path(tempfile.mkdtemp(prefix="postgres-")), []
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
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
