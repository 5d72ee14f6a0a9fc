"""An Airflow `aws` connection -> the engine's bucket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import botocore.exceptions
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_provider_sftp_s3._compat import AirflowException
from airflow_provider_sftp_s3.engine.errors import AuthenticationFailed, ConfigurationError, ConnectionFailed
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.paths import reason_of
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, keep_secrets_out_of_logs
from airflow_provider_sftp_s3.engine.s3.extra_args import OF_THE_CONNECTION
from airflow_provider_sftp_s3.engine.settings import check_bucket_name
from airflow_provider_sftp_s3.hooks.aws_fields import check_fields, remarks_on
from airflow_provider_sftp_s3.hooks.extra import fields_of

#: The field that an error of botocore is about, where its type tells.
_FIELDS: tuple[tuple[type[Exception], str], ...] = (
    (botocore.exceptions.ProfileNotFound, "profile_name"),
    (botocore.exceptions.InvalidRegionError, "region_name"),
    (botocore.exceptions.NoRegionError, "region_name"),
    (botocore.exceptions.ParamValidationError, "role_arn or assume_role_kwargs"),
    (NotImplementedError, "assume_role_method"),
)
#: What else Airflow and botocore raise of a role that cannot be had: a mapping lacks what they look for, or a file or a
#: package is not there.
_OF_A_ROLE = (AirflowException, LookupError, ImportError, FileNotFoundError, IsADirectoryError, PermissionError)
#: Words of AWS's security service for what passes.
_PASSING = (
    *("Throttling", "ThrottlingException", "RequestLimitExceeded", "ServiceUnavailable", "InternalFailure"),
    "IDPCommunicationError",
)


class _Hook(S3Hook):
    """Looks at what stands in the connection before botocore stumbles over it."""

    @classmethod
    def get_connection(cls, conn_id: str) -> Any:
        connection = super().get_connection(conn_id)
        check_fields(conn_id, connection, fields_of("aws", conn_id, connection))
        return connection


def bucket_of(aws_conn_id: str | None, name: str, options: TransferOptions) -> Bucket:
    """
    Return the bucket `name` with the credentials, region, endpoint, role and proxy that S3Hook takes from a connection.

    :param name: the bucket's name.
    :param aws_conn_id: id of the connection; None: boto3's own way to find credentials, such as MWAA's execution role.
    :raises ConfigurationError: `name` is not what a bucket can be called, or a field of the connection cannot work.
    :raises AuthenticationFailed: the role cannot be assumed.
    :raises ConnectionFailed: AWS's security service, which is asked for the role, cannot be reached.
    """
    check_bucket_name(name)
    keep_secrets_out_of_logs()  # already now: a role is assumed next
    hook = _Hook(aws_conn_id=aws_conn_id)
    with _explained(aws_conn_id, "config_kwargs"):
        settings = hook.conn_config
    if "extra_args" in settings.extra_config:
        raise ConfigurationError(f"extra_args of the aws connection: put them into {OF_THE_CONNECTION}")
    with _explained(aws_conn_id, "role_arn, profile_name or session_kwargs", _OF_A_ROLE):
        session = hook.get_session()
        if (credentials := session.get_credentials()) is not None:
            credentials.get_frozen_credentials()  # by a web identity, a role is asked for only now
    with _explained(aws_conn_id, "endpoint_url, region_name or config_kwargs"):
        # Not the hook's own client: it has a session of its own, which would assume a role for a second time.
        client = session.client(
            "s3",
            endpoint_url=settings.get_service_endpoint_url("s3"),
            config=settings.botocore_config,
            verify=hook.verify,
        )
        bucket = Bucket(name, client, session, options, hook.verify, hook.service_config.get("extra_args"))
        bucket.remarks = remarks_on(aws_conn_id, settings.extra_config)
        return bucket


@contextlib.contextmanager
def _explained(conn_id: str | None, fields: str, more: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """
    Turn what botocore raises within the block into an error that says what to change.

    :param fields: what the block is about, where the error's type does not tell.
    :param more: errors that say so, too, in this block.
    """
    where = f"the aws connection {conn_id!r}" if conn_id else "the environment's own settings of AWS"
    try:
        yield
    except (ConfigurationError, ConnectionFailed):
        raise
    except (
        botocore.exceptions.ConnectionError,
        botocore.exceptions.HTTPClientError,
        botocore.exceptions.MetadataRetrievalError,
    ) as lost:
        raise ConnectionFailed(f"credentials of {where}: {reason_of(lost)}") from None
    except botocore.exceptions.ClientError as refused:
        status = refused.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status >= 500 or refused.response.get("Error", {}).get("Code") in _PASSING:
            raise ConnectionFailed(f"credentials of {where}: {reason_of(refused)}") from None
        raise AuthenticationFailed(f"role_arn of {where} cannot be assumed: {reason_of(refused)}") from None
    except (
        *(botocore.exceptions.BotoCoreError, ValueError, TypeError, AttributeError, NotImplementedError),
        *more,
    ) as wrong:
        field = next((field for kind, field in _FIELDS if isinstance(wrong, kind)), fields)
        if "Invalid endpoint" in str(wrong):
            field = "endpoint_url"
        said = f"there is no {wrong}" if isinstance(wrong, LookupError) else reason_of(wrong)
        raise ConfigurationError(f"{field} of {where} cannot be used: {said}") from None
