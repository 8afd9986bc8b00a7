"""Measures the bandwidth between two hosts, in about a second, just as a move would use it.

It is a session like a move's, with one stream that carries noise: the same addresses, interfaces, ports, number of
connections, encryption, frames and acknowledgements, so that what limits a move limits this. Who connects proves that
they have the key that the destination gave out, over the API, for this one measurement, and shows the certificate of it
(transfer/transport/handshake.py); the destination takes one session and listens no more.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from vmferry.core import codes
from vmferry.core.errors import PreflightError
from vmferry.core.messages.bandwidth import MeasuredRoute
from vmferry.core.move.messages import StreamKind
from vmferry.core.policy.networks import Local, Route
from vmferry.transfer.session.connect import SessionListener, connect
from vmferry.transfer.session.session import Credentials, Stream

WARM = 0.25  # seconds until TCP has found the path's rate
TIME = 0.7  # seconds that count
LOOK = 0.01  # seconds between two looks at what has arrived
ACCEPT = 3.0  # seconds for the source to connect
LIMIT = 3.0  # seconds for all that the destination takes part in afterwards
_FIRST, _MOST = 16 << 10, 256 << 10  # bytes at once; few on a slow path, so that their arrival is seen in fine steps
_SPAN = 0.005  # seconds that one block is to take


class Sink:
    """The destination's side: one port of the data ports, for one session.

    Arguments:
        addresses: of this host; those with an interface let nothing in by another.
        ports: first and last port to try.
        credentials: what to show and to want.

    Raises:
        InternalError: ports-taken.
    """

    def __init__(self, addresses: Sequence[Local], ports: tuple[int, int], credentials: Credentials) -> None:
        self._listener = SessionListener(addresses, ports, credentials)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each address that it listens on."""
        return self._listener.addresses

    def serve(self, quiet: Callable[[], bool]) -> None:
        """Take the source's session and all that it sends, until it closes it; blocks that long.

        Arguments:
            quiet: whether no move runs here; when one begins, the session is ended.
        """
        try:
            session = self._listener.accept(ACCEPT)
        except (TimeoutError, ConnectionAbortedError):
            return
        finally:
            self._listener.close()
        over = threading.Event()
        session.on_message(lambda _message: None)
        session.on_broken(lambda _reason: over.set())
        session.on_open(lambda _kind, stream: _swallow(stream))
        until = time.monotonic() + LIMIT
        while not over.wait(10 * LOOK) and quiet() and time.monotonic() < until:
            pass
        session.abort("the measurement is over")


def measure(
    routes: Sequence[Route], credentials: Credentials, connections: int, quiet: Callable[[], bool], source: str
) -> MeasuredRoute:
    """Measure the first route that answers, as the source; takes WARM + TIME and what connecting takes.

    Arguments:
        routes: the best first.
        credentials: what to show and to want.
        connections: how many carry frames to the destination in a move.
        quiet: whether no move runs here; when one begins, the measurement is given up.
        source: this host's name, for the error.

    Raises:
        UnreachableError: data-port-unreachable.
        PreflightError: bandwidth-unmeasured: a move began, or nothing arrived.
        VmferryError: somebody answered and refused, or showed another certificate or key.
    """

    def unmeasured(why: str) -> PreflightError:
        return PreflightError(codes.BANDWIDTH_UNMEASURED, source=source, host=credentials.peer, why=why)

    session, _ = connect(routes, credentials, connections)
    lost: list[str] = []
    session.on_message(lambda _message: None)
    session.on_broken(lost.append)
    try:
        stream = session.open(StreamKind.PROBE)
        pump = _Pump(stream)
        pump.start()
        seen = [(0.0, 0)]  # when how much had arrived: each time that it was more
        began = time.monotonic()
        while (now := time.monotonic() - began) < WARM + TIME:
            arrived = stream.acknowledged()
            if arrived > seen[-1][1]:
                seen.append((now, arrived))
                pump.aim(arrived / now)
            if lost or not quiet():
                raise unmeasured("a move began on one of them" if not lost else lost[0])
            time.sleep(LOOK)
    except ConnectionError as error:
        raise unmeasured(str(error)) from error
    finally:
        session.abort("the measurement is over")
    rate = _rate(seen)
    if not rate:
        raise unmeasured(f"nothing arrived within {WARM + TIME:g} s")
    return MeasuredRoute(rate, session.round_trip)


class _Pump(threading.Thread):
    """Sends noise, which no device on the way can press together, until the stream is given up."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(name="bandwidth", daemon=True)
        self._stream = stream
        self._noise = memoryview(os.urandom(_MOST))
        self._size = _FIRST

    def aim(self, rate: float) -> None:
        """Have each block take about as long at any rate."""
        self._size = max(_FIRST, min(_MOST, round(rate * _SPAN)))

    def run(self) -> None:
        with suppress(ConnectionError):
            while True:
                self._stream.send(self._noise[: self._size])


def _swallow(stream: Stream) -> None:
    with suppress(ConnectionError):
        while stream.recv():
            pass


def _rate(seen: Sequence[tuple[float, int]]) -> float:
    """Return bytes a second, the time in which TCP found its rate left out where there is enough beside it."""
    counted = [one for one in seen if one[0] >= WARM]
    if len(counted) < 2:
        counted = list(seen[-1:]) and [seen[0], seen[-1]]
    (from_, before), (to, after) = counted[0], counted[-1]
    return (after - before) / (to - from_) if to > from_ else 0.0
