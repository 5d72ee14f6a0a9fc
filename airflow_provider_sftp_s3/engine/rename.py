"""`rename_to`: the name that a file has at its target, made of what it is called and what it is."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, NameRefused
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.paths import (
    MAX_NAME_BYTES,
    check_segments,
    is_state,
    printable,
    relative_for,
    text,
)
from airflow_provider_sftp_s3.engine.strip import Strip

#: The words of `rename_to`.
WORDS = ("dir", "stem", "suffix", "name", "size", "mtime")
_WORD = re.compile(r"\{(?:(dir|stem|suffix|name|size|mtime)|mtime:([^{}]+))\}")
#: What a format may have: numbers, the same on every machine and in every language.
DIRECTIVES = "YymdHMSjGVuwUW%"
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)


class Renaming:
    """
    Gives names by a template. The same file always gets the same one: a retry must not send it under another.

    In the template the words ``{dir}``, ``{stem}``, ``{suffix}``, ``{name}``, ``{size}`` in bytes, ``{mtime}`` in
    seconds since 1970, and ``{mtime:%Y%m%d}`` with a format, in UTC, are replaced; all else stays as it is. Where there
    is no directory, the slash behind ``{dir}`` goes, too.

    :raises ConfigurationError: the template is none.
    """

    def __init__(self, template: str) -> None:
        check_rename_to(template)
        self._template = template
        #: which of size and mtime the name is made of
        self.needs = {"mtime" if found[2] else found[1] for found in _WORD.finditer(template)} & {"size", "mtime"}

    def lacks(self, stat: Stat) -> str | None:
        """Return what the name is made of and nobody has said, "size" or "mtime"; None: nothing."""
        unknown = ("size" if stat.size is None else "", "mtime" if stat.mtime is None else "")
        return next((name for name in unknown if name in self.needs), None)

    def of(self, path: bytes, stat: Stat) -> bytes:
        """
        Return what the file of this path, relative to what is transferred, is called.

        :raises NameRefused: that is no plain path, has a segment over 255 bytes or one that is ours, or it is made of
            what nobody has said.
        """
        if lacks := self.lacks(stat):
            raise NameRefused(f"nobody says its {lacks}, of which rename_to makes its name: leave {{{lacks}}} out")
        name = _filled(self._template, text(path), stat.size or 0, stat.mtime or 0)
        try:
            _check(name)
        except NameRefused as refused:
            raise NameRefused(f"rename_to gives it the name {printable(name)!r}: {refused}") from None
        return name.encode()


class KeyPaths:
    """
    The paths of a push's keys, relative to `sftp_path`: by `strip_regex` and `rename_to`. To be closed in the end.

    :param prefix: of all keys, as :func:`paths.directory_prefix` gives it.
    :param idle_timeout: seconds that a search for `strip_regex` may take.
    """

    def __init__(self, prefix: str, strip_regex: str | None, rename_to: str | None, idle_timeout: float) -> None:
        self._prefix = prefix
        self._strip = Strip(strip_regex, idle_timeout) if strip_regex else None
        self._renaming = Renaming(rename_to) if rename_to is not None else None
        #: which of size and mtime a path is made of
        self.needs = self._renaming.needs if self._renaming is not None else set[str]()

    @property
    def renames(self) -> bool:
        """Whether there is a `rename_to`."""
        return self._renaming is not None

    def check(self, key: str) -> None:
        """Raise NameRefused where a key comes to no path at all."""
        relative_for(key, self._prefix, self._strip)

    def of(self, key: str, stat: Stat) -> bytes:
        """Return the path of a key whose object is this. :raises NameRefused: there is none."""
        relative = relative_for(key, self._prefix, self._strip)
        return relative if self._renaming is None else self._renaming.of(relative, stat)

    def close(self) -> None:
        """Be done with it: no path is asked for any more."""
        if self._strip is not None:
            self._strip.close()


def beside(path: str, mtime: int | None, number: int = 0) -> str:
    """
    Return the name for a file whose own one is taken: ``{stem}.{mtime}{suffix}``.

    :param number: above 0 where that is taken, too: it is ``{stem}.{mtime}-{number}{suffix}`` then.
    :raises NameRefused: nobody knows its mtime, or the name would have more than 255 bytes.
    """
    if mtime is None:
        raise NameRefused(
            f"{printable(path)!r} is there already, and on_conflict='rename' makes a name of the mtime, which nobody "
            "says",
            for_good=False,
        )
    directory, name = posixpath.split(path)
    stem, suffix = posixpath.splitext(name)
    name = f"{stem}.{mtime}{f'-{number}' if number else ''}{suffix}"
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        raise NameRefused(
            f"{printable(path)!r} is there already, and with its mtime, as on_conflict='rename' has it, the name would "
            f"have more than {MAX_NAME_BYTES} bytes",
            for_good=False,
        )
    return posixpath.join(directory, name)


def check_rename_to(template: object) -> None:
    """Raise ConfigurationError where `template` cannot be a `rename_to`."""

    def refuse(why: str) -> ConfigurationError:
        words = ", ".join(f"{{{word}}}" for word in (*WORDS, "mtime:%Y%m%d"))
        return ConfigurationError(
            f"rename_to must be a path beneath the target such as '{{dir}}/{{stem}}_{{mtime:%Y%m%d}}{{suffix}}', not "
            f"{template!r}: {why}. Its words are {words}"
        )

    if not isinstance(template, str):
        raise refuse("that is no text")
    if "{{" in template or "{%" in template:
        raise refuse("it is no Jinja template, since a retry must give the same name")
    for word in _WORD.finditer(template):
        for directive in _DIRECTIVE.findall(word[2] or ""):
            if directive not in tuple(DIRECTIVES):
                allowed = " ".join(f"%{each}" for each in DIRECTIVES)
                raise refuse(f"%{directive} is not among the directives that give the same everywhere, {allowed}")
    try:
        _check(_filled(template, "directory/stem.suffix", 1, 0))
    except NameRefused as refused:
        raise refuse(str(refused)) from None


def _check(name: str) -> None:
    check_segments(name)
    if is_state(name):
        raise NameRefused("this provider uses names of that kind itself")


def _filled(template: str, path: str, size: int, mtime: int) -> str:
    directory, name = posixpath.split(path)
    stem, suffix = posixpath.splitext(name)
    if not directory:
        template = template.replace("{dir}/", "")
    values: Mapping[str, object] = {
        **{"dir": directory, "stem": stem, "suffix": suffix, "name": name},
        **{"size": size, "mtime": mtime},
    }

    def value(word: re.Match[str]) -> str:
        if word[2]:
            return datetime.fromtimestamp(mtime, UTC).strftime(word[2])
        return str(values[word[1]])

    return _WORD.sub(value, template)
