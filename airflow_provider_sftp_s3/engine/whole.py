"""
When is a file read whole?

A server says how large a file is up to four times: in its listing, for the open file before and after the read, and by
the end of the file. Some leave some of that out, and some say what is not so. What is not said is unknown, which is not
0, and where two say different things the larger size has to come: a file is never taken for whole at less than anybody
has stated.
"""

from __future__ import annotations

from typing import Literal

from airflow_provider_sftp_s3.engine.model import Stat

#: What a read has shown: see :func:`judge`.
Verdict = Literal["whole", "another", "more", "changed"]


def judge(expected: Stat, before: Stat, after: Stat, count: int, ended: bool) -> Verdict:
    """
    Return what a read has shown.

    :param expected: what was stated of the file before it was opened.
    :param before: what was stated of the open file before it was read, and `after` after that.
    :param count: bytes that were read, up to the size that was expected or to the end.
    :param ended: the server has said that the file ends there.
    :return: ``whole``: these bytes are the file. ``another``: it is another version than was expected: to be looked at
        again. ``more``: there are more bytes than anybody has stated. ``changed``: it changed while it was read, or
        what the server says contradicts itself.
    """
    if ended and expected == before == after and count == expected.size:
        return "whole"  # as nearly always
    if before.differs(after):
        return "changed"
    seen = before.filled(after)
    stated = max((size for size in (expected.size, seen.size) if size is not None), default=count)
    if not ended or count > stated:
        return "another" if _is_larger(seen, expected) else "more"
    if count < stated:
        return "another" if _is_other(seen, expected) else "changed"
    if seen.size is not None and seen.size < count:
        return "whole"  # who states a size that READ disproves is not believed about the time either
    return "another" if expected.differs(seen) else "whole"


def is_another(expected: Stat, before: Stat) -> bool:
    """Say whether an open file is certainly another version than was expected, before anything of it was read."""
    if before.size is not None and expected.size is not None and before.size < expected.size:
        return _is_newer(before, expected)  # else the read will tell which of the two sizes is true
    return expected.differs(before)


def expected_next(expected: Stat, seen: Stat) -> Stat:
    """
    Return what to expect of a file that turned out to be another version.

    A newer version may be smaller. A larger size that was stated of the same version, or of a newer one, stands.
    """
    size = seen.size
    if not _is_newer(seen, expected) and expected.size is not None:
        size = max(expected.size, seen.size or 0)
    return Stat(size, seen.mtime if seen.mtime is not None else expected.mtime)


def _is_larger(seen: Stat, expected: Stat) -> bool:
    return seen.size is not None and expected.size is not None and seen.size > expected.size


def _is_newer(seen: Stat, expected: Stat) -> bool:
    return seen.mtime is not None and expected.mtime is not None and seen.mtime > expected.mtime


def _is_other(seen: Stat, expected: Stat) -> bool:
    return _is_larger(seen, expected) or Stat(None, seen.mtime).differs(Stat(None, expected.mtime))
