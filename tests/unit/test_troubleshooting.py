"""docs/troubleshooting.md has what to do about each error and message of the code, and about none that is not there."""

from __future__ import annotations

import ast
import re

import pytest

from docs import messages
from docs.messages import GAP, LEAST, PAGE, entries, entry_of, error_classes, headings, texts

pytestmark = pytest.mark.unit


def test_each_message_has_an_entry() -> None:
    """Write those that are shown here into the page, as a heading with what to do: some of their words are enough."""
    there = entries()
    assert {text: where for text, where in messages.messages().items() if entry_of(text, there) is None} == {}


def test_each_entry_is_about_a_message() -> None:
    """One that nobody can get any more would be read in vain."""
    there = entries()
    used = {entry_of(text, there) for text in messages.messages()}
    assert [entry for entry in there if entry not in used] == []


def test_each_error_class_has_an_entry() -> None:
    classes = {name for name in error_classes() if not name.startswith("_")}
    assert {heading for heading in headings() if " " not in heading} == classes


def test_each_entry_says_enough_to_be_found_and_what_to_do() -> None:
    """Its words would not be found in anything, it stands there once, and something stands beneath it."""
    there = headings()
    assert len(there) == len(set(there))
    assert [entry for entry in entries() if len(re.sub(r"[\W\d_]", "", entry)) < LEAST] == []
    for body in re.split(r"^### .+$", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        assert body.partition("\n#")[0].strip()


def test_what_the_code_says_in_pieces_is_found() -> None:
    """A text that a function returns, that an attribute holds, that is one of two, or that is told in the log."""
    found = messages.messages()
    for text in (
        f"s3_bucket: there is no bucket {GAP}",
        "the aws connection's credentials have expired (ExpiredToken)",  # of a constant
        f"{GAP} {GAP} is {GAP}, which is not supported: name a bucket, or an access point of one",  # of a maker
        f"S3 takes no object as this run sends them: {GAP}{GAP}. {GAP}. Headers that were sent: {GAP}",  # awaited
        f"the server lets us open no more than {GAP} files at once: others wait",  # of the log
        "cannot be followed: the server does not say what it leads to",  # of an outcome
        "'trigger: sqs' and queue_url need each other. Allowed: both, or none",  # of a rule
    ):
        assert text in found, text


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("'a' 'b'", ["ab"]),
        ("f'a {b} c'", [f"a {GAP} c"]),
        ("'a' if b else 'c'", ["a", "c"]),
        ("'a ' + b", [f"a {GAP}"]),
        ("str(f'a {b}')", [f"a {GAP}"]),
        ("unknown(b)", []),
    ],
)
def test_an_expression_is_read(expression: str, expected: list[str]) -> None:
    tree = ast.parse(expression, mode="eval")
    assert texts(tree.body, tree) == expected
