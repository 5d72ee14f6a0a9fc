"""
What S3 has said of the objects under a prefix, remembered beside them, so that a listing tells what a HEAD would.

A listing shows neither marks nor metadata. But it shows ETag and time of change, and what is remembered of a version is
true as long as these are the same:

* its metadata are those that were seen: they change with the version only;
* it is at the destinations that were seen in its marks. Tags may change under a version. A mark that is new is never
  overlooked, since it is not remembered that a version has not reached a destination. One that is taken away is: bytes
  that were delivered stay delivered.

So the ledger is a cache and nothing more. Lost, garbled, out of date or written by two runs at once, it costs requests,
and never a file. It is written by runs that have moved something, and where they had to ask for much.

It is sorted by key, as S3 lists, and cut into segments, the objects ``.sftp-s3/ledger/0``, ``1``, ...: text, packed by
gzip, a line a version. ``index`` says where each one begins, if there are several. One is in memory at a time. What a
run learns waits for its end in a temporary database, most of it on disk.
"""

from __future__ import annotations

import contextlib
import heapq
import io
import itertools
import sqlite3
import zlib
from collections.abc import AsyncGenerator, Iterable, Iterator
from functools import reduce
from operator import itemgetter
from typing import NamedTuple

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import StorageError
from airflow_provider_sftp_s3.engine.model import ObjectEntry
from airflow_provider_sftp_s3.engine.options import MiB
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.versions import Version

#: What a run must have learned of a segment for it to be written: so many objects, at most, are asked for again.
MIN_NEW_FACTS = 1000
#: Bytes of a segment before it is packed: some 75,000 objects, of which it takes 3 MiB in S3. One that grows beyond
#: that is cut in two.
SEGMENT = 8 * MiB

#: How all that is written here begins. What begins otherwise is garbled, or another version's, and counts as empty.
_HEADER = b"airflow-provider-sftp-s3 ledger 3\n"
#: How the one object began that earlier versions wrote. It is removed.
_OLD_HEADER = b"airflow-provider-sftp-s3 ledger "
_GZIP = 31
_INDEX = "index"
#: Lines that go to the database together: one by one, they take twice the time.
_AT_ONCE = 500
_LEARN = "INSERT OR REPLACE INTO learned VALUES (?, ?)"
#: What is asked of what was learned: of the keys from one on, and up to another one, if there is one.
_COUNT = "SELECT count(*) FROM learned WHERE key >= ? AND (? IS NULL OR key < ?)"
_LINES = "SELECT line FROM learned WHERE key >= ? AND (? IS NULL OR key < ?) ORDER BY key"


class Fact(NamedTuple):
    """
    What is known of one version of an object. One with no ETag says that there is none.

    :param etag: with no quotes.
    :param modified: as :class:`ObjectEntry` has it.
    :param mtime: of the file that it was pulled from, in seconds since 1970; "" where it does not say.
    :param names: what its marks name, with commas in between.
    """

    key: str
    etag: str = ""
    modified: str = ""
    mtime: str = ""
    names: str = ""

    @classmethod
    def of(cls, key: str, version: Version, names: Iterable[str]) -> Fact:
        """Return what S3 has said of a version, and what its marks name."""
        mtime = version.metadata.get("mtime", "")
        known = mtime if mtime.isdecimal() else ""
        return cls(key, version.etag.strip('"'), version.modified, known, ",".join(names))

    def is_of(self, entry: ObjectEntry) -> bool:
        """Say whether it is about the version that is listed."""
        return self.key == entry.key and self.modified == entry.modified and self.etag == entry.etag.strip('"')

    def added_to(self, older: Fact) -> Fact:
        """Return what is known by both, which have one key."""
        if (self.etag, self.modified) != (older.etag, older.modified):
            return self
        names = dict.fromkeys(filter(None, f"{older.names},{self.names}".split(",")))
        return self._replace(mtime=self.mtime or older.mtime, names=",".join(names))


class _Segment(NamedTuple):
    """A segment: the key that it begins with, and its name, a number. The first one begins with ""."""

    first: str
    name: str


_ALL = _Segment("", "0")


class Ledger:
    """
    The ledger of one prefix, for all destinations. To be closed in the end.

    :param prefix: "" or ending in a slash.
    """

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket = bucket
        self._directory = f"{prefix}{paths.STATE}/ledger/"
        self._old_key = prefix + paths.LEDGER
        self._segments = [_ALL]
        #: of the first segment, until it is used
        self._text_of_the_first = b""
        #: whether there was one when it was loaded
        self.is_there = False
        #: nothing is learned before :meth:`load`, and where it would be of no use
        self._learned: sqlite3.Connection | None = None
        #: keys and lines that are not there yet
        self._noted: list[tuple[str, str]] = []

    async def load(self) -> None:
        """Begin to read, and to take note. What cannot be read counts as empty."""
        self._learned = sqlite3.connect("")  # a temporary file, once there is much
        self._learned.execute("PRAGMA journal_mode = OFF")
        self._learned.execute("CREATE TABLE learned (key TEXT PRIMARY KEY, line TEXT) WITHOUT ROWID")
        await self._read_index()
        self._text_of_the_first = await self._text(self._segments[0].name)
        self.is_there = bool(self._text_of_the_first) or len(self._segments) > 1

    def close(self) -> None:
        """Forget what was learned."""
        if self._learned is not None:
            self._learned.close()
            self._learned = None

    async def along(self, listing: AsyncGenerator[ObjectEntry]) -> AsyncGenerator[tuple[ObjectEntry, Fact | None]]:
        """Yield each object that is listed, and what is known of that version; None: nothing is. To be used once."""
        last = ""
        async with contextlib.aclosing(listing), contextlib.aclosing(self._known()) as known:
            fact = await anext(known, None)
            async for entry in listing:
                if entry.key < last:  # this store lists in an order of its own
                    self.close()
                    fact = None
                last = entry.key
                while fact is not None and fact.key < entry.key:
                    self._keep(Fact(fact.key))  # it is gone
                    fact = await anext(known, None)
                if fact is None or fact.key != entry.key:
                    yield entry, None
                else:
                    yield entry, fact if fact.is_of(entry) else None
                    fact = await anext(known, None)
            while fact is not None:
                self._keep(Fact(fact.key))
                fact = await anext(known, None)

    def note(self, fact: Fact) -> None:
        """Remember what S3 has said. Where it does not say which version that is about, nothing is remembered."""
        if fact.etag and fact.modified:
            self._keep(fact)

    async def save(self) -> None:
        """
        Write down what was learned, where that is worth it. A failure costs time, the next time.

        To be called by runs that have moved something: S3's events tell of what is written here, too, and a run that
        such an event starts moves nothing.
        """
        self._put_away()
        with contextlib.suppress(StorageError, sqlite3.Error):
            if self._learned is not None and _count(self._learned, "", None) >= MIN_NEW_FACTS:
                await self._save(self._learned)

    # --- what is learned

    def _keep(self, fact: Fact) -> None:
        line = "\t".join(fact)
        # No object that is moved has such a character in its key, and lines would be taken for others.
        if self._learned is not None and line.count("\t") == len(fact) - 1 and "\n" not in line:
            self._noted.append((fact.key, line))
            if len(self._noted) >= _AT_ONCE:
                self._put_away()

    def _put_away(self) -> None:
        noted, self._noted = self._noted, []
        if self._learned is not None:
            with contextlib.suppress(sqlite3.Error):  # such as a full disk: what has gone there is used
                self._learned.executemany(_LEARN, noted)

    # --- reading

    async def _read_index(self) -> None:
        """Find out where the segments begin."""
        index = [line.split("\t") for line in _lines(await self._text(_INDEX))]
        segments = [_Segment(*each) for each in index if len(each) == 2 and each[1].isdecimal()]
        begin = [segment.first for segment in segments]
        self._segments = segments if begin[:1] == [""] and begin == sorted(set(begin)) else [_ALL]

    async def _known(self) -> AsyncGenerator[Fact]:
        """Yield all facts. A segment is read when the one before it is at its end."""
        text, self._text_of_the_first = self._text_of_the_first, b""
        for position, segment in enumerate(self._segments):
            if position:
                text = await self._text(segment.name)
            for fact in self._facts(position, text):
                yield fact
            text = b""

    def _facts(self, position: int, text: bytes) -> Iterator[Fact]:
        """Yield the facts of a segment, but for those that another one should have: two runs have written at once."""
        first, end = self._segments[position].first, self._end(position)
        for line in _lines(text):
            fields = line.split("\t")
            if len(fields) == len(Fact._fields) and first <= fields[0] and (end is None or fields[0] < end):
                yield Fact(*fields)

    def _end(self, position: int) -> str | None:
        """Return where the segment after one begins; None: it is the last one."""
        return self._segments[position + 1].first if position + 1 < len(self._segments) else None

    async def _text(self, name: str) -> bytes:
        """Return what an object of the ledger says; nothing, where it is not whole."""
        unpacking = zlib.decompressobj(wbits=_GZIP)
        try:
            download = await self._bucket.get(self._directory + name)
            if download is None:
                return b""
            with contextlib.closing(download):
                if download.version.size > 2 * SEGMENT:
                    return b""
                text = unpacking.decompress(b"".join([chunk async for chunk in download.chunks()]), 2 * SEGMENT)
        except (StorageError, zlib.error):
            return b""
        return text.removeprefix(_HEADER) if unpacking.eof and text.startswith(_HEADER) else b""

    # --- writing

    async def _save(self, learned: sqlite3.Connection) -> None:
        """
        Write the segments of which enough was learned, and where they begin after that.

        What is cut off in between leaves facts in segments that they do not belong to, and they are learned again.
        """
        await self._read_index()  # others may have written meanwhile
        segments, emptied = list(self._segments), list[str]()
        for position in reversed(range(len(segments))):
            first, own = segments[position]
            end = self._end(position)
            if _count(learned, first, end) < MIN_NEW_FACTS:
                continue
            old = self._facts(position, await self._text(own))
            new = learned.execute(_LINES, (first, end, end))
            parts: list[_Segment] = []
            for lines in _cut(_merged(old, (Fact(*line.split("\t")) for (line,) in new))):
                if not lines and position:
                    emptied.append(own)
                    continue
                taken = {*emptied, *(each.name for each in (*segments, *parts))}
                free = next(str(number) for number in itertools.count() if str(number) not in taken)
                begins = lines[0].partition(b"\t")[0].decode() if parts else first
                parts.append(_Segment(begins, free if parts else own))
                await self._write(parts[-1].name, lines)
            segments[position : position + 1] = parts
        if segments != self._segments:
            await self._write(_INDEX, ["\t".join(segment).encode() + b"\n" for segment in segments])
        if not self.is_there:
            await self._remove_old()
        for name in emptied:
            await self._bucket.requests.ask("DELETE", self._directory + name)

    async def _write(self, name: str, lines: list[bytes]) -> None:
        packed = zlib.compress(b"".join([_HEADER, *lines]), wbits=_GZIP)
        await self._bucket.put(self._directory + name, [packed], {})

    async def _remove_old(self) -> None:
        """Remove the ledger of an earlier version, and nothing that somebody else has under its name."""
        if (old := await self._bucket.get(self._old_key)) is not None:
            with contextlib.closing(old):
                beginning = await anext(old.chunks(), b"")
            if beginning.startswith(_OLD_HEADER):
                await self._bucket.requests.ask("DELETE", self._old_key)


def _count(learned: sqlite3.Connection, first: str, end: str | None) -> int:
    return int(learned.execute(_COUNT, (first, end, end)).fetchone()[0])


def _lines(text: bytes) -> Iterator[str]:
    for line in io.BytesIO(text):
        yield line.decode("utf-8", "replace").removesuffix("\n")


def _merged(old: Iterator[Fact], new: Iterator[Fact]) -> Iterator[Fact]:
    """Yield what is known of each object that is still there. Both come in the order of their keys."""
    for _, facts in itertools.groupby(heapq.merge(old, new, key=itemgetter(0)), key=itemgetter(0)):
        fact = reduce(lambda older, newer: newer.added_to(older), facts)
        if fact.etag:
            yield fact


def _cut(facts: Iterator[Fact]) -> Iterator[list[bytes]]:
    """Yield the lines of each segment: of one at least, which may be empty."""
    lines: list[bytes] = []
    size = 0
    for fact in facts:
        lines.append(("\t".join(fact) + "\n").encode())
        size += len(lines[-1])
        if size > SEGMENT and len(lines) > 1:
            half = len(lines) // 2
            yield lines[:half]
            lines = lines[half:]
            size = sum(map(len, lines))
    yield lines
