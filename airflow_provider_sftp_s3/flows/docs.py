"""What Airflow's UI says of a flow: the description of its Dag, and the Dag's documentation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_sftp_s3.flows.rules import _is_sqs
from airflow_provider_sftp_s3.flows.values import CONTINUOUS


def description(flow: Mapping[str, Any]) -> str:
    """
    Return the flow's own description, and a last line with its two places: ``partner:/out → s3://bucket/in/``.

    Airflow's list of Dags has their descriptions, and no other field that could say it to the page of all flows, which
    reads it (`placesOf` in plugins/static/flows.js).
    """
    places = [
        f"{flow.get('sftp_conn_id', 'sftp_default')}:{flow['sftp_path']}",
        f"s3://{flow['s3_bucket']}/{flow.get('s3_prefix', '')}",
    ]
    from_to = " → ".join(places if flow["direction"] == "pull" else reversed(places)).replace("\n", " ")
    return f"{flow['description']}\n({from_to})" if flow["description"] else from_to


def documentation(flow: Mapping[str, Any]) -> str:
    """Return a Dag's documentation in Airflow's UI, as Markdown: what the flow does, and all its settings."""
    settings = "\n".join(f"    {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in _settings(flow))
    return f"{_sentence(flow)}\n\nIts settings, each as it is used; what is not here has its default:\n\n{settings}\n"


def _settings(flow: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what is set. Of notifiers the names alone: their arguments may be anything, tokens of a chat too."""
    for name, value in flow.items():
        if name == "notify":
            names = {event: [each.notifier.__name__ for each in several] for event, several in value.items()}
            yield name, {event.removesuffix("_callback"): each for event, each in names.items()}
        elif value is not None:
            yield name, _plain(value)


def _plain(value: Any) -> Any:
    """Return a value as a flows.yaml may have it."""
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, set | list | tuple):
        return [_plain(each) for each in (sorted(value) if isinstance(value, set) else value)]
    return value


def _sentence(flow: Mapping[str, Any]) -> str:
    """Say what the flow does."""
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
    return f"{when}, {does}.\n\nMade from the flow `{flow['name']}` of a flows.yaml."
