"""The page of all flows in a browser, as a user of an Airflow sees it."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

from tests.support.airflow_system import AirflowSystem
from tests.support.chromium import Chromium

ADMIN, VIEWER, BLIND = "ann", "vic", "bob"

#: Names that partners may give to files: markup, a link that runs, escape sequences, a mark that turns text round.
HOSTILE = {
    "markup": "<img src=x onerror=\"document.title='hacked'\">.csv",
    "script": "<script>document.title='hacked'</script>",
    "link": "javascript:document.title='hacked'",
    "right to left": "invoice\u202efdp.exe",
}

#: How the rows of the table are read: flow -> text of its cells, and the text beneath them.
ROWS = """Object.fromEntries([...document.querySelectorAll("#flows > tbody")].map((rows) => [
    rows.dataset.flow, {
        cells: [...rows.rows[0].cells].map((cell) => cell.innerText),
        why: rows.rows[1] ? rows.rows[1].innerText : "",
    }]))"""
SETTLED = """document.querySelector("#flows") && !document.querySelector("#flows").innerText.includes("…")"""
STATE, FLOW, PLACES, SCHEDULE, LAST_RUN, LAST_MOVED, WAITING, DAY = range(8)


class FlowsPage(NamedTuple):
    """The page of an Airflow, in a browser."""

    airflow: AirflowSystem
    browser: Chromium

    @property
    def url(self) -> str:
        return f"{self.airflow.url}/sftp-s3/"

    def open(self, user: str = ADMIN, flow: str | None = None) -> None:
        """Open the page as a user, or that of one flow; return before it has asked for anything."""
        self.browser.sign_in(self.airflow.url, self.airflow.token(user))
        self.browser.open(self.url if flow is None else f"{self.url}#/flow/{quote(flow)}")

    def table(self, user: str = ADMIN) -> dict[str, dict[str, Any]]:
        """Open the page as a user; return the rows of its table once all that it asks for is there."""
        self.open(user)
        self.browser.wait_for(SETTLED)
        rows: dict[str, dict[str, Any]] = self.browser.evaluate(ROWS)
        return rows

    def flow(self, name: str, user: str = ADMIN) -> str:
        """Open the page of one flow as a user; return its text once all that it asks for is there."""
        self.open(user, name)
        self.browser.wait_for("document.querySelector('article pre') && !document.body.innerText.includes('…')")
        return str(self.browser.evaluate("document.querySelector('main').innerText"))

    def links(self, within: str = "main") -> list[str]:
        """Return where the links in a part of the page lead to."""
        return list(self.browser.evaluate(f"[...document.querySelectorAll('{within} a')].map((link) => link.href)"))


def assert_text_only(browser: Chromium) -> None:
    """Nothing has become an element, a script or a link that runs; nothing turns round what follows it."""
    assert browser.evaluate("document.title").endswith("SFTP and S3 flows")
    assert browser.evaluate("document.querySelectorAll('img, iframe, main script, [onerror], [onload]').length") == 0
    assert browser.evaluate("[...document.links].filter((link) => !/^https?:$/.test(link.protocol)).length") == 0
    assert not browser.evaluate(r"/[\u202a-\u202e\u2066-\u2069\u001b]/u.test(document.body.textContent)")
    assert browser.complaints() == []
