"""From Airflow connections to the engine's clients, and the hook that pulls and pushes with them."""
