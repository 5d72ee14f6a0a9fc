"""Two keys that come to one path find each other, and a million of them take little memory."""

from __future__ import annotations

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import NameRefused
from airflow_provider_sftp_s3.engine.naming import Namesakes

pytestmark = pytest.mark.unit


KEYS = st.text(st.sampled_from("ab/12é"), min_size=1, max_size=8)


@given(st.lists(KEYS, max_size=12), st.sampled_from(["^[^/]*/", "a", "[0-9]+", "/", "x?", "b$", "", "^.*/", "(?<=a)b"]))
def test_keys_of_one_path_are_found_by_each_other(keys: list[str], strip: str) -> None:
    """As a dict of paths would find them, whatever strip_regex removes; what is found is the very key."""
    pattern = re.compile(strip)
    namesakes, expected = Namesakes(pattern), dict[bytes, str]()
    for key in keys:
        try:
            path = paths.path_for(b"/root", key, strip=pattern)
        except NameRefused:
            continue
        assert namesakes.of(key) == expected.get(path)
        namesakes.note(key)
        expected[path] = key
        assert namesakes.of(key) == key


def test_a_hundred_thousand_namesakes_take_little_memory() -> None:
    """About 30 bytes each, where a dict of the keys takes 200."""
    namesakes = Namesakes(re.compile(r"^\d+/"))
    tracemalloc.start()
    try:
        for number in range(100_000):
            namesakes.note(f"{number % 100}/partner/orders/{number}.csv")
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / 100_000 < 150  # most of which the 65,536 empty buckets are, once for a million, too
    assert namesakes.of("x/partner/orders/1.csv") is None
    assert namesakes.of("99/partner/orders/7.csv") == "7/partner/orders/7.csv"
