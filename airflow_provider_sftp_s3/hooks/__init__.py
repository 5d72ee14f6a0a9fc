"""From Airflow connections to the engine's clients."""
