"""Joins a stream to a local unix socket: what comes from either goes to the other, each direction till its own end."""

import logging
import socket
import threading
from contextlib import suppress

from vmferry.jobs.persist import why
from vmferry.transfer.session.stream import Stream

_SO_SNDBUFFORCE = 32  # asm-generic/socket.h; root may go beyond net.core.wmem_max
_TO_PROGRAM = 4 << 20

log = logging.getLogger("vmferry.transfer")


class SocketSink:
    """A local unix socket as a stream's sink (session/receiver.py).

    Arguments:
        connection: connected and blocking; the caller closes it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, view: memoryview) -> None:
        """Write everything; may wait.

        Raises:
            OSError: the program has gone.
        """
        self._connection.sendall(view)

    def write_some(self, view: memoryview) -> int:
        """Write what goes without waiting, and return how many bytes that is.

        Raises:
            OSError: the program has gone.
        """
        try:
            return self._connection.send(view, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def end(self) -> None:
        """Pass the end of the stream on."""
        with suppress(OSError):  # the program has closed it altogether: it wants nothing more
            self._connection.shutdown(socket.SHUT_WR)


class Relay:
    """Carries one connection until both directions have ended, or either side fails; begins at once.

    Arguments:
        stream: one end of a stream; the relay alone uses it from here on.
        connection: a connected, blocking unix socket; the relay closes it.
    """

    def __init__(self, stream: Stream, connection: socket.socket) -> None:
        self.done = threading.Event()  # nothing is carried any more, and the socket is closed
        self.error: Exception | None = None  # why it ended early
        self._stream = stream
        self._connection = connection
        self._lock = threading.Lock()
        self._running = 2
        widen(connection)
        stream.on_reset(lambda _reason: self._cut())
        for name, carry in (("relay-out", self._outward), ("relay-in", self._inward)):
            threading.Thread(target=self._run, args=(carry,), name=f"{name}-{stream.id}", daemon=True).start()

    def _outward(self) -> None:
        pool, receive, push = self._stream.pool, self._connection.recv_into, self._stream.push
        while True:
            buffer = pool.take()
            size = receive(buffer.payload)
            if not size:
                pool.give(buffer)
                break
            push(buffer, size)
        self._stream.send_fin()

    def _inward(self) -> None:
        self._stream.carry_to(SocketSink(self._connection))

    def _run(self, carry: object) -> None:
        assert callable(carry)
        try:
            carry()
        except Exception as error:
            if not isinstance(error, OSError):
                log.exception("what QEMU sends cannot be carried")
            self.error = self.error or error
            self._stream.reset(why(error))
            self._cut()
        with self._lock:
            self._running -= 1
            last = not self._running
        if last:
            self._connection.close()
            self.done.set()

    def _cut(self) -> None:
        """Wake both threads; the local program sees the end of its connection."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


def widen(connection: socket.socket) -> None:
    """Let a unix socket take more at once than the kernel's 208 KiB, so that a whole frame goes without waiting."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _TO_PROGRAM)
    except PermissionError:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _TO_PROGRAM)
