"""
YAML whose values are the text that stands there, with bounds on what a few lines can stand for, and errors that say
what to change.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from airflow_provider_sftp_s3.engine.paths import printable
from airflow_provider_sftp_s3.flows.values import Plain


class EntryError(ValueError):
    """An entry that has no values, such as one with a mapping for a key; the others may be fine."""


#: Lists and mappings that may stand within each other in a file. A flow's own need four.
MAX_DEPTH = 50
#: Characters of a line that an error shows.
MAX_LINE_SHOWN = 500
#: Characters of an entry, which take seconds to read; and of one field of it, with its aliases written out.
MAX_CHARACTERS = 1_000_000


_TAG = "tag:yaml.org,2002:"
#: Tags of values that are read as the text that they are.
_TEXTS = ("str", "bool", "int", "float", "timestamp")


class Weight:
    """How much a part of a file would be, if each alias were written out: a few lines can stand for gigabytes."""

    def __init__(self, loader: TextLoader) -> None:
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


class TextLoader(yaml.SafeLoader):
    """
    Reads every plain value as the text it is, and leaves its meaning to the field it stands in.

    So YAML's surprises do not arise: `on` is no boolean where a tag is wanted, `010` is not eight, `1:30` is not
    ninety, and an error shows what was written. A tag such as ``!!int`` changes nothing about that, and others than
    those of JSON's values are unknown. A key that stands twice in a mapping, of which YAML's reader would quietly take
    the last, is an error.
    """

    yaml_constructors = {  # noqa: RUF012 - as the base class has it
        None: yaml.SafeLoader.yaml_constructors[None],  # of a tag that is unknown
        **{f"{_TAG}{name}": yaml.SafeLoader.yaml_constructors[f"{_TAG}{name}"] for name in ("null", "seq", "map")},
        **{f"{_TAG}{name}": yaml.SafeLoader.yaml_constructors[f"{_TAG}str"] for name in _TEXTS},
    }

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class has it
        first: [resolver for resolver in resolvers if resolver[0].endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str, line: int = 0, above: TextLoader | None = None) -> None:
        """
        Take a piece of a file.

        :param line: where in the file it begins, from 0.
        :param above: has read what stands above it: its anchors can be used here.
        """
        super().__init__(text)
        self.line = line
        self.anchors: dict[str, yaml.Node] = dict(above.anchors) if above else {}
        self._twice: dict[yaml.Node, yaml.Node] = above._twice if above else {}
        #: stand for lists and mappings that nobody wants to read
        self.too_deep: set[yaml.Node] = above.too_deep if above else set()
        self._depth = 0

    # PyYAML would forget the anchors at its end.
    def compose_document(self) -> yaml.Node | None:
        self.get_event()  # type: ignore[no-untyped-call]
        node = self.compose_node(None, None)
        self.get_event()  # type: ignore[no-untyped-call]
        return node

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and not value.isascii():  # JSON writes a character beyond U+FFFF as two halves
            value = value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return Plain(value) if plain and isinstance(value, str) else value

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
        stands_for_it = yaml.ScalarNode(f"{_TAG}str", "", mark, mark)
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


def explain(error: yaml.YAMLError, lines: list[str]) -> str:
    """Say at which line a YAML error is, and what to change there: mostly, quotes are missing."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None or not lines:
        return " ".join(str(error).split())
    number = min(mark.line, len(lines) - 1)
    line, problem = lines[number], getattr(error, "problem", None) or str(error)
    entry = _ENTRY.fullmatch(line) if len(line) <= MAX_LINE_SHOWN else None
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
    return f"line {number + 1}, `{printable(line.strip(), MAX_LINE_SHOWN)}`: {problem}. {advice}"
