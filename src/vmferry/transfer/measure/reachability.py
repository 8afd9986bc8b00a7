"""Tries the way between two hosts as a move would take it: the same addresses, ports and interfaces.

The destination listens on a free data port for LIMIT seconds. To each of its addresses the source makes two
connections and has SIZE bytes sent to it, and from it. A connection begins with one of the destination's one-time
secrets, which came over the API, and with the destination's answer to it, all in small packets. What follows is cut
into large ones. When not one of them comes through for STALL seconds, the MTU is smaller somewhere between the hosts,
and nothing says so (RFC 2923, 2.1, "black hole detection"). A link that is slow, or busy with moves, lets some through.
"""

import hmac
import os
import secrets
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from vmferry.core.messages.offer import Address
from vmferry.core.messages.probe import WAYS, ProbedRoute, ProbeOpening, Side
from vmferry.core.policy.networks import Local, Route
from vmferry.net import sockets

SIZE = 256 << 10  # bytes each way; more than any MTU, and nothing to a link that can carry moves
CONNECT = 1.1  # seconds for a connection; the first word to say hello is repeated after 1 (RFC 6298)
STALL = 0.7  # seconds in which no large packet came through; what is lost by chance is sent again after 0.2 and 0.6
LIMIT = 1.9  # seconds for all of it

_SECRET = 32  # bytes
_TO, _FROM = b">", b"<"  # which end sends, seen from the source
_GOT, _ALL = b".", b"!"  # some of it came; all of it did
_IPV4_MTU, _IPV6_MTU = 14, 24  # IP_MTU (ip(7)), IPV6_MTU (ipv6(7)): not in Python's socket module
_VISITORS = 4 * WAYS  # connections at once, those of strangers included


class Listener:
    """The destination's side: listens until LIMIT is over.

    Arguments:
        addresses: of this host, as for a move.
        ports: first and last data port.
        limit: seconds.

    Raises:
        InternalError: ports-taken.
    """

    def __init__(self, addresses: Sequence[Local], ports: tuple[int, int], limit: float = LIMIT) -> None:
        self._until = time.monotonic() + limit
        self._sockets = sockets.bind(addresses, ports)
        self._secrets = {secrets.token_bytes(_SECRET) for _ in range(2 * WAYS)}
        self._answer = secrets.token_bytes(_SECRET)
        self._lock = threading.Lock()
        self.opening = ProbeOpening(
            addresses=[
                Address(host=local.address, port=sock.getsockname()[1])
                for local, sock in zip(addresses, self._sockets, strict=True)
            ],
            secrets=[secret.hex() for secret in self._secrets],
            answer=self._answer.hex(),
        )

    def serve(self) -> None:
        """Take connections until the time is over; blocks that long."""
        poll = select.poll()
        listeners = {sock.fileno(): sock for sock in self._sockets}
        for number in listeners:
            poll.register(number, select.POLLIN)
        visitors: list[threading.Thread] = []
        try:
            while (left := self._until - time.monotonic()) > 0:
                for number, _ in poll.poll(left * 1000):
                    try:
                        visitor, _ = listeners[number].accept()
                    except OSError:
                        continue  # gone again
                    if len(visitors) >= _VISITORS:
                        visitor.close()
                        continue
                    visitors.append(threading.Thread(target=self._receive, args=(visitor,), name="probe", daemon=True))
                    visitors[-1].start()
        finally:
            for sock in self._sockets:
                sock.close()
        for thread in visitors:
            thread.join()

    def _receive(self, visitor: socket.socket) -> None:
        with visitor, suppress(OSError):
            said = _read(visitor, _SECRET + 1, self._until)
            if not self._redeem(said[:_SECRET]):
                return
            visitor.sendall(self._answer)
            if said[_SECRET:] == _FROM:
                _read_some(visitor, 1, self._until)  # else the answer could go in one large packet with what follows
                _send(visitor, self._until)
            else:
                _confirm(visitor, self._until)

    def _redeem(self, secret: bytes) -> bool:
        with self._lock:
            found = next((one for one in self._secrets if hmac.compare_digest(one, secret)), None)
            self._secrets.discard(found or b"")
            return found is not None


def reach(routes: Sequence[Route], opening: ProbeOpening) -> list[ProbedRoute]:
    """Try every way at once, as the source; takes LIMIT seconds at most.

    Arguments:
        routes: the best first; those after the first WAYS are left out.
    """
    until = time.monotonic() + LIMIT
    words = [bytes.fromhex(secret) for secret in opening.secrets]
    tried = routes[: min(WAYS, len(words) // 2)]
    answer = bytes.fromhex(opening.answer)
    if not tried:
        return []
    with ThreadPoolExecutor(max_workers=2 * len(tried), thread_name_prefix="probe") as pool:
        there = [pool.submit(_visit, route, words.pop() + _TO, answer, until) for route in tried]
        back = [pool.submit(_visit, route, words.pop() + _FROM, answer, until) for route in tried]
        return [_both(route, to.result(), from_.result()) for route, to, from_ in zip(tried, there, back, strict=True)]


def _both(route: Route, to: ProbedRoute, back: ProbedRoute) -> ProbedRoute:
    stalled: list[Side] = [*to.stalled, *back.stalled]
    return to.model_copy(update={"error": to.error or back.error, "stalled": stalled})


def _visit(route: Route, words: bytes, answer: bytes, until: float) -> ProbedRoute:
    """Make one connection by a route and have the bytes sent one way."""
    seen = ProbedRoute(address=route.host, port=route.port, local=route.local.address if route.local else "")
    try:
        with sockets.connect(route, CONNECT) as sock:
            seen = seen.model_copy(update={"mtu": _mtu(sock), "local": sock.getsockname()[0]})
            sock.sendall(words)
            if _read(sock, _SECRET, until) != answer:
                return seen.model_copy(update={"error": "another program or another host answers there"})
            if words.endswith(_FROM):
                sock.sendall(_GOT)
            whole = _pour(sock, until) if words.endswith(_TO) else _draw(sock, until)
            side: Side = "source" if words.endswith(_TO) else "destination"
            return seen if whole else seen.model_copy(update={"stalled": [side]})
    except OSError as error:
        return seen.model_copy(update={"error": error.strerror or str(error) or type(error).__name__})


def _pour(sock: socket.socket, until: float) -> bool:
    """Send, and see that the other end says it gets something; False: it gets nothing at all."""
    data = memoryview(os.urandom(SIZE))  # not zeros, which a tunnel may press into a small packet
    sock.setblocking(False)
    poll = select.poll()
    heard, patience = False, time.monotonic() + STALL
    while (now := time.monotonic()) < until and (heard or now < patience):
        poll.register(sock, select.POLLIN | (select.POLLOUT if data else 0))
        left = (until if heard else min(patience, until)) - now
        events = dict(poll.poll(left * 1000)).get(sock.fileno(), 0)
        if events & ~select.POLLOUT:
            said = sock.recv(SIZE)
            if not said:
                raise ConnectionResetError("the connection broke")
            if _ALL in said:
                return True
            heard = True
        elif events:
            data = data[sock.send(data) :]
    _abort(sock)
    return heard or time.monotonic() < patience  # it is slow, or there was no time to tell


def _draw(sock: socket.socket, until: float) -> bool:
    """Receive; False: nothing comes at all."""
    left, patience = SIZE, time.monotonic() + STALL
    while left and (now := time.monotonic()) < until:
        sock.settimeout((until if left < SIZE else min(patience, until)) - now)
        try:
            got = len(sock.recv(left))
        except TimeoutError:
            break
        if not got:
            raise ConnectionResetError("the connection broke")
        left -= got
    if left:
        _abort(sock)
    return left < SIZE or time.monotonic() < patience


def _confirm(sock: socket.socket, until: float) -> None:
    """Receive, and say each time that something came."""
    left = SIZE
    while left:
        got = len(_read_some(sock, left, until))
        left -= got
        sock.sendall(_GOT if left else _ALL)


def _send(sock: socket.socket, until: float) -> None:
    sock.settimeout(max(0.01, until - time.monotonic()))
    try:
        sock.sendall(os.urandom(SIZE))
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)  # until the other end has it all
    except TimeoutError:
        _abort(sock)


def _read(sock: socket.socket, size: int, until: float) -> bytes:
    data = b""
    while len(data) < size:
        data += _read_some(sock, size - len(data), until)
    return data


def _read_some(sock: socket.socket, size: int, until: float) -> bytes:
    sock.settimeout(max(0.01, until - time.monotonic()))
    data = sock.recv(size)
    if not data:
        raise ConnectionResetError("the connection was closed without an answer")
    return data


def _abort(sock: socket.socket) -> None:
    """Have the kernel forget what was not sent, in place of trying for minutes after the close."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _mtu(sock: socket.socket) -> int:
    try:
        if sock.family == socket.AF_INET6:
            return sock.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
        return sock.getsockopt(socket.IPPROTO_IP, _IPV4_MTU)
    except OSError:
        return 0
