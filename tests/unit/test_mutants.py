"""The mutants of ``make mutants``, which takes minutes: that the code they change is still there takes none."""

from __future__ import annotations

import pytest

from tests.faults.mutants import MUTANTS, PACKAGE, REPOSITORY, Mutant

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.guard)
def test_a_guard_stands_where_its_mutant_looks_for_it(mutant: Mutant) -> None:
    """Once: else the mutant would be none, or take out something else with it."""
    text = (REPOSITORY / PACKAGE / mutant.module).read_text()
    assert text.count(mutant.old) == 1
    assert mutant.new != mutant.old
