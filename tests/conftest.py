"""Fixtures of all tests: real servers on 127.0.0.1, and an Airflow that is set up only where it is asked for."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import sys
from collections.abc import Callable, Generator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.loaders
import hypothesis
import pytest
import uvloop

from tests.support import airflow_env, secrets
from tests.support.sftp_servers import REAL_SERVERS, AsyncsshServer, OpenSshServer, SftpServer

if TYPE_CHECKING:
    from tests.support.s3_server import S3Server

# Airflow reads its configuration when it is imported, and a test module may import it before any fixture runs.
AIRFLOW_HOME = airflow_env.configure()

# No test depends on a timing.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Let Airflow 2 be imported: it and its dependencies warn about each other, where Airflow 3's are silent."""
    if version("apache-airflow").startswith("2."):
        for category in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning"):
            config.addinivalue_line("filterwarnings", f"ignore::{category}")
        config.addinivalue_line("filterwarnings", "error:::airflow_provider_sftp_s3")


@pytest.fixture(scope="session", autouse=True)
def _models_are_read_once() -> Iterator[None]:
    """Keep what botocore reads of its own files: each new session reads the model of S3 again, for 0.15 s of CPU."""
    loader = botocore.loaders.JSONFileLoader
    with pytest.MonkeyPatch.context() as patch:
        read = functools.cache(functools.partial(loader.load_file, loader()))
        patch.setattr(loader, "load_file", lambda _, path: read(path))
        yield


_watcher = secrets.Watcher()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Look through all that is logged from now on, at DEBUG."""
    _watcher.begin()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Fail a test that has logged or printed a secret; collect no garbage while a failure is written up.

    A broken connection leaves futures that log a traceback when they are collected. On Python 3.11 that kills pytest
    with a SystemError if it is parsing source, for a traceback of its own, at that moment.
    """
    gc.disable()
    try:
        report = yield
        printed = [
            text for name, text in report.sections if name.endswith((f"out {report.when}", f"err {report.when}"))
        ]
        leaks = [*_watcher.leaks, *(f"{each!r} was printed" for text in printed for each in secrets.found_in(text))]
        _watcher.leaks.clear()
        if leaks and report.passed:
            report.outcome = "failed"
            report.longrepr = "\n".join(leaks)
        return report
    finally:
        gc.enable()


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test in asyncio's event loop, and what is marked so in uvloop's as well."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.get_closest_marker("loops"):
        factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest.hookimpl(tryfirst=True)  # before -m "not slow" is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to ``make slow`` what is done in uvloop once more: in ``make test`` asyncio's loop is enough."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        in_uvloop = callspec is not None and "uvloop" in callspec.id.split("-")
        if in_uvloop and item.get_closest_marker("loops"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(params=["asyncio", "uvloop"])
def engine_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The library that the event loop of an operator's engine is from: uvloop, or asyncio where there is no uvloop."""
    if request.param == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)
    return str(request.param)


@pytest.fixture
def sftp_server(tmp_path: Path) -> Iterator[AsyncsshServer]:
    """asyncssh's server, serving ``tmp_path / "sftp"`` as its ``/``."""
    with AsyncsshServer(tmp_path / "sftp") as server:
        yield server


#: In `make test` the two on which nearly all differences show, sshd where it is installed; in `make slow` the others.
_IN_ANY_TEST = (AsyncsshServer, OpenSshServer)
EACH_SERVER = [
    pytest.param(kind, id=kind.__name__, marks=() if kind in _IN_ANY_TEST else pytest.mark.slow)
    for kind in REAL_SERVERS
]


@pytest.fixture(params=EACH_SERVER)
def any_sftp_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SftpServer]:
    """Every real SFTP server in turn; one that is not installed is skipped, or fails if REQUIRE_ALL_SERVERS=1."""
    require(request.param.available(), request.param.missing())
    with request.param(tmp_path / "sftp") as server:
        yield server


@pytest.fixture
def openssh_server(tmp_path: Path) -> Iterator[OpenSshServer]:
    """OpenSSH's sshd, serving ``tmp_path / "sftp"``; skipped as :func:`any_sftp_server` says."""
    require_openssh()
    with OpenSshServer(tmp_path / "sftp") as server:
        yield server


def require(available: bool, reason: str) -> None:
    """Skip the test when something it needs is missing; fail it instead where REQUIRE_ALL_SERVERS=1 (in CI)."""
    if not available:
        if os.environ.get("REQUIRE_ALL_SERVERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


def require_openssh() -> None:
    """Skip or fail the test, as :func:`require` does, where there is no sshd."""
    require(OpenSshServer.available(), OpenSshServer.missing())


@pytest.fixture(scope="session")
def _s3_of_the_session() -> Iterator[S3Server]:
    from tests.support.s3_server import S3Server  # moto takes a second to import, and unit tests need none of it

    with S3Server() as server:
        yield server


@pytest.fixture
def s3(_s3_of_the_session: S3Server) -> Iterator[S3Server]:
    """The session's S3 server, with no bucket, hook or request from another test."""
    yield _s3_of_the_session
    _s3_of_the_session.wait_until_idle()  # what a client has given up may be under way
    _s3_of_the_session.reset()


@pytest.fixture
def bucket(s3: S3Server) -> Iterator[str]:
    """A bucket of this test's own; making it is not among ``s3.requests``."""
    name = s3.new_bucket()
    s3.requests.clear()
    yield name
    s3.empty(name)  # all of it is in memory


@pytest.fixture(scope="session")
def airflow_home() -> Iterator[Path]:
    """Airflow's home with its database made: whatever runs a Dag needs it, and nothing else should pay for it.

    In the end neither XCom, nor the task logs, nor anything else in it may hold a secret. Nor may the file of a test
    that makes a Dag: Airflow keeps the source of every Dag in its database.
    """
    airflow_env.make_database()
    yield AIRFLOW_HOME
    assert secrets.files_with_secrets(AIRFLOW_HOME) == []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session where a test was skipped though everything should be there (REQUIRE_ALL_SERVERS=1)."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if reporter and skipped and os.environ.get("REQUIRE_ALL_SERVERS") == "1":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"{len(skipped)} tests were skipped, and REQUIRE_ALL_SERVERS=1 allows none", red=True)
