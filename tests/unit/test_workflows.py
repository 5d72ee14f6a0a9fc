"""The workflow files and the issue templates, as far as they can be judged where they do not run."""

from __future__ import annotations

import itertools
import re
import subprocess
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
    """To publish, and to put the site on its pages, are the only rights to write; all else reads."""
    for path in WORKFLOWS:
        assert read(path)["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in jobs().items() if "permissions" in job}
    assert more == {
        "docs/deploy": {"pages": "write", "id-token": "write"},
        "release/build": {"contents": "read", "pages": "read"},
        "release/publish": {"id-token": "write"},
    }
    assert "secrets." not in "".join(path.read_text() for path in WORKFLOWS)
    assert all("timeout-minutes" in job for name, job in jobs().items() if name != "docs/deploy")


def step(job: str, words: str) -> str:
    """Return what a step runs whose name has these words."""
    (script,) = [each["run"] for each in jobs()[job]["steps"] if words in each.get("name", "")]
    return str(script)


def run(script: str, directory: Path, *, where: Path | str = REPOSITORY, **environment: str) -> int:
    """Run a step as the workflow's shell does, with `gh` from this directory, and return its exit status."""
    places = f"{directory}:/usr/bin:/bin"
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=where, env={"PATH": places, **environment}, check=False).returncode


def test_the_release_looks_whether_tag_version_and_changelog_agree(tmp_path: Path) -> None:
    """What was never published has no date in the changelog, and cannot be published by a tag of its name."""
    script, version = step("release/build", "changelog"), airflow_provider_sftp_s3.__version__
    module = tmp_path / "airflow_provider_sftp_s3/__init__.py"
    module.parent.mkdir()
    module.write_bytes((REPOSITORY / module.relative_to(tmp_path)).read_bytes())
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text(f"# Changelog\n\n## Unreleased\n\n## {version} - 2027-01-31\n")
    assert run(script, tmp_path, where=tmp_path, GITHUB_REF_NAME=f"v{version}") == 0
    assert run(script, tmp_path, where=tmp_path, GITHUB_REF_NAME=f"v{version}.1") != 0
    changelog.write_text((REPOSITORY / "CHANGELOG.md").read_text())
    dated = re.findall(r"^## ([\d.]+) - \d{4}-\d\d-\d\d$", changelog.read_text(), re.MULTILINE)
    assert (run(script, tmp_path, where=tmp_path, GITHUB_REF_NAME=f"v{version}") == 0) == (version in dated)


def test_the_first_release_has_to_say_that_it_is_one(tmp_path: Path) -> None:
    """It ends where README or docs say still that there is none."""
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    says = any("not on the package index yet" in page.read_text() for page in pages)
    assert (run(step("release/build", "no release"), tmp_path) != 0) == says


@pytest.mark.parametrize(
    ("gh", "site"),
    [
        ("echo https://docs.example/x/", "https://docs.example/x/"),
        ("""echo '{"message": "Not Found"}'; exit 1""", ""),
    ],
    ids=["a site", "none"],
)
def test_the_release_knows_where_the_project_is_at_home(tmp_path: Path, gh: str, site: str) -> None:
    """And where its site is; of a repository that has none, the answer is an error with a text."""
    (tmp_path / "gh").write_text(f"#!/bin/sh\n{gh}\n")
    (tmp_path / "gh").chmod(0o755)
    where = {"GITHUB_SERVER_URL": "https://code.example", "GITHUB_REPOSITORY": "somebody/x"}
    assert run(step("release/build", "at home"), tmp_path, GITHUB_ENV=str(tmp_path / "env"), **where) == 0
    assert (tmp_path / "env").read_text().splitlines() == [
        "PROJECT_URL=https://code.example/somebody/x",
        f"PROJECT_DOCS_URL={site}",
    ]


def test_the_changelog_keeps_its_form() -> None:
    """What is not released stands first, what was published has its date, and the kinds are Keep a Changelog's."""
    headings = re.findall(r"^(##+) (.+)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    versions = [text for level, text in headings if level == "##"]
    assert versions[0] == "Unreleased"
    assert all(
        re.fullmatch(r"\d+\.\d+\.\d+( - \d{4}-\d\d-\d\d|, never published)", version) for version in versions[1:]
    )
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
