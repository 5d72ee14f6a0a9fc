"""What can be changed for one run of a flow: the fields of its Dag's trigger form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_sftp_s3._compat import (
    Param,
)
from airflow_provider_sftp_s3.flows import values

#: What can be changed for one run: field -> its name in the trigger form, and the value of a flow that does not set it.
CHANGEABLE = {"s3_prefix": ("S3 prefix", ""), "sftp_path": ("SFTP directory", ""), "dry_run": ("Dry run", False)}


def _params(flow: Mapping[str, Any]) -> dict[str, Param]:
    """Return the fields of the Dag's trigger form, which begins with the flow's own values."""
    params = {}
    for name, (title, unset) in CHANGEABLE.items():
        own = flow.get(name, unset)
        if isinstance(own, bool):
            touches_nothing = "List what would be done, touch nothing."
            params[name] = Param(own, title=title, type="boolean", description=touches_nothing)
            continue
        # Whoever may start a run may not read every connection and variable: only the flow's own templates are
        # rendered. Another one would be taken for the name of a directory, and find nothing.
        allowed = r"^(?![\s\S]*\{[{%])"
        params[name] = Param(
            own,
            title=title,
            # With no null, the form would not take an empty prefix.
            type=["null", "string", "boolean"] if name == "dry_run" else ["null", "string"],
            pattern=rf"{allowed}|^{re.escape(own)}$" if values.is_template(own) else allowed,
            description="For this run only. Empty: as the flow says. No templates but the flow's own.",
        )
    return params


def _templates(flow: Mapping[str, Any]) -> dict[str, str]:
    """Return templates of the fields in the trigger form: what the run was given, or else the flow's own value."""
    templates = {}
    for name, (_, unset) in CHANGEABLE.items():
        own = flow.get(name, unset)
        if isinstance(own, bool):
            templates[name] = f"{{{{ params.{name} }}}}"
        elif values.is_template(own):
            unchanged = f"params.{name} in (none, '', {own!r})"
            templates[name] = f"{{% if {unchanged} %}}{own}{{% else %}}{{{{ params.{name} }}}}{{% endif %}}"
        else:
            templates[name] = f"{{{{ params.{name} or {own!r} }}}}"
    return templates
