"""
The Dags of flows.yaml, one for each flow that has no error.

What is wrong with the others is told by sftp_s3_flows_check.py: copy all three files into Airflow's dags folder.
"""

from pathlib import Path

from airflow_provider_sftp_s3.flows.file import load_flows

globals().update(load_flows(Path(__file__).with_name("flows.yaml")).dags)
