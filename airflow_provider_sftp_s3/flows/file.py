"""A flows.yaml -> the Dags of its flows, and the errors of those that make none."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from airflow_provider_sftp_s3._compat import DAG, get_parsing_context, has_policies
from airflow_provider_sftp_s3.flows.dag import build
from airflow_provider_sftp_s3.flows.entries import Entry, FlowsFileError, read_entries
from airflow_provider_sftp_s3.flows.expand import expand
from airflow_provider_sftp_s3.flows.expected import SUFFIX, build_expected
from airflow_provider_sftp_s3.flows.loader import EntryError
from airflow_provider_sftp_s3.flows.places import look_between
from airflow_provider_sftp_s3.flows.settings import FlowError, FlowsError, Problem, parse_flow, problems_of_defaults

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
        return FlowsError.of(self.errors)


class Settings(NamedTuple):
    """The settings of one good flow, and where it stands: file and line."""

    flow: Mapping[str, Any]
    where: str


@dataclass(frozen=True)
class Read:
    """What stands in a flows.yaml, with no Dag made of it: the good flows by name, and the errors of the others."""

    flows: dict[str, Settings] = field(default_factory=dict)
    errors: list[FlowError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def load_flows(path: str | Path) -> Flows:
    """
    Return the Dags of the flows in a YAML file, and the errors of those that make none.

    For a Dag file, where Airflow looks for Dags among the global names::

        globals().update(load_flows(Path(__file__).with_name("flows.yaml")).dags)

    A second one beside it should call :func:`check_flows`, or the errors stand in the Dag processor's log only. Where
    Airflow asks for one Dag, as it does at the start of each task, no other one is made.

    :raises FlowsFileError: the file is missing, empty, no YAML, no list, or its defaults are broken.
    """
    asked_for = get_parsing_context().dag_id
    # Of a flow that is called so itself, the shorter name is a part.
    flows = dags_of(read_flows(path, asked_for and asked_for.removesuffix(SUFFIX)), asked_for)
    for error in flows.errors:
        log.error("%s", error)
    return flows


def dags_of(read: Read, asked_for: str | None = None) -> Flows:
    """
    Return the Dags of what was read, with its errors and warnings, and with what Airflow itself refuses.

    :param asked_for: make no other Dag than this one.
    """
    flows = Flows(errors=list(read.errors), warnings=read.warnings)
    for name, found in read.flows.items():
        try:
            flows.dags.update(_dags_of(found.flow, asked_for))
        except Exception as unforeseen:
            flows.errors.append(_refused(name, found.where, unforeseen))
    return flows


def _dags_of(flow: Mapping[str, Any], asked_for: str | None = None) -> dict[str, DAG]:
    """
    Return the Dag of a flow, and that of its expected files, by their names; of both none, where one is refused.

    :param asked_for: leave out what is not called so.
    """
    name = flow["name"]
    makers = {name: build} | ({f"{name}{SUFFIX}": build_expected} if "expected_files" in flow else {})
    return {each: make(flow) for each, make in makers.items() if asked_for in (None, each)}


def check_flows(path: str | Path) -> None:
    """
    Raise what is wrong with the flows of a file, if anything is.

    No Dags are made for it but where a cluster policy may refuse some. A file of which nothing can be used is not
    reported: the Dag file that calls :func:`load_flows` fails by itself.

    :raises FlowsError: with the message of every flow that makes no Dag.
    """
    try:
        read = read_flows(path)
    except FlowsFileError:
        return
    if error := FlowsError.of(dags_of(read).errors if has_policies() else read.errors):
        raise error


def read_flows(path: str | Path, flow: str | None = None) -> Read:
    """
    Return the settings of the good flows of a file, and the errors of the others; no Dags are made.

    :param flow: read this one, and of the others no more than that takes.
    :raises FlowsFileError: as :func:`load_flows`.
    """
    path = Path(path)
    found = read_entries(path, flow)
    if wrong := problems_of_defaults(found.defaults):
        raise FlowsFileError("\n".join(f"{path.name}: defaults: {problem}" for problem in wrong))
    read = Read()
    taken: dict[str, str] = {}
    for entry in found.entries:
        for one in _flows_of(entry, found.defaults, f"{path.name}, line {entry.line}", read.errors):
            name = one.flow["name"]
            dags = [name, *([f"{name}{SUFFIX}"] if "expected_files" in one.flow else [])]
            # Two that differ in case only are one to MySQL.
            clashes = [(each, taken[each.lower()]) for each in dags if each.lower() in taken]
            for each, other in clashes[:1]:
                same = "" if other == each else f", but for upper and lower case: {other!r}"
                problem = f"{each!r} is not allowed: a flow above has it{same}. Allowed: a name of its own"
                read.errors.append(FlowError(name, [Problem("name", problem)], one.where))
            if not clashes:
                taken.update({each.lower(): each for each in dags})
                read.flows[name] = one
    between = look_between([one.flow for one in read.flows.values()])
    read.warnings.extend(between.warnings)
    for name, problems in between.problems.items():
        read.errors.append(FlowError(name, problems, read.flows.pop(name).where))
    return read


def _flows_of(entry: Entry, defaults: Mapping[str, Any], where: str, errors: list[FlowError]) -> list[Settings]:
    """Return the good flows that an entry stands for, and add the errors of the others; those that are alike once."""
    good: list[Settings] = []
    wrong: dict[tuple[Problem, ...], list[FlowError]] = {}
    try:
        for settings in expand(entry.read(), defaults, entry.text):
            try:
                good.append(Settings(parse_flow(settings, position=entry.position, where=where), where))
            except FlowError as error:
                wrong.setdefault(error.problems, []).append(error)
    except EntryError as unreadable:
        errors.append(FlowError(entry.name or entry.position, [Problem("", str(unreadable))], where))
    except Exception as unforeseen:
        errors.append(_refused(entry.name or entry.position, where, unforeseen))
    for alike in wrong.values():
        first = alike[0]
        errors.append(FlowError(first.flow, first.problems, where, first.fields, len(alike) - 1))
    return good


def _refused(flow: str | int, where: str, unforeseen: Exception) -> FlowError:
    """Return an objection of Airflow's own, or of a cluster policy, as the flow's error that it is."""
    return FlowError(flow, [Problem("", f"{type(unforeseen).__name__}: {unforeseen}")], where)
