"""The box of docs/troubleshooting.md, in a browser: an error that is pasted there leads to its entry."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pytest

from docs.messages import GAP, entries, entry_of, messages
from tests.support.chromium import Chromium

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SCRIPT = Path(__file__).parents[2] / "docs/_static/find-error.js"
FIND = """
(texts => texts.map(text => {
    const field = document.getElementById("error-text");
    field.value = text;
    field.dispatchEvent(new Event("input"));
    const links = [...document.querySelectorAll("li a")];
    return links.map(link => [link.textContent, document.querySelector(link.hash).querySelector("h3").textContent]);
}))"""


@pytest.fixture
def page(browser: Chromium, tmp_path: Path) -> Chromium:
    """The page with all entries, as Sphinx makes their headings."""
    sections = (
        f'<section id="e{number}"><h3><code>{html.escape(entry)}</code><a>¶</a></h3></section>'
        for number, entry in enumerate(entries())
    )
    head = f'<meta charset="utf-8"><script>{SCRIPT.read_text()}</script><section id="how-bad-is-it"></section>'
    (tmp_path / "page.html").write_text(head + "".join(sections))
    browser.open((tmp_path / "page.html").as_uri())
    return browser


def test_each_message_leads_to_its_entry(page: Chromium) -> None:
    """With names in the place of gaps, as part of a line of Airflow's log that a terminal has broken."""
    texts = [text.replace(GAP, "'a b.csv'") for text in messages()]
    pasted = [f"2026-01-31 [error] {text.replace(' ', chr(10), 1)} [task] loc=x.py:1" for text in texts]
    found = page.evaluate(f"{FIND}({json.dumps(pasted)})")
    first = {text: links[0][0] if links else None for text, links in zip(texts, found, strict=True)}
    assert {text: entry for text, entry in first.items() if entry != entry_of(text, entries())} == {}
    assert all(f"{heading}¶" == entry for links in found for heading, entry in links)


def test_what_nothing_is_about_is_said(page: Chromium) -> None:
    assert page.evaluate(f"{FIND}(['it is raining'])") == [[]]
    assert "No entry is about this" in page.evaluate("document.body.innerText")
