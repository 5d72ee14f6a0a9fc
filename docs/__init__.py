"""What makes the site: see conf.py, and `make docs`."""
