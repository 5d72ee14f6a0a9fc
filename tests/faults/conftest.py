"""Assertions of the harness explain themselves as a test's own do."""

# hypothesis's plugin imports it at the end of the session otherwise, where a future that is collected while source is
# parsed kills pytest on Python 3.11: see pytest_runtest_makereport in tests/conftest.py.
import hypothesis  # noqa: F401
import pytest

pytest.register_assert_rewrite("tests.faults.harness")
