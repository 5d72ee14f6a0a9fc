"""What Airflow's UI shows of a flow: what it does, and all its settings, so that nobody has to look for the file."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_sftp_s3.flows.events import CALLBACKS, Notification
from airflow_provider_sftp_s3.flows.fields import FIELDS, OPERATORS
from airflow_provider_sftp_s3.flows.rules import _is_sqs
from airflow_provider_sftp_s3.flows.values import CONTINUOUS, Expected
from airflow_provider_sftp_s3.hooks.quantities import units_of

#: What stands after the sentence.
END = "\n\n"


def doc_of(flow: Mapping[str, Any]) -> str:
    """
    Return a flow's documentation, Markdown: a sentence, its settings, and the defaults of those that are not set.

    Connections are named, and what is in them is not shown; nor are the arguments of notifiers, which may hold a token.
    """
    fields = FIELDS[flow["direction"]]
    defaults = _defaults(flow["direction"])
    chosen, unset = [], []
    for name, field in fields.items():
        value = _notifiers(flow) if name == "notify" else flow.get(name)
        default = defaults[name].default if name in defaults else field.default
        # Fields of the Dag are filled in with their defaults; those of the operator are there if the flow says so.
        if name in flow and (name in defaults or value != default):
            chosen.append(f"    {name}: {'none' if value is None else shown(value)}")
        else:
            unset.append(f"    {name}: {'not set' if default is None else shown(default)}")
    return (
        f"{sentence_of(flow)}{END}Made from the flow `{flow['name']}` of a flows.yaml, where it says:\n\n"
        + "\n".join(chosen)
        + "\n\nWhat it does not say:\n\n"
        + "\n".join(unset)
        + "\n"
    )


@functools.cache
def _defaults(direction: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(OPERATORS[direction].__init__).parameters


def _notifiers(flow: Mapping[str, Any]) -> dict[str, list[str]] | None:
    """Return the dotted paths of notifiers by the event, as in flows.yaml."""
    told: Mapping[str, list[Notification]] = flow.get("notify") or {}
    events = {callback: event for event, callback in CALLBACKS.items()}
    paths = {
        events[callback]: [f"{each.notifier.__module__}.{each.notifier.__qualname__}" for each in several]
        for callback, several in told.items()
    }
    return paths or None


def shown(value: Any) -> str:
    """Return a setting in one line, as YAML and JSON both read it. No markup gets out of it: it is shown as code."""
    return json.dumps(_plain(value), ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _plain(value: Any) -> Any:
    if isinstance(value, Expected):
        return value.as_dict()
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        return "".join(units_of(int(seconds))) if seconds == int(seconds) else f"{seconds}s"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def description(flow: Mapping[str, Any]) -> str:
    """
    Return the flow's own description, or what it does, and a last line with its two places.

    Airflow's list of Dags has their descriptions, and no other field that could say ``(partner:/out → s3://bucket/in/)``
    to the page of all flows, which reads it (`placesOf` in plugins/static/flows.js).
    """
    places = [
        f"{flow.get('sftp_conn_id', 'sftp_default')}:{flow['sftp_path']}",
        f"s3://{flow['s3_bucket']}/{flow.get('s3_prefix', '')}",
    ]
    from_to = " → ".join(places if flow["direction"] == "pull" else reversed(places)).replace("\n", " ")
    return f"{flow['description'] or sentence_of(flow).replace('`', '')}\n({from_to})"


def sentence_of(flow: Mapping[str, Any]) -> str:
    """Return what a flow does, in a sentence."""
    schedule = flow["schedule"]
    others = {None: "When started by hand", "@once": "Once", CONTINUOUS: "As soon as an object lands"}
    when = others.get(schedule, f"On the schedule `{schedule}` ({flow['timezone']})")
    if _is_sqs(flow):
        when += " and as S3's events come"
    server = f"`{flow['sftp_path']}` on the SFTP server of connection `{flow.get('sftp_conn_id', 'sftp_default')}`"
    bucket = f"`s3://{flow['s3_bucket']}/{flow.get('s3_prefix', '')}`"
    include = flow.get("include", ["*"])
    which = "everything" if include == ["*"] else " and ".join(f"`{glob}`" for glob in include)
    which += "".join(f" but `{glob}`" for glob in flow.get("exclude", []))
    if flow["direction"] == "pull":
        after = flow.get("after_transfer", "move")
        then = {
            "move": f"moves each file into `{flow.get('done_dir', '.done')}` beside it",
            "delete": "deletes each file there",
            "keep": "leaves each file there",
        }.get(after, f"does with each file there what `{after}` says")
        does = f"pulls {which} in {server} to {bucket} and {then}"
    else:
        mark = flow.get("mark", "auto")
        where = {"auto": "", "metadata": " in its metadata", "tag": " by a tag"}.get(mark, f" as `{mark}` says")
        after = flow.get("after_transfer", "keep")
        then = {
            "move": f"moves each beneath `{flow.get('sent_prefix')}`",
            "delete": "deletes each object",
            "keep": "marks nothing" if mark == "none" else f"marks each object as synced{where}",
        }.get(after, f"does with each object what `{after}` says")
        does = f"pushes {which} in {bucket} that is not synced to {server} and {then}"
    return f"{when}, {does}."
