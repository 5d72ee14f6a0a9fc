"""The pools that flows name: those to be made, and those that are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

#: Airflow's own, in which all tasks are that name no other: it is always there, and to give it few slots would hold up
#: all of Airflow.
DEFAULT = "default_pool"


def pools_of(flows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """
    Return the pools of flows in the form of ``airflow pools import``.

    Each has as many slots as the one flow needs that needs most: fewer connections would do, and more are a decision.

    :param flows: their settings.
    """
    pools: dict[str, dict[str, Any]] = {}
    for flow in flows:
        if flow.get("pool", DEFAULT) != DEFAULT:
            pool = pools.setdefault(flow["pool"], {"slots": 0, "description": "", "include_deferred": False})
            pool["slots"] = max(pool["slots"], flow["parallelism"] * flow.get("pool_slots", 1))
            pool["description"] += f", {flow['name']}" if pool["description"] else f"Flows: {flow['name']}"
    return pools


def has_database() -> bool:
    """Say whether Airflow has a database, as far as that can be said without making one: SQLite's is a file."""
    from airflow.configuration import conf

    database = str(conf.get("database", "sql_alchemy_conn"))
    file = database.removeprefix("sqlite:///")
    return file == database or Path(file.partition("?")[0]).exists()  # behind it are settings


def pools_of_airflow() -> set[str] | None:
    """Return the pools in Airflow's database; None where there is none that can be asked."""
    if not has_database():
        return None
    try:
        from airflow.models.pool import Pool
        from airflow.utils.session import create_session

        with create_session() as session:
            return {name for (name,) in session.query(Pool.pool)}
    except Exception:  # of any database's driver: nothing can be known
        return None
