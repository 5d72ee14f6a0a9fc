"""What the event of an asset says."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.model import Moved, Report
from airflow_provider_sftp_s3.transfers.assets import PULLED_SHARD, extra_of, missing_of, sum_of

pytestmark = pytest.mark.unit


def test_what_is_not_known_of_one_is_not_known_of_all() -> None:
    """An earlier try whose receipts nobody can read makes no small number."""
    known = extra_of(
        Report("pull", Moved(2, 20), transferred=1, bytes=5, recovered=1, recovered_bytes=3, receipt="s3://b/r/")
    )
    assert known == {"files": 4, "bytes": 28, "receipt": "s3://b/r/"}
    unknown = extra_of(Report("pull", None, transferred=1, bytes=5))
    assert unknown == {"files": None, "bytes": None, "receipt": None}
    assert sum_of([known, known]) == {"files": 8, "bytes": 56, "receipt": "s3://b/r/"}
    assert sum_of([unknown, known]) == {"files": None, "bytes": None, "receipt": "s3://b/r/"}


@pytest.mark.parametrize(
    ("succeeded", "missing"),
    [
        (["1/1"], []),
        (["2/2", "1/2"], []),
        (["1/1", "2/4", "3/4", "4/4"], []),  # from one task to four, when the first had begun
        (["1/4"], ["2/4", "3/4", "4/4"]),  # from four to one
        (["1/4", "2/4"], ["3/4", "4/4"]),
        (["1/4", "2/2"], ["1/2"]),
        ([f"{number}/12" for number in range(1, 12)], ["12/12"]),
        ([], []),  # of a push, and of the pulls of earlier versions
    ],
)
@pytest.mark.usefixtures("airflow_home")
def test_shards_that_are_gone_are_missed(succeeded: Sequence[str], missing: Sequence[str]) -> None:
    """Airflow takes them away with no word, where a flow is changed under its run."""
    from airflow_provider_sftp_s3._compat import AirflowFailException
    from airflow_provider_sftp_s3.flows.dag import flow_dag

    told = missing_of(succeeded)
    assert bool(told) == bool(missing)
    assert not set(told) & set(succeeded)
    update = flow_dag({"name": "f", "direction": "pull", "sftp_path": "/a", "s3_bucket": "abc"}).get_task(
        "update_asset"
    )
    context: Any = {"ti": SimpleNamespace(xcom_pull=lambda key, **_: succeeded if key == PULLED_SHARD else [])}
    if missing:
        with pytest.raises(AirflowFailException, match=f"for the shards {', '.join(told)} of the tree are gone"):
            update.execute(context)
        update.whole = False
    assert update.execute(context) is None
