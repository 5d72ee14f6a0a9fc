"""How old a file is, by an mtime of whole seconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine.listing import is_young

pytestmark = pytest.mark.unit


@given(st.floats(0, 1e9), st.floats(0, 1e3), st.floats(0.001, 1e3))
def test_a_file_is_left_alone_for_all_of_min_age(written: float, age: float, min_age: float) -> None:
    """Whenever in its second it was written: its mtime says the second only."""
    if age < min_age:
        assert is_young(int(written), written + age, min_age)


def test_it_is_taken_a_second_later_at_last() -> None:
    assert not is_young(100, 131.0, 30.0)
    assert not is_young(100, 100.0, 0)
