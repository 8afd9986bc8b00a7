"""What the tests of the wire share: two workers' credentials, and a session between them over loopback."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache

from vmferry.core import jobkey
from vmferry.core.policy.networks import Local, Route
from vmferry.identity import certificates
from vmferry.transfer.session.connect import SessionListener
from vmferry.transfer.session.options import SessionOptions
from vmferry.transfer.session.session import Credentials, Session, Stream
from vmferry.transfer.transport import hello
from vmferry.transfer.transport.base import Transport
from vmferry.transfer.transport.dialer import Dialer
from vmferry.transfer.transport.tcp import Tcp

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


def dialer(route: Route, mine: Credentials, features: Sequence[str] = hello.FEATURES) -> Dialer:
    """Make what connects over TCP."""
    return Dialer(Tcp(mine), route, mine, features)


@contextmanager
def listening(
    mine: Credentials | None = None, transport: Transport | None = None, options: SessionOptions | None = None
) -> Iterator[SessionListener]:
    listener = SessionListener([Local(HERE)], (0, 0), mine or credentials("destination"), transport, options)
    try:
        yield listener
    finally:
        listener.close()


@contextmanager
def sessions(
    *,
    encryption: bool = True,
    connections: int = 2,
    back: int = 1,
    through: Callable[[int], int] | None = None,
    transport: Transport | None = None,
    options: tuple[SessionOptions | None, SessionOptions | None] = (None, None),
) -> Iterator[tuple[Session, Session]]:
    """Give source and destination.

    Arguments:
        through: gets the listener's port and gives the port to dial instead.
        transport: in place of TCP; in the clear.
        options: of source and destination.
    """
    encryption = encryption and transport is None
    with listening(credentials("destination", encryption=encryption), transport, options[1]) as listener:
        port = listener.addresses[0][1]
        dialled = Session.dial(
            Route(HERE, through(port) if through else port),
            credentials("source", encryption=encryption),
            connections,
            back,
            transport,
            options[0],
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


class Proxy:
    """Stands between source and destination, to cut single connections."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HERE, 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._port = 0

    def between(self, port: int) -> int:
        self._port = port
        self._run(self._accept)
        return int(self._listener.getsockname()[1])

    def cut(self, index: int) -> None:
        """Cut a connection; they count from 0 in the order in which they were dialled."""
        for sock in self._pairs[index]:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for index in range(len(self._pairs)):
            self.cut(index)
        for thread in self._threads:
            thread.join(LIMIT)
        for pair in self._pairs:
            for sock in pair:
                sock.close()

    def _run(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                taken, _ = self._listener.accept()
            except OSError:
                return
            given = socket.create_connection((HERE, self._port))
            self._pairs.append((taken, given))
            self._run(self._pump, taken, given)
            self._run(self._pump, given, taken)

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        room = memoryview(bytearray(1 << 16))
        with suppress(OSError):
            while got := one.recv_into(room):
                other.sendall(room[:got])
        for sock in (one, other):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
