"""The transport that is TCP, with TLS 1.3 or in the clear."""

import errno
import select
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress

from vmferry.core.policy.networks import Local, Route
from vmferry.net import sockets
from vmferry.transfer.transport import tls
from vmferry.transfer.transport.channel import Channel, SecureChannel
from vmferry.transfer.transport.tls import Credentials


class Tcp:
    """Makes TCP connections, each with TLS unless the credentials say that encryption is off.

    Arguments:
        credentials: what to show and to want.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._dialing: ssl.SSLContext | None = None

    def dial(self, route: Route, seconds: float) -> Channel:
        """Connect by a route.

        Raises:
            OSError: nobody answers within `seconds`, or the route's own address is gone.
            ssl.SSLError: a certificate or the key is none.
        """
        if self._credentials.encryption and self._dialing is None:
            self._dialing = tls.context(self._credentials, server=False)
        return _channel(sockets.connect(route, seconds), self._credentials, self._dialing, server=False)

    def listen(self, addresses: Sequence[Local], ports: tuple[int, int]) -> "TcpListener":
        """Listen on the first port that is free on all addresses.

        Raises:
            InternalError: ports-taken.
        """
        return TcpListener(addresses, ports, self._credentials)


class TcpListener:
    """Listens on one TCP port of several addresses.

    Arguments:
        addresses: of this host; those with an interface let nothing in by another.
        ports: first and last port to try.
        credentials: what to show and to want.

    Raises:
        InternalError: ports-taken.
    """

    def __init__(self, addresses: Sequence[Local], ports: tuple[int, int], credentials: Credentials) -> None:
        self._credentials = credentials
        self._context = tls.context(credentials, server=True) if credentials.encryption else None
        self._sockets = {sock.fileno(): sock for sock in sockets.bind(addresses, ports)}
        self._ready: list[int] = []
        self._closed = False
        self.addresses: list[tuple[str, int]] = [
            (local.address, sock.getsockname()[1])
            for local, sock in zip(addresses, self._sockets.values(), strict=True)
        ]
        self._poll = select.poll()
        for handle in self._sockets:
            self._poll.register(handle, select.POLLIN)

    def accept(self) -> Channel | None:
        """Wait for the next connection; None once the listener is closed. Only one thread calls it."""
        while not self._closed:
            if not self._ready:
                self._ready = [handle for handle, _ in self._poll.poll()]
                continue
            try:
                sock, _ = self._sockets[self._ready.pop(0)].accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    time.sleep(0.1)  # some descriptor has to come free first
                continue
            try:
                return _channel(sock, self._credentials, self._context, server=True)
            except OSError:
                sock.close()  # gone again
        for sock in self._sockets.values():
            sock.close()
        return None

    def close(self) -> None:
        """Listen no more; wakes `accept`."""
        self._closed = True
        for sock in self._sockets.values():
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _channel(sock: socket.socket, credentials: Credentials, context: ssl.SSLContext | None, *, server: bool) -> Channel:
    return Channel(sock) if context is None else SecureChannel(sock, context, credentials, server=server)
