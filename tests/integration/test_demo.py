"""``make demo``: what a newcomer sees first."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from demo.ports import claim_ports

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).resolve().parents[2]
#: Airflow takes half a minute to start on two free cores, and a machine that runs tests has none.
TIMEOUT = 1500.0
#: What a developer's shell may hold, each of which would break the demo if it got in.
FOREIGN = {
    "AIRFLOW_HOME": "/nonexistent",
    "AIRFLOW__CORE__EXECUTOR": "NoSuchExecutor",
    "AIRFLOW__API__PORT": "1",
    "AIRFLOW_CONN_SFTP_DEFAULT": "sftp://nobody@127.0.0.1:1",
    "AWS_PROFILE": "no-such-profile",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "http_proxy": "http://127.0.0.1:1",
    "HOME": "/nonexistent",
}


@contextlib.contextmanager
def demo(output: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the demo with its output in a file; it does not outlive the block."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "demo", *arguments],
            cwd=REPOSITORY,
            env=os.environ | FOREIGN,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(TIMEOUT)


@pytest.fixture
def taken_port() -> Iterator[int]:
    """The first Airflow port that is free, with somebody listening on it."""
    ports = claim_ports()
    with socket.create_server(("127.0.0.1", ports.airflow)):
        # Not before: the block is then nobody else's for a moment, and whoever claims it could not start.
        ports.sftp.close()
        yield ports.airflow


def airflow_processes(port: int) -> list[psutil.Process]:
    """Return Airflow's processes of the demo that has its UI on this port: they all work in its directory."""
    home = REPOSITORY / ".demo" / str(port)
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(home):
                found.append(process)
    return found


@pytest.mark.slow
def test_the_demo_moves_everything_and_leaves_no_process(tmp_path: Path, taken_port: int) -> None:
    """Both directions arrive byte for byte, a retry is seen, a port in use is avoided, and all ends by itself."""
    output = tmp_path / "output.txt"
    with demo(output, "--once") as process:
        status = process.wait(TIMEOUT)
    text = output.read_text()
    assert status == 0, text

    ui = re.search(r"http://127\.0\.0\.1:(\d+)", text)
    assert ui, text
    assert int(ui[1]) != taken_port
    assert airflow_processes(int(ui[1])) == []

    assert "demo_pull, try 1: 5 moved" in text
    assert "demo_push, try 1: 5 moved, 12,670,960 bytes, 1 failed; a retry follows" in text
    assert "s3://demo/out/locked/price list.csv: " in text
    assert "demo_push, try 2: 1 moved, 24 bytes" in text

    heads = next(line for line in text.splitlines() if line.startswith("source "))
    assert heads.split() == ["source", "target", "bytes", "mark", "intact"]
    rows = [re.split(r"\s{2,}", line) for line in text.splitlines() if line.endswith("  yes")]
    assert [row[2:] for row in rows if row[1].startswith("s3://demo/in/")] == [
        ["15,318", "moved to .done", "yes"],
        ["33", "moved to .done", "yes"],
        ["0", "moved to .done", "yes"],
        ["17", "moved to .done", "yes"],
        ["20,971,521", "moved to .done", "yes"],
    ]
    assert [row[1:] for row in rows if row[0].startswith("s3://demo/out/")] == [
        ["/incoming/Übersicht 📊.csv", "19", "synced=true", "yes"],
        ["/incoming/empty.flag", "0", "synced=true", "yes"],
        ["/incoming/invoices/2026-01.xml", "88,000", "synced=true", "yes"],
        ["/incoming/invoices/2026-02.xml", "22", "synced=true", "yes"],
        ["/incoming/locked/price list.csv", "24", "synced=true", "yes"],
        ["/incoming/media/film.mp4", "12,582,919", "synced=true", "yes"],
    ]


WITHOUT_AIRFLOW = """
from pathlib import Path
from demo import story as this
from demo.ports import claim_ports

state = Path({state!r})
for name in ("outgoing", "incoming"):
    (state / "sftp" / name).mkdir(parents=True)
story = this.Story(state, claim_ports())
story.start()
s3 = story.s3.client()

def show(case):
    try:
        story.show()
    except this.DemoFailed as failure:
        print("###", case, failure)

show("nothing moved:")
for name, content in this.OUTGOING.items():
    s3.put_object(Bucket="demo", Key="in/" + name, Body=content)
    source = state / "sftp/outgoing" / name
    (source.parent / ".done").mkdir(exist_ok=True)
    source.rename(source.parent / ".done" / source.name)
for name, content in this.OUTBOUND.items():
    target = state / "sftp/incoming" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    s3.put_object(Bucket="demo", Key="out/" + name, Body=content, Metadata=dict(synced="true"))
show("all moved:")
story.sftp.refusals, story._tries = 1, 2
show("all as it should be:")
s3.put_object(Bucket="demo", Key="in/scans/plan.tif", Body=b"x" + this.OUTGOING["scans/plan.tif"][1:])
(state / "sftp/incoming/empty.flag").write_bytes(b"x")
s3.put_object(Bucket="demo", Key="out/locked/price list.csv", Body=this.OUTBOUND["locked/price list.csv"])
show("three are wrong:")
"""


def test_the_demo_fails_if_anything_has_not_arrived_as_it_was(tmp_path: Path) -> None:
    """One other byte, a mark that is missing, or no retry, and the exit status is not 0."""
    script = WITHOUT_AIRFLOW.format(state=str(tmp_path / "state"))
    shown = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    failures = [line for line in shown.stdout.splitlines() if line.startswith("###")]
    assert len(failures) == 3, shown.stdout
    assert failures[0].count("(missing)") == 11
    assert failures[1] == "### all moved: 0 refusals and 0 tries of the push, expected 1 and 2"
    assert failures[2] == (
        "### three are wrong: not as it should be: s3://demo/in/scans/plan.tif (other bytes), "
        "/incoming/empty.flag (other bytes), /incoming/locked/price list.csv (not marked)"
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_the_demo_and_all_its_processes(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C in the middle of Airflow's start leaves nothing behind either."""
    output = tmp_path / "output.txt"
    with demo(output) as process:
        deadline = time.monotonic() + TIMEOUT
        while not (found := _ui_port(process)) or len(airflow_processes(found)) < 5:
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, "Airflow has not started its parts"
            time.sleep(0.2)
        process.send_signal(number)
        status = process.wait(TIMEOUT)
    assert status == 128 + number, output.read_text()
    assert airflow_processes(found) == []


@pytest.mark.slow
def test_what_the_demo_says_to_try_works(tmp_path: Path) -> None:
    """Its last lines: a file that is dropped, an object that is put, a directory that is taken away for a while."""
    output = tmp_path / "output.txt"
    with demo(output) as process:
        _wait_until(lambda: "Ctrl-C ends the demo." in output.read_text(), process, output)
        text = output.read_text()
        drop, put, breaks, mend = re.findall(r"^     (\w+ .+)$", text, re.MULTILINE)
        (files,) = (REPOSITORY / found for found in re.findall(r"its files: (\S+)", text))
        (page,) = re.findall(r"^  Flows     (\S+),", text, re.MULTILINE)
        _wait_until(lambda: "SFTP and S3 flows" in _answer(page).text, process, output)
        _in_a_shell(drop)
        _in_a_shell(put)
        _wait_until(lambda: (files / "outgoing/.done/LICENSE").exists(), process, output)
        _wait_until(lambda: (files / "incoming/LICENSE").exists(), process, output)
        _in_a_shell(breaks)
        airflow = _ui_port(process)
        runs = f"http://127.0.0.1:{airflow}/api/v2/dags/demo_push/dagRuns?state=failed"
        _wait_until(lambda: _get(runs)["total_entries"], process, output)
        _in_a_shell(mend)
        _wait_until(lambda: (files / "incoming/README.md").exists(), process, output)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 0


def _in_a_shell(command: str) -> None:
    subprocess.run(["bash", "-euc", command], cwd=REPOSITORY, check=True, capture_output=True, timeout=TIMEOUT)


def _get(url: str) -> dict[str, int]:
    """Return what Airflow's API answers; it asks for a token, and gives one to anybody in the demo."""
    base = url.partition("/api/")[0]
    token = _answer(f"{base}/auth/token").json()["access_token"]
    found: dict[str, int] = _answer(url, Authorization=f"Bearer {token}").json()
    return found


def _answer(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False, timeout=60).raise_for_status()


def _wait_until(probe: Callable[[], object], process: subprocess.Popen[bytes], output: Path) -> None:
    """Ask again and again: on a busy machine Airflow may answer late, or with an error of its database."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if probe():
                return
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.5)


def _ui_port(process: subprocess.Popen[bytes]) -> int | None:
    """Return the port that a demo has taken for Airflow, from the directory its Airflow works in."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children():
            directory = Path(child.cwd())
            if directory.name == "airflow":
                return int(directory.parent.name)
    return None
