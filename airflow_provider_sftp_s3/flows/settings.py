"""A flow's fields -> its settings, checked and converted, or all that is wrong with them."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.paths import printable
from airflow_provider_sftp_s3.engine.settings import PullSettings
from airflow_provider_sftp_s3.flows.fields import ALL_FIELDS, FIELDS, OPERATORS, RUN_FIELDS, Field
from airflow_provider_sftp_s3.flows.rules import RULES
from airflow_provider_sftp_s3.flows.values import zone

#: Characters of a wrong value that an error shows.
MAX_SHOWN = 1000
#: Bytes of an import error: MySQL takes 65,535, with Airflow's own lines.
MAX_ERROR = 50_000


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
    :param fields: a sentence on the fields that there are, where one is unknown.
    :param others: how many more flows of the same entry have the same problems.
    """

    def __init__(
        self, flow: str | int, problems: Iterable[Problem], where: str = "", fields: str = "", others: int = 0
    ) -> None:
        self.flow, self.problems, self.where, self.fields, self.others = flow, tuple(problems), where, fields, others
        start = f"{where}: " if where else ""
        called = repr(flow) if isinstance(flow, str) else f"number {flow}"
        if others:
            called += f" and {others} more of its for_each"
        self.lines = [f"{start}flow {called}: {problem}" for problem in self.problems]
        super().__init__("\n".join([*self.lines, fields] if fields else self.lines))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.flow, self.problems, self.where, self.fields, self.others)


class FlowsError(ValueError):
    """Some flows of a file make no Dag. The message holds that of each."""

    @classmethod
    def of(cls, errors: Sequence[FlowError]) -> FlowsError | None:
        """Return several errors as one, which names the fields that there are once. None: there are none."""
        lines = [line for error in errors for line in error.lines]
        ends = list(accumulate(len(line.encode(errors="replace")) + 1 for line in lines))
        fit = sum(end <= MAX_ERROR for end in ends)
        if fit < len(lines):
            cut = [] if fit else [f"{lines[0][: MAX_ERROR // 4]}..."]
            lines = [*lines[:fit], *cut]
            if len(lines) < len(ends):
                lines.append(f"... and {len(ends) - len(lines)} more errors, told once these are mended")
        lines += dict.fromkeys(error.fields for error in errors if error.fields)
        return cls("\n".join(lines)) if lines else None


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
            "", f"{cut_repr(settings)} is no flow. Allowed: fields with values, the first of them '- name: ...'"
        )
        raise FlowError(position, [found], where)
    direction = settings.get("direction")
    kind = direction if isinstance(direction, str) and direction in FIELDS else "flow"
    fields = FIELDS.get(kind, ALL_FIELDS)
    flow: dict[str, Any] = {}
    unknown = [_unknown_field(name, kind, fields) for name in settings if name not in fields]
    problems = [*unknown]
    for name, known in fields.items():
        raw = settings.get(name)
        if raw is not None:
            try:
                flow[name] = known.parse(raw)
            except Exception as error:  # a library's own objections: they, too, are about this field
                problems.append(_not_allowed(name, raw, known, error))
        elif known.required:
            problems.append(Problem(name, f"missing. Allowed: {known.allowed}"))
        elif name in RUN_FIELDS or known.default is not None:
            flow[name] = known.default
    if not problems:
        _place_in_time(flow)
        problems = [Problem(rule.field, rule.message) for rule in RULES if rule.broken(flow)] or _objections(flow)
    if problems:
        there_are = f"Fields of a {kind}: {', '.join(fields)}" if unknown else ""
        raise FlowError(flow.get("name", position), problems, where, there_are)
    return flow


def problems_of_defaults(defaults: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with the defaults of a file. What has braces in it is judged in each flow."""
    problems = []
    for name, raw in defaults.items():
        known = ALL_FIELDS.get(name)
        if known is None or name == "name":
            problems.append(
                _unknown_field(name, "flow", {each: ALL_FIELDS[each] for each in ALL_FIELDS if each != "name"})
            )
        elif raw is not None and "{" not in str(raw):
            try:
                _parsed_by_any(name, raw)
            except Exception as error:  # as above
                problems.append(_not_allowed(name, raw, known, error))
    return problems


def _parsed_by_any(name: str, raw: Any) -> Any:
    """Return what a field makes of a value: one direction may allow what the other does not."""
    *others, last = [fields[name] for fields in FIELDS.values() if name in fields]
    for known in others:
        with contextlib.suppress(Exception):
            return known.parse(raw)
    return last.parse(raw)


def _objections(flow: Mapping[str, Any]) -> list[Problem]:
    """
    Return what the operator has against a flow's arguments, as far as they are written plainly.

    The Dag would tell, too, but the file of import errors makes none; and in it some are templates of the trigger form.
    """
    operator = OPERATORS[flow["direction"]]
    try:
        # Of `judge`, what is not there is not known yet: with any other min_age a max_age may be fine.
        operator.judge(operator.plain({"min_age": PullSettings.min_age, **flow}))
    except ConfigurationError as wrong:
        return [Problem("", str(wrong))]
    return []


def _place_in_time(flow: dict[str, Any]) -> None:
    """Have dates that have no zone be in the flow's."""
    for name in ("start_date", "end_date"):
        if flow[name] is not None and flow[name].tzinfo is None:
            flow[name] = flow[name].replace(tzinfo=zone(flow["timezone"]))


def _not_allowed(name: str, raw: Any, known: Field, error: Exception) -> Problem:
    said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    if said.startswith(f"{name} must be "):  # the value, and what is allowed, are said here; only why is not
        said = said.partition(f", not {raw!r}")[2].removeprefix(": ")
    reason = f": {said}" if said else ""
    return Problem(name, f"{cut_repr(raw)} is not allowed{reason}. Allowed: {known.allowed}")


def cut_repr(value: Any) -> str:
    """Return a value as Python writes it, cut where it is long: it goes into the UI."""
    try:
        shown = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deep"
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}..."


def _unknown_field(name: Any, kind: str, fields: Mapping[str, Field]) -> Problem:
    if name in ALL_FIELDS and kind in FIELDS:
        return Problem(name, f"only a {'push' if kind == 'pull' else 'pull'} flow has this field")
    near = difflib.get_close_matches(str(name), fields, 1)
    hint = f". Did you mean {near[0]!r}?" if near else ""
    return Problem(printable(str(name)), f"there is no such field{hint}")
