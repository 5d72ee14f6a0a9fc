"""What Airflow shows about the provider (`airflow providers list`, the UI's page of providers)."""

from __future__ import annotations

from typing import Any

# The services that are joined here are described by the providers whose connections are used; these are their names.
_SFTP = "SSH File Transfer Protocol (SFTP)"
_S3 = "Amazon Simple Storage Service (S3)"


def get_provider_info() -> dict[str, Any]:
    """
    Return the provider's description in the form of Airflow's `provider_info.schema.json`.

    Airflow calls this, through the `apache_airflow_provider` entry point, in every process that asks for connections
    or providers: nothing is imported here. The version and the documentation's address it takes from the package.
    """
    return {
        "package-name": "airflow-provider-sftp-s3",
        "name": "SFTP and S3 trees",
        "description": "Moves trees of files between SFTP servers and Amazon S3, both ways, and loses nothing.",
        "transfers": [
            {
                "source-integration-name": _SFTP,
                "target-integration-name": _S3,
                "python-module": "airflow_provider_sftp_s3.transfers.sftp_tree_to_s3",
            },
            {
                "source-integration-name": _S3,
                "target-integration-name": _SFTP,
                "python-module": "airflow_provider_sftp_s3.transfers.s3_to_sftp",
            },
        ],
        "hooks": [
            {
                "integration-name": _SFTP,
                "python-modules": [
                    "airflow_provider_sftp_s3.hooks.sftp_s3",
                    "airflow_provider_sftp_s3.hooks.sftp_server",
                ],
            },
            {"integration-name": _S3, "python-modules": ["airflow_provider_sftp_s3.hooks.sftp_s3"]},
        ],
        "extra-links": [
            "airflow_provider_sftp_s3.transfers.links.S3PrefixLink",
            "airflow_provider_sftp_s3.transfers.links.ReceiptLink",
        ],
    }
