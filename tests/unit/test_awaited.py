"""Which files of a directory are taken, by the triggers beside them."""

from __future__ import annotations

import pytest

from airflow_provider_sftp_s3.engine.awaited import NO_TRIGGER, OLD_TRIGGER, Awaited, is_older
from airflow_provider_sftp_s3.engine.model import Outcome, SourceFile, Stat
from airflow_provider_sftp_s3.engine.sftp.protocol import Entry
from airflow_provider_sftp_s3.engine.triggers import TriggerNames

pytestmark = pytest.mark.unit


def label(path: bytes) -> str:
    return f"sftp://host{path.decode()}"


def sifted(template: str, **mtimes: int | None) -> dict[str, SourceFile | Outcome]:
    """Return what becomes of files, "held" among them a file that fails for its name. What is above 100 is young."""
    awaited = Awaited(TriggerNames(template), lambda mtime: mtime > 100, label)
    entries = [Entry(name.encode(), "file", Stat(0, mtime)) for name, mtime in mtimes.items()]
    items: list[SourceFile | Outcome] = [
        Outcome(label(b"/d/" + entry.name), "failed")
        if entry.name == b"held"
        else SourceFile(b"/d/" + entry.name, entry.name, entry.stat, "absent")
        for entry in awaited.without(entries)
    ]
    files = [entry.name for entry in awaited.without(entries)]
    found = awaited.sift(b"/d", b"", entries, "absent", files, items)
    return {(item.source if isinstance(item, Outcome) else label(item.path)).rpartition("/")[2]: item for item in found}


@pytest.mark.parametrize(
    ("file", "trigger", "reason"),
    [
        (10, 10, ""),
        (10, 11, ""),
        (11, 10, OLD_TRIGGER),
        (None, 10, OLD_TRIGGER),
        (10, None, OLD_TRIGGER),
        (10, 101, "young"),
    ],
)
def test_a_trigger_is_not_older(file: int | None, trigger: int | None, reason: str) -> None:
    """What nobody says is not assumed."""
    found = sifted("t-{name}", **{"a": file, "t-a": trigger})["a"]
    if reason:
        assert isinstance(found, Outcome)
        assert (found.reason, found.left) == (reason, True)
    else:
        assert isinstance(found, SourceFile)
        (own,) = found.beside
        assert own.unstored == own.unmoved == {b"/d/a"}
    assert is_older(Stat(0, trigger), Stat(0, file)) == (reason == OLD_TRIGGER)


def test_a_file_without_one_waits_and_one_without_a_file_is_told_of() -> None:
    found = sifted("t-{name}", **{"a": 1, "t-b": 2})
    assert isinstance(found["a"], Outcome)
    assert found["a"].reason == NO_TRIGGER
    lonely = found["t-b"]
    assert isinstance(lonely, SourceFile)
    assert lonely.is_alone
    assert lonely.beside[0].file.path == lonely.path
    assert set(found) == {"a", "t-b"}


def test_a_trigger_whose_name_is_no_path_is_none() -> None:
    """As of a hostile server: it would be moved from elsewhere."""
    awaited = Awaited(TriggerNames("{name}.ok"), lambda mtime: False, label)
    entries = [Entry(name, "file", Stat(0, 1)) for name in (b"../a.ok", b"x/a.ok", b"a\n.ok", b"a.ok")]
    assert awaited.without(entries) == entries[:3]
    found = list(awaited.sift(b"/d", b"", entries, "absent", [], list[SourceFile]()))
    assert [item.path for item in found if isinstance(item, SourceFile)] == [b"/d/a.ok"]


def test_what_is_not_taken_holds_the_trigger_of_others_back() -> None:
    """A file that fails, or is newer than the trigger."""
    found = sifted("all", a=1, held=1, newer=3, all=2)
    taken = found["a"]
    assert isinstance(taken, SourceFile)
    (own,) = taken.beside
    assert own.unstored == own.unmoved == {b"/d/a", b"/d/held", b"/d/newer"}
