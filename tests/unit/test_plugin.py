"""The plugin with the page of all flows: what Airflow gets of it, and what is served."""

from __future__ import annotations

import re
import runpy
from html.parser import HTMLParser

import httpx
import pytest
from airflow.plugins_manager import AirflowPlugin
from fastapi import FastAPI

from airflow_provider_sftp_s3.flows.dag import flow_dag
from airflow_provider_sftp_s3.plugins import plugin
from airflow_provider_sftp_s3.plugins.page import FILES, Page

pytestmark = pytest.mark.unit

SCRIPTS = sorted(FILES.glob("*.js"))
PULL = {"name": "in", "direction": "pull", "sftp_path": "/out", "s3_bucket": "a-bucket", "s3_prefix": "in/"}
PUSH = {"name": "out", "direction": "push", "sftp_path": "/in", "s3_bucket": "a-bucket", "sftp_conn_id": "partner"}


async def ask(path: str, method: str = "GET") -> httpx.Response:
    """Ask for a file as Airflow serves it: mounted, beneath a base path."""
    airflow = FastAPI(root_path="/base")
    airflow.mount(plugin.PREFIX, Page())
    transport = httpx.ASGITransport(airflow)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.request(method, f"/base{plugin.PREFIX}/{path}")


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] in ("script", "style"):
            self.inline += data.strip()


def test_airflow_gets_one_page_and_one_view_of_it() -> None:
    """The view's address is relative, so that it works beneath any base path, and ends with a slash."""
    (app,) = plugin.SftpS3Plugin.fastapi_apps
    (view,) = plugin.SftpS3Plugin.external_views
    assert app["url_prefix"] == "/sftp-s3"
    assert view == {"name": app["name"], "href": "sftp-s3/", "destination": "nav", "category": "browse"}


def test_an_airflow_without_views_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older than 3.1: nothing breaks, and nothing is served that could not be used."""
    monkeypatch.delattr(AirflowPlugin, "external_views")
    older = runpy.run_path(plugin.__file__)["SftpS3Plugin"]
    assert (older.name, older.fastapi_apps, older.external_views) == ("sftp_s3", [], [])


async def test_the_page_is_static_and_runs_nothing_but_its_own_files() -> None:
    """No inline script or style, no handler in an attribute, nothing from elsewhere: its policy allows none of them."""
    answer = await ask("")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"} <= set(policy)
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    elements = Elements(answer.text)
    assert elements.inline == ""
    names = {name for _, attributes in elements.found for name in attributes}
    assert not {name for name in names if name.startswith("on") or name == "style"}
    sources = [attributes.get("src") or attributes.get("href") for tag, attributes in elements.found if tag != "a"]
    for source in filter(None, sources):
        loaded = await ask(source)
        assert loaded.status_code == 200, source
        assert loaded.headers["content-security-policy"] == answer.headers["content-security-policy"]


async def test_nothing_else_is_served() -> None:
    """Neither what lies beside the files, nor anything but reading."""
    for path in ("../plugin.py", "%2e%2e/plugin.py", "..%2fplugin.py", "nothing.js"):
        assert (await ask(path)).status_code == 404, path
    assert (await ask("", "POST")).status_code == 405
    assert (await ask("page.js", "HEAD")).status_code == 200


def test_each_script_that_is_imported_is_there() -> None:
    """And each that is there is imported, but for the one that the page names."""
    imported = {name for script in SCRIPTS for name in re.findall(r'from "\./(.+?)"', script.read_text())}
    assert imported | {"page.js"} == {script.name for script in SCRIPTS}


@pytest.mark.parametrize("script", [script.name for script in SCRIPTS])
def test_no_script_makes_markup_of_text(script: str) -> None:
    """Text nodes only: none of the ways by which a text becomes markup or code is used."""
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function|srcdoc|setHTML"
    assert not re.search(ways, (FILES / script).read_text())


@pytest.mark.parametrize(
    ("flow", "last_line"),
    [
        (PULL, "sftp_default:/out → s3://a-bucket/in/"),
        (PUSH, "s3://a-bucket/ → partner:/in"),
        (PULL | {"description": "Orders\nof A"}, "(sftp_default:/out → s3://a-bucket/in/)"),
        (PULL | {"sftp_path": "/a\nb"}, "sftp_default:/a b → s3://a-bucket/in/"),
    ],
)
def test_a_flows_description_ends_with_its_places(flow: dict[str, str], last_line: str) -> None:
    """Airflow's list of Dags has nothing else that could tell the page."""
    description = flow_dag(flow).description
    says, _, places = description.rpartition("\n")
    assert places == f"({last_line.strip('()')})"
    assert says == flow.get("description", says)
