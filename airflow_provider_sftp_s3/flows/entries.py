"""
Reading a list from YAML entry by entry, with all values as text, and errors that say what to change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class FlowsFileError(ValueError):
    """A flows.yaml of which nothing can be used: absent, empty, no YAML, no list."""


class EntryError(ValueError):
    """An entry that has no values, such as one with a mapping for a key; the others may be fine."""


#: Lists and mappings that may stand within each other in a file. A flow's own need four.
MAX_DEPTH = 50
#: Characters that one field may have, with those of its aliases counted as often as they stand there.
MAX_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Entry:
    """One entry of the list, not yet made into Python values, so that a bad one harms no other."""

    loader: _TextLoader
    node: yaml.Node
    lines: list[str]

    @property
    def line(self) -> int:
        """The line it begins at, from 1."""
        return self.node.start_mark.line + 1

    @property
    def name(self) -> str | None:
        """What stands under `name`, for an error about an entry that cannot be read as a whole."""
        pairs = self.node.value if isinstance(self.node, yaml.MappingNode) else []
        names = [value.value for key, value in pairs if key.value == "name" and isinstance(value, yaml.ScalarNode)]
        return names[0] if names else None

    def read(self) -> Any:
        """
        Return its values: text, None, lists and mappings.

        :raises EntryError: saying at which line or in which field, and what to change there.
        """
        pairs = self.node.value if isinstance(self.node, yaml.MappingNode) else [(None, self.node)]
        for key, value in pairs:
            try:
                _Weight(self.loader).of(value)
                _Weight(self.loader).of(key or value)
            except EntryError as wrong:
                field = f"{key.value}: " if isinstance(key, yaml.ScalarNode) else ""
                raise EntryError(f"{field}{wrong}") from None
        try:
            return self.loader.construct_document(self.node)
        except yaml.YAMLError as error:
            raise EntryError(_explain(error, self.lines)) from None


def read_entries(path: Path) -> Iterator[Entry]:
    """
    Yield the entries of the list in a YAML file.

    :raises FlowsFileError: the file is missing, empty, no YAML, or no list.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FlowsFileError(f"{path} cannot be read: {error.strerror}. {_FORM}") from None
    except UnicodeDecodeError as error:
        raise FlowsFileError(f"{path} is not UTF-8: {error}. Save it as UTF-8") from None
    lines = text.splitlines()
    try:
        loader = _TextLoader(text)
        root = loader.get_single_node()
    except yaml.YAMLError as error:
        raise FlowsFileError(f"{path} is no YAML: {_explain(error, lines)}") from None
    if root is None or not root.value:
        raise FlowsFileError(f"{path} holds no flow. {_FORM}")
    if not isinstance(root, yaml.SequenceNode):
        raise FlowsFileError(f"{path} is no list. {_FORM}")
    for node in root.value:
        yield Entry(loader, node, lines)


_FORM = "Allowed: a list of flows, each of which begins '- name: ...'; this project's dags/flows.yaml has examples"


class _Weight:
    """How much a part of a file would be, if each alias were written out: a few lines can stand for gigabytes."""

    def __init__(self, loader: _TextLoader) -> None:
        self._loader = loader
        #: characters and levels
        self._known: dict[yaml.Node, tuple[int, int]] = {}
        self._under_way: set[yaml.Node] = set()

    def of(self, node: yaml.Node, depth: int = 0) -> tuple[int, int]:
        """
        Return the characters in a node, and how many levels it has.

        :raises EntryError: it is too much, or has no end.
        """
        characters, levels = self._known.get(node) or self._look_into(node, depth)
        if node in self._loader.too_deep or depth + levels > MAX_DEPTH:
            raise EntryError(f"lists or mappings stand within each other, more than {MAX_DEPTH} deep. Take some out")
        if characters > MAX_CHARACTERS:
            raise EntryError(
                f"with its aliases (*) written out it has more than {MAX_CHARACTERS} characters. Shorten it"
            )
        return characters, levels

    def _look_into(self, node: yaml.Node, depth: int) -> tuple[int, int]:
        if node in self._under_way:
            raise EntryError("an alias (*) stands within what it stands for. Take it out")
        self._under_way.add(node)
        if isinstance(node, yaml.MappingNode):
            inside = [part for pair in node.value for part in pair]
        else:
            inside = node.value if isinstance(node, yaml.SequenceNode) else []
        characters, levels = 1 if inside else len(node.value) + 1, 1
        for part in inside:
            more, deeper = self.of(part, depth + 1)
            characters, levels = characters + more, max(levels, deeper + 1)
        self._under_way.discard(node)
        self._known[node] = characters, levels
        return characters, levels


class _TextLoader(yaml.SafeLoader):
    """
    Reads every plain value as the text it is, and leaves its meaning to the field it stands in.

    So YAML's surprises do not arise: `on` is no boolean where a tag is wanted, `010` is not eight, `1:30` is not
    ninety, and an error shows what was written. A key that stands twice in a mapping, of which YAML's reader would
    quietly take the last, is an error.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class has it
        first: [resolver for resolver in resolvers if resolver[0].endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._twice: dict[yaml.Node, yaml.Node] = {}
        self._depth = 0
        #: stand for lists and mappings that nobody wants to read
        self.too_deep: set[yaml.Node] = set()

    # Found here, since PyYAML would call itself for each level, and the whole file would be of no use.
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        try:
            if self._depth > MAX_DEPTH and self.check_event(yaml.CollectionStartEvent):
                return self._pass_over()
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    # PyYAML keeps each bracket in mind as what may turn out to be a key, and goes through all of them for each one.
    def fetch_flow_collection_start(self, token: Any) -> None:
        if self.flow_level > MAX_DEPTH:
            self.allow_simple_key = False
        super().fetch_flow_collection_start(token)

    def _pass_over(self) -> yaml.Node:
        """Leave out a list or mapping, and return what stands for it and for all that it has an anchor on."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        stands_for_it = yaml.ScalarNode("tag:yaml.org,2002:str", "", mark, mark)
        self.too_deep.add(stands_for_it)
        levels = 0
        while True:
            event = self.get_event()  # type: ignore[no-untyped-call]
            if anchor := getattr(event, "anchor", None):
                self.anchors.setdefault(anchor, stands_for_it)
            levels += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if not levels:
                return stands_for_it

    # Found here, before merged keys (<<) are mixed in; raised below, where only one entry is being read.
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    self._twice[node] = key
                seen.add(key.value)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if key := self._twice.get(node):
            raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands there twice", key.start_mark)
        return super().construct_mapping(node, deep)


_ENTRY = re.compile(r"\s*(?:- +)?(?P<field>[\w.]+): +(?P<value>\S.*?)(?:\s+#.*)?")
#: With these a plain value cannot begin in YAML, or begins something else than text.
_INDICATORS = "@`%*&!{[|>?,"


def _explain(error: yaml.YAMLError, lines: list[str]) -> str:
    """Say at which line a YAML error is, and what to change there: mostly, quotes are missing."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None or not lines:
        return str(error)
    number = min(mark.line, len(lines) - 1)
    line, problem = lines[number], getattr(error, "problem", None) or str(error)
    entry = _ENTRY.fullmatch(line)
    if "stands there twice" in problem:
        advice = "Remove one"
    elif "\t" in line[: len(line) - len(line.lstrip())]:
        advice = "Indent with spaces: there is a tab"
    elif entry and entry["value"][0] in _INDICATORS:
        quote = '"' if "'" in entry["value"] else "'"
        advice = (
            f"A value that begins with {entry['value'][0]} must stand in quotes: "
            f"{entry['field']}: {quote}{entry['value']}{quote}"
        )
    elif entry and ": " in entry["value"]:
        advice = "A value with ': ' in it must stand in quotes"
    else:
        advice = "Look at the indentation, the quotes and the brackets here and in the line above"
    return f"line {number + 1}, `{line.strip()}`: {problem}. {advice}"
