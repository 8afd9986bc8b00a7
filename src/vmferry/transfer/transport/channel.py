"""A TCP connection with or without TLS, as the hello and the carriers use it."""

import socket
import ssl
import time
from collections.abc import Callable

_HELD = 128 * 1024  # bytes of cipher text read at once


class Channel:
    """A connected socket in the clear. One thread sends and one receives, unless it is said otherwise."""

    encrypted = False

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._limit: float | None = None

    def set_deadline(self, seconds: float | None) -> None:
        """Set a deadline for everything from now on, so that no peer holds us up byte by byte; None: no deadline."""
        self._limit = None if seconds is None else time.monotonic() + seconds
        self.sock.settimeout(seconds)

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it.

        Raises:
            OSError: the connection is lost.
        """
        self._check()
        self.sock.sendall(data)

    def fill(self, view: memoryview) -> bool:
        """Read until `view` is full; False when the connection ends before.

        Raises:
            OSError: the connection is lost.
        """
        size = len(view)
        got = self._receive(view, socket.MSG_WAITALL)  # the kernel gathers it: one call, mostly
        while 0 < got < size:
            more = self._receive(view[got:], socket.MSG_WAITALL)
            if not more:
                return False
            got += more
        return got > 0

    def _receive(self, view: memoryview, flags: int = 0) -> int:
        self._check()
        return self.sock.recv_into(view, len(view), flags)

    def _check(self) -> None:
        if self._limit is None:
            return
        left = self._limit - time.monotonic()
        if left <= 0:
            raise TimeoutError("the hello took too long")
        self.sock.settimeout(left)


class SecureChannel(Channel):
    """A connection under TLS.

    OpenSSL works on memory here and not on the socket: left to itself it makes one system call for every record of
    16 KiB it sends and two for every one it reads, which costs more than the encryption.
    """

    encrypted = True

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server: bool) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server)
        # The stubs know only the form without a buffer.
        self._read: Callable[[int, memoryview], int] = self._tls.read  # type: ignore[assignment]
        self._held = memoryview(bytearray(_HELD))

    def do_handshake(self) -> bytes:
        """Do TLS's handshake; returns the peer's certificate (DER).

        Raises:
            ssl.SSLError: the peer's certificate is not the one that is trusted, or that is no TLS.
            OSError: the connection is lost.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                if not self._refill():
                    raise ConnectionResetError("the peer closed the connection during the hello") from None
            except ssl.SSLError:
                self._flush()  # the alert: it tells the peer why
                raise
            else:
                self._flush()
                return self._tls.getpeercert(binary_form=True) or b""

    def send(self, data: bytes | memoryview) -> None:
        """Encrypt and send all of it.

        Raises:
            OSError: the connection is lost.
        """
        self._tls.write(data)
        self._flush()

    def fill(self, view: memoryview) -> bool:
        """Read and decrypt until `view` is full; False when the connection ends before.

        Raises:
            OSError: the connection is lost.
        """
        size, got = len(view), 0
        while got < size:
            try:
                got += self._read(size - got, view[got:])
            except ssl.SSLWantReadError:
                if not self._refill():
                    return False
            except ssl.SSLZeroReturnError:
                return False
        return True

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            super().send(data)

    def _refill(self) -> bool:
        got = self._receive(self._held)
        if got:
            self._incoming.write(self._held[:got])
        return got > 0
