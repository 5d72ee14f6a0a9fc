"""docker-compose.yaml as compose itself reads it: anchors, merges and variables resolved, the schema checked."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]


def available() -> bool:
    """Say whether there is a compose: as a command, as Debian's docker-compose is, or as docker's plugin."""
    return _command() is not None


def _command() -> list[str] | None:
    if alone := shutil.which("docker-compose", path=f"{os.environ['PATH']}:/usr/libexec/docker/cli-plugins"):
        return [alone]
    if shutil.which("docker") and not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        return ["docker", "compose"]
    return None


def read(**variables: str) -> dict[str, Any]:
    """
    Return docker-compose.yaml as a dict.

    :param variables: what ``${...}`` in it stands for; without them its own defaults count.
    :raises ValueError: compose refuses the file; with its words.
    """
    command = _command()
    assert command is not None, "compose is not installed"
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
    with tempfile.NamedTemporaryFile() as no_variables:  # a developer may have a .env
        files = ["--file", str(REPOSITORY / "docker-compose.yaml"), "--env-file", no_variables.name]
        done = subprocess.run([*command, *files, "config"], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise ValueError(done.stderr)
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found
