"""Where the objects of a push go, and whose a path is."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import NameRefused
from airflow_provider_sftp_s3.engine.model import UNKNOWN, Stat
from airflow_provider_sftp_s3.engine.places import MAX_BESIDE, Places
from airflow_provider_sftp_s3.engine.settings import PushSettings

pytestmark = pytest.mark.unit

STAT = Stat(3, 1_700_000_000)


def places(*, of_this_run: bool = True, **settings: Any) -> Places:
    async def is_of_this_run(key: str) -> bool:
        return of_this_run

    session: Any = None
    made = PushSettings(sftp_path="/in", **settings)
    return Places(made, "p/", b"/in", session, lambda path: None, is_of_this_run, 10.0)


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({}, b"/in/sub/a.csv"),
        ({"strip_regex": "^p/sub"}, b"/in/a.csv"),
        ({"rename_to": "x/{stem}-{size}{suffix}"}, b"/in/x/a-3.csv"),
        ({"rename_to": "{dir}/{mtime:%Y}/{name}"}, b"/in/sub/2023/a.csv"),
    ],
)
def test_a_key_becomes_a_path(settings: dict[str, Any], path: bytes) -> None:
    own = places(**settings)
    assert own.of("p/sub/a.csv", STAT) == path
    assert own.directory_of("p/sub/a.csv").startswith(b"/in")
    assert own.need_stat == ("{size}" in str(settings) or "{mtime" in str(settings))
    own.close()


@pytest.mark.parametrize("key", ["p/../a", "p//a", "q/a", "p/a\0", "p/" + "n" * 256])
def test_a_key_that_comes_to_no_path_is_refused(key: str) -> None:
    own = places()
    with pytest.raises(NameRefused):
        own.check_key(key)
    with pytest.raises(NameRefused):
        own.of(key, UNKNOWN)
    own.note(key, UNKNOWN)  # and is nobody's namesake
    assert own.namesake_before(key, UNKNOWN) is None


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"trigger_file": "{stem}.ok"}, "trigger file"),
        ({"checksum_file": "{name}.md5"}, "checksum file"),
        ({"trigger_file": "{stem}.ok", "checksum_file": "{name}.md5"}, "checksum file"),
    ],
)
def test_no_file_gets_the_name_of_what_stands_beside_files(settings: dict[str, Any], kind: str) -> None:
    """By `rename_to` or `strip_regex`: the partner would take it for one."""
    suffix = ".ok" if kind == "trigger file" else ".md5"
    own = places(rename_to="{stem}" + suffix, **settings)
    with pytest.raises(NameRefused, match=f"the name of a {kind}"):
        own.of("p/a.csv", STAT)
    assert places(**settings).of("p/a.csv", STAT) == b"/in/a.csv"


async def test_the_first_of_two_keys_of_one_path_has_it() -> None:
    own = places(rename_to="x/{name}")
    assert own.namesake_before("p/1/a", STAT) is None
    assert own.namesake_before("p/2/a", STAT) == "p/1/a"
    with pytest.raises(NameRefused, match="makes the same path of this key and of 'p/1/a'"):
        await own.take("p/2/a", "p/1/a", b"/in/x/a")
    await own.take("p/1/a", None, b"/in/x/a")
    await own.take("p/1/a", None, b"/in/x/a")  # once more, after a lost connection
    own = places(rename_to="x/{name}", of_this_run=False)
    await own.take("p/2/a", "p/1/a", b"/in/x/a")  # what an earlier run has delivered is replaced


def test_names_beside_one_that_is_taken() -> None:
    assert list(places().around(b"/in/a.csv", STAT)) == [b"/in/a.csv"]
    assert "'/in/a.csv' is there already" in str(places().taken_error(b"/in/a.csv", STAT))
    several = list(places(on_conflict="rename").around(b"/in/a.csv", STAT))
    assert several[:3] == [b"/in/a.csv", b"/in/a.1700000000.csv", b"/in/a.1700000000-1.csv"]
    assert len(several) == MAX_BESIDE + 1
    error = str(places(on_conflict="rename").taken_error(b"/in/a.csv", STAT))
    assert f"and {MAX_BESIDE} others, up to" in error
