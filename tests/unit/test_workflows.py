"""The workflow files and the issue templates, as far as they can be judged where they do not run."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import airflow_provider_sftp_s3

REPOSITORY = Path(__file__).parents[2]
GITHUB = REPOSITORY / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))

pytestmark = [pytest.mark.unit, pytest.mark.skipif(not GITHUB.exists(), reason="the sdist has none")]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def jobs() -> dict[str, Any]:
    return {f"{path.stem}/{name}": job for path in WORKFLOWS for name, job in read(path)["jobs"].items()}


def test_each_make_is_a_target() -> None:
    """Of each value of a job's matrix."""
    (targets,) = re.findall(r"^\.PHONY: (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    made = set()
    for job in jobs().values():
        suites = job.get("strategy", {}).get("matrix", {}).get("suite", [""])
        for step, suite in itertools.product(job["steps"], suites):
            made |= set(re.findall(r"^make (\w+)", step.get("run", "").replace("${{ matrix.suite }}", suite), re.M))
    assert made <= set(targets.split())
    assert {"test", "slow", "package", "docs", "faults"} <= made


def test_nobody_gets_more_rights_than_needed() -> None:
    """To publish, and to put the site on its pages, are the only rights; all else reads."""
    for path in WORKFLOWS:
        assert read(path)["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in jobs().items() if "permissions" in job}
    assert more == {"docs/deploy": {"pages": "write", "id-token": "write"}, "release/publish": {"id-token": "write"}}
    assert "secrets." not in "".join(path.read_text() for path in WORKFLOWS)
    assert all("timeout-minutes" in job for name, job in jobs().items() if name != "docs/deploy")


def test_the_release_looks_for_the_version_where_it_is() -> None:
    """With the patterns that the workflow has, in the files that are there."""
    (script,) = [step["run"] for step in jobs()["release/build"]["steps"] if "changelog" in step.get("name", "")]
    (pattern,) = re.findall(r"s/(\^__version__ = .*?\$)/", script)
    source = (REPOSITORY / "airflow_provider_sftp_s3/__init__.py").read_text()
    found = re.findall(pattern.replace(r"\(", "(").replace(r"\)", ")"), source, re.MULTILINE)
    assert found == [airflow_provider_sftp_s3.__version__]
    (heading,) = re.findall(r'grep -E "(.*)" CHANGELOG', script)
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    assert re.search(heading.replace("$version", found[0]), changelog, re.MULTILINE)


def test_the_changelog_keeps_its_form() -> None:
    """What is not released stands first, each version has its date, and there are no kinds but Keep a Changelog's."""
    headings = re.findall(r"^(##+) (.+)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    versions = [text for level, text in headings if level == "##"]
    assert versions[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", version) for version in versions[1:])
    kinds = {text for level, text in headings if level == "###"}
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.parametrize("path", sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem)
def test_an_issue_template_is_a_form(path: Path) -> None:
    """Each field has a name of its own and a label; of a fault, log, versions and flow are asked for."""
    form = read(path)
    if path.stem == "config":
        assert form == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "body"} <= form.keys()
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    ids = [field["id"] for field in fields]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in fields)
    if path.stem == "fault":
        required = {field["id"] for field in fields if field.get("validations", {}).get("required")}
        assert {"what", "log", "flow", "versions"} <= required
