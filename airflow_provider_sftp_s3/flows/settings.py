"""A flow's fields -> its settings, checked and converted, or all that is wrong with them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_sftp_s3.flows.fields import ALL_FIELDS, FIELDS, RUN_FIELDS, Field
from airflow_provider_sftp_s3.flows.rules import RULES

#: Characters of a wrong value that an error shows.
MAX_SHOWN = 1000


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a flow: in which field, and what to write there."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class FlowError(ValueError):
    """
    A flow that makes no Dag.

    :param flow: its name or, where it has no usable one, its position in the file.
    :param problems: everything that is wrong with it.
    :param where: file and line, where they are known.
    """

    def __init__(self, flow: str | int, problems: Iterable[Problem], where: str = "") -> None:
        self.flow, self.problems, self.where = flow, tuple(problems), where
        start = f"{where}: " if where else ""
        called = repr(flow) if isinstance(flow, str) else f"number {flow}"
        super().__init__("\n".join(f"{start}flow {called}: {problem}" for problem in self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.flow, self.problems, self.where)


class FlowsError(ValueError):
    """Some flows of a file make no Dag. The message holds that of each."""


def parse_flow(settings: Any, *, position: int = 1, where: str = "") -> dict[str, Any]:
    """
    Return a flow's settings, checked and converted; an operator's argument that is not set is left out.

    :param settings: the fields as in flows.yaml, as text or as Python values. None stands for "not set".
    :param position: names the flow, from 1, where its name cannot.
    :param where: file and line, for the error.
    :raises FlowError: naming the flow and, for everything wrong, the field, the value and what is allowed.
    """
    if not isinstance(settings, Mapping):
        found = Problem(
            "", f"{_shown(settings)} is no flow. Allowed: fields with values, the first of them '- name: ...'"
        )
        raise FlowError(position, [found], where)
    direction = settings.get("direction")
    fields = FIELDS.get(direction, ALL_FIELDS) if isinstance(direction, str) else ALL_FIELDS
    flow: dict[str, Any] = {}
    problems = [_unknown_field(name, direction, fields) for name in settings if name not in fields]
    for name, known in fields.items():
        raw = settings.get(name)
        if raw is not None:
            try:
                flow[name] = known.parse(raw)
            except Exception as error:  # a library's own objections: they, too, are about this field
                said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                reason = f": {said}" if said else ""
                problems.append(Problem(name, f"{_shown(raw)} is not allowed{reason}. Allowed: {known.allowed}"))
        elif known.required:
            problems.append(Problem(name, f"missing. Allowed: {known.allowed}"))
        elif name in RUN_FIELDS or known.default is not None:
            flow[name] = known.default
    if not problems:
        problems = [Problem(rule.field, rule.message) for rule in RULES if rule.broken(flow)]
    if problems:
        raise FlowError(flow.get("name", position), problems, where)
    return flow


def _shown(value: Any) -> str:
    """Return a value as Python writes it, cut where it is long: it goes into the UI."""
    try:
        shown = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deep"
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}..."


def _unknown_field(name: Any, direction: Any, fields: Mapping[str, Field]) -> Problem:
    if name in ALL_FIELDS:
        other = "push" if direction == "pull" else "pull"
        return Problem(name, f"only a {other} flow has this field. Allowed in a {direction}: {', '.join(fields)}")
    near = difflib.get_close_matches(str(name), fields, 1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return Problem(str(name), f"there is no such field. {hint}Allowed: {', '.join(fields)}")
