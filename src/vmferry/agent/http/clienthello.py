"""Reads what a TLS client says first, without taking it from the socket: who it says that it is and means.

Only paired hosts may be asked for a certificate (a browser would trouble its user with the question), and the
question is part of the server's first answer; so the server must know before its TLS library reads a byte.
Formats: RFC 8446, 4.1.2 (ClientHello) and 5.1 (records); RFC 7301 (ALPN); RFC 6066, 3 (server name).
"""

import asyncio
import socket
from dataclasses import dataclass

_RECORD_HEADER = 5
_LARGEST = _RECORD_HEADER + (1 << 14)
_ALPN = 16
_SERVER_NAME = 0


async def peek(sock: socket.socket) -> bytes:
    """Wait for a client's first record, and give it; it stays in the socket for the TLS library.

    Raises:
        ConnectionError: the client closed first, or does not speak TLS.
    """
    needed = _RECORD_HEADER
    while True:
        # A level-triggered wait for "more than is there already" would spin without this.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, needed)
        await _readable(sock)
        data = sock.recv(needed, socket.MSG_PEEK)
        if len(data) < needed:
            raise ConnectionResetError("the client closed before its hello")
        if needed > _RECORD_HEADER:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            return data
        needed += int.from_bytes(data[3:5], "big")
        if data[0] != 22 or not _RECORD_HEADER < needed <= _LARGEST:
            raise ConnectionAbortedError("the client does not speak TLS")


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, wake)
    try:
        await ready
    finally:
        loop.remove_reader(sock)


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client says of itself.

    Arguments:
        protocols: the application protocols that it offers.
        server_name: the host that it means.
    """

    protocols: list[str]
    server_name: str | None


def read(record: bytes) -> ClientHello:
    """Read a ClientHello; one that is damaged says nothing."""
    try:
        return _hello(_Reader(record))
    except ValueError:
        return ClientHello([], None)


class _Reader:
    """Takes length-prefixed fields off bytes.

    Raises:
        ValueError: there are fewer bytes than a field says.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise ValueError("truncated")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def vector(self, prefix: int) -> "_Reader":
        return _Reader(self.take(self.number(prefix)))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)


def _hello(record: _Reader) -> ClientHello:
    record.take(_RECORD_HEADER)
    if record.number(1) != 1:
        raise ValueError("not a ClientHello")
    hello = record.vector(3)
    hello.take(2 + 32)  # legacy version, random
    for prefix in (1, 2, 1):  # session id, cipher suites, compression methods
        hello.vector(prefix)
    protocols: list[str] = []
    server_name = None
    extensions = hello.vector(2)
    while extensions:
        kind = extensions.number(2)
        extension = extensions.vector(2)
        if kind == _ALPN:
            names = extension.vector(2)
            while names:
                protocols.append(names.vector(1).rest().decode("latin-1"))
        elif kind == _SERVER_NAME:
            name = extension.vector(2)
            if name.number(1) == 0:  # a host name, the only kind there is
                server_name = name.vector(2).rest().decode("latin-1")
    return ClientHello(protocols, server_name)
