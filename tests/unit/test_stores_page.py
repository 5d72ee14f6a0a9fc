"""docs/stores.md says of each S3 store what tests/stores has tried on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stores.table import page

pytestmark = pytest.mark.unit

PAGE = Path(__file__).parents[2] / "docs/stores.md"


def test_its_tables_are_those_of_the_tests() -> None:
    """Line by line: what is not tried is not claimed, and what was found out is said."""
    assert [line for line in PAGE.read_text().splitlines() if line.startswith("|")] == page()
