"""How a pushed file is called until it is whole: by a template, where nobody else looks for a file of their own."""

from __future__ import annotations

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, NameRefused
from airflow_provider_sftp_s3.engine.paths import is_temporary
from airflow_provider_sftp_s3.engine.temporary import NOBODY, TEMP_NAME, TemporaryNames, check_temp_name

pytestmark = pytest.mark.unit

OWNER = "0123abcd"


def test_names_that_nobody_else_uses() -> None:
    """No two writers share one, and a later try finds those of its own task only."""
    names = TemporaryNames(TEMP_NAME, b"/in", OWNER)
    mine = {names.path_for(b"/in/sub/file") for _ in range(1000)}
    assert len(mine) == 1000
    assert {path[: -len(b"89abcdef.part")] for path in mine} == {b"/in/sub/.0123abcd"}
    assert all(names.is_own(path.rpartition(b"/")[2]) for path in mine)
    assert all(is_temporary(path.rpartition(b"/")[2]) for path in mine), "a pull leaves those alone"
    others = TemporaryNames(TEMP_NAME, b"/in", "ffffffff")
    assert not any(others.is_own(path.rpartition(b"/")[2]) for path in mine)


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("{id}", b"/in/sub/ID"),
        ("{id}-{name}", b"/in/sub/ID-a.csv"),
        ("{name}.{id}.tmp", b"/in/sub/a.csv.ID.tmp"),
        ("tmp/{id}", b"/in/tmp/ID"),
        ("a/b/{id}", b"/in/a/b/ID"),
        ("/elsewhere/{id}", b"/elsewhere/ID"),
        ("a+b[c].*{id}", b"/in/sub/a+b[c].*ID"),
    ],
)
def test_a_template_is_filled_in(template: str, path: bytes) -> None:
    """Beside the target, or in a directory beneath the one that is pushed to; only such a name is known again."""
    names = TemporaryNames(template, b"/in", OWNER)
    made = names.path_for(b"/in/sub/a.csv")
    name = made.rpartition(b"/")[2]
    number = name.partition(OWNER.encode())[2][:8]
    assert made == path.replace(b"ID", OWNER.encode() + number)
    assert made.rpartition(b"/")[0] == names.directory_of(b"/in/sub/a.csv")
    assert names.is_own(name)
    assert not names.is_own(name.replace(OWNER.encode(), NOBODY.encode()))
    assert not names.is_own(name + b"x") or template.endswith("{name}")


@pytest.mark.parametrize("name", [b"x" * 250 + b".csv", "é".encode() * 127], ids=["long", "of several bytes"])
def test_a_long_name_is_cut_at_its_start(name: bytes) -> None:
    """Its end tells the server what kind of file it is, and no character is cut in two."""
    made = TemporaryNames("{id}-{name}", b"/in", OWNER).path_for(b"/in/" + name).rpartition(b"/")[2]
    assert 250 <= len(made) <= 255
    assert name.endswith(made[17:])
    assert made.decode()


def test_what_is_moved_aside_is_nobodys() -> None:
    """It may be the partner's only copy of a file: no clean-up takes it."""
    names = TemporaryNames("tmp/{id}", b"/in", OWNER)
    aside = names.aside_for(b"/in/sub/file")
    assert aside.startswith(b"/in/tmp/00000000")
    assert not names.is_own(aside.rpartition(b"/")[2])


def test_a_target_of_such_a_name_is_refused() -> None:
    """A retry would remove it. In another directory, or of another owner, it is a name as any other."""
    names = TemporaryNames("tmp/{id}", b"/in", OWNER)
    with pytest.raises(NameRefused, match="temp_name"):
        names.check(b"/in/tmp/0123abcd00000000")
    names.check(b"/in/0123abcd00000000")
    names.check(b"/in/tmp/ffffffff00000000")
    names.check(b"/in/tmp/0123abcd")


@pytest.mark.parametrize(
    "template",
    [
        *("", ".part", "{name}.part", "{id}{id}", "{id}{name}{name}", "{id}/x", "{id}/{id}", "{name}/{id}"),
        *("{ID}", "{id", "{id}{other}", "{{id}}", "{id:x}", "../{id}", "a/../{id}", "a//{id}", "//{id}", "./{id}"),
        *("{id}/", "{id}\n", "\0{id}", "x" * 240 + "{id}", "\ud800{id}", 7, None, ["{id}"]),
    ],
)
def test_what_is_no_template_is_refused(template: object) -> None:
    """The setting is named, with what it may be."""
    with pytest.raises(ConfigurationError, match=r"temp_name must be like '\.\{id\}\.part'"):
        check_temp_name(template)
