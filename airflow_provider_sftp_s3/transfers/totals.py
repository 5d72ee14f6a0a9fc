"""
What the tries of a task have moved together, where Airflow remembers that for them: its `task_state_store`, from 3.3.

Each try that ends by itself leaves the sum of all up to it. One that is killed leaves nothing: after it nobody knows.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_sftp_s3.engine.model import Moved

if TYPE_CHECKING:
    from airflow_provider_sftp_s3._compat import Context

#: What the sum is kept under, for each task, mapped ones too.
KEY = "sftp_s3_moved"
_log = logging.getLogger(__name__)


def moved_before(context: Context) -> Moved | None:
    """Return what the tries before this one have moved; None: nobody knows."""
    number = context["ti"].try_number
    if number == 1:
        return Moved()
    store: Any = context.get("task_state_store")
    if store is None:
        return None
    try:
        found = store.get(KEY)
    except Exception:  # it is for the report only
        _log.debug("task_state_store cannot be read", exc_info=True)
        return None
    if not isinstance(found, dict) or found.get("try") != number - 1:
        return None
    return Moved(int(found["files"]), int(found["bytes"]))


def remember(context: Context, moved: Moved | None) -> None:
    """
    Leave to the next try what this one and those before it have moved.

    :param moved: None: nobody knows.
    """
    store: Any = context.get("task_state_store")
    if store is None or moved is None:
        return
    try:
        store.set(KEY, {"try": context["ti"].try_number, **moved._asdict()})
    except Exception:  # the files have been moved
        _log.debug("task_state_store cannot be written", exc_info=True)
