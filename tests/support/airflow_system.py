"""A whole Airflow 3, from API server to triggerer, with Dags of a test's own, asked by its REST API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import httpx

from demo.ports import claim_ports
from demo.standalone import Airflow, AirflowError

T = TypeVar("T")

REPOSITORY = Path(__file__).parents[2]

#: Seconds until a wait fails; nothing takes a thirtieth of it on a machine that has nothing else to do.
TIMEOUT = 900.0


class AirflowSystem(Airflow):
    """
    The demo's Airflow, with other Dags.

    :param directory: for its home and its log.
    :param connections: Airflow's connections by id, as dicts.
    :param dag_files: the Dags folder: file name -> text.
    :param base_path: what its address has after host and port, such as ``/airflow``.
    :param users: who may sign in, and their roles; none: there is no signing in, and everybody is an admin. The first
        of them asks what this class asks.
    :param environment: of all its processes, besides, such as another database; none: SQLite.
    """

    def __init__(
        self,
        directory: Path,
        connections: Mapping[str, Mapping[str, Any]],
        dag_files: Mapping[str, str],
        *,
        base_path: str = "",
        users: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        ports = claim_ports()
        #: Held until the end: who lets go of it early shares its ports with the next who claims some.
        self._claim = ports.sftp
        # Those of the Airflow that the tests themselves import.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        with mock.patch.dict(os.environ, kept, clear=True):
            super().__init__(directory, ports, connections)
        # What takes longer than it waits for is done all the same, and it would start a second run.
        self._api.timeout = httpx.Timeout(TIMEOUT)
        # The defaults are few seconds on a busy machine.
        self._api.timeout = 60
        self._environment |= {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db?timeout=120",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "120",
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
            "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "300",
            **(environment or {}),
        }
        dags = self.home / "dags"
        dags.mkdir(parents=True)
        for name, text in dag_files.items():
            (dags / name).write_text(text)
        self._base_path = base_path
        self._users = dict(users or {})
        if base_path:
            self.url += base_path
            self._api.base_url = self.url
            self._environment |= {
                "AIRFLOW__API__BASE_URL": self.url,
                "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            }
        if users:
            passwords = self.home / "passwords.json"
            passwords.write_text(json.dumps({user: f"password of {user}" for user in users}))
            self._environment |= {
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in users.items()),
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            }

    def api_server(
        self, directory: Path, visible: Mapping[str, Sequence[str]], blind: Sequence[str] = ()
    ) -> AirflowSystem:
        """
        Return one more API server of this Airflow, to be started with ``api-server``.

        :param visible: the ids of the Dags that a user may see. `airflow standalone` takes no such auth manager.
        :param blind: users who may see neither XComs nor logs nor assets.
        """
        other = AirflowSystem(directory, {}, {}, base_path=self._base_path, users=self._users)
        own = ("AIRFLOW__API__BASE_URL", "AIRFLOW__API__PORT", "AIRFLOW__CORE__EXECUTION_API_SERVER_URL")
        other._environment = self._environment | {name: other._environment[name] for name in own}
        other._environment |= {
            "AIRFLOW__CORE__AUTH_MANAGER": "tests.support.few_dags.FewDags",
            "FEW_DAGS_BLIND": json.dumps(list(blind)),
            "FEW_DAGS": json.dumps({user: list(dags) for user, dags in visible.items()}),
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
        }
        return other

    def token_of(self, user: str) -> str | None:
        """Return what the browser of a user who has signed in sends as the cookie ``_token``; None: no answer yet."""
        try:
            credentials = {"username": user, "password": f"password of {user}"}
            answer = self._api.post("/auth/token", json=credentials).raise_for_status()
        except httpx.HTTPError:
            return None
        return str(answer.json()["access_token"])

    def token(self, user: str) -> str:
        """Return the same, once there is an answer: on a busy machine one may fail."""
        return self.wait(lambda: self.token_of(user))

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        if self._users and "Authorization" not in self._api.headers:
            self.check()
            token = self.token_of(next(iter(self._users)))
            if token is None:
                return None
            self._api.headers["Authorization"] = f"Bearer {token}"
        return super()._ask(method, path, **options)

    def change(self, script: str, *arguments: str) -> None:
        """Run some Python with this Airflow's own models, to put into its database what takes days to come about."""
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=self.home,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def shell(self, line: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a line in a shell in which the command ``airflow`` works with this Airflow."""
        environment = self._environment | {"PYTHONPATH": str(REPOSITORY)}
        command = ["bash", "-c", line]
        return subprocess.run(command, cwd=cwd or self.home, env=environment, capture_output=True, text=True)

    def stop(self) -> None:
        """End every process of Airflow's, and give its ports back."""
        super().stop()
        self._claim.close()

    def command(self, *arguments: str) -> None:
        """Run ``airflow ...``. Before the start: SQLite refuses a long transaction if another has written meanwhile."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            cwd=self.home,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def wait(self, condition: Callable[[], T | None]) -> T:
        """Return the first of the condition's answers that is true."""
        deadline = time.monotonic() + TIMEOUT
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{condition} is not true; Airflow's log ends:\n{self.log.read_text()[-5000:]}")
            time.sleep(0.5)
        return found

    def pause(self, dag: str) -> bool:
        """Have a Dag begin no more runs; return True once Airflow has agreed."""
        return bool(self.wait(lambda: self._ask("PATCH", f"dags/{dag}", json={"is_paused": True})))

    def trigger(self, dag: str, **conf: Any) -> str:
        """
        Start a run with no logical date; return its id.

        :param conf: what is filled into the trigger form.
        :raises AirflowError: Airflow refuses it.
        """
        # With an id of ours: where no answer comes in time, to ask again is not to start another one.
        run = f"manual__{datetime.now(UTC).isoformat()}"
        body = {"dag_run_id": run, "logical_date": None, "conf": conf}

        def has_begun() -> bool:
            try:
                return bool(self._ask("POST", f"dags/{dag}/dagRuns", json=body))
            except AirflowError as refused:
                if "was answered with 409" not in str(refused):
                    raise
                return True

        self.wait(has_begun)
        return run

    def end_of(self, dag: str, run: str) -> str:
        """Wait until a run has ended; return its state."""
        path = f"dags/{dag}/dagRuns/{urllib.parse.quote(run)}"

        def ended() -> str | None:
            state = (self.get(path) or {}).get("state")
            return state if state in ("success", "failed") else None

        return self.wait(ended)

    def run(self, dag: str, **conf: Any) -> str:
        """Start a run, wait until it has ended, and return its state."""
        return self.end_of(dag, self.trigger(dag, **conf))

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """Return all runs of a Dag, as the API gives them."""
        return list(self._answer(f"dags/{dag}/dagRuns", limit=100)["dag_runs"])

    def tasks(self, dag: str, run: str) -> dict[tuple[str, int], str]:
        """Return the states of a run's task instances by task id and map index."""
        found = self._answer(f"dags/{dag}/dagRuns/{urllib.parse.quote(run)}/taskInstances", limit=100)
        return {(each["task_id"], each["map_index"]): each["state"] for each in found["task_instances"]}

    def events_of(self, uri: str) -> int:
        """Return how many of the latest 100 events are of the asset of that URI."""
        events = self._answer("assets/events", limit=100, order_by="-timestamp")["asset_events"]
        return sum(event["uri"].rstrip("/") == uri for event in events)

    def _answer(self, path: str, **query: Any) -> Any:
        """Ask until there is an answer: on a busy machine a request may fail, which must not pass for 'nothing'."""
        return self.wait(lambda: self.get(path, **query))
