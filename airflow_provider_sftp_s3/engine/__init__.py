"""Plain asyncio transfer engine: usable, and tested, with no Airflow at all."""
