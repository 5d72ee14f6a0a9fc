"""The project's main job with no docker and no account: ``make demo``."""
