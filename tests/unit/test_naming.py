"""Two keys that come to one path find each other, and a million of them take little memory."""

from __future__ import annotations

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import NameRefused
from airflow_provider_sftp_s3.engine.naming import AlikeNames, Namesakes
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.support.faulty_sftp import OneNameForAll, Refuses
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.unit


KEYS = st.text(st.sampled_from("ab/12é"), min_size=1, max_size=8)


@given(st.lists(KEYS, max_size=12), st.sampled_from(["^[^/]*/", "a", "[0-9]+", "/", "x?", "b$", "", "^.*/", "(?<=a)b"]))
def test_keys_of_one_path_are_found_by_each_other(keys: list[str], strip: str) -> None:
    """As a dict of paths would find them, whatever strip_regex removes; what is found is the very key."""
    pattern = re.compile(strip)
    namesakes, expected = Namesakes(pattern), dict[bytes, str]()
    for key in keys:
        try:
            path = paths.path_for(b"/root", key, strip=pattern)
        except NameRefused:
            continue
        assert namesakes.of(key) == expected.get(path)
        namesakes.note(key)
        expected[path] = key
        assert namesakes.of(key) == key


def test_a_hundred_thousand_namesakes_take_little_memory() -> None:
    """About 30 bytes each, where a dict of the keys takes 200."""
    namesakes = Namesakes(re.compile(r"^\d+/"))
    tracemalloc.start()
    try:
        for number in range(100_000):
            namesakes.note(f"{number % 100}/partner/orders/{number}.csv")
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / 100_000 < 150  # most of which the 65,536 empty buckets are, once for a million, too
    assert namesakes.of("x/partner/orders/1.csv") is None
    assert namesakes.of("99/partner/orders/7.csv") == "7/partner/orders/7.csv"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"/out/A", b"/out/a"),
        (b"/out/Sub/a", b"/out/sub/a"),
        ("/out/\u00fc".encode(), "/out/u\u0308".encode()),
        ("/out/\u00dc".encode(), "/out/u\u0308".encode()),
    ],
)
@pytest.mark.integration
@pytest.mark.parametrize("folds", [True, False], ids=["one name", "two names"])
async def test_names_that_are_alike(
    sftp_server: AsyncsshServer, session: SftpSession, folds: bool, first: bytes, second: bytes
) -> None:
    """The second is refused, naming the first, where that has its name. The first one may be written again."""
    if folds:
        sftp_server._sftp_factory = OneNameForAll
        session = SftpSession(session.server, session.options)
    for path in (first, second):
        sftp_server.local(paths.text(path)).parent.mkdir(parents=True, exist_ok=True)
        if folds:
            break
    async with session:
        alike = AlikeNames(session, b"/out")
        for _ in range(2):
            async with alike.taking(first):
                sftp_server.local(paths.text(first)).write_bytes(b"1")
        if folds:
            with pytest.raises(NameRefused) as refused:
                async with alike.taking(second):
                    pytest.fail("it takes the place of the first")
            assert paths.printable(first).rpartition("/")[2] in str(refused.value) or b"/sub/" in second
        else:
            for _ in range(2):
                async with alike.taking(second):
                    sftp_server.local(paths.text(second)).write_bytes(b"2")
            assert sftp_server.local(paths.text(first)).read_bytes() == b"1"
            sftp_server.local(paths.text(first)).unlink()
            async with alike.taking(second):
                pass


@pytest.mark.integration
async def test_a_name_that_is_alike_and_cannot_be_looked_at_is_refused(
    sftp_server: AsyncsshServer, session: SftpSession
) -> None:
    """It is not known whether it is the other one's; the first one of a name needs no look."""
    sftp_server.fault = Refuses(("LSTAT", "STAT", "OPENDIR"))
    alike = AlikeNames(session, b"/")
    sftp_server.requests.clear()
    async with alike.taking(b"/a"):
        pass
    assert not sftp_server.requests
    with pytest.raises(NameRefused, match="another one of this run"):
        async with alike.taking(b"/A"):
            pass


@pytest.mark.integration
async def test_a_hundred_thousand_names_take_little_memory(session: SftpSession) -> None:
    """And what is alike is found among them."""
    alike = AlikeNames(session, b"/")
    tracemalloc.start()
    try:
        assert not any(alike.note(b"/partner/orders/%d.csv" % number) for number in range(100_000))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / 100_000 < 130  # most of which the 65,536 empty buckets are, once for a million, too
    assert not alike.note(b"/partner/orders/7.csv")
    assert alike.note(b"/partner/Orders/7.csv")
