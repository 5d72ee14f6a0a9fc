"""
Move trees of files between SFTP servers and Amazon S3 with Apache Airflow, and lose nothing.

For Dags: the operators :class:`SftpTreeToS3Operator` and :class:`S3ToSftpOperator`; :class:`SftpS3Hook` for ``@task``
functions; :func:`load_flows` for Dags from a flows.yaml. With no Airflow: :mod:`airflow_provider_sftp_s3.engine`.

Each name is imported when it is first asked for: importing this package imports nothing else.
"""

from typing import TYPE_CHECKING

from airflow_provider_sftp_s3._lazy import names_from

if TYPE_CHECKING:
    from airflow_provider_sftp_s3.engine.errors import (
        ConfigurationError,
        ConnectionFailed,
        SftpS3Error,
        TransferError,
    )
    from airflow_provider_sftp_s3.engine.options import TransferOptions
    from airflow_provider_sftp_s3.flows.dag import flow_dag
    from airflow_provider_sftp_s3.flows.file import check_flows, load_flows
    from airflow_provider_sftp_s3.hooks.sftp_s3 import SftpS3Hook
    from airflow_provider_sftp_s3.operators.assets import UpdateAssetOperator
    from airflow_provider_sftp_s3.operators.s3_unsynced import S3ListAnnouncedOperator, S3ListUnsyncedOperator
    from airflow_provider_sftp_s3.sensors.s3_unsynced import S3UnsyncedSensor
    from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator
    from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator

__version__ = "0.1.0"

__all__ = [
    "ConfigurationError",
    "ConnectionFailed",
    "S3ListAnnouncedOperator",
    "S3ListUnsyncedOperator",
    "S3ToSftpOperator",
    "S3UnsyncedSensor",
    "SftpS3Error",
    "SftpS3Hook",
    "SftpTreeToS3Operator",
    "TransferError",
    "TransferOptions",
    "UpdateAssetOperator",
    "__version__",
    "check_flows",
    "flow_dag",
    "load_flows",
]

_MODULES = {
    "engine.errors": ("ConfigurationError", "ConnectionFailed", "SftpS3Error", "TransferError"),
    "engine.options": ("TransferOptions",),
    "flows.dag": ("flow_dag",),
    "flows.file": ("check_flows", "load_flows"),
    "hooks.sftp_s3": ("SftpS3Hook",),
    "operators.assets": ("UpdateAssetOperator",),
    "operators.s3_unsynced": ("S3ListAnnouncedOperator", "S3ListUnsyncedOperator"),
    "sensors.s3_unsynced": ("S3UnsyncedSensor",),
    "transfers.s3_to_sftp": ("S3ToSftpOperator",),
    "transfers.sftp_tree_to_s3": ("SftpTreeToS3Operator",),
}

if not TYPE_CHECKING:  # to mypy a module with a __getattr__ has every name
    __getattr__ = names_from(__name__, _MODULES)


def __dir__() -> list[str]:
    return __all__
