"""The numbers by which a list of unsynced objects is cut: judged before anything is asked."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from tests.support.airflow_env import warnings_of_ours_only

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("airflow_home")]


@pytest.mark.parametrize("field", ["batch_files", "max_batches"])
@pytest.mark.parametrize("number", [0, -1, True, 2.5, "0", "ten", "", None])
def test_a_number_that_is_none_is_named(field: str, number: Any) -> None:
    """By the function, and by the operator, which fails at once."""
    with warnings_of_ours_only():
        from airflow_provider_sftp_s3._compat import AirflowFailException
        from airflow_provider_sftp_s3.operators.s3_unsynced import S3ListUnsyncedOperator, unsynced_batches

        wrong: dict[str, Any] = {"s3_bucket": "a-bucket", field: number}
        with pytest.raises(ConfigurationError, match=f"{field} must be a whole number above 0, not {number!r}"):
            unsynced_batches(selection={}, **wrong)
        with pytest.raises(AirflowFailException, match=f"{field} must be a whole number above 0"):
            S3ListUnsyncedOperator(task_id="list", **wrong).execute({})
