"""One carrier connection after its hello: frames in one direction only, over TCP with or without TLS."""

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from vmferry.transfer import frames
from vmferry.transfer.buffers import ROOM, Buffer, Pool

_HEAD = frames.HEADER.size
_RECORD = 16 * 1024  # TLS gives at most one record for a read
_TIMEOUT = 10_000  # milliseconds until TCP gives up on a peer that acknowledges nothing

# What may wait unsent in the kernel for one connection. More would only be queued in front of the control stream and
# of the other connections' share; what is sent but not acknowledged is TCP's business.
_UNSENT = 512 * 1024

# Takes a frame: stream, type, flags, offset, length, and the buffer that holds it. True: the buffer was kept.
Handler = Callable[[int, int, int, int, int, Buffer], bool]


@dataclass(frozen=True, slots=True)
class Label:
    """What a connection is called: `10.77.1.1 -> 10.77.1.2:6610 (TLS)`."""

    source: str
    destination: str
    port: int
    forward: bool
    encrypted: bool

    def __str__(self) -> str:
        arrow = "->" if self.forward else "<-"
        name = f"[{self.destination}]" if ":" in self.destination else self.destination
        return f"{self.source} {arrow} {name}:{self.port} ({'TLS' if self.encrypted else 'plain'})"


class Carrier:
    """A connection whose hello is done. Its thread-safety is its users': one sends at a time, or one reads.

    Arguments:
        sock: connected, its hello done; an SSLSocket when encrypted.
        label: what it is called.
    """

    def __init__(self, sock: socket.socket, label: Label) -> None:
        self.label = label
        self.lock = threading.Lock()  # held by the thread that sends
        self.queued = 0  # threads that send or wait to; the outlet's lock guards it
        self.unacknowledged = 0  # bytes; the outlet's lock guards it
        self.lost = False
        self.bytes = 0  # frames with their headers, so far
        self.heard = self.used = time.monotonic()
        self._sock = sock
        self._tls = isinstance(sock, ssl.SSLSocket)
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)

    def send(self, data: bytes | memoryview) -> None:
        """Send whole frames; `lock` must be held.

        Raises:
            OSError: the connection is lost.
        """
        size = len(data)
        done = self._sock.send(data)
        while done < size:
            done += self._sock.send(memoryview(data)[done:])
        self.bytes += size
        self.used = time.monotonic()

    def read(self, pool: Pool, handle: Handler) -> None:
        """Read frames until the connection ends; only one thread does.

        Raises:
            OSError: the connection is lost.
            VmferryError: the peer broke the protocol, or `handle` says so.
        """
        if self._tls:
            self._read_tls(pool, handle)
        else:
            self._read_plain(pool, handle)

    def _read_plain(self, pool: Pool, handle: Handler) -> None:
        receive = self._sock.recv_into
        whole = socket.MSG_WAITALL
        buffer = pool.take()
        while True:
            got = receive(buffer.view, _HEAD, whole)
            while 0 < got < _HEAD:
                more = receive(buffer.view[got:], _HEAD - got, whole)
                got = got + more if more else 0
            if not got:
                return
            stream, kind, flags, offset, length = frames.parse(buffer.view)
            if length > ROOM:
                buffer = Buffer(_HEAD + length)
            got = 0
            while got < length:
                more = receive(buffer.payload[got:length], length - got, whole)
                if not more:
                    return
                got += more
            self.bytes += _HEAD + length
            self.heard = time.monotonic()
            if handle(stream, kind, flags, offset, length, buffer):
                buffer = pool.take()

    def _read_tls(self, pool: Pool, handle: Handler) -> None:
        """Read records as they come: our own sender begins every frame with a record, so that the first read of a
        frame gives its header and the first 16 KiB. A record that holds more than one frame costs a copy.
        """
        sock = self._sock
        assert isinstance(sock, ssl.SSLSocket)
        receive = sock.recv_into
        buffer = pool.take()
        got = 0
        while True:
            while got < _HEAD:
                more = receive(buffer.view[got:], _RECORD)
                if not more:
                    return
                got += more
            stream, kind, flags, offset, length = frames.parse(buffer.view)
            end = _HEAD + length
            if length > ROOM:
                larger = Buffer(end + _RECORD)
                larger.view[:got] = buffer.view[:got]
                buffer = larger
            while got < end:
                more = receive(buffer.view[got:], end - got)
                if not more:
                    return
                got += more
            rest = bytes(buffer.view[end:got]) if got > end else b""
            self.bytes += end
            self.heard = time.monotonic()
            if handle(stream, kind, flags, offset, length, buffer):
                buffer = pool.take()
            got = len(rest)
            if got:
                buffer.view[:got] = rest

    def writable(self) -> bool:
        """Tell whether a short frame could be sent without waiting."""
        return bool(self._poll(select.POLLOUT) & select.POLLOUT)

    def hung_up(self) -> bool:
        """Tell whether the peer has closed a connection that we send on."""
        return bool(self._poll(select.POLLRDHUP) & (select.POLLRDHUP | select.POLLHUP | select.POLLERR))

    def cut(self) -> None:
        """End the connection at once: wakes whoever sends or reads. Any thread may."""
        self.lost = True
        try:
            # Not SSLSocket.shutdown, which would let a reader go on with what it takes for plain text.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        except OSError:
            pass  # not connected any more

    def close(self) -> None:
        """Give the connection's descriptor back; nobody may be using it."""
        self._sock.close()

    def _poll(self, events: int) -> int:
        poll = select.poll()
        try:
            poll.register(self._sock, events)
        except (OSError, ValueError):
            return select.POLLHUP  # closed
        return next((found for _, found in poll.poll(0)), 0)
