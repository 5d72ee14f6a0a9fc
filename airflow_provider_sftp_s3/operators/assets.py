"""Events of the assets that transfers update: what Dags can be scheduled on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_sftp_s3._compat import AirflowFailException, BaseOperator

if TYPE_CHECKING:
    from airflow_provider_sftp_s3._compat import Context

from airflow_provider_sftp_s3.transfers.assets import PULLED_SHARD, UPDATED, missing_of, sum_of, update_assets


class UpdateAssetOperator(BaseOperator):
    """
    Sends the event for several mapped transfers, once all of them have succeeded and if one has moved something.

    To be used where they run at the same time, with the asset alias among this operator's outlets, not theirs. Airflow
    3 puts a new asset into its database while it ends the task that has written to it; one that ends in the same moment
    is then failed, with no retry (`TaskInstance.register_asset_changes_in_db` of 3.3.1 does not expect the unique
    constraint's error).

    :param transfers: task id of the transfers, which must be upstream of this task.
    :param whole: fail where they are pulls of shards, and those that have succeeded are not a whole tree. Airflow takes
        tasks away, and calls the others a success, where a Dag is changed while a run of it is under way.
    """

    def __init__(self, *, transfers: str, whole: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.transfers = transfers
        self.whole = whole

    def execute(self, context: Context) -> dict[str, Any] | None:
        """
        Return what the transfers have moved together, `files`, `bytes` and `receipt`; None: nothing.

        `files` and `bytes` are None where the earlier tries of one are not known.

        :raises AirflowFailException: `transfers` is no task before this one; or shards are missing, see `whole`:
            no event is sent.
        """
        if self.transfers not in self.get_flat_relative_ids(upstream=True):
            raise AirflowFailException(f"transfers: there is no task {self.transfers!r} upstream of {self.task_id!r}")
        found = self._left_by_transfers(context, UPDATED)
        for uri in sorted({each["uri"] for each in found}):
            update_assets(self, context, uri, sum_of([each["extra"] for each in found if each["uri"] == uri]))
        if self.whole and (missing := missing_of(self._left_by_transfers(context, PULLED_SHARD))):
            raise AirflowFailException(
                f"the tasks of {self.transfers!r} for the shards {', '.join(missing)} of the tree are gone: the flow "
                "was changed while they were under way. What they had not moved is where it was, for the next run"
            )
        return sum_of([each["extra"] for each in found]) if found else None

    def _left_by_transfers(self, context: Context, key: str) -> list[Any]:
        # A list of tasks: of one, Airflow 3 returns the XCom itself where there is just one.
        values = context["ti"].xcom_pull(task_ids=[self.transfers], key=key)
        return [each for each in values if each is not None]
