"""What is published: the wheel, its metadata, and what Airflow shows of the provider."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from packaging.requirements import Requirement

import airflow_provider_sftp_s3
from airflow_provider_sftp_s3.get_provider_info import get_provider_info
from airflow_provider_sftp_s3.plugins.plugin import SftpS3Plugin

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()
NAME = "airflow_provider_sftp_s3"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel and the sdist, as built from this checkout."""
    directory = tmp_path_factory.mktemp("dist")
    build(REPOSITORY, directory)
    return directory


def build(source: Path, directory: Path, **environment: str) -> None:
    """Build wheel and sdist, with nothing of a release in the environment but what is given."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(directory)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PROJECT_")}
    subprocess.run(command, cwd=source, env=kept | environment, check=True, capture_output=True)


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """The wheel's METADATA."""
    return metadata_of(wheel)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """All modules, `py.typed` and the files of the page; no tests, demo, Dags or matrix."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    package = REPOSITORY / NAME
    kinds = (".py", ".typed", ".html", ".js", ".css", ".svg")
    files = {path.relative_to(REPOSITORY).as_posix() for path in package.rglob("*") if path.suffix in kinds}
    assert set(names) == files
    assert {f"{NAME}/py.typed", f"{NAME}/plugins/static/index.html"} <= files


def test_the_licence_is_in_both(wheel: Path, dist: Path) -> None:
    licence = (REPOSITORY / "LICENSE").read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
        assert archive.read(name) == licence
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert f"{sdist.name.removesuffix('.tar.gz')}/LICENSE" in archive.getnames()


def test_the_version_has_one_source(metadata: Message) -> None:
    """`__version__`; nothing else in the repository spells it but the changelog."""
    version = airflow_provider_sftp_s3.__version__
    assert metadata["Version"] == version
    assert f'version = "{version}"' not in (REPOSITORY / "pyproject.toml").read_text()
    assert version not in json.dumps(get_provider_info())


def test_the_metadata_say_what_is_true(metadata: Message) -> None:
    """Licence, Pythons, and the README as description."""
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == README


@pytest.mark.slow
def test_a_release_knows_where_the_project_is_at_home(tmp_path: Path, dist: Path, metadata: Message) -> None:
    """Its links and the README's lead there, of a wheel that is built from the sdist, too; else there are none."""
    assert metadata.get_all("Project-URL") is None
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    build(source, tmp_path / "dist", PROJECT_URL="https://code.example/x", PROJECT_DOCS_URL="https://docs.example/")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    released = metadata_of(wheel)
    links = dict(link.split(", ") for link in released.get_all("Project-URL", []))
    version = f"v{airflow_provider_sftp_s3.__version__}"
    assert links == {
        "Documentation": "https://docs.example",
        "Repository": "https://code.example/x",
        "Issues": "https://code.example/x/issues",
        "Changelog": f"https://code.example/x/blob/{version}/CHANGELOG.md",
    }
    targets = re.findall(r"\]\(([^)]+)\)", str(released.get_payload()))
    assert len(targets) == len(re.findall(r"\]\(([^)]+)\)", README)) > 20
    pictures = [target for target in targets if target.endswith(".png")]
    assert pictures == [f"https://code.example/x/raw/{version}/docs/pictures/flows-light.png"], (
        "blob/ is a page about it"
    )
    pages = set(targets) - set(pictures)
    assert all(target.startswith(f"https://code.example/x/blob/{version}/") for target in pages)


def test_requirements_have_floors_and_no_ceilings(metadata: Message) -> None:
    """A ceiling would keep users from what MWAA's constraints, or the next Airflow, bring."""
    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    operators = {each.name: [specifier.operator for specifier in each.specifier] for each in requirements}
    assert operators == {each.name: [">="] for each in requirements}
    assert metadata.get_all("Provides-Extra") == ["sqs"]


@pytest.mark.slow
def test_twine_finds_nothing_to_complain_of(dist: Path) -> None:
    files = [str(path) for path in dist.iterdir() if path.suffix in (".whl", ".gz")]
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_airflow_finds_the_provider(wheel: Path) -> None:
    """By its entry point, of the installed package and of the wheel alike."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert f"provider_info = {NAME}.get_provider_info:get_provider_info" in archive.read(name).decode()
    loaded = [found.load() for found in entry_points(group="apache_airflow_provider") if NAME in found.value]
    assert loaded == [get_provider_info]


def test_airflow_finds_the_plugin(wheel: Path) -> None:
    """By its entry point: Airflow loads no plugin that only the provider info names, unless it loads all providers."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert f"sftp_s3 = {NAME}.plugins.plugin:SftpS3Plugin" in archive.read(name).decode()
    assert [found.load() for found in entry_points(group="airflow.plugins") if NAME in found.value] == [SftpS3Plugin]


def test_the_provider_info_passes_airflows_schema() -> None:
    """That of the installed Airflow; `make matrix` tries the others."""
    import airflow

    (schema,) = (found for place in airflow.__path__ if (found := Path(place, "provider_info.schema.json")).exists())
    jsonschema.validate(get_provider_info(), json.loads(schema.read_text()))


def test_the_provider_info_says_only_what_is_true() -> None:
    """Modules that are there, and integrations that the providers we need describe."""
    from airflow.providers.amazon.get_provider_info import get_provider_info as amazon
    from airflow.providers.sftp.get_provider_info import get_provider_info as sftp

    info = get_provider_info()
    known = {each["integration-name"] for other in (amazon, sftp) for each in other()["integrations"]}
    for transfer in info["transfers"]:
        assert {transfer["source-integration-name"], transfer["target-integration-name"]} <= known
        assert _classes(transfer["python-module"], "Operator")
    for hook in info["hooks"]:
        assert hook["integration-name"] in known
        assert all(_classes(module, "Hook") for module in hook["python-modules"])


def _classes(module: str, suffix: str) -> list[Any]:
    """Return the classes that a module defines under names that end with `suffix`."""
    members = inspect.getmembers(importlib.import_module(module), inspect.isclass)
    return [each for name, each in members if name.endswith(suffix) and each.__module__ == module]
