"""`strip_regex`: found as `re` does, wherever that is done, and never for ever."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, FileError
from airflow_provider_sftp_s3.engine.strip import Strip, is_tame

pytestmark = pytest.mark.unit

ENDLESS = r"(a+)+$"
KEY = "a" * 64 + "b"


@pytest.mark.parametrize(
    "expression",
    [
        "out",
        "^out/",
        r"\d{4}-\d\d-\d{2}/",
        "^.*/",
        "^[^/]+/[^/]+/",
        r"^in/(?P<day>\d+)/(?:x)/",
        r"[]*+?|]x\*\|",
        "",
        "x?",
    ],
)
def test_what_is_surely_quick_is_searched_for_here(expression: str) -> None:
    """The usual ones cost nothing more."""
    re.compile(expression)
    assert is_tame(expression)


@pytest.mark.parametrize(
    "expression",
    [
        ENDLESS,
        "(a|a)*$",
        "(?:a?){40}",
        "a?" * 30,
        "(a|b)" * 30,
        ".*.*.*x",
        ".*.*x",
        "^.*.*|.*.*x",
        "(?=(a+)+$)",
        "(?x) a* a* a* b",
        "a{1,}a{1,}a{,9}",
        r"[\]]*a*b*",
    ],
)
def test_what_may_take_long_is_not(expression: str) -> None:
    re.compile(expression)
    assert not is_tame(expression)


@pytest.fixture(scope="module")
def several() -> Iterator[list[tuple[re.Pattern[str], Strip]]]:
    """Expressions that are searched for in another process."""
    expressions = ["(?:[^/]+/){2}", "(a|é)+(/|$)", "(?<=a)b*", "a*b*c*", "(?i)A", "(?:x)?"]
    strips = [(re.compile(expression), Strip(expression, 60)) for expression in expressions]
    yield strips
    for _, strip in strips:
        strip.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(key=st.text(st.sampled_from("ab/cé\n\"'\\ \U0001f600"), max_size=12))
def test_another_process_finds_what_re_finds(several: list[tuple[re.Pattern[str], Strip]], key: str) -> None:
    """The very place, in characters, whatever the key."""
    for pattern, strip in several:
        assert not is_tame(pattern.pattern)
        expected, found = pattern.search(key), strip.search(key)
        assert (found and found.span()) == (expected and expected.span())


def test_what_takes_too_long_ends_and_is_named() -> None:
    """As a setting to change; the next key does not wait again."""
    strip = Strip(ENDLESS, 60)
    try:
        assert strip.search("b") is None
        strip._seconds = 0.3  # the first search waits for the start of the process, too
        process = strip._process
        with pytest.raises(
            ConfigurationError, match=r"strip_regex '\(a\+\)\+\$' takes longer than idle_timeout, 0.3 s"
        ):
            strip.search(KEY)
        assert process is not None
        assert process.returncode == -signal.SIGKILL
        with pytest.raises(ConfigurationError, match="takes longer than idle_timeout"):
            strip.search("another key")
        assert strip._process is None
    finally:
        strip.close()


def test_a_process_that_is_killed_fails_one_key() -> None:
    """Another one takes its place."""
    strip = Strip(ENDLESS, 60)
    try:
        assert strip.search("b") is None
        assert strip._process is not None
        os.kill(strip._process.pid, signal.SIGKILL)
        strip._process.wait()
        with pytest.raises(FileError, match="strip_regex cannot be searched for"):
            strip.search("c")
        found = strip.search("ba")
        assert found is not None
        assert found.span() == (1, 2)
    finally:
        strip.close()


def test_nothing_is_left_in_the_end() -> None:
    strip = Strip(ENDLESS, 60)
    strip.search("b")
    process = strip._process
    strip.close()
    assert process is not None
    assert process.returncode is not None
