"""The numbers by which a list of unsynced objects is cut: judged before anything is asked."""

from __future__ import annotations

import posixpath
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


@pytest.mark.parametrize("batch_files", [1, 2, 3, 100])
def test_a_directory_is_never_in_two_batches(batch_files: int) -> None:
    """Though its keys be many, and others stand between them; what is cut off leaves no directory in two."""
    with warnings_of_ours_only():
        from airflow_provider_sftp_s3.operators.batches import in_groups, whole_directories

        keys = ["a", "p/1", "p/2", "p/q/1", "p/q/2", "p/r/1", "p/z", "q/1", "q/2"]
        batches = in_groups(keys, batch_files, posixpath.dirname)
        assert sorted(key for batch in batches for key in batch) == keys
        for directory in ("", "p", "p/q", "p/r", "q"):
            holders = [batch for batch in batches for key in batch if key.rpartition("/")[0] == directory]
            assert all(holder is holders[0] for holder in holders)
        assert all(len(batch) <= max(batch_files, 3) for batch in batches)
        assert whole_directories(keys[:6]) == ["p/q/1", "p/q/2"]
        with pytest.raises(ConfigurationError, match="keeps the objects of a directory together, and 'p' has more"):
            whole_directories(keys[1:3])


@pytest.mark.parametrize("batch_files", [1, 3, 1000])
def test_a_last_object_is_in_one_batch_with_all_that_it_waits_for(batch_files: int) -> None:
    """What is in its directory and beneath it, though that be larger; the others are in batches as ever."""
    with warnings_of_ours_only():
        from airflow_provider_sftp_s3.operators.batches import in_groups, with_last_ones

        keys = ["/", "//x", "a", "p/1", "p/q/1", "p/q/_LAST", "p/q/r//2", "p/qq/1", "s/1", "s/_LAST", "s/t/_LAST"]
        last_keys = [key for key in keys if key.endswith("_LAST")]
        batches = in_groups(keys, batch_files, with_last_ones(last_keys, str))
        assert sorted(key for batch in batches for key in batch) == sorted(keys)
        for last in last_keys:
            directory = last.removesuffix("_LAST")
            waited_for = {key for key in keys if key.startswith(directory)}
            assert [batch for batch in batches if waited_for & set(batch)] == [
                batch for batch in batches if waited_for <= set(batch)
            ]
        assert all(len(batch) <= max(batch_files, 3) for batch in batches)
        assert len(batches) >= len(keys) // max(batch_files, 3)


def test_one_at_the_root_is_in_one_batch_with_all() -> None:
    """Of 5,000, where a batch has 1,000."""
    with warnings_of_ours_only():
        from airflow_provider_sftp_s3.operators.batches import in_groups, with_last_ones

        keys = ["_LAST", *(f"{number % 7}/{number}" for number in range(5000))]
        assert in_groups(keys, 1000, with_last_ones(["_LAST"], str)) == [keys]
        assert [len(each) for each in in_groups(keys, 1000, with_last_ones([], str))] == [1000] * 5 + [1]
