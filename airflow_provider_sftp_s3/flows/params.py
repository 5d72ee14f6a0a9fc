"""What can be changed for one run of a flow: the fields of its Dag's trigger form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_sftp_s3._compat import (
    Param,
)
from airflow_provider_sftp_s3.flows import values
from airflow_provider_sftp_s3.operators.batches import MAX_KEYS
from airflow_provider_sftp_s3.operators.s3_unsynced import MAX_REFUSED

#: What can be changed for one run: field -> its name in the trigger form, and the value of a flow that does not set it.
CHANGEABLE = {
    "s3_prefix": ("S3 prefix", ""),
    "sftp_path": ("SFTP directory", ""),
    "include": ("Include", ["*"]),
    "max_files": ("Most files", None),
    "dry_run": ("Dry run", False),
}
#: Whoever may start a run may not read every connection and variable: only the flow's own templates are rendered.
#: Another one would be taken for the name of a directory, and find nothing.
_NO_TEMPLATE = r"^(?![\s\S]*\{[{%])"


def _params(flow: Mapping[str, Any]) -> dict[str, Param]:
    """Return the fields of the Dag's trigger form, which begins with the flow's own values."""
    return {
        name: _FORMS[name](flow.get(name, unset), title, flow["direction"])
        for name, (title, unset) in CHANGEABLE.items()
        if name != "include" or not _has_template(flow.get(name, unset))
    }


def _text(own: Any, title: str, _: str) -> Param:
    # With no null, the form would not take an empty prefix.
    return Param(own, title=title, type=["null", "string"], pattern=_pattern(own), description=_FOR_THIS_RUN)


_FOR_THIS_RUN = "For this run only. Empty: as the flow says. No templates but the flow's own."


def _pattern(own: Any) -> str:
    return f"{_NO_TEMPLATE}|^{re.escape(own)}$" if values.is_template(own) else _NO_TEMPLATE


def _globs(own: Any, title: str, _: str) -> Param:
    says = "For this run only, a glob a line: which files to take. Empty: as the flow says."
    return Param(own, title=title, type=["null", "array"], items={"type": "string"}, description=says)


def _number(own: Any, title: str, direction: str) -> Param:
    says = "For this run only: move so many files at most, the rest waits for the next run. Empty: as the flow says."
    if direction == "pull":
        says += " With parallelism, each of its tasks moves so many."
    unset = own if isinstance(own, int) else None
    return Param(unset, title=title, type=["null", "integer"], minimum=1, description=says)


def _flag(own: Any, title: str, direction: str) -> Param:
    says = (
        f"List what would be done and touch nothing; the list is in the log of the task `{direction}`. It is for this "
        "run only: unpausing the Dag starts real runs, and this form unpauses a paused Dag unless you say otherwise "
        "below. To look first for longer, write dry_run: true into flows.yaml."
    )
    if isinstance(own, bool):
        return Param(own, title=title, type="boolean", description=says)
    kinds = ["null", "string", "boolean"]
    return Param(own, title=title, type=kinds, pattern=_pattern(own), description=says)


_FORMS = {"s3_prefix": _text, "sftp_path": _text, "include": _globs, "max_files": _number, "dry_run": _flag}


def _has_template(own: Any) -> bool:
    return any(values.is_template(one) for one in ([own] if isinstance(own, str) else own))


def _templates(flow: Mapping[str, Any]) -> dict[str, Any]:
    """Return templates of the fields in the trigger form: what the run was given, or else the flow's own value."""
    templates: dict[str, Any] = {}
    for name, (_, unset) in CHANGEABLE.items():
        own = flow.get(name, unset)
        if isinstance(own, bool):
            templates[name] = f"{{{{ params.{name} }}}}"
        elif name == "include" and _has_template(own):
            templates[name] = own
        elif isinstance(own, str) and values.is_template(own):
            unchanged = f"params.{name} in (none, '', {own!r})"
            templates[name] = f"{{% if {unchanged} %}}{own}{{% else %}}{{{{ params.{name} }}}}{{% endif %}}"
        else:
            templates[name] = f"{{{{ params.{name} or {own!r} }}}}"
    return templates


def _batches(flow: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return how to cut the list of a push, as templates where the trigger form has a say.

    A run with a cap is one push task, since each task keeps to the cap by itself. It is told of some more: one that the
    server refuses takes no cap, and would stand before all others in each run. Where objects wait for the partner,
    which takes no cap either, it is told of many more.
    """
    own, most = flow.get("max_files"), flow["batch_files"]
    cap = f"(params.max_files or {own if isinstance(own, int) else 0})"
    template = f"{{{{ {cap} + {MAX_REFUSED} if {cap} else {most} }}}}"
    if isinstance(own, str):
        cap = "(params.max_files or own | int)"
        template = f"{{% set own %}}{own}{{% endset %}}{{{{ {cap} + {MAX_REFUSED} if {cap} else {most} }}}}"
    if flow.get("on_conflict") == "wait":
        capped = own is not None or "max_bytes" in flow
        few = f"{{{{ {MAX_KEYS} if params.max_files else {most} }}}}"
        return {
            "batch_files": str(MAX_KEYS) if capped else few,
            "max_batches": 1 if capped else "{{ 1 if params.max_files else 1000 }}",
        }
    if own is not None or "max_bytes" in flow:
        return {"batch_files": template, "max_batches": 1}
    return {"batch_files": template, "max_batches": "{{ 1 if params.max_files else 1000 }}"}
