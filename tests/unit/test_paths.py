"""Keys and remote paths: the identity where nothing is refused, and nothing that leaves its directory."""

from __future__ import annotations

import posixpath
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, NameRefused

pytestmark = pytest.mark.unit

names = st.text(min_size=1, max_size=40) | st.sampled_from(
    ["..", ".", "a/b", "a//b", "/etc/passwd", "../../x", "a\\b", "%2F", "a\nb", "é", "\u202egnp.exe", ".done", "dir/"]
)


@given(st.lists(names, min_size=1, max_size=5).map("/".join))
def test_key_to_path_to_key_is_the_identity(key: str) -> None:
    """Whatever is not refused comes back as it was."""
    try:
        path = paths.path_for(b"/root", key)
    except NameRefused:
        return
    assert paths.key_for("", path.removeprefix(b"/root/")) == key


@given(st.lists(names, min_size=1, max_size=5).map("/".join), st.sampled_from([None, "a", "^/", r"\.\.", ".*?/", "x"]))
def test_no_key_leaves_its_directory(key: str, strip: str | None) -> None:
    """With any strip_regex, a path is beneath the target, and needs no normalising."""
    try:
        path = paths.path_for(b"/root/target", key, strip=re.compile(strip) if strip else None)
    except NameRefused:
        return
    assert path.startswith(b"/root/target/")
    assert posixpath.normpath(path) == path
    assert b"\0" not in path


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("../x", "'..'"),
        ("a/../../x", "'..'"),
        ("./x", "'.'"),
        ("/etc/passwd", "slash"),
        ("a//b", "two in a row"),
        ("a\x00b", "control"),
        ("a\x1b[2Jb", "control"),
        ("dir/" + "x" * 256, "256 bytes"),
        ("dir/" + "é" * 128, "256 bytes"),
        ("\ud800", "UTF-8"),
        ("dir/.0123456789abcdef.part", "unfinished"),
        ("", "empty"),
    ],
)
def test_a_key_that_is_no_path_is_refused_with_a_reason(key: str, reason: str) -> None:
    """The reason says what is wrong with the key."""
    with pytest.raises(NameRefused, match=re.escape(reason)):
        paths.path_for(b"/root", key)


@pytest.mark.parametrize("name", ["x" * 255, "x" + "é" * 127])
def test_a_name_of_255_bytes_is_a_name(name: str) -> None:
    """File systems take it: in a directory, and as a directory."""
    assert paths.path_for(b"/root", f"dir/{name}/{name}") == b"/root/dir/" + f"{name}/{name}".encode()


def test_a_key_outside_the_prefix_is_refused() -> None:
    """A key that is given by hand must belong to the flow."""
    with pytest.raises(NameRefused, match="not under the prefix"):
        paths.path_for(b"/root", "other/a", "outbound/")


def test_the_prefix_goes_and_the_rest_stays() -> None:
    """Without strip_regex the prefix is removed."""
    assert paths.path_for(b"/root", "outbound/a/b.txt", "outbound/") == b"/root/a/b.txt"


def test_strip_regex_is_removed_once() -> None:
    """Only the first match goes, and one slash that this leaves in front."""
    assert paths.path_for(b"/root", "out/in/out/b", strip=re.compile("out")) == b"/root/in/out/b"
    assert paths.path_for(b".", "2024-01-01/b", strip=re.compile(r"\d{4}-\d\d-\d\d/")) == b"./b"


def test_strip_regex_that_leaves_a_way_out_is_refused() -> None:
    """What is left after the removal is checked like a key."""
    with pytest.raises(NameRefused):
        paths.path_for(b"/root", ".x./etc", strip=re.compile("x"))
    with pytest.raises(NameRefused):
        paths.path_for(b"/root", "all", strip=re.compile("all"))


@pytest.mark.parametrize(
    ("key", "strip"),
    [
        (".x.", "x"),
        ("a/.x./b", "x"),
        ("a/.x.", "x"),
        ("a/..x", "x"),
        ("a/x..", "x"),
        ("a/.x/b", "x"),
        ("x/../b", "^x/"),
    ],
)
def test_no_dots_that_strip_regex_brings_about_are_a_way_out(key: str, strip: str) -> None:
    """Where the key itself has none: at the beginning, in the middle and at the end."""
    with pytest.raises(NameRefused, match=r"it has the segment '\.\.?'"):
        paths.path_for(b"/root", key, strip=re.compile(strip))


@pytest.mark.parametrize(
    ("prefix", "directory"), [("", ""), (None, ""), ("in", "in/"), ("in/", "in/"), ("a/b", "a/b/")]
)
def test_a_prefix_is_a_directory(prefix: str, directory: str) -> None:
    """With or without the slash at its end it means the same."""
    assert paths.directory_prefix(prefix) == directory


@pytest.mark.parametrize("prefix", ["/", "/in", "in//", "a/../b", "a\nb"])
def test_a_prefix_that_is_no_directory_is_a_wrong_setting(prefix: str) -> None:
    """The message names the argument."""
    with pytest.raises(ConfigurationError, match="s3_prefix"):
        paths.directory_prefix(prefix)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/etc/passwd", b"a\x00b", b"a\x1b[31m", b"\x7f", b"a\n"])
def test_a_listed_name_that_is_no_name_is_refused(name: bytes) -> None:
    """A server may list anything."""
    with pytest.raises(NameRefused):
        paths.check_name(name)


@pytest.mark.parametrize("name", [b"a", b".hidden", b"...", b"a\\b", b"\xff\xfe", "ümläut 😀".encode(), b"x" * 255])
def test_an_odd_name_is_a_name(name: bytes) -> None:
    """Names are bytes: they need not be UTF-8 to be listed."""
    paths.check_name(name)


def test_a_name_that_is_not_utf8_has_no_key() -> None:
    """S3 keys are UTF-8, so the file is refused, and says why."""
    with pytest.raises(NameRefused, match="UTF-8"):
        paths.key_for("in/", b"\xff.txt")


def test_a_key_over_1024_bytes_is_refused() -> None:
    """S3's own limit, found before any I/O."""
    assert paths.key_for("in/", b"x" * 1021)
    with pytest.raises(NameRefused, match="1025 bytes"):
        paths.key_for("in/", b"x" * 1022)


@pytest.mark.parametrize("name", [paths.LEDGER, paths.STATE])
@pytest.mark.parametrize("relative", ["{}", "sub/{}", "a/b/{}", "{}/a", "a/{}/b/c"])
@pytest.mark.parametrize("prefix", ["", "in/"])
def test_a_file_with_the_ledgers_name_is_refused_in_any_directory(prefix: str, relative: str, name: str) -> None:
    """And in any beneath it. Another flow may have its prefix there, and would take it for its own."""
    with pytest.raises(NameRefused, match="uses objects of that name itself"):
        paths.key_for(prefix, relative.format(name).encode())


def test_a_name_that_only_ends_in_the_ledgers_is_a_name() -> None:
    assert paths.key_for("in/", b"x" + paths.LEDGER.encode()) == f"in/x{paths.LEDGER}"


def test_a_name_that_is_given_to_a_file_has_255_bytes_at_most() -> None:
    """Where one that is to be deleted has no room for the old name, that is lost; one that is set aside is refused."""
    fits, long = b"x" * 233, b"x" * 234
    deleting = paths.deleting_name(fits)
    assert len(deleting) == 255
    assert paths.is_deleting(deleting)
    assert paths.deleted_name(deleting) == fits
    deleting = paths.deleting_name(long)
    assert paths.is_deleting(deleting)
    assert paths.deleted_name(deleting) is None
    aside = paths.aside_name(b"x" * 241, 10**9, 12)
    assert aside == b"x" * 241 + b".1000000000-12"
    assert paths.is_aside(aside, 10**9)
    with pytest.raises(NameRefused, match="would have 256 bytes"):
        paths.aside_name(b"x" * 242, 10**9, 12)


def test_printable_spells_out_what_a_terminal_would_obey() -> None:
    """Escape sequences and foreign bytes never reach a log as they are."""
    assert paths.printable(b"plain \xc3\xa9") == "plain é"
    assert paths.printable(b"\x1b[2J") == "\\x1b[2J"
    assert paths.printable(b"\xff") == "\\xff"
    assert paths.printable("a\u202eb") == "a\\u202eb"


@given(st.binary(max_size=300), st.integers(1, 1000))
def test_a_path_is_in_exactly_one_shard(path: bytes, count: int) -> None:
    """Whatever its bytes."""
    assert sum(paths.Shard.of(f"{number}/{count}").holds(path) for number in range(1, count + 1)) == 1


def test_a_path_is_in_the_same_shard_everywhere() -> None:
    """On every machine, and after an upgrade in the middle of a run."""
    assert [[n for n in range(1, 9) if paths.Shard(n, 8).holds(path)] for path in (b"", b"a.csv", b"sub/\xff")] == [
        [5],
        [3],
        [6],
    ]


def test_shards_are_about_as_large_as_each_other() -> None:
    """Of numbered files, too."""
    sizes = [sum(paths.Shard(n, 8).holds(b"%d.csv" % file) for file in range(8000)) for n in range(1, 9)]
    assert min(sizes) > 900
    assert max(sizes) < 1100


def test_no_shard_is_the_whole_tree() -> None:
    assert paths.Shard.of(None).holds(b"anything")


@pytest.mark.parametrize(
    "shard", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", " 1/2", "1/2\n", "١/٢", "a/b", 1, (1, 2)]
)
def test_a_shard_that_is_none_is_a_wrong_setting(shard: object) -> None:
    """The message shows one that is."""
    with pytest.raises(ConfigurationError, match="shard must be like '2/8', the second of eight, or None, not "):
        paths.Shard.of(shard)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "relative"),
    [
        *(("a/b", b"a/b"), ("/in/a", b"a"), ("in/a", b"in/a"), ("\udcff", b"\xff"), ("/in/\u00fc", "\u00fc".encode())),
        *(("a//b", b"a/b"), ("./a", b"a"), ("a/", b"a"), ("/in//a/./b", b"a/b")),
    ],
)
def test_a_path_beneath_a_directory_is_relative_to_it(path: str, relative: bytes) -> None:
    """Whether it begins with the directory or not."""
    assert paths.relative_to(b"/in", path) == relative
    assert paths.relative_to(b"/", f"/{relative.decode('utf-8', 'surrogateescape')}") == relative


@pytest.mark.parametrize(
    "path", ["", "/", ".", "/in", "/in/", "/inn/a", "../a", "a/../b", "..", "/in/..", "/in/../in/a", "a\0", "a/\n/b"]
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    """It must be a plain one, and beneath the directory."""
    with pytest.raises(NameRefused):
        paths.relative_to(b"/in", path)
