"""
What is wrong with flows.yaml, as an import error of this Dag file, which defines no Dag itself.

It is a file of its own since Airflow takes a file with an import error off the schedule, with all the Dags in it.
"""

from pathlib import Path

from airflow_provider_sftp_s3.flows.file import check_flows

check_flows(Path(__file__).with_name("flows.yaml"))
