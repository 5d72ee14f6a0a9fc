"""What both operators share: how the engine is begun, its log, and its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from airflow_provider_sftp_s3._compat import AirflowFailException, is_continuous
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, LoginRefused, TransferError
from airflow_provider_sftp_s3.engine_thread import EngineThread, taking_turns
from airflow_provider_sftp_s3.transfers.assets import UPDATED, update_assets
from airflow_provider_sftp_s3.transfers.lineage import Places
from airflow_provider_sftp_s3.transfers.templates import TemplatedOperator

if TYPE_CHECKING:
    from airflow_provider_sftp_s3._compat import Context
    from airflow_provider_sftp_s3.engine.model import Report
    from airflow_provider_sftp_s3.engine.options import TransferOptions
    from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
    from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.transfers.log import LogObserver

T = TypeVar("T")

#: XCom of a mapped task whose login was refused: those of its Dag run that come after it do not try theirs.
REFUSED = "login_refused"

#: Seconds that a task whose login was refused waits in a Dag that would begin its next run at once: a server that locks
#: an account after some refusals mostly counts those of the last minutes.
REFUSED_PAUSE = 15 * 60.0


class TransferOperator(TemplatedOperator):
    """
    Base of the operators: opens what the connections describe, runs the engine, and ends as Airflow expects.

    Errors that a retry cannot mend become AirflowFailException, which Airflow does not retry.

    An asset alias among its outlets gets an event of the asset that was written to, if anything was moved:
    ``s3://bucket/prefix`` of a pull, ``sftp://host:port/path`` of a push. A mapped task also leaves the asset's URI in
    XCom, for :class:`~airflow_provider_sftp_s3.transfers.assets.UpdateAssetOperator`.
    """

    direction: ClassVar[Literal["pull", "push"]]
    sftp_conn_id: str
    sftp_path: str
    aws_conn_id: str | None
    s3_bucket: str
    s3_prefix: str
    dry_run: bool | str
    options: TransferOptions | dict[str, Any] | None

    _engine: EngineThread | None = None
    _places: Places | None = None

    def transfer(
        self,
        context: Context,
        work: Callable[[SftpSession, Bucket, TransferOptions, LogObserver], Coroutine[Any, Any, Report]],
    ) -> dict[str, Any]:
        """
        Open session and bucket, run `work`, and return its report.

        :raises ConfigurationError: somebody has to change something first. Where that shows in the middle of a run,
            the report is in XCom under ``report``, too.
        :raises TransferError: something failed; the report is in XCom under ``report``.
        :raises ConnectionFailed: the server or S3 cannot be reached.
        """
        from airflow_provider_sftp_s3.engine.options import TransferOptions
        from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
        from airflow_provider_sftp_s3.hooks.s3_bucket import bucket_of
        from airflow_provider_sftp_s3.hooks.sftp_server import SftpSessionHook

        server, options = SftpSessionHook(self.sftp_conn_id).read(TransferOptions.of(self.options))
        self._heed_refusals(context)
        self._places = Places(self.direction, server, self.sftp_path, self.s3_bucket, self.s3_prefix or "")
        promised: Future[Bucket] = Future()

        async def session_and_work() -> Report:
            async with (
                SftpSession(server, options) as session,
                await asyncio.shield(asyncio.wrap_future(promised)) as bucket,
            ):
                with LogObserver(self.log) as observer:
                    return await work(session, bucket, options, observer)

        self._engine = EngineThread()
        try:
            try:
                wait = self._engine.start(session_and_work)
                # boto3 takes as long to begin as a login does: at the same time.
                with taking_turns:
                    promised.set_result(bucket_of(self.aws_conn_id, self.s3_bucket, options))
            except BaseException:
                self._engine.stop()
                raise
            report = wait()
        except LoginRefused as refused:
            self._remember_refusal(context, refused)
            raise
        except (ConfigurationError, TransferError) as failed:
            if failed.report is not None:
                self.log.info("%s", failed.report.summary())
                context["ti"].xcom_push(key="report", value=failed.report.as_dict())
            raise
        finally:
            self._engine = None
        self.log.info("%s", report.summary())
        # Airflow takes events of the try that succeeds only, and what the tries before it moved cannot be known.
        moved = report.transferred or (context["ti"].try_number > 1 and not truth("dry_run", self.dry_run))
        if moved:
            uri = self._places.target_uri()
            update_assets(self, context, uri)
            if getattr(context.get("ti"), "map_index", None) not in (None, -1):
                context["ti"].xcom_push(key=UPDATED, value=uri)
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

    def get_openlineage_facets_on_complete(self, _: Any) -> Any:
        """Return OpenLineage's inputs and outputs: the two directories; none where no connection was read."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        inputs, outputs = self._places.datasets() if self._places else ([], [])
        return OperatorLineage(inputs=inputs, outputs=outputs)

    def on_kill(self) -> None:
        """Stop the engine: files are closed, unfinished ones removed, connections ended."""
        if self._engine is not None:
            self._engine.stop()


def seconds(name: str, value: timedelta | float | None) -> float | None:
    """Return a duration argument in seconds. :raises ConfigurationError: it is none."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    raise ConfigurationError(f"{name} must be a timedelta or a number of seconds, not {value!r}")


def truth(name: str, value: object) -> bool:
    """Return a templated flag as a bool: a template renders to text. :raises ConfigurationError: it is none."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("true", "1", "yes"):
        return True
    if text in ("false", "0", "no", "", "none"):
        return False
    raise ConfigurationError(f"{name} must be true or false, not {value!r}")


def fails_for_good(execute: Callable[[Any, Context], T]) -> Callable[[Any, Context], T]:
    """Have what nobody but a user can mend fail at once, with no retries."""
    import functools

    @functools.wraps(execute)
    def wrapped(self: Any, context: Context) -> T:
        try:
            return execute(self, context)
        except ConfigurationError as wrong:
            raise AirflowFailException(str(wrong)) from None

    return wrapped
