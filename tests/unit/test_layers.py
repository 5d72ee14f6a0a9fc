"""The floors of the house: imports go down only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import airflow_provider_sftp_s3

pytestmark = pytest.mark.unit

NAME = "airflow_provider_sftp_s3"
PACKAGE = Path(airflow_provider_sftp_s3.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py"))

#: The floors of the engine. A module may import from lower floors, and from its own.
FLOORS = {
    "clock": 0,
    "errors": 0,
    "model": 0,
    "options": 0,
    "paths": 0,
    "sigv4": 0,
    "whole": 0,
    "listing": 1,
    "s3": 1,
    "marks": 1,
    "workers": 1,
}
FLOORS |= {
    "handles": 1,
    "leavings": 1,
    "ledger": 1,
    "ssh": 1,
    "ssh_packets": 1,
    "sftp": 1,
    "sftp_protocol": 1,
    "s3_requests": 1,
    "s3_xml": 0,
}
FLOORS |= {"transfer": 2, "pull": 3, "push": 3}
ADAPTERS = ("transfers/", "hooks/", "flows", "_compat")


def imports_of(module: str) -> set[str]:
    """Return the full names of all that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are written in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("module", MODULES)
def test_only_adapters_import_airflow(module: str) -> None:
    """The engine is usable with no Airflow at all."""
    if not module.startswith(ADAPTERS):
        assert not {name for name in imports_of(module) if name.split(".")[0] == "airflow"}


@pytest.mark.parametrize(
    ("library", "owner"), [("asyncssh", "engine/ssh"), ("obstore", "engine/s3"), ("aiohttp", "engine/s3_requests")]
)
def test_a_library_has_one_importer(library: str, owner: str) -> None:
    """asyncssh and obstore can be looked at, and replaced, in one place."""
    assert [module for module in MODULES if {name.split(".")[0] for name in imports_of(module)} & {library}] == [owner]


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("engine/")])
def test_the_engine_imports_downwards(module: str) -> None:
    """No module of the engine imports from a floor above it or from outside the engine, nor pull from push."""
    name = module.removeprefix("engine/")
    if name == "__init__":
        return
    inner = {found.removeprefix(f"{NAME}.") for found in imports_of(module) if found.startswith(NAME)}
    for found in inner:
        assert found.startswith("engine."), f"{module} imports {found}"
        parts = found.split(".")
        other = parts[1]
        assert FLOORS[other] <= FLOORS[name], f"{module} imports {other}, which is above it"
        assert {name, other} != {"pull", "push"}
    assert name not in ("ssh", "sftp", "sftp_protocol") or not any(found.startswith("engine.s3") for found in inner)
    assert name != "s3" or not any(found.startswith(("engine.sftp", "engine.ssh")) for found in inner)


@pytest.mark.parametrize("module", MODULES)
def test_nothing_imports_what_users_do_not_have(module: str) -> None:
    """The package never imports tests, moto or the demo; only flows build on the operators."""
    roots = {name.split(".")[0] for name in imports_of(module)}
    assert not roots & {"tests", "moto", "demo", "pytest"}
    if not module.startswith(("transfers/", "flows")):
        assert not any(f"{NAME}.transfers" in name for name in imports_of(module))
