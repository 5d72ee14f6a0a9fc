"""An Airflow `aws` connection -> the engine's bucket."""

from __future__ import annotations

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, keep_secrets_out_of_logs
from airflow_provider_sftp_s3.engine.s3.extra_args import OF_THE_CONNECTION
from airflow_provider_sftp_s3.engine.settings import check_bucket_name


def bucket_of(aws_conn_id: str | None, name: str, options: TransferOptions) -> Bucket:
    """
    Return the bucket `name` with the credentials, region, endpoint, role and proxy that S3Hook takes from a connection.

    :param name: the bucket's name.
    :param aws_conn_id: id of the connection; None: boto3's own way to find credentials, such as MWAA's execution role.
    :raises ConfigurationError: `name` is not what a bucket can be called.
    """
    check_bucket_name(name)
    keep_secrets_out_of_logs()  # already now: a role is assumed next
    hook = S3Hook(aws_conn_id=aws_conn_id)
    if "extra_args" in hook.conn_config.extra_config:
        raise ConfigurationError(f"extra_args of the aws connection: put them into {OF_THE_CONNECTION}")
    session, settings = hook.get_session(), hook.conn_config
    # Not the hook's own client: it has a session of its own, which would assume a role for a second time.
    client = session.client(
        "s3",
        endpoint_url=settings.get_service_endpoint_url("s3"),
        config=settings.botocore_config,
        verify=hook.verify,
    )
    return Bucket(name, client, session, options, hook.verify, hook.service_config.get("extra_args"))
