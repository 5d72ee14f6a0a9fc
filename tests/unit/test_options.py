"""TransferOptions: bounds, errors, and the arithmetic of parts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.options import MAX_OBJECT_SIZE, MAX_PARTS, MIN_PART_SIZE, MiB, TransferOptions

pytestmark = pytest.mark.unit


def test_the_defaults_are_the_documented_ones() -> None:
    """Users' Dags are written against these."""
    assert TransferOptions() == TransferOptions(
        concurrency=64,
        memory_budget=128 * MiB,
        part_size=8 * MiB,
        conn_timeout=10.0,
        idle_timeout=60.0,
        file_timeout=None,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("concurrency", 0),
        ("concurrency", 1025),
        ("concurrency", "64"),
        ("concurrency", True),
        ("concurrency", 1.5),
        ("memory_budget", 1),
        ("part_size", MIN_PART_SIZE - 1),
        ("part_size", 100 * MiB),
        ("conn_timeout", 0),
        ("conn_timeout", None),
        ("idle_timeout", -1),
        ("idle_timeout", float("inf")),
        ("idle_timeout", float("nan")),
        ("file_timeout", "1"),
        ("file_timeout", False),
    ],
)
def test_a_value_out_of_bounds_is_named(field: str, value: Any) -> None:
    """The message names the field and the value."""
    with pytest.raises(ConfigurationError) as wrong:
        TransferOptions.of({field: value})
    assert field in str(wrong.value)
    assert str(value) in str(wrong.value)


def test_an_unknown_field_names_the_nearest() -> None:
    """A slip of the pen is found at once."""
    with pytest.raises(ConfigurationError, match="did you mean 'concurrency'"):
        TransferOptions.of({"concurency": 3})
    with pytest.raises(ConfigurationError, match="there are concurrency, memory_budget"):
        TransferOptions.of({"zzz": 3})


@pytest.mark.parametrize("value", ["fast", 3, ["concurrency"]])
def test_what_are_no_options_is_refused(value: Any) -> None:
    """Neither TransferOptions nor a dict."""
    with pytest.raises(ConfigurationError, match="options must be"):
        TransferOptions.of(value)


def test_options_from_options_a_dict_or_nothing() -> None:
    """All three ways of an operator's `options`."""
    assert TransferOptions.of(None) == TransferOptions()
    assert TransferOptions.of({"concurrency": 3}).concurrency == 3
    options = TransferOptions(concurrency=5)
    assert TransferOptions.of(options) is options


@given(st.integers(min_value=0, max_value=MAX_OBJECT_SIZE))
def test_ten_thousand_parts_are_enough(size: int) -> None:
    """For every size that S3 takes, with parts no smaller than S3 allows."""
    part = TransferOptions().part_size_for(size)
    assert part >= MIN_PART_SIZE
    assert -(-size // part) <= MAX_PARTS
