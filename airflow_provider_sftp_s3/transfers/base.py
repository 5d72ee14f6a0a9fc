"""What both operators share: how the transfer is begun, what it leaves behind, and its end."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from airflow_provider_sftp_s3._compat import AirflowFailException, is_continuous
from airflow_provider_sftp_s3.engine.errors import (
    ConfigurationError,
    ConnectionFailed,
    FailedForGood,
    LoginRefused,
    SftpS3Error,
    TransferError,
)
from airflow_provider_sftp_s3.engine.settings import PullSettings, PushSettings, TaskTry
from airflow_provider_sftp_s3.hooks.arguments import judge, names_of, settings_of, truth
from airflow_provider_sftp_s3.hooks.sftp_s3 import SftpS3Hook
from airflow_provider_sftp_s3.transfers.assets import PULLED_SHARD, UPDATED, extra_of, update_assets
from airflow_provider_sftp_s3.transfers.lineage import Places
from airflow_provider_sftp_s3.transfers.links import ReceiptLink, S3PrefixLink, leave_links
from airflow_provider_sftp_s3.transfers.metrics import tell
from airflow_provider_sftp_s3.transfers.retries import next_try
from airflow_provider_sftp_s3.transfers.templates import TemplatedOperator
from airflow_provider_sftp_s3.transfers.totals import moved_before, remember

if TYPE_CHECKING:
    from airflow_provider_sftp_s3._compat import Context
    from airflow_provider_sftp_s3.engine.model import Moved, Report
    from airflow_provider_sftp_s3.engine.options import TransferOptions

T = TypeVar("T")
_log = logging.getLogger(__name__)

SETTINGS: dict[str, type[PullSettings | PushSettings]] = {"pull": PullSettings, "push": PushSettings}

#: XCom of a mapped task whose login was refused: those of its Dag run that come after it do not try theirs.
REFUSED = "login_refused"

#: Seconds that a task whose login was refused waits in a Dag that would begin its next run at once: a server that locks
#: an account after some refusals mostly counts those of the last minutes.
REFUSED_PAUSE = 15 * 60.0


def _fails_briefly(execute: Callable[[Any, Context], T]) -> Callable[[Any, Context], T]:
    """
    Have what the engine raises on purpose end the task with no more than one frame of ours, and no retries in vain.

    Airflow logs the traceback above the message, which says all that a user can do something about. It is logged at
    DEBUG. Where there will be another try, the log says when.
    """

    @functools.wraps(execute)
    def wrapped(self: Any, context: Context) -> T:
        error: Exception
        try:
            return execute(self, context)
        except SftpS3Error as failed:
            _log.debug("the task fails", exc_info=failed)
            in_vain = isinstance(failed, (ConfigurationError, FailedForGood))
            error = AirflowFailException(str(failed)) if in_vain else failed.with_traceback(None)
            if not in_vain and (told := next_try(self, context["ti"])):
                self.log.warning("try %s has failed; the next begins in %s, not before %s UTC", *told)
        raise error from None

    return wrapped


class TransferOperator(TemplatedOperator):
    """
    Base of the operators: has the hook do the transfer, and ends as Airflow expects.

    Errors that a retry cannot mend become AirflowFailException, which Airflow does not retry.

    An asset alias among its outlets gets an event of the asset that was written to, if anything was moved:
    ``s3://bucket/prefix`` of a pull, ``sftp://host:port/path`` of a push. A mapped task also leaves the asset's URI in
    XCom, for :class:`~airflow_provider_sftp_s3.transfers.assets.UpdateAssetOperator`.
    """

    operator_extra_links = (S3PrefixLink(), ReceiptLink())

    direction: ClassVar[Literal["pull", "push"]]
    sftp_conn_id: str
    sftp_path: str
    aws_conn_id: str | None
    s3_bucket: str
    s3_prefix: str
    dry_run: bool | str
    extra_args: dict[str, Any] | None
    receipts: str | None
    options: TransferOptions | dict[str, Any] | None

    #: the addresses of its buttons, once it has run
    links: Mapping[str, str] = MappingProxyType({})
    _hook: SftpS3Hook | None = None

    @classmethod
    def judge(cls, arguments: Mapping[str, Any]) -> None:
        """Look at a transfer's arguments. :raises ConfigurationError: one is not allowed; the message names it."""
        judge(SETTINGS[cls.direction], arguments)

    @_fails_briefly
    def execute(self, context: Context) -> dict[str, Any]:
        """
        Transfer once and return the report.

        :raises AirflowFailException: somebody has to change something first, or what failed would fail again in each
            retry, such as a name that cannot be. Where that shows in the middle of a run, the report is in XCom under
            ``report``, too.
        :raises TransferError: something failed; the report is in XCom under ``report``.
        :raises ConnectionFailed: the server or S3 cannot be reached.
        """
        self.refuse_none()
        kind = SETTINGS[self.direction]
        arguments = {name: getattr(self, name) for name in (*names_of(kind), "sftp_conn_id")}
        settings = settings_of(kind, arguments, **self._of_the_task(context))
        self._heed_refusals(context)
        self._hook = SftpS3Hook(self.sftp_conn_id, self.aws_conn_id)
        report: Report | None = None
        total: Moved | None = None
        try:
            report = self._hook.transfer(settings, self.s3_bucket, self.options, self.log)
        except LoginRefused as refused:
            total = settings.earlier
            self._remember_refusal(context, refused)
            raise
        except (ConfigurationError, TransferError) as failed:
            report, total = failed.report, settings.earlier  # where it has no report, it has moved nothing
            if report is not None:
                context["ti"].xcom_push(key="report", value=report.as_dict())
            raise
        except ConnectionFailed:
            total = settings.earlier
            raise
        finally:
            receipt = None
            if report is not None:
                tell(report, context["ti"].dag_id, self.log)
                receipt, total = report.receipt, report.total
            remember(context, total)
            self.links = leave_links(context, self._hook.endpoint, self.s3_bucket, self.s3_prefix or "", receipt)
        # Airflow takes events of the try that succeeds only, and what the tries before it moved cannot be known.
        moved = report.transferred or (context["ti"].try_number > 1 and not truth("dry_run", self.dry_run))
        if moved and (places := self._places_of_the_run()):
            uri, extra = places.target_uri(), extra_of(report)
            update_assets(self, context, uri, extra)
            if getattr(context.get("ti"), "map_index", None) not in (None, -1):
                context["ti"].xcom_push(key=UPDATED, value={"uri": uri, "extra": extra})
        if (shard := getattr(self, "shard", None)) and getattr(context["ti"], "map_index", None) not in (None, -1):
            context["ti"].xcom_push(key=PULLED_SHARD, value=shard)
        return report.as_dict()

    def _heed_refusals(self, context: Context) -> None:
        """
        Spare the partner's account where the login of another mapped task of this Dag run was refused.

        A task that somebody has cleared has more tries than those of before, and heeds only those cleared with it.

        :raises ConfigurationError: there was one.
        """
        ti = context["ti"]
        if getattr(ti, "map_index", None) in (None, -1):
            return
        found = ti.xcom_pull(task_ids=self.task_id, key=REFUSED)
        for each in [found] if isinstance(found, dict) else found or []:
            if each and each["connection"] == self.sftp_conn_id and each["max_tries"] >= ti.max_tries:
                raise ConfigurationError(
                    f"another mapped task of this Dag run was refused, and this one did not try: {each['error']}. Then "
                    "clear the failed tasks"
                )

    def _remember_refusal(self, context: Context, refused: LoginRefused) -> None:
        """Tell the mapped tasks that come later, and keep the next run of a `@continuous` Dag waiting."""
        ti = context["ti"]
        if getattr(ti, "map_index", None) not in (None, -1):
            told = {"connection": self.sftp_conn_id, "max_tries": ti.max_tries, "error": str(refused)}
            ti.xcom_push(key=REFUSED, value=told)
        if is_continuous(context["dag"]):
            self.log.error("%s", refused)
            self.log.warning(
                "This task ends in %d minutes: the next run of a @continuous Dag begins at once, and many refused "
                "logins may lock the account. Pause the Dag until the login is right",
                REFUSED_PAUSE // 60,
            )
            time.sleep(REFUSED_PAUSE)

    def _is_named_by_its_run(self) -> bool:
        """Say whether something that the transfer writes is called by its Dag run."""
        return self.receipts is not None

    def _of_the_task(self, context: Context) -> dict[str, Any]:
        """
        Return the settings that are the task's own: when the run began, on a retry, what receipts are called, and what
        the tries before this one have moved.
        """
        ti, task_try = context["ti"], None
        if self._is_named_by_its_run():
            run = context["dag_run"]
            day = getattr(run, "logical_date", None) or run.start_date  # a run that an event started has no such date
            place = (ti.dag_id, f"{day.astimezone(UTC):%Y-%m-%d}", ti.run_id, ti.task_id, ti.map_index)
            task_try = TaskTry(*place, ti.try_number)
        return {
            "retried_since": context["dag_run"].start_date if ti.try_number > 1 else None,
            "task_try": task_try,
            "earlier": moved_before(context),
        }

    def _places_of_the_run(self) -> Places | None:
        """Return where the transfer has read and written; None where it has not read its connection."""
        if self._hook is None or self._hook.server is None:
            return None
        return Places(self.direction, self._hook.server, self.sftp_path, self.s3_bucket, self.s3_prefix or "")

    def get_openlineage_facets_on_complete(self, _: Any) -> Any:
        """Return OpenLineage's inputs and outputs: the two directories; none where no connection was read."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        places = self._places_of_the_run()
        inputs, outputs = places.datasets() if places else ([], [])
        return OperatorLineage(inputs=inputs, outputs=outputs)

    def on_kill(self) -> None:
        """Stop the transfer: files are closed, unfinished ones removed, connections ended."""
        if self._hook is not None:
            self._hook.stop()
