"""docker-compose.yaml, as far as it can be judged without docker. tests/distributed runs what it says as processes."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path
from typing import Any

import pytest

from matrix.rows import MWAA
from tests.conftest import require
from tests.support import compose
from tests.support.compose import REPOSITORY

pytestmark = pytest.mark.integration

DOCKERFILE = (REPOSITORY / "demo/compose/Dockerfile").read_text()
AIRFLOW = {"api-server", "scheduler", "dag-processor", "triggerer", "worker-1", "worker-2"}


def read(**variables: str) -> dict[str, Any]:
    require(compose.available(), "compose is not installed (apt-get install docker-compose)")
    return compose.read(**variables)


def text_of(mount_or_port: Any, *fields: str) -> str:
    """Return a port or a volume in compose's short form: version 1 leaves it so, version 2 makes a dict of it."""
    if isinstance(mount_or_port, str):
        return mount_or_port
    return ":".join(str(mount_or_port[name]) for name in fields if name in mount_or_port)


def test_compose_takes_it_and_every_service_has_a_health_check() -> None:
    """But `init`, which ends; whoever needs something waits until that is healthy, or until `init` has ended well."""
    services = read()["services"]
    assert set(services) == {"postgres", "redis", "init", "sftp", "s3"} | AIRFLOW
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"init"}
    for service in services.values():
        for name, how in (service.get("depends_on") or {}).items():
            expected = "service_completed_successfully" if name == "init" else "service_healthy"
            assert how["condition"] == expected
    for name in AIRFLOW:
        assert {"init", "redis", "sftp", "s3"} <= set(services[name]["depends_on"])
        assert "init" in services["sftp"]["depends_on"], "which makes its key"
    assert "api-server" in services["worker-1"]["depends_on"]


def test_nothing_is_open_to_other_machines() -> None:
    services = read()["services"]
    ports = [port for service in services.values() for port in service.get("ports") or ()]
    assert len(ports) == 3
    assert all(text_of(port, "host_ip", "published").startswith("127.0.0.1:") for port in ports)


def test_all_of_airflow_runs_in_the_same_environment() -> None:
    """The workers must be able to decrypt, sign and read what the others have written."""
    services = read()["services"]
    for name in AIRFLOW:
        assert services[name]["environment"] == services["scheduler"]["environment"]
        assert services[name]["image"] == services["init"]["image"]
    assert services["scheduler"]["environment"].items() <= services["init"]["environment"].items()


def test_no_secret_is_fixed() -> None:
    """Those in the file are for the demo only; the environment replaces each."""
    given = {"DEMO_SECRET": "s3cret", "DEMO_PASSWORD": "passw0rd", "DEMO_FERNET_KEY": "k3y"}
    services = read(**given)["services"]
    environment = services["worker-2"]["environment"]
    assert environment["AIRFLOW__API_AUTH__JWT_SECRET"] == environment["AIRFLOW__API__SECRET_KEY"] == "s3cret"
    assert environment["AIRFLOW__CORE__FERNET_KEY"] == "k3y"
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == "passw0rd"
    for name in ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CELERY__RESULT_BACKEND"):
        assert ":passw0rd@" in environment[name]


def test_the_fernet_key_is_one() -> None:
    from cryptography.fernet import Fernet

    Fernet(read()["services"]["scheduler"]["environment"]["AIRFLOW__CORE__FERNET_KEY"])


def test_what_is_mounted_is_there() -> None:
    """A file that is missing would become a directory."""
    found = read()
    mounts = [mount for service in found["services"].values() for mount in service.get("volumes") or ()]
    sources = {text_of(mount, "source", "target").split(":")[0] for mount in mounts}
    assert {source for source in sources if not source.startswith("/")} == set(found["volumes"])
    files = {Path(source) for source in sources if source.startswith("/")}
    assert {file.name for file in files} == {"sftp_s3_flows.py", "sftp_s3_flows_check.py", "flows.yaml"}
    assert all(file.is_file() for file in files)


def test_the_image_holds_an_airflow_of_the_matrix() -> None:
    """Airflow's own constraints of that version hold for everything in it."""
    requirements = (REPOSITORY / "demo/compose/requirements.txt").read_text()
    (version,) = re.findall(r"^apache-airflow==(\S+)$", requirements, re.MULTILINE)
    row = MWAA[-1]
    assert version == row.airflow
    assert re.findall(r"^FROM python:(\d+\.\d+)\.\d+-", DOCKERFILE, re.MULTILINE) == [row.python]
    assert row.constraints is not None
    assert DOCKERFILE.count(f"--constraint {row.constraints.name}") == DOCKERFILE.count("pip install") == 2


def test_no_version_floats() -> None:
    """An image has a whole version; what is installed has one of its own, or that of Airflow's constraints."""
    images = [service["image"] for service in read()["services"].values() if "build" not in service]
    assert len(images) == 2
    assert all(re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?-[a-z]+", image) for image in images)
    (constraints,) = (row.constraints for row in MWAA[-1:])
    assert constraints is not None
    pinned = re.findall(r"^([\w.-]+)==", constraints.read_text(), re.MULTILINE)
    requirements = (REPOSITORY / "demo/compose/requirements.txt").read_text()
    assert all("==" in line or line in pinned for line in requirements.splitlines() if not line.startswith("#"))


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    kept = [
        line.removeprefix("!") for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    copied = [source for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for source in line.split()[:-1]]
    assert len(copied) > 5
    for source in copied:
        assert (REPOSITORY / source).exists()
        assert any(source == each or fnmatch.fnmatch(source, f"{each}/*") for each in kept), source


def test_the_flows_become_dags_that_share_their_work() -> None:
    from airflow_provider_sftp_s3.flows.file import load_flows

    flows = load_flows(REPOSITORY / "demo/compose/flows.yaml")
    assert flows.errors == []
    assert set(flows.dags) == {"demo_pull", "demo_push"}
    assert flows.dags["demo_pull"].get_task("pull").expand_input.value == {"shard": ["1/2", "2/2"]}
