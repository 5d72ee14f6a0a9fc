"""
What channels send and receive, in fewer steps than asyncssh takes: a quarter off the CPU of large files.

OpenSSH puts 32 KiB into a packet, so that a GiB goes in 32,768 of them. asyncssh copies each ten times or more, and
hands it to the system by itself; here it is copied three times, with uvloop twice, and goes along with all others that
the server has room for.

This takes part in what asyncssh keeps to itself, so it is done only with the versions in :data:`TRIED`. With another
one, with another cipher than AES-GCM, and in a state that is not known here, such as a key exchange, asyncssh does what
there is to do.

AES-GCM is broken by two packets with the same key and nonce. asyncssh counts the nonces, for its own packets and for
those made here; after each packet made here it must have counted one more, or the connection ends before that packet
is sent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airflow_provider_sftp_s3.engine.options import MiB

_log = logging.getLogger(__name__)

#: The versions of asyncssh whose inner state is known: those that the matrix has tried.
TRIED = ("2.18.0", "2.21.0", "2.22.0", "2.24.0", "2.24.1")

#: RFC 4254, section 12.
MSG_CHANNEL_WINDOW_ADJUST, MSG_CHANNEL_DATA = 93, 94

_UINT32 = struct.Struct(">I")
#: length of the padding, type of the packet, the channel's number at whoever receives it, and either the length of the
#: data that follow or the bytes of room: RFC 4253, section 6, and RFC 4254, section 5.2
_HEAD = struct.Struct(">BBII")
#: bytes of AES-GCM's tag: RFC 5647, section 5.2
_TAG = 16
_LONGEST_PADDING = 255
#: AES-GCM's nonce: a fixed field, and a counter of the packets: RFC 5647, section 7.1
_NONCE = struct.Struct(">IQ")
#: Bytes of a packet that ends the connection: no channel of ours takes as much, and before 2.24.1 asyncssh would wait
#: for whatever a wrong length says.
_LONGEST = 1 * MiB
#: Packets that go to the system together: while more are made, the server has something to do.
_PACKETS_AT_ONCE = 16

#: What is used of asyncssh's connection, cipher and channel.
_OF_CONNECTION = (
    *("_auth_complete", "_compressor", "_kex_complete", "_send", "_send_encryption", "_send_seq"),
    *("_rekey_bytes", "_rekey_bytes_sent", "_rekey_seconds", "_rekey_time", "_send_blocksize", "_send_enchdrlen"),
    *("_channels", "_decompressor", "_inpbuf", "_recv_encryption", "_recv_handler"),
    *("_recv_pkthdr", "_recv_seq", "_transport"),
)
_OF_CIPHER = ("_iv", "_key", "_update_iv")
_OF_CHANNEL = (
    *("_accept_data", "_flush_send_buf", "_recv_state", "_recv_window", "_send_chan", "_send_pktsize"),
    "_send_window",
)


def are_known(connection: Any, version: str) -> bool:
    """
    Say whether the connection's packets can be dealt with here.

    Where asyncssh deals with some or all of them, the log says why, at DEBUG.

    :param connection: the asyncssh connection, logged in.
    :param version: asyncssh's.
    """
    reason = ""
    if version not in TRIED:
        reason = f"asyncssh {version} is none of the versions that were tried: {', '.join(TRIED)}"
    elif missing := _missing(connection, _OF_CONNECTION):
        reason = f"asyncssh's connection has no {', '.join(missing)}"
    elif not _has(getattr(connection._send_encryption, "_cipher", None), _OF_CIPHER):
        _log.debug("asyncssh encrypts the packets: the cipher is %s", connection.get_extra_info("send_cipher"))
    elif connection._compressor:
        _log.debug("asyncssh makes the packets: they are compressed")
    if reason:
        _log.debug("asyncssh makes and takes the packets: %s", reason)
    return not reason


class _NonceError(Exception):
    """asyncssh has not counted one more packet."""


class _Aead:
    """AES-GCM with the key of asyncssh's cipher, which counts the packets."""

    def __init__(self) -> None:
        self.cipher: Any = None
        self.aes: AESGCM

    def follows(self, encryption: Any) -> bool:
        """Take over the cipher that asyncssh uses by now. False: it is another one than AES-GCM."""
        cipher: Any = getattr(encryption, "_cipher", None)
        if cipher is not self.cipher:
            self.cipher = None
            if _has(cipher, _OF_CIPHER):  # AES-GCM's has these, and no other
                self.cipher, self.aes = cipher, AESGCM(cipher._key)
        return self.cipher is not None

    def encrypt(self, packet: bytes, length: bytes) -> bytes:
        """
        Return a packet encrypted, and let asyncssh count it.

        :raises _NonceError: it has not: the next packet would be encrypted with the same nonce.
        """
        cipher = self.cipher
        nonce = cipher._iv
        encrypted = self.aes.encrypt(nonce, packet, length)
        cipher._update_iv()
        fixed, count = _NONCE.unpack(nonce)
        if cipher._iv != _NONCE.pack(fixed, (count + 1) & 0xFFFFFFFFFFFFFFFF):
            raise _NonceError
        return encrypted


class PacketSender:
    """
    Sends what one channel has to say, as far as the server has room for it; the rest when it has.

    :param connection: the asyncssh connection.
    :param channel: its channel, open.
    :param is_known: what :func:`are_known` says of the connection; where it is False, asyncssh sends all.
    :param sent: called whenever something was sent.
    :param lost: called with the reason when the connection is ended from here.
    """

    def __init__(
        self, connection: Any, channel: Any, is_known: bool, sent: Callable[[], None], lost: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._channel = channel
        self._sent = sent
        self._lost = lost
        self._waiting: deque[bytes | memoryview] = deque()
        #: bytes that wait for room at the server
        self.held = 0
        self._aead = _Aead()
        self._noise = b""
        self._is_known = is_known and _has(channel, _OF_CHANNEL)
        if is_known and not self._is_known:
            missing = ", ".join(_missing(channel, _OF_CHANNEL))
            _log.debug("asyncssh makes the packets: its channel has no %s", missing)
        if self._is_known:
            self._finish: Callable[[], None] = channel._flush_send_buf
            channel._flush_send_buf = self._send_what_fits  # called when the server says that it has room

    def send(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Send all pieces, in their order. They are not copied: nobody may change them. Raises OSError as asyncssh."""
        if not self._is_known:
            self._channel.write(b"".join(pieces))
            return
        if self._channel.is_closing():
            raise BrokenPipeError("the channel is closed")
        self._waiting += pieces
        self.held += sum(map(len, pieces))
        self._send_what_fits()

    def _send_what_fits(self) -> None:
        channel = self._channel
        packets: list[bytes] = []
        makes_packets = self._makes_packets()
        self._noise = os.urandom(_LONGEST_PADDING)
        while self.held and channel._send_window and not channel.is_closing():
            size = min(self.held, channel._send_window, channel._send_pktsize)
            channel._send_window -= size
            data = self._take(size)
            if makes_packets:
                try:
                    packets += self._packet(size, data)
                except _NonceError:
                    self._hang_up()
                    return
                if len(packets) >= 2 * _PACKETS_AT_ONCE:
                    self._hand_over(packets)
                    packets = []
            else:
                channel.send_packet(MSG_CHANNEL_DATA, _UINT32.pack(size), *data)
        if packets:
            self._hand_over(packets)
        self._finish()
        self._sent()

    def _hang_up(self) -> None:
        """End the connection with no further packet: it would have a nonce that is used up."""
        self._waiting.clear()
        self.held = 0
        self._lost(
            "asyncssh did not go on to the next nonce, so nothing more was sent; with fast_packets: false in the sftp "
            "connection's Extra it makes all packets itself"
        )
        self._connection.abort()

    def _hand_over(self, packets: list[bytes]) -> None:
        """Give packets to the system: at once, and with uvloop without copying them."""
        transport = self._connection._transport
        # asyncio's own copies them, too, or does not say when to pause: CVE-2024-12254, in Python 3.12.0 to 3.12.8.
        if hasattr(transport, "writelines") and not isinstance(transport, asyncio.Transport):
            transport.writelines(packets)
        else:
            self._connection._send(b"".join(packets))

    def _packet(self, size: int, data: list[bytes | memoryview]) -> tuple[bytes, bytes]:
        """Return a packet's length, and the rest of it, encrypted: RFC 5647, section 7, as asyncssh does it."""
        connection = self._connection
        padding = -(connection._send_enchdrlen + _HEAD.size - 1 + size) % connection._send_blocksize
        if padding < 4:
            padding += connection._send_blocksize
        head = _HEAD.pack(padding, MSG_CHANNEL_DATA, self._channel._send_chan, size)
        length = _UINT32.pack(len(head) + size + padding)
        encrypted = self._aead.encrypt(b"".join((head, *data, self._noise[:padding])), length)
        connection._send_seq = (connection._send_seq + 1) & 0xFFFFFFFF
        connection._rekey_bytes_sent += len(head) + size + padding
        return length, encrypted

    def _take(self, size: int) -> list[bytes | memoryview]:
        """Return the next `size` bytes of what waits, in pieces."""
        self.held -= size
        taken: list[bytes | memoryview] = []
        while size:
            piece = self._waiting.popleft()
            length = len(piece)
            if length > size:
                view = memoryview(piece)
                self._waiting.appendleft(view[size:])
                piece, length = view[:size], size
            taken.append(piece)
            size -= length
        return taken

    def _makes_packets(self) -> bool:
        """Say whether the next packets can be made here: by AES-GCM, and with no new keys due or on their way."""
        connection = self._connection
        return bool(
            self._aead.follows(connection._send_encryption)
            and connection._auth_complete
            and connection._kex_complete
            and not connection._compressor
            and connection._rekey_bytes_sent < connection._rekey_bytes
            and not (connection._rekey_seconds and time.monotonic() >= connection._rekey_time)
        )


class PacketReceiver:
    """
    Takes out of a connection's packets what its channels receive, and how much more they may send.

    All other packets, and those with which something is wrong, are left to asyncssh.

    :param connection: the asyncssh connection, one that :func:`are_known` says yes to.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._aead = _Aead()
        self._known: Any = None
        self._leave_to_asyncssh: Callable[[], bool] = connection._recv_pkthdr
        if connection._recv_handler == connection._recv_pkthdr:
            connection._recv_handler = self._receive
        connection._recv_pkthdr = self._receive  # its handler whenever a packet has been dealt with

    def _receive(self) -> bool:
        """
        Take what there is of whole packets. As asyncssh's handlers do, return whether there may be more to do.

        :raises ConnectionError: what comes is no packet. asyncssh ends the connection.
        """
        connection = self._connection
        incoming = connection._inpbuf
        view, start = memoryview(incoming), 0
        has_room = set()
        is_ours = self._aead.follows(connection._recv_encryption) and not connection._decompressor
        while is_ours and len(incoming) - start >= _UINT32.size:
            length = _UINT32.unpack_from(view, start)[0]
            if length > _LONGEST:
                raise ConnectionError(f"a packet of {length} bytes was announced")
            end = start + _UINT32.size + length + _TAG
            if end > len(incoming):
                break
            channel, data = self._packet(view[start:end])
            if channel is None:
                is_ours = False
            elif data is None:
                start = end
                has_room.add(channel)
            else:
                start = end
                channel._accept_data(data)
                if connection._inpbuf is not incoming:  # whoever took the data has ended the connection
                    return False
        if start:
            connection._inpbuf = incoming[start:]
        for channel in has_room:
            channel._flush_send_buf()
        return not is_ours and bool(connection._inpbuf) and self._leave_to_asyncssh()

    def _packet(self, packet: memoryview) -> tuple[Any, memoryview | None]:
        """
        Decrypt a packet, and return its channel with the data for it: None where it makes room.

        No channel: it is another packet, or there is something wrong with it, and it counts as not received yet.
        """
        connection, cipher = self._connection, self._aead.cipher
        try:
            plain = memoryview(self._aead.aes.decrypt(cipher._iv, packet[_UINT32.size :], packet[: _UINT32.size]))
            padding, kind, number, size = _HEAD.unpack_from(plain)
        except (InvalidTag, ValueError, struct.error):
            return None, None
        channel = connection._channels.get(number)
        if kind not in (MSG_CHANNEL_DATA, MSG_CHANNEL_WINDOW_ADJUST):
            return None, None
        if channel is not self._known:
            if not _has(channel, _OF_CHANNEL):
                return None, None
            self._known = channel
        data = plain[_HEAD.size : len(plain) - padding]
        is_sound = not data if kind == MSG_CHANNEL_WINDOW_ADJUST else len(data) == size <= channel._recv_window
        if channel._recv_state != "open" or not is_sound:
            return None, None
        cipher._update_iv()
        connection._recv_seq = (connection._recv_seq + 1) & 0xFFFFFFFF
        if kind == MSG_CHANNEL_DATA:
            return channel, data
        channel._send_window += size
        return channel, None


def _missing(thing: Any, names: Sequence[str]) -> list[str]:
    return [name for name in names if not hasattr(thing, name)]


def _has(thing: Any, names: Sequence[str]) -> bool:
    return not _missing(thing, names)
