"""
Every message of the code, for docs/troubleshooting.md: ``python -m docs.messages`` lists those that have no entry.

They are read from the source, not from running it: texts that are given to an error, to what makes one, to a file's
outcome or to the log. What is put into a text at run time stands as "…". An error that only passes on what another one
says has no text of its own, and is not here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "airflow_provider_sftp_s3"
PAGE = Path(__file__).with_name("troubleshooting.md")

#: What is put in at run time.
GAP = "…"
#: Errors of others that are raised with a text for users.
FOREIGN = {"AirflowFailException", "AirflowSkipException", "ConnectionError", "OSError", "TypeError", "ValueError"}
#: What else takes a message: a problem of a flow, and what is told in the log.
TELLERS = {"Problem", "Rule", "notice", "_notice", "once", "warning"}
#: Fewest letters of an entry: fewer would be found in anything.
LEAST = 8


@cache
def trees() -> Mapping[str, ast.Module]:
    """Return every module of the package, by its path in it."""
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def error_classes() -> Mapping[str, str]:
    """Return the classes of errors that the package defines, each with the name of what it derives from."""
    bases = {
        node.name: [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }

    def is_error(name: str) -> bool:
        return name in FOREIGN or name in ("Exception", "Warning") or any(map(is_error, bases.get(name, ())))

    return {name: of[0] for name, of in bases.items() if is_error(name)}


@cache
def _functions() -> Mapping[str, list[ast.FunctionDef | ast.AsyncFunctionDef]]:
    found: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found.setdefault(node.name, []).append(node)
    return found


@cache
def _makers() -> frozenset[str]:
    """Return the functions that make an error: their annotation says so."""
    return frozenset(
        name
        for name, nodes in _functions().items()
        for node in nodes
        if node.returns is not None and ast.unparse(node.returns).split(" ")[0].rpartition(".")[2] in error_classes()
    )


def _name_of(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def texts(node: ast.AST | None, tree: ast.AST, depth: int = 4) -> list[str]:
    """Return what an expression may be as a text, with gaps; nothing, where the source does not tell."""
    if node is None or depth == 0:
        return []
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return ["".join(str(each.value) if isinstance(each, ast.Constant) else GAP for each in node.values)]
    if isinstance(node, ast.Await):
        return texts(node.value, tree, depth)
    if isinstance(node, ast.IfExp):
        return texts(node.body, tree, depth) + texts(node.orelse, tree, depth)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = [texts(side, tree, depth) or [GAP] for side in (node.left, node.right)]
        return [left + right for left in sides[0] for right in sides[1]]
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in texts(value, tree, depth)]
    if isinstance(node, (ast.Name, ast.Attribute)):
        return [text for value in _assigned(node, tree) for text in texts(value, tree, depth - 1)]
    if isinstance(node, ast.Call):
        name = _name_of(node)
        if name in ("str", "printable") and node.args:
            return texts(node.args[0], tree, depth)
        if name in ("removesuffix", "format") and isinstance(node.func, ast.Attribute):
            return texts(node.func.value, tree, depth)
        inside = (each for made in _functions().get(name, ()) for each in ast.walk(made))
        returned = [each.value for each in inside if isinstance(each, ast.Return)]
        return [text for value in returned for text in texts(value, tree, depth - 1)]
    return []


def _assigned(node: ast.Name | ast.Attribute, tree: ast.AST) -> Iterator[ast.expr]:
    """Yield what a name is given anywhere in its module."""
    wanted = ast.unparse(node)
    for each in ast.walk(tree):
        targets = (
            each.targets if isinstance(each, ast.Assign) else [each.target] if isinstance(each, ast.AnnAssign) else []
        )
        if wanted in map(ast.unparse, targets) and (value := getattr(each, "value", None)) is not None:
            yield value


def _given(call: ast.Call) -> list[ast.expr]:
    """Return the arguments of a call that may be a message; none: it takes no message."""
    name = _name_of(call)
    if name == "Outcome":
        failed = any(isinstance(each, ast.Constant) and each.value == "failed" for each in call.args)
        return [*call.args[3:], *(each.value for each in call.keywords if each.arg == "reason")] if failed else []
    if name in error_classes() or name in FOREIGN or name in _makers():
        return call.args
    if name in TELLERS:
        return call.args[-1:] if name in ("Problem", "Rule", "once") else call.args[:1]
    return []


@cache
def messages() -> Mapping[str, str]:
    """Return each message, with where it is in the package."""
    found: dict[str, str] = {}
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                for text in (text for given in _given(node) for text in texts(given, tree)):
                    text = re.sub("%[srd]", GAP, text)
                    if " " in text and len(_letters(text)) >= LEAST:
                        found.setdefault(text, f"{path}:{node.lineno}")
    return found


def _letters(text: str) -> str:
    return re.sub(r"[\W\d_]", "", text)


def headings() -> list[str]:
    """Return what the page has entries of: its headings of the third level, as text."""
    return [each.strip("`").strip() for each in re.findall(r"^### (.+)$", PAGE.read_text(), re.MULTILINE)]


def entries() -> list[str]:
    """Return the entries of messages; the others are those of classes."""
    return [heading for heading in headings() if " " in heading]


def explains(entry: str, message: str) -> bool:
    """Say whether an entry is about a message: its words are in it, with anything for each gap."""
    return re.search(".*".join(map(re.escape, entry.split(GAP))), message) is not None


def entry_of(message: str, among: Iterable[str]) -> str | None:
    """Return the entry that says most about a message; None: there is none."""
    return max((entry for entry in among if explains(entry, message)), key=len, default=None)


if __name__ == "__main__":
    there = entries() if PAGE.exists() else []
    for text, where in messages().items():
        if entry_of(text, there) is None:
            print(f"{where}: {text}")  # noqa: T201 - it is a command
