"""An auth manager for tests: users of Airflow's simple one, some of whom may see a few Dags only."""

from __future__ import annotations

import json
import os
from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

#: user -> the ids of the Dags that the user may see; who is not in it may see all.
VISIBLE: dict[str, list[str]] = json.loads(os.environ.get("FEW_DAGS", "{}"))
#: Who sees runs and their states, and nothing of what is in them.
BLIND: list[str] = json.loads(os.environ.get("FEW_DAGS_BLIND", "[]"))


class FewDags(SimpleAuthManager):
    """Airflow asks it of each Dag, and of "some Dag" where a request names none."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, access_entity: Any = None, **rest: Any) -> bool:
        """Return whether a user may do something with a Dag."""
        if access_entity in (DagAccessEntity.XCOM, DagAccessEntity.TASK_LOGS) and user.get_name() in BLIND:
            return False
        wanted = details.id if details else None
        allowed = VISIBLE.get(user.get_name())
        if wanted is not None and allowed is not None and wanted not in allowed:
            return False
        return bool(super().is_authorized_dag(user=user, details=details, access_entity=access_entity, **rest))

    def is_authorized_asset(self, *, user: Any, **rest: Any) -> bool:
        """Return whether a user may do something with assets."""
        return user.get_name() not in BLIND and bool(super().is_authorized_asset(user=user, **rest))
