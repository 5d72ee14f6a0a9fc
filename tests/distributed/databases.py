"""A PostgreSQL on 127.0.0.1, whose programs are the system's."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.distributed.process import PATIENCE, Process
from tests.support.ports import free_port

#: Its messages are in English.
ENVIRONMENT = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


def postgres_tools() -> Path | None:
    """Return where PostgreSQL's newest programs are, None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class PostgreSQL:
    """
    A PostgreSQL with one database and nothing in it.

    :param port: on 127.0.0.1.
    :param user: who owns the database, and needs no password.
    """

    def __init__(self, port: int, user: str, database: str) -> None:
        tools = postgres_tools()
        assert tools is not None
        self._tools = tools
        self._port, self._user, self._database = str(port), user, database
        self._directory = Path(tempfile.mkdtemp(prefix="postgres-"))

    def start(self, log: Path) -> Process:
        """Make its files, and return the process that serves them, to be ended by whoever has it."""
        as_user: Sequence[str] = ()
        if os.geteuid() == 0:  # it refuses to run as root
            shutil.chown(self._directory, "postgres", "postgres")
            as_user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
        directory, data = str(self._directory), str(self._directory / "data")
        make = [str(self._tools / "initdb"), "--no-sync", "--auth=trust", f"--username={self._user}", "-EUTF8", data]
        done = subprocess.run([*as_user, *make], env=ENVIRONMENT, cwd="/", capture_output=True, text=True)
        assert not done.returncode, done.stdout + done.stderr
        serve = [str(self._tools / "postgres"), "-D", data, "-p", self._port, "-h", "127.0.0.1", "-k", directory, "-F"]
        return Process([*as_user, *serve], ENVIRONMENT, log)

    def has_database(self) -> bool:
        """Make the database; say whether it answers by now."""
        create = [str(self._tools / "createdb"), "-h127.0.0.1", f"-p{self._port}", f"-U{self._user}", self._database]
        return not subprocess.run(create, env=ENVIRONMENT, cwd="/", capture_output=True).returncode

    def remove(self) -> None:
        """Remove its files; its process has ended."""
        shutil.rmtree(self._directory, ignore_errors=True)


@contextmanager
def postgresql() -> Iterator[Mapping[str, str]]:
    """A PostgreSQL; yields the environment of an Airflow that has it for its database."""
    port = free_port()
    server = PostgreSQL(port, "airflow", "airflow")
    with tempfile.TemporaryDirectory() as logs:
        process = server.start(Path(logs) / "log")
        try:
            deadline = time.monotonic() + PATIENCE
            while not server.has_database():
                process.check()
                assert time.monotonic() < deadline, process.log.read_text()[-3000:]
                time.sleep(0.2)
            where = f"airflow@127.0.0.1:{port}/airflow"
            yield {
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{where}",
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://{where}",
            }
        finally:
            process.kill()
            server.remove()
