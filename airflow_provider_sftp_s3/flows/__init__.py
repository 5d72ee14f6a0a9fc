"""
Flows: Dags from YAML, with no Python.

A flow is one direction between one SFTP directory and one S3 prefix. Flows share nothing: a wrong one must not stop its
neighbours, and must be seen.

In Airflow those two wishes collide. A Dag file that raises loses all its Dags, and a file that has an import error, by
whatever trick while some of its Dags load, has *all* its Dags taken off the schedule (`DagModel.has_import_errors`, in
2.10 to 3.3). So two Dag files read the same flows.yaml:

* `dags/sftp_s3_flows.py` defines the Dags of the good flows: :func:`load_flows`.
* `dags/sftp_s3_flows_check.py` defines none, and raises what is wrong with the others: :func:`check_flows`.

Each broken flow is thus an import error like every other, in the UI's red banner, in `airflow dags list-import-errors`
and in monitoring, with the words that say what to change. It has no Dag meanwhile: its runs stay as they are and go on
once the flow is mended. A stand-in Dag that fails with the message would have replaced their tasks.
"""

from airflow_provider_sftp_s3.flows.dag import flow_dag
from airflow_provider_sftp_s3.flows.entries import FlowsFileError
from airflow_provider_sftp_s3.flows.file import Flows, check_flows, load_flows
from airflow_provider_sftp_s3.flows.settings import FlowError, FlowsError, parse_flow

__all__ = ["FlowError", "Flows", "FlowsError", "FlowsFileError", "check_flows", "flow_dag", "load_flows", "parse_flow"]
