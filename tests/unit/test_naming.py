"""Two keys that come to one path find each other, and a million of them take little memory."""

from __future__ import annotations

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


NAMES = st.text(st.sampled_from("ab/12é\udcff"), max_size=8)


@given(st.lists(st.tuples(NAMES, NAMES), max_size=20))
def test_sources_of_one_name_are_found_by_each_other(noted: list[tuple[str, str]]) -> None:
    """As a dict of names would find them, whatever was done to the names; what is found is the very source."""
    namesakes, expected = Namesakes(), dict[str, str]()
    for name, source in noted:
        assert namesakes.of(name) == expected.get(name)
        namesakes.note(name, source)
        expected[name] = source
        assert namesakes.of(name) == source


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("partner/orders/{1}.csv", "{0}/partner/orders/{1}.csv"),
        ("orders/{1}_17695980{0:02}.csv", "orders/{1}.csv"),
        ("{0}/{1}.csv", "partner/orders/{0}/{1}.csv"),
    ],
)
def test_a_hundred_thousand_namesakes_take_little_memory(name: str, source: str) -> None:
    """About 30 bytes each, where a dict of the sources takes 200."""
    namesakes = Namesakes()
    tracemalloc.start()
    try:
        for number in range(100_000):
            namesakes.note(name.format(number % 100, number), source.format(number % 100, number))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / 100_000 < 150  # most of which the 65,536 empty buckets are, once for a million, too
    assert namesakes.of(name.format(8, 707)) in (None, source.format(7, 707))
    assert namesakes.of(name.format(7, 707)) == source.format(7, 707)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"/out/A", b"/out/a"),
        (b"/out/Sub/a", b"/out/sub/a"),
        ("/out/\u00fc".encode(), "/out/u\u0308".encode()),
        ("/out/\u00dc".encode(), "/out/u\u0308".encode()),
        (b"/out/a", b"/out/a."),
        (b"/out/a", b"/out/a "),
        (b"/out/sub/a", b"/out/sub./a"),
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
