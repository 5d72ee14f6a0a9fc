"""
The system of docker-compose.yaml as plain processes on 127.0.0.1.

Commands and environment are compose's own; hosts, ports and paths alone are replaced (:meth:`System._replacements`).
PostgreSQL and Redis, whose images we do not make, are Debian's. Every process is the leader of a session, and nothing
of its session outlives :meth:`Process.kill`.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import boto3
import httpx
from botocore.config import Config

from matrix.rows import Row
from matrix.venvs import Venv
from tests.distributed.databases import PostgreSQL
from tests.distributed.process import PATIENCE, Process
from tests.support import compose
from tests.support.compose import REPOSITORY
from tests.support.ports import free_port

WORKERS = ("worker-1", "worker-2")
#: What runs until it is ended, in the order of its start.
SERVICES = ("s3", "sftp", "api-server", "scheduler", "dag-processor", "triggerer", *WORKERS)


class System:
    """
    All services, once :meth:`start` has returned: healthy by the checks of the compose file.

    :param directory: for everything they write.
    :param flows: more flows, beside those of demo/compose/flows.yaml; ``{sftp}`` in it is the SFTP server's directory.
    """

    def __init__(self, directory: Path, flows: str) -> None:
        self.directory = directory
        self.services: dict[str, dict[str, Any]] = compose.read()["services"]
        self.sftp_root = directory / "sftp"
        self.keys, self._home, self._logs = directory / "keys", directory / "airflow", directory / "logs"
        self._ports = {name: free_port() for name in ("postgres", "redis", "api-server", "sftp", "s3")}
        self._processes: dict[str, Process] = {}
        given = self.services["postgres"]["environment"]
        self._postgres = PostgreSQL(self._ports["postgres"], given["POSTGRES_USER"], given["POSTGRES_DB"])
        for made in (self.sftp_root, self.keys, self._logs, self._home / "dags"):
            made.mkdir(parents=True)
        for dag_file in (REPOSITORY / "dags").glob("*.py"):
            shutil.copy(dag_file, self._home / "dags")
        of_the_demo = (REPOSITORY / "demo/compose/flows.yaml").read_text().replace("/srv/sftp", str(self.sftp_root))
        (self._home / "dags/flows.yaml").write_text(of_the_demo + flows.format(sftp=self.sftp_root))
        self._venv = self._make_venv()
        address = f"http://127.0.0.1:{self._ports['api-server']}"
        self._api = httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False)

    def _make_venv(self) -> Path:
        """Install what the image holds, from the same files; return where its programs are."""
        dockerfile = (REPOSITORY / "demo/compose/Dockerfile").read_text()
        (python,) = re.findall(r"^FROM python:(\d+\.\d+)\.\d+-", dockerfile, re.MULTILINE)
        (constraints,) = set(re.findall(r"--constraint airflow-(\S+)\.txt", dockerfile))
        row = Row("compose", python, constraints)
        venv = Venv(row, self.directory / "venv", self._logs / "uv.log")
        requirements = str(REPOSITORY / "demo/compose/requirements.txt")
        venv.install("--constraint", str(row.constraints), "--requirements", requirements, str(REPOSITORY))
        return venv.python.parent

    # -- Start and end

    def start(self) -> None:
        """Start everything in compose's order, and return once all health checks are content."""
        self._processes["postgres"] = self._postgres.start(self._logs / "postgres.log")
        self.until(self._postgres.has_database, "PostgreSQL answers")
        redis = ["redis-server", "--bind", "127.0.0.1", "--port", str(self._ports["redis"]), "--save", ""]
        self._processes["redis"] = Process([*redis, "--dir", str(self.directory)], self._base, self._logs / "redis.log")
        self.run("init", self.services["init"]["command"])
        healthy = {"postgres", "redis", "init"}
        for name in SERVICES:
            for needed in self.services[name].get("depends_on") or ():
                if needed not in healthy:
                    self.until_healthy(needed)
                    healthy.add(needed)
            self.start_service(name)
        for name in set(SERVICES) - healthy:
            self.until_healthy(name)

    def start_service(self, name: str) -> None:
        """Start one service, or start it again."""
        command = self._replaced(self.services[name]["command"])
        self._processes[name] = Process(command, self.environment(name), self._logs / f"{name}.log")

    def until_healthy(self, name: str) -> None:
        """Wait for a service."""
        self.until(lambda: self.is_healthy(name), f"{name} is healthy")

    def is_healthy(self, name: str) -> bool:
        """Run a service's health check."""
        kind, *check = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return not self._called(name, check).returncode

    def run(self, name: str, command: Sequence[str]) -> None:
        """Run a command to its end as a service would."""
        done = self._called(name, command)
        assert done.returncode == 0, done.stdout[-3000:]

    def _called(self, name: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._replaced(command),
            cwd=REPOSITORY,
            env=self.environment(name),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave no process behind."""
        self._api.close()
        for name, process in reversed(self._processes.items()):
            process.kill(first=signal.SIGQUIT if name == "postgres" else None)
        self._postgres.remove()

    # -- What compose says, here

    def environment(self, name: str) -> dict[str, str]:
        """Return a service's environment."""
        given = self.services[name].get("environment") or {}
        return self._base | {variable: self._replaced([value])[0] for variable, value in given.items()}

    @property
    def _base(self) -> dict[str, str]:
        path = os.pathsep.join([str(self._venv), os.environ["PATH"], "/usr/sbin"])
        return {"PATH": path, "HOME": str(self.directory), "LANG": "C.UTF-8", "NO_PROXY": "*"}

    def replacements(self) -> list[tuple[str, str]]:
        """Return which text of compose's stands for which here. A number stands for itself as a whole argument only."""
        ports = {name: str(port) for name, port in self._ports.items()}
        sftp_login = '"host": "%s", "port": %s, "login": "%s"'
        return [
            ("postgres:5432", f"127.0.0.1:{ports['postgres']}"),
            ("redis:6379", f"127.0.0.1:{ports['redis']}"),
            ("api-server:8080", f"127.0.0.1:{ports['api-server']}"),
            ("127.0.0.1:8080", f"127.0.0.1:{ports['api-server']}"),
            ("8080", ports["api-server"]),
            (sftp_login % ("sftp", 22, "demo"), sftp_login % ("127.0.0.1", ports["sftp"], getpass.getuser())),
            ("sftp:22", f"127.0.0.1:{ports['sftp']}"),
            ("-p22", f"-p{ports['sftp']}"),
            ("22", ports["sftp"]),
            # A name and no address: what is asked of a host with a name is not asked of an address.
            ("//s3:5000", f"//localhost:{ports['s3']}"),
            ("127.0.0.1:5000", f"127.0.0.1:{ports['s3']}"),
            ("5000", ports["s3"]),
            ("0.0.0.0", "127.0.0.1"),
            ("/opt/airflow", str(self._home)),
            ("/keys", str(self.keys)),
            ("/srv/sftp", str(self.sftp_root)),
        ]

    def _replaced(self, texts: Sequence[str]) -> list[str]:
        result = []
        for text in texts:
            for old, new in self.replacements():
                text = (new if text == old else text) if old.isdigit() else text.replace(old, new)
            result.append(text)
        return result

    # -- What the tests look at

    def until(self, probe: Callable[[], Any], what: str) -> None:
        """Wait until `probe` returns something. :raises AssertionError: it takes too long, or a process has ended."""
        deadline = time.monotonic() + PATIENCE
        while not probe():
            for process in self._processes.values():
                process.check()
            assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}"
            time.sleep(0.1)

    @contextlib.contextmanager
    def s3_paused(self) -> Iterator[None]:
        """Let no transfer get ahead within the block."""
        self._processes["s3"].pause()
        try:
            yield
        finally:
            self._processes["s3"].resume()

    def kill(self, worker: str) -> None:
        """Kill a worker with its tasks; :meth:`start_service` starts it again."""
        self._processes.pop(worker).kill()

    def s3(self) -> Any:
        """Return a boto3 client."""
        given = json.loads(self.environment("worker-1")["AIRFLOW_CONN_AWS_DEFAULT"])
        return boto3.client(
            "s3",
            **given["extra"],
            aws_access_key_id=given["login"],
            aws_secret_access_key=given["password"],
            config=Config(max_pool_connections=32),
        )

    def api(self, method: str, path: str, **json_body: Any) -> Any:
        """Return what Airflow's REST API answers; None while it does not know of what is asked for."""
        if "Authorization" not in self._api.headers:
            token = self._api.get("/auth/token").raise_for_status().json()["access_token"]
            self._api.headers["Authorization"] = f"Bearer {token}"
        answer = self._api.request(method, f"/api/v2/{path}", json=json_body or None)
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()

    def query(self, sql: str) -> list[str]:
        """Return the rows of a query on Airflow's database, as text."""
        command = ["psql", "-h127.0.0.1", f"-p{self._ports['postgres']}", "-Uairflow", "-Atc", sql, "airflow"]
        return subprocess.run(command, env=self._base, capture_output=True, text=True, check=True).stdout.splitlines()

    def tasks(self, dag: str) -> str:
        """Return how a Dag's task instances are doing, for whoever reads why a test has failed."""
        columns = "task_id, map_index, try_number, state, start_date, end_date, external_executor_id"
        return "\n".join(self.query(f"select {columns} from task_instance where dag_id = '{dag}' order by start_date"))

    def running(self, dag: str, task: str) -> dict[str, int]:
        """Return how many of a task's instances run on each worker."""
        where = f"where dag_id = '{dag}' and task_id = '{task}' and state = 'running'"
        ids = self.query(f"select external_executor_id from task_instance {where}")
        logs = {worker: (self._logs / f"{worker}.log").read_text() for worker in WORKERS}
        return {worker: sum(f"[{each}] received" in log for each in ids) for worker, log in logs.items()}
