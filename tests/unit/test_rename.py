"""Names by `rename_to`: the words that are replaced, and no others, and what is refused."""

from __future__ import annotations

import posixpath
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, NameRefused
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.rename import DIRECTIVES, Renaming

pytestmark = pytest.mark.unit

#: 2026-01-31T23:59:58Z
WHEN = 1769903998


@pytest.mark.parametrize(
    ("template", "path", "name"),
    [
        ("{dir}/{name}", "a/b/c.csv", "a/b/c.csv"),
        ("{dir}/{name}", "c.csv", "c.csv"),
        ("in/{dir}/{stem}", "c.csv", "in/c"),
        ("in/{dir}/{stem}", "a/c.tar.gz", "in/a/c.tar"),
        ("{stem}_{mtime}{suffix}", "a/c.csv", f"c_{WHEN}.csv"),
        ("{mtime:%Y/%m/%d}/{size}-{name}", "a/c", "2026/01/31/7-c"),
        ("{mtime:%H:%M:%S}{suffix}", ".hidden", "23:59:58"),
        (
            "{Stem}{ stem}{stem!r}{stem:>9}{mtime:}%Y{date}{}{name}",
            "c",
            "{Stem}{ stem}{stem!r}{stem:>9}{mtime:}%Y{date}{}c",
        ),
        ("{stem}", "{suffix}{dir}", "{suffix}{dir}"),
        ("{dir}|{name}", "{dir}/{size}", "{dir}|{size}"),
    ],
)
def test_exactly_the_words_are_replaced(template: str, path: str, name: str) -> None:
    """Each once: what they stand for is not looked into, and where there is no directory, no slash is left of it."""
    assert Renaming(template).of(path.encode(), Stat(7, WHEN)) == name.encode()


def test_a_name_is_the_same_in_each_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry may be on another machine."""
    names = set()
    for zone in ("UTC", "America/New_York", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        names.add(Renaming("{mtime:" + "-".join(f"%{each}" for each in DIRECTIVES) + "}").of(b"a", Stat(1, WHEN)))
    monkeypatch.undo()
    time.tzset()
    assert names == {b"2026-26-01-31-23-59-58-031-2026-05-6-6-04-04-%"}


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (None, "no text"),
        (7, "no text"),
        ("", "it is empty"),
        ("/{name}", "begins or ends with a slash"),
        ("{dir}/", "begins or ends with a slash"),
        ("a//{name}", "two in a row"),
        ("../{name}", "segment '..'"),
        ("{dir}/../{name}", "segment '..'"),
        ("a\0{name}", "control character"),
        ("a\n", "control character"),
        ("\udcff", "not UTF-8"),
        ("x" * 256, "256 bytes"),
        (".sftp-s3/{name}", "uses names of that kind"),
        ("{dir}/.sftp-s3-ledger", "uses names of that kind"),
        ("{{ ds }}/{name}", "no Jinja"),
        ("{mtime:%B}", "%B is not among"),
        ("{mtime:%s}", "%s is not among"),
        ("{mtime:%-d}", "%- is not among"),
        ("{mtime:%}", "% is not among"),
    ],
)
def test_a_template_that_cannot_be_one_is_refused(template: object, why: str) -> None:
    """When it is set, with what to write instead."""
    with pytest.raises(ConfigurationError) as refused:
        Renaming(template)  # type: ignore[arg-type]
    assert why in str(refused.value)
    assert "rename_to must be a path beneath the target such as" in str(refused.value)


@pytest.mark.parametrize(
    ("template", "path", "why"),
    [
        (".{suffix}", "a.", "segment '..'"),
        ("{suffix}", "a.", "segment '.'"),
        ("{suffix}/{stem}", "a", "begins or ends with a slash"),
        ("{stem}-ftp-s3", ".s", ""),
        ("{stem}-s3", ".sftp", "uses names of that kind"),
        ("{stem}{stem}", "x" * 128, "256 bytes"),
        ("{stem}", b"\xff.csv", "not UTF-8"),
        ("{dir}", "a", "it is empty"),
    ],
)
def test_a_hostile_name_is_refused(template: str, path: str | bytes, why: str) -> None:
    """Whatever a partner's names make of a template that is fine."""
    relative = path.encode() if isinstance(path, str) else path
    if not why:
        assert Renaming(template).of(relative, Stat(1, 1)) == b".s-ftp-s3"
        return
    with pytest.raises(NameRefused, match="rename_to gives it the name") as refused:
        Renaming(template).of(relative, Stat(1, 1))
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("template", "needs"),
    [
        ("{dir}/{name}", set()),
        ("{size}", {"size"}),
        ("{mtime:%Y}{stem}", {"mtime"}),
        ("{mtime}{size}", {"size", "mtime"}),
    ],
)
def test_what_nobody_has_said_is_no_name(template: str, needs: set[str]) -> None:
    """It is not 0, and only what the name is made of has to be known."""
    renaming = Renaming(template)
    assert renaming.needs == needs
    for stat in (Stat(), Stat(1), Stat(None, 1), Stat(1, 1)):
        lacking = {name for name in needs if getattr(stat, name) is None}
        assert (renaming.lacks(stat) in lacking) if lacking else (renaming.lacks(stat) is None)
        if lacking:
            with pytest.raises(NameRefused, match="nobody says its"):
                renaming.of(b"a", stat)
        else:
            assert renaming.of(b"a", stat)


WORDS = st.sampled_from(
    ["{dir}", "{stem}", "{suffix}", "{name}", "{size}", "{mtime}", "{mtime:%Y/%m}", "/", ".", "x", "{"]
)
PATHS = st.text(st.sampled_from("a./\\{}é \0"), min_size=1, max_size=12)


@given(st.lists(WORDS, min_size=1, max_size=6).map("".join), PATHS, st.integers(0, 2**32 - 1))
def test_every_name_is_a_plain_path(template: str, path: str, mtime: int) -> None:
    """Beneath the target, whatever template and path are, or there is none."""
    try:
        name = Renaming(template).of(path.encode(), Stat(5, mtime)).decode()
    except (ConfigurationError, NameRefused):
        return
    assert posixpath.normpath(f"/root/{name}") == f"/root/{name}"
    assert "\0" not in name
