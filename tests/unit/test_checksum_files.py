"""What a checksum file says, and how one is written: as coreutils have it."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.checksum_files import (
    WantedSum,
    algorithm_of,
    begin_sum,
    check_checksum_file,
    line_of,
    sum_in,
)
from airflow_provider_sftp_s3.engine.errors import ChecksumDiffers, ConfigurationError, FileError

pytestmark = pytest.mark.unit

A, B = (hashlib.sha256(data).hexdigest() for data in (b"a", b"b"))
MD5 = hashlib.md5(b"a", usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("name", ["a.csv", "a b", "back\\slash", "-n", "*", " x"])
@pytest.mark.parametrize("tag", [[], ["--tag"], ["--binary"]])
@pytest.mark.parametrize("tool", ["sha256sum", "md5sum"])
def test_it_is_what_coreutils_write(tmp_path: Path, tool: str, tag: list[str], name: str) -> None:
    """In each of their formats; and what we write is what they write by default."""
    (tmp_path / name).write_bytes(b"a")
    written = subprocess.run([tool, *tag, "--", name], cwd=tmp_path, check=True, capture_output=True).stdout
    algorithm = tool.removesuffix("sum")
    wanted = hashlib.new(algorithm, b"a").hexdigest()
    assert sum_in(written, name.encode(), algorithm) == wanted
    assert sum_in(f"{'0' * len(wanted)}  other\n".encode() + written, name.encode(), algorithm) == wanted
    if not tag:
        assert line_of(wanted, b"/in/" + name.encode()) == written


@pytest.mark.parametrize(
    "line",
    [
        *("{sum}  {name}", "{sum} *{name}", "{sum} {name}", "{sum}\t{name}", "  {sum}  {name}", "\t{sum} {name}"),
        *("SHA256 ({name}) = {sum}", "SHA256({name})= {sum}", "SHA256 ({name})={sum}", " SHA256 ({name}) = {sum}"),
        *("\\{sum}  {name}", "\\SHA256 ({name}) = {sum}"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_coreutils_read_is_read(tmp_path: Path, line: str, end: str) -> None:
    """The formats of others, too; beside the sums of other files it is still that of its own."""
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    contents = "".join(line.format(sum=each, name=name) + end for each, name in ((B, "b"), (A, "a"))).encode()
    (tmp_path / "sums").write_bytes(contents)
    subprocess.run(["sha256sum", "--check", "sums"], cwd=tmp_path, check=True, capture_output=True)
    assert sum_in(contents, b"a", "sha256") == A


@pytest.mark.parametrize(
    "contents",
    [
        A.encode(),
        f"{A} \n".encode(),
        f"{A}\r\n".encode(),
        f"\ufeff{A.upper()}  a\n".encode(),
        f"{A}  /tmp/export/other.csv\n".encode(),
        f"# made by us\n\n{A}  a\n".encode(),
        f"{MD5}  a\n{A}  a\n".encode(),
        f"{B}  b\n{A}  ./a\n".encode(),
        f"{A}  a\n{A}  a\n".encode(),
        f"{A}  \xff\n".encode("latin-1"),
    ],
)
def test_a_sum_that_is_taken(contents: bytes) -> None:
    """A single one whatever stands beside it; of several, the one of the file's name."""
    assert sum_in(contents, b"a", "sha256") == A


@pytest.mark.parametrize(
    ("contents", "why"),
    [
        (b"", "no sha256 sum"),
        (MD5.encode() + b"  a\n", "no sha256 sum"),
        (f"{A}  b\n{B}  c\n".encode(), "no sha256 sum"),
        (f"{A}  a\n{B}  a\n".encode(), "more than one sum"),
        (f"{A}\n{B}\n".encode(), "no sha256 sum"),
        (f"{A}x  a\n".encode(), "no sha256 sum"),
    ],
)
def test_what_says_no_sum_is_an_error(contents: bytes, why: str) -> None:
    with pytest.raises(FileError, match=why):
        sum_in(contents, b"a", "sha256")


def test_another_sum_is_an_error_that_has_both() -> None:
    wanted = WantedSum("sha256", A, "its checksum file")
    wanted.check_all([b"", b"a"])
    with pytest.raises(ChecksumDiffers, match=f"its checksum file says {A}, and its sha256 is {B}"):
        wanted.check_all([b"b"])


@pytest.mark.parametrize("template", ["{name}.sha256", "{name}.md5"])
def test_the_names_that_there_are(template: str) -> None:
    check_checksum_file(template)
    assert begin_sum(algorithm_of(template)).name == algorithm_of(template)


@pytest.mark.parametrize("template", ["", "{stem}.sha256", "{name}.sha1", "{name}", None, 7])
def test_other_names_are_refused(template: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"checksum_file must be '\{name\}.sha256' or '\{name\}.md5', not"):
        check_checksum_file(template)
