"""Which files include and exclude take."""

from __future__ import annotations

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.globs import Globs

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("include", "exclude", "relative", "reason"),
    [
        ("*", None, "a/b.txt", None),
        ("*.csv", None, "a/b.csv", None),
        ("*.csv", None, "a/b.txt", "not included"),
        (["*.csv", "*.txt"], None, "b.txt", None),
        ("*", "*.tmp", "a/b.tmp", "excluded"),
        ("*.tmp", "*.tmp", "b.tmp", "excluded"),
        ("a/*.csv", None, "a/b.csv", None),
        ("a/*.csv", None, "a/c/b.csv", "not included"),
        ("a/**/*.csv", None, "a/c/d/b.csv", None),
        ("a/**/*.csv", None, "a/b.csv", None),
        ("**/b.csv", None, "b.csv", None),
        ("a/**", None, "a/c/d", None),
        ("a/**", None, "b/c", "not included"),
        ("a/**", None, "a", "not included"),  # what is beneath it, not a file of that name
        ("a/**", None, "a/b", None),
        ("*", ["a/**"], "a", None),
        ("**/a/**", None, "b/a", "not included"),
        ("/**", None, "a", None),
        ("*", ["old/**"], "old/x/y", "excluded"),
        ("/a/*", None, "a/b", None),
        ("[ab].txt", None, "a.txt", None),
        ("*.CSV", None, "b.csv", "not included"),
        ("?", None, "é", None),
    ],
)
def test_globs(include: str | list[str], exclude: str | list[str] | None, relative: str, reason: str | None) -> None:
    """With a slash against the path, without one against the name; exclude wins."""
    assert Globs(include, exclude).reason_to_skip(relative) == reason


@pytest.mark.parametrize("include", ["", [""], [3]])
def test_a_glob_that_is_none_is_a_wrong_setting(include: object) -> None:
    """The message names the argument."""
    with pytest.raises(ConfigurationError, match="include"):
        Globs(include)  # type: ignore[arg-type]


@pytest.mark.parametrize("empty", [[], (), set()])
def test_an_empty_list_to_include_is_refused(empty: object) -> None:
    """Such a run would take nothing and be green, time and again; an empty list to exclude is what none is."""
    with pytest.raises(ConfigurationError, match=r"include is an empty list, .* '\*' takes all"):
        Globs(include=empty)  # type: ignore[arg-type]
    assert Globs(exclude=empty).reason_to_skip("a") is None  # type: ignore[arg-type]
