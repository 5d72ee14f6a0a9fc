"""The client's side of SFTP, against bytes that no server should send, and in pieces of any size."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, HandlesRepeat, NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.sftp.protocol import (
    CREATE_NEW,
    LEAST_REQUEST,
    MAX_REQUEST,
    READ,
    SAFE_REQUEST,
    Entry,
    SftpProtocol,
    Unsupported,
)

pytestmark = pytest.mark.unit

VERSION, STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED_REPLY = 2, 101, 102, 103, 104, 105, 201


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def packet(kind: int, body: bytes) -> bytes:
    return string(bytes([kind]) + body)


def answer(kind: int, number: int, body: bytes = b"") -> bytes:
    return packet(kind, struct.pack(">I", number) + body)


def status(number: int, code: int, text: bytes = b"") -> bytes:
    return answer(STATUS, number, struct.pack(">I", code) + string(text) + string(b""))


async def started(*extensions: bytes) -> tuple[SftpProtocol, list[bytes]]:
    """Return a session that has agreed with its server, and what it sends from now on."""
    sent: list[bytes] = []
    sftp = SftpProtocol(lambda pieces: sent.append(b"".join(pieces)), 7)
    starting = asyncio.create_task(sftp.start())
    await asyncio.sleep(0)
    assert sent == [packet(1, struct.pack(">I", 3))]
    known = b"".join(string(name) + string(b"1") for name in extensions)
    sftp.received(packet(VERSION, struct.pack(">I", 3) + known))
    await starting
    sent.clear()
    return sftp, sent


async def test_requests_made_at_one_time_are_sent_at_one_time() -> None:
    sftp, sent = await started()
    asked: list[asyncio.Future[Any]] = [sftp.lstat(b"a"), sftp.remove(b"b"), sftp.close(b"h")]
    assert sent == []
    await asyncio.sleep(0)
    assert len(sent) == 1
    sftp.received(answer(ATTRS, 1, struct.pack(">IQ", 1, 5)) + status(3, 0) + status(2, 4, b"no"))
    assert (await asked[0]).stat == Stat(5, None)
    with pytest.raises(ServerRefused, match="'b': the server says 'no'"):
        await asked[1]
    assert await asked[2] is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_answers_come_in_pieces(size: int) -> None:
    sftp, _ = await started()
    attributes = struct.pack(">IQIIIII", 1 | 2 | 4 | 8, 5, 0, 0, 0o100644, 1, 2)
    listing = sftp.read_directory(b"h", b"d")
    read = sftp.read(b"h", 0, 10, b"f")
    names = struct.pack(">I", 2) + (string(b"\xff") + string(b"-rw") + attributes) * 2
    data = answer(NAME, 1, names) + answer(DATA, 2, string(b"0123456789"))
    for start in range(0, len(data), size):
        sftp.received(data[start : start + size])
    assert await listing == [Entry(b"\xff", "file", Stat(5, 2))] * 2
    assert bytes(await read) == b"0123456789"


@pytest.mark.parametrize(
    ("code", "error"), [(2, NotFound), (10, NotFound), (3, ServerRefused), (8, Unsupported), (99, ServerRefused)]
)
async def test_errors_have_their_types(code: int, error: type[Exception]) -> None:
    sftp, _ = await started()
    asked = sftp.stat(b"x\x1b[0m")
    sftp.received(status(1, code))
    with pytest.raises(error, match=r"x\\\\x1b"):
        await asked


async def test_the_end_of_a_file_and_of_a_directory_are_no_errors() -> None:
    sftp, _ = await started()
    read, listing = sftp.read(b"h", 0, 10, b"f"), sftp.read_directory(b"h", b"d")
    sftp.received(status(1, 1) + status(2, 1))
    assert await read == b""
    assert await listing == []


@pytest.mark.parametrize(
    "body",
    [
        answer(HANDLE, 1, string(b"h")),  # not what was asked for
        answer(DATA, 1, string(b"longer than asked")),
        answer(DATA, 1, string(b"")),
        answer(DATA, 1, struct.pack(">I", 100) + b"short"),
        answer(DATA, 1),
        status(1, 0),  # done, and nothing read
        answer(200, 1),
    ],
)
async def test_an_answer_that_makes_no_sense_fails_its_request_only(body: bytes) -> None:
    sftp, _ = await started()
    read, other = sftp.read(b"h", 0, 5, b"f"), sftp.close(b"h")
    sftp.received(body + status(2, 0))
    with pytest.raises(ServerRefused, match="makes no sense"):
        await read
    await other
    assert sftp.lost is None


@pytest.mark.parametrize(
    "data", [b"\0\0\0\0", b"\xff\xff\xff\xff", status(99, 0), b"SSH-2.0-x\r\n", string(b"\x65\0\0\0")]
)
async def test_what_is_no_sftp_ends_the_session(data: bytes) -> None:
    sftp, _ = await started()
    asked = sftp.remove(b"x")
    sftp.received(data)
    with pytest.raises(ConnectionFailed, match="does not speak SFTP") as lost:
        await asked
    assert (lost.value.connection, lost.value.unanswered) == (7, False)
    with pytest.raises(ConnectionFailed):
        await sftp.remove(b"y")


async def test_the_request_that_was_not_answered_is_named() -> None:
    sftp, _ = await started()
    first, second = sftp.lstat(b"a"), sftp.lstat(b"b")
    number, _ = sftp.oldest_awaited() or (0, 0.0)
    sftp.lose("silence", number)
    culprits = []
    for asked in (first, second):
        with pytest.raises(ConnectionFailed) as lost:
            await asked
        culprits.append(lost.value.unanswered)
    assert culprits == [True, False]


async def test_a_handle_to_read_that_nobody_waits_for_stays_open() -> None:
    """Some servers take a file away when it is closed."""
    sftp, sent = await started()
    asked = sftp.open(b"x", READ)
    await asyncio.sleep(0)
    asked.cancel()
    sent.clear()
    sftp.received(answer(HANDLE, 1, string(b"handle")))
    await asyncio.sleep(0)
    assert sent == []
    assert sftp.kept == 1


async def test_a_handle_is_given_again_once_its_close_is_answered() -> None:
    """In one packet with that answer, as OpenSSH does."""
    sftp, _ = await started()
    first = sftp.open(b"a", READ)
    sftp.received(answer(HANDLE, 1, string(b"h")))
    closed, second = sftp.close(await first), sftp.open(b"b", READ)
    closed.cancel()
    sftp.received(status(2, 0) + answer(HANDLE, 3, string(b"h")))
    assert await second == b"h"
    assert sftp.lost is None


@pytest.mark.parametrize("how", ["open", "about to be closed", "of a directory", "of a file that nobody waits for"])
async def test_a_handle_that_is_given_twice_voids_the_session(how: str) -> None:
    """Nothing that is answered from then on counts, whichever of the two files it is of."""
    sftp, _ = await started()
    first = sftp.open_directory(b"a") if "directory" in how else sftp.open(b"a", READ)
    sftp.received(answer(HANDLE, 1, string(b"h")))
    await first
    read, second = sftp.read(b"h", 0, 5, b"a"), sftp.open(b"b", READ)
    if "closed" in how:
        sftp.close(b"h").add_done_callback(lambda closed: closed.exception())
    if "nobody" in how:
        second.cancel()
    sftp.received(answer(HANDLE, 3, string(b"h")) + answer(DATA, 2, string(b"12345")))
    for asked in (read, second, sftp.lstat(b"c")):
        if not asked.cancelled():
            with pytest.raises(HandlesRepeat, match="one handle to several files") as lost:
                await asked
            assert lost.value.given_up, "it counts for no file's tries"


async def test_a_handle_that_nobody_waits_for_is_closed() -> None:
    sftp, sent = await started()
    asked = sftp.open(b"x", CREATE_NEW)
    await asyncio.sleep(0)
    asked.cancel()
    assert sftp.oldest_awaited() is None
    sent.clear()
    sftp.received(answer(HANDLE, 1, string(b"handle")))
    await asyncio.sleep(0)
    assert sent == [packet(4, struct.pack(">I", 2) + string(b"handle"))]


async def test_extensions_are_used_where_the_server_has_them() -> None:
    sftp, sent = await started(b"fsync@openssh.com")
    with pytest.raises(Unsupported):
        await sftp.posix_rename(b"a", b"b")
    asked = sftp.fsync(b"h", b"f")
    await asyncio.sleep(0)
    assert len(sent) == 1
    assert not asked.done()


async def test_the_servers_limits_are_kept_to() -> None:
    sent: list[bytes] = []
    sftp = SftpProtocol(lambda pieces: sent.append(b"".join(pieces)), 1)
    starting = asyncio.create_task(sftp.start())
    await asyncio.sleep(0)
    name = b"limits@openssh.com"
    sftp.received(packet(VERSION, struct.pack(">I", 3) + string(name) + string(b"1")))
    await starting
    assert (sftp.read_size, sftp.write_size) == (SAFE_REQUEST, SAFE_REQUEST)
    sftp.received(answer(EXTENDED_REPLY, 1, struct.pack(">QQQQ", 300_000, 261_120, 100_000, 0)))
    await asyncio.sleep(0)
    assert (sftp.read_size, sftp.write_size) == (261_120, 100_000)


@pytest.mark.parametrize(
    ("limit", "size"),
    [(0, SAFE_REQUEST), (1, LEAST_REQUEST), (LEAST_REQUEST + 1, LEAST_REQUEST + 1), (2**64 - 1, MAX_REQUEST)],
)
async def test_limits_that_are_none_too_low_or_too_high(limit: int, size: int) -> None:
    """0 stands for no limit that the server knows of: what every server takes. The others are kept in bounds."""
    sftp, _ = await started(b"limits@openssh.com")
    sftp.received(answer(EXTENDED_REPLY, 1, struct.pack(">QQQQ", 0, limit, limit, 0)))
    await asyncio.sleep(0)
    assert (sftp.read_size, sftp.write_size) == (size, size)


@pytest.mark.parametrize("version", [0, 1, 2])
async def test_a_server_that_speaks_an_older_version_is_none_of_ours(version: int) -> None:
    """Its answers would look otherwise."""
    sftp = SftpProtocol(lambda _: None, 7)
    starting = asyncio.create_task(sftp.start())
    await asyncio.sleep(0)
    sftp.received(packet(VERSION, struct.pack(">I", version)))
    with pytest.raises(ConnectionFailed, match="does not speak SFTP"):
        await starting


class Sent(NamedTuple):
    """A file's attributes as a server may send them: what is None is not there, and its flag is not set."""

    size: int | None
    owner: tuple[int, int] | None
    mode: int | None
    times: tuple[int, int] | None
    more: list[tuple[bytes, bytes]] | None

    def packed(self) -> bytes:
        flags, body = 0, b""
        if self.size is not None:
            flags, body = flags | 0x01, body + struct.pack(">Q", self.size)
        if self.owner is not None:
            flags, body = flags | 0x02, body + struct.pack(">II", *self.owner)
        if self.mode is not None:
            flags, body = flags | 0x04, body + struct.pack(">I", self.mode)
        if self.times is not None:
            flags, body = flags | 0x08, body + struct.pack(">II", *self.times)
        if self.more is not None:
            pairs = b"".join(string(name) + string(value) for name, value in self.more)
            flags, body = flags | 0x80000000, body + struct.pack(">I", len(self.more)) + pairs
        return struct.pack(">I", flags) + body


UINT32 = st.integers(0, 2**32 - 1)
ATTRIBUTES = st.builds(
    Sent,
    size=st.none() | st.integers(0, 2**64 - 1),
    owner=st.none() | st.tuples(UINT32, UINT32),
    mode=st.none() | UINT32,
    times=st.none() | st.tuples(UINT32, UINT32),
    more=st.none() | st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=3),
)


#: All that there can be.
ALL = Sent(1, (2, 3), 0o100644, (4, 5), [(b"name", b"value"), (b"", b"")])


@given(ATTRIBUTES)
@example(ALL)
def test_attributes_are_what_the_flags_say(sent: Sent) -> None:
    """With any of the flags: what the server says is read, and what it leaves out is not known."""

    async def main() -> None:
        sftp, _ = await started()
        asked = sftp.fstat(b"h", b"f")
        sftp.received(answer(ATTRS, 1, sent.packed()))
        said = await asked
        assert (said.size, said.mode, said.mtime) == (sent.size, sent.mode, sent.times and sent.times[1])

    asyncio.run(main())


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=9), ATTRIBUTES), min_size=2, max_size=4))
@example([(b"a", ALL), (b"b", ALL)])
def test_a_listing_is_read_to_its_end_whatever_its_attributes(files: list[tuple[bytes, Sent]]) -> None:
    """Each entry begins where the attributes of the one before end, with any of the flags."""

    async def main() -> None:
        sftp, _ = await started()
        asked = sftp.read_directory(b"h", b"d")
        entries = b"".join(string(name) + string(b"-rw-r--r--") + sent.packed() for name, sent in files)
        sftp.received(answer(NAME, 1, struct.pack(">I", len(files)) + entries))
        listed = await asked
        assert [entry.name for entry in listed] == [name for name, _ in files]
        for entry, (_, sent) in zip(listed, files, strict=True):
            if sent.size is not None:
                assert entry.stat.size == sent.size
            if sent.times is not None:
                assert entry.stat.mtime == sent.times[1]

    asyncio.run(main())


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(0, 4))
def test_no_bytes_raise(pieces: list[bytes], framed: int) -> None:
    """Whatever a server sends: every request ends in an answer or an error, or is still awaited."""

    async def main() -> None:
        sftp, _ = await started()
        requests: list[Callable[[], asyncio.Future[Any]]] = [
            lambda: sftp.open(b"f", READ),
            lambda: sftp.read(b"h", 0, 10, b"f"),
            lambda: sftp.read_directory(b"h", b"d"),
            lambda: sftp.fstat(b"h", b"f"),
        ]
        asked = [request() for request in requests]
        for number, piece in enumerate(pieces, 1):
            kind = (STATUS, HANDLE, DATA, NAME, ATTRS)[number % 5]
            sftp.received(answer(kind, number, piece) if number <= framed else piece)
        await asyncio.sleep(0)
        for answered in asked:
            if answered.done():
                assert isinstance(answered.exception(), (ServerRefused, ConnectionFailed, type(None)))

    asyncio.run(main())


async def test_what_a_server_says_is_cut_and_printable() -> None:
    """An error's text, and the reason for which the session ended, may be megabytes of escape sequences."""
    sftp, _ = await started()
    asked, other = sftp.remove(b"b"), sftp.remove(b"c")
    sftp.received(status(1, 4, b"\x1b[2J" + b"x" * 10**6))
    with pytest.raises(ServerRefused) as refused:
        await asked
    assert "999004 more" in str(refused.value)
    sftp.lose("\x1b[2J" + "y" * 10**6)
    with pytest.raises(ConnectionFailed) as lost:
        await other
    for error in refused.value, lost.value:
        assert len(str(error)) < 2000
        assert str(error).isprintable()
