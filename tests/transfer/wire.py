"""What the tests of the wire share: two workers' credentials, and a session between them over loopback."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from vmferry.core import jobkey
from vmferry.identity import certificates
from vmferry.transfer.session import Credentials, Listener, Session, Stream

HERE = "127.0.0.1"
LIMIT = 10.0
_KEY = jobkey.new()


@cache
def _certificate(name: str) -> tuple[str, str]:
    return certificates.create(name)


def credentials(
    side: str, *, encryption: bool = True, key: str = _KEY, job: str = "job-1", own: str = "", peer: str = ""
) -> Credentials:
    """Give the credentials of `source` or `destination`; the arguments make them wrong."""
    other = "destination" if side == "source" else "source"
    certificate, private_key = _certificate(own or side)
    return Credentials(
        job=job,
        key=key,
        source_fingerprint="aa" * 32,
        destination_fingerprint="bb" * 32,
        certificate=certificate,
        private_key=private_key,
        peer_certificate=_certificate(peer or other)[0],
        encryption=encryption,
    )


@contextmanager
def listening(mine: Credentials | None = None) -> Iterator[Listener]:
    listener = Listener([HERE], (0, 0), mine or credentials("destination"))
    try:
        yield listener
    finally:
        listener.close()


@contextmanager
def sessions(
    *, encryption: bool = True, connections: int = 2, back: int = 1, through: Callable[[int], int] | None = None
) -> Iterator[tuple[Session, Session]]:
    """Give source and destination.

    Arguments:
        through: gets the listener's port and gives the port to dial instead.
    """
    with listening(credentials("destination", encryption=encryption)) as listener:
        port = listener.addresses[0][1]
        dialled = Session.dial(
            [(HERE, through(port) if through else port)],
            credentials("source", encryption=encryption),
            connections,
            back,
        )
        accepted = listener.accept(LIMIT)
    try:
        yield dialled, accepted
    finally:
        dialled.close()
        accepted.close()


class Streams:
    """Keeps the streams that a session announces."""

    def __init__(self, session: Session) -> None:
        self.all: list[tuple[str, Stream]] = []
        self._arrived = threading.Condition()
        session.on_open(self._take)

    def _take(self, kind: str, stream: Stream) -> None:
        with self._arrived:
            self.all.append((kind, stream))
            self._arrived.notify_all()

    def wait(self, count: int) -> list[Stream]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.all) >= count, LIMIT)
        return [stream for _, stream in self.all]


class Heard:
    """Keeps what a handler was called with."""

    def __init__(self) -> None:
        self.all: list[object] = []
        self._arrived = threading.Condition()

    def __call__(self, what: object) -> None:
        with self._arrived:
            self.all.append(what)
            self._arrived.notify_all()

    def wait(self, count: int = 1) -> list[object]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.all) >= count, LIMIT), self.all
        return self.all


def pair() -> tuple[socket.socket, socket.socket]:
    """Give two connected unix sockets that no test waits on for ever."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    one.settimeout(LIMIT)
    return one, other


def receive(sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        more = sock.recv(count - len(data))
        assert more, f"the connection ended after {len(data)} of {count} bytes"
        data += more
    return bytes(data)
