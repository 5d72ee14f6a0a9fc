"""The table that a run of these suites ends with; and assertions of the harness that explain themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

# hypothesis's plugin imports it at the end of the session otherwise, where a future that is collected while source is
# parsed kills pytest on Python 3.11: see pytest_runtest_makereport in tests/conftest.py.
import hypothesis  # noqa: F401
import pytest

pytest.register_assert_rewrite("tests.faults.harness", "tests.faults.table")

from tests.faults import table  # noqa: E402

LOOPS = ("asyncio", "uvloop")

_table = table.Table()
_failed: set[str] = set()


@pytest.fixture(autouse=True)
def _figures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hand the figures of each test to whoever prints the table: with xdist that is another process."""
    table.begin()
    yield
    title = (request.module.__doc__ or request.module.__name__).partition("\n")[0].partition(":")[0].rstrip(".")
    request.node.user_properties.append(("figures", table.end(title)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Do in one event loop what is done in either, where a run is to be short: another run does it in the other."""
    if table.LONG >= 1:
        return
    twins: dict[str, dict[str, pytest.Item]] = defaultdict(dict)
    for item in items:
        words = item.callspec.id.split("-") if hasattr(item, "callspec") else []
        for loop in LOOPS if item.get_closest_marker("loops") else ():
            if loop in words:
                twins[item.nodeid.replace(loop, "loop", 1)][loop] = item
    left = [
        pair[loop]
        for name, pair in twins.items()
        for loop in [table.chance("loop", name).choice(LOOPS)]
        if len(pair) == len(LOOPS)
    ]
    config.hook.pytest_deselected(items=left)
    dropped = set(left)
    items[:] = [item for item in items if item not in dropped]


def pytest_report_header() -> str:
    return f"faults: FAULTS_SEED={table.SEED} FAULTS_LONG={table.LONG:g}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _failed.add(report.nodeid)
    if report.when == "teardown":
        for name, figures in report.user_properties:
            if name == "figures":
                _table.add(figures, failed=report.nodeid in _failed)  # type: ignore[arg-type]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _table.rows:
        terminalreporter.section(f"faults, FAULTS_SEED={table.SEED}")
        terminalreporter.write_line(str(_table))
