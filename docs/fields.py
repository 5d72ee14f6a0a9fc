"""
The fields of flows.yaml, for docs/fields.md: nothing of it is typed there.

Which fields there are, and what may be written, comes from `flows/fields.py`; what they mean from the docstrings of the
operators, or of `flows/fields.py` where they are no arguments.
"""

from __future__ import annotations

import inspect
import re
from datetime import timedelta
from typing import Any

from airflow_provider_sftp_s3 import S3ToSftpOperator, SftpTreeToS3Operator
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.flows import fields

OPERATORS = {"pull": SftpTreeToS3Operator, "push": S3ToSftpOperator}


def meanings(docstring: str | None) -> dict[str, str]:
    """Return what each ``:param name:`` of a docstring says, in one line."""
    text = inspect.cleandoc(docstring or "")
    found = re.findall(r"^:param (\w+): (.*?)(?=^:|\Z)", text, re.MULTILINE | re.DOTALL)
    return {name: " ".join(said.replace("(templated)", "").split()) for name, said in found}


OF_FLOWS = meanings(fields.__doc__)
OF_ARGUMENTS = {direction: meanings(operator.__doc__) for direction, operator in OPERATORS.items()}


def is_argument(name: str) -> bool:
    """Say whether a field is an argument of an operator; others are the flow's own."""
    return any(name in inspect.signature(operator.__init__).parameters for operator in OPERATORS.values())


def groups() -> dict[str, list[str]]:
    """Return the fields: of the Dag and its tasks, of both directions, of a pull only, and of a push only."""
    pull, push = fields.FIELDS["pull"], fields.FIELDS["push"]
    return {
        "dag": [name for name in pull if name in push and not is_argument(name)],
        "both": [name for name in pull if name in push and is_argument(name)],
        "pull": [name for name in pull if name not in push],
        "push": [name for name in push if name not in pull],
    }


def meaning(name: str) -> list[str]:
    """Return what a field means: a text, or one of a pull and one of a push. Empty: nothing says it."""
    if name in OF_FLOWS:
        return [OF_FLOWS[name]]
    said = {direction: OF_ARGUMENTS[direction].get(name) for direction in OPERATORS if name in fields.FIELDS[direction]}
    if len(set(said.values())) == 1:
        return [text for text in set(said.values()) if text]
    return [f"Of a {direction}: {text}" for direction, text in said.items() if text]


def default(name: str) -> str:
    """Return what counts where a field is left out; empty: nothing does, or it is required."""
    known = fields.ALL_FIELDS[name]
    if known.required:
        return ""
    if not is_argument(name):
        return shown(known.default)
    given = {
        direction: shown(inspect.signature(operator.__init__).parameters[name].default)
        for direction, operator in OPERATORS.items()
        if name in fields.FIELDS[direction]
    }
    if len(set(given.values())) == 1:
        return next(iter(given.values()))
    return ", ".join(f"{value} (of a {direction})" for direction, value in given.items())


def shown(value: Any) -> str:
    """Return a default as one writes it in YAML."""
    if isinstance(value, timedelta):
        seconds = int(value.total_seconds())
        return f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value == "" or isinstance(value, TransferOptions):
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def rst(group: str) -> str:
    """Return the fields of a group as reStructuredText."""
    lines = []
    for name in groups()[group]:
        known = fields.ALL_FIELDS[name]
        lines.append(f".. confval:: {name}")
        if value := default(name):
            lines.append(f"   :default: ``{value}``")
        for text in meaning(name):
            lines += ["", f"   {text}"]
        required = "Required. " if known.required else ""
        lines += ["", f"   {required}Allowed: {escaped(known.allowed)}.", ""]
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Return a text in which nothing is markup, nor a link."""
    return re.sub(r"([\\*`_|@]|:(?=//))", r"\\\1", text)
