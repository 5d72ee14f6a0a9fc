"""
The figures of the faults suites: what each test counts, and the table that ``make faults`` ends with.

Every test is a case of its suite's row by itself. What it found wrong is counted where it is found, by
:func:`none_is`, before it fails the test::

    checked(len(files))
    none_is("lost", [name for name in files if name not in tree])
"""

from __future__ import annotations

import os
import random
import secrets
from collections import Counter
from collections.abc import Iterable

KINDS = ("lost", "wrong bytes", "wrong marks", "left over", "false successes")
"""What must never be: files nowhere; bytes that are not the file's; a mark, or a place in ``.done``, that lies;
temporary files and multipart uploads; a report of what was not done."""

SEED = os.environ.setdefault("FAULTS_SEED", str(secrets.randbelow(10**6)))
"""What all chance in these suites comes from; the workers of a run inherit it by the variable."""

LONG = float(os.environ.get("FAULTS_LONG", "1"))
"""How many times as much the sweeps and races do: ``make faults LONG=10``."""

_figures: Counter[str] = Counter()
_row = ""


def chance(*what: object) -> random.Random:
    """Return a source of chance for one purpose: the same for the same seed, whichever tests run before."""
    return random.Random(f"{SEED} {what}")


def row(title: str) -> None:
    """Count the running test in the row of this title, not in that of its module."""
    global _row
    _row = title


def cases(number: int) -> None:
    """Say that the running test is so many cases: a sweep is as many as it had kills."""
    _figures["cases"] += number


def checked(number: int) -> None:
    """Say that so many files were looked at."""
    _figures["files"] += number


def none_is(kind: str, wrong: Iterable[object]) -> None:
    """Count what is wrong in this way (one of :data:`KINDS`), and fail the test where anything is."""
    assert kind in KINDS
    wrong = list(wrong)
    _figures[kind] += len(wrong)
    assert not wrong, f"{kind}: {', '.join(map(str, wrong))}"


# ------------------------------------------------------------------------------------------ from the test to the table


def begin() -> None:
    """Begin a test: nothing is counted yet."""
    row("")
    _figures.clear()


def end(title: str) -> dict[str, int | str]:
    """Return the figures of the test that has ended.

    :param title: its row, where it has not chosen one.
    """
    return {"cases": 1} | _figures | {"row": _row or title}


class Table:
    """Adds up the figures of all tests by their rows."""

    def __init__(self) -> None:
        self.rows: dict[str, Counter[str]] = {}

    def add(self, figures: dict[str, int | str], *, failed: bool) -> None:
        """Take the figures of one test."""
        numbers = Counter({name: int(value) for name, value in figures.items() if name != "row"})
        numbers["failed tests"] = int(failed)
        self.rows.setdefault(str(figures["row"]), Counter()).update(numbers)

    def __str__(self) -> str:
        columns = ("cases", "files", *KINDS, "failed tests")
        total: Counter[str] = Counter()
        for numbers in self.rows.values():
            total.update(numbers)
        lines = [f"| suite | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
        for title, numbers in [*sorted(self.rows.items()), ("**all**", total)]:
            lines.append(f"| {title} | {' | '.join(_cell(numbers, column) for column in columns)} |")
        return "\n".join(lines)


def _cell(numbers: Counter[str], column: str) -> str:
    # A suite that looks at no files, such as one of time limits, can say nothing about them.
    if not numbers["files"] and not numbers[column] and column in ("files", *KINDS):
        return "-"
    return f"{numbers[column]:,}"
