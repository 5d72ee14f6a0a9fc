"""Between S3 keys and remote paths, and what is refused on the way, before any I/O."""

from __future__ import annotations

import errno
import hashlib
import posixpath
import re
import resource
import secrets
from dataclasses import dataclass

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, NameRefused
from airflow_provider_sftp_s3.engine.strip import Search

#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
MAX_KEY_BYTES = 1024
#: NAME_MAX of the file systems behind nearly every server. Some servers lose a longer name without a word.
MAX_NAME_BYTES = 255
#: Bytes or characters of a path that are shown: Linux opens none that is longer (PATH_MAX).
MAX_PATH_SHOWN = 4096
#: Characters that are shown of what a server says: a log, and Airflow's database, have to hold it for every file.
MAX_TEXT_SHOWN = 1000
#: EMFILE and ENFILE, where a library gives their text only: Python's and Rust's.
_NO_MORE_FILES = re.compile(r"\[Errno 2[34]\]|os error 2[34]\b|\bcode: 2[34]\b")
_TEMPORARY = re.compile(rb"\.[0-9a-f]{16}\.part")
_DELETING = re.compile(rb"\.[0-9a-f]{16}\.(?:(.+)\.)?del", re.DOTALL)
_ASIDE = re.compile(rb".+\.([0-9]{1,10})(?:-[0-9]{1,2})?", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


#: The directory under a prefix that this provider has for itself.
STATE = ".sftp-s3"
#: Name of the object that earlier versions had beside it.
LEDGER = ".sftp-s3-ledger"


def is_temporary(name: bytes) -> bool:
    """Say whether `name` is one that a push gives to unfinished files where no other `temp_name` is set."""
    return _TEMPORARY.fullmatch(name) is not None


def deleting_name(name: bytes) -> bytes:
    """Return what a pulled file is called in its done directory until it is removed; only there, and by nobody else."""
    unique = f".{secrets.token_hex(8)}.".encode()
    long = unique + name + b".del"
    return long if len(long) <= MAX_NAME_BYTES else unique + b"del"


def is_deleting(name: bytes) -> bool:
    """Say whether `name` is one that :func:`deleting_name` gives."""
    return _DELETING.fullmatch(name) is not None


def deleted_name(name: bytes) -> bytes | None:
    """Return what a file was called that :func:`deleting_name` has named, None where that was too long to say."""
    found = _DELETING.fullmatch(name)
    return found[1] if found else None


def aside_name(name: bytes, mtime: int, number: int) -> bytes:
    """
    Return what an older done file is called that makes room for a newer one.

    :param number: above 0 where others have that name.
    :raises NameRefused: it would have more than 255 bytes.
    """
    aside = name + f".{mtime}{f'-{number}' if number else ''}".encode()
    if len(aside) > MAX_NAME_BYTES:
        raise NameRefused(
            "S3 has it, and it stays: with its mtime, as done_conflict='rename' has it, the name of the older one "
            f"would have {len(aside)} bytes, and file systems take {MAX_NAME_BYTES}"
        )
    return aside


def is_aside(name: bytes, mtime: int) -> bool:
    """Say whether `name` is one that :func:`aside_name` gives to a file that has had its mtime ever since."""
    found = _ASIDE.fullmatch(name)
    return found is not None and int(found[1]) == mtime


def text(path: bytes) -> str:
    """Return `path` as text that keeps every byte, for patterns and reports."""
    return path.decode("utf-8", "surrogateescape")


def printable(path: bytes | str, limit: int = MAX_PATH_SHOWN) -> str:
    """
    Return `path` for a log or a report: escape sequences and bytes that are not UTF-8 are spelled out.

    :param limit: how much of it is shown, in bytes or characters. What is longer is cut, and its length said.
    """
    left_out = len(path) - limit
    if left_out > 0:
        path = path[:limit]
    shown = path if isinstance(path, str) else path.decode("utf-8", "backslashreplace")
    shown = shown if shown.isprintable() else repr(shown)[1:-1]
    return f"{shown}... (and {left_out} more)" if left_out > 0 else shown


def printable_lines(text: str) -> str:
    """Return a text of one line or several, as :func:`printable` shows each of them, whole."""
    return "\n".join(printable(line, len(line)) for line in text.split("\n"))


def said(text: object) -> str:
    """Return what a server, or a library that quotes one, says: printable, in one line, and no more than 1 KB of it."""
    return printable(text if isinstance(text, bytes) else " ".join(str(text).split()), MAX_TEXT_SHOWN)


def reason_of(error: BaseException, lines: int = -1) -> str:
    """
    Return what an error of a library says, as :func:`said` does; its class where it says nothing.

    Where the system opens no more files for this process, that is what is said, and what to change.

    :param lines: how many lines of it are shown; below 0: all.
    """
    text = str(error)
    if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE) or _NO_MORE_FILES.search(text):
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return (
            f"the system opens no more files and connections for this process, which may have {allowed} at once: raise "
            "that limit (ulimit -n), or set a lower concurrency in options"
        )
    if lines >= 0:
        text = "\n".join(text.split("\n", lines)[:lines])
    return said(text or type(error).__name__)


def directory_of(path: bytes) -> bytes:
    """Return what :func:`posixpath.dirname` does, for a path with no slash too many: it is asked for with each file."""
    end = path.rfind(b"/")
    return path[: end or 1] if end >= 0 else b""


def directory_prefix(prefix: str | None, name: str = "s3_prefix") -> str:
    """
    Return `prefix` as the directory it means: "" or ending in one slash.

    :param name: of the argument, for the error.
    :raises ConfigurationError: it is no text, or holds an empty, `.` or `..` segment, or a control character.
    """
    if prefix is None:
        return ""
    if not isinstance(prefix, str):
        raise ConfigurationError(f"{name} must be a text like 'inbound/partner/', not {prefix!r}")
    bare = prefix.removesuffix("/")
    if not bare:
        if prefix:
            raise ConfigurationError(f'{name} "/" is no prefix: leave it empty for the whole bucket')
        return ""
    try:
        check_segments(bare)
    except NameRefused as refused:
        raise ConfigurationError(f"{name} {prefix!r}: {refused}; write it like 'inbound/partner/'") from None
    return bare + "/"


def relative_to(root: bytes, path: str) -> bytes:
    """
    Return where a path is beneath `root`: one that begins with it, or is relative to it.

    A slash too many, and a `.` that is a segment, change nothing.

    :raises NameRefused: it is not beneath it, or no plain path.
    """
    given = path.encode("utf-8", "surrogateescape")
    is_beneath = not given.startswith(b"/") or posixpath.join(given, b"").startswith(posixpath.join(root, b""))
    relative = given.removeprefix(root) if given.startswith(b"/") else given
    segments = [segment for segment in relative.split(b"/") if segment not in (b"", b".")]
    if not is_beneath:
        raise NameRefused(f"it is not beneath sftp_path, {printable(root)!r}")
    if b".." in segments:
        raise NameRefused("it has the segment '..', which is not followed")
    if not segments:
        raise NameRefused("it is sftp_path itself: sftp_paths are files beneath it")
    for segment in segments:
        check_name(segment)
    return b"/".join(segments)


def check_name(name: bytes) -> None:
    """
    Refuse a name from a directory listing that is not a plain name.

    :raises NameRefused: it is empty, `.` or `..`, or holds a slash, NUL or another control character.
    """
    if name in (b"", b".", b".."):
        raise NameRefused(f"the server lists the name {printable(name)!r}, which is no file's name")
    if b"/" in name:
        raise NameRefused("the server lists a name with a slash in it")
    if _CONTROL.search(text(name)):
        raise NameRefused("the name holds a control character")


def key_for(prefix: str, relative: bytes) -> str:
    """
    Return the key of the file at `relative` beneath the pulled directory.

    :param prefix: as :func:`directory_prefix` gives it.
    :raises NameRefused: the name is not UTF-8, as every key must be, or the key is too long, or has another use.
    """
    try:
        key = prefix + relative.decode("utf-8")
    except UnicodeDecodeError:
        raise NameRefused("the name is not UTF-8, and S3 keys are: rename it, or exclude it") from None
    if len(key.encode()) > MAX_KEY_BYTES:
        raise NameRefused(f"the key would have {len(key.encode())} bytes, and S3 takes {MAX_KEY_BYTES}")
    if is_state(key):
        raise NameRefused("this provider uses objects of that name itself")
    return key


def is_state(key: str) -> bool:
    """Say whether a key is one of those that this provider stores for itself."""
    return not {STATE, LEDGER}.isdisjoint(key.split("/"))


def path_for(root: bytes, key: str, prefix: str = "", strip: Search | None = None) -> bytes:
    """
    Return the remote path beneath `root` that `key` is pushed to, where it gets no other name.

    :param prefix: as for :func:`relative_for`, and so is `strip`.
    :raises NameRefused: as there, or as :func:`path_beneath` does.
    """
    return path_beneath(root, relative_for(key, prefix, strip))


def relative_for(key: str, prefix: str = "", strip: Search | None = None) -> bytes:
    """
    Return what is left of a key that is pushed.

    :param prefix: removed from the key where there is no `strip`; as :func:`directory_prefix` gives it.
    :param strip: removed once from the key. One slash that this leaves in front goes too.
    :raises NameRefused: it would lead elsewhere, is no plain path, or has a segment over 255 bytes.
    """
    check_segments(key)
    if strip is not None:
        start, piece = strip_once(key, strip)
        relative = key[:start] + key[start + len(piece) :]
    elif key.startswith(prefix):
        relative = key[len(prefix) :]
    else:
        raise NameRefused(f"the key is not under the prefix {prefix!r}")
    check_segments(relative)
    return relative.encode()


def path_beneath(root: bytes, relative: bytes) -> bytes:
    """Return a plain relative path beneath `root`. :raises NameRefused: its name is one of our own temporary ones."""
    if is_temporary(posixpath.basename(relative)):
        raise NameRefused("the name is one that this provider uses for unfinished files")
    return posixpath.join(root, relative)


def strip_once(key: str, strip: Search) -> tuple[int, str]:
    """Return where `strip` removes what from `key`: a character's position, and the text, perhaps an empty one."""
    found = strip.search(key)
    if found is None:
        return 0, ""
    start, end = found.span()
    if start == 0 and key.startswith("/", end):
        end += 1
    return start, key[start:end]


def check_segments(path: str) -> None:
    """Raise NameRefused where `path` has a segment that cannot be a name, or a control character."""
    if _CONTROL.search(path):
        raise NameRefused("it holds a control character")
    try:
        segments = path.encode().split(b"/")
    except UnicodeEncodeError:
        raise NameRefused("it is not UTF-8") from None
    for segment in segments:
        if segment == b"":
            raise NameRefused("it is empty, begins or ends with a slash, or has two in a row")
        if segment in (b".", b".."):
            raise NameRefused(f"it has the segment {segment.decode()!r}")
        if len(segment) > MAX_NAME_BYTES:
            raise NameRefused(f"a name in it has {len(segment)} bytes, and file systems take {MAX_NAME_BYTES}")


@dataclass(frozen=True)
class Shard:
    """
    One of `count` parts of a tree, which tasks on several machines pull at the same time: each path is in exactly one.

    :param number: which part, from 1.
    :param by_directory: all files of a directory are in one part.
    """

    number: int
    count: int
    by_directory: bool = False

    @classmethod
    def of(cls, value: str | None, *, by_directory: bool = False) -> Shard:
        """
        Return the shard that is written "2/8", the second of eight; None is the whole.

        :raises ConfigurationError: it is written otherwise.
        """
        if value is None:
            return cls(1, 1)
        parts = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", value) if isinstance(value, str) else None
        if parts is None or not 1 <= int(parts[1]) <= int(parts[2]):
            raise ConfigurationError(f"shard must be like '2/8', the second of eight, or None, not {value!r}")
        return cls(int(parts[1]), int(parts[2]), by_directory)

    def holds(self, path: bytes) -> bool:
        """Say whether a path is in this part. Every machine and every version says the same."""
        if self.count == 1:
            return True
        path = posixpath.dirname(path) if self.by_directory else path
        digest = hashlib.blake2b(path, digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1
