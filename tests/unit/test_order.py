"""Sizes and ages that are taken, and the oldest first."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.model import Outcome
from airflow_provider_sftp_s3.engine.order import Bounds, oldest_first

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class File:
    label: str
    changed: float | None


@pytest.mark.parametrize(
    ("bounds", "size", "changed", "reason"),
    [
        ({}, 5, 900.0, None),
        ({}, None, None, None),
        ({"min_size": 5}, 5, None, None),
        ({"min_size": 5}, 4, None, "too small"),
        ({"min_size": 0}, 0, None, None),
        ({"max_size": 5}, 5, None, None),
        ({"max_size": 5}, 6, None, "too large"),
        ({"max_size": 0}, 1, None, "too large"),
        ({"max_age": 100.0}, None, 900.0, None),
        ({"max_age": 100.0}, None, 899.0, "too old"),
        ({"max_age": 100.0}, None, 1001.0, None),
        ({"min_size": 1, "max_size": 9, "max_age": 9.0}, 5, 995.0, None),
        ({"min_size": 1, "max_size": 9, "max_age": 9.0}, None, None, None),
    ],
)
def test_bounds(bounds: dict[str, Any], size: int | None, changed: float | None, reason: str | None) -> None:
    """What is on a bound is within it, and what is not known is not outside."""
    assert Bounds(**bounds, now=lambda: 1000.0).reason_to_skip(size, changed) == reason


@pytest.mark.parametrize(
    ("bounds", "size", "changed", "lacks"),
    [
        ({}, None, None, None),
        ({"min_size": 0}, None, 1.0, "size"),
        ({"max_size": 9}, None, 1.0, "size"),
        ({"max_size": 9}, 1, None, None),
        ({"max_age": 9.0}, 1, None, "age"),
        ({"max_age": 9.0}, None, 1.0, None),
    ],
)
def test_what_is_not_known_and_has_a_bound(
    bounds: dict[str, Any], size: int | None, changed: float | None, lacks: str | None
) -> None:
    """Only that has to be found out."""
    assert Bounds(**bounds).lacks(size, changed) == lacks


async def test_the_oldest_comes_first() -> None:
    """Of the same age by name, of unknown age last; what is decided is told at once."""

    async def found() -> AsyncGenerator[File | Outcome]:
        for file in (File("d", None), File("b", 2.0), File("c", 1.0), File("a", 2.0), File("e", 0.0)):
            yield file
            yield Outcome(f"with {file.label}", "skipped")

    seen = [item async for item in oldest_first(found())]
    assert [item.source for item in seen[:5] if isinstance(item, Outcome)] == [f"with {name}" for name in "dbcae"]
    assert [item.label for item in seen[5:] if isinstance(item, File)] == ["e", "c", "a", "b", "d"]
