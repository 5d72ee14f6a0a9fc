"""`checksum_file`: the sum of a file in another one beside it, as `sha256sum` and `md5sum` of coreutils have it."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from airflow_provider_sftp_s3.engine.errors import ChecksumDiffers, ConfigurationError, FileError
from airflow_provider_sftp_s3.engine.paths import printable, text

if TYPE_CHECKING:
    from hashlib import _Hash

ChecksumFile = Literal["{name}.sha256", "{name}.md5"]
#: A checksum file that is larger is none. It may hold the sums of other files, too.
MAX_BYTES = 64 * 1024

#: What `--check` of coreutils reads, which is more than what they write. A line with a backslash in front has a name
#: with backslashes, each of which is written twice.
_LINE = re.compile(r"[ \t]*\\?(?P<sum>[0-9A-Fa-f]+)(?:[ \t][ *]?(?P<name>.+)|[ \t]*)")
_TAGGED = re.compile(r"[ \t]*\\?[A-Z0-9-]+ ?\((?P<name>.+)\)[ \t]*=[ \t]*(?P<sum>[0-9A-Fa-f]+)[ \t]*")


def check_checksum_file(template: object) -> None:
    """Raise ConfigurationError where `template` cannot be a `checksum_file`."""
    if template not in get_args(ChecksumFile):
        allowed = " or ".join(repr(each) for each in get_args(ChecksumFile))
        raise ConfigurationError(f"checksum_file must be {allowed}, not {template!r}")


def algorithm_of(template: str) -> str:
    """Return which sum is in checksum files of such names, by hashlib's name for it."""
    return template.rpartition(".")[2]


class WantedSum(NamedTuple):
    """
    The sum that a file must have.

    :param source: who says so, for the error.
    """

    algorithm: str
    hexdigest: str
    source: str

    def begin(self) -> _Hash:
        """Return what is to be updated with the file's bytes."""
        return begin_sum(self.algorithm)

    def check(self, running: _Hash) -> None:
        """Raise ChecksumDiffers where these bytes are others."""
        if running.hexdigest() != self.hexdigest:
            raise ChecksumDiffers(
                f"{self.source} says {self.hexdigest}, and its {self.algorithm} is {running.hexdigest()}: it is "
                "damaged or incomplete, or one of the two has changed meanwhile. It stays, and S3 has not got it"
            )

    def check_all(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Raise ChecksumDiffers where all of these bytes together are others."""
        running = self.begin()
        for piece in pieces:
            running.update(piece)
        self.check(running)


def begin_sum(algorithm: str) -> _Hash:
    """Return a sum of nothing yet. MD5 is no secret here, which a hardened system asks to be said."""
    return hashlib.new(algorithm, usedforsecurity=False)


def line_of(hexdigest: str, path: bytes) -> bytes:
    """Return what a checksum file of the file at `path` has in it: one line, with its name alone."""
    name = posixpath.basename(path)
    escaped = name.replace(b"\\", b"\\\\")
    return (b"\\" if escaped != name else b"") + hexdigest.encode() + b"  " + escaped + b"\n"


def sum_in(contents: bytes, name: bytes, algorithm: str) -> str:
    """
    Return the sum of a file that a checksum file has in it, in lower case.

    A single sum is taken whatever name stands beside it, or none: many are written in another directory.

    :param name: of the file.
    :raises FileError: there is none, or there are several.
    """
    length = begin_sum(algorithm).digest_size * 2
    found: list[tuple[str | None, str]] = []
    for line in text(contents.removeprefix(b"\xef\xbb\xbf")).replace("\r\n", "\n").split("\n"):
        match = _LINE.fullmatch(line) or _TAGGED.fullmatch(line)
        if match is None or len(match["sum"]) != length:
            continue
        other = match["name"]
        if other is not None and line.lstrip(" \t").startswith("\\"):
            other = other.replace("\\\\", "\\")
        found.append((other, match["sum"].lower()))
    sums = {each for _, each in found}
    if len(sums) > 1:
        sums = {each for other, each in found if other is not None and posixpath.basename(other) == text(name)}
    if len(sums) != 1:
        what = "more than one sum" if len(sums) > 1 else f"no {algorithm} sum"
        raise FileError(
            f"its checksum file has {what} for {printable(name)!r}: a line is {length} hex digits, two spaces and the "
            "name. The file stays"
        )
    return sums.pop()
