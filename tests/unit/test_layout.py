"""Where the tests of a module are: each module of the engine has a file of its own, named for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_layers import MODULES, NAME, imports_of, rooms_in

pytestmark = pytest.mark.unit

TESTS = Path(__file__).parents[1]
#: What is nothing without both of its ends, and tested where those are.
WITH_BOTH_ENDS = ("engine/pull", "engine/push")
ENGINE = [module for module in MODULES if module.startswith("engine/") and not module.endswith("__init__")]


def file_of(module: str) -> Path:
    """Return the file that the tests of a module are in: ``unit/test_sftp_file.py`` for ``engine/sftp/file``."""
    suite = "integration" if module in WITH_BOTH_ENDS else "unit"
    return TESTS / suite / f"test_{module.removeprefix('engine/').replace('/', '_')}.py"


@pytest.mark.parametrize("module", ENGINE)
def test_each_module_of_the_engine_has_a_test_file(module: str) -> None:
    """With a test in it, and an import of the module: one that has moved leaves no file behind that would pass."""
    source = file_of(module).read_text()
    assert "def test_" in source
    imports = imports_of(source)
    assert module in rooms_in(imports) or module in WITH_BOTH_ENDS, f"{file_of(module)} does not import {NAME}/{module}"


def test_each_test_file_of_the_unit_suite_is_somebodys() -> None:
    """One that is named for a module of a package of the engine is named for one that is there."""
    named = {path.name for path in (TESTS / "unit").glob("test_s[3f]*_*.py")}
    others = {"test_s3_events.py"}  # of the operators
    assert named - others == {file_of(module).name for module in ENGINE if module.count("/") > 1}
