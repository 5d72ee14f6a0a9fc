"""The event of the asset that a transfer has updated: what Dags can be scheduled on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_sftp_s3._compat import Asset, AssetAlias, can_record

if TYPE_CHECKING:
    from airflow_provider_sftp_s3._compat import Context

#: The XCom in which a mapped transfer leaves the URI of the asset that it has updated.
UPDATED = "updated_asset"


def update_assets(operator: Any, context: Context, uri: str) -> None:
    """Have an event of the asset `uri` recorded for each alias among the operator's outlets. Never raises."""
    for alias in operator.outlets:
        if isinstance(alias, AssetAlias):
            # The files have been moved: whatever is wrong with the event must not fail the task.
            try:
                if can_record(alias):
                    context["outlet_events"][alias].add(Asset(uri))
                else:
                    operator.log.warning("no event for the asset %r: no scheduler has seen this Dag yet", uri)
            except Exception as refused:  # such as too long a URI
                operator.log.warning("no event for the asset %r: %s", uri, refused)
