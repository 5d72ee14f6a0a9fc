"""What the demo shows: steps with their seconds, and a table."""

from __future__ import annotations

import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
WIDTH = 28


class TooSlowError(Exception):
    """What was waited for has not come."""


def say(text: str = "") -> None:
    """Print a line, over the step that is under way."""
    if sys.stdout.isatty():
        print("\r\x1b[K", end="")
    print(text, flush=True)


def wait(title: str, probe: Callable[[], T | None], timeout: float) -> T:
    """
    Show a step with its seconds until `probe` returns something, and return that.

    :param probe: called about twice a second.
    :param timeout: in seconds.
    :raises TooSlowError: it took longer.
    """
    began = time.monotonic()
    lively = sys.stdout.isatty()
    title = f"  {title} "
    if not lively:
        say(f"{title}...")
    while (result := probe()) is None:
        seconds = time.monotonic() - began
        if seconds > timeout:
            raise TooSlowError(f"{title.strip()}: not done after {timeout:.0f} s")
        if lively:
            print(f"\r\x1b[K{title:.<{WIDTH}} {seconds:3.0f} s", end="", flush=True)
        time.sleep(0.5)
    say(f"{title:.<{WIDTH}} {time.monotonic() - began:3.0f} s")
    return result


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """
    Return rows as aligned text beneath their heads.

    :param right: heads of the columns that are aligned to the right.
    """
    widths = [max(map(_columns, column)) for column in zip(heads, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        parts = []
        for head, cell, width in zip(heads, cells, widths, strict=True):
            space = " " * (width - _columns(cell))
            parts.append(space + cell if head in right else cell + space)
        return "  ".join(parts).rstrip()

    return "\n".join([line(heads), line(["-" * width for width in widths]), *map(line, rows)])


def _columns(text: str) -> int:
    """Return how wide a terminal shows a text: emoji are twice as wide, accents of their own take no place."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))
