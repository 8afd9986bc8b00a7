"""A TCP connection with or without TLS: the connections of transport/tcp.py."""

import select
import socket
import ssl
import time
from collections.abc import Callable

from vmferry.net import interfaces
from vmferry.transfer.transport import tls
from vmferry.transfer.transport.frames import broken
from vmferry.transfer.transport.tls import Credentials

_HELD = 128 * 1024  # bytes of cipher text read at once
_TIMEOUT = 10_000  # milliseconds until TCP gives up on a peer that acknowledges nothing

# What may wait unsent in the kernel for one connection. More would only be queued in front of the control stream and
# of the other connections' share; what is sent but not acknowledged is TCP's business.
_UNSENT = 512 * 1024


class Channel:
    """A connected socket in the clear.

    Arguments:
        sock: connected; the channel's from here on.

    Raises:
        OSError: it is not connected any more.
    """

    encrypted = False

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._limit: float | None = None
        self.local = _address(sock.getsockname())
        self.peer = _address(sock.getpeername())

    @property
    def interface(self) -> str | None:
        """The interface that has this end's address; None if there is none."""
        return interfaces.of(self.local[0])

    def secure(self, seconds: float) -> None:
        """Set the deadline for the hello."""
        self.set_deadline(seconds)

    def explain(self, error: OSError) -> Exception:
        """Return what a failure during the hello means."""
        if isinstance(error, ConnectionResetError):
            return broken("the peer hung up during the hello; is encryption off on this side only?")
        return error

    def start(self) -> None:
        """End the hello: no deadline, and a peer that acknowledges nothing is lost."""
        self.set_deadline(None)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TIMEOUT)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)

    def set_deadline(self, seconds: float | None) -> None:
        """Set a deadline for everything from now on, so that no peer holds us up byte by byte; None: no deadline."""
        self._limit = None if seconds is None else time.monotonic() + seconds
        self._sock.settimeout(seconds)

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it.

        Raises:
            OSError: the connection is lost.
        """
        self._check()
        self._sock.sendall(data)

    def fill(self, view: memoryview) -> bool:
        """Read until `view` is full; False if the connection ends before.

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

    def writable(self) -> bool:
        """Return whether a short frame could be sent without waiting."""
        return bool(self._poll(select.POLLOUT) & select.POLLOUT)

    def hung_up(self) -> bool:
        """Return whether the peer has closed a connection that this end sends on."""
        return bool(self._poll(select.POLLRDHUP) & (select.POLLRDHUP | select.POLLHUP | select.POLLERR))

    def cut(self) -> None:
        """End the connection at once: wakes whoever sends or reads."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
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

    def _receive(self, view: memoryview, flags: int = 0) -> int:
        self._check()
        return self._sock.recv_into(view, len(view), flags)

    def _check(self) -> None:
        if self._limit is None:
            return
        left = self._limit - time.monotonic()
        if left <= 0:
            raise TimeoutError("the hello took too long")
        self._sock.settimeout(left)


class SecureChannel(Channel):
    """A connection under TLS.

    OpenSSL works on memory here and not on the socket: left to itself it makes one system call for every record of
    16 KiB it sends and two for every one it reads, which costs more than the encryption.

    Arguments:
        sock: connected; the channel's from here on.
        context: from `tls.context`.
        credentials: what the context was made from.
        server: whether the peer connected to us.
    """

    encrypted = True

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, credentials: Credentials, *, server: bool) -> None:
        super().__init__(sock)
        self._credentials = credentials
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server)
        # The stubs know only the form without a buffer.
        self._read: Callable[[int, memoryview], int] = self._tls.read  # type: ignore[assignment]
        self._held = memoryview(bytearray(_HELD))

    def secure(self, seconds: float) -> None:
        """Do TLS's handshake; the peer must show the certificate that was exchanged.

        Raises:
            AccessError: worker-certificate-wrong.
            InternalError: protocol; that is no TLS.
            OSError: the connection is lost.
        """
        self.set_deadline(seconds)
        try:
            self._do_handshake()
        except ssl.SSLCertVerificationError as error:
            raise tls.wrong(self._credentials) from error
        except ssl.SSLError as error:
            raise broken(f"TLS failed ({error.reason or error}); is encryption off on one side only?") from error
        tls.check(self._tls.getpeercert(binary_form=True) or b"", self._credentials)

    def explain(self, error: OSError) -> Exception:
        """Return what a failure during the hello means."""
        if isinstance(error, ssl.SSLError):
            # TLS 1.3 ends for the client before the server has looked at its certificate: the refusal comes here.
            return tls.wrong(self._credentials)
        return error

    def send(self, data: bytes | memoryview) -> None:
        """Encrypt and send all of it.

        Raises:
            OSError: the connection is lost.
        """
        self._tls.write(data)
        self._flush()

    def fill(self, view: memoryview) -> bool:
        """Read and decrypt until `view` is full; False if the connection ends before.

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

    def _do_handshake(self) -> None:
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
                return

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            super().send(data)

    def _refill(self) -> bool:
        got = self._receive(self._held)
        if got:
            self._incoming.write(self._held[:got])
        return got > 0


def _address(name: tuple[str, int]) -> tuple[str, int]:
    """Return address and port of a socket's end; an IPv4 address as one, whatever the family of the socket."""
    return name[0].removeprefix("::ffff:"), name[1]
