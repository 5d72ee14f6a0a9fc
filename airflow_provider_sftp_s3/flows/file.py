"""A flows.yaml -> the Dags of its flows, and the errors of those that make none."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_sftp_s3._compat import (
    DAG,
)
from airflow_provider_sftp_s3.flows.dag import _dag
from airflow_provider_sftp_s3.flows.entries import EntryError, FlowsFileError, read_entries
from airflow_provider_sftp_s3.flows.places import look_between
from airflow_provider_sftp_s3.flows.settings import FlowError, FlowsError, Problem, parse_flow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Flows:
    """
    What a flows.yaml has given: the good flows' Dags by name, and the errors of the others.

    :param warnings: of flows that go together only if their `include` and `exclude` are as they should be.
    """

    dags: dict[str, DAG] = field(default_factory=dict)
    errors: list[FlowError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def error(self) -> FlowsError | None:
        """All errors as one, with the message of each: the import error that Airflow shows. None: there is none."""
        return FlowsError("\n".join(str(error) for error in self.errors)) if self.errors else None


def load_flows(path: str | Path) -> Flows:
    """
    Return the Dags of the flows in a YAML file, and the errors of those that make none.

    For a Dag file, where Airflow looks for Dags among the global names::

        globals().update(load_flows(Path(__file__).with_name("flows.yaml")).dags)

    A second one beside it should call :func:`check_flows`, or the errors stand in the Dag processor's log only.

    :raises FlowsFileError: the file is missing, empty, no YAML, or no list.
    """
    path = Path(path)
    parsed: dict[str, tuple[int, str, dict[str, Any]]] = {}
    wrong: list[tuple[int, FlowError]] = []
    for position, entry in enumerate(read_entries(path), 1):
        where = f"{path.name}, line {entry.line}"
        try:
            flow = parse_flow(entry.read(), position=position, where=where)
            name = flow["name"]
            if name in parsed:
                taken = Problem("name", f"{name!r} is not allowed: a flow above has it. Allowed: a name of its own")
                raise FlowError(name, [taken], where)
            parsed[name] = (position, where, flow)
        except FlowError as error:
            wrong.append((position, error))
        except EntryError as unreadable:
            wrong.append((position, FlowError(entry.name or position, [Problem("", str(unreadable))], where)))
        except Exception as unforeseen:
            wrong.append((position, _unforeseen(entry.name or position, unforeseen, where)))
    between = look_between([flow for _, _, flow in parsed.values()])
    flows = Flows(warnings=between.warnings)
    for name, (position, where, flow) in parsed.items():
        try:
            if problems := between.problems.get(name):
                raise FlowError(name, problems, where)
            flows.dags[name] = _dag(flow)
        except FlowError as error:
            wrong.append((position, error))
        except Exception as unforeseen:  # Airflow's own objections: they, too, are this one flow's
            wrong.append((position, _unforeseen(name, unforeseen, where)))
    flows.errors.extend(error for _, error in sorted(wrong, key=lambda one: one[0]))
    for each in flows.errors:
        log.error("%s", each)
    return flows


def _unforeseen(flow: str | int, error: Exception, where: str) -> FlowError:
    return FlowError(flow, [Problem("", f"{type(error).__name__}: {error}")], where)


def check_flows(path: str | Path) -> None:
    """
    Raise what is wrong with the flows of a file, if anything is.

    A file of which nothing can be used is not reported: the Dag file that calls :func:`load_flows` fails by itself.

    :raises FlowsError: with the message of every flow that makes no Dag.
    """
    try:
        error = load_flows(path).error
    except FlowsFileError:
        return
    if error:
        raise error
