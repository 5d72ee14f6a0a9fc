"""Which files include and exclude take."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize("field", ["include", "exclude"])
@pytest.mark.parametrize("glob", ["in/", "/", "//", "in//*.csv", "./*.csv", "in/./*", "../*", "/in/**/"])
def test_a_glob_that_no_file_can_match_says_what_to_write(field: str, glob: str) -> None:
    """It would take nothing, and be green, or leave nothing out that was to be left out."""
    with pytest.raises(ConfigurationError, match=rf"{field}: .* Write 'in/\*\*' for all that is beneath a directory"):
        Globs(**{field: ["*.txt", glob]})


@pytest.mark.parametrize("empty", [[], (), set()])
def test_an_empty_list_to_include_is_refused(empty: object) -> None:
    """Such a run would take nothing and be green, time and again; an empty list to exclude is what none is."""
    with pytest.raises(ConfigurationError, match=r"include is an empty list, .* '\*' takes all"):
        Globs(include=empty)  # type: ignore[arg-type]
    assert Globs(exclude=empty).reason_to_skip("a") is None  # type: ignore[arg-type]


def stands_for(pattern: str, relative: str) -> bool:
    """Say what a glob means, in the words of its documentation: it tries each number of directories for each `**`."""

    def segments(names: list[str], patterns: list[str]) -> bool:
        if not patterns:
            return not names
        first, rest = patterns[0], patterns[1:]
        if first == "**":
            return any(segments(names[skip:], rest) for skip in range(len(names) + 1)) if rest else bool(names)
        return bool(names) and fnmatchcase(names[0], first) and segments(names[1:], rest)

    if "/" not in pattern:
        return fnmatchcase(posixpath.basename(relative), pattern)
    return segments(relative.split("/"), pattern.removeprefix("/").split("/"))


NAMES = st.sampled_from(["a", "b", "ab", "ba", ".a", "a\n", "\udcff", ""])
PARTS = st.sampled_from(["**", "**", "*", "a", "b", "a*", "*b", "?", "[ab]", "[!a]", "[", "***"])


@given(st.lists(NAMES, min_size=1, max_size=6).map("/".join), st.lists(PARTS, min_size=1, max_size=7).map("/".join))
def test_a_glob_is_what_its_words_say(relative: str, pattern: str) -> None:
    """Whatever its segments, and however many of them are `**`."""
    if pattern:
        taken = Globs(pattern).reason_to_skip(relative) is None
        assert taken == stands_for(pattern, relative)
        assert (Globs("*", pattern).reason_to_skip(relative) is None) != taken


def test_many_directories_for_many_stars_are_looked_at_once_each() -> None:
    """No name is compared more often than there are segments in the pattern, with 40 `**` in 500 directories."""
    compared = 0

    def counted(match: Callable[[str], re.Match[str] | None]) -> Callable[[str], re.Match[str] | None]:
        def compare(name: str) -> re.Match[str] | None:
            nonlocal compared
            compared += 1
            return match(name)

        return compare

    names, pattern = ["a"] * 500, "/".join(["**", "a", "a"] * 40 + ["b"])
    globs = Globs(pattern)
    (glob,) = globs._include
    glob._runs = [[counted(match) for match in run] for run in glob._runs]
    assert globs.reason_to_skip("/".join(names)) == "not included"
    assert globs.reason_to_skip("/".join([*names, "b"])) is None
    assert compared <= 2 * len(names) * len(pattern.split("/"))
