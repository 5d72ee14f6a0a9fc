"""``airflow standalone`` with a home of its own, its REST API, and its end."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from demo.ports import HOST, Ports

#: Seconds that Airflow gets to end by itself. Its state is thrown away, and it would take a quarter of a minute.
GRACE = 3.0


class AirflowError(Exception):
    """Airflow has ended, or does not take the Dags."""


class Airflow:
    """
    Airflow's processes: none of them outlives :meth:`stop`.

    :param state: directory for its home (``airflow``) and its log (``airflow.log``).
    :param ports: its ports.
    :param connections: Airflow's connections by id, as dicts.
    """

    def __init__(self, state: Path, ports: Ports, connections: Mapping[str, Mapping[str, Any]]) -> None:
        self.home = state / "airflow"
        self.log = state / "airflow.log"
        self.url = f"http://{HOST}:{ports.airflow}"
        #: The ports on which its parts serve logs: on all addresses, for which Airflow has no setting.
        self.log_servers = ports.logs
        self._environment = os.environ | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": HOST,
            "AIRFLOW__API__PORT": str(ports.airflow),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.home / "dags"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(ports.logs[0]),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports.logs[1]),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in connections.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._api = httpx.Client(base_url=self.url, timeout=10, trust_env=False)

    def start(self, command: str = "standalone") -> None:
        """Start ``airflow <command>``; return at once."""
        _adopt_orphans()
        with self.log.open("ab") as log:
            # In a session of its own: Ctrl-C goes to this process alone, and what Airflow starts can be found by it.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "airflow", command],
                cwd=self.home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End every process of Airflow's; return when there is none. Does nothing if it was not started."""
        self._api.close()
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + GRACE
        while processes := self._processes():
            if time.monotonic() > deadline:
                for process in processes:
                    _kill(process)
            time.sleep(0.1)
            self._process.poll()
        self._process.wait()
        _bury_orphans()

    def _processes(self) -> list[int]:
        """Return all processes of Airflow's session: tasks leave its process group, orphans their parent."""
        assert self._process is not None
        return [pid for pid in psutil.pids() if _session(pid) == self._process.pid and not _is_zombie(pid)]

    def check(self) -> None:
        """Do nothing while Airflow runs. :raises AirflowError: it does no more."""
        if self._process is None or self._process.poll() is not None:
            raise AirflowError("Airflow has ended by itself")

    # -- Its REST API. Everything returns None while it does not answer, and raises AirflowError if it never will.

    def has_dags(self, dags: Iterable[str]) -> bool | None:
        """Return True once Airflow knows these Dags. :raises AirflowError: one cannot be loaded."""
        errors = self.get("importErrors")
        if errors and errors["import_errors"]:
            raise AirflowError(errors["import_errors"][0]["stack_trace"])
        return all(self.get(f"dags/{dag}") for dag in dags) or None

    def unpause(self, dags: Iterable[str]) -> bool | None:
        """Let Dags run; return True if Airflow agreed."""
        return all(self._ask("PATCH", f"dags/{dag}", json={"is_paused": False}) for dag in dags) or None

    def xcom(self, instance: Mapping[str, Any], key: str) -> Any:
        """Return what a task instance, as the API gives it, has left in XCom; None if there is nothing."""
        run = f"dags/{instance['dag_id']}/dagRuns/{instance['dag_run_id']}"
        path = f"{run}/taskInstances/{instance['task_id']}/xcomEntries/{key}"
        answer = self.get(path, map_index=instance["map_index"], deserialize=True)
        return answer and answer["value"]

    def get(self, path: str, **query: Any) -> Any:
        """Return what ``/api/v2/<path>`` answers; None where there is nothing."""
        return self._ask("GET", path, params=query)

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        self.check()
        try:
            if "Authorization" not in self._api.headers:
                token = self._api.get("/auth/token").raise_for_status().json()["access_token"]
                self._api.headers["Authorization"] = f"Bearer {token}"
            answer = self._api.request(method, f"/api/v2/{path}", **options)
        except httpx.TransportError:
            return None
        except httpx.HTTPStatusError:
            return None
        if answer.status_code == httpx.codes.NOT_FOUND or answer.is_server_error:
            return None
        if answer.is_error:
            raise AirflowError(f"{method} {answer.url} was answered with {answer.status_code}: {answer.text}")
        return answer.json()


def _adopt_orphans() -> None:
    """
    Have what Airflow's processes leave behind come to this process, where the system can do that: Linux.

    Elsewhere it comes to the system's first process, which in many containers never asks how a child has ended, so that
    dead ones would stay in the list of processes.
    """
    if sys.platform == "linux":
        set_child_subreaper = 36  # PR_SET_CHILD_SUBREAPER of <linux/prctl.h>
        ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def _bury_orphans() -> None:
    with contextlib.suppress(ChildProcessError):  # there is none left
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
