"""How a pushed file is called until it is whole."""

from __future__ import annotations

import posixpath
import re
import secrets

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, NameRefused
from airflow_provider_sftp_s3.engine.paths import MAX_NAME_BYTES, check_segments, directory_of

#: Hidden where names with a dot are, and of a kind that a pull leaves alone.
TEMP_NAME = ".{id}.part"
#: Names with this owner are nobody's: no try of a task removes them.
NOBODY = "0" * 8
#: Names with this owner are those of empty files on which a pull tries what the server does.
TRIED = "0" * 7 + "1"
_OWN_NAME = b"{name}"
_WORD = re.compile(r"(\{id\}|\{name\})")


class TemporaryNames:
    """
    The temporary names of one run of a push.

    :param template: ``{id}`` in it stands for 16 hex digits that no other writer uses, ``{name}`` for the file's own
        name. With a slash in it the files are not beside their targets, but in that directory beneath `root`.
    :param root: the directory that is pushed to.
    :param owner: 8 hex digits that a later try of the same task finds its own leavings by.
    :raises ConfigurationError: the template is none.
    """

    def __init__(self, template: str, root: bytes = b"", owner: str = NOBODY) -> None:
        check_temp_name(template)
        directory, name = posixpath.split(template)
        self._directory = posixpath.join(root, directory.encode()) if directory else None
        self._name = name.encode()
        self._owner = owner
        owned = {b"{id}": owner.encode() + b"[0-9a-f]{8}", b"{name}": b".*"}
        pieces = [piece.encode() for piece in _WORD.split(name)]
        self._own = re.compile(b"".join(owned.get(piece, re.escape(piece)) for piece in pieces), re.DOTALL)

    def directory_of(self, path: bytes) -> bytes:
        """Return the directory that the file is in whose target is `path`."""
        return directory_of(path) if self._directory is None else self._directory

    def path_for(self, path: bytes) -> bytes:
        """Return a new path for the file whose target is `path`."""
        return self._path_for(path, self._owner)

    def aside_for(self, path: bytes) -> bytes:
        """Return a new path for what is at `path` now. No clean-up takes it: it may be the only copy of a file."""
        return self._path_for(path, NOBODY)

    def is_own(self, name: bytes) -> bool:
        """Say whether a name is one that a try of this task has given."""
        return self._own.fullmatch(name) is not None

    def check(self, path: bytes) -> None:
        """Raise NameRefused where `path`, of a target, is one of these."""
        if self.is_own(posixpath.basename(path)) and directory_of(path) == self.directory_of(path):
            raise NameRefused("the name is one that temp_name makes for unfinished files")

    def _path_for(self, path: bytes, owner: str) -> bytes:
        name = self._name.replace(b"{id}", f"{owner}{secrets.token_hex(4)}".encode())
        if _OWN_NAME in name:
            room = MAX_NAME_BYTES - len(name) + len(_OWN_NAME)
            name = name.replace(_OWN_NAME, _end_of(posixpath.basename(path), room))
        return posixpath.join(self.directory_of(path), name)


def check_temp_name(template: object) -> None:
    """Raise ConfigurationError where `template` cannot be a `temp_name`."""

    def refuse(why: str) -> ConfigurationError:
        return ConfigurationError(
            f"temp_name must be like '.{{id}}.part', '{{id}}-{{name}}' or 'tmp/{{id}}', or None for no other name than "
            f"the file's own, not {template!r}: {why}"
        )

    if not isinstance(template, str):
        raise refuse("that is no text")
    directory, name = posixpath.split(template)
    words = _WORD.findall(name)
    if words.count("{id}") != 1 or words.count("{name}") > 1:
        raise refuse("its last part has {id} once, and {name} once at most")
    if set("{}") & set(_WORD.sub("", name) + directory):
        raise refuse("there are no other words in braces, and none in the name of a directory")
    try:
        check_segments(_WORD.sub("0" * 16, template.removeprefix("/")))
    except NameRefused as refused:
        raise refuse(str(refused)) from None


def _end_of(name: bytes, room: int) -> bytes:
    """Return as much of the end of a name, which tells its kind, as has room, from the start of a character on."""
    return name if len(name) <= room else name[len(name) - room :].lstrip(bytes(range(0x80, 0xC0)))
