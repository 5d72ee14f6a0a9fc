"""What channels send and receive, whoever deals with the packets: asyncssh, or the engine where it knows its state."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.crypto import cipher as asyncssh_cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airflow_provider_sftp_s3.engine.options import KiB, MiB
from airflow_provider_sftp_s3.engine.sftp import file
from airflow_provider_sftp_s3.engine.sftp import packets as ssh_packets
from airflow_provider_sftp_s3.engine.sftp.packets import PacketReceiver, PacketSender
from tests.conftest import require
from tests.support import engine as support
from tests.support.engine import Engine, store
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer, OpenSshServer
from tests.support.trees import put, tree

pytestmark = [pytest.mark.integration, pytest.mark.loops]

FILES = {"large": os.urandom(12 * MiB + 4321), **{f"d/{number}": os.urandom(number * 500) for number in range(40)}}

#: bytes of a packet's length, which is not encrypted
LENGTH = 4


@dataclasses.dataclass
class Sizes:
    """The sizes of the data in the packets that the engine makes, and takes."""

    made: list[int] = dataclasses.field(default_factory=list)
    taken: list[int] = dataclasses.field(default_factory=list)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Sizes:
    """What the engine does itself; the rest is asyncssh's."""
    sizes = Sizes()
    make, take = PacketSender._packet, PacketReceiver._packet

    def made(sender: PacketSender, size: int, data: list[bytes | memoryview]) -> tuple[bytes, bytes]:
        sizes.made.append(size)
        return make(sender, size, data)

    def taken(receiver: PacketReceiver, encrypted: memoryview) -> tuple[Any, memoryview | None]:
        channel, data = take(receiver, encrypted)
        sizes.taken.append(len(data or b""))
        return channel, data

    monkeypatch.setattr(PacketSender, "_packet", made)
    monkeypatch.setattr(PacketReceiver, "_packet", taken)
    return sizes


@dataclasses.dataclass
class Nonces:
    """Each (key, nonce) that a packet was encrypted with in this process, in order, by who made the packet."""

    ours: list[tuple[bytes, bytes]] = dataclasses.field(default_factory=list)
    asyncsshs: list[tuple[bytes, bytes]] = dataclasses.field(default_factory=list)

    @property
    def all(self) -> list[tuple[bytes, bytes]]:
        return self.ours + self.asyncsshs


@pytest.fixture
def nonces(monkeypatch: pytest.MonkeyPatch) -> Nonces:
    """What AES-GCM encrypts with. The server must be another process: its packets would count, too."""
    nonces = Nonces()

    def recorded(uses: list[tuple[bytes, bytes]]) -> type:
        class Recorded:
            def __init__(self, key: bytes) -> None:
                self._key, self._aes = key, AESGCM(key)
                self.decrypt = self._aes.decrypt

            def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
                uses.append((self._key, nonce))
                return self._aes.encrypt(nonce, data, associated_data)

        return Recorded

    monkeypatch.setattr(ssh_packets, "AESGCM", recorded(nonces.ours))
    monkeypatch.setattr(asyncssh_cipher, "AESGCM", recorded(nonces.asyncsshs))
    return nonces


class _Said(logging.Handler):
    """What the log says of packets."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def new(self) -> list[str]:
        """Return what was said since the last call."""
        lines, self.lines = self.lines, []
        return lines


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Said]:
    """A handler of the log at DEBUG."""
    handler, log = _Said(), logging.getLogger(ssh_packets.__name__)
    monkeypatch.setattr(log, "level", logging.DEBUG)
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


async def pull_all(server: AsyncsshServer | OpenSshServer, s3: S3Server, bucket: str) -> None:
    """Pull all files, and make sure that S3 has each as it is."""
    put(server.root / "from", FILES)
    assert (await Engine(server, s3, bucket).pull("from")).transferred == len(FILES)
    assert s3.objects(bucket) == FILES


async def push_all(server: AsyncsshServer | OpenSshServer, s3: S3Server, bucket: str) -> None:
    """Push all files, and make sure that each arrives as it is."""
    (server.root / "out").mkdir(exist_ok=True)
    engine = Engine(server, s3, bucket)
    store(engine, FILES)
    assert (await engine.push("out")).transferred == len(FILES)
    assert tree(server.root / "out") == FILES


@dataclasses.dataclass
class Line:
    """asyncssh's server and S3, with the sizes of the packets on the way, and what the log says of them."""

    server: AsyncsshServer
    s3: S3Server
    here: Sizes
    said: _Said

    async def push(self) -> None:
        await push_all(self.server, self.s3, self.s3.new_bucket())

    async def pull(self) -> None:
        await pull_all(self.server, self.s3, self.s3.new_bucket())


@pytest.fixture
def line(sftp_server: AsyncsshServer, s3: S3Server, here: Sizes, said: _Said) -> Line:
    return Line(sftp_server, s3, here, said)


def openssh(tmp_path: Path, config: str = "") -> OpenSshServer:
    require(OpenSshServer.available(), OpenSshServer.missing())
    return OpenSshServer(tmp_path / "sftp", config=f"LogLevel DEBUG1\n{config}")


def with_server_setting(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    server_of = support.server_of
    monkeypatch.setattr(support, "server_of", lambda server: dataclasses.replace(server_of(server), **settings))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cipher", "ours"),
    [
        ("aes128-gcm@openssh.com", True),
        ("aes256-gcm@openssh.com", True),
        ("chacha20-poly1305@openssh.com", False),
        ("aes128-ctr", False),
    ],
)
async def test_every_cipher(
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
    cipher: str,
    ours: bool,
) -> None:
    """With AES-GCM the engine deals with the packets, with any other cipher asyncssh does, and the log says so."""
    with_server_setting(monkeypatch, ciphers=(cipher,))
    await line.push()
    assert (sum(line.here.made) > len(FILES["large"])) == ours
    assert line.said.new() == ([] if ours else [f"asyncssh encrypts the packets: the cipher is {cipher}"])
    await line.pull()
    assert (sum(line.here.taken) > len(FILES["large"])) == ours


@pytest.mark.slow
async def test_compression(
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """asyncssh compresses, and the log says so."""
    with_server_setting(monkeypatch, compress=True)
    await line.push()
    assert line.said.new() == ["asyncssh makes the packets: they are compressed"]
    await line.pull()
    assert not line.here.made
    assert not line.here.taken


@pytest.mark.slow
@pytest.mark.parametrize("lacks", ["_OF_CONNECTION", "_OF_CIPHER", "_OF_CHANNEL"])
async def test_an_asyncssh_that_is_not_known(
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
    lacks: str,
) -> None:
    """Where anything that is used of its inner state is missing, it does all by itself, and the log says so."""
    monkeypatch.setattr(ssh_packets, lacks, (*getattr(ssh_packets, lacks), "_of_another_version"))
    await line.push()
    (told,) = line.said.new()
    assert told.startswith("asyncssh ")
    await line.pull()
    assert not line.here.made
    assert not sum(line.here.taken)


async def test_an_asyncssh_that_was_not_tried(
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A version that no row of the matrix has tried does all by itself, and the log says so."""
    monkeypatch.setattr(asyncssh, "__version__", "2.999.0")
    await line.push()
    (told,) = line.said.new()
    assert told.startswith("asyncssh makes and takes the packets: asyncssh 2.999.0 is none of the versions")
    assert not line.here.made
    assert not line.here.taken


def _rekeys_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncssh, "connect", partial(asyncssh.connect, rekey_bytes=MiB))


@pytest.mark.slow
@pytest.mark.parametrize("who", ["server", "client"])
async def test_new_keys_on_the_way(
    tmp_path: Path,
    s3: S3Server,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    here: Sizes,
    nonces: Nonces,
    who: str,
) -> None:
    """
    A key exchange after each MiB, begun by either side: nothing is sent in between, and all arrives.

    Of all packets that the engine and asyncssh make, no two have the same key and nonce.
    """
    if who == "client":
        _rekeys_often(monkeypatch)
    with openssh(tmp_path, "RekeyLimit 1M" if who == "server" else "") as server:
        # Twice: what is on its way when an exchange begins is counted to none, and on a busy machine that is much.
        for to in (bucket, s3.new_bucket()):
            await push_all(server, s3, to)
        exchanges = server.log.read_text().count("SSH2_MSG_NEWKEYS received")
        for to in (s3.new_bucket(), s3.new_bucket()):
            await pull_all(server, s3, to)
        exchanges_of_pull = server.log.read_text().count("SSH2_MSG_NEWKEYS received") - exchanges
    assert exchanges > 5
    # The client counts what it sends, and a pull sends little.
    assert exchanges_of_pull > (5 if who == "server" else 0)
    assert here.made
    assert sum(here.taken) > len(FILES["large"]) / 2
    assert {key for key, _ in nonces.ours} & {key for key, _ in nonces.asyncsshs}
    assert len({key for key, _ in nonces.all}) > 6
    assert len(set(nonces.all)) == len(nonces.all)


@pytest.mark.parametrize("is_far", [False, True], ids=["one session", "several sessions"])
async def test_a_nonce_that_stands_still_ends_the_connection(
    tmp_path: Path,
    s3: S3Server,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    here: Sizes,
    nonces: Nonces,
    is_far: bool,
) -> None:
    """It is noticed before a second packet is encrypted with it; on a new connection all arrives."""
    monkeypatch.setattr(file, "FAR", 0.0 if is_far else float("inf"))
    encrypt = ssh_packets._Aead.encrypt
    stuck: list[Any] = []

    def sticking(aead: ssh_packets._Aead, *packet: bytes) -> bytes:
        if not stuck and sum(here.made) > MiB:
            stuck.append(aead.cipher)
            aead.cipher._update_iv = lambda: None
        return encrypt(aead, *packet)

    monkeypatch.setattr(ssh_packets._Aead, "encrypt", sticking)
    with openssh(tmp_path) as server:
        await push_all(server, s3, bucket)
    (cipher,) = stuck
    assert nonces.ours.count((cipher._key, cipher._iv)) == 1
    # asyncssh encrypts the end of each other channel, and sends it nowhere: the connection has no transport any more.
    assert is_far or (cipher._key, cipher._iv) not in nonces.asyncsshs
    assert nonces.ours[-1][0] != cipher._key


async def test_packets_are_no_larger_than_the_server_takes(
    tmp_path: Path, s3: S3Server, bucket: str, here: Sizes
) -> None:
    """OpenSSH takes 32 KiB, and makes room for 2 MiB at a time."""
    with openssh(tmp_path) as server:
        await push_all(server, s3, bucket)
    assert max(here.made) == 32 * KiB


def _with_a_wrong_byte(connection: Any) -> None:
    # Behind the length that the first packet begins with: with a wrong length, more than was sent is waited for.
    at = LENGTH
    connection._inpbuf = connection._inpbuf[:at] + bytes([connection._inpbuf[at] ^ 1]) + connection._inpbuf[at + 1 :]


def _with_a_wrong_length(connection: Any) -> None:
    connection._max_recv_pktlen = 1 << 32  # before 2.24.1 asyncssh knows no such bound
    connection._inpbuf = b"\x01" + connection._inpbuf[1:]


def _with_no_room_for_it(connection: Any) -> None:
    (channel,) = connection._channels.values()
    channel._recv_window = 0


@pytest.mark.parametrize("spoilt", [_with_a_wrong_byte, _with_a_wrong_length, _with_no_room_for_it])
async def test_what_is_wrong_ends_the_connection(
    tmp_path: Path,
    s3: S3Server,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    here: Sizes,
    spoilt: Callable[[Any], None],
) -> None:
    """Nothing of a packet that is not as it was sent, or that should not have been sent, gets into a file."""
    receive = PacketReceiver._receive
    connections: list[Any] = []

    def spoiling(receiver: PacketReceiver) -> bool:
        connection = receiver._connection
        if connection not in connections:
            connections.append(connection)
        if len(connections) < 3 and sum(here.taken) > MiB and len(connection._inpbuf) > LENGTH:
            here.taken.clear()
            spoilt(connection)
        return receive(receiver)

    monkeypatch.setattr(PacketReceiver, "_receive", spoiling)
    with openssh(tmp_path) as server:
        await pull_all(server, s3, bucket)
    assert len(connections) == 3
