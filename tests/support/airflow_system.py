"""A whole Airflow 3, from API server to triggerer, with Dags of a test's own, asked by its REST API."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from demo.ports import claim_ports
from demo.standalone import Airflow

T = TypeVar("T")

#: Seconds until a wait fails; nothing takes a tenth of it on a machine that has nothing else to do.
TIMEOUT = 300.0


class AirflowSystem(Airflow):
    """
    The demo's Airflow, with other Dags.

    :param directory: for its home and its log.
    :param connections: Airflow's connections by id, as dicts.
    :param dag_files: the Dags folder: file name -> text.
    """

    def __init__(
        self, directory: Path, connections: Mapping[str, Mapping[str, Any]], dag_files: Mapping[str, str]
    ) -> None:
        ports = claim_ports()
        #: Held until the end: who lets go of it early shares its ports with the next who claims some.
        self._claim = ports.sftp
        # Those of the Airflow that the tests themselves import.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        with mock.patch.dict(os.environ, kept, clear=True):
            super().__init__(directory, ports, connections)
        # The defaults are few seconds on a busy machine.
        self._environment |= {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db?timeout=120",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "120",
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
        }
        dags = self.home / "dags"
        dags.mkdir(parents=True)
        for name, text in dag_files.items():
            (dags / name).write_text(text)

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

    def trigger(self, dag: str, **conf: Any) -> str:
        """
        Start a run with no logical date; return its id.

        :param conf: what is filled into the trigger form.
        :raises AirflowError: Airflow refuses it.
        """
        run = self.wait(lambda: self._ask("POST", f"dags/{dag}/dagRuns", json={"logical_date": None, "conf": conf}))
        return str(run["dag_run_id"])

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
