"""Every link of every page leads somewhere, in the repository itself: `make docs` tells the same of the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.pages import PAGES, REPOSITORY, anchors, links, without_examples

pytestmark = pytest.mark.unit

ALL = [*PAGES, REPOSITORY / "CHANGELOG.md"]


def leads_nowhere(page: Path, link: str) -> bool:
    """Say whether a link within the repository has no file, or no heading of that name in it."""
    path, _, anchor = link.partition("#")
    file = (page.parent / path).resolve() if path else page
    return not file.exists() or bool(anchor and anchor not in anchors(file))


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_each_link_leads_somewhere(page: Path) -> None:
    """As hosts of repositories make anchors of headings; the site knows those, too."""
    inside = [link for link in links(page) if "://" not in link]
    assert [link for link in inside if leads_nowhere(page, link)] == []
    outside = [link for link in links(page) if "://" in link]
    assert [link for link in outside if not link.startswith("https://")] == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    """No file, no such heading, one that stands in an example; and what is right is none of these."""
    page = tmp_path / "page.md"
    page.write_text(
        "# It's `a.b`: twice\n\n## Twice\n\n## Twice\n\n```sh\n# not a heading\n[no](link.md)\n```\n"
        "[1](gone.md) [2](#gone) [3](page.md#its-ab) [4](#its-ab-twice) [5](page.md#twice-1) [6](#not-a-heading)\n"
    )
    assert "[no]" not in without_examples(page)
    assert [link for link in links(page) if leads_nowhere(page, link)] == [
        *("gone.md", "#gone", "page.md#its-ab", "#not-a-heading")
    ]


def test_all_that_is_meant_as_a_link_is_looked_at() -> None:
    """No page has links of another form, which nothing here would see."""
    for page in ALL:
        text = re.sub(r"`[^`]*`", "", without_examples(page))
        assert not re.search(r"^\[[^\]]+\]: |<https?:|<a |\]\[", text, re.MULTILINE), page.name
