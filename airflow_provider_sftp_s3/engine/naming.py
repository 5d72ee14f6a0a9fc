"""Two sources of a run that come to one name: the second one fails, and names the first."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import posixpath
import re
import unicodedata
from collections.abc import AsyncIterator, Iterator

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import NameRefused, NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession

#: What Windows leaves out at the end of a name.
_ENDS = re.compile(rb"(?<=[^/. ])[. ]+(?=/|$)")


class Namesakes:
    """
    The sources of a run by the names that they come to, where several may come to one.

    Takes about 30 bytes a name, for a run of a million: a digest, and which change makes the source of the name again,
    such as that a piece goes in front. The changes are kept once each; there are few, such as the days of dated
    directories, but where `rename_to` puts something behind a name that was in front of it.
    """

    _RECORD = 18  # 14 bytes of a digest, of which 2 are the bucket's, and a number of 4 bytes
    _DIGEST = 14

    def __init__(self) -> None:
        self._buckets: dict[bytes, bytearray] = {}
        #: from which character on how many are left out, and what is there instead
        self._changes: list[tuple[int, int, str]] = []
        self._numbers: dict[tuple[int, int, str], int] = {}

    def of(self, name: str) -> str | None:
        """Return the source noted last that comes to this name; None: there is none."""
        bucket, position, _ = self._look_up(name)
        if position < 0:
            return None
        number = int.from_bytes(bucket[position + self._DIGEST : position + self._RECORD], "big")
        start, left_out, piece = self._changes[number]
        return name[:start] + piece + name[start + left_out :]

    def note(self, name: str, source: str) -> None:
        """Remember the source of a name, in place of another one that comes to it."""
        bucket, position, digest = self._look_up(name)
        change = _change_between(name, source)
        number = self._numbers.setdefault(change, len(self._changes))
        if number == len(self._changes):
            self._changes.append(change)
        record = digest + number.to_bytes(4, "big")
        if position < 0:
            bucket += record
        else:
            bucket[position : position + self._RECORD] = record

    def _look_up(self, name: str) -> tuple[bytearray, int, bytes]:
        encoded = name.encode("utf-8", "surrogateescape")
        digest = hashlib.blake2b(encoded, digest_size=2 + self._DIGEST).digest()
        bucket = self._buckets.setdefault(digest[:2], bytearray())
        position = bucket.find(digest[2:])
        while position % self._RECORD and position > 0:
            position = bucket.find(digest[2:], position + 1)
        return bucket, position, digest[2:]


def _change_between(name: str, source: str) -> tuple[int, int, str]:
    """Return from which character of `name` on how many are left out, and what is there instead, in `source`."""
    shorter = min(len(name), len(source))
    end = 0
    while end < shorter and name[-1 - end] == source[-1 - end]:
        end += 1
    start = 0
    while start < shorter - end and name[start] == source[start]:
        start += 1
    return start, len(name) - end - start, source[start : len(source) - end]


class AlikeNames:
    """
    The paths of a run that are alike, as :func:`folded` says. Some servers hold them for one name.

    Takes about 20 bytes a path: digests of what is alike, and of which path it was.

    :param root: the directory beneath which all paths are.
    """

    _RECORD = 16  # two digests of 8 bytes

    def __init__(self, session: SftpSession, root: bytes) -> None:
        self._session = session
        self._root = root
        self._buckets: dict[bytes, bytearray] = {}
        #: what is given its name in this moment, and the end of that
        self._being_taken: dict[bytes, asyncio.Future[None]] = {}

    def note(self, path: bytes) -> bool:
        """Remember that the file of this path is at the server, and say whether one before it is alike."""
        alike = _digest(folded(path))
        bucket = self._buckets.setdefault(alike[:2], bytearray())
        position = bucket.find(alike[2:])
        while position % self._RECORD and position > 0:
            position = bucket.find(alike[2:], position + 1)
        if position < 0:
            bucket += alike[2:] + _digest(path)[2:]
            return False
        return bucket[position + 8 : position + self._RECORD] != _digest(path)[2:]

    @contextlib.asynccontextmanager
    async def taking(self, path: bytes) -> AsyncIterator[None]:
        """
        Give a file the name `path` within the block, while no other one that is alike gets its own.

        :raises NameRefused: the server holds it for the name of another file of the run, which is there.
        """
        alike = folded(path)
        while (other := self._being_taken.get(alike)) is not None:
            await asyncio.shield(other)
        end = self._being_taken[alike] = asyncio.get_running_loop().create_future()
        try:
            if self.note(path):
                await self._look(path)
            yield
        finally:
            del self._being_taken[alike]
            end.set_result(None)

    async def _look(self, path: bytes) -> None:
        """Raise NameRefused unless the server is seen to tell `path` from a name that is alike."""
        if not await self._may_be_there(path):
            return
        directory, name = posixpath.split(path)
        try:
            listed = [entry.name for entry in await self._session.list_directory(directory)]
        except ServerRefused:
            listed = []
        here = [each for each in listed if folded(each) == folded(name)]
        if len(here) > 1:
            return  # they are two, or more
        first = posixpath.join(directory, here[0]) if here else b"another one of this run"
        if here == [name]:
            for other in _variants(path[len(self._root) :]):
                if await self._may_be_there(first := self._root + other):
                    break
            else:
                return
        raise NameRefused(
            f"the server holds {paths.printable(path)!r} for the name of {paths.printable(first)!r}, which differs in "
            "case, in Unicode form, or in dots and blanks at its end only, is there, and would be lost: rename or "
            "exclude one of the two",
            for_good=False,
        )

    async def _may_be_there(self, path: bytes) -> bool:
        try:
            return await self._session.exists(path)
        except NotFound:
            return False
        except ServerRefused:
            return True  # it does not say


def folded(path: bytes) -> bytes:
    """Return what is the same for paths that differ in case, in Unicode form, or in dots and blanks at ends only."""
    path = _ENDS.sub(b"", path)
    if path.isascii():
        return path.lower()
    text = unicodedata.normalize("NFC", paths.text(path))
    return unicodedata.normalize("NFC", text.casefold()).encode("utf-8", "surrogateescape")


def _variants(path: bytes) -> Iterator[bytes]:
    """Yield other spellings of a path that are alike, but not the same."""
    text = paths.text(path)
    forms = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    for other in (text.swapcase(), *forms, f"{text}."):
        if other != text:
            yield other.encode("utf-8", "surrogateescape")


def _digest(path: bytes) -> bytes:
    return hashlib.blake2b(path, digest_size=10).digest()
