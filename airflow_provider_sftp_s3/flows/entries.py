"""
A flows.yaml -> its defaults and its entries.

A file is cut into the texts of its entries before YAML is read: one that is broken, be it no YAML at all, breaks
itself. An entry is used whole or not at all: what cannot be cut with certainty is read as one.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from airflow_provider_sftp_s3.flows.loader import MAX_CHARACTERS, EntryError, TextLoader, Weight, explain


class FlowsFileError(ValueError):
    """A flows.yaml of which nothing can be used: absent, empty, no YAML, no list, or with broken defaults."""


@dataclass(frozen=True)
class Entry:
    """
    One entry of a file, not yet made into Python values, so that a bad one harms no other.

    :param position: in the list, from 1.
    :param line: the line it begins at, from 1.
    :param text: what stands in the file.
    :param error: why it is no YAML.
    """

    position: int
    line: int
    text: str
    loader: TextLoader | None = None
    node: yaml.Node | None = None
    lines: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def name(self) -> str | None:
        """What stands under `name`, for an error about an entry that cannot be read as a whole."""
        if self.node is None:
            found = _NAME.search(self.text)
            return found["name"] if found else None
        pairs = self.node.value if isinstance(self.node, yaml.MappingNode) else []
        names = [value.value for key, value in pairs if key.value == "name" and isinstance(value, yaml.ScalarNode)]
        return names[0] if names else None

    def read(self) -> Any:
        """
        Return its values: text, None, lists and mappings.

        :raises EntryError: saying at which line or in which field, and what to change there.
        """
        if len(self.text) > MAX_CHARACTERS:
            raise EntryError(f"it has more than {MAX_CHARACTERS} characters. Shorten it, or make several of it")
        if self.loader is None or self.node is None:
            raise EntryError(self.error)
        pairs = self.node.value if isinstance(self.node, yaml.MappingNode) else [(None, self.node)]
        for key, value in pairs:
            try:
                Weight(self.loader).of(value)
                Weight(self.loader).of(key or value)
            except EntryError as wrong:
                field = f"{key.value}: " if isinstance(key, yaml.ScalarNode) else ""
                raise EntryError(f"{field}{wrong}") from None
        try:
            return self.loader.construct_document(self.node)
        except yaml.YAMLError as error:
            raise EntryError(explain(error, self.lines)) from None


@dataclass(frozen=True)
class Entries:
    """What stands in a file: the entries in their order, and the values that count where a flow does not say."""

    defaults: Mapping[str, Any]
    entries: list[Entry]


def read_entries(path: Path, flow: str | None = None) -> Entries:
    """
    Return the entries of a file.

    :param path: of the file, which may lie in a zip: Airflow's Dag files may.
    :param flow: leave out entries that cannot be the flow of this name. They are not even read as YAML, which takes
        most of the time of a large file.
    :raises FlowsFileError: the file is missing, empty, no YAML, no list, or its defaults are broken.
    """
    text = _text_of(path)
    pieces = list(_pieces(text))
    if flow is not None:
        some = _read(path, text, [piece for piece in pieces if not piece.position or _may_be(flow, piece.text)])
        if not any(entry.error for entry in some.entries):
            return some
    if any(piece.is_too_long for piece in pieces):
        return _read(path, text, pieces)
    try:
        return _read(path, text, [_Piece(0, 0, text)])
    except FlowsFileError:
        if not any(piece.position for piece in pieces):
            raise
        return _read(path, text, pieces)


def _read(path: Path, text: str, pieces: list[_Piece]) -> Entries:
    """Return the entries of some pieces of a file."""
    lines = text.splitlines()
    defaults: Mapping[str, Any] | None = None
    entries: list[Entry] = []
    above: TextLoader | None = None
    for piece in pieces:
        if piece.is_too_long:
            entries.append(Entry(piece.position, piece.line + 1, piece.text))
            continue
        try:
            loader = TextLoader(piece.text, piece.line, above)
            root = loader.get_single_node()
        except yaml.YAMLError as error:
            said = explain(error, lines)
            if not piece.position:
                raise FlowsFileError(f"{path} is no YAML: {said}") from None
            entries.append(Entry(piece.position, piece.line + 1, piece.text, error=said))
            continue
        above = loader
        for name, node in _parts(root):
            if name == "defaults":
                if defaults is not None:
                    line = node.start_mark.line + 1
                    raise FlowsFileError(f"{path.name}, line {line}: defaults stand there twice. Remove one of the two")
                defaults = _defaults(Entry(0, node.start_mark.line + 1, "", loader, node, lines), path)
            elif name == "flows" and isinstance(node, yaml.SequenceNode):
                for position, one in enumerate(node.value, piece.position or 1):
                    own = piece.text[one.start_mark.index : one.end_mark.index]
                    entries.append(Entry(position, one.start_mark.line + 1, own, loader, one, lines))
            elif node.value:
                raise FlowsFileError(f"{path} is no list. {_FORM}")
    if not entries and not any(piece.position for piece in pieces):
        raise FlowsFileError(f"{path} holds no flow. {_FORM}")
    return Entries(defaults or {}, entries)


_FORM = (
    "Allowed: a list of flows, each of which begins '- name: ...', or a mapping of defaults and flows; this project's "
    "dags/flows.yaml has examples"
)
#: Characters of a file: to read them takes half a minute, which is how long Airflow waits for a Dag file.
MAX_FILE = 5_000_000
_NAME = re.compile(r"""[\s{,]name:\s*["']?(?P<name>[\w.-]+)""")


def _text_of(path: Path) -> str:
    try:
        try:
            content = path.read_bytes()
        except NotADirectoryError:
            archive = next((each for each in path.parents if each.is_file() and zipfile.is_zipfile(each)), None)
            if archive is None:
                raise
            content = zipfile.ZipFile(archive).read(path.relative_to(archive).as_posix())
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise FlowsFileError(f"{path} cannot be read: {error.strerror}. {_FORM}") from None
    except KeyError:
        raise FlowsFileError(f"{path} cannot be read: there is no such file in the zip. {_FORM}") from None
    except UnicodeDecodeError as error:
        raise FlowsFileError(f"{path} is not UTF-8: {error}. Save it as UTF-8") from None
    if len(text) > MAX_FILE:
        raise FlowsFileError(f"{path} has more than {MAX_FILE} characters. Make several files of it")
    return text


class _Piece(NamedTuple):
    """
    A part of a file that is YAML by itself.

    :param line: where it begins, from 0.
    :param position: of the one entry that it is, from 1; 0 where it is more than that.
    """

    line: int
    position: int
    text: str

    @property
    def is_too_long(self) -> bool:
        """Whether it is an entry that is not even read."""
        return bool(self.position) and len(self.text) > MAX_CHARACTERS


#: What may stand above the first entry.
_NOTHING = re.compile(r"\s*(#.*)?|---\s*(#.*)?|%.*")
_SECTION = re.compile(r"(?P<name>defaults|flows):(?P<rest>\s.*|$)")
_ITEM = re.compile(r"(?P<indent> *)-(\s|$)")


def _pieces(text: str) -> Iterator[_Piece]:
    """Yield the pieces of a file, in their order."""
    lines = text.splitlines(keepends=True)
    first = _first_line(lines, 0)
    if _ITEM.match(lines[first] if first < len(lines) else ""):
        yield from _items(lines, first, len(lines))
    elif first < len(lines) and _SECTION.match(lines[first]):
        heads = [number for number in range(first, len(lines)) if _SECTION.match(lines[number])]
        for head, end in zip(heads, [*heads[1:], len(lines)], strict=True):
            section = _SECTION.match(lines[head])
            start = _first_line(lines, head + 1)
            in_lines = section and section["name"] == "flows" and _NOTHING.fullmatch(section["rest"].rstrip())
            if in_lines and start < end and _ITEM.match(lines[start]):
                yield from _items(lines, start, end)
            else:
                yield _Piece(head, 0, "".join(lines[head:end]))
    else:
        yield _Piece(0, 0, text)


def _first_line(lines: list[str], start: int) -> int:
    """Return the number of the first line from `start` on that has more than a comment; or of the end."""
    return next(
        (number for number in range(start, len(lines)) if not _NOTHING.fullmatch(lines[number].rstrip())), len(lines)
    )


def _items(lines: list[str], first: int, end: int) -> Iterator[_Piece]:
    """
    Yield the items of a list whose first one begins at a line.

    No other line of YAML can begin with a dash at the very same place: what belongs to an item stands further right.
    """
    found = _ITEM.match(lines[first])
    indent = found["indent"] if found else ""
    starts = [number for number in range(first, end) if (at := _ITEM.match(lines[number])) and at["indent"] == indent]
    for position, (start, after) in enumerate(zip(starts, [*starts[1:], end], strict=True), 1):
        yield _Piece(start, position, "".join(lines[start:after]))


def _may_be(flow: str, text: str) -> bool:
    """
    Say whether the entry of this text may be the flow, or is needed for it.

    A name stands in the text of its entry, or comes of `for_each`; anchors (&) are used further down.
    """
    return flow in text or "for_each" in text or "&" in text


def _parts(root: yaml.Node | None) -> Iterator[tuple[str, yaml.Node]]:
    """Yield what a piece has, each under its name: a list has flows; what is of no use comes under no name."""
    if root is None:
        return
    if isinstance(root, yaml.SequenceNode):
        yield "flows", root
    elif isinstance(root, yaml.MappingNode):
        for key, value in root.value:
            yield str(key.value), value
    else:
        yield "", root


def _defaults(whole: Entry, path: Path) -> Mapping[str, Any]:
    try:
        values = whole.read()
    except EntryError as wrong:
        raise FlowsFileError(f"{path.name}, line {whole.line}: defaults: {wrong}") from None
    if values is not None and not isinstance(values, Mapping):
        raise FlowsFileError(f"{path.name}, line {whole.line}: defaults: a mapping of fields and values is wanted")
    return values or {}
