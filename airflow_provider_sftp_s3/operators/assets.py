"""Events of the assets that transfers update: what Dags can be scheduled on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_sftp_s3._compat import AirflowFailException, BaseOperator

if TYPE_CHECKING:
    from airflow_provider_sftp_s3._compat import Context

from airflow_provider_sftp_s3.transfers.assets import UPDATED, sum_of, update_assets


class UpdateAssetOperator(BaseOperator):
    """
    Sends the event for several mapped transfers, once all of them have succeeded and if one has moved something.

    To be used where they run at the same time, with the asset alias among this operator's outlets, not theirs. Airflow
    3 puts a new asset into its database while it ends the task that has written to it; one that ends in the same moment
    is then failed, with no retry (`TaskInstance.register_asset_changes_in_db` of 3.3.1 does not expect the unique
    constraint's error).

    :param transfers: task id of the transfers, which must be upstream of this task.
    """

    def __init__(self, *, transfers: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.transfers = transfers

    def execute(self, context: Context) -> dict[str, Any] | None:
        """
        Return what the transfers have moved together, `files`, `bytes` and `receipt`; None: nothing.

        `files` and `bytes` are None where the earlier tries of one are not known.

        :raises AirflowFailException: `transfers` is no task before this one.
        """
        if self.transfers not in self.get_flat_relative_ids(upstream=True):
            raise AirflowFailException(f"transfers: there is no task {self.transfers!r} upstream of {self.task_id!r}")
        # A list of tasks: of one, Airflow 3 returns the XCom itself where there is just one.
        updated = context["ti"].xcom_pull(task_ids=[self.transfers], key=UPDATED)
        found = [each for each in updated if each is not None]
        for uri in sorted({each["uri"] for each in found}):
            update_assets(self, context, uri, sum_of([each["extra"] for each in found if each["uri"] == uri]))
        return sum_of([each["extra"] for each in found]) if found else None
