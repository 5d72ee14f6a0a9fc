"""`strip_regex`: which piece of a key goes, found in a bounded time."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import selectors
import subprocess
import sys
from typing import IO, NamedTuple, Protocol, cast

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, FileError


class Found(Protocol):
    """What a search has found, such as a :class:`re.Match`."""

    def span(self) -> tuple[int, int]:
        """Return where it begins and ends, in characters."""


class Search(Protocol):
    """What searches, such as a :class:`re.Pattern`."""

    def search(self, text: str, /) -> Found | None:
        """Return the first place in `text`, None where there is none."""


class _Span(NamedTuple):
    start: int
    end: int

    def span(self) -> tuple[int, int]:
        return self.start, self.end


#: Searches in the lines that it reads, each the JSON of a text. The first line is the expression.
_PROGRAM = """
import json, re, sys
search = re.compile(json.loads(sys.stdin.readline())).search
for line in sys.stdin:
    found = search(json.loads(line))
    print(json.dumps(found and found.span()), flush=True)
"""


class Strip:
    """
    A regular expression that is searched for in keys. To be closed in the end.

    Some expressions take longer than the universe is old for one key, and Python can neither end such a search nor do
    anything beside it: it holds the interpreter's lock. So those that :func:`is_tame` does not know to be quick are
    searched for in a process of their own, which can be ended. It is Python's own `re` there, too: another library
    would understand some expressions otherwise, and give files other names. Each key takes 0.03 ms more then.

    :param seconds: how long one search may take.
    """

    def __init__(self, expression: str, seconds: float) -> None:
        self._expression = expression
        self._seconds = seconds
        self._pattern = re.compile(expression)
        self._is_tame = is_tame(expression)
        self._process: subprocess.Popen[bytes] | None = None
        self._pipes: tuple[IO[bytes], IO[bytes]] | None = None
        self._selector = selectors.DefaultSelector()
        self._too_slow = ""
        #: of a few keys that are asked for several times while they are under way
        self._remembered = functools.lru_cache(4096)(self._search_outside)

    def search(self, key: str, /) -> Found | None:
        """
        Return the first place of the expression in `key`, None where there is none.

        :raises ConfigurationError: this takes longer than it may. So it is for every key from then on.
        :raises FileError: the process that searches has ended.
        """
        return self._pattern.search(key) if self._is_tame else self._remembered(key)

    def _search_outside(self, key: str) -> Found | None:
        if self._too_slow:
            raise ConfigurationError(self._too_slow)
        try:
            questions, answers = self._pipes or self._start()
            questions.write(json.dumps(key).encode() + b"\n")
            questions.flush()
            is_answered = bool(self._selector.select(self._seconds))
            answer = answers.readline() if is_answered else b""
        except OSError as failed:
            self._end()
            raise FileError(f"strip_regex cannot be searched for: {failed}") from None
        if answer:
            found = json.loads(answer)
            return None if found is None else _Span(*found)
        self._end()
        if is_answered:
            raise FileError("strip_regex cannot be searched for: the process that does it was ended from outside")
        self._too_slow = (
            f"strip_regex {self._expression!r} takes longer than idle_timeout, {self._seconds:g} s, to be searched for "
            f"in {key!r}. That is so where a repetition is within another one, as in '(a+)+': write it without"
        )
        raise ConfigurationError(self._too_slow)

    def _start(self) -> tuple[IO[bytes], IO[bytes]]:
        self._process = subprocess.Popen(  # noqa: S603 - Python, and a program of our own
            [sys.executable, "-I", "-S", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        questions, answers = self._pipes = (
            cast("IO[bytes]", self._process.stdin),
            cast("IO[bytes]", self._process.stdout),
        )
        self._selector.register(answers, selectors.EVENT_READ)
        questions.write(json.dumps(self._expression).encode() + b"\n")
        return self._pipes

    def _end(self) -> None:
        if self._process is None or self._pipes is None:
            return
        questions, answers = self._pipes
        self._selector.unregister(answers)
        self._process.kill()
        self._process.wait()
        answers.close()
        with contextlib.suppress(OSError):  # what was written to it is not read any more
            questions.close()
        self._process = self._pipes = None

    def close(self) -> None:
        """End the process, if there is one."""
        self._end()
        self._selector.close()


#: One escaped character, or a class of characters.
_ATOM = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_GROUP = re.compile(r"\(\?(?::|P<\w+>)")
#: Where a search can go on in several ways.
_FORK = re.compile(r"[*+?][?+]?|\{\d*,\d*\}[?+]?|\|")


def is_tame(expression: str) -> bool:
    """
    Say whether an expression is sure to be found in a key, or not, within milliseconds.

    So it is where it can go on in several ways at one place only, or at two where it is bound to the key's beginning:
    there are half a million combinations in 1,024 characters. No group may be repeated, and no other construct be there
    that is written ``(?``. That the answer is no says nothing: most expressions are quick.
    """
    plain = _GROUP.sub("(", _ATOM.sub("x", expression))
    if "(?" in plain or re.search(r"\)[*+?{]", plain):
        return False
    is_bound = expression.startswith(("^", r"\A")) and "|" not in plain
    return len(_FORK.findall(plain)) <= (2 if is_bound else 1)
