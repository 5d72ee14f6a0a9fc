"""The provider under every Airflow it supports, installed from the built wheel: `make matrix`.

`rows.py` says which Airflows. For each, `trial.py` makes a fresh venv (`venvs.py`), starts an SFTP server and an S3
API in its own process (`servers.py`), and runs `inside.py` with the venv's Python, so that nothing but Airflow and the
wheel is installed there: what tests need would disturb the versions that are to be tested.

`constraints/` holds Airflow's own constraints of the versions that MWAA offers, as they were published; MWAA forces
them on every `requirements.txt`.
"""
