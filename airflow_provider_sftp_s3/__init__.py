"""Move trees of files between SFTP servers and Amazon S3 with Apache Airflow, and lose nothing."""

__version__ = "0.1.0"
