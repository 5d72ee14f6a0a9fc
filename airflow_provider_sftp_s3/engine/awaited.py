"""
The triggers and checksum files of a pull: a file is taken only with one beside it, and a trigger must not be older.

A trigger goes after all files that it tells of: into S3 when the last of them is there, and away when the last of them
is away. It stays where one of them does. So does a checksum file, which tells of one.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

from airflow_provider_sftp_s3.engine.errors import NameRefused
from airflow_provider_sftp_s3.engine.model import DoneState, Outcome, SourceFile, Stat, Trigger
from airflow_provider_sftp_s3.engine.paths import check_name, text
from airflow_provider_sftp_s3.engine.sftp.protocol import Entry
from airflow_provider_sftp_s3.engine.triggers import TriggerNames

#: Why a file is left where it is.
NO_TRIGGER = "waits for its trigger"
OLD_TRIGGER = "waits for a trigger that is not older"
NO_CHECKSUM = "waits for its checksum file"

T = TypeVar("T")


class Awaited:
    """
    Sorts what is in a directory by its triggers, or by its checksum files.

    :param is_young: says of an mtime whether somebody may still be writing.
    :param label: returns the URI of a path.
    """

    def __init__(self, names: TriggerNames, is_young: Callable[[int], bool], label: Callable[[bytes], str]) -> None:
        self._names = names
        self._sums = names.argument == "checksum_file"
        self._is_young = is_young
        self._label = label

    def without(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return the entries that are no triggers."""
        return [entry for entry in entries if not self.is_trigger(entry)]

    def is_trigger(self, entry: Entry) -> bool:
        """Say whether an entry is one, and no file to be taken by itself."""
        if entry.kind != "file" or not self._names.is_trigger(text(entry.name)):
            return False
        try:
            check_name(entry.name)
        except NameRefused:
            return False  # as any other name that is no path
        return True

    def sift(
        self,
        path: bytes,
        relative: bytes,
        entries: Iterable[Entry],
        done: DoneState,
        files: Collection[bytes],
        items: Iterable[T],
    ) -> Iterator[T | SourceFile | Outcome]:
        """
        Yield what there is in a directory, each file with its trigger; then the triggers that tell of no file there.

        :param files: the names of the files in it that are neither triggers nor checksum files.
        :param items: what is in it but for the triggers. A file among them with no trigger waits.
        """
        triggers = {
            entry.name: Trigger(
                self._names.argument,
                SourceFile(posixpath.join(path, entry.name), posixpath.join(relative, entry.name), entry.stat, done),
            )
            for entry in entries
            if self.is_trigger(entry)
        }
        told_of = {posixpath.join(path, name): self._name_for(name) for name in files}
        by_label = {self._label(each): each for each in told_of}
        sifted: list[T | SourceFile | Outcome] = []
        # All of them before the first one is taken: the last one of a trigger has to know that it is.
        for item in items:
            if isinstance(item, SourceFile) and not item.left and not item.is_alone:
                sifted.append(self._with_trigger(item, triggers.get(told_of.get(item.path, b""))))
                continue
            if isinstance(item, Outcome) and (item.left or item.status == "failed"):
                _hold_back(by_label.get(item.source, b""), triggers, told_of)
            sifted.append(item)
        yield from sifted
        for _, trigger in sorted(triggers.items()):
            if not trigger.unmoved:
                yield trigger.file._replace(beside=(trigger,))

    def _name_for(self, name: bytes) -> bytes:
        """Return what the trigger of a file is called; nothing, where it can have none."""
        try:
            return self._names.of(text(name)).encode()
        except NameRefused:
            return b""

    def _with_trigger(self, file: SourceFile, trigger: Trigger | None) -> SourceFile | Outcome:
        reason = NO_CHECKSUM if self._sums else NO_TRIGGER
        if trigger is not None:
            trigger.unstored.add(file.path)
            trigger.unmoved.add(file.path)
            stamp = trigger.file.stat.mtime
            if stamp is not None and self._is_young(stamp):
                reason = "young"
            elif not self._sums and is_older(trigger.file.stat, file.stat):
                reason = OLD_TRIGGER
            else:
                return file._replace(beside=(*file.beside, trigger))
        return Outcome(self._label(file.path), "skipped", reason=reason, changed=file.stat.mtime, left=True)


def _hold_back(path: bytes, triggers: dict[bytes, Trigger], told_of: dict[bytes, bytes]) -> None:
    """Have the trigger of a file stay that is not taken now, and will be."""
    trigger = triggers.get(told_of.get(path, b""))
    if trigger is not None:
        trigger.unstored.add(path)
        trigger.unmoved.add(path)


def is_older(trigger: Stat, file: Stat) -> bool:
    """Say whether a trigger may be of an older version of a file: what nobody says is not assumed."""
    return trigger.mtime is None or file.mtime is None or trigger.mtime < file.mtime
