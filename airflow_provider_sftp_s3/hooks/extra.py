"""The Extra of a connection, as somebody has typed it."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_sftp_s3.engine.errors import ConfigurationError


def fields_of(kind: str, conn_id: str, connection: Any) -> dict[str, Any]:
    """
    Return a connection's Extra. Airflow takes one that is no JSON for an empty one.

    :param kind: ``sftp`` or ``aws``, for the error.
    :raises ConfigurationError: it is no JSON object.
    """
    try:
        fields = json.loads(connection.extra or "{}")
    except ValueError as wrong:
        hint = str(wrong)
        if "control character" in hint:
            hint += "; a line break within a text, as in a private key, is written \\n"
        raise ConfigurationError(f"Extra of the {kind} connection {conn_id!r} is no JSON: {hint}") from None
    if not isinstance(fields, dict):
        raise ConfigurationError(
            f"Extra of the {kind} connection {conn_id!r} is a {type(fields).__name__}, and must be an object in JSON, "
            'like {"conn_timeout": 10}'
        )
    return dict(connection.extra_dejson)  # which has its secrets masked in the log
