"""The floors of the house: imports go down only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import airflow_provider_sftp_s3

pytestmark = pytest.mark.unit

NAME = "airflow_provider_sftp_s3"
PACKAGE = Path(airflow_provider_sftp_s3.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py"))

#: The floors, from the lowest one up, and the rooms on each. A room may import from lower floors, and from its own.
#: A name that ends in a slash is all of a package.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("get_provider_info", "_lazy", "plugins/"),
    ("engine/errors", "engine/tasks", "engine/model"),
    ("engine/options", "engine/clock", "engine/standstill", "engine/globs", "engine/strip"),
    ("engine/paths", "engine/whole", "engine/observer"),
    ("engine/log",),
    (
        "engine/temporary",
        "engine/rename",
        "engine/limits",
        "engine/order",
        "engine/lasts",
        "engine/triggers",
        "engine/checksum_files",
        "engine/done_dir",
        "engine/settings",
    ),
    ("engine/sftp/", "engine/s3/"),
    ("engine/run", "engine/announcement"),
    ("engine/listing", "engine/unsynced", "engine/kept", "engine/keys", "engine/naming", "engine/awaited"),
    ("engine/transfer", "engine/fetch", "engine/movable"),
    ("engine/aside",),
    ("engine/done", "engine/attributes", "engine/delivery", "engine/places"),
    ("engine/purge", "engine/pulled_triggers", "engine/pulled_sums", "engine/delivered_sums", "engine/publication"),
    ("engine/pull", "engine/push"),
    ("engine/api",),
    ("engine/__init__",),
    ("_compat", "engine_thread"),
    ("hooks/",),
    ("transfers/",),
    ("operators/",),
    ("sensors/",),
    ("flows/",),
    ("__init__", "__main__"),
)
#: Rooms on one floor that know nothing of each other.
STRANGERS = (("engine/sftp/", "engine/s3/"), ("engine/pull", "engine/push"), ("engine/listing", "engine/unsynced"))
#: The only importer of a library.
OWNERS = {
    "asyncssh": ["engine/sftp/connection", "engine/sftp/login"],
    "obstore": ["engine/s3/upload"],
    "aiohttp": ["engine/s3/requests"],
}


def floor_of(module: str) -> int:
    """Return the number of the floor that a module is on; it must be on one of them."""
    found = [
        number
        for number, rooms in enumerate(FLOORS)
        if any(module == room or (room.endswith("/") and module.startswith(room)) for room in rooms)
    ]
    assert len(found) == 1, f"{module} is on the floors {found}: put it on one in {__name__}"
    return found[0]


def imports_of(source: str) -> set[str]:
    """Return the full names of all that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_in(imports: set[str]) -> set[str]:
    """Return the modules of this package among imports, a name out of a module as the module."""
    rooms = set()
    for name in imports:
        if name.split(".")[0] != NAME:
            continue
        parts = name.split(".")[1:]
        while parts and not {"/".join(parts), "/".join([*parts, "__init__"])} & set(MODULES):
            parts.pop()
        inside = "/".join(parts)
        rooms.add(inside if inside in MODULES else f"{inside}/__init__".removeprefix("/"))
    return rooms


def wrong_arrows(module: str, source: str) -> list[str]:
    """Return what a module imports from a floor above it, or from a room that it must not know."""
    wrong = []
    for other in rooms_in(imports_of(source)):
        up = floor_of(other) > floor_of(module)
        strange = any(
            module.startswith(one) and other.startswith(two) for a, b in STRANGERS for one, two in ((a, b), (b, a))
        )
        if up or strange:
            wrong.append(other)
    return wrong


def source_of(module: str) -> str:
    return (PACKAGE / f"{module}.py").read_text()


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    """From every floor to those below it."""
    assert wrong_arrows(module, source_of(module)) == []


def test_an_arrow_up_is_seen() -> None:
    """Between any two floors, and between rooms that must not know each other."""
    rooms = [next(module for module in MODULES if module.startswith(room)) for floor in FLOORS[1:] for room in floor]
    for lower in rooms:
        for upper in rooms:
            if floor_of(lower) < floor_of(upper):
                name = upper.removesuffix("/__init__").replace("/", ".")
                assert wrong_arrows(lower, f"import {NAME}.{name}") == [upper]
    for one, two in STRANGERS:
        first, second = (next(module for module in MODULES if module.startswith(room)) for room in (one, two))
        assert wrong_arrows(first, f"import {NAME}.{second.replace('/', '.')}")


def test_each_room_is_there() -> None:
    """A room that has moved out leaves nothing behind that would pass for ever."""
    for floor in FLOORS:
        for room in floor:
            assert [module for module in MODULES if module == room or (room.endswith("/") and room in module)], room


@pytest.mark.parametrize("module", MODULES)
def test_only_adapters_import_airflow(module: str) -> None:
    """The engine is usable with no Airflow at all."""
    if module.startswith("engine"):
        assert not {name for name in imports_of(source_of(module)) if name.split(".")[0] == "airflow"}


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_has_one_importer(library: str) -> None:
    """asyncssh, obstore and aiohttp can be looked at, and replaced, in one place."""
    importers = [
        module
        for module in MODULES
        if library in {name.split(".")[0] for name in imports_of(source_of(module)) if not module.startswith("tests")}
    ]
    assert importers == OWNERS[library]


@pytest.mark.parametrize("module", MODULES)
def test_nothing_imports_what_users_do_not_have(module: str) -> None:
    """The package never imports tests, moto or the demo."""
    assert not {name.split(".")[0] for name in imports_of(source_of(module))} & {"tests", "moto", "demo", "pytest"}
