"""Fresh venvs with the wheel in them, by uv."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from matrix.rows import MWAA, Row

#: uv of the venv that this runs in, else the one on the PATH.
UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
#: Seconds that one command may take; a cold cache on a slow line is the worst case.
TIMEOUT = 600


class RowError(Exception):
    """What a row stands for cannot be had, or is not what was installed."""


class Venv:
    """A venv that is made anew; everything said while it is made goes to `log`.

    :raises RowError: a command failed, with the last of what it said.
    """

    def __init__(self, row: Row, directory: Path, log: Path) -> None:
        self._log = log
        self.directory = directory
        self.python = directory / "bin" / "python"
        self._uv("venv", "--quiet", "--clear", "--python", str(find_python(row.python)), str(directory))

    def install(self, *arguments: str) -> None:
        """Run `uv pip install`."""
        self._uv("pip", "install", "--python", str(self.python), *arguments)

    def check(self) -> None:
        """Make sure that every installed package has what it declares to need."""
        self._uv("pip", "check", "--python", str(self.python))

    def versions(self) -> dict[NormalizedName, Version]:
        """Return what is installed, by normalised name."""
        listing = self._uv("pip", "list", "--python", str(self.python), "--format", "json")
        return {canonicalize_name(found["name"]): Version(found["version"]) for found in json.loads(listing)}

    def outdated(self) -> dict[NormalizedName, Version]:
        """Return the newest version of each package that the index has a newer one of."""
        listing = self._uv("pip", "list", "--python", str(self.python), "--outdated", "--format", "json")
        return {canonicalize_name(found["name"]): Version(found["latest_version"]) for found in json.loads(listing)}

    def _uv(self, *arguments: str) -> str:
        done = subprocess.run(
            [UV, *arguments], capture_output=True, text=True, timeout=TIMEOUT, env=clean_environment()
        )
        with self._log.open("a") as log:
            log.write(f"$ uv {' '.join(arguments)}\n{done.stderr}{done.stdout}")
        if done.returncode:
            raise RowError(done.stderr.strip() or f"uv {arguments[0]} failed")
        return done.stdout


def install(row: Row, venv: Venv, wheel: Path) -> None:
    """Install the wheel as the row says, and make sure that this is what was installed.

    On an Airflow of MWAA that is done as MWAA does it: Airflow and the Amazon provider are there already, then
    `requirements.txt` is installed under the same constraints. It must change nothing of what was there.

    :raises RowError: it cannot be installed, or something else was.
    """
    needed = requirements(wheel)
    if row.lowest:
        # Only what the command line names is "direct" to uv, so all that the wheel needs is named.
        constraints = venv.directory.with_name("constraints.txt")
        constraints.write_text(without(row.constraints, {canonicalize_name(each.name) for each in needed}))
        named = [str(each) for each in needed]
        venv.install("--resolution", "lowest-direct", "--constraints", str(constraints), *named, str(wheel))
        expected = {canonicalize_name(each.name): floor(each) for each in needed}
    elif row in MWAA:
        base = (f"apache-airflow=={row.airflow}", "apache-airflow-providers-amazon")
        venv.install("--constraints", str(row.constraints), *base)
        expected = pins(row.constraints) | venv.versions()
        line = venv.directory.with_name("requirements.txt")
        line.write_text(f"{wheel}\n")
        venv.install("--constraints", str(row.constraints), "--requirements", str(line))
    else:
        venv.install("apache-airflow", str(wheel))
        # An older provider, or an older Airflow, is what a resolver falls back to where the newest do not fit together.
        newest = venv.outdated()
        expected = {name: newest[name] for name in newest if name.startswith("apache-airflow") or name == "asyncssh"}
    venv.check()
    differing = {name: (version, expected[name]) for name, version in venv.versions().items() if name in expected}
    wrong = [f"{name} {is_} instead of {should}" for name, (is_, should) in differing.items() if is_ != should]
    if wrong:
        raise RowError(f"installed {', '.join(wrong)}")


def requirements(wheel: Path) -> list[Requirement]:
    """Return the direct dependencies that the wheel declares, without those of its extras."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        declared = Parser().parsestr(archive.read(metadata).decode()).get_all("Requires-Dist", [])
    return [requirement for requirement in map(Requirement, declared) if requirement.marker is None]


def floor(requirement: Requirement) -> Version:
    """Return the lowest version that a requirement allows."""
    (lowest,) = [Version(each.version) for each in requirement.specifier if each.operator == ">="]
    return lowest


def pins(constraints: Path | None) -> dict[NormalizedName, Version]:
    """Return what a constraints file pins, by normalised name."""
    lines = (line.partition("#")[0].strip() for line in (constraints.read_text() if constraints else "").splitlines())
    pinned = (Requirement(line) for line in lines if line)
    return {canonicalize_name(each.name): Version(str(each.specifier).removeprefix("==")) for each in pinned}


def without(constraints: Path | None, names: Iterable[str]) -> str:
    """Return the text of a constraints file without the pins of `names`."""
    return "".join(f"{name}=={version}\n" for name, version in pins(constraints).items() if name not in set(names))


def find_python(version: str) -> Path:
    """Return an interpreter of that version: one that uv finds, or one of pyenv's, active or not.

    :raises RowError: there is none. It is not downloaded: that would need more than the package index.
    """
    command = [UV, "python", "find", "--no-project", "--no-python-downloads", "--system", version]
    found = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=clean_environment())
    if found.returncode == 0:
        return Path(found.stdout.strip())
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for python in sorted(root.glob(f"versions/{version}.*/bin/python"), reverse=True):
        return python
    raise RowError(f"Python {version} is not installed: pyenv install {version}, or uv python install {version}")


def clean_environment() -> Mapping[str, str]:
    """Return this process's environment without what would lead Python or uv to another venv."""
    return {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
