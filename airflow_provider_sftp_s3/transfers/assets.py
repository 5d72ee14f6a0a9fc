"""The event of the asset that a transfer has updated: what Dags can be scheduled on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_sftp_s3._compat import Asset, AssetAlias, can_record

if TYPE_CHECKING:
    from airflow_provider_sftp_s3._compat import Context
    from airflow_provider_sftp_s3.engine.model import Report

#: The XCom in which a mapped transfer leaves the asset that it has updated: its `uri`, and the `extra` of its event.
UPDATED = "updated_asset"
#: That in which a mapped pull that has succeeded leaves which part of the tree it was, such as `2/4`.
PULLED_SHARD = "pulled_shard"


def extra_of(report: Report) -> dict[str, Any]:
    """
    Return what an event says of a transfer: `files` and `bytes` that its tries have moved, and its `receipt`, a URI.

    Each is None where it is not known, or not there.
    """
    total = report.total
    return {
        "files": total and total.files,
        "bytes": total and total.bytes,
        "receipt": report.receipt,
    }


def missing_of(shards: Sequence[str]) -> list[str]:
    """
    Return the parts of a tree that are not among `shards`; none where some of these are a whole tree together.

    There are parts of several counts where a flow was changed while its tasks began: `1/1` and `2/4` are a whole tree.
    """
    missing: list[str] = []
    for count in sorted({shard.partition("/")[2] for shard in shards}, key=int):
        missing = [each for number in range(1, int(count) + 1) if (each := f"{number}/{count}") not in shards]
        if not missing:
            return []
    return missing


def sum_of(extras: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what one event says of several transfers of a Dag run. What is not known of one is not known of all."""
    files, sizes = ([extra[name] for extra in extras] for name in ("files", "bytes"))
    return {
        "files": None if None in files else sum(files),
        "bytes": None if None in sizes else sum(sizes),
        "receipt": next((extra["receipt"] for extra in extras if extra["receipt"]), None),
    }


def update_assets(operator: Any, context: Context, uri: str, extra: Mapping[str, Any]) -> None:
    """
    Have an event of the asset `uri` recorded for each alias among the operator's outlets. Never raises.

    :param extra: what the event says: see :func:`extra_of`.
    """
    for alias in operator.outlets:
        if isinstance(alias, AssetAlias):
            # The files have been moved: whatever is wrong with the event must not fail the task.
            try:
                if can_record(alias):
                    context["outlet_events"][alias].add(Asset(uri), extra=dict(extra))
                else:
                    operator.log.warning("no event for the asset %r: no scheduler has seen this Dag yet", uri)
            except Exception as refused:  # such as too long a URI
                operator.log.warning("no event for the asset %r: %s", uri, refused)
