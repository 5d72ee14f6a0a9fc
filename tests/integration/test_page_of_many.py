"""The page of all flows, where there are many of them, and where all that Airflow knows of one is hostile."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.airflow_system import AirflowSystem
from tests.support.chromium import Chromium
from tests.support.page import ADMIN, DAY, HOSTILE, LAST_MOVED, ROWS, SETTLED, FlowsPage, assert_text_only

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DAGS = Path(__file__).parents[2] / "dags"
MANY = 500
#: A directory whose name does something wherever a shell takes it for more than a word.
SHELL = """/o'brien; $(touch hacked) `touch hacked` "&& touch hacked" *~!! \\"""
#: Fills the database of an Airflow with what 500 flows have after some days.
CROWD = """
import json, sys
from datetime import UTC, datetime, timedelta
from airflow.models import DagModel, DagRun, TaskInstance
from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dag_version import DagVersion
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.errors import ParseImportError
from airflow.utils.session import create_session
from airflow.utils.types import DagRunType

hostile = json.loads(sys.argv[1])
now = datetime.now(UTC) - timedelta(minutes=5)
with create_session() as session:
    dags = sorted(each for (each,) in session.query(DagModel.dag_id) if each != "hostile")
    for number, dag in enumerate([*dags, "hostile"]):
        # Some run each minute, some each hour, some each day; every 25th has failed.
        step = [timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)][number % 3]
        for back in range(3 + number % 5):
            at = now - step * back - timedelta(seconds=number)
            state = "failed" if number % 25 == 0 and back == 0 else "success"
            run = DagRun(dag_id=dag, run_id=f"scheduled__{at.isoformat()}", run_type=DagRunType.SCHEDULED, state=state,
                         logical_date=at, run_after=at, start_date=at, queued_at=at)
            run.end_date = at + timedelta(seconds=30)
            session.add(run)
    # Hundreds are under way at once; one has been for hours, and waits for its next try.
    late, usual = dags[301], dags[:220]
    for dag in [*usual, late]:
        at = now - timedelta(hours=3 if dag == late else 0)
        run = DagRun(dag_id=dag, run_id="manual__under_way", run_type=DagRunType.MANUAL, state="running",
                     logical_date=None, run_after=at, start_date=at, queued_at=at)
        task = SerializedDagModel.get_dag(dag, session=session).get_task("pull")
        version = DagVersion.get_latest_version(dag, session=session)
        state = "up_for_retry" if dag == late else "running"
        instance = TaskInstance(task=task, run_id=run.run_id, state=state, dag_version_id=version.id)
        instance.start_date, instance.try_number = at, 1
        session.add_all([run, instance])
    asset = AssetModel(name=hostile["link"], uri="x-hostile:" + hostile["markup"], group="asset", extra={})
    session.add(asset)
    session.flush()
    for number, dag in enumerate(dags[:300]):
        extra = {"files": 2, "bytes": 2048} if number % 2 else {}
        session.add(AssetEvent(asset_id=asset.id, source_task_id="pull", source_dag_id=dag, source_run_id="x",
                               timestamp=now - timedelta(minutes=number), extra=extra))
    session.add(AssetEvent(asset_id=asset.id, source_task_id="pull", source_dag_id="hostile", source_run_id="x",
                           timestamp=now, extra={"files": hostile["markup"], "receipt": hostile["link"]}))
    trace = "airflow_provider_sftp_s3 " + " ".join(hostile.values()) + chr(27) + "[31mred"
    session.add(ParseImportError(filename=hostile["markup"], bundle_name="dags-folder", stacktrace=trace,
                                 timestamp=now))
    for number in range(150):  # others', and later
        session.add(ParseImportError(filename=f"{number}.py", bundle_name="dags-folder", stacktrace="SyntaxError",
                                     timestamp=now + timedelta(seconds=1)))
"""


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory, browser: Chromium) -> Iterator[FlowsPage]:
    """An API server alone: nothing runs."""
    directory = tmp_path_factory.mktemp("crowd")
    partners = [f"p{number:03}" for number in range(MANY - 2)]
    common = {"direction": "pull", "s3_bucket": "a-bucket", "schedule": "@hourly"}
    hostile_place = f"/{HOSTILE['markup']}{HOSTILE['script']}{HOSTILE['right to left']}"
    flows = [
        {**common, "name": "{partner}_in", "sftp_path": "/{partner}", "s3_prefix": "in/{partner}/"}
        | {"for_each": {"partner": partners}},
        {**common, "name": "hostile", "sftp_path": hostile_place, "s3_prefix": "in/hostile/", "tags": "<b>tag</b>"}
        | {"description": f"{HOSTILE['markup']}\n[click]({HOSTILE['link']}) {HOSTILE['right to left']}"},
        {**common, "name": "quoted", "sftp_path": SHELL, "sftp_conn_id": "it's", "s3_prefix": "{{ ds }}/in/"}
        | {"aws_conn_id": "none"},
    ]
    files = {path.name: path.read_text() for path in DAGS.glob("*.py")}
    files["flows.yaml"] = yaml.safe_dump(flows, allow_unicode=True)
    airflow = AirflowSystem(directory, {}, files, users={ADMIN: "admin"})
    try:
        airflow.command("db", "migrate")
        airflow.command("dags", "reserialize")
        airflow.change(CROWD, json.dumps(HOSTILE))
        airflow.start("api-server")
        airflow.wait(lambda: airflow.get("dags/hostile"))
        yield FlowsPage(airflow, browser)
    finally:
        airflow.stop()


def test_500_flows_take_20_requests_until_the_table_stands(crowd: FlowsPage) -> None:
    """With every flow in it, and what is broken first."""
    browser = crowd.browser
    # The moment at which the table is there, not some time after it.
    watch = """new MutationObserver((_, me) => {
        if (!document.querySelector("#flows > tbody")) return;
        window.atTheTable = performance.getEntriesByType("resource")
            .filter((each) => each.name.includes("/api/")).length;
        me.disconnect();
    }).observe(document, {childList: true, subtree: true});"""
    browser.call("Page.addScriptToEvaluateOnNewDocument", source=watch)
    crowd.open()
    before = browser.wait_for("window.atTheTable")
    assert 5 < before <= 20
    browser.wait_for("!document.querySelector('#status').innerText.includes('Asking')")
    assert browser.evaluate("document.querySelectorAll('#flows > tbody').length") == MANY
    states = "[...document.querySelectorAll('#flows > tbody')].map((rows) => rows.className)"
    failed = browser.wait_for(f"(({states}).includes('unknown') ? null : ({states}))")
    assert failed.count("failed") == MANY // 25
    assert failed[: MANY // 25] == ["failed"] * (MANY // 25)
    # Though 220 others run, and have begun after it.
    assert failed[MANY // 25] == "retrying"
    late = browser.evaluate("document.querySelector('#flows > tbody.retrying').innerText")
    assert late.startswith("↻ Retrying\tp301_in\n")
    assert "running for 3 h" in late
    asked = [url for url in browser.requests() if "/api/" in url]
    # Details are of the rows that are seen, not of all.
    assert len(asked) < 150


def test_what_events_do_not_say_is_not_known(crowd: FlowsPage) -> None:
    """An event with no count of files: a question mark, and no zero."""
    browser = crowd.browser
    crowd.open()
    browser.wait_for(f"document.querySelectorAll('#flows > tbody').length === {MANY}")
    browser.press("/")
    for letter in "p00":
        browser.press(letter)
    browser.wait_for(f"document.querySelectorAll('#flows > tbody').length === 10 && {SETTLED}")
    rows = browser.evaluate(ROWS)
    assert rows["p002_in"]["cells"][LAST_MOVED].endswith("? files, ? bytes")
    assert rows["p002_in"]["cells"][DAY] == "≥ 0 files\n≥ 0 B"
    assert rows["p003_in"]["cells"][DAY] == "2 files\n2.0 KiB"


def test_a_line_to_paste_has_each_setting_as_one_word(crowd: FlowsPage, tmp_path: Path) -> None:
    """Whatever is in it; what nobody can see in it is not to be pasted, and a template is no name."""
    crowd.flow("quoted")
    shown = "[...document.querySelectorAll('article .line code')].map((line) => line.textContent)"
    lines = crowd.browser.evaluate(shown)
    bash = 'python() { printf "%s\\0" "$@"; }; '
    said = [
        subprocess.run(["bash", "-ic", bash + line], cwd=tmp_path, capture_output=True, text=True).stdout.split("\0")
        for line in lines
    ]
    command = ["-m", "airflow_provider_sftp_s3", "test-connection"]
    assert said == [
        [*command, f"--path={SHELL}", "it's", ""],
        [*command, "--bucket=a-bucket", "none", ""],
    ]
    assert list(tmp_path.iterdir()) == []
    crowd.flow("hostile")
    (line,) = crowd.browser.evaluate(shown)
    assert line.endswith("--bucket=a-bucket --prefix=in/hostile/ aws_default")


def test_hostile_descriptions_errors_and_events_are_text(crowd: FlowsPage) -> None:
    text = crowd.flow("hostile")
    browser = crowd.browser
    for name in ("markup", "script"):
        assert HOSTILE[name] in text
    assert "invoiceU+202Efdp.exe" in text
    assert_text_only(browser)
    notes = browser.evaluate("document.querySelector('#notes').textContent")
    assert HOSTILE["markup"] in notes
    assert "U+001B[31mred" in notes
    own = (crowd.airflow.url, "https://console.aws.amazon.com/s3/buckets/a-bucket?")
    assert [link for link in crowd.links() if not link.startswith(own)] == []
