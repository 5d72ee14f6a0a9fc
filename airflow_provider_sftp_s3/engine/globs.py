"""Which files a run takes, by their names."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from fnmatch import fnmatchcase

from airflow_provider_sftp_s3.engine.errors import ConfigurationError


class Globs:
    """
    Which files a run takes: those that match an `include` and no `exclude`.

    A pattern with a slash is matched against the whole relative path, segment by segment, where `**` stands for any
    number of directories; one without against the name alone. Case counts.

    :raises ConfigurationError: a pattern is empty or no text, or `include` is an empty list: a run that takes nothing
        and succeeds leaves files behind that nobody looks for.
    """

    def __init__(self, include: str | Iterable[str] | None = "*", exclude: str | Iterable[str] | None = None) -> None:
        self.include = _patterns("include", "*" if include is None else include)
        if not self.include:
            raise ConfigurationError("include is an empty list, and no file would be taken: '*' takes all")
        self.exclude = _patterns("exclude", exclude or ())

    def reason_to_skip(self, relative: str) -> str | None:
        """Return why the file at `relative` is not taken, or None where it is."""
        if self.include == ("*",) and not self.exclude:
            return None
        if any(_matches(relative, pattern) for pattern in self.exclude):
            return "excluded"
        if not any(_matches(relative, pattern) for pattern in self.include):
            return "not included"
        return None


def _patterns(field: str, value: str | Iterable[str]) -> tuple[str, ...]:
    patterns = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern:
            raise ConfigurationError(
                f"{field} must be a glob such as '*.csv' or 'in/**/*.csv', or a list of them, not {pattern!r}"
            )
    return patterns


def _matches(relative: str, pattern: str) -> bool:
    if "/" not in pattern:
        return fnmatchcase(posixpath.basename(relative), pattern)
    return _matches_segments(relative.split("/"), pattern.removeprefix("/").split("/"))


def _matches_segments(names: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not names
    first, rest = patterns[0], patterns[1:]
    if first == "**":
        # A trailing ** stands for everything beneath, not for the directory's own name.
        if not rest:
            return bool(names)
        return any(_matches_segments(names[skip:], rest) for skip in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], first) and _matches_segments(names[1:], rest)
