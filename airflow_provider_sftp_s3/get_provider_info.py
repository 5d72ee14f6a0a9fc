"""What Airflow shows about the provider (`airflow providers list`, the UI's provider page)."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """
    Return the provider's description in the form of Airflow's `provider_info.schema.json`.

    Airflow calls this through the `apache_airflow_provider` entry point.
    """
    from airflow_provider_sftp_s3 import __version__

    return {
        "package-name": "airflow-provider-sftp-s3",
        "name": "SFTP and S3 trees",
        "description": "Moves trees of files between SFTP servers and Amazon S3, both ways, and loses nothing.",
        "versions": [__version__],
    }
