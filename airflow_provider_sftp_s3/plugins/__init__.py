"""What Airflow's own UI shows of the flows."""
