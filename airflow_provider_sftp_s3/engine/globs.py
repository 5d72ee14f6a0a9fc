"""Which files a run takes, by their names."""

from __future__ import annotations

import fnmatch
import functools
import posixpath
import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

from airflow_provider_sftp_s3.engine.errors import ConfigurationError

_Match: TypeAlias = Callable[[str], re.Match[str] | None]


class Globs:
    """
    Which files a run takes: those that match an `include` and no `exclude`.

    A pattern with a slash is matched against the whole relative path, segment by segment, where `**` stands for any
    number of directories; one without against the name alone. Case counts.

    :raises ConfigurationError: a pattern is no text, or one that no file can match, such as ``in/``; or `include` is an
        empty list: a run that takes nothing and succeeds leaves files behind that nobody looks for.
    """

    def __init__(self, include: str | Iterable[str] | None = "*", exclude: str | Iterable[str] | None = None) -> None:
        self.include = _patterns("include", "*" if include is None else include)
        if not self.include:
            raise ConfigurationError("include is an empty list, and no file would be taken: '*' takes all")
        self.exclude = _patterns("exclude", exclude or ())
        self._include, self._exclude = ([_Glob(one) for one in each] for each in (self.include, self.exclude))

    def reason_to_skip(self, relative: str) -> str | None:
        """Return why the file at `relative` is not taken, or None where it is."""
        if self.include == ("*",) and not self.exclude:
            return None
        if any(glob.matches(relative) for glob in self._exclude):
            return "excluded"
        if not any(glob.matches(relative) for glob in self._include):
            return "not included"
        return None


class Patterns:
    """
    Globs of which a path has to match one, each as :class:`Globs` has them.

    :param field: the argument that they are of.
    :raises ConfigurationError: one is empty, or no text; the message names the argument.
    """

    def __init__(self, field: str, value: str | Iterable[str]) -> None:
        self.patterns = _patterns(field, value)
        self._globs = [_Glob(one) for one in self.patterns]

    def match(self, relative: str) -> bool:
        """Say whether the file at `relative` is one that they stand for."""
        return any(glob.matches(relative) for glob in self._globs)


#: What stands between the slashes of no path.
_NO_NAMES = frozenset(("", ".", ".."))


def _patterns(field: str, value: str | Iterable[str]) -> tuple[str, ...]:
    patterns = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern:
            raise ConfigurationError(
                f"{field} must be a glob such as '*.csv' or 'in/**/*.csv', or a list of them, not {pattern!r}"
            )
        if "/" in pattern and not _NO_NAMES.isdisjoint(pattern.removeprefix("/").split("/")):
            raise ConfigurationError(
                f"{field}: {pattern!r} matches no file: between slashes stands the name of a directory, and at the end "
                "that of a file. Write 'in/**' for all that is beneath a directory, 'in/*' for the files in it, and no "
                "'//', '.' or '..'"
            )
    return patterns


class _Glob:
    """
    One pattern, made ready to match many paths: in time that grows with the product of both lengths, and no faster.

    Between two `**` stands a run of segments, of which each matches one name. Of what such a run may match, the first
    place is as good as any: whatever follows a later place follows the first one, too.
    """

    def __init__(self, pattern: str) -> None:
        self._is_name = "/" not in pattern
        self._runs: list[list[_Match]] = [[]]
        self._ends_open = False
        if self._is_name:
            self._runs = [[_compiled(pattern)]]
            return
        segments = pattern.removeprefix("/").split("/")
        for segment in segments:
            if segment == "**":
                self._runs.append([])
            else:
                self._runs[-1].append(_compiled(segment))
        # A trailing ** stands for everything beneath, not for the directory's own name.
        self._ends_open = segments[-1] == "**"

    def matches(self, relative: str) -> bool:
        """Say whether the path, or where the pattern has no slash its name, is one that the pattern stands for."""
        if self._is_name:
            return self._runs[0][0](posixpath.basename(relative)) is not None
        names = relative.split("/")
        first, *others = self._runs
        if not others:
            return len(names) == len(first) and _fits(first, names, 0)
        if not _fits(first, names, 0):
            return False
        at = len(first)
        last = others.pop()
        for run in others:
            while not _fits(run, names, at):
                at += 1
                if at > len(names):
                    return False
            at += len(run)
        if self._ends_open:
            return at < len(names)
        return at <= len(names) - len(last) and _fits(last, names, len(names) - len(last))


@functools.lru_cache(maxsize=1000)
def _compiled(segment: str) -> _Match:
    return re.compile(fnmatch.translate(segment)).match


def _fits(run: list[_Match], names: list[str], at: int) -> bool:
    """Say whether the names from `at` on begin with some that the patterns of `run` match, one each."""
    return at + len(run) <= len(names) and all(match(names[at + place]) for place, match in enumerate(run))
