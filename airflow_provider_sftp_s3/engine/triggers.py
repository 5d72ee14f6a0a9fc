"""
`trigger_file`: the name of the empty file that says of a file beside it, or of several, that they are whole.

A `checksum_file` is called by the name of its file in the same way.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Protocol

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, NameRefused
from airflow_provider_sftp_s3.engine.paths import check_segments

_WORD = re.compile(r"(\{name\}|\{stem\})")


class TriggerNames:
    """
    Names of trigger files, or of checksum files, by the names of the files that they stand beside.

    :param template: in it ``{name}`` and ``{stem}`` are replaced; all else stays as it is.
    :param argument: what the template was given as.
    :raises ConfigurationError: the template is none.
    """

    def __init__(self, template: str, argument: str = "trigger_file") -> None:
        check_trigger_file(template)
        self._template = template
        self.argument = argument
        pieces = (".+" if _WORD.fullmatch(piece) else re.escape(piece) for piece in _WORD.split(template))
        self._any = re.compile("".join(pieces), re.DOTALL)

    def of(self, name: str) -> str:
        """
        Return what the trigger of a file of this name is called.

        :raises NameRefused: it would have more than 255 bytes.
        """
        words = {"{name}": name, "{stem}": posixpath.splitext(name)[0]}
        trigger = _WORD.sub(lambda word: words[word[1]], self._template)
        try:
            check_segments(trigger)
        except NameRefused as refused:
            raise NameRefused(f"{self.argument} gives it one of a name that cannot be: {refused}") from None
        return trigger

    def is_trigger(self, name: str) -> bool:
        """Say whether a file of this name may be a trigger: it is no file to be transferred by itself."""
        return self._any.fullmatch(name) is not None

    def beginning_of(self, trigger: str) -> str:
        """Return what the names begin with of which a trigger of this name tells, as far as that is known."""
        before, word, after = self._template.partition("{name}" if "{name}" in self._template else "{stem}")
        if not word or _WORD.search(after):
            return ""
        return trigger[len(before) : len(trigger) - len(after)]

    def file_of(self, trigger: str) -> str | None:
        """Return the one file of which a trigger of this name tells; None: there may be several."""
        file = self.beginning_of(trigger)
        return file if "{name}" in self._template and file and self.tells_of(trigger, file) else None

    def tells_of(self, trigger: str, name: str) -> bool:
        """Say whether a file of this name has a trigger of that one."""
        try:
            return self.of(name) == trigger
        except NameRefused:
            return False


class Told(Protocol):
    """The settings of a transfer in which files may have something beside them."""

    @property
    def trigger_file(self) -> str | None: ...

    @property
    def checksum_file(self) -> str | None: ...


class Beside:
    """
    Tells by its name what stands beside a file, and is never taken as one itself.

    :param names: of each kind, by what a report calls it.
    """

    def __init__(self, names: Mapping[str, TriggerNames]) -> None:
        self._names = names

    @classmethod
    def of(cls, settings: Told) -> Beside | None:
        """Return what tells that by the settings of a transfer; None: nothing stands beside a file."""
        names = {}
        if settings.checksum_file is not None:
            names["checksum file"] = TriggerNames(settings.checksum_file, "checksum_file")
        if settings.trigger_file is not None:
            names["trigger file"] = TriggerNames(settings.trigger_file)
        return cls(names) if names else None

    def kind_of(self, name: str) -> str | None:
        """Return what it is, "checksum file" or "trigger file"; None: a file like any other."""
        return next((kind for kind, names in self._names.items() if names.is_trigger(name)), None)


def is_of_a_run(template: str) -> bool:
    """Say whether one trigger is for all files of a directory, since no word is in its name."""
    return _WORD.search(template) is None


def check_trigger_file(template: object) -> None:
    """Raise ConfigurationError where `template` cannot be a `trigger_file`."""

    def refuse(why: str) -> ConfigurationError:
        return ConfigurationError(
            f"trigger_file must be a name such as '{{name}}.ok', '{{stem}}.done' or '_SUCCESS', not {template!r}: {why}"
        )

    if not isinstance(template, str):
        raise refuse("that is no text")
    fixed = _WORD.sub("", template)
    if not fixed:
        raise refuse("it would be the name of the file itself, or of any other one")
    if set("{}/") & set(fixed):
        raise refuse("it is in the file's own directory, and its only words are {name} and {stem}")
    try:
        check_segments(_WORD.sub("a", template))
    except NameRefused as refused:
        raise refuse(str(refused)) from None
