"""
Both directions, end to end, on this machine alone: ``python -m demo [--once]``.

It starts an SFTP server, an S3 server and Airflow with the flows of ``demo/flows.yaml``, lets both flows run, and
compares every byte that arrived with what was put there.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import signal
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from demo.ports import NoPortsError, claim_ports
from demo.screen import TooSlowError, say, wait
from demo.standalone import Airflow, AirflowError

if TYPE_CHECKING:
    from demo.story import Story

REPOSITORY = Path(__file__).resolve().parent.parent
#: What of the caller's environment is kept. All else could change what is shown: AIRFLOW_*, AWS_*, proxies, ...
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "TMPDIR")
#: In seconds; a fast machine takes a tenth of it.
START_TIMEOUT, RUN_TIMEOUT = 600.0, 600.0


class Stopped(BaseException):
    """Ctrl-C, or a signal that asks this process to end."""


class Signals:
    """
    Raises :class:`Stopped` within its block, once. Outside, where processes are started and ended, a signal waits for
    the next block.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._raises = False
        # SIGINT even where the caller has it ignored: scripts start what is to run in the background so.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup stays nohup
                signal.signal(number, self._receive)

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = number
        if self._raises:
            self._raises = False
            raise Stopped

    def __enter__(self) -> None:
        self._raises = True
        if self.received:
            self._raises = False
            raise Stopped

    def __exit__(self, *_: object) -> None:
        self._raises = False


def main() -> int:
    """Run the demo and return the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="Pull and push, with Airflow, on this machine.")
    parser.add_argument("--once", action="store_true", help="end by itself; exit status 0: all arrived, byte for byte")
    once = parser.parse_args().once
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # names hold letters that not every terminal has
    began = time.monotonic()
    signals = Signals()
    try:
        ports = claim_ports()
        state = REPOSITORY / ".demo" / str(ports.airflow)
        _make_state(state)
    except (NoPortsError, OSError) as error:
        say(f"The demo cannot start: {error}")
        return 1
    _keep_to(state)
    # Only now, since what this imports reads the environment.
    from demo.story import DemoFailed, Story

    say(
        f"An SFTP server, an S3 server and Airflow {version('apache-airflow')}; "
        "all but Airflow's own two servers of logs listen on 127.0.0.1 only"
    )
    story = Story(state, ports)
    story.start()
    say(story.plot)
    airflow = Airflow(state, ports, story.connections())
    shown = False
    try:
        airflow.start()
        with signals:
            _show(story, airflow)
            say(f"\nAll of it arrived, byte for byte, {time.monotonic() - began:.0f} s after the start.")
            shown = True
            if not once:
                _stay(story, airflow)
            say("A flow of your own, to your own server: docs/start.md")
    except Stopped:
        say("\nStopping ...")
    except (AirflowError, DemoFailed, TooSlowError) as error:
        shown = False
        say(f"\nThe demo has failed: {error}")
        say(f"Airflow's log is {_short(airflow.log)}, its tasks' logs are in {_short(airflow.home / 'logs')}.")
    finally:
        airflow.stop()
    if shown:
        return 0
    return 128 + signals.received if signals.received else 1


def _show(story: Story, airflow: Airflow) -> None:
    """Let both flows run and show what they moved. :raises DemoFailed: not all of it arrived."""
    wait("Starting Airflow", lambda: airflow.has_dags(story.dags) and airflow.unpause(story.dags), START_TIMEOUT)
    say(f"    its UI: {airflow.url}, no login needed")
    say(f"    all flows: {airflow.url}/sftp-s3/")
    wait("Running both Dags", lambda: story.follow(airflow), RUN_TIMEOUT)
    story.show()


def _stay(story: Story, airflow: Airflow) -> None:
    """Tell what there is to look at and to try, and stay up until a signal comes."""
    files, dags = _short(story.sftp.root), _short(airflow.home / "dags")
    log_servers = " and ".join(map(str, airflow.log_servers))
    say(f"""
  Airflow   {airflow.url}, no login needed
  Flows     {airflow.url}/sftp-s3/, the page of all flows: what is broken first, and why
  SFTP      {story.sftp.url}, password {story.sftp.password}; its files: {files}
  S3        {story.s3.url}, any credentials; bucket {story.bucket}

Airflow's two servers of logs ({log_servers}) listen on all addresses, and answer to Airflow only; all else listens on
127.0.0.1.

What to try, in another terminal:

1. Drop a file. demo_pull, which runs every minute, takes it along, and moves it into .done beside it:
     cp LICENSE {files}/outgoing/
2. Put an object. demo_push has it at the partner in half a minute, and marks it:
     curl -T LICENSE {story.s3.url}/{story.bucket}/out/LICENSE
3. Look: on the page of all flows, what each has moved and what is waiting; in Airflow's UI, the log of demo_pull's task
   has a line for each file, and its XCom the report.
4. Break it: take the partner's directory away, and put an object. The task says what to change, and fails at once, and
   the page has the flow on top; put the directory back, and the next run sends the object.
     mv {files}/incoming {files}/gone; curl -T README.md {story.s3.url}/{story.bucket}/out/README.md
     mv {files}/gone {files}/incoming
5. Change a flow in {dags}/flows.yaml: it counts within a minute. A typo is one of Airflow's import errors,
   and the other flow goes on.

A flow of your own, to your own server: docs/start.md. Ctrl-C ends the demo.""")
    while True:
        airflow.check()
        time.sleep(0.5)


def _make_state(state: Path) -> None:
    """Make the directory in which everything lives, without what an earlier demo left there."""
    shutil.rmtree(state, ignore_errors=True)
    for directory in ("airflow/dags", "home", "sftp/outgoing", "sftp/incoming"):
        (state / directory).mkdir(parents=True)
    for dag_file in (REPOSITORY / "dags").glob("*.py"):
        shutil.copy(dag_file, state / "airflow" / "dags")
    shutil.copy(REPOSITORY / "demo" / "flows.yaml", state / "airflow" / "dags")


def _keep_to(state: Path) -> None:
    """Let nothing of the caller's into the demo by the environment, and nothing of the demo into the caller's home."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    os.environ.clear()
    os.environ |= kept | {
        "HOME": str(state / "home"),
        "USER": "demo",
        "NO_PROXY": "*",  # the system's own settings may name one
        "PYTHONUTF8": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
