"""The page of all flows: a real Airflow beneath a base path, real runs, and Debian's Chromium as two users see it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import httpx
import pytest
import yaml

from tests.support.airflow_system import AirflowSystem
from tests.support.chromium import Chromium
from tests.support.page import (
    ADMIN,
    BLIND,
    DAY,
    FLOW,
    HOSTILE,
    LAST_MOVED,
    LAST_RUN,
    PLACES,
    SCHEDULE,
    STATE,
    VIEWER,
    WAITING,
    FlowsPage,
    assert_text_only,
)
from tests.support.ports import free_port
from tests.support.s3_server import REGION, S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DAGS = Path(__file__).parents[2] / "dags"
#: Where `make screenshots` wants the pictures; a test run leaves the checkout as it is.
PICTURES = os.environ.get("PICTURES")

#: Puts runs into the past, each with its tasks and events, and says in each event what was moved, if it does not.
BACKDATE = """
import json, sys
from datetime import timedelta
from airflow.models import DagRun, TaskInstance
from airflow.models.asset import AssetEvent
from airflow.utils.session import create_session

hours, moved = json.loads(sys.argv[1]), json.loads(sys.argv[2])
with create_session() as session:
    for dag, each in hours.items():
        runs = session.query(DagRun).filter_by(dag_id=dag).order_by(DagRun.start_date).all()
        for run, back in zip(runs, each):
            by = timedelta(hours=back)
            run.run_after, run.start_date = run.run_after - by, run.start_date - by
            run.end_date = run.end_date and run.end_date - by
            for task in session.query(TaskInstance).filter_by(dag_id=dag, run_id=run.run_id):
                task.start_date = task.start_date and task.start_date - by
                task.end_date = task.end_date and task.end_date - by
            for event in session.query(AssetEvent).filter_by(source_dag_id=dag, source_run_id=run.run_id):
                event.timestamp -= by
                event.extra = moved.get(dag, {}) | event.extra
"""


class World(NamedTuple):
    page: FlowsPage
    sftp: AsyncsshServer
    client: Any
    bucket: str
    pictures: Path

    def picture(self, name: str) -> None:
        self.page.browser.picture(self.pictures / f"{name}.png")


def flows_of(bucket: str) -> list[dict[str, Any]]:
    """
    Return ten flows. Three of them will be broken in different ways, and one is being tried again.

    None begins a run by its schedule while the tests run: their rows would have another order then.
    """
    now = datetime.now(ZoneInfo("Europe/Berlin"))
    hourly = f"{(now.minute + 40) % 60} * * * *"
    daily = f"{(now.minute + 40) % 60} {(now.hour + 12) % 24} * * *"
    pull = {"direction": "pull", "s3_bucket": bucket, "min_age": 0, "retries": 0, "timezone": "Europe/Berlin"}
    push = {"direction": "push", "s3_bucket": bucket, "retries": 0, "timezone": "Europe/Berlin", "mark": "metadata"}
    return [
        {**pull, "name": "acme_orders", "sftp_path": "/acme/orders", "s3_prefix": "in/acme/orders/"}
        | {"schedule": hourly, "description": "Orders that ACME's shop sends each hour"},
        {**pull, "name": "acme_invoices", "sftp_path": "/acme/invoices", "s3_prefix": "in/acme/invoices/"}
        | {"schedule": daily, "max_files": 2},
        {**push, "name": "beta_reports", "s3_prefix": "out/beta/", "sftp_path": "/beta/in", "schedule": hourly},
        {**pull, "name": "gamma_stock", "sftp_path": "/gamma/stock", "s3_prefix": "in/gamma/", "schedule": hourly},
        {**pull, "name": "delta_prices", "sftp_path": "/prices", "s3_prefix": "in/delta/", "schedule": hourly}
        | {"sftp_conn_id": "sftp_delta"},
        {**push, "name": "epsilon_export", "s3_prefix": "out/epsilon/", "sftp_path": "/epsilon", "schedule": daily}
        | {"strip_regex": "^out/epsilon/", "description": "Price lists for Epsilon's tills"},
        {**pull, "name": "zeta_catalog", "sftp_path": "/zeta", "s3_prefix": "in/zeta/", "schedule": "0 4 * * 1"},
        {**pull, "name": "eta_labels", "sftp_path": "/eta", "s3_prefix": "in/eta/", "schedule": "every morning"},
        {**pull, "name": "theta_forecast", "sftp_path": "/out", "s3_prefix": "in/theta/", "schedule": hourly}
        | {"sftp_conn_id": "sftp_theta", "retries": 7, "retry_delay": "1h"},
        {**pull, "name": "iota_images", "sftp_path": "/iota", "s3_prefix": "in/iota/"},
    ]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, _s3_of_the_session: S3Server, browser: Chromium) -> Iterator[World]:
    """Everything has run as far as it will, in the course of a day."""
    s3, directory = _s3_of_the_session, tmp_path_factory.mktemp("page")
    bucket, client = "example-data", s3.client()
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    pictures = Path(PICTURES) if PICTURES else directory / "pictures"
    with AsyncsshServer(directory / "sftp") as sftp:
        connection = sftp.airflow_connection()
        nobody = connection | {"port": free_port()}
        connections = {
            "sftp_default": connection,
            "sftp_delta": connection | {"password": "an old password", "extra": {"host_key": sftp.host_key}},
            "sftp_theta": nobody | {"extra": connection["extra"] | {"conn_timeout": 5}},
            "aws_default": s3.airflow_connection(),
        }
        files = {path.name: path.read_text() for path in DAGS.glob("*.py")}
        files["flows.yaml"] = yaml.safe_dump(flows_of(bucket))
        users = {ADMIN: "admin", VIEWER: "viewer", BLIND: "viewer"}
        airflow = AirflowSystem(directory, connections, files, base_path="/air/flow", users=users)
        found = World(FlowsPage(airflow, browser), sftp, client, bucket, pictures)
        try:
            run_everything(found)
            yield found
        finally:
            airflow.stop()
            client.close()
            s3.reset()


def run_everything(world: World) -> None:
    """Let a day's runs happen, and put them where a day has them."""
    airflow = world.page.airflow
    for path in ("acme/orders", "acme/invoices", "beta/in", "gamma/stock", "epsilon", "zeta", "iota"):
        world.sftp.local(f"/{path}").mkdir(parents=True)
    more_orders(world, 0)
    for number in range(5):
        (world.sftp.local("/acme/invoices") / f"{number}.pdf").write_bytes(bytes(40_000))
        world.client.put_object(Bucket=world.bucket, Key=f"out/beta/{number}.csv", Body=bytes(9_000))
    world.client.put_object(Bucket=world.bucket, Key="out/epsilon/stores.csv", Body=b"1")
    airflow.start()
    names = [flow["name"] for flow in flows_of(world.bucket) if flow["name"] not in ("zeta_catalog", "eta_labels")]
    scheduled = [name for name in names if name != "iota_images"]
    airflow.wait(lambda: all(airflow.get(f"dags/{name}") for name in names) and airflow.unpause(names))
    for name in scheduled:
        if name != "theta_forecast":
            airflow.wait(lambda name=name: [run for run in airflow.runs(name) if run["end_date"]])  # type: ignore[misc]
    for name in ("prices", "offers"):
        world.sftp.local(f"/epsilon/{name}.csv").mkdir()  # in the way of a file
        world.client.put_object(Bucket=world.bucket, Key=f"out/epsilon/{name}.csv", Body=b"1")
    world.client.put_object(Bucket=world.bucket, Key="out/epsilon/taxes.csv", Body=b"1")
    again = {"acme_orders": "success", "delta_prices": "failed"}
    for number, names_again in enumerate([[*again, "epsilon_export"], [*again]], 1):
        more_orders(world, number)
        begun = {name: airflow.trigger(name) for name in names_again}
        for name, run_id in begun.items():
            assert airflow.end_of(name, run_id) == again.get(name, "failed")
    (run,) = airflow.runs("theta_forecast")
    airflow.wait(lambda: "up_for_retry" in airflow.tasks("theta_forecast", run["dag_run_id"]).values())
    hours = {"acme_orders": [9, 4, 0.5], "acme_invoices": [20], "beta_reports": [6], "gamma_stock": [0.6]}
    hours |= {"delta_prices": [2.5, 1.5, 0.5], "epsilon_export": [24.5, 0.4], "theta_forecast": [0.2]}
    moved = {name: {"files": 3, "bytes": 123_456} for name in names}
    airflow.change(BACKDATE, json.dumps(hours), json.dumps(moved))


def more_orders(world: World, number: int) -> None:
    for order in range(3 + 2 * number):
        (world.sftp.local("/acme/orders") / f"order-{number}-{order}.json").write_bytes(bytes(5_000 * (number + 1)))


def test_the_page_is_in_airflows_menu(world: World) -> None:
    """Beneath the base path, for a user who has signed in."""
    browser = world.page.browser
    browser.sign_in(world.page.airflow.url, world.page.airflow.token(ADMIN))
    browser.open(f"{world.page.airflow.url}/")
    browser.wait_for("[...document.querySelectorAll('nav button, button')].some((b) => b.innerText.includes('Browse'))")
    browser.evaluate("[...document.querySelectorAll('button')].find((b) => b.innerText.includes('Browse')).click()")
    href = browser.wait_for("document.querySelector('a[href*=\"sftp-s3\"]')?.href")
    assert href == world.page.url


def test_what_is_broken_comes_first_and_says_why_since_when_and_what_waits(world: World) -> None:
    rows = world.page.table()
    assert list(rows)[:4] == ["eta_labels", "epsilon_export", "delta_prices", "theta_forecast"]
    assert [rows[name]["cells"][STATE].split("\n")[0] for name in list(rows)[:4]] == [
        "✕ Import error",
        "✕ Failed",
        "✕ Failed",
        "↻ Retrying",
    ]
    assert "schedule: 'every morning' is not allowed" in rows["eta_labels"]["why"]

    epsilon = rows["epsilon_export"]
    assert "out/epsilon/offers.csv" in epsilon["why"]
    assert "(and 1 more)" in epsilon["why"]
    assert "Failing since" in epsilon["why"]
    assert "the first time, last success" in epsilon["why"]
    assert epsilon["cells"][WAITING].startswith("2 files")

    delta = rows["delta_prices"]
    assert "refused" in delta["why"]
    assert re.search(r"Failing since .* \(2 h \d+ min ago\), 3 times, with no success before", delta["why"])
    assert delta["cells"][WAITING] == "not known"

    theta = rows["theta_forecast"]
    assert re.search(r"Being tried again since .* \([1-5]\d min ago\) \(try 1 of 8 has failed\)", theta["why"])
    assert "Log of pull, try 1" in theta["why"]


def test_a_row_has_the_facts_of_its_flow(world: World) -> None:
    rows = world.page.table()
    assert len(rows) == 10
    orders = rows["acme_orders"]["cells"]
    assert orders[STATE] == "✓ OK"
    assert orders[FLOW] == "acme_orders\nOrders that ACME's shop sends each hour"
    assert orders[PLACES] == f"sftp_default:/acme/orders\n→ s3://{world.bucket}/in/acme/orders/"
    assert re.match(r"\d+ \* \* \* \*\nnext ", orders[SCHEDULE])
    assert re.search(r"\([3-5]\d min ago\)\nsuccess, took \d", orders[LAST_RUN])
    assert re.search(r"\([3-5]\d min ago\)\n\d files, \d+ KiB", orders[LAST_MOVED])
    assert orders[WAITING] == "0"
    assert re.match(r"\d+ files\n\d+ KiB", orders[DAY])

    invoices = rows["acme_invoices"]["cells"]
    assert re.match(r"3 files\noldest 20 h", invoices[WAITING])
    assert rows["gamma_stock"]["cells"][LAST_MOVED] == "nothing recorded"
    assert rows["gamma_stock"]["cells"][DAY] == "0 files\n0 B"
    assert rows["zeta_catalog"]["cells"][STATE] == "– No run yet"
    assert rows["zeta_catalog"]["cells"][SCHEDULE] == "0 4 * * 1 paused"
    assert rows["iota_images"]["cells"][SCHEDULE] == "by hand"
    # What a failed run has moved is in no event.
    assert rows["epsilon_export"]["cells"][DAY].startswith("≥ ")
    assert world.page.browser.complaints() == []


def test_what_waits_is_in_view(world: World) -> None:
    """All columns are, in the window of a laptop: nobody on duty is to look for the last of them."""
    browser = world.page.browser
    try:
        browser.resize(1280, 1200)
        world.page.table()
        box = "document.querySelector('.wide')"
        assert browser.evaluate(f"{box}.scrollWidth - {box}.clientWidth") == 0
        right = "document.querySelector('#flows thead th:last-child').getBoundingClientRect().right"
        assert browser.evaluate(right) <= 1280
    finally:
        browser.resize(1500, 1200)


def test_the_page_of_a_flow_has_its_runs_and_failed_files(world: World) -> None:
    text = world.page.flow("epsilon_export")
    assert "Failed files of run manual__" in text
    for name in ("offers", "prices"):
        assert f"out/epsilon/{name}.csv" in text
    assert "pushes everything in" in text
    links = world.page.links()
    (log,) = {link for link in links if "/tasks/push/mapped/0" in link}
    assert log.startswith(f"{world.page.airflow.url}/dags/epsilon_export/runs/manual__")
    assert log.endswith("?try_number=1")
    assert f"{world.page.airflow.url}/dags/epsilon_export" in links
    assert world.page.browser.complaints() == []

    text = world.page.flow("acme_orders")
    bars = "[...document.querySelectorAll('svg.chart rect.moved title')].map((title) => title.textContent)"
    assert len(world.page.browser.evaluate(bars)) == 6  # files, and bytes, of three runs
    assert text.count("success") >= 3
    links = world.page.links()
    assert not [link for link in links if "console.aws" in link]  # the bucket of this store is not there
    (asset,) = [link for link in links if "/assets/" in link]
    assert httpx.get(asset, trust_env=False, timeout=60).status_code == 200


def test_the_page_of_a_flow_has_the_lines_that_try_its_connections(world: World) -> None:
    """They can be pasted as they are, and the one of the connection that is wrong says so."""
    world.page.flow("delta_prices")
    lines = world.page.browser.evaluate("[...document.querySelectorAll('article .line code')].map((c) => c.innerText)")
    command = "python -m airflow_provider_sftp_s3 test-connection"
    assert lines == [
        f"{command} --path=/prices sftp_delta",
        f"{command} --bucket={world.bucket} --prefix=in/delta/ aws_default",
    ]
    for line, status, says in zip(lines, (1, 0), ("FAILED  login", "ok      write"), strict=True):
        done = world.page.airflow.shell(line)
        assert (done.returncode, says in done.stdout) == (status, True), done.stdout + done.stderr
    # By keyboard, too.
    browser = world.page.browser
    browser.evaluate("document.querySelector('article .line button').focus()")
    browser.press("Enter")
    browser.wait_for("/^(Copied|Selected)$/.test(document.querySelector('article .line button').textContent)")
    assert browser.evaluate("getSelection().toString()") == lines[0]
    assert world.page.browser.complaints() == []

    world.page.open(flow="eta_labels")
    (line,) = browser.wait_for("[...document.querySelectorAll('article .line code')].map((c) => c.innerText)")
    done = world.page.airflow.shell(line, cwd=world.page.airflow.home / "dags")
    assert (done.returncode, "flow 'eta_labels'" in done.stderr) == (1, True)


def test_links_lead_to_where_airflow_shows_it(world: World) -> None:
    """The log that the page names is the one that Airflow opens, with the reason in it."""
    world.page.table()
    (log,) = set(world.page.links("tbody[data-flow=delta_prices] .why"))
    world.page.browser.open(log)
    world.page.browser.wait_for("document.body.innerText.includes('refused')")


@pytest.fixture(scope="module")
def few(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowsPage]:
    """The same Airflow by another API server, where one may see one Dag, and another one all, but nothing in them."""
    directory = tmp_path_factory.mktemp("few")
    airflow = world.page.airflow.api_server(directory, {VIEWER: ["acme_orders"]}, [BLIND])
    try:
        airflow.start("api-server")
        airflow.wait(lambda: airflow.get("dags/acme_orders"))
        yield FlowsPage(airflow, world.page.browser)
    finally:
        airflow.stop()


def test_a_user_sees_the_flows_that_airflow_lets_that_user_see(world: World, few: FlowsPage) -> None:
    """One row, no other flow's name anywhere in the page, and import errors as Airflow shows them."""
    assert len(few.table(ADMIN)) == 10
    rows = few.table(VIEWER)
    assert set(rows) - {"eta_labels"} == {"acme_orders"}
    token = few.airflow.token(VIEWER)
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60) as client:
        errors = client.get(f"{few.airflow.url}/api/v2/importErrors").json()["import_errors"]
    assert ("eta_labels" in rows) == any("eta_labels" in error["stack_trace"] for error in errors)
    page = few.browser.evaluate("document.documentElement.outerHTML")
    others = {flow["name"] for flow in flows_of(world.bucket)} - {"acme_orders", "eta_labels"}
    assert {name for name in others if name in page} == set()

    few.open(VIEWER, "delta_prices")
    few.browser.wait_for("document.body.innerText.includes('There is no flow delta_prices that you may see')")


def test_what_airflow_does_not_show_is_not_known(few: FlowsPage) -> None:
    """It is neither nothing, nor none, and the page says of what Airflow does not tell."""
    rows = few.table(BLIND)
    assert len(rows) == 10
    assert "asset events, so what was moved is not known: you may not see them" in few.browser.evaluate(
        "document.querySelector('#notes').innerText"
    )
    orders, delta = rows["acme_orders"]["cells"], rows["delta_prices"]
    assert (orders[STATE], orders[LAST_MOVED], orders[WAITING], orders[DAY]) == ("✓ OK", "not known", "not known", "?")
    assert "Airflow shows you no log of it, and no report." in delta["why"]
    assert "Failing since" in delta["why"]


def test_who_is_not_signed_in_sees_nothing(world: World) -> None:
    world.page.browser.sign_in(world.page.airflow.url, None)
    world.page.browser.open(world.page.url)
    world.page.browser.wait_for("document.body.innerText.includes('You are signed out')")
    assert world.page.browser.evaluate("document.querySelector('main').innerText") == ""
    (link,) = world.page.links("#notes")
    assert link == f"{world.page.airflow.url}/"


def test_the_keyboard_is_enough(world: World) -> None:
    """From the address to a flow, its log, and back to the row; the focus can be seen all the way."""
    world.page.table()
    browser = world.page.browser
    focus = "document.activeElement.closest('#content') ? document.activeElement.textContent : null"
    browser.press("/")
    browser.wait_for("document.activeElement.id === 'filter'")
    for letter in "orders":
        browser.press(letter)
    browser.wait_for("document.querySelectorAll('#flows > tbody').length === 1")
    browser.press("Tab")  # the table, which can be scrolled
    browser.press("Tab")
    browser.wait_for(f"({focus}) === 'acme_orders'")
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter")
    browser.wait_for("location.hash === '#/flow/acme_orders' && document.activeElement.id === 'flow'")
    browser.press("Escape")
    browser.wait_for(f"document.querySelector('#flows') !== null && ({focus}) === 'acme_orders'")
    browser.evaluate("document.activeElement.blur()")
    browser.evaluate("document.querySelector('#filter').value = ''")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_theme_is_airflows_or_else_the_systems(world: World, theme: str) -> None:
    """With enough contrast in both."""
    browser, other = world.page.browser, {"light": "dark", "dark": "light"}[theme]
    back = "getComputedStyle(document.body).backgroundColor"
    try:
        browser.prefer(theme)
        world.page.table()
        systems = browser.evaluate(back)
        browser.prefer(other)
        browser.evaluate(f"localStorage.setItem('theme', '{theme}')")
        world.page.table()
        assert browser.evaluate(back) == systems == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 29)"}[theme]
        assert browser.evaluate(CONTRASTS) >= 4.5
    finally:
        browser.evaluate("localStorage.removeItem('theme')")
        browser.prefer("light")


#: The least contrast of any text in the page with what is behind it, as WCAG computes it.
CONTRASTS = """(() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => {
        const [r, g, b] = parts(colour).slice(0, 3).map((part) => part / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const colour = getComputedStyle(each).backgroundColor;
            if ((parts(colour)[3] ?? 1) === 1) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    const texts = [...document.querySelectorAll("body *")].filter((element) => !element.closest("noscript, svg") &&
        [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
    return Math.min(...texts.map((element) => {
        const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    }));
})()"""


def test_pictures_of_it(world: World) -> None:
    """What docs/page.md shows: `make screenshots` puts them there."""
    browser = world.page.browser
    try:
        for theme in ("light", "dark"):
            browser.prefer(theme)
            world.page.table()
            world.picture(f"flows-{theme}")
            world.page.flow("acme_orders")
            world.picture(f"flow-{theme}")
        browser.prefer("light")
        world.page.flow("epsilon_export")
        world.picture("failed-flow")
    finally:
        browser.prefer("light")
    for picture in world.pictures.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_hostile_names_are_text(world: World) -> None:
    """Names of files that fail, in the table, on the page of the flow, in the log that is read for the reason."""
    for name in HOSTILE.values():
        world.sftp.local(f"/epsilon/{name}").mkdir(parents=True)
        world.client.put_object(Bucket=world.bucket, Key=f"out/epsilon/{name}", Body=b"1")
    assert world.page.airflow.run("epsilon_export") == "failed"
    browser = world.page.browser
    world.page.table()
    assert_text_only(browser)
    text = world.page.flow("epsilon_export")
    for kind, name in HOSTILE.items():
        assert name.replace("\u202e", r"\u202e") in text, kind  # a report has it escaped already
    assert_text_only(browser)
    assert not [
        link for link in world.page.links() if not link.startswith((world.page.airflow.url, "https://console.aws."))
    ]
