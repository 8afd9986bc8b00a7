"""TCP sockets of a move's data: on the addresses and through the interfaces that the settings choose."""

import socket
from collections.abc import Sequence

from vmferry.core import codes
from vmferry.core.errors import InternalError
from vmferry.core.policy.networks import Local, Route
from vmferry.net import interfaces


def connect(route: Route, seconds: float) -> socket.socket:
    """Connect from the address that a route says, through its interface.

    Arguments:
        seconds: how long the other side may take.

    Raises:
        OSError: it does not answer, or the route's own address is gone.
    """
    if route.local is None:
        return _hurried(socket.create_connection((route.host, route.port), seconds))
    sock = socket.socket(socket.AF_INET6 if ":" in route.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        interfaces.hold(sock, route.local)
        sock.bind((route.local.address, 0))
        sock.connect((route.host, route.port))
    except BaseException:
        sock.close()
        raise
    return _hurried(sock)


def bind(addresses: Sequence[Local], ports: tuple[int, int]) -> list[socket.socket]:
    """Listen on the first port that is free on all addresses; the sockets do not block.

    Arguments:
        addresses: of this host; those with an interface let nothing in by another.
        ports: first and last port to try.

    Raises:
        InternalError: ports-taken.
    """
    why = "there is no address"
    first, last = ports
    for port in range(first, last + 1):
        made: list[socket.socket] = []
        try:
            for local in addresses:
                made.append(_listener(local, port or (made[0].getsockname()[1] if made else 0)))
        except OSError as error:
            why = error.strerror or str(error)
            for sock in made:
                sock.close()
            continue
        if made:
            return made
    listed = ", ".join(local.address for local in addresses)
    raise InternalError(codes.PORTS_TAKEN, first=first, last=last, addresses=listed, why=why)


def _listener(local: Local, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in local.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        interfaces.hold(sock, local)
        sock.bind((local.address, port))
        _hurried(sock).listen(64)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _hurried(sock: socket.socket) -> socket.socket:
    """Return a socket that sends at once; what a listener takes is one, too (tcp(7)).

    The greeting after a TLS handshake would wait for the answer to the handshake's last message, which the other end
    puts off for 40 ms.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
